// test_verdict.c - a trial's figures compared with the ceilings: shares of the limits, work, verdicts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "bench/run/verdict.h"
#include "results/basis.h"
#include "results/metric.h"

static const struct plan_model llama = {.label = "7b",
                                        .config = {.layers = 32,
                                                   .width = 4096,
                                                   .heads = 32,
                                                   .kv_heads = 32,
                                                   .head_dim = 128,
                                                   .ff = 11008,
                                                   .vocab = 32000,
                                                   .max_positions = 4096}};
static const double READ = 50e9, F32 = 0.25e12, BF16 = 1e12;
static const double TPOT_NS[] = {400e6, 500e6, 410e6}, PREFILL_NS[] = {9e9, 10e9, 8e9};
static const double BESIDE = 40e9; // what the canaries of the second repetition read

static struct ceilings example(void)
{
    return (struct ceilings){
        .count = 4,
        .levels = 2,
        .level = {{"L3", 32 << 20, 2, 2, 1}, {"DRAM", (size_t)24 << 30, 2, 2, 1}},
        .row = {{"cpu", "read", "L3", "k", 2, 200e9, 198e9, 202e9, 9, 16e6},
                {"cpu", "read", "DRAM", "k", 2, READ, 49e9, 51e9, 9, 256e6},
                {"cpu", "f32_fma", "", "k", 2, F32, 0.249e12, 0.251e12, 9},
                {"cpu", "bf16_dot", "", "k", 2, BF16, 0.99e12, 1.01e12, 9}}};
}

static struct cell cell_of_a_context_of_512(void)
{
    return (struct cell){.model = &llama,
                         .scheme = scheme_find("bf16"),
                         .runs = *scheme_find("bf16"),
                         .device = "cpu",
                         .kv = DT_BF16,
                         .threads = 2,
                         .chunk = 512,
                         .batch = 2,
                         .context = 512,
                         .gen = 128,
                         .reps = 3};
}

// The work of that cell: 384 tokens of prompt, then 127 steps.
static void work_of_384_and_127(struct phase_work *prefill, struct phase_work *decode)
{
    struct work_input in = {.config = &llama.config,
                            .scheme = scheme_find("bf16"),
                            .kv = DT_BF16,
                            .batch = 2,
                            .prompt = 384,
                            .chunk = 512,
                            .gen = 128,
                            .cache_bytes = 32 << 20};
    work_prefill(&in, prefill);
    work_decode_step(&in, decode);
}

static double peak_ns(const struct phase_work *work)
{
    double ns = 0;
    for (int op = 0; op < OPC_COUNT; op++)
        ns += 1e9 * work->op[op].flop / (work->datapath[op] == DT_F32 ? F32 : BF16);
    return ns;
}

static void add_repetition(struct trial *t, int i)
{
    struct error err = {0};
    struct event e = {.type = EVENT_REPETITION,
                      .repetition = i + 1,
                      .token_hash = "abc",
                      .sequences = 2,
                      .tokens = 128,
                      .metric_count = 2,
                      .noise_count = i == 1};
    e.metrics = calloc(e.metric_count, sizeof *e.metrics);
    e.noise = calloc(1, sizeof *e.noise);
    assert_true(e.metrics && e.noise);
    e.metrics[0] = (struct store_metric){
        .name = METRIC_TPOT, .phase = "decode", .unit = "ns", .value = TPOT_NS[i]};
    e.metrics[1] = (struct store_metric){
        .name = METRIC_PREFILL_TIME, .phase = "prefill", .unit = "ns", .value = PREFILL_NS[i]};
    e.noise[0] =
        (struct store_metric){.name = NOISE_BANDWIDTH_DURING, .unit = "B/s", .value = BESIDE};
    assert_int_equal(trial_add(t, &e, &err), OK);
}

// A trial of three repetitions.
static void begin_trial(struct trial *t, const struct cell *cell)
{
    trial_begin(t, cell, 1, 1, NULL);
    for (int i = 0; i < 3; i++)
        add_repetition(t, i);
}

