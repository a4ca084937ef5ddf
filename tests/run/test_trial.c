// test_trial.c - the rules by which a trial is wrong, throttled, noisy or ok: each just under and over.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "bench/run/trial.h"
#include "results/metric.h"

enum { REPETITIONS = 4, TICK_NS = 10 * 1000 * 1000 };
static const double second_ns = 1e9;

// Four repetitions of a second that nothing disturbed; tests change what they are about.
struct figures {
    int count;
    int64_t nonfinite[REPETITIONS];
    const char *hash[REPETITIONS];
    double tpot[REPETITIONS], ttft[REPETITIONS];
    double compute[REPETITIONS], bandwidth[REPETITIONS], work[REPETITIONS];
    double steal[REPETITIONS], throttled[REPETITIONS], memory[REPETITIONS], window[REPETITIONS];
    double run_wait[REPETITIONS];
    double power[REPETITIONS], thermal[REPETITIONS], brake[REPETITIONS]; // shares of looks
    struct os_steal_resolution resolution;
};

static struct figures quiet(void)
{
    struct figures f = {.count = REPETITIONS, .resolution = {.tick_ns = TICK_NS, .processors = 2}};
    for (int i = 0; i < REPETITIONS; i++) {
        f.hash[i] = "abc";
        f.tpot[i] = 1e6;
        f.ttft[i] = 5e6;
        f.compute[i] = 2e5;
        f.bandwidth[i] = 4e10;
        f.work[i] = 2e5;
        f.window[i] = second_ns;
    }
    return f;
}

static void set(struct store_metric *row, const char *name, const char *phase, double value)
{
    *row = (struct store_metric){
        .name = name, .phase = phase, .value = value, .unit = "1", .source = "made up"};
}

static void add(struct trial *t, const struct figures *f, int i)
{
    struct error err = {0};
    struct event e = {.type = EVENT_REPETITION,
                      .repetition = i + 1,
                      .token_hash = f->hash[i],
                      .nonfinite = f->nonfinite[i],
                      .sequences = 1,
                      .tokens = 2,
                      .metric_count = 3,
                      .noise_count = 11};
    e.metrics = calloc(e.metric_count, sizeof *e.metrics);
    e.noise = calloc(e.noise_count, sizeof *e.noise);
    assert_true(e.metrics && e.noise);
    set(&e.metrics[0], METRIC_TPOT, "decode", f->tpot[i]);
    set(&e.metrics[1], METRIC_TTFT, "prefill", f->ttft[i]);
    set(&e.metrics[2], METRIC_E2E, NULL, second_ns);
    set(&e.noise[0], NOISE_COMPUTE_CANARY, NULL, f->compute[i]);
    set(&e.noise[1], NOISE_BANDWIDTH_DURING, NULL, f->bandwidth[i]);
    set(&e.noise[2], NOISE_WORK_CANARY, NULL, f->work[i]);
    set(&e.noise[3], NOISE_STEAL, NULL, f->steal[i]);
    set(&e.noise[4], NOISE_THROTTLED, NULL, f->throttled[i]);
    set(&e.noise[5], NOISE_PSI_MEMORY, NULL, f->memory[i]);
    set(&e.noise[6], NOISE_WINDOW, NULL, f->window[i]);
    set(&e.noise[7], NOISE_RUN_WAIT, NULL, f->run_wait[i]);
    set(&e.noise[8], NOISE_HELD_POWER, NULL, f->power[i]);
    set(&e.noise[9], NOISE_HELD_THERMAL, NULL, f->thermal[i]);
    set(&e.noise[10], NOISE_HELD_BRAKE, NULL, f->brake[i]);
    assert_int_equal(trial_add(t, &e, &err), OK);
}

static void expect(const struct figures *f, const char *status, const char *reason)
{
    struct cell cell = {.reps = REPETITIONS, .batch = 1, .gen = 2};
    struct trial t;
    trial_begin(&t, &cell, 1, 1, NULL);
    t.steal = f->resolution;
    for (int i = 0; i < f->count; i++)
        add(&t, f, i);
    trial_judge(&t, "");
    if (strcmp(t.status, status) != 0 || !strstr(t.reason, reason))
        fail_msg("%s (%s), expected %s (%s)", t.status, t.reason, status, reason);
    if (str_equal(status, "ok") && !reason[0])
        assert_string_equal(t.reason, "");
    trial_fini(&t);
}

