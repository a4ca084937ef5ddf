// test_step.c - compares the persistent decode step with the same step kernel by kernel.
// It covers every weight type, KV type, number of tokens and property of shapes, and checks that the bits are the same
// on every run.
#include "tests/cuda/step_rig.h"

enum { CASES = 24 };

static const enum dtype types[] = {DT_BF16, DT_F16, DT_I8, DT_F8E4M3, DT_I4, DT_I4};
static const enum dtype kvs[] = {DT_BF16, DT_F16, DT_I8, DT_F8E4M3};
static const struct step_shape shapes[] = {
    {2, 256, 4, 4, 64, 512, 320},        {3, 512, 8, 2, 64, 1408, 1000},
    {2, 1024, 16, 16, 64, 2816, 777},    {2, 2048, 16, 8, 128, 5632, 512},
    {1, 64, 4, 1, 16, 96, 99},           {2, 96, 3, 3, 32, 160, 64},
    {2, 4096, 32, 32, 128, 11008, 2000},
};
enum { TYPES = sizeof types / sizeof *types, SHAPES = sizeof shapes / sizeof *shapes };

static struct rig rig_of(int type, int index)
{
    static const int positions[] = {0, 1, 15, 16, 17, 200, 513, 700};
    static const enum kernel_op ops[] = {KOP_SWIGLU, KOP_GELU, KOP_GELU_TANH, KOP_RELU};
    struct rig r = {
        .shape = shapes[index % SHAPES],
        .type = types[type],
        .kv = kvs[(index + type) % 4],
        .group = type == 4 ? 32 : 128,
        .tokens = 1 + index % STEP_MOST_TOKENS,
        .positions = 720,
        .bias = index % 3 == 1,
        .qk_norm = index % 5 == 2,
        .interleaved = index % 2 == 1,
        .activation = ops[index % 7 % 4],
    };
    for (int i = 0; i < r.tokens; i++)
        r.position[i] = positions[(index + 3 * i) % 8];
    return r;
}

static size_t logits_of(const struct rig *r)
{
    return (size_t)r->tokens * (size_t)r->shape.vocab;
}

static void check_case(int type, int index)
{
    struct rig r = rig_of(type, index);
    gpu_case(dtype_name(r.type), index + 100 * type);
    rig_make(&r);
    while (!r.served && r.tokens > 1) { // this number of tokens leaves no room for a ring
        rig_drop(&r);
        r.tokens--;
        rig_make(&r);
    }
    assert_true(r.served);
    size_t n = logits_of(&r), bytes = n * sizeof(float), kv = kv_bytes(&r.cache);
    float *kernels = malloc(bytes), *step = malloc(bytes), *again = malloc(bytes);
    unsigned char *cache = malloc(kv), *cache_step = malloc(kv);
    rig_reset_residual(&r);
    rig_run_kernels(&r, RIG_ALL);
    down(kernels, r.logits, bytes);
    down(cache, r.cache.memory, kv);
    rig_reset_cache(&r);
    struct error err = {0};
    gpu_ok(cuda_queue_fill(queue, r.logits, 0xff, bytes, &err), &err);
    rig_run_step(&r);
    down(step, r.logits, bytes);
    down(cache_step, r.cache.memory, kv);
    double d = rig_difference(step, kernels, n);
    size_t other = 0;
    for (size_t i = 0; i < kv; i++)
        other += cache[i] != cache_step[i];
    print_message(
        "%-8s case %2d: %d tokens, width %d, KV %s: logits differ by %.1e, KV bytes %.4f %%\n",
        dtype_name(r.type), index, r.tokens, r.shape.width, dtype_name(r.kv), d,
        100.0 * (double)other / (double)kv);
    // Codes of 8 bits, of inputs or of the cache, move whole where sums in another order round apart.
    bool codes = r.kv == DT_I8 || r.kv == DT_F8E4M3;
    if (!(d < (r.type == DT_I8 ? 0.1 : codes ? 0.06 : 0.02)))
        fail_msg("%s, case %d, seed %llu: logits differ by %g", dtype_name(r.type), index,
                 (unsigned long long)gpu_seed, d);
    if (other > 2 * (size_t)(r.shape.layers * r.shape.kv_heads * r.shape.head_dim * r.tokens) * 2)
        fail_msg("case %d: %zu bytes of the cache differ", index, other);
    const char *runs = getenv("RIDGE_RUNS"); // repeated, 20 where it says nothing
    for (int i = 0; i < (runs ? atoi(runs) : 20); i++) {
        rig_run_step(&r);
        down(again, r.logits, bytes);
        if (memcmp(again, step, bytes) != 0)
            fail_msg("%s, case %d, seed %llu: other bits in run %d", dtype_name(r.type), index,
                     (unsigned long long)gpu_seed, i);
    }
    free(kernels);
    free(step);
    free(again);
    free(cache);
    free(cache_step);
    rig_drop(&r);
}

