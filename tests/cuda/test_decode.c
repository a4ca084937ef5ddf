// test_decode.c - decode runs on a GPU, enqueued ahead of the host: the bits of single steps, and clocks that are tied.
#include "tests/cuda/gpu.h"

#include "tests/engine/runs.h"

// Runs of steps enqueued ahead make the bits of single steps.
static void test_runs_equal_steps(void **state)
{
    (void)state;
    NEED_GPU();
    static const struct {
        const char *path, *scheme;
        enum dtype kv;
    } cases[] = {{MODELS "llama-gqa3", "f32", DT_F32},
                 {MODELS "gemma2", "bf16", DT_BF16},
                 {MODELS "mixtral", "bf16", DT_BF16}, // steps, not ahead
                 {"models/reference", "bf16", DT_BF16},
                 {"models/reference", "int8", DT_I8},
                 {"models/reference", "int4-rtn", DT_F16},
                 {"models/reference", "fp8", DT_F8E4M3},
                 {"models/reference", "fp8-w8a8", DT_BF16},
                 {"tests/golden/q8_0/model.gguf", "q8_0", DT_BF16}};
    static const struct sampling greedy = {.top_p = 1}, drawn = {0.8f, 40, 0.9f, 7};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model *model = load(cases[i].path, cases[i].scheme, gpu);
        for (int again = 0; again < 3; again++) {
            check_runs(cases[i].path, model, cases[i].kv, &greedy);
            check_runs(cases[i].path, model, cases[i].kv, &drawn);
        }
        model_destroy(model);
        print_message("%-32s %-9s runs equal steps\n", cases[i].path, cases[i].scheme);
    }
}

static bool count_steps(void *user, int step, const struct step_result *result)
{
    struct step_result *last = user;
    if (step > 0) // one after the other, with no more than a graph's launch between them
        assert_true(result->begin_ns >= last->end_ns);
    *last = *result;
    return true;
}

// Runs until the caches are full, again and again: the ring goes round, and no step is lost.
static void test_long_runs(void **state)
{
    (void)state;
    NEED_GPU();
    enum { POSITIONS = 3000 };
    struct error err = {0};
    struct model *model = load(MODELS "llama-gqa3", "bf16", gpu);
    struct context *ctx = context_of(
        model,
        (struct context_options){.batch = 1, .positions = POSITIONS, .chunk = 1, .kv = DT_BF16});
    int32_t token = 1;
    struct span span = {.count = 1, .tokens = &token, .sample = true};
    struct step_result last = {0};
    struct decode_run run = {.spans = &span, .span_count = 1, .done = count_steps, .user = &last};
    assert_true(context_ahead(ctx) > 0);
    for (run.steps = 1; run.steps <= POSITIONS; run.steps = run.steps * 3 + 1) {
        int made = 0;
        context_reset(ctx);
        expect_ok(context_decode(ctx, &run, &made, &err), &err, "context_decode");
        assert_int_equal(made, run.steps);
        assert_int_equal(context_length(ctx, 0), run.steps);
    }
    struct engine_observer observer = {0};
    context_observe(ctx, &observer); // observed steps are never ahead of who observes them
    assert_int_equal(context_ahead(ctx), 0);
    context_destroy(ctx);
    model_destroy(model);
}

static void count_marks(void *user, enum phase phase, int layer, enum op_class op)
{
    int *marks = user;
    (void)layer;
    assert_int_equal(phase, PHASE_DECODE);
    assert_true(op <= OPC_COUNT);
    ++*marks;
}

// Steps run ahead of an observer that only hears what was enqueued. It hears it once, when their graph is recorded.
static void test_told_runs(void **state)
{
    (void)state;
    NEED_GPU();
    enum { STEPS = 5 };
    struct error err = {0};
    int32_t token = 1;
    int marks = 0, made = 0;
    struct span span = {.count = 1, .tokens = &token, .sample = true};
    struct step_result last = {0};
    struct decode_run run = {
        .spans = &span, .span_count = 1, .steps = STEPS, .done = count_steps, .user = &last};
    struct model *model = load(MODELS "llama-gqa3", "bf16", gpu);
    struct context *ctx = context_of(
        model,
        (struct context_options){.batch = 1, .positions = 4 * STEPS, .chunk = 1, .kv = DT_BF16});
    const struct engine_observer told = {.on_enqueued = count_marks, .user = &marks};
    expect_ok(context_decode(ctx, &run, &made, &err), &err, "context_decode"); // a graph before it
    context_observe(ctx, &told);
    assert_true(context_ahead(ctx) > 0);
    expect_ok(context_decode(ctx, &run, &made, &err), &err, "context_decode");
    const int once = marks;
    assert_true(once > 1);
    expect_ok(context_decode(ctx, &run, &made, &err), &err, "context_decode");
    assert_int_equal(marks, once);
    context_observe(ctx, NULL);
    expect_ok(context_decode(ctx, &run, &made, &err), &err, "context_decode");
    assert_int_equal(marks, once);
    context_destroy(ctx);
    model_destroy(model);
}

// A prompt and a decode run from empty sequences.
static void prompt_and_decode(struct context *ctx, int prompt_tokens, int steps)
{
    static const int32_t prompt[64];
    struct error err = {0};
    int32_t token = 1;
    int made = 0;
    struct step_result last = {0};
    struct span first = {.count = prompt_tokens, .tokens = prompt, .sample = true};
    struct span next = {.count = 1, .tokens = &token, .sample = true};
    struct decode_run run = {
        .spans = &next, .span_count = 1, .steps = steps, .done = count_steps, .user = &last};
    context_reset(ctx);
    expect_ok(context_step(ctx, &first, 1, PHASE_PREFILL, &last, &err), &err, "prefill");
    expect_ok(context_decode(ctx, &run, &made, &err), &err, "context_decode");
}

// Whether rounds of prompts and decode runs of a new context leave the device's free memory as it is.
static bool rounds_take_nothing(struct model *model)
{
    struct context *ctx = context_of(
        model, (struct context_options){.batch = 1, .positions = 256, .chunk = 64, .kv = DT_BF16});
    size_t before = (size_t)device_memory(gpu).available_bytes;
    bool same = true;
    for (int round = 0; round < 3; round++) {
        prompt_and_decode(ctx, 40 + round, 30);
        same = same && (size_t)device_memory(gpu).available_bytes == before;
    }
    context_destroy(ctx);
    return same;
}

// Steps take no memory of the device beyond that of their context. The driver loads the code of a kernel at its first
// launch, so a first context has all of it loaded. Other programs on the GPU change its free memory as well, but a step
// that allocates would do so in each of many contexts.
static void test_steps_allocate_nothing(void **state)
{
    (void)state;
    NEED_GPU();
    struct model *model = load("models/reference", "bf16", gpu);
    for (int form = DECODE_GRAPH; form <= DECODE_PERSISTENT; form++) {
        bool nothing = false;
        fixture_decode = (enum decode_form)form;
        rounds_take_nothing(model);
        for (int context = 0; context < 20 && !nothing; context++)
            nothing = rounds_take_nothing(model);
        if (!nothing)
            fail_msg("form %d: free memory changed in each of 20 contexts", form);
    }
    fixture_decode = DECODE_GRAPH;
    model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_equal_steps),
        cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_told_runs),
        cmocka_unit_test(test_steps_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, gpu_setup, gpu_teardown);
}
