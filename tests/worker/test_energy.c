// test_energy.c - J per token from a scripted counter: windows that begin and end with its movements, the power at rest
// subtracted, and what is refused.
#include "tests/worker/scripted.h"

#include "bench/worker/instrument_energy.h"
#include "results/metric.h"

enum { PROMPT = 8, GEN = 5, BATCH = 2, UPDATE_NS = 100000000 };

static const double rest_w = 75, work_w = 600;

// A device that uses rest_w, and work_w more while the engine's script runs. Its counter shows what was used until the
// last whole 100 ms.
struct card {
    struct script script;
    uint64_t rested_ns; // in rests of the meter, on top of the script's clock
    double rest_w, work_w;
    bool still;
    uint64_t fails_at_ns; // the counter is lost from then on; 0: never
    double shown_j;
    uint64_t shown_ns, last_script_ns;
    double joules;
};

static uint64_t card_now(void *user)
{
    const struct card *c = user;
    return c->script.now_ns + c->rested_ns;
}

// Work since the last reading was the script's, the rest the meter's.
static void advance(struct card *c, uint64_t rest_ns)
{
    uint64_t worked_ns = c->script.now_ns - c->last_script_ns;
    c->last_script_ns = c->script.now_ns;
    c->joules += (c->rest_w + c->work_w) * (double)worked_ns / 1e9;
    c->joules += c->rest_w * (double)rest_ns / 1e9;
    c->rested_ns += rest_ns;
}

static enum status card_read(void *user, struct device_energy *out, struct error *err)
{
    struct card *c = user;
    advance(c, 0);
    if (c->fails_at_ns && card_now(c) >= c->fails_at_ns)
        return FAIL(err, ERR_UNSUPPORTED, "the counter is lost");
    if (!c->still && card_now(c) / UPDATE_NS != c->shown_ns / UPDATE_NS) {
        c->shown_ns = card_now(c);
        c->shown_j = c->joules;
    }
    *out = (struct device_energy){.joules = c->shown_j, .update_ns = UPDATE_NS};
    snprintf(out->source, sizeof out->source, "counter");
    return OK;
}

static void card_rest(void *user, uint64_t ns)
{
    advance(user, ns);
}

// The decode begins again: its steps take the times of the first ones.
static void rewind_tokens(void *run, int sequence, int length)
{
    (void)sequence;
    assert_int_equal(length, PROMPT);
    ((struct script *)run)->token = 1;
}

static struct card card_of(void)
{
    return (struct card){.rest_w = rest_w, .work_w = work_w};
}

// The figures of a cell on this card.
static json_t *measured(struct card *card, int gen)
{
    struct job_cell cell = {
        .batch = BATCH, .context = PROMPT + gen, .gen = gen, .chunk = 4, .reps = 1};
    struct energy_meter meter = {.source = {card_read, card_now, card_rest, card}};
    struct bench_engine engine = SCRIPTED;
    struct subject s;
    struct error err = {0};
    json_t *metrics = json_array();
    engine.truncate = rewind_tokens;
    scripted_subject(&card->script, &cell, &engine, &s);
    assert_int_equal(card_read(card, &meter.first, &err), OK);
    if (instrument_energy_run(&meter, &s, &err) != OK)
        fail_msg("%s", err.message);
    instrument_energy_report(&meter, &s, metrics);
    scripted_fini(&s);
    return metrics;
}

static void assert_near(double value, double expected, double share)
{
    if (!(fabs(value - expected) <= share * expected))
        fail_msg("%.6g, expected %.6g", value, expected);
}

static double decode_ns(void)
{
    double ns = 0;
    for (int token = 1; token < GEN; token++)
        ns += (double)token_takes_ns(token);
    return ns;
}

