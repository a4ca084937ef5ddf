// test_profile.c - a profile of a made-up cell: shares and sums of its classes, what would help most, what is missing.
#include "tests/report/pages.h"

#include <jansson.h>

#include "report/profile.h"
#include "results/basis.h"
#include "results/metric.h"

enum { GEN = 8 };

// One op class of a phase as a trial stores it: 4 figures and a verdict.
struct made_class {
    const char *phase, *op, *bound;
    double time_ns, bytes, flop, memory_ns, compute_ns;
};

// A decode step of 1000 ns: 900 in classes, 20 of sampling. A prefill of 4000 ns.
static const struct made_class classes[] = {
    {"decode", "gate-up", "memory", 500, 4000, 4000, 400, 20},
    {"decode", "attention", "memory", 300, 1000, 100, 100, 10},
    {"decode", "head", "memory", 100, 1000, 900, 100, 5},
    {"prefill", "gate-up", "compute", 3600, 4000, 200000, 400, 1800},
};
enum { CLASSES = sizeof classes / sizeof *classes, METRICS_MAX = 64, FIGURES = 5 };

struct made_cell {
    struct store_metric metrics[METRICS_MAX], figures[FIGURES];
    size_t count;
    struct store_verdict verdicts[CLASSES + 3];
    size_t verdict_count;
    const char *status, *reason; // NULL: ok
};

static void metric(struct made_cell *m, const char *name, const char *unit, const char *phase,
                   const char *op, const char *source, double value)
{
    assert_true(m->count < METRICS_MAX);
    m->metrics[m->count++] = (struct store_metric){name, unit, source, phase, op, value};
}

static void verdict(struct made_cell *m, const char *phase, const char *op, const char *bound,
                    double memory_ns, double compute_ns, double measured_ns)
{
    double roof_ns = fmax(memory_ns, compute_ns), eta = roof_ns / measured_ns;
    m->verdicts[m->verdict_count++] = (struct store_verdict){
        .phase = phase,
        .op = op,
        .basis = BASIS_CLOCK,
        .bound = bound,
        .text = "made up",
        .finding = FINDING_REACHED,
        .t_roof_ns = roof_ns,
        .t_memory_ns = memory_ns,
        .t_compute_ns = compute_ns,
        .measured_ns = measured_ns,
        .eta = eta,
        .eta_low = eta,
        .eta_high = eta,
        .bandwidth_moved = NAN,
        .loss_share = NAN,
        .rho = compute_ns / memory_ns,
        .rho_low = NAN,
        .rho_high = NAN,
        .overhead_share = NAN,
        .thresholds_json = "{}",
    };
}

static void fill(struct made_cell *m, const char *source)
{
    for (size_t i = 0; i < CLASSES; i++) {
        const struct made_class *c = &classes[i];
        metric(m, METRIC_OP_TIME, "ns", c->phase, c->op, source, c->time_ns);
        metric(m, METRIC_BYTES, "bytes", c->phase, c->op, "analytic", c->bytes);
        metric(m, METRIC_FLOP, "FLOP", c->phase, c->op, "analytic", c->flop);
        verdict(m, c->phase, c->op, c->bound, c->memory_ns, c->compute_ns, c->time_ns);
    }
    metric(m, METRIC_OP_TIME, "ns", "decode", METRIC_OP_END, source, 20);
    verdict(m, "decode", NULL, "memory", 600, 35, 1000);
    verdict(m, "prefill", NULL, "compute", 400, 1800, 4000);
    m->figures[0] =
        (struct store_metric){METRIC_PREFILL_TIME, "ns", "host clock", "prefill", NULL, 4000};
    m->figures[1] = (struct store_metric){METRIC_TPOT, "ns", "host clock", "decode", NULL, 1000};
    m->figures[2] = (struct store_metric){METRIC_E2E, "ns", "host clock", NULL, NULL, 11000};
    m->figures[3] = (struct store_metric){METRIC_WAIT, "ns", "host clock", "decode", NULL, 150};
    m->figures[4] = (struct store_metric){METRIC_BETWEEN, "1", "host clock", "decode", NULL, 0.03};
}

