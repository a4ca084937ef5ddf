// test_step.c - what a step hands back: ids drawn on the device, logits only on request, a count of those that
// are not finite, and times.
#include "tests/engine/fixture.h"

#include <stdlib.h>

#include "base/clock.h"
#include "engine/backend.h"
#include "engine/model/sampler.h"

enum { BATCH = 3, PROMPT = 6, STEPS = 12 };

static const struct sampling ways[] = {
    {.temperature = 0},
    {.temperature = 1.5f, .top_p = 1, .seed = 3},
    {.temperature = 1.5f, .top_p = 0.8f, .top_k = 50, .seed = 4},
};

static struct step_result run(struct context *ctx, const struct span *spans, int count)
{
    struct error err = {0};
    struct step_result result;
    expect_ok(context_step(ctx, spans, count, PHASE_DECODE, &result, &err), &err, "step");
    return result;
}

static void sample(struct context *ctx, struct sampling sampling)
{
    struct error err = {0};
    expect_ok(context_sample(ctx, &sampling, &err), &err, "context_sample");
}

// The id that one thread draws from a whole row.
static int32_t drawn(const struct sampling *sampling, struct rng *stream, const float *row,
                     int vocab)
{
    struct error err = {0};
    struct sampler s;
    struct logits_scan scan = logits_scan(row, 0, vocab);
    expect_ok(sampler_init(&s, vocab, &err), &err, "sampler_init");
    int32_t id = sampler_next(&s, sampling, stream, row, vocab, &scan);
    sampler_fini(&s);
    return id;
}

// A prompt, then decode steps on what was drawn. The spans come in falling order of sequences, so that a span's
// number is not its sequence's.
static void check_ids(struct model *model, struct sampling sampling, enum logits_wanted wanted,
                      int32_t ids[STEPS][BATCH])
{
    struct context *ctx = context_of(
        model, (struct context_options){
                   .batch = BATCH, .positions = PROMPT + STEPS, .chunk = PROMPT, .kv = DT_F32});
    int vocab = model_config(model)->vocab;
    int32_t tokens[PROMPT] = {3, 1, 4, 1, 5, 9};
    struct rng streams[BATCH];
    struct span spans[BATCH];
    sample(ctx, sampling);
    for (int i = 0; i < BATCH; i++) {
        int sequence = BATCH - 1 - i;
        streams[i] = sampling_stream(sampling.seed, sequence);
        spans[i] = (struct span){sequence, PROMPT - i, tokens, wanted, true};
    }
    for (int n = 0; n < STEPS; n++) {
        struct step_result r = run(ctx, spans, BATCH);
        assert_int_equal(r.logits != NULL, wanted != LOGITS_NONE);
        assert_int_equal(r.nonfinite, 0);
        for (int i = 0; i < BATCH; i++) {
            assert_in_range(r.ids[i], 0, vocab - 1);
            if (r.logits)
                assert_int_equal(r.ids[i], drawn(&sampling, &streams[i],
                                                 r.logits + (size_t)i * (size_t)vocab, vocab));
            ids[n][i] = r.ids[i];
            spans[i] = (struct span){BATCH - 1 - i, 1, &ids[n][i], wanted, true};
        }
    }
    context_destroy(ctx);
}

// One thread or two (test_many_threads.c: many), with logits for the host and without, draws what one thread draws from
// the whole row.
static void test_ids_are_those_of_one_thread(void **state)
{
    (void)state;
    int different = 0;
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        int32_t first[STEPS][BATCH], ids[STEPS][BATCH];
        for (int threads = 1; threads <= 2; threads++) {
            struct device *device = device_of(threads);
            struct model *model = load("models/reference", "bf16", device);
            check_ids(model, ways[way], LOGITS_LAST, threads == 1 ? first : ids);
            if (threads > 1)
                assert_memory_equal(ids, first, sizeof first);
            check_ids(model, ways[way], LOGITS_NONE, ids);
            assert_memory_equal(ids, first, sizeof first);
            model_destroy(model);
            device_close(device);
        }
        different += first[0][0] != first[STEPS - 1][0];
    }
    assert_true(different > 0);
}