// Work per token is the script's time at work_w: the rest, in windows and between them, is not in it.
static void the_rest_is_taken_off(void **state)
{
    (void)state;
    struct card card = card_of();
    json_t *m = measured(&card, GEN);
    assert_near(metric_value(m, METRIC_POWER_IDLE, NULL), rest_w, 1e-6);
    assert_near(metric_value(m, METRIC_ENERGY_PROMPT, "prefill"),
                work_w * 2 * CHUNK_NS / 1e9 / (BATCH * PROMPT), 1e-6);
    assert_near(metric_value(m, METRIC_ENERGY_TOKEN, "decode"),
                work_w * decode_ns() / 1e9 / (BATCH * (GEN - 1)), 1e-6);
    assert_near(metric_value(m, METRIC_POWER, "decode"), rest_w + work_w, 1e-6);
    assert_true(metric_value(m, METRIC_ENERGY_WINDOW, "decode") >= 30.0 * UPDATE_NS);
    assert_string_equal(
        json_string_value(json_object_get(metric_row(m, METRIC_ENERGY_TOKEN, NULL), "source")),
        "counter, less power at rest");
    assert_null(metric_row(m, METRIC_INSTRUMENT_PREFIX "energy", NULL));
    json_decref(m);
}

// Two runs that begin at other places between two movements agree.
static void windows_follow_the_counter(void **state)
{
    (void)state;
    struct card early = card_of(), late = card_of();
    late.rested_ns = 99 * 1000 * 1000;
    json_t *a = measured(&early, GEN), *b = measured(&late, GEN);
    assert_near(metric_value(a, METRIC_ENERGY_TOKEN, "decode"),
                metric_value(b, METRIC_ENERGY_TOKEN, "decode"), 1e-6);
    json_decref(a);
    json_decref(b);
}

static void one_token_has_no_decode(void **state)
{
    (void)state;
    struct card card = card_of();
    json_t *m = measured(&card, 1);
    assert_true(metric_value(m, METRIC_ENERGY_PROMPT, "prefill") > 0);
    assert_null(metric_row(m, METRIC_ENERGY_TOKEN, NULL));
    json_decref(m);
}

static void refused(struct card *card, const char *words)
{
    json_t *m = measured(card, GEN);
    json_t *row = metric_row(m, METRIC_INSTRUMENT_PREFIX "energy", NULL);
    assert_non_null(row);
    assert_non_null(strstr(json_string_value(json_object_get(row, "source")), words));
    assert_null(metric_row(m, METRIC_ENERGY_TOKEN, NULL));
    json_decref(m);
}

static void what_cannot_be_told_is_a_reason(void **state)
{
    (void)state;
    struct card card = card_of();
    card.still = true;
    refused(&card, "counter did not move for 1 s");
    card = card_of();
    card.fails_at_ns = 5000000000; // after the rest was measured
    refused(&card, "the counter is lost");
    card = card_of();
    card.work_w = -1; // another program used it while it rested
    refused(&card, "at rest before it 75.0 W: other programs used it");
}

// A window that is shorter than the counter needs is not printed.
static void short_windows_are_refused(void **state)
{
    (void)state;
    struct job_cell cell = {.batch = 1, .context = PROMPT + GEN, .gen = GEN, .chunk = 4, .reps = 1};
    struct script script = {0};
    struct subject s;
    struct energy_meter meter = {.first = {.update_ns = UPDATE_NS, .source = "counter"},
                                 .idle = {.joules = 225, .ns = 3000000000},
                                 .phase = {[PHASE_PREFILL] = {600, 2900000000, 2900000000, 5},
                                           [PHASE_DECODE] = {2100, 3000000000, 2900000000, 5}}};
    json_t *m = json_array();
    scripted_subject(&script, &cell, &SCRIPTED, &s);
    instrument_energy_report(&meter, &s, m);
    json_t *row = metric_row(m, METRIC_INSTRUMENT_PREFIX "energy", NULL);
    assert_string_equal(json_string_value(json_object_get(row, "source")),
                        "prefill: 2.90 s are too short for a counter that moves every 100 ms");
    assert_null(metric_row(m, METRIC_ENERGY_PROMPT, NULL));
    assert_close(metric_value(m, METRIC_ENERGY_TOKEN, "decode"), (2100.0 - 225) / (5 * 4));
    json_decref(m);
    scripted_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rest_is_taken_off),
        cmocka_unit_test(windows_follow_the_counter),
        cmocka_unit_test(one_token_has_no_decode),
        cmocka_unit_test(what_cannot_be_told_is_a_reason),
        cmocka_unit_test(short_windows_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