static double added(const struct trial *t, size_t i, const char *name, const char *phase)
{
    for (size_t m = 0; m < t->added_count[i]; m++)
        if (str_equal(t->added[i][m].name, name) && str_equal(t->added[i][m].phase, phase))
            return t->added[i][m].value;
    return NAN;
}

static void expect_near(double got, double wanted)
{
    if (!(fabs(got / wanted - 1) < 1e-12))
        fail_msg("%.17g instead of %.17g", got, wanted);
}

static const struct store_verdict *whole(const struct trial *t, const char *phase)
{
    for (size_t i = 0; i < t->verdict_count; i++)
        if (!t->verdicts[i].op && str_equal(t->verdicts[i].phase, phase))
            return &t->verdicts[i];
    fail_msg("no verdict of %s", phase);
    return NULL;
}

static void figures_beside_the_ceilings(void **state)
{
    (void)state;
    struct error err = {0};
    struct ceilings ceilings = example();
    struct cell cell = cell_of_a_context_of_512();
    struct phase_work prefill, decode;
    struct trial t;
    begin_trial(&t, &cell);
    assert_int_equal(trial_verdicts(&t, &ceilings, "{}", &err), OK);
    work_of_384_and_127(&prefill, &decode);
    for (size_t i = 0; i < 3; i++) {
        // 13.6 GB of weights and cache are in no cache: a share of memory's rate, then or by its ceiling.
        double rate = i == 1 ? BESIDE : READ;
        expect_near(added(&t, i, METRIC_MBU, "decode"),
                    1e9 * work_bytes(&decode.total) / rate / TPOT_NS[i]);
        expect_near(added(&t, i, METRIC_MFU, "decode"), peak_ns(&decode) / TPOT_NS[i]);
        expect_near(added(&t, i, METRIC_MFU, "prefill"), peak_ns(&prefill) / PREFILL_NS[i]);
    }
    assert_string_equal(t.work[0].name, METRIC_BYTES);
    assert_string_equal(t.work[0].phase, "prefill");
    expect_near(t.work[0].value, work_bytes(&prefill.total));
    expect_near(t.work[1].value, prefill.total.flop);
    expect_near(whole(&t, "decode")->measured_ns, 410e6); // medians
    expect_near(whole(&t, "prefill")->measured_ns, 9e9);
    expect_near(whole(&t, "decode")->t_memory_ns, 1e9 * work_bytes(&decode.total) / BESIDE);
    expect_near(whole(&t, "decode")->t_compute_ns, peak_ns(&decode));
    const struct store_verdict *v = whole(&t, "decode"); // canaries ran in one decode alone
    assert_string_equal(v->finding, FINDING_REACHED);
    expect_near(v->eta, v->t_roof_ns / 410e6);
    assert_true(v->eta > 0.8 && v->eta < 0.9); // 13.6 GB at 40 GB/s take 340 ms of 410
    assert_true(v->bandwidth_moved == 0 && v->eta_low == v->eta && v->eta_high == v->eta);
    assert_string_equal(v->reason, "");
    assert_null(v->loss_op); // no class was timed
    trial_fini(&t);
}

static struct store_metric counted_row(const char *name, const char *phase, double value)
{
    return (struct store_metric){
        .name = name, .phase = phase, .unit = "bytes", .source = "AMD amd_umc", .value = value};
}

// The trial's own figures: counted bytes of both phases, of the decode by way.
static void count_bytes(struct trial *t, double prefill, double decode)
{
    t->summary.metric_count = 3;
    t->summary.metrics = calloc(3, sizeof *t->summary.metrics);
    assert_non_null(t->summary.metrics);
    t->summary.metrics[0] = counted_row(METRIC_DRAM_BYTES, "prefill", prefill);
    t->summary.metrics[1] = counted_row(METRIC_DRAM_READ, "decode", 0.75 * decode);
    t->summary.metrics[2] = counted_row(METRIC_DRAM_WRITTEN, "decode", 0.25 * decode);
}

static const struct store_verdict *by_basis(const struct trial *t, const char *phase,
                                            const char *basis)
{
    for (size_t i = 0; i < t->verdict_count; i++)
        if (!t->verdicts[i].op && str_equal(t->verdicts[i].phase, phase) &&
            str_equal(t->verdicts[i].basis, basis))
            return &t->verdicts[i];
    return NULL;
}

