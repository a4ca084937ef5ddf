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

// One, but for counters: one for each group of events that this machine counts at once.
static int repetitions_of(const struct instrument *row)
{
    struct counters *counters = NULL;
    struct error err = {0};
    if (row != &instrument_counters)
        return 1;
    assert_int_equal(counters_open(&counters, &err), OK);
    int groups = (int)counters_groups(counters);
    counters_close(counters);
    return groups;
}

static void each_runs_alone_without_canaries(void **state)
{
    (void)state;
    struct script script;
    json_t *m = run(&SCRIPTED, COLLECT_INSTRUMENTS, GEN, &script);
    struct instruments open;
    int works = 0; // repetitions of those that work
    instruments_open(&open, gpu, COLLECT_INSTRUMENTS);
    assert_true(open.count > 0);
    for (size_t i = 0; i < open.count; i++)
        works += open.at[i].works ? repetitions_of(open.at[i].row) : 0;
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

// ---- counters of a device ----------------------------------------------------------------------------------

// A device whose counters need three passes.
static struct {
    bool refused, fails, open;
    int begun, ended, passes;
} hardware;

static enum status hardware_check(struct device *device, struct error *err)
{
    (void)device;
    (void)err;
    return OK;
}
static enum status hardware_open(struct device *device, struct device_counters **out,
                                 struct error *err)
{
    static struct device_counters counters;
    if (hardware.refused)
        return FAIL(err, ERR_UNSUPPORTED, "device %s: run as root", device->info.name);
    hardware.open = true;
    *out = &counters;
    return OK;
}
static const char *hardware_reason(const struct device_counters *counters)
{
    (void)counters;
    return "hits of L2: not here";
}
static enum status hardware_begin(struct device_counters *counters, struct error *err)
{
    (void)counters;
    (void)err;
    assert_int_equal(hardware.begun++, hardware.ended);
    return OK;
}
static enum status hardware_end(struct device_counters *counters, bool *again, struct error *err)
{
    (void)counters;
    assert_int_equal(++hardware.ended, hardware.begun);
    *again = hardware.ended % 3 != 0;
    return hardware.fails ? FAIL(err, ERR_IO, "device cuda:0: lost") : OK;
}
static void hardware_read(const struct device_counters *counters, struct device_counts *out)
{
    (void)counters;
    for (int q = 0; q < DEVICE_QUANTITIES; q++)
        out->value[q] = q == DEVICE_CACHE_HITS ? (double)NAN : q == DEVICE_MEMORY_SHARE ? 0.5 : 800;
}
static void hardware_close(struct device_counters *counters)
{
    (void)counters;
    hardware.open = false;
}

// The first figure of this name and phase; NaN where it has no value, -1 where there is none.
static double figure(json_t *metrics, const char *name, const char *phase, const char **source)
{
    size_t i;
    json_t *row;
    json_array_foreach(metrics, i, row)
    {
        const char *of = json_string_value(json_object_get(row, "phase"));
        const json_t *value = json_object_get(row, "value");
        if (strcmp(json_string_value(json_object_get(row, "name")), name) != 0 ||
            (phase && (!of || strcmp(of, phase) != 0)))
            continue;
        *source = json_string_value(json_object_get(row, "source"));
        return json_is_null(value) ? (double)NAN : json_number_value(value);
    }
    return -1;
}

static json_t *count_on_hardware(struct script *script)
{
    struct device_ops ops = *gpu->ops;
    const struct device_ops *before = gpu->ops;
    ops.counters_check = hardware_check;
    ops.counters_open = hardware_open;
    ops.counters_reason = hardware_reason;
    ops.counters_source = "scripted";
    ops.counters_begin = hardware_begin;
    ops.counters_end = hardware_end;
    ops.counters_read = hardware_read;
    ops.counters_close = hardware_close;
    gpu->ops = &ops;
    json_t *metrics = run(&SCRIPTED, COLLECT_COUNTERS, GEN, script);
    gpu->ops = before;
    assert_false(hardware.open);
    return metrics;
}

// Each phase runs as often as the counters need. Amounts of a decode are a step's, shares are not divided.
static void a_device_counts_its_phases(void **state)
{
    (void)state;
    struct script script;
    const char *source = "";
    memset(&hardware, 0, sizeof hardware);
    json_t *m = count_on_hardware(&script);
    assert_int_equal(hardware.ended, 6);
    assert_true(figure(m, METRIC_DRAM_READ, "prefill", &source) == 800);
    assert_string_equal(source, "scripted");
    assert_true(figure(m, METRIC_DRAM_READ, "decode", &source) == 800.0 / (GEN - 1));
    assert_true(figure(m, METRIC_TENSOR_OPS, "decode", &source) == 800.0 / (GEN - 1));
    assert_true(figure(m, METRIC_DRAM_SHARE, "decode", &source) == 0.5);
    assert_true(figure(m, METRIC_L2_HITS, "decode", &source) == -1);
    json_decref(m);
}

static void a_device_that_does_not_count_says_why(void **state)
{
    (void)state;
    struct script script;
    memset(&hardware, 0, sizeof hardware);
    hardware.refused = true;
    json_t *m = count_on_hardware(&script);
    bool said = false;
    size_t i;
    json_t *row;
    json_array_foreach(m, i, row) said =
        said || (strstr(json_string_value(json_object_get(row, "source")), METRIC_NO_DRAM) &&
                 strstr(json_string_value(json_object_get(row, "source")), "run as root"));
    assert_true(said);
    json_decref(m);
    memset(&hardware, 0, sizeof hardware);
    hardware.fails = true;
    m = count_on_hardware(&script);
    const char *source = "";
    assert_int_equal(hardware.ended, 1); // nothing more is counted
    assert_true(figure(m, METRIC_DRAM_READ, NULL, &source) == -1);
    json_decref(m);
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
        cmocka_unit_test(a_device_counts_its_phases),
        cmocka_unit_test(a_device_that_does_not_count_says_why),
    };
    return cmocka_run_group_tests(tests, open_gpu, close_gpu);
}