// What a GPU's trace adds to the decode: it worked for 930 of 1010 ns.
static void fill_trace(struct made_cell *m)
{
    metric(m, METRIC_BUSY, "ns", "decode", NULL, METRIC_SOURCE_ACTIVITY, 930);
    metric(m, METRIC_LAUNCH_GAPS, "ns", "decode", NULL, METRIC_SOURCE_ACTIVITY, 50);
    metric(m, METRIC_LAUNCHES, "1", "decode", NULL, METRIC_SOURCE_ACTIVITY, 12);
    metric(m, METRIC_LAYER_TIME, "ns", "decode", NULL, METRIC_SOURCE_ACTIVITY, 25);
    metric(m, METRIC_LAYER_MOST, "ns", "decode", "layer 31", METRIC_SOURCE_ACTIVITY, 30);
    metric(m, METRIC_KERNEL_TIME, "ns", "decode", "k_few", METRIC_SOURCE_ACTIVITY, 600);
    metric(m, METRIC_KERNEL_TIME, "ns", "decode", "k_decode", METRIC_SOURCE_ACTIVITY, 310);
    metric(m, METRIC_TRACED_TIME, "ns", "decode", NULL, "device event", 1111);
    metric(m, METRIC_UNTRACED_TIME, "ns", "decode", NULL, "device event", 1010);
}

static void add_made_cell(struct store *store, int64_t run, const char *device,
                          const struct made_cell *m)
{
    struct error err = {0};
    int64_t cell = 0, trial = 0;
    struct store_cell row = {
        .run = run,
        .key = device,
        .params_json = "{\"batch\":1,\"kv\":\"bf16\"}",
        .label = device,
        .model = "<tiny>",
        .scheme = "bf16",
        .device = device,
        .threads = 1,
        .batch = 1,
        .context = 64,
        .gen = GEN,
        .trials_planned = 1,
        .predicted_memory_bytes = NAN,
        .prediction_json =
            "{\"decode\":{\"total\":{\"bytes\":6000,\"weight_bytes\":4900,\"kv_read_bytes\":900},"
            "\"gate-up\":{\"weight_bytes\":4000},\"down\":{\"weight_bytes\":3000},\"head\":{"
            "\"weight_bytes\":900},"
            "\"attention\":{\"kv_read_bytes\":900}}}"};
    must(store_cell(store, &row, &cell, &err), &err);
    struct store_sample sample = {
        .repetition = 1, .token_hash = "aa", .metrics = m->figures, .metric_count = FIGURES};
    struct store_trial t = {.cell = cell,
                            .number = 1,
                            .status = m->status ? m->status : "ok",
                            .reason = m->reason ? m->reason : "",
                            .started_ns = 1,
                            .ended_ns = 2,
                            .arithmetic = "bf16 x bf16 -> f32",
                            .samples = &sample,
                            .sample_count = 1,
                            .metrics = m->metrics,
                            .metric_count = m->count,
                            .verdicts = m->verdicts,
                            .verdict_count = m->verdict_count};
    must(store_trial(store, &t, &trial, &err), &err);
}

static int64_t begin_run(struct store *store)
{
    struct error err = {0};
    int64_t run = 0;
    struct store_run row = {.suite_name = "profile",
                            .suite_text = "text",
                            .command = "bench profile x",
                            .started_ns = 1};
    must(store_machine(store, "print", "{}", &row.machine, &err), &err);
    must(store_environment(store, "{}", &row.environment, &err), &err);
    must(store_build(store, "{}", &row.build, &err), &err);
    must(store_run_begin(store, &row, &run, &err), &err);
    return run;
}