static void undisturbed(void **state)
{
    (void)state;
    struct figures f = quiet();
    expect(&f, "ok", "");
}

static void wrong(void **state)
{
    (void)state;
    struct figures f = quiet();
    f.hash[2] = "abd";
    expect(&f, "wrong", "repetition 3 generated other tokens");
    f = quiet();
    f.nonfinite[1] = 1;
    expect(&f, "wrong", "1 logits of repetition 2 are not finite");
    f = quiet();
    f.count = 0;
    expect(&f, "crashed", "measured nothing");
}

// Repetitions that agree with each other but not with an earlier trial of the cell.
static void other_tokens_than_an_earlier_trial(void **state)
{
    (void)state;
    struct cell cell = {.reps = REPETITIONS, .batch = 1, .gen = 2};
    struct figures f = quiet();
    struct trial t;
    trial_begin(&t, &cell, 1, 2, NULL);
    t.steal = f.resolution;
    for (int i = 0; i < f.count; i++)
        add(&t, &f, i);
    trial_judge(&t, "abc");
    assert_string_equal(t.status, "ok");
    trial_judge(&t, "abd");
    assert_string_equal(t.status, "wrong");
    assert_string_equal(t.reason,
                        "it generated other tokens (hash abc) than an earlier trial (abd)");
    trial_fini(&t);
}

// Values 1 - s, 1 - s, 1 + s, 1 + s have the median 1 and the median distance s.
static void spread(double *x, double s)
{
    double middle = x[0];
    for (int i = 0; i < REPETITIONS; i++)
        x[i] = middle * (i < 2 ? 1 - s : 1 + s);
}

static void scatter(void **state)
{
    (void)state;
    struct figures f = quiet();
    spread(f.tpot, 0.099);
    expect(&f, "ok", "");
    spread(f.tpot, 0);
    f = quiet();
    spread(f.tpot, 0.101);
    expect(&f, "noisy", "half of 4 repetitions are 10 % or more off the median TPOT");
    f = quiet();
    spread(f.ttft, 0.099);
    expect(&f, "ok", "");
    f = quiet();
    spread(f.ttft, 0.101);
    expect(&f, "noisy", "off the median TTFT");
}

static void bandwidth(void **state)
{
    (void)state;
    struct figures f = quiet();
    spread(f.bandwidth, 0.149);
    expect(&f, "ok", "");
    f = quiet();
    spread(f.bandwidth, 0.151);
    expect(&f, "noisy", "the bandwidth canaries saw 34.0 to 46.0 GB/s");
}

static void work(void **state)
{
    (void)state;
    struct figures f = quiet();
    spread(f.work, 0.099);
    expect(&f, "ok", "");
    f = quiet();
    spread(f.work, 0.101);
    expect(&f, "noisy", "a fixed slice of work took 180 to 220 us");
}

static void throttled(void **state)
{
    (void)state;
    struct figures f = quiet();
    f.compute[3] = f.compute[0] * 1.099;
    expect(&f, "ok", "");
    f.compute[3] = f.compute[0] * 1.101;
    expect(&f, "throttled", "the compute canary took 10 % longer");
    f.compute[2] = f.compute[0] * 1.2; // it has got faster since
    expect(&f, "ok", "");
}

// A device's own signs: its temperature and its board taint the trial at a single look, its power limit is remarked.
static void held_back(void **state)
{
    (void)state;
    struct figures f = quiet();
    f.power[0] = f.power[1] = 1;
    expect(&f, "ok", "its power limit lowered the device's clock in 50 % of its readings");
    f.brake[2] = 0.5;
    expect(&f, "throttled", "its board held the device back (power brake or slowdown) in 12 % of");
    f.thermal[3] = 0.04;
    expect(&f, "throttled", "its temperature held the device back in 1 % of its readings");
}

static void fill(double *x, double value)
{
    for (int i = 0; i < REPETITIONS; i++)
        x[i] = value;
}

// Each of these counts, one of *f, is ok just below the limit and noisy, in these words, just above it.
static void has_limit(const struct figures *f, double *counts, double limit_ns, const char *words)
{
    fill(counts, limit_ns - 0.0001 * second_ns);
    expect(f, "ok", "");
    fill(counts, limit_ns + 0.0001 * second_ns);
    expect(f, "noisy", words);
}

