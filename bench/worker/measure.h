// measure.h - one repetition of one cell: prefill, then decode, with the time of every token.
//
// Only the engine's time counts, sampling included. The timeline is paused while progress is reported, while canaries
// run, and while the caches are warmed again after a canary. To warm them, the coming decode step runs once untimed and
// is dropped (truncate). Where the device runs ahead of the host, decode steps between two pauses are one run, and the
// timeline goes on while their results are kept. docs/METRICS.md defines each figure.
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
    // Canaries of a decode (2 ms each) are at least this far apart, so that they stay a small part of it. Where a
    // step must run again after each, they are also this many steps apart. Runs of steps are ended as often.
    CANARY_EVERY_NS = 25 * 1000 * 1000,
    CANARY_EVERY_STEPS = 16,
    // A working set of more than this many last-level caches keeps nothing in them from step to step. So there is
    // nothing to warm again after a canary.
    STREAMING_CACHES = 4,
    CANARY_LOOKS = 3, // before and after a repetition: a single one scatters by some per cent
};

// What a canary saw, and when on the timeline.
struct canary_look {
    int64_t at_ns;
    double bytes_per_s;
};

// The probes of a repetition, of bench/probe/probe.h outside tests.
struct subject_probes {
    double (*bandwidth)(struct canary *canary);  // bytes/s
    double (*compute_ns)(struct canary *canary); // time of fixed work
    struct machine_state (*state)(struct canary *canary);
    struct device_vitals (*vitals)(struct canary *canary);
};

// One cell, ready to be measured. Arrays are made once, before anything is timed.
struct subject {
    const struct job_cell *cell;
    const struct bench_engine *engine;
    void *run;                   // of the engine, owned
    struct timeline_clock clock; // the engine's; unset for one that runs whole requests
    enum device_kind where;      // where the engine runs and canaries probe; times are of its clock
    struct canary *canary;       // owned
    struct subject_probes probes;
    int prompt_tokens;
    int32_t *prompt;           // (batch, prompt_tokens), owned
    int32_t *ids;              // (batch, gen) of the last repetition, owned
    int64_t *token_ns;         // (batch, gen) on the timeline of the last repetition, owned
    struct span *spans;        // (batch), owned
    bool streaming;            // see STREAMING_CACHES
    struct canary_look *looks; // (gen) the decode's canaries, owned
    size_t look_count;
    struct machine_state
        *states;           // (state_room) what the state canaries saw in this repetition, owned
    double *state_scratch; // (state_room) for their medians, owned
    size_t state_count, state_room;
    struct os_run_waits *waits; // (2) at the start and the end of a repetition, owned
    struct wire *wire;          // for progress
};

// Index into ids and token_ns.
static inline size_t subject_at(const struct subject *s, int sequence, int token)
{
    return (size_t)sequence * (size_t)s->cell->gen + (size_t)token;
}
// When the last of all sequences had its token `token`.
int64_t worker_subject_last_ns(const struct subject *s, int token);

// Figures of one repetition. NaN: not measured.
struct repetition {
    double prefill_ns;   // to the logits of the last prompt position
    int64_t measured_ns; // to the last token of the last sequence
    double prefill_wait_ns, decode_wait_ns;
    double between_ns;                   // of the decode's time: in no step
    double clock_tie_ns, clock_drift_ns; // see NOISE_CLOCK_TIE
    int64_t nonfinite_logits;
    struct noise noise;
};

// Called in pauses, when a phase begins and when it has ended.
struct phase_watch {
    void (*begin)(void *user, enum phase phase);
    void (*end)(void *user, enum phase phase);
    void *user;
};

struct repetition_options {
    int number;    // reported with the progress; 0: warm-up or instrument
    bool canaries; // probe before, between and after; only where the repetition is timed
    const struct phase_watch *watch; // NULL where the repetition is timed; only of a driven engine
};

enum status worker_subject_create(const struct job_cell *cell, const struct bench_engine *engine,
                                  void *model, struct device *device, struct wire *wire,
                                  struct subject *out, double *tokenize_ns, struct error *err);
void worker_subject_fini(struct subject *s);

// Runs one repetition and fills ids and token_ns of the subject.
enum status measure_repetition(struct subject *s, const struct repetition_options *options,
                               struct repetition *out, struct error *err);

// Runs one phase of a driven engine until *go_on is false: prompts of empty sequences, or the decode from the prompt's
// end on. `more` is called after each; its error ends it. No time is kept; ids and token_ns are overwritten. The decode
// needs gen > 1.
typedef enum status phase_more(void *user, int done, bool *go_on, struct error *err);
enum status measure_phase(struct subject *s, enum phase phase, phase_more *more, void *user,
                          struct error *err);

// Warms up, then repeats as the cell says: `reps` times, and on until min_ns are measured, REPETITIONS_MOST at
// most. `keep` is called after each, numbers from 1; its error ends the trial.
typedef enum status keep_repetition(void *user, const struct subject *s, const struct repetition *r,
                                    int number, struct error *err);
enum status measure_trial(struct subject *s, keep_repetition *keep, void *user, struct error *err);

// The repetition's metrics and noise, as arrays of an event.
json_t *repetition_metrics(const struct subject *s, const struct repetition *r);
json_t *repetition_noise(const struct subject *s, const struct repetition *r);

#endif