static struct store *made_profile(const struct fixture *f, const char *device, bool traced,
                                  struct profile *out)
{
    static struct made_cell m; // its strings outlive the call
    struct error err = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    m = (struct made_cell){0};
    fill(&m, traced ? METRIC_SOURCE_ACTIVITY : "host clock, observer pass");
    if (traced)
        fill_trace(&m);
    metric(&m, METRIC_INSTRUMENT_PREFIX "counters", "1", NULL, NULL,
           "not <permitted>: perf_event_paranoid is 4", NAN);
    add_made_cell(store, begin_run(store), device, &m);
    must(report_profile_load(store, "last", 0, out, &err), &err);
    return store;
}

// The same cell in a second run, noisy.
static void disturb(struct store *store, struct profile *p)
{
    static struct made_cell m;
    struct error err = {0};
    report_profile_fini(p);
    m = (struct made_cell){.status = "noisy", .reason = "<others> ran"};
    fill(&m, "host clock, observer pass");
    m.figures[1].value = 2000; // twice what the classes took
    add_made_cell(store, begin_run(store), "cpu", &m);
    must(report_profile_load(store, "last", 0, p, &err), &err);
}

static void near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * fabs(b)))
        fail_msg("%.12g is not %.12g", a, b);
}

static const struct profile_part *part_of(const struct profile_phase *phase, const char *name)
{
    for (size_t i = 0; i < phase->part_count; i++)
        if (str_equal(phase->parts[i].name, name))
            return &phase->parts[i];
    return NULL;
}

static void shares_of_the_classes(void **state)
{
    struct profile p;
    struct store *store = made_profile(*state, "cpu", false, &p);
    assert_int_equal(p.phase_count, 2);
    const struct profile_phase *decode = &p.phases[1];
    assert_string_equal(decode->name, "decode");
    near(decode->times, GEN - 1);
    assert_int_equal(decode->class_count, 3);
    const struct profile_class *first = &decode->classes[0], *second = &decode->classes[1];
    assert_string_equal(first->op, "gate-up"); // the longest
    assert_string_equal(second->op, "attention");
    near(first->share, 0.5);
    near(first->bytes, 4000);
    near(first->flop, 4000);
    near(first->memory_share, 400.0 / 500);
    near(first->compute_share, 20.0 / 500);
    near(first->roof_ns, 400);
    near(report_profile_accounted(decode), 0.92);
    near(part_of(decode, "waiting at barriers")->ns, 150);
    assert_true(part_of(decode, "waiting at barriers")->within);
    near(part_of(decode, "sampling")->ns, 20);
    near(part_of(decode, "host")->ns, 30);
    near(part_of(decode, "not explained")->ns, 50); // 1000 less 900, 20 and 30
    assert_null(part_of(decode, "launches"));       // of a GPU
    assert_true(isnan(decode->energy.token_j) && isnan(p.idle_w) && !p.counted);
    assert_int_equal(p.missing_count, 1);
    assert_string_equal(p.missing[0].instrument, "counters");
    struct str sum = {0};
    report_profile_sum(decode, &sum);
    assert_string_equal(
        str_text(&sum),
        "Classes and sampling add up to 92.0 % of one step (host clock, observer pass).");
    str_fini(&sum);
    report_profile_fini(&p);
    store_close(store);
}

static const struct profile_gain *gain_of(const struct profile *p, const char *what,
                                          const char *phase)
{
    for (size_t i = 0; i < p->gain_count; i++)
        if (str_equal(p->gains[i].what, what) && str_equal(p->gains[i].phase->name, phase))
            return &p->gains[i];
    return NULL;
}

