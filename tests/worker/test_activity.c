// test_activity.c - figures of a trace: classes add up to the time the device worked, overlaps count once, gaps are
// those within steps; and the repetitions that the instrument runs.
#include "tests/worker/scripted.h"

#include "bench/worker/instrument_activity.h"
#include "results/metric.h"
#include "tests/device/pretend.h"

enum { PROMPT = 8, GEN = 5 };

static struct device_activity work(enum phase phase, int layer, enum op_class op, uint64_t begin,
                                   uint64_t end, const char *name)
{
    return (struct device_activity){.kind = DEVICE_KERNEL,
                                    .label = instrument_activity_label(phase, layer, op),
                                    .begin_ns = begin,
                                    .end_ns = end,
                                    .name = name};
}

static double op_value(json_t *metrics, const char *name, const char *phase, const char *op)
{
    size_t i;
    json_t *row;
    json_array_foreach(metrics, i, row)
    {
        const char *of = json_string_value(json_object_get(row, "op"));
        const char *in = json_string_value(json_object_get(row, "phase"));
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0 && of && in &&
            strcmp(of, op) == 0 && strcmp(in, phase) == 0)
            return json_number_value(json_object_get(row, "value"));
    }
    return NAN;
}

// Two steps of a decode with a pause between them, a kernel that starts before the end of the previous one, and the
// clock's own kernel in the pause.
static void classes_add_up_to_the_busy_time(void **state)
{
    (void)state;
    struct activity_sums sums;
    const struct device_activity records[] = {
        work(PHASE_PREFILL, 0, OPC_QKV, 0, 1000, "k_many"),
        work(PHASE_DECODE, -1, OPC_REST, 5000, 5100, "k_embed"),
        work(PHASE_DECODE, 0, OPC_QKV, 5100, 5400, "k_few"),
        work(PHASE_DECODE, 0, OPC_ATTENTION, 5350, 5500,
             "k_decode"),                                         // 50 of it under the one before
        work(PHASE_DECODE, 1, OPC_QKV, 5520, 5700, "k_few"),      // after a gap of 20
        work(PHASE_DECODE, -1, OPC_COUNT, 5705, 5710, "k_stamp"), // of 5
        work(PHASE_DECODE, -1, OPC_COUNT, 5710, 5740, "k_draw"),
        {.kind = DEVICE_KERNEL, .begin_ns = 7000, .end_ns = 7010, .name = "read_clock"},
        {.kind = DEVICE_COPY, .begin_ns = 7100, .end_ns = 7200, .name = "copy"},
        work(PHASE_DECODE, -1, OPC_REST, 8000, 8100, "k_embed"),
        work(PHASE_DECODE, 0, OPC_QKV, 8110, 8400, "k_few"), // of 10
        work(PHASE_DECODE, -1, OPC_COUNT, 8400, 8450, "k_draw"),
        {.kind = DEVICE_COPY, // of a step, and no launch
         .label = instrument_activity_label(PHASE_DECODE, -1, OPC_COUNT),
         .begin_ns = 8450,
         .end_ns = 8460,
         .name = "copy"},
    };
    instrument_activity_sum(records, sizeof records / sizeof *records, &sums);
    const struct activity_phase *d = &sums.phase[PHASE_DECODE];
    assert_close(sums.unlabelled_ns, 10);
    assert_close(sums.phase[PHASE_PREFILL].busy_ns, 1000);
    assert_close(sums.phase[PHASE_PREFILL].gap_ns, 0);
    assert_close(d->op_ns[OPC_QKV], 300 + 180 + 290);
    assert_close(d->op_ns[OPC_ATTENTION], 100);
    assert_close(d->op_ns[OPC_REST], 200);
    assert_close(d->op_ns[OPC_COUNT], 35 + 50 + 10);
    assert_close(d->busy_ns, 770 + 100 + 200 + 95);
    assert_close(d->gap_ns, 20 + 5 + 10);
    assert_int_equal(d->launches, 9);

    json_t *m = json_array();
    instrument_activity_phase(d, PHASE_DECODE, 2, m);
    assert_close(metric_value(m, METRIC_BUSY, "decode"), 1165.0 / 2);
    assert_close(metric_value(m, METRIC_LAUNCH_GAPS, "decode"), 35.0 / 2);
    assert_close(metric_value(m, METRIC_LAUNCHES, "decode"), 4.5);
    // Layer 0 worked for 300 + 100 + 290 ns, layer 1 for 180.
    assert_close(metric_value(m, METRIC_LAYER_TIME, "decode"), (690 + 180) / 2.0 / 2);
    assert_close(op_value(m, METRIC_LAYER_MOST, "decode", "layer 0"), 690.0 / 2);
    assert_close(op_value(m, METRIC_OP_TIME, "decode", "qkv"), 770.0 / 2);
    assert_close(op_value(m, METRIC_OP_TIME, "decode", "end of step"), 95.0 / 2);
    assert_true(isnan(op_value(m, METRIC_OP_TIME, "decode", "head"))); // it did not run
    assert_close(op_value(m, METRIC_KERNEL_TIME, "decode", "k_few"), 770.0 / 2);
    assert_close(op_value(m, METRIC_KERNEL_TIME, "decode", "k_draw"), 80.0 / 2);
    json_t *first = metric_row(m, METRIC_KERNEL_TIME, "decode");
    assert_string_equal(json_string_value(json_object_get(first, "op")), "k_few"); // the largest
    assert_string_equal(
        json_string_value(json_object_get(metric_row(m, METRIC_OP_TIME, NULL), "source")),
        "activity trace");
    assert_true(instrument_reported(m, METRIC_OP_TIME, PHASE_DECODE));
    assert_false(instrument_reported(m, METRIC_OP_TIME, PHASE_PREFILL));
    json_decref(m);
}