static void test_step_is_the_kernels_step(void **state)
{
    (void)state;
    NEED_GPU();
    const char *cases = getenv("RIDGE_CASES");
    const char *begin = getenv("RIDGE_FIRST");
    int count = cases ? atoi(cases) : CASES;
    for (int type = 0; type < TYPES; type++)
        for (int index = begin ? atoi(begin) : 0; index < count; index++)
            check_case(type, index);
}

// Many inputs in random order: each has the same bits every time, whatever other steps left in shared memory and in the
// exchange. RIDGE_FRESH: how many steps.
static void check_inputs(int type, int tokens)
{
    enum { INPUTS = 32 };
    const char *steps = getenv("RIDGE_FRESH");
    int count = steps ? atoi(steps) : 2000;
    struct rig r = rig_of(type, type);
    gpu_case("fresh inputs", type + 100 * tokens);
    r.tokens = tokens;
    for (int i = 0; i < tokens; i++)
        r.position[i] = 40 * i;
    if (count == 0)
        return;
    rig_make(&r);
    assert_true(r.served);
    const size_t n = logits_of(&r), width = (size_t)(r.shape.width * tokens);
    float *x = malloc(INPUTS * width * sizeof *x), *first = malloc(INPUTS * n * sizeof *first);
    float *again = malloc(n * sizeof *again);
    struct error err = {0};
    for (size_t i = 0; i < INPUTS * width; i++)
        x[i] = 2 * rng_f32(&gpu_rng) - 1;
    for (int i = 0; i < INPUTS + count; i++) {
        const int which = i < INPUTS ? i : between(0, INPUTS - 1);
        float *bits = first + (size_t)which * n;
        gpu_ok(device_copy_in(gpu, r.x, x + (size_t)which * width, width * sizeof *x, &err), &err);
        if (i < INPUTS) {
            rig_reset_residual(&r);
            rig_run_kernels(&r, RIG_ALL);
            down(again, r.logits, n * sizeof *again);
            rig_run_step(&r);
            down(bits, r.logits, n * sizeof *bits);
            double d = rig_difference(bits, again, n);
            if (!(d < (r.type == DT_I8 ? 0.1 : 0.06)))
                fail_msg("%s, input %d, seed %llu: logits differ by %g", dtype_name(r.type), which,
                         (unsigned long long)gpu_seed, d);
            continue;
        }
        rig_run_step(&r);
        down(again, r.logits, n * sizeof *again);
        if (memcmp(again, bits, n * sizeof *again) != 0)
            fail_msg("%s, group %d, seed %llu: other bits of input %d in step %d",
                     dtype_name(r.type), r.group, (unsigned long long)gpu_seed, which, i);
    }
    free(x);
    free(first);
    free(again);
    rig_drop(&r);
}

static void test_fresh_inputs(void **state)
{
    (void)state;
    NEED_GPU();
    for (int type = 0; type < TYPES; type++) {
        check_inputs(type, 1);
        if (types[type] != DT_F16) // the wide form does not serve it
            check_inputs(type, STEP_MOST_TOKENS);
    }
}

// Words pass between blocks in every phase: after many steps the bits are the first step's. RIDGE_STEPS: how many.
static void check_steps(int tokens)
{
    enum { BETWEEN = 100 };
    const char *steps = getenv("RIDGE_STEPS");
    struct rig r = rig_of(0, 0);
    gpu_case("many steps", tokens);
    r.shape.layers = 8;
    r.tokens = tokens;
    for (int i = 0; i < tokens; i++)
        r.position[i] = 17 * i;
    rig_make(&r);
    size_t bytes = logits_of(&r) * sizeof(float);
    float *first = malloc(bytes), *again = malloc(bytes);
    rig_run_step(&r);
    down(first, r.logits, bytes);
    int count = steps ? atoi(steps) : 2000;
    for (int i = 0; i < count; i += BETWEEN) {
        for (int k = 0; k < BETWEEN; k++)
            rig_run_step(&r);
        down(again, r.logits, bytes);
        if (memcmp(again, first, bytes) != 0)
            fail_msg("seed %llu: other bits after %d steps", (unsigned long long)gpu_seed, i);
    }
    print_message("%d steps of %d tokens, %.2g exchanges between blocks\n", count, tokens,
                  (double)count * r.shape.layers * STEP_LAYER_PHASES);
    free(first);
    free(again);
    rig_drop(&r);
}

static void test_many_steps(void **state)
{
    (void)state;
    NEED_GPU();
    check_steps(1);
    check_steps(STEP_MOST_TOKENS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_step_is_the_kernels_step),
                                       cmocka_unit_test(test_fresh_inputs),
                                       cmocka_unit_test(test_many_steps)};
    return cmocka_run_group_tests(tests, gpu_setup, gpu_teardown);
}