// The request is 4000 + 7 x 1000 ns. A step's time is multiplied, a prefill's is not.
static void gains_by_the_roof(void **state)
{
    struct profile p;
    struct store *store = made_profile(*state, "cpu", false, &p);
    const struct profile_gain *prefill = gain_of(&p, "gate-up at its roof", "prefill"),
                              *attention = gain_of(&p, "attention at its roof", "decode"),
                              *weights =
                                  gain_of(&p, "half the bytes of the layers' weights (int8, fp8)",
                                          "decode");
    near(prefill->saved_ns, 1800);
    near(prefill->phase_gain, 4000.0 / 2200);
    near(prefill->request_gain, 11000.0 / 9200);
    near(attention->saved_ns, 200);
    near(attention->request_gain, 11000.0 / (11000 - 7 * 200));
    // gate-up moves half its 4000 bytes, 200 ns of the roof. The head keeps its type.
    near(weights->saved_ns, 200);
    near(weights->phase_gain, 1000.0 / 800);
    assert_non_null(strstr(weights->words,
                           " By the roof, one step would be 1.25 times as fast, and "
                           "the request 1.15 times."));
    assert_non_null(
        strstr(weights->words, "67 % of its bytes are of the layers' weights, 2 bytes each"));
    assert_non_null(gain_of(&p, "half the bytes of the keys and values (int8, fp8)", "decode"));
    assert_null(gain_of(&p, "head at its roof", "decode")); // it is there
    assert_ptr_equal(prefill, &p.gains[0]);
    for (size_t i = 1; i < p.gain_count; i++)
        assert_true(p.gains[i - 1].request_gain >= p.gains[i].request_gain);
    report_profile_fini(&p);
    store_close(store);
}

// A class without a time is no reason to call the others untimed, however many bytes it has.
static void a_class_without_a_time(void **state)
{
    static struct made_cell m;
    struct profile p;
    struct error err = {0};
    struct str sum = {0};
    const struct fixture *f = *state;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    m = (struct made_cell){0};
    fill(&m, "host clock, observer pass");
    for (size_t i = 0; i < m.verdict_count; i++)
        if (str_equal(m.verdicts[i].op, "gate-up") && str_equal(m.verdicts[i].phase, "decode"))
            m.verdicts[i].eta = m.verdicts[i].measured_ns = NAN;
    add_made_cell(store, begin_run(store), "cpu", &m);
    must(report_profile_load(store, "last", 0, &p, &err), &err);
    const struct profile_phase *decode = &p.phases[1];
    assert_string_equal(decode->classes[0].op, "attention");
    assert_string_equal(decode->classes[1].op, "head");
    assert_string_equal(decode->classes[2].op, "gate-up");
    report_profile_sum(decode, &sum);
    assert_int_equal(strncmp(str_text(&sum), "Classes and sampling add up to 42.0 %", 37), 0);
    str_fini(&sum);
    report_profile_fini(&p);
    store_close(store);
}

// Experts read for several sequences have few operations per byte; their weights are not wider for that.
static void weights_of_experts(void **state)
{
    static struct made_cell m;
    struct profile p;
    struct error err = {0};
    const struct fixture *f = *state;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    m = (struct made_cell){0};
    fill(&m, "host clock, observer pass");
    metric(&m, METRIC_BYTES, "bytes", "decode", "down", "analytic", 1000);
    metric(&m, METRIC_FLOP, "FLOP", "decode", "down", "analytic", 100); // 20 bytes each, it seems
    add_made_cell(store, begin_run(store), "cpu", &m);
    must(report_profile_load(store, "last", 0, &p, &err), &err);
    assert_non_null(gain_of(&p, "half the bytes of the layers' weights (int8, fp8)", "decode"));
    report_profile_fini(&p);
    store_close(store);
}

// Loads a profile in which a weight of gate-up has that number of bytes. Its operations say so.
static struct store *load_weights_of(const struct fixture *f, double bytes, struct profile *p)
{
    static struct made_cell m;
    struct error err = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    m = (struct made_cell){0};
    fill(&m, "host clock, observer pass");
    for (size_t i = 0; i < m.count; i++)
        if (str_equal(m.metrics[i].name, METRIC_FLOP) && str_equal(m.metrics[i].op, "gate-up"))
            m.metrics[i].value = 2 * 4000 / bytes;
    add_made_cell(store, begin_run(store), "cpu", &m);
    must(report_profile_load(store, "last", 0, p, &err), &err);
    return store;
}