static const struct store_metric *work_row(const struct trial *t, const char *name,
                                           const char *phase)
{
    for (size_t i = 0; i < t->work_count; i++)
        if (str_equal(t->work[i].name, name) && str_equal(t->work[i].phase, phase) &&
            !t->work[i].op)
            return &t->work[i];
    return NULL;
}

static void counted_bytes_give_a_second_verdict(void **state)
{
    (void)state;
    struct error err = {0};
    struct ceilings ceilings = example();
    struct cell cell = cell_of_a_context_of_512();
    struct phase_work prefill, decode;
    struct trial t;
    work_of_384_and_127(&prefill, &decode);
    begin_trial(&t, &cell);
    count_bytes(&t, 1.09 * work_bytes(&prefill.total), 1.25 * work_bytes(&decode.total));
    assert_int_equal(trial_verdicts(&t, &ceilings, "{}", &err), OK);
    expect_near(work_row(&t, METRIC_DRAM_RATIO, "prefill")->value, 1.09);
    expect_near(work_row(&t, METRIC_DRAM_RATIO, "decode")->value, 1.25);
    assert_string_equal(work_row(&t, METRIC_DRAM_RATIO, "decode")->source, "AMD amd_umc");
    expect_near(work_row(&t, METRIC_DRAM_BYTES, "decode")->value, 1.25 * work_bytes(&decode.total));
    assert_null(work_row(&t, METRIC_DRAM_BYTES, "prefill")); // the trial has it
    expect_near(work_row(&t, METRIC_BYTES, "decode")->value, work_bytes(&decode.total));
    const struct store_verdict *analytic = by_basis(&t, "decode", BASIS_CLOCK);
    const struct store_verdict *counted = by_basis(&t, "decode", BASIS_COUNTERS);
    assert_non_null(analytic);
    assert_non_null(counted);
    expect_near(counted->t_memory_ns, 1.25 * analytic->t_memory_ns);
    expect_near(counted->t_compute_ns, analytic->t_compute_ns);
    expect_near(counted->eta, counted->t_roof_ns / 410e6);
    assert_non_null(strstr(counted->text, "; 1.25 times the analytic bytes were counted"));
    counted = by_basis(&t, "prefill", BASIS_COUNTERS);
    assert_non_null(counted);
    assert_null(strstr(counted->text, "counted")); // within 10 %
    assert_true(t.verdict_count <= VERDICTS_MAX);
    trial_fini(&t);
}

// Where nothing was counted, or a cache holds the working set, the verdict is the analytic one alone.
static void without_counted_bytes_there_is_one_verdict(void **state)
{
    (void)state;
    struct cell cell = cell_of_a_context_of_512();
    for (int cached = 0; cached < 2; cached++) {
        struct error err = {0};
        struct ceilings ceilings = example();
        struct trial t;
        ceilings.level[0].size_bytes = cached ? (size_t)1 << 40 : 32 << 20;
        begin_trial(&t, &cell);
        count_bytes(&t, cached ? 1e9 : (double)NAN, cached ? 1e9 : 0); // NaN: a counter failed
        assert_int_equal(trial_verdicts(&t, &ceilings, "{}", &err), OK);
        assert_null(work_row(&t, METRIC_DRAM_RATIO, "decode"));
        assert_null(work_row(&t, METRIC_DRAM_RATIO, "prefill"));
        assert_non_null(by_basis(&t, "decode", BASIS_CLOCK));
        assert_null(by_basis(&t, "decode", BASIS_COUNTERS));
        assert_null(by_basis(&t, "prefill", BASIS_COUNTERS));
        trial_fini(&t);
    }
}

// A batch or a length that the cell does not have is no repetition of it.
static void repetitions_of_another_shape_are_refused(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 128}, {2, 127}, {3, 128}};
    struct cell cell = cell_of_a_context_of_512();
    for (size_t i = 0; i < 3; i++) {
        struct error err = {0};
        struct trial t;
        struct event e = {.type = EVENT_REPETITION,
                          .repetition = 1,
                          .sequences = shapes[i][0],
                          .tokens = shapes[i][1]};
        trial_begin(&t, &cell, 1, 1, NULL);
        assert_int_equal(trial_add(&t, &e, &err), ERR_FORMAT);
        assert_int_equal(t.repetition_count, 0);
        trial_fini(&t);
    }
}

