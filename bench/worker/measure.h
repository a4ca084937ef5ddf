// measure.h - one repetition of one cell: prefill, then decode, with the time of every token.
//
// Only the engine's time counts, sampling included. The timeline is paused while progress is reported, while
// canaries run, and while the caches are warmed again after a canary: the coming decode step runs once untimed
// and is dropped (context_truncate). docs/METRICS.md defines each figure.
#ifndef BENCH_WORKER_MEASURE_H
#define BENCH_WORKER_MEASURE_H

#include <jansson.h>
#include <stdint.h>

#include "device/device.h"
#include "base/status.h"
#include "bench/probe/probe.h"
#include "bench/protocol/protocol.h"
#include "engine/engine.h"

enum {
    // Between two canaries of a decode lies at least this much time, so that they (2 ms) stay a small
    // part of it, and where a step has to be run again after each, so many steps.
    CANARY_EVERY_NS = 25 * 1000 * 1000,
    CANARY_EVERY_STEPS = 16,
    // A working set so many times the last-level cache leaves nothing there from step to step: there is
    // nothing to warm again after a canary.
    STREAMING_CACHES = 4,
    CANARY_LOOKS = 3, // before and behind a repetition: one alone scatters by some per cent
};

// What a canary saw, and when on the timeline.
struct canary_look {
    int64_t at_ns;
    double bytes_per_s;
};

// One cell, ready to be measured. Arrays are made once, before anything is timed.
struct subject {
    const struct job_cell *cell;
    struct device *device; // borrowed
    struct context *ctx;   // owned
    struct canary *canary; // owned
    int vocab, prompt_tokens;
    int32_t *prompt;           // (batch, prompt_tokens), owned
    int32_t *ids;              // (batch, gen) of the last repetition, owned
    int64_t *token_ns;         // (batch, gen) on the timeline of the last repetition, owned
    struct span *spans;        // (batch), owned
    bool streaming;            // see STREAMING_CACHES
    struct canary_look *looks; // (gen) the decode's canaries, owned
    struct machine_state
        *states;           // (state_room) what the state canaries saw in this repetition, owned
    double *state_scratch; // (state_room) for their medians, owned
    size_t state_count, state_room;
    size_t look_count;
    struct wire *wire; // for progress
};

struct repetition {
    int64_t prefill_ns;  // to the logits of the last prompt position
    int64_t measured_ns; // to the last token of the last sequence
    int64_t prefill_wait_ns, decode_wait_ns;
    int64_t nonfinite_logits;
    struct noise noise;
};

enum status subject_create(const struct job_cell *cell, struct model *model,
                           const struct tokenizer *tok, struct device *device, struct wire *wire,
                           struct subject *out, double *tokenize_ns, struct error *err);
void subject_fini(struct subject *s);

// Runs one repetition; ids and token_ns of the subject are filled. `canaries`: probe before, between and
// after; without them for warm-ups and inspection. number: told with the progress, 0 for those.
enum status measure_repetition(struct subject *s, int number, bool canaries, struct repetition *out,
                               struct error *err);

// The warm-up short of a repetition: one prompt token and one decode step.
enum status measure_short_warmup(struct subject *s, struct error *err);

// The repetition's metrics and noise, as arrays of an event.
json_t *repetition_metrics(const struct subject *s, const struct repetition *r);
json_t *repetition_noise(const struct repetition *r);

#endif