static void weights_of_a_byte(void **state)
{
    struct profile p;
    struct store *store = load_weights_of(*state, 1, &p);
    const struct profile_gain *gain =
        gain_of(&p, "half the bytes of the layers' weights (int4)", "decode");
    assert_non_null(gain);
    assert_non_null(strstr(gain->words, ", 1 byte each."));
    report_profile_fini(&p);
    store_close(store);
}

// 6-bit weights of 0.82 bytes: 4 bits are more than half of them.
static void weights_that_are_narrow(void **state)
{
    struct profile p;
    struct store *store = load_weights_of(*state, 0.82, &p);
    assert_true(p.gain_count > 0);
    for (size_t i = 0; i < p.gain_count; i++)
        assert_null(strstr(p.gains[i].what, "weights"));
    report_profile_fini(&p);
    store_close(store);
}

// Its classes were not timed: they get no share, and the step counts as a whole.
static void a_step_that_is_one_kernel(void **state)
{
    static struct made_cell m;
    struct profile p;
    struct error err = {0};
    struct str sum = {0}, page = {0};
    const struct fixture *f = *state;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    m = (struct made_cell){0};
    fill(&m, "host clock, observer pass");
    for (size_t i = m.count; i-- > 0;)
        if (str_equal(m.metrics[i].name, METRIC_OP_TIME) && str_equal(m.metrics[i].phase, "decode"))
            m.metrics[i] = m.metrics[--m.count];
    for (size_t i = 0; i < m.verdict_count; i++)
        if (m.verdicts[i].op && str_equal(m.verdicts[i].phase, "decode"))
            m.verdicts[i].eta = m.verdicts[i].measured_ns = NAN;
    fill_trace(&m);
    add_made_cell(store, begin_run(store), "cuda:0", &m);
    must(report_profile_load(store, "last", 0, &p, &err), &err);
    const struct profile_phase *decode = &p.phases[1];
    assert_int_equal(decode->class_count, 3);
    assert_true(isnan(decode->classes[0].time_ns) && isnan(decode->classes[0].memory_share));
    near(decode->classes[0].roof_ns, 400); // the roof is known
    const struct profile_gain *whole = gain_of(&p, "all of one step at its roof", "decode");
    near(whole->saved_ns, 1000 - 600);
    assert_int_equal(
        strncmp(whole->words, "In all, one step takes 1.00 us, and memory allows ", 50), 0);
    assert_null(gain_of(&p, "attention at its roof", "decode"));
    assert_null(gain_of(&p, "all of the whole prefill at its roof", "prefill"));
    report_profile_sum(decode, &sum);
    assert_int_equal(
        strncmp(str_text(&sum), "The classes were not timed as parts of one step. Kernels", 56), 0);
    str_fini(&sum);
    must(report_profile_page(&p, &page, &err), &err);
    const char *first = strstr(str_text(&page), "<div class=bar>"); // of the prefill alone
    assert_non_null(first);
    assert_null(strstr(first + 1, "<div class=bar>"));
    str_fini(&page);
    report_profile_fini(&p);
    store_close(store);
}

