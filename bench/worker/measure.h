// measure.h - one repetition of one cell: prefill, then decode, with the time of every token.
//
// Only the engine's time counts, including sampling. The timeline is paused while progress is reported, while canaries
// run, and while the caches are warmed again after a canary. To warm them, the next decode step runs once untimed and
// is dropped (truncate). If the device runs ahead of the host, the decode steps between two pauses form one run, and
// the timeline keeps running while their results are stored. docs/METRICS.md defines each figure.
#ifndef BENCH_WORKER_MEASURE_H
#define BENCH_WORKER_MEASURE_H

#include <jansson.h>
#include <stdint.h>

#include "base/os.h"
#include "base/status.h"
#include "bench/engines/engines.h"
#include "bench/probe/probe.h"
#include "bench/protocol/protocol.h"
#include "bench/worker/timeline.h"
#include "device/device.h"
#include "engine/engine.h"

enum {
    // Canaries during a decode (2 ms each) are at least this far apart, so that they stay a small part of it. If a step
    // must run again after each, they are also this many steps apart. Runs of steps end at the same intervals.
    CANARY_EVERY_NS = 25 * 1000 * 1000,
    CANARY_EVERY_STEPS = 16,
    // If the working set exceeds this many last-level caches, nothing stays in them from step to step, and nothing must
    // be warmed again after a canary.
    STREAMING_CACHES = 4,
    CANARY_LOOKS =
        3, // before and after a repetition, because a single canary scatters by some per cent
};

struct worker_trace; // trace.h

// One reading of a canary: its result, and its time on the timeline.
struct canary_look {
    int64_t at_ns;
    double bytes_per_s;
};

// The probes of a repetition. Outside tests they are those of bench/probe/probe.h.
struct subject_probes {
    double (*bandwidth)(struct canary *canary);  // bytes/s
    double (*compute_ns)(struct canary *canary); // time of fixed work
    struct machine_state (*state)(struct canary *canary);
    struct device_vitals (*vitals)(struct canary *canary);
};

// One cell, ready to be measured. Arrays are allocated once, before anything is timed.
struct subject {
    const struct job_cell *cell;
    const struct bench_engine *engine;
    void *run;                   // the engine's run, owned
    struct timeline_clock clock; // the engine's clock; unset for a whole engine
    enum device_kind where;      // where the engine runs and canaries probe; times are on its clock
    struct canary *canary;       // owned
    struct subject_probes probes;
    int prompt_tokens;
    int32_t *prompt;           // (batch, prompt_tokens), owned
    int32_t *ids;              // (batch, gen) of the last repetition, owned
    int64_t *token_ns;         // (batch, gen) on the timeline of the last repetition, owned
    struct span *spans;        // (batch), owned
    bool streaming;            // see STREAMING_CACHES
    struct canary_look *looks; // (gen) canary readings of the decode, owned
    size_t look_count;
    struct machine_state *states; // (state_room) machine states of this repetition, owned
    double *state_scratch;        // (state_room) scratch for their medians, owned
    size_t state_count, state_room;
    struct os_run_waits *waits; // (2) at the start and the end of a repetition, owned
    struct wire *wire;          // for progress
    // Where instruments put what they see, row by row; borrowed. NULL: no trace was asked for.
    struct worker_trace *trace;
};

// Index into ids and token_ns.
static inline size_t subject_at(const struct subject *s, int sequence, int token)
{
    return (size_t)sequence * (size_t)s->cell->gen + (size_t)token;
}
// The time at which the last sequence had its token `token`.
int64_t worker_subject_last_ns(const struct subject *s, int token);

// Figures of one repetition. NaN: not measured.
struct repetition {
    double prefill_ns;   // to the logits of the last prompt position
    int64_t measured_ns; // to the last token of the last sequence
    double prefill_wait_ns, decode_wait_ns;
    double between_ns;                   // part of the decode's time that is in no step
    double clock_tie_ns, clock_drift_ns; // see NOISE_CLOCK_TIE
    int64_t nonfinite_logits;
    struct noise noise;
};

// Called during pauses, before a phase and after it.
struct phase_watch {
    void (*begin)(void *user, enum phase phase);
    void (*end)(void *user, enum phase phase);
    void *user;
};

struct repetition_options {
    int number;                      // reported with the progress; 0: warm-up or instrument
    bool canaries;                   // probe before, between and after; only in timed repetitions
    const struct phase_watch *watch; // NULL in timed repetitions; only for driven engines
};

// Opens the cell in the engine and makes its prompts and canary. All arguments are borrowed until fini.
// *tokenize_ns: what encoding the prompt took; NaN if it is no text. Errors: those of engine, tokenizer and canary;
// nothing is left then.
enum status worker_subject_create(const struct job_cell *cell, const struct bench_engine *engine,
                                  void *model, struct device *device, struct wire *wire,
                                  struct subject *out, double *tokenize_ns, struct error *err);
void worker_subject_fini(struct subject *s);

// Runs one repetition and fills ids and token_ns of the subject.
enum status measure_repetition(struct subject *s, const struct repetition_options *options,
                               struct repetition *out, struct error *err);

// Repeats one phase of a driven engine until *go_on is false. Each pass is a prefill of empty sequences, or a decode
// that starts after the prompt. `more` is called after each pass; an error from it ends the call. No times are
// recorded; ids and token_ns are overwritten. The decode needs gen > 1.
typedef enum status phase_more(void *user, int done, bool *go_on, struct error *err);
enum status measure_phase(struct subject *s, enum phase phase, phase_more *more, void *user,
                          struct error *err);

// Warms up, then repeats as the cell requires: `reps` times, and further until min_ns are measured, but at most
// REPETITIONS_MOST times. Calls `keep` after each, with numbers from 1. An error of `keep` ends the trial.
typedef enum status keep_repetition(void *user, const struct subject *s, const struct repetition *r,
                                    int number, struct error *err);
enum status measure_trial(struct subject *s, keep_repetition *keep, void *user, struct error *err);

// The repetition's metrics and noise, as arrays of an event.
json_t *repetition_metrics(const struct subject *s, const struct repetition *r);
json_t *repetition_noise(const struct subject *s, const struct repetition *r);

#endif
