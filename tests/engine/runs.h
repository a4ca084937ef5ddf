// runs.h - decode runs against single steps: the same ids, counts and logits, to the last bit, on any device.
#ifndef TESTS_ENGINE_RUNS_H
#define TESTS_ENGINE_RUNS_H

#include "tests/engine/fixture.h"

#include <stdlib.h>

#include "base/rng.h"

enum { RUN_PROMPT = 9, RUN_GEN = 40, RUN_BATCH = 3 };

// What a sequence of decode steps made.
struct made {
    int32_t ids[RUN_BATCH][RUN_GEN]; // the first: drawn by the prefill
    int batch, vocab, count;         // count: steps kept
    int prompt;                      // tokens of the longest prompt
    int64_t nonfinite;
    uint64_t last_ns;
    int stop_after; // results of the present run after which it is to end
    float *logits;  // (vocab) of sequence 0 after the last step
};

// A context with the prompts of all sequences in it; the first ids are drawn.
static inline struct context *runs_begin(struct model *model, enum dtype kv, int batch,
                                         const struct sampling *sampling, struct made *out)
{
    struct error err = {0};
    struct step_result result;
    int vocab = model_config(model)->vocab;
    // A GPU sums fp8 by fp8 differently in passes of more than 16 tokens. The three prompts have 15 together.
    int length = model_scheme(model)->activations == DT_F8E4M3 ? 6 : RUN_PROMPT;
    int32_t prompt[RUN_BATCH][RUN_PROMPT];
    struct span spans[RUN_BATCH];
    struct context *ctx = context_of(
        model,
        (struct context_options){
            .batch = batch, .positions = RUN_PROMPT + RUN_GEN, .chunk = RUN_PROMPT, .kv = kv});
    *out = (struct made){.batch = batch,
                         .vocab = vocab,
                         .prompt = length,
                         .logits = calloc((size_t)vocab, sizeof *out->logits)};
    expect_ok(context_sample(ctx, sampling, &err), &err, "context_sample");
    for (int i = 0; i < batch; i++) {
        for (int t = 0; t < length; t++)
            prompt[i][t] = (int32_t)(rng_hash((uint64_t)(100 * i + t)) % (uint64_t)vocab);
        spans[i] =
            (struct span){.sequence = i, .count = length - i, .tokens = prompt[i], .sample = true};
    }
    expect_ok(context_step(ctx, spans, batch, PHASE_PREFILL, &result, &err), &err, "prefill");
    for (int i = 0; i < batch; i++)
        out->ids[i][0] = result.ids[i];
    out->last_ns = result.end_ns;
    return ctx;
}

static inline void runs_spans(const struct made *made, struct span *spans)
{
    for (int i = 0; i < made->batch; i++)
        spans[i] = (struct span){
            .sequence = i, .count = 1, .tokens = &made->ids[i][made->count], .sample = true};
}

static inline bool runs_keep(void *user, int step, const struct step_result *result)
{
    struct made *made = user;
    made->count++;
    for (int i = 0; i < made->batch; i++)
        made->ids[i][made->count] = result->ids[i];
    made->nonfinite += result->nonfinite;
    assert_true(made->last_ns <= result->begin_ns && result->begin_ns <= result->logits_ns &&
                result->logits_ns <= result->end_ns);
    made->last_ns = result->end_ns;
    assert_null(result->logits);
    return step + 1 < made->stop_after;
}

// One run of up to `steps`, to be ended after `stop_after` results.
static inline void runs_run(struct context *ctx, struct made *made, int steps, int stop_after)
{
    struct error err = {0};
    struct span spans[RUN_BATCH];
    struct decode_run run = {
        .spans = spans, .span_count = made->batch, .steps = steps, .done = runs_keep, .user = made};
    int ran = -1, before = made->count;
    runs_spans(made, spans);
    made->stop_after = stop_after;
    expect_ok(context_decode(ctx, &run, &ran, &err), &err, "context_decode");
    assert_int_equal(ran, made->count - before);
    int most = stop_after + context_ahead(ctx);
    assert_true(ran >= (stop_after < steps ? stop_after : steps));
    assert_true(ran <= (most < steps ? most : steps));
    for (int i = 0; i < made->batch; i++)
        assert_int_equal(context_length(ctx, i), made->prompt - i + made->count);
}

// The last step of all, with logits for the host, which no run hands over.
static inline void runs_end(struct context *ctx, struct made *made)
{
    struct error err = {0};
    struct span spans[RUN_BATCH];
    struct step_result result;
    assert_int_equal(made->count, RUN_GEN - 2);
    runs_spans(made, spans);
    spans[0].logits = LOGITS_LAST;
    expect_ok(context_step(ctx, spans, made->batch, PHASE_DECODE, &result, &err), &err, "last");
    for (int i = 0; i < made->batch; i++)
        made->ids[i][made->count + 1] = result.ids[i];
    memcpy(made->logits, result.logits, (size_t)made->vocab * sizeof *made->logits);
    context_destroy(ctx);
}

static inline void made_by_steps(struct model *model, enum dtype kv, int batch,
                                 const struct sampling *sampling, struct made *out)
{
    struct context *ctx = runs_begin(model, kv, batch, sampling, out);
    while (out->count < RUN_GEN - 2) {
        struct error err = {0};
        struct step_result result;
        struct span spans[RUN_BATCH];
        runs_spans(out, spans);
        expect_ok(context_step(ctx, spans, batch, PHASE_DECODE, &result, &err), &err, "step");
        runs_keep(out, 0, &result);
    }
    runs_end(ctx, out);
}

// A run of one step, one ended after its third, one ended at its first, and all that is left.
static inline void made_by_runs(struct model *model, enum dtype kv, int batch,
                                const struct sampling *sampling, struct made *out)
{
    struct context *ctx = runs_begin(model, kv, batch, sampling, out);
    runs_run(ctx, out, 1, 1);
    runs_run(ctx, out, RUN_GEN - 2 - out->count, 3);
    runs_run(ctx, out, RUN_GEN - 2 - out->count, 1);
    runs_run(ctx, out, RUN_GEN - 2 - out->count, RUN_GEN);
    runs_end(ctx, out);
}

// Runs, steps and a run's own repetition in a batch make the same.
static inline void check_runs(const char *name, struct model *model, enum dtype kv,
                              const struct sampling *sampling)
{
    struct made steps[2], runs[2];
    static const int batches[] = {1, RUN_BATCH};
    for (int b = 0; b < 2; b++) {
        made_by_steps(model, kv, batches[b], sampling, &steps[b]);
        made_by_runs(model, kv, batches[b], sampling, &runs[b]);
        if (memcmp(steps[b].ids, runs[b].ids, sizeof steps[b].ids) != 0 ||
            memcmp(steps[b].logits, runs[b].logits, (size_t)steps[b].vocab * sizeof(float)) != 0)
            fail_msg("%s, batch %d: a run makes other bits than steps", name, batches[b]);
        assert_int_equal(steps[b].nonfinite, runs[b].nonfinite);
    }
    assert_memory_equal(runs[0].ids[0], runs[1].ids[0], sizeof runs[0].ids[0]);
    for (int b = 0; b < 2; b++) {
        free(steps[b].logits);
        free(runs[b].logits);
    }
}

#endif