// Its classes were timed, but took longer than the step. The sentence says how long, and the page claims no gap.
static void classes_that_exceed_their_phase(void **state)
{
    static struct made_cell m;
    struct profile p;
    struct error err = {0};
    struct str sum = {0}, page = {0};
    const struct fixture *f = *state;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    m = (struct made_cell){0};
    fill(&m, "host clock, observer pass");
    for (size_t i = 0; i < m.count; i++)
        if (str_equal(m.metrics[i].name, METRIC_OP_TIME) && str_equal(m.metrics[i].phase, "decode"))
            m.metrics[i].value *= 1.5;
    for (size_t i = 0; i < m.verdict_count; i++)
        if (m.verdicts[i].op && str_equal(m.verdicts[i].phase, "decode"))
            m.verdicts[i].eta = m.verdicts[i].measured_ns = NAN;
    add_made_cell(store, begin_run(store), "cpu", &m);
    must(report_profile_load(store, "last", 0, &p, &err), &err);
    near(p.phases[0].apart_ns, 0);
    near(p.phases[1].apart_ns, 1350);
    assert_true(isnan(p.phases[1].classes[0].time_ns));
    report_profile_sum(&p.phases[1], &sum);
    assert_string_equal(str_text(&sum),
                        "Timed one by one, the classes took 135 % of one step (host clock, "
                        "observer pass), so they are not its parts and have no time here.");
    must(report_profile_page(&p, &page, &err), &err);
    check_nesting(str_text(&page));
    has(str_text(&page), "<td class=name>gate-up</td><td class=n></td><td class=n></td>");
    has(str_text(&page), str_text(&sum));
    str_fini(&sum);
    str_fini(&page);
    report_profile_fini(&p);
    store_close(store);
}

static void a_trace_explains_a_step(void **state)
{
    struct profile p;
    struct store *store = made_profile(*state, "cuda:0", true, &p);
    const struct profile_phase *decode = &p.phases[1];
    near(report_profile_accounted(decode), 980.0 / 1010); // next to it, without the trace
    assert_null(part_of(decode, "not explained"));        // it is the 30 ns between steps
    near(part_of(decode, "launches")->ns, 50);
    near(part_of(decode, "synchronization")->ns, 150);
    assert_int_equal(decode->kernel_count, 2);
    assert_string_equal(decode->kernels[0].name, "k_few");
    near(decode->launches, 12);
    near(gain_of(&p, "no gaps between kernels", "decode")->saved_ns, 50);
    struct str sum = {0};
    report_profile_sum(decode, &sum);
    assert_string_equal(str_text(&sum),
                        "Kernels and gaps add up to 97.0 % of one step (activity "
                        "trace). A layer takes 25.0 ns in the median; the slowest is layer 31 "
                        "with 30.0 ns. Tracing made it 10.0 % slower.");
    str_fini(&sum);
    report_profile_fini(&p);
    store_close(store);
}

// Every part of a bar has its name, and the style hides names that do not fit instead of cutting them.
static void check_bars(const char *page, const struct profile *p)
{
    char part[128];
    for (size_t i = 0; i < p->phase_count; i++)
        for (size_t c = 0; c < p->phases[i].class_count; c++) {
            const struct profile_class *class = &p->phases[i].classes[c];
            snprintf(part, sizeof part, "title=\"%s, %.1f %%\">%s</span>", class->op,
                     100 * class->share, class->op);
            if (class->share > 0.0005)
                has(page, part);
        }
    has(page, ".bar span { display: flex; flex-wrap: wrap; overflow: hidden; white-space: nowrap;");
    has(page, ".bar span::before { content: \"\"; height: 100%; }");
}

static void the_page_is_whole(void **state)
{
    struct profile p;
    struct error err = {0};
    struct str page = {0};
    struct store *store = made_profile(*state, "cuda:0", true, &p);
    must(report_profile_page(&p, &page, &err), &err);
    const char *text = str_text(&page);
    check_nesting(text);
    check_bars(text, &p);
    has(text, "What would help most");
    has(text, "gate-up at its roof, in prefill");
    has(text, "80.0 %");   // of the bandwidth
    has(text, "k_decode"); // among the kernels
    has(text, "not &lt;permitted&gt;: perf_event_paranoid is 4");
    has(text, "The verdicts are analytic");
    has(text, "bench profile x");
    has(text, "<dt id=\"term-op-class\">");
    assert_null(strstr(text, "<permitted>"));
    assert_null(strstr(text, "://"));
    assert_null(strstr(text, "&lt;/")); // no markup became text
    str_fini(&page);
    report_profile_fini(&p);
    store_close(store);
}