// Rows for the host stay together in span order, whatever is made for sampling between them.
static void test_rows_for_the_host(void **state)
{
    (void)state;
    struct device *device = device_of(2);
    struct model *model = load(MODELS "llama-gqa3", "f32", device);
    size_t vocab = (size_t)model_config(model)->vocab;
    struct context_options options = {
        .batch = 4, .positions = 8, .chunk = 4, .kv = DT_F32, .logit_rows = 16};
    struct context *ctx = context_of(model, options), *all = context_of(model, options);
    const int32_t tokens[] = {7, 8, 9, 10};
    struct span spans[] = {{0, 4, tokens, LOGITS_NONE, true},
                           {1, 3, tokens, LOGITS_ALL, true},
                           {2, 2, tokens + 1, LOGITS_NONE, true},
                           {3, 4, tokens, LOGITS_LAST, false}};
    struct step_result mixed = run(ctx, spans, 4);
    for (int i = 0; i < 4; i++) {
        spans[i].logits = LOGITS_ALL;
        spans[i].sample = false;
    }
    struct step_result whole = run(all, spans, 4);
    assert_memory_equal(mixed.logits, whole.logits + 4 * vocab, 3 * vocab * sizeof(float));
    assert_memory_equal(mixed.logits + 3 * vocab, whole.logits + 12 * vocab, vocab * sizeof(float));
    for (int i = 0; i < 4; i++)
        assert_int_equal(whole.ids[i], -1);
    struct rng unused;
    const float *last[] = {whole.logits + 3 * vocab, whole.logits + 6 * vocab,
                           whole.logits + 8 * vocab};
    for (int i = 0; i < 3; i++)
        assert_int_equal(mixed.ids[i], drawn(&ways[0], &unused, last[i], (int)vocab));
    assert_int_equal(mixed.ids[3], -1);
    spans[0] = (struct span){0, 1, tokens, LOGITS_NONE, false};
    assert_null(run(ctx, spans, 1).logits);
    context_destroy(all);
    context_destroy(ctx);
    model_destroy(model);
    device_close(device);
}

// More tokens than one pass takes: the rows of all passes are sampled.
static void test_ids_of_several_passes(void **state)
{
    (void)state;
    enum { SEQUENCES = 5, COUNT = 300 };
    struct device *device = device_of(2);
    struct model *model = load(MODELS "qwen2-tied", "f32", device);
    struct context *ctx = context_of(
        model, (struct context_options){
                   .batch = SEQUENCES, .positions = COUNT, .chunk = COUNT, .kv = DT_F16});
    int32_t tokens[SEQUENCES][COUNT], alone[SEQUENCES];
    struct span spans[SEQUENCES];
    for (int i = 0; i < SEQUENCES; i++) {
        for (int t = 0; t < COUNT; t++)
            tokens[i][t] = (i * 131 + t * t) % model_config(model)->vocab;
        spans[i] = (struct span){i, COUNT, tokens[i], LOGITS_NONE, true};
        alone[i] = run(ctx, &spans[i], 1).ids[0];
    }
    context_reset(ctx);
    assert_memory_equal(run(ctx, spans, SEQUENCES).ids, alone, sizeof alone);
    context_destroy(ctx);
    model_destroy(model);
    device_close(device);
}

// A new context is greedy; context_sample restarts the streams; a step without `sample` leaves them alone.
static void test_streams_restart(void **state)
{
    (void)state;
    struct device *device = device_of(2);
    struct model *model = load(MODELS "llama-gqa3", "f32", device);
    struct context *ctx = context_of(
        model, (struct context_options){.batch = 2, .positions = 64, .chunk = 4, .kv = DT_F32});
    const int32_t tokens[] = {7, 8, 9, 10};
    struct span span = {1, 4, tokens, LOGITS_LAST, true};
    struct rng unused;
    struct step_result r = run(ctx, &span, 1);
    assert_int_equal(r.ids[0], drawn(&ways[0], &unused, r.logits, model_config(model)->vocab));

    int32_t first[8], again[8];
    int moved = 0;
    for (int round = 0; round < 2; round++) {
        sample(ctx, ways[1]);
        for (int i = 0; i < 8; i++) {
            context_truncate(ctx, 1, 0);
            (round ? again : first)[i] = run(ctx, &span, 1).ids[0];
            context_truncate(ctx, 1, 0);
            struct span quiet = {1, 4, tokens, LOGITS_LAST, false};
            run(ctx, &quiet, 1);
            moved += first[i] != first[0];
        }
    }
    assert_memory_equal(first, again, sizeof first);
    assert_true(moved > 0);

    struct error err = {0};
    struct sampling bad = {.temperature = -1, .top_p = 1};
    assert_int_equal(context_sample(ctx, &bad, &err), ERR_USAGE);
    context_destroy(ctx);
    model_destroy(model);
    device_close(device);
}