// A step that is one kernel has no classes; its other figures are stored.
static void one_kernel_has_no_classes(void **state)
{
    (void)state;
    struct activity_sums sums;
    const struct device_activity records[] = {
        work(PHASE_DECODE, -1, OPC_REST, 0, 10, "k_embed"),
        work(PHASE_DECODE, -1, OPC_COUNT, 10, 990, "k_step"),
        work(PHASE_DECODE, -1, OPC_COUNT, 990, 1000, "k_draw"),
    };
    json_t *m = json_array();
    instrument_activity_sum(records, 3, &sums);
    instrument_activity_phase(&sums.phase[PHASE_DECODE], PHASE_DECODE, 1, m);
    assert_false(instrument_reported(m, METRIC_OP_TIME, PHASE_DECODE));
    assert_false(instrument_reported(m, METRIC_LAYER_TIME, PHASE_DECODE));
    json_t *row = metric_row(m, METRIC_INSTRUMENT_PREFIX "activity", NULL);
    assert_non_null(strstr(json_string_value(json_object_get(row, "source")),
                           "decode: 99 % of its time is in work of no single op class"));
    assert_close(metric_value(m, METRIC_BUSY, "decode"), 1000);
    assert_close(op_value(m, METRIC_KERNEL_TIME, "decode", "k_step"), 980);
    json_decref(m);
}

// ---- the instrument on a pretend device's tracer -----------------------------------------------------------

// Each mark becomes a record of 100 ns.
static struct tracer {
    struct device_trace trace;
    const char *refuses, *loses;
    int begun, ended, destroyed, unlabelled;
    struct device_activity records[64];
    size_t count;
} tracer;

static enum status tracer_check(struct device *device, struct error *err)
{
    (void)device;
    (void)err;
    return OK;
}

static enum status tracer_begin(struct device *device, struct device_trace **out, struct error *err)
{
    if (tracer.refuses)
        return FAIL(err, ERR_UNSUPPORTED, "device %s: %s", device->info.name, tracer.refuses);
    tracer.begun++;
    tracer.count = 0;
    *out = &tracer.trace;
    return OK;
}

static void tracer_mark(struct device_trace *trace, uint32_t label)
{
    assert_ptr_equal(trace, &tracer.trace);
    assert_int_equal(tracer.ended, 0);
    tracer.records[tracer.count] = (struct device_activity){.kind = DEVICE_KERNEL,
                                                            .label = tracer.unlabelled ? 0 : label,
                                                            .begin_ns = 100 * tracer.count,
                                                            .end_ns = 100 * tracer.count + 100,
                                                            .name = "k"};
    tracer.count++;
}

static enum status tracer_end(struct device_trace *trace, const struct device_activity **out,
                              size_t *count, struct error *err)
{
    (void)trace;
    tracer.ended++;
    if (tracer.loses)
        return FAIL(err, ERR_IO, "%s", tracer.loses);
    *out = tracer.records;
    *count = tracer.count;
    return OK;
}

static void tracer_destroy(struct device_trace *trace)
{
    (void)trace;
    tracer.destroyed++;
}

