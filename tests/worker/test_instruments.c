// test_instruments.c - each instrument runs alone and untimed, and what one cannot measure is reported.
#include "tests/worker/scripted.h"

#include "results/metric.h"
#include "tests/device/pretend.h"

// The worker's device; it counts no energy.
static struct device *gpu;

enum { PROMPT = 8, GEN = 5, CHUNKS = 2 };

static struct job_cell cell_of(unsigned collect, int gen)
{
    return (struct job_cell){
        .batch = 1, .context = PROMPT + gen, .gen = gen, .chunk = 4, .reps = 1, .collect = collect};
}

// The figures of a cell that collects `collect` with this engine; `script` says what ran.
static json_t *run(const struct bench_engine *engine, unsigned collect, int gen,
                   struct script *script)
{
    struct job_cell cell = cell_of(collect, gen);
    struct instruments instruments;
    struct subject s;
    struct error err = {0};
    json_t *metrics = json_array();
    *script = (struct script){.jump_ns = 1000000};
    scripted_subject(script, &cell, engine, &s);
    instruments_open(&instruments, gpu,
                     COLLECT_INSTRUMENTS); // another cell of the job asks for all
    if (instruments_run(&instruments, &s, metrics, &err) != OK)
        fail_msg("%s", err.message);
    instruments_close(&instruments);
    scripted_fini(&s);
    return metrics;
}

static double op_time(json_t *metrics, const char *phase, const char *op)
{
    size_t i;
    json_t *row;
    json_array_foreach(metrics, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        const char *in = json_string_value(json_object_get(row, "phase"));
        const char *of = json_string_value(json_object_get(row, "op"));
        if (strcmp(name, METRIC_OP_TIME) == 0 && in && strcmp(in, phase) == 0 && of &&
            strcmp(of, op) == 0)
            return json_number_value(json_object_get(row, "value"));
    }
    return NAN;
}

// Prefill whole, decode by the mean step: 1.001 to 1.004 ms.
static void op_classes_by_phase(void **state)
{
    (void)state;
    struct script script;
    json_t *m = run(&SCRIPTED, COLLECT_TIMING, GEN, &script);
    assert_close(op_time(m, "prefill", "head"), CHUNKS * CHUNK_NS);
    assert_close(op_time(m, "decode", "down"), 1002500);
    assert_true(isnan(op_time(m, "decode", "head")));
    assert_int_equal(json_array_size(m), 2); // nothing that was not asked for
    assert_int_equal(script.begun, 1);       // one repetition
    assert_int_equal(script.observed, 2);    // set for each phase
    assert_null(script.observer);            // and taken back
    json_decref(m);

    m = run(&SCRIPTED, COLLECT_TIMING, 1, &script);
    assert_int_equal(json_array_size(m), 1);
    assert_int_equal(script.observed, 1);
    assert_null(script.observer);
    json_decref(m);
}

static void each_runs_alone_without_canaries(void **state)
{
    (void)state;
    struct script script;
    json_t *m = run(&SCRIPTED, COLLECT_INSTRUMENTS, GEN, &script);
    struct instruments open;
    int works = 0;
    instruments_open(&open, gpu, COLLECT_INSTRUMENTS);
    assert_true(open.count > 0);
    for (size_t i = 0; i < open.count; i++)
        works += open.at[i].works;
    instruments_close(&open);
    assert_int_equal(script.begun, works);
    assert_int_equal(script.steps, works * (CHUNKS + GEN - 1));
    assert_int_equal(script.probes, 0);
    assert_int_equal(script.untimed, 0);
    assert_int_equal(script.observed, 2); // of one repetition
    assert_true(metric_value(m, METRIC_PEAK_MEM, NULL) > 0);
    json_decref(m);
}

// Counters either count or say why not.
static void counters_count_or_say_why(void **state)
{
    (void)state;
    struct script script;
    json_t *m = run(&SCRIPTED, COLLECT_COUNTERS, GEN, &script);
    json_t *refused = metric_row(m, METRIC_INSTRUMENT_PREFIX "counters", NULL);
    size_t counted = json_array_size(m) - (refused ? 1 : 0);
    assert_true(counted > 0 || refused);
    assert_int_equal(counted % 2, 0); // prefill and decode alike
    if (refused) {
        assert_true(json_is_null(json_object_get(refused, "value")));
        assert_true(strlen(json_string_value(json_object_get(refused, "source"))) > 10);
    }
    json_decref(m);
}

