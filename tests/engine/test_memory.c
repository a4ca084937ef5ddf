// test_memory.c - what a context takes is what was planned; steps allocate nothing; running out is an
// error that names sizes.
//
// Allocations are counted by standing in front of glibc's own (its __libc_ names); elsewhere, and under
// a sanitizer that stands there itself, the counting tests are skipped and say so.
#include "tests/engine/fixture.h"
#include "tests/sanitized.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"

#if defined(__GLIBC__) && !defined(SANITIZED)
#define COUNTED 1

static atomic_long calls;       // allocations since the last reset
static atomic_size_t requested; // their bytes
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t align, size_t size);

static void count(size_t size)
{
    atomic_fetch_add(&calls, 1);
    atomic_fetch_add(&requested, size);
}

void *malloc(size_t size)
{
    count(size);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count(n * size);
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    count(size);
    return __libc_realloc(old, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
    count(size);
    void *memory = __libc_memalign(align, size);
    if (memory)
        *out = memory;
    return memory ? 0 : 12; // ENOMEM
}
#else
#define COUNTED 0
static long calls;
static size_t requested;
#endif

struct fixture {
    struct device *device;
    struct model *model;
};

static struct fixture setup(const char *scheme, int threads)
{
    struct fixture f = {.device = device_of(threads)};
    f.model = load("models/reference", scheme, f.device);
    return f;
}

static void teardown(struct fixture f)
{
    model_destroy(f.model);
    device_close(f.device);
}

// Sampling included, whatever the sampling.
static void test_step_allocates_nothing(void **state)
{
    (void)state;
    if (!COUNTED) {
        print_message("allocations cannot be counted here: skipped\n");
        skip();
    }
    struct fixture f = setup("bf16", 2);
    struct context *ctx = context_of(
        f.model, (struct context_options){.batch = 2, .positions = 64, .chunk = 24, .kv = DT_BF16});
    struct error err = {0};
    const struct sampling ways[] = {{.temperature = 0},
                                    {.temperature = 1, .top_p = 1},
                                    {.temperature = 1, .top_p = 0.9f, .top_k = 40, .seed = 1}};
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        expect_ok(context_sample(ctx, &ways[way], &err), &err, "context_sample");
        context_reset(ctx);
        int32_t ids[2][24] = {{1, 2, 3}, {4, 5, 6}};
        struct step_result result;
        struct span spans[2] = {{0, 24, ids[0], LOGITS_NONE, true},
                                {1, 20, ids[1], LOGITS_LAST, true}};
        atomic_store(&calls, 0);
        expect_ok(context_step(ctx, spans, 2, PHASE_PREFILL, &result, &err), &err, "prefill");
        for (int i = 0; i < 20; i++) {
            ids[0][0] = result.ids[0];
            ids[1][0] = result.ids[1];
            spans[0].count = spans[1].count = 1;
            expect_ok(context_step(ctx, spans, 2, PHASE_DECODE, &result, &err), &err, "decode");
        }
        assert_int_equal(atomic_load(&calls), 0);
    }
    free(malloc(1)); // the counter counts
    assert_int_equal(atomic_load(&calls), 1);
    context_destroy(ctx);
    teardown(f);
}

// Bytes asked of malloc by context_create are the plan's, but for bookkeeping; likewise the
// weights by model_load, but for scratch of 16 rows a thread and the checkpoint's own.
static void test_plan_is_the_truth(void **state)
{
    (void)state;
    if (!COUNTED) {
        print_message("allocations cannot be counted here: skipped\n");
        skip();
    }
    static const struct context_options cases[] = {
        {.batch = 1, .positions = 128, .chunk = 64, .kv = DT_F32},
        {.batch = 7, .positions = 300, .chunk = 200, .kv = DT_BF16},
        {.batch = 2, .positions = 17, .chunk = 16, .kv = DT_F16, .logit_rows = 32},
    };
    for (int threads = 1; threads <= 2; threads++) {
        atomic_store(&requested, 0);
        struct fixture f = setup("bf16", threads);
        size_t loaded = atomic_load(&requested);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct error err = {0};
            struct memory_plan plan;
            expect_ok(engine_memory_plan(device_info(f.device), model_config(f.model),
                                         scheme_find("bf16"), &cases[i], threads, &plan, &err),
                      &err, "plan");
            size_t planned = plan.kv_bytes + plan.scratch_bytes;
            atomic_store(&requested, 0);
            struct context *ctx = context_of(f.model, cases[i]);
            size_t taken = atomic_load(&requested);
            print_message("threads %d, case %zu: planned %zu, taken %zu; weights %zu, load %zu\n",
                          threads, i, planned, taken, plan.weights_bytes, loaded);
            assert_true(taken >= planned && taken < planned + (16 << 10));
            assert_true(loaded >= plan.weights_bytes && loaded < plan.weights_bytes + (1 << 20));
            context_destroy(ctx);
        }
        teardown(f);
    }
}

#ifdef SANITIZED
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}
#endif