// Two processors: 2 % of the time of both.
static void stolen(void **state)
{
    (void)state;
    struct figures f = quiet();
    has_limit(&f, f.steal, 0.04 * second_ns,
              "the hypervisor took the processors away for 2 % of the time");
    fill(f.steal, 2 * second_ns); // all of it, and no more than all
    expect(&f, "noisy", "for 100 % of the time");
    fill(f.steal, 2.02 * second_ns); // a tick at either end
    expect(&f, "noisy", "for 100 % of the time");
    f.resolution.tick_ns = OS_UNKNOWN;
    expect(&f, "ok", "");
}

// One bad repetition of four does not move the median.
static void one_bad_repetition(void **state)
{
    (void)state;
    struct figures f = quiet();
    f.steal[1] = second_ns;
    expect(&f, "ok", "");
}

// A tick of 10 ms in a window of 0.2 ms is no 5000 %: windows are joined, and too few ticks are not judged.
static void short_windows(void **state)
{
    (void)state;
    struct figures f = quiet();
    fill(f.window, 0.2e6);
    f.steal[1] = TICK_NS;
    expect(&f, "ok", "");
    fill(f.window, 49e6); // 196 ms together: still under 20 ticks
    fill(f.steal, TICK_NS);
    expect(&f, "ok", "");
    fill(f.window, 51e6);
    expect(&f, "noisy", "for 10 % of the time");
}

static void quota(void **state)
{
    (void)state;
    struct figures f = quiet();
    has_limit(&f, f.throttled, 0.02 * second_ns, "CPU quota held the process up for 2 %");
}

// A wait is counted in ns: one repetition is enough, however short.
static void starved(void **state)
{
    (void)state;
    struct figures f = quiet();
    has_limit(&f, f.run_wait, 0.02 * second_ns,
              "a thread waited for a processor that others used for 2 % of the time");
    f = quiet();
    f.count = 1;
    f.window[0] = 1e6;
    f.run_wait[0] = 19e3;
    expect(&f, "ok", "");
    f.run_wait[0] = 510e3;
    expect(&f, "noisy",
           "a thread waited for a processor that others used for 51 % of the time (threshold 2 %)");
}

// The reason names the cause, not how it shows.
static void the_cause_comes_first(void **state)
{
    (void)state;
    struct figures f = quiet();
    spread(f.tpot, 0.5);
    fill(f.run_wait, 0.5 * second_ns);
    expect(&f, "noisy", "a thread waited for a processor");
}

// Counts that the system does not keep are not judged.
static void not_counted(void **state)
{
    (void)state;
    struct figures f = quiet();
    fill(f.run_wait, NAN);
    fill(f.throttled, NAN);
    fill(f.steal, NAN);
    fill(f.memory, NAN);
    expect(&f, "ok", "");
}

static void memory_pressure(void **state)
{
    (void)state;
    struct figures f = quiet();
    has_limit(&f, f.memory, 0.02 * second_ns, "something waited for memory for 2 %");
}

// Of an even number the median is the mean of the middle two.
static void even_medians(void **state)
{
    (void)state;
    struct cell cell = {.reps = REPETITIONS, .batch = 1, .gen = 2};
    struct figures f = quiet();
    struct trial t;
    f.work[0] = 1;
    f.work[1] = 10;
    f.work[2] = 4;
    f.work[3] = 2;
    trial_begin(&t, &cell, 1, 1, NULL);
    for (int i = 0; i < f.count; i++)
        add(&t, &f, i);
    assert_float_equal(trial_noise_median(&t, NOISE_WORK_CANARY), 3.0, 0);
    trial_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(undisturbed),
        cmocka_unit_test(wrong),
        cmocka_unit_test(other_tokens_than_an_earlier_trial),
        cmocka_unit_test(scatter),
        cmocka_unit_test(bandwidth),
        cmocka_unit_test(work),
        cmocka_unit_test(throttled),
        cmocka_unit_test(held_back),
        cmocka_unit_test(stolen),
        cmocka_unit_test(one_bad_repetition),
        cmocka_unit_test(short_windows),
        cmocka_unit_test(quota),
        cmocka_unit_test(starved),
        cmocka_unit_test(the_cause_comes_first),
        cmocka_unit_test(not_counted),
        cmocka_unit_test(memory_pressure),
        cmocka_unit_test(even_medians),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