static enum status whole_generate(void *run, struct bench_engine_request *request,
                                  struct error *err)
{
    (void)run;
    (void)request;
    (void)err;
    return OK;
}

// The one row is the reason why an instrument measured nothing.
static void reason_alone(json_t *metrics, const char *instrument, const char *reason)
{
    assert_int_equal(json_array_size(metrics), 1);
    json_t *row = metric_row(metrics, instrument, NULL);
    assert_non_null(row);
    assert_true(json_is_null(json_object_get(row, "value")));
    assert_string_equal(json_string_value(json_object_get(row, "source")), reason);
}

static void what_an_engine_cannot_do_is_reported(void **state)
{
    (void)state;
    struct script script;
    struct bench_engine silent = SCRIPTED;
    silent.name = "silent";
    silent.observe = NULL;
    json_t *m = run(&silent, COLLECT_TIMING, GEN, &script);
    reason_alone(m, METRIC_INSTRUMENT_PREFIX "observer",
                 "engine silent does not report its operations");
    json_decref(m);

    // An engine that runs its requests elsewhere: nothing of this process is taken for its own.
    const struct bench_engine whole = {
        .name = "whole", .begin = script_begin, .close = script_close, .generate = whole_generate};
    m = run(&whole, COLLECT_INSTRUMENTS, GEN, &script);
    struct instruments open;
    instruments_open(&open, gpu, COLLECT_INSTRUMENTS);
    for (size_t i = 0; i < open.count; i++) {
        char name[64];
        snprintf(name, sizeof name, METRIC_INSTRUMENT_PREFIX "%s", open.at[i].row->name);
        if (open.at[i].row->inside)
            assert_non_null(metric_row(m, name, NULL));
    }
    instruments_close(&open);
    json_t *row = metric_row(m, METRIC_INSTRUMENT_PREFIX "memory", NULL);
    assert_non_null(strstr(json_string_value(json_object_get(row, "source")), "engine whole"));
    json_decref(m);
}

// The plan predicts a repetition for each instrument that a cell asks for: its mask is the table's.
static void the_plan_knows_the_table(void **state)
{
    (void)state;
    struct instruments open;
    unsigned asked = 0;
    instruments_open(&open, gpu, ~0u);
    for (size_t i = 0; i < open.count; i++) {
        assert_int_equal(asked & open.at[i].row->collect, 0); // one bit, one repetition
        asked |= open.at[i].row->collect;
    }
    assert_int_equal(asked, COLLECT_INSTRUMENTS);
    instruments_close(&open);
    instruments_open(&open, gpu, COLLECT_QUALITY);
    assert_int_equal(open.count, 0);
    instruments_close(&open);
}

// A row that a device cannot serve is kept with the reason, which names the device.
static void energy_needs_a_counter(void **state)
{
    (void)state;
    struct script script;
    json_t *m = run(&SCRIPTED, COLLECT_ENERGY, GEN, &script);
    reason_alone(m, METRIC_INSTRUMENT_PREFIX "energy", "device cuda:0: nothing counts its energy");
    assert_int_equal(script.begun, 0);
    json_decref(m);
}

static int open_gpu(void **state)
{
    (void)state;
    gpu = pretend_opened("cuda:0", ISA_ALL);
    return 0;
}

static int close_gpu(void **state)
{
    (void)state;
    device_close(gpu);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(op_classes_by_phase),
        cmocka_unit_test(each_runs_alone_without_canaries),
        cmocka_unit_test(counters_count_or_say_why),
        cmocka_unit_test(what_an_engine_cannot_do_is_reported),
        cmocka_unit_test(the_plan_knows_the_table),
        cmocka_unit_test(energy_needs_a_counter),
    };
    return cmocka_run_group_tests(tests, open_gpu, close_gpu);
}