// Writes a NaN into one token's residual stream behind the last layer.
static void spoil(void *user, const struct engine_rows *rows)
{
    const int *layer = user;
    if (rows->point == POINT_LAYER_INPUT && rows->layer == *layer)
        rows->x[2 * rows->ld] = NAN;
}

// All logits of the spoiled token are counted, whether they were made for the host or for sampling. Nothing can be
// drawn from them, and the other sequence is drawn as before.
static void test_counts_what_is_not_finite(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        struct device *device = device_of(threads);
        struct model *model = load(MODELS "llama-gqa3", "f32", device);
        struct context *ctx = context_of(
            model, (struct context_options){.batch = 2, .positions = 8, .chunk = 4, .kv = DT_F32});
        int vocab = model_config(model)->vocab, last = model_config(model)->layers - 1;
        struct engine_tap tap = {.on_rows = spoil, .user = &last};
        struct engine_observer observer = {.tap = &tap};
        const int32_t tokens[] = {7, 8, 9, 10};
        struct span spans[] = {{0, 3, tokens, LOGITS_NONE, true},
                               {1, 4, tokens, LOGITS_NONE, true}};
        int32_t healthy = run(ctx, spans, 2).ids[1];
        context_reset(ctx);
        context_observe(ctx, &observer);
        struct step_result r = run(ctx, spans, 2);
        assert_int_equal(r.nonfinite, vocab);
        assert_int_equal(r.ids[0], -1);
        assert_int_equal(r.ids[1], healthy);
        context_reset(ctx);
        spans[0] = (struct span){0, 3, tokens, LOGITS_LAST, false};
        assert_int_equal(run(ctx, spans, 1).nonfinite, vocab);
        context_reset(ctx);
        spans[0].logits = LOGITS_NONE; // no logits are made
        assert_int_equal(run(ctx, spans, 1).nonfinite, 0);
        context_destroy(ctx);
        model_destroy(model);
        device_close(device);
    }
}

// Only the order is checked: a step lies between two readings of the context's clock, which on the host is clock_ns.
static void test_times(void **state)
{
    (void)state;
    struct device *device = device_of(2);
    struct model *model = load(MODELS "llama-gqa3", "f32", device);
    struct context *ctx = context_of(
        model, (struct context_options){.batch = 1, .positions = 8, .chunk = 4, .kv = DT_F32});
    const int32_t tokens[] = {7, 8, 9, 10};
    struct span span = {0, 4, tokens, LOGITS_NONE, true};
    uint64_t before = clock_ns(), waited = context_wait_ns(ctx), began = context_clock_ns(ctx);
    struct step_result r = run(ctx, &span, 1);
    uint64_t ended = context_clock_ns(ctx), after = clock_ns();
    assert_true(before <= began && began <= r.begin_ns && r.begin_ns <= r.logits_ns);
    assert_true(r.logits_ns <= r.end_ns && r.end_ns <= ended && ended <= after);
    assert_true(context_wait_ns(ctx) - waited <= after - before);
    assert_int_equal(context_wait_ns(ctx), device_wait_ns(device));
    context_destroy(ctx);
    model_destroy(model);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_are_those_of_one_thread),
        cmocka_unit_test(test_rows_for_the_host),
        cmocka_unit_test(test_ids_of_several_passes),
        cmocka_unit_test(test_streams_restart),
        cmocka_unit_test(test_counts_what_is_not_finite),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
