// test_engines.c - the table of engines, and the calls that each kind of engine sets.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench/engines/builtin.h"
#include "bench/engines/engines.h"
#include "results/store.h"

static void names_are_found(void **state)
{
    (void)state;
    assert_ptr_equal(bench_engine_find(STORE_ENGINE), &bench_engine_builtin);
    assert_null(bench_engine_find("vllm"));
    assert_null(bench_engine_find(""));
}

// The built-in engine is driven: all calls of that kind, and not the other.
static void the_builtin_is_driven(void **state)
{
    (void)state;
    const struct bench_engine *e = &bench_engine_builtin;
    assert_true(e->load && e->describe && e->memory && e->unload && e->open && e->close &&
                e->begin);
    assert_true(e->step && e->truncate && e->clock_ns && e->wait_ns && e->observe);
    assert_null(e->generate);
}

struct told {
    int loads;
    double last;
};

static void progress(void *user, const char *phase, double done)
{
    struct told *told = user;
    assert_string_equal(phase, "load");
    assert_true(done >= told->last && done <= 1);
    told->last = done;
    told->loads++;
}

static struct device *one_thread(void)
{
    struct error err = {0};
    struct device *device = NULL;
    struct device_options options = {.threads = 1, .isa = ISA_ALL};
    if (device_open(DEVICE_DEFAULT, &options, &device, &err) != OK)
        fail_msg("%s", err.message);
    return device;
}

static void the_builtin_describes_what_it_loaded(void **state)
{
    (void)state;
    struct error err = {0};
    struct told told = {0};
    struct job job = {.threads = 1,
                      .isa = ISA_ALL,
                      .device = "cpu",
                      .scheme = "f32",
                      .head = DT_F32,
                      .model_path = "tests/golden/models/llama-gqa3"};
    struct device *device = NULL;
    void *model = NULL, *run = NULL;
    struct bench_engine_facts facts;
    struct memory_plan memory;
    const struct job_cell cell = {.batch = 2, .context = 12, .gen = 4, .chunk = 8, .kv = DT_F32};
    device = one_thread();
    struct bench_engine_load in = {
        .job = &job, .device = device, .progress = progress, .user = &told};
    if (bench_engine_builtin.load(&in, &model, &err) != OK)
        fail_msg("%s", err.message);
    assert_true(told.loads > 0);
    bench_engine_builtin.describe(model, &facts);
    assert_string_equal(facts.version, PLAN_ENGINE_WORK);
    assert_string_equal(facts.stored, "");
    assert_string_equal(facts.scheme->name, "f32");
    assert_string_equal(facts.arithmetic, facts.scheme->arithmetic);
    assert_string_equal(facts.config->arch, "llama");
    assert_null(facts.tokenizer);
    assert_null(facts.calibration);
    assert_int_equal(bench_engine_builtin.memory(model, &cell, &memory, &err), OK);
    const struct model_config *c = facts.config;
    assert_true(memory.kv_bytes >= (size_t)2 * 12 * 2 * 4 * (size_t)c->layers *
                                       (size_t)c->kv_heads * (size_t)c->head_dim);
    assert_int_equal(bench_engine_builtin.open(model, &cell, &run, &err), OK);
    bench_engine_builtin.close(run);
    bench_engine_builtin.unload(model);

    model = NULL;
    job.scheme = "no-such";
    assert_int_equal(bench_engine_builtin.load(&in, &model, &err), ERR_UNSUPPORTED);
    assert_null(model);
    bench_engine_builtin.unload(NULL);
    device_close(device);
}

enum { DRAWN = 12 };

// The ids of one repetition of one sequence: a prompt of four tokens, then decode steps.
static void draw(void *run, struct sampling sampling, int32_t ids[DRAWN])
{
    const struct bench_engine *e = &bench_engine_builtin;
    static const int32_t prompt[] = {3, 1, 4, 1};
    struct error err = {0};
    struct step_result result;
    struct span span = {.sequence = 0, .count = 4, .tokens = prompt, .sample = true};
    assert_int_equal(e->begin(run, &sampling, &err), OK);
    for (int i = 0; i < DRAWN; i++) {
        assert_int_equal(e->step(run, &span, 1, i ? PHASE_DECODE : PHASE_PREFILL, &result, &err),
                         OK);
        ids[i] = result.ids[0];
        span = (struct span){.sequence = 0, .count = 1, .tokens = &ids[i], .sample = true};
    }
}

// Each repetition begins empty, with the cell's sampling and its streams at their start.
static void repetitions_begin_alike(void **state)
{
    (void)state;
    struct error err = {0};
    struct job job = {.threads = 1,
                      .isa = ISA_ALL,
                      .device = "cpu",
                      .scheme = "f32",
                      .head = DT_F32,
                      .model_path = "tests/golden/models/llama-gqa3"};
    const struct job_cell cell = {
        .batch = 1, .context = 40, .gen = DRAWN, .chunk = 8, .kv = DT_F32};
    struct told told = {0};
    struct device *device = one_thread();
    struct bench_engine_load in = {
        .job = &job, .device = device, .progress = progress, .user = &told};
    void *model = NULL, *run = NULL;
    assert_int_equal(bench_engine_builtin.load(&in, &model, &err), OK);
    assert_int_equal(bench_engine_builtin.open(model, &cell, &run, &err), OK);
    const struct sampling greedy = {.top_p = 1}, hot = {.temperature = 50, .top_p = 1, .seed = 7},
                          other = {.temperature = 50, .top_p = 1, .seed = 8};
    int32_t first[DRAWN], ids[DRAWN];
    draw(run, hot, first);
    draw(run, hot, ids);
    assert_memory_equal(ids, first, sizeof ids);
    draw(run, greedy, ids);
    assert_memory_not_equal(ids, first, sizeof ids);
    draw(run, other, ids);
    assert_memory_not_equal(ids, first, sizeof ids);
    draw(run, hot, ids);
    assert_memory_equal(ids, first, sizeof ids);
    bench_engine_builtin.close(run);
    bench_engine_builtin.unload(model);
    device_close(device);
}

// A prompt that is a text needs a tokenizer, and this model has none.
static void a_missing_tokenizer_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct told told = {0};
    struct job job = {.threads = 1,
                      .isa = ISA_ALL,
                      .device = "cpu",
                      .scheme = "f32",
                      .head = DT_F32,
                      .model_path = "tests/golden/models/llama-gqa3"};
    struct device *device = NULL;
    void *model = NULL;
    device = one_thread();
    struct bench_engine_load in = {
        .job = &job, .device = device, .tokenizer = true, .progress = progress, .user = &told};
    assert_int_not_equal(bench_engine_builtin.load(&in, &model, &err), OK);
    assert_null(model);
    assert_true(err.message[0] != '\0');
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(the_builtin_is_driven),
        cmocka_unit_test(the_builtin_describes_what_it_loaded),
        cmocka_unit_test(repetitions_begin_alike),
        cmocka_unit_test(a_missing_tokenizer_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
