// test_decode.c - runs of decode steps on the CPU: they equal single steps, end when requested, and refuse what they
// cannot do before doing anything.
#include "tests/engine/runs.h"

#include "engine/backend.h"

static const struct sampling greedy = {.top_p = 1}, drawn = {0.8f, 40, 0.9f, 7};

static void test_runs_equal_steps(void **state)
{
    (void)state;
    static const struct {
        const char *path, *scheme;
        enum dtype kv;
    } cases[] = {{MODELS "llama-gqa3", "f32", DT_F32},
                 {MODELS "mistral-window", "bf16", DT_BF16},
                 {MODELS "mixtral", "f32", DT_F16},
                 {"models/reference", "int8", DT_I8}};
    struct device *device = device_of(2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model *model = load(cases[i].path, cases[i].scheme, device);
        check_runs(cases[i].path, model, cases[i].kv, &greedy);
        check_runs(cases[i].path, model, cases[i].kv, &drawn);
        model_destroy(model);
    }
    device_close(device);
}

static void expect_refused(struct context *ctx, const struct decode_run *run, const char *says)
{
    struct error err = {0};
    int made = -1;
    assert_int_equal(context_decode(ctx, run, &made, &err), ERR_USAGE);
    assert_non_null(strstr(err.message, says));
    assert_int_equal(made, 0);
}

static void test_refusals(void **state)
{
    (void)state;
    struct device *device = device_of(1);
    struct model *model = load(MODELS "llama-gqa3", "f32", device);
    struct made made;
    struct context *ctx = runs_begin(model, DT_F32, 2, &greedy, &made);
    struct span good[2], bad[2];
    runs_spans(&made, good);
    struct decode_run run = {
        .spans = good, .span_count = 2, .steps = 0, .done = runs_keep, .user = &made};
    expect_refused(ctx, &run, "a decode run of 0 steps");
    run.steps = RUN_GEN + 1; // room for RUN_GEN in the first, one more in the second
    expect_refused(ctx, &run, "sequence 0: 40 positions are left, the run has 41 steps");
    run.steps = 2;
    run.spans = bad;
    memcpy(bad, good, sizeof bad);
    bad[1].sample = false;
    expect_refused(ctx, &run, "sequence 1: a span of a decode run");
    memcpy(bad, good, sizeof bad);
    bad[0].logits = LOGITS_LAST;
    expect_refused(ctx, &run, "hands over no logits");
    memcpy(bad, good, sizeof bad);
    int32_t two[] = {1, 2};
    bad[0].tokens = two;
    bad[0].count = 2;
    expect_refused(ctx, &run, "one token");
    memcpy(bad, good, sizeof bad);
    bad[1].sequence = 0;
    expect_refused(ctx, &run, "named twice");
    assert_int_equal(made.count, 0);
    assert_int_equal(context_length(ctx, 0), RUN_PROMPT);
    runs_run(ctx, &made, RUN_GEN - 2, RUN_GEN); // and nothing was lost
    runs_end(ctx, &made);
    free(made.logits);
    model_destroy(model);
    device_close(device);
}

// Every layer's input becomes NaN from a position on: an id that cannot be drawn is -1, and the run continues with 0.
static int spoiled_from, spoiled_steps;
static void spoil(void *user, const struct engine_rows *rows)
{
    (void)user;
    if (rows->point == POINT_LAYER_INPUT && rows->layer == 0 && ++spoiled_steps > spoiled_from)
        rows->x[0] = NAN;
}

static bool keep_odd(void *user, int step, const struct step_result *result)
{
    int32_t *ids = user;
    ids[step] = result->ids[0];
    return true;
}

// A run continues after a step that drew nothing, and reports each such step.
static void test_nothing_to_draw(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = device_of(1);
    struct model *model = load(MODELS "llama-gqa3", "f32", device);
    struct made made;
    struct context *ctx = runs_begin(model, DT_F32, 1, &greedy, &made);
    struct engine_tap tap = {.on_rows = spoil};
    struct engine_observer observer = {.tap = &tap};
    int32_t ids[4] = {0};
    int ran = 0;
    struct span span;
    spoiled_from = 2;
    spoiled_steps = 0;
    context_observe(ctx, &observer);
    assert_int_equal(context_ahead(ctx), 0);
    runs_spans(&made, &span);
    struct decode_run run = {
        .spans = &span, .span_count = 1, .steps = 4, .done = keep_odd, .user = ids};
    expect_ok(context_decode(ctx, &run, &ran, &err), &err, "context_decode");
    assert_int_equal(ran, 4);
    assert_true(ids[0] >= 0 && ids[1] >= 0);
    assert_int_equal(ids[2], -1);
    assert_int_equal(ids[3], -1);
    context_destroy(ctx);
    free(made.logits);
    model_destroy(model);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_equal_steps),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_nothing_to_draw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
