// test_stat.c - medians, quantiles, intervals and drift against figures worked out apart from them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/stat.h"

static void near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.17g is not %.17g", value, expected);
}

static struct stat_summary summarize(const double *x, size_t n)
{
    struct error err = {0};
    struct stat_summary summary;
    assert_int_equal(stat_summarize(x, n, &summary, &err), OK);
    return summary;
}

static void quantiles_are_of_type_7(void **state)
{
    (void)state;
    struct error err = {0};
    const double x[] = {15, 40, 20, 50, 35}; // numpy.percentile(x, ...) of 0, 5, 30, 40, 100
    near(stat_quantile(x, 5, 0, &err), 15, 0);
    near(stat_quantile(x, 5, 0.05, &err), 16, 1e-12);
    near(stat_quantile(x, 5, 0.30, &err), 23, 1e-12);
    near(stat_quantile(x, 5, 0.40, &err), 29, 1e-12);
    near(stat_quantile(x, 5, 1, &err), 50, 0);
    near(stat_median(x, 5, &err), 35, 0);
    near(stat_median(x, 4, &err), 30, 0);
    near(x[0], 15, 0); // the sample is left as it was
    assert_int_equal(err.code, OK);
}

static void bad_samples_are_refused(void **state)
{
    (void)state;
    struct stat_summary summary;
    const double nan_inside[] = {1, NAN, 2}, infinite[] = {INFINITY};
    struct error errors[4] = {{0}};
    assert_true(isnan(stat_median(NULL, 0, &errors[0])));
    assert_int_equal(errors[0].code, ERR_USAGE);
    assert_int_equal(stat_summarize(nan_inside, 3, &summary, &errors[1]), ERR_USAGE);
    assert_non_null(strstr(errors[1].message, "value 1"));
    assert_int_equal(stat_summarize(infinite, 1, &summary, &errors[2]), ERR_USAGE);
    assert_true(isnan(stat_quantile(nan_inside, 1, 1.01, &errors[3])));
    assert_int_equal(errors[3].code, ERR_USAGE);
}

static void a_summary_by_hand(void **state)
{
    (void)state;
    const double x[] = {10, 12, 11, 13, 100};
    struct stat_summary s = summarize(x, 5);
    assert_int_equal(s.n, 5);
    near(s.min, 10, 0);
    near(s.median, 12, 0);
    near(s.max, 100, 0);
    near(s.mean, 29.2, 1e-12);
    near(s.mad, 1, 0); // deviations 2 0 1 1 88
    assert_int_equal(s.outliers, 1);
    near(s.p90, 65.2, 1e-12);
    near(s.p99, 96.52, 1e-12);
    // slopes 2 .5 1 22.5 | -1 .5 29.333 | 2 44.5 | 87, sorted: -1 .5 .5 1 2 2 22.5 29.3 44.5 87
    near(s.drift, 2.0 / 12, 1e-12);
    near(s.median_interval.low, 10, 0);
    near(s.median_interval.high, 100, 0);
    near(s.median_interval.level, 1 - 2.0 / 32, 1e-12);
}

static void one_value_has_no_interval_and_no_drift(void **state)
{
    (void)state;
    struct stat_summary s = summarize((const double[]){3}, 1);
    near(s.median, 3, 0);
    near(s.p99, 3, 0);
    near(s.mad, 0, 0);
    near(s.median_interval.low, 3, 0);
    near(s.median_interval.high, 3, 0);
    near(s.median_interval.level, 0, 0);
    assert_true(isnan(s.drift));
    s = summarize((const double[]){-1, 0, 1}, 3);
    assert_true(isnan(s.drift)); // a share of a median of zero
}

// Conover, table A3: ranks and levels of the order-statistic interval.
static void small_samples_carry_their_own_level(void **state)
{
    (void)state;
    static const struct {
        size_t n, k;
        double level;
    } rows[] = {{2, 1, 0.5},      {3, 1, 0.75},      {5, 1, 0.9375},    {6, 1, 0.96875},
                {8, 1, 0.992188}, {10, 2, 0.978516}, {15, 4, 0.964844}, {19, 5, 0.980789}};
    double x[19];
    for (size_t i = 0; i < 19; i++)
        x[i] = (double)(i + 1);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        struct stat_interval interval = summarize(x, rows[r].n).median_interval;
        near(interval.low, (double)rows[r].k, 0);
        near(interval.high, (double)(rows[r].n + 1 - rows[r].k), 0);
        near(interval.level, rows[r].level, 1e-6);
    }
}

// Of 400 normal samples the 95 % interval should miss the true median about 20 times.
static void intervals_cover_what_they_promise(size_t n)
{
    struct rng rng = {2024};
    double *x = malloc(n * sizeof *x);
    int missed = 0, samples = 400;
    for (int sample = 0; sample < samples; sample++) {
        for (size_t i = 0; i < n; i++) {
            x[i] = 0;
            for (int j = 0; j < 12; j++)
                x[i] += rng_f32(&rng); // about normal, median 6
        }
        struct stat_interval interval = summarize(x, n).median_interval;
        assert_true(interval.level >= 0.949 && interval.level < 0.97);
        missed += interval.low > 6 || interval.high < 6;
    }
    free(x);
    if (missed < 6 || missed > 36) // a fixed seed: 20 is expected, 3.5 deviations either way
        fail_msg("%d of %d intervals at n = %zu miss the median", missed, samples, n);
}

static void bootstrap_intervals_cover(void **state)
{
    (void)state;
    intervals_cover_what_they_promise(25);
    intervals_cover_what_they_promise(100);
}

static void large_samples_agree_with_the_bootstrap(void **state)
{
    (void)state;
    enum { SMALL = 4096, LARGE = 4097 };
    static double x[LARGE];
    struct rng rng = {5};
    for (int i = 0; i < LARGE; i++)
        x[i] = 100 + rng_f32(&rng);
    struct stat_interval bootstrap = summarize(x, SMALL).median_interval;
    struct stat_interval order = summarize(x, LARGE).median_interval;
    near(bootstrap.low, order.low, 0.005);
    near(bootstrap.high, order.high, 0.005);
    near(order.level, 0.95, 0.003);
}

static void the_same_sample_gives_the_same_interval(void **state)
{
    (void)state;
    double x[40];
    struct rng rng = {6};
    for (int i = 0; i < 40; i++)
        x[i] = rng_f32(&rng);
    struct stat_summary a = summarize(x, 40), b = summarize(x, 40);
    assert_memory_equal(&a.median_interval, &b.median_interval, sizeof a.median_interval);
}

static void drift_ignores_outliers(void **state)
{
    (void)state;
    static double x[2000];
    static const size_t sizes[] = {21, 512, 513, 2000}; // all pairs, and pairs half apart
    for (size_t s = 0; s < 4; s++) {
        for (size_t i = 0; i < sizes[s]; i++)
            x[i] = 100 + 0.5 * (double)i;
        x[3] = 1e6;
        x[7] = 0;
        near(summarize(x, sizes[s]).drift * summarize(x, sizes[s]).median, 0.5, 1e-9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_of_type_7),
        cmocka_unit_test(bad_samples_are_refused),
        cmocka_unit_test(a_summary_by_hand),
        cmocka_unit_test(one_value_has_no_interval_and_no_drift),
        cmocka_unit_test(small_samples_carry_their_own_level),
        cmocka_unit_test(bootstrap_intervals_cover),
        cmocka_unit_test(large_samples_agree_with_the_bootstrap),
        cmocka_unit_test(the_same_sample_gives_the_same_interval),
        cmocka_unit_test(drift_ignores_outliers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