// Sizes no machine has, up to those that overflow size_t.
static void test_absurd_contexts_fail(void **state)
{
    (void)state;
    struct fixture f = setup("bf16", 1);
    static const struct context_options cases[] = {
        {.batch = 100000, .positions = 2000000000, .chunk = 1, .kv = DT_F32},
        {.batch = 2000000000, .positions = 2000000000, .chunk = 2000000000, .kv = DT_F32},
        {.batch = 1, .positions = 2000000000, .chunk = 1, .kv = DT_F32, .logit_rows = 2000000000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        struct context *ctx;
        assert_int_equal(context_create(f.model, &cases[i], &ctx, &err), ERR_NOMEM);
        assert_null(ctx);
        print_message("%s\n", err.message);
        assert_true(err.message[0]);
    }
    teardown(f);
}

// In a child whose memory is limited: 0 when both calls fail as they should.
static int limited_child(struct model *model, struct checkpoint *ck, struct device *device)
{
    struct error err = {0};
    struct context *ctx;
    if (os_limit_memory(64 << 20, &err) != OK)
        return err.code == ERR_UNSUPPORTED ? 77 : 2;
    struct context_options big = {.batch = 8, .positions = 8192, .chunk = 512, .kv = DT_F32};
    if (context_create(model, &big, &ctx, &err) != ERR_NOMEM || ctx)
        return 3;
    if (!strstr(err.message, "KV cache of 512 MiB") || !strstr(err.message, "scratch of"))
        return 4;
    struct context_options fits = {.batch = 1, .positions = 64, .chunk = 8, .kv = DT_F32};
    error_clear(&err);
    if (context_create(model, &fits, &ctx, &err) != OK) // and the engine continues
        return 5;
    context_destroy(ctx);
    struct model *second;
    if (os_limit_memory(40 << 20, &err) != OK)
        return 6;
    struct engine_options options = {.device = device, .scheme = scheme_find("f32")};
    if (model_load(ck, &options, NULL, NULL, &second, &err) != ERR_NOMEM || second)
        return 7;
    return strstr(err.message, "weights need") ? 0 : 8;
}

static void test_memory_limit(void **state)
{
    (void)state;
    // One thread: a child made by fork has no other workers.
    struct fixture f = setup("bf16", 1);
    struct error err = {0};
    struct checkpoint *ck;
    expect_ok(checkpoint_open("models/reference", &ck, &err), &err, "open");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(limited_child(f.model, ck, f.device));
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    if (WEXITSTATUS(result) == 77)
        print_message("no memory limit here (a system without, or a sanitizer): not checked\n");
    else
        assert_int_equal(WEXITSTATUS(result), 0);
    checkpoint_destroy(ck);
    teardown(f);
}

enum { LOADS_MOST = 8 }; // of one model, where the peak of a load is judged

// The file (28 MiB of f32) is never in memory next to the packed model (14 MiB of bf16). At most a tensor of it is,
// the embedding with 4 MiB. On a busy system a peak can hold what the kernel added, and what it adds varies. A file
// held in memory is in every peak, so the least of several loads is judged.
static void test_peak_of_a_load(void **state)
{
    (void)state;
    struct error err = {0};
    struct checkpoint *ck, *wide;
    struct conversion report;
    struct model *model;
    char path[64];
    snprintf(path, sizeof path, "/tmp/ridge-memory-%ld.gguf", (long)getpid());
    expect_ok(checkpoint_open("models/reference", &ck, &err), &err, "reference");
    expect_ok(checkpoint_convert(ck, "f32", path, NULL, NULL, &report, &err), &err, path);
    checkpoint_destroy(ck);
    expect_ok(checkpoint_open(path, &wide, &err), &err, path);
    struct device *device = device_of(2);
    struct engine_options options = {.device = device, .scheme = scheme_find("bf16")};
    struct context_options least = {.batch = 1, .positions = 1, .chunk = 1};
    struct memory_plan plan;
    expect_ok(engine_memory_plan(device_info(device), checkpoint_config(wide), options.scheme,
                                 &least, 2, &plan, &err),
              &err, "plan");
    // Pages of code, and what a huge page rounds up.
    int64_t most = (int64_t)plan.weights_bytes + (4 << 20) + (3 << 20), took = INT64_MAX;
    // Read once: what the allocator keeps of one load must count in the next one's peak.
    int64_t before = os_rss_bytes();
    bool measured = COUNTED;
    for (int load = 0; load < LOADS_MOST && took > most; load++) {
        measured = os_rss_peak_reset() && measured;
        expect_ok(model_load(wide, &options, NULL, NULL, &model, &err), &err, path);
        int64_t peak = os_rss_peak_bytes() - before;
        took = peak < took ? peak : took;
        model_destroy(model);
    }
    unlink(path);
    checkpoint_destroy(wide);
    device_close(device);
    if (!measured) {
        print_message("the peak cannot be measured here: skipped\n");
        skip();
    }
    print_message("peak of the load %lld, packed model %zu\n", (long long)took, plan.weights_bytes);
    assert_true(took <= most);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_allocates_nothing), cmocka_unit_test(test_plan_is_the_truth),
        cmocka_unit_test(test_absurd_contexts_fail),   cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_peak_of_a_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