// The scripted engine's steps, enqueued: a class of each phase.
static enum status marking_step(void *run, const struct span *spans, int count, enum phase phase,
                                struct step_result *result, struct error *err)
{
    struct script *s = run;
    const struct engine_observer *observer = s->observer;
    s->observer = NULL; // script_step would report times
    enum status status = script_step(run, spans, count, phase, result, err);
    s->observer = observer;
    if (observer && observer->on_enqueued)
        observer->on_enqueued(observer->user, phase, 0,
                              phase == PHASE_DECODE ? OPC_DOWN : OPC_HEAD);
    return status;
}

static enum status marking_decode(void *run, const struct decode_run *decode, int *made,
                                  struct error *err)
{
    struct step_result result;
    *made = 1;
    TRY(marking_step(run, decode->spans, decode->span_count, PHASE_DECODE, &result, err));
    decode->done(decode->user, 0, &result);
    return OK;
}

static json_t *run(struct script *script)
{
    static struct device_ops ops;
    ops = pretend_ops;
    ops.trace_check = tracer_check;
    ops.trace_begin = tracer_begin;
    ops.trace_mark = tracer_mark;
    ops.trace_end = tracer_end;
    ops.trace_destroy = tracer_destroy;
    struct device *gpu = pretend_opened("cuda:0", ISA_ALL);
    gpu->ops = &ops;
    struct bench_engine engine = SCRIPTED;
    engine.step = marking_step;
    engine.decode = marking_decode;
    struct job_cell cell = {.batch = 1,
                            .context = PROMPT + GEN,
                            .gen = GEN,
                            .chunk = 4,
                            .reps = 1,
                            .collect = COLLECT_ACTIVITY};
    struct instruments instruments;
    struct subject s;
    struct error err = {0};
    json_t *metrics = json_array();
    *script = (struct script){.jump_ns = 1000000};
    scripted_subject(script, &cell, &engine, &s);
    s.where = DEVICE_CUDA;
    instruments_open(&instruments, gpu, COLLECT_ACTIVITY);
    if (instruments_run(&instruments, &s, metrics, &err) != OK)
        fail_msg("%s", err.message);
    instruments_close(&instruments);
    scripted_fini(&s);
    device_close(gpu);
    return metrics;
}

static void traced_once_and_once_without(void **state)
{
    (void)state;
    struct script script;
    tracer = (struct tracer){0};
    json_t *m = run(&script);
    assert_int_equal(script.begun, 2);
    assert_int_equal(tracer.begun, 1);
    assert_int_equal(tracer.ended, 1);
    assert_int_equal(tracer.destroyed, 1);
    assert_null(script.observer);
    assert_int_equal(tracer.count, 2 + GEN - 1); // two chunks, and steps
    assert_close(op_value(m, METRIC_OP_TIME, "prefill", "head"), 200);
    assert_close(op_value(m, METRIC_OP_TIME, "decode", "down"), 100);
    assert_close(metric_value(m, METRIC_TRACED_TIME, "prefill"), 2 * CHUNK_NS - LOGITS_BEFORE_NS);
    assert_close(metric_value(m, METRIC_UNTRACED_TIME, "decode"), 1002500);
    assert_null(metric_row(m, METRIC_INSTRUMENT_PREFIX "activity", NULL));
    json_decref(m);
}

static void reason_is(const char *words, int begun)
{
    struct script script;
    json_t *m = run(&script);
    json_t *row = metric_row(m, METRIC_INSTRUMENT_PREFIX "activity", NULL);
    assert_non_null(row);
    const char *reason = json_string_value(json_object_get(row, "source"));
    if (!strstr(reason, words) || !strstr(reason, "; op classes are timed one by one instead"))
        fail_msg("'%s' instead of '%s'", reason, words);
    assert_int_equal(json_array_size(m), 1);
    assert_int_equal(script.begun, begun);
    assert_null(script.observer);
    json_decref(m);
}

static void what_cannot_be_traced_is_a_reason(void **state)
{
    (void)state;
    tracer = (struct tracer){.refuses = "another profiler is attached: end it"};
    reason_is("device cuda:0: another profiler is attached: end it", 0);
    tracer = (struct tracer){.loses = "CUPTI lost 3 records of the trace"};
    reason_is("CUPTI lost 3 records of the trace", 1);
    assert_int_equal(tracer.destroyed, 1);
    tracer = (struct tracer){.unlabelled = 1};
    reason_is("100 % of the kernels' time could not be matched to what the engine enqueued", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_add_up_to_the_busy_time),
        cmocka_unit_test(one_kernel_has_no_classes),
        cmocka_unit_test(traced_once_and_once_without),
        cmocka_unit_test(what_cannot_be_traced_is_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