static void a_disturbed_cell_says_so(void **state)
{
    struct profile p;
    struct error err = {0};
    struct str page = {0};
    struct store *store = made_profile(*state, "cpu", false, &p);
    disturb(store, &p);
    must(report_profile_page(&p, &page, &err), &err);
    check_nesting(str_text(&page));
    has(str_text(&page), "noisy</span>: &lt;others&gt; ran.</p>");
    has(str_text(&page), "46.0 % of one step (host clock, observer pass). That repetition differs");
    assert_null(strstr(str_text(&page), "&lt;/"));
    str_fini(&page);
    report_profile_fini(&p);
    store_close(store);
}

// Of several cells one must be named; of a store without the run there is nothing.
static void one_cell_is_needed(void **state)
{
    static struct made_cell m;
    struct profile p;
    struct error err = {0};
    const struct fixture *f = *state;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    m = (struct made_cell){0};
    fill(&m, "host clock, observer pass");
    int64_t run = begin_run(store);
    add_made_cell(store, run, "cpu", &m);
    add_made_cell(store, run, "cuda:0", &m);
    assert_int_equal(report_profile_load(store, "last", 0, &p, &err), ERR_USAGE);
    assert_string_equal(err.message, "run 1 has 2 cells; a profile is of one");
    error_clear(&err);
    must(report_profile_load(store, "last", 2, &p, &err), &err);
    assert_string_equal(p.cell->device, "cuda:0");
    report_profile_fini(&p);
    assert_int_equal(report_profile_load(store, "7", 0, &p, &err), ERR_USAGE);
    store_close(store);
}

// Counted bytes give a verdict next to the analytic one; the page and the terminal have both.
static void a_counted_phase_has_two_verdicts(void **state)
{
    static struct made_cell m;
    struct profile p;
    struct error err = {0};
    struct str page = {0};
    const struct fixture *f = *state;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    m = (struct made_cell){0};
    fill(&m, "host clock, observer pass");
    verdict(&m, "prefill", NULL, "memory", 2000, 1800, 4000);
    m.verdicts[m.verdict_count - 1].basis = BASIS_COUNTERS;
    m.verdicts[m.verdict_count - 1].text = "half of the roof; 5.00 times the analytic bytes";
    add_made_cell(store, begin_run(store), "cuda:0", &m);
    must(report_profile_load(store, "last", 0, &p, &err), &err);
    assert_true(p.counted);
    assert_string_equal(p.phases[0].name, "prefill");
    assert_string_equal(p.phases[0].verdict->bound, "memory");
    assert_string_equal(p.phases[0].analytic->bound, "compute");
    assert_null(p.phases[1].analytic);
    must(report_profile_page(&p, &page, &err), &err);
    check_nesting(str_text(&page));
    has(str_text(&page), "By counted bytes: half of the roof; 5.00 times the analytic bytes. By "
                         "analytic bytes: made up.</p>");
    str_fini(&page);
    report_profile_fini(&p);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(shares_of_the_classes),
        fixture_test(gains_by_the_roof),
        fixture_test(a_step_that_is_one_kernel),
        fixture_test(classes_that_exceed_their_phase),
        fixture_test(a_trace_explains_a_step),
        fixture_test(the_page_is_whole),
        fixture_test(a_disturbed_cell_says_so),
        fixture_test(one_cell_is_needed),
        fixture_test(a_class_without_a_time),
        fixture_test(weights_of_experts),
        fixture_test(weights_of_a_byte),
        fixture_test(weights_that_are_narrow),
        fixture_test(a_counted_phase_has_two_verdicts),
    };
    return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