static const struct store_verdict *class_verdict(const struct trial *t, enum op_class op)
{
    for (size_t i = 0; i < t->verdict_count; i++)
        if (t->verdicts[i].op && str_equal(t->verdicts[i].phase, "decode") &&
            str_equal(t->verdicts[i].op, op_class_name(op)))
            return &t->verdicts[i];
    fail_msg("no verdict of %s", op_class_name(op));
    return NULL;
}

// Classes of 1.25 times a step of 410 ms have shares; of more they are not its parts, and say so.
static void classes_longer_than_their_step_have_no_share(void **state)
{
    (void)state;
    static const double head_ns[] = {0.24 * 410e6, 0.27 * 410e6};
    for (int over = 0; over < 2; over++) {
        struct error err = {0};
        struct ceilings ceilings = example();
        struct cell cell = cell_of_a_context_of_512();
        struct trial t;
        begin_trial(&t, &cell);
        struct store_metric *rows = calloc(2, sizeof *rows);
        assert_non_null(rows);
        rows[0] = (struct store_metric){.name = METRIC_OP_TIME,
                                        .phase = "decode",
                                        .op = op_class_name(OPC_DOWN),
                                        .unit = "ns",
                                        .value = 410e6};
        rows[1] = rows[0];
        rows[1].op = op_class_name(OPC_HEAD);
        rows[1].value = head_ns[over];
        struct event observed = {.type = EVENT_TRIAL, .metrics = rows, .metric_count = 2};
        assert_int_equal(trial_add(&t, &observed, &err), OK);
        assert_int_equal(trial_verdicts(&t, &ceilings, "{}", &err), OK);
        const struct store_verdict *head = class_verdict(&t, OPC_HEAD);
        assert_int_equal(isnan(head->eta), over);
        const char *none = "; no share: timed one by one, the classes took 1.3 times the phase";
        assert_int_equal(strstr(head->text, none) != NULL, over);
        assert_null(strstr(whole(&t, "decode")->text, "no share"));
        trial_fini(&t);
    }
}

// Classes that the activity trace timed are of its basis; the phase keeps its own.
static void traced_classes_name_the_trace(void **state)
{
    (void)state;
    struct error err = {0};
    struct ceilings ceilings = example();
    struct cell cell = cell_of_a_context_of_512();
    struct trial t;
    begin_trial(&t, &cell);
    struct store_metric *row = calloc(1, sizeof *row);
    assert_non_null(row);
    *row = (struct store_metric){.name = METRIC_OP_TIME,
                                 .phase = "decode",
                                 .op = op_class_name(OPC_DOWN),
                                 .unit = "ns",
                                 .source = METRIC_SOURCE_ACTIVITY,
                                 .value = 100e6};
    struct event traced = {.type = EVENT_TRIAL, .metrics = row, .metric_count = 1};
    assert_int_equal(trial_add(&t, &traced, &err), OK);
    assert_int_equal(trial_verdicts(&t, &ceilings, "{}", &err), OK);
    assert_string_equal(class_verdict(&t, OPC_DOWN)->basis, "activity trace + analytic");
    assert_string_equal(whole(&t, "decode")->basis, "host clock + analytic");
    assert_true(trial_traced(&t, "decode"));
    assert_false(trial_traced(&t, "prefill"));
    trial_fini(&t);
}

// A GPU counts tensor operations, too: what disagrees is named with its cause, and the roof keeps the analytic ones.
static void counted_operations_are_compared(void **state)
{
    (void)state;
    struct error err = {0};
    struct ceilings ceilings = example();
    struct cell cell = cell_of_a_context_of_512();
    struct phase_work prefill, decode;
    struct trial t;
    work_of_384_and_127(&prefill, &decode);
    begin_trial(&t, &cell);
    count_bytes(&t, 1.05 * work_bytes(&prefill.total), 1.05 * work_bytes(&decode.total));
    struct store_metric more[] = {counted_row(METRIC_TENSOR_OPS, "prefill", prefill.total.flop),
                                  counted_row(METRIC_TENSOR_OPS, "decode", 8 * decode.total.flop)};
    struct store_metric *rows = realloc(t.summary.metrics, 5 * sizeof *rows);
    assert_non_null(rows);
    memcpy(rows + 3, more, sizeof more);
    t.summary.metrics = rows;
    t.summary.metric_count = 5;
    assert_int_equal(trial_verdicts(&t, &ceilings, "{}", &err), OK);
    expect_near(work_row(&t, METRIC_OPS_RATIO, "prefill")->value, 1);
    expect_near(work_row(&t, METRIC_OPS_RATIO, "decode")->value, 8);
    const struct store_verdict *analytic = by_basis(&t, "decode", BASIS_CLOCK);
    const struct store_verdict *counted = by_basis(&t, "decode", BASIS_COUNTERS);
    expect_near(counted->t_compute_ns, analytic->t_compute_ns);
    assert_non_null(strstr(counted->text, "; 8.00 times the analytic operations were counted "
                                          "(tiles are wider than the tokens of a step)"));
    assert_null(strstr(counted->text, "bytes were counted"));
    assert_null(strstr(by_basis(&t, "prefill", BASIS_COUNTERS)->text, "counted"));
    trial_fini(&t);
}

// Without a count there is no ratio: operations alone have one and no verdict, reads without writes have none.
static void a_count_without_its_partner_has_no_ratio(void **state)
{
    (void)state;
    struct error err = {0};
    struct ceilings ceilings = example();
    struct cell cell = cell_of_a_context_of_512();
    struct phase_work prefill, decode;
    struct trial t;
    work_of_384_and_127(&prefill, &decode);
    begin_trial(&t, &cell);
    struct store_metric *rows = calloc(2, sizeof *rows);
    assert_non_null(rows);
    rows[0] = counted_row(METRIC_DRAM_READ, "decode", 1e9);
    rows[1] = counted_row(METRIC_TENSOR_OPS, "prefill", 1.5 * prefill.total.flop);
    t.summary.metrics = rows;
    t.summary.metric_count = 2;
    assert_int_equal(trial_verdicts(&t, &ceilings, "{}", &err), OK);
    expect_near(work_row(&t, METRIC_OPS_RATIO, "prefill")->value, 1.5);
    assert_null(work_row(&t, METRIC_OPS_RATIO, "decode"));
    assert_null(work_row(&t, METRIC_DRAM_RATIO, "decode"));
    assert_null(by_basis(&t, "prefill", BASIS_COUNTERS));
    trial_fini(&t);
}

// A large cache of the host holds nothing that a GPU writes.
static void the_hosts_cache_is_the_hosts(void **state)
{
    (void)state;
    struct ceilings *c = calloc(1, sizeof *c);
    struct cell cell = cell_of_a_context_of_512();
    struct phase_work host, gpu, decode;
    *c = example();
    c->level[0].size_bytes = (size_t)1 << 40;
    trial_work(&cell, c, &host, &decode);
    cell.device = "cuda:99"; // its cache is not known: all that is written counts
    trial_work(&cell, c, &gpu, &decode);
    assert_true(host.total.activation_bytes == 0);
    assert_true(gpu.total.activation_bytes > 0);
    cell.device_cache_bytes = (size_t)1 << 40; // the plan has it: no device is looked for
    trial_work(&cell, c, &gpu, &decode);
    assert_true(gpu.total.activation_bytes == 0);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_beside_the_ceilings),
        cmocka_unit_test(counted_bytes_give_a_second_verdict),
        cmocka_unit_test(without_counted_bytes_there_is_one_verdict),
        cmocka_unit_test(repetitions_of_another_shape_are_refused),
        cmocka_unit_test(traced_classes_name_the_trace),
        cmocka_unit_test(classes_longer_than_their_step_have_no_share),
        cmocka_unit_test(the_hosts_cache_is_the_hosts),
        cmocka_unit_test(counted_operations_are_compared),
        cmocka_unit_test(a_count_without_its_partner_has_no_ratio),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
