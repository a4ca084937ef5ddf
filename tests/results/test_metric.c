// test_metric.c - figures as a person reads them, and rates by the median of their times.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "results/metric.h"

static void three_digits_and_thousands_apart(void **state)
{
    static const struct {
        double value;
        const char *unit, *text;
    } rows[] = {{0.8734, "1", "0.873"},
                {41.24, "token/s", "41.2 tok/s"},
                {999, "token/s", "999 tok/s"},
                {1000, "token/s", "1,000 tok/s"},
                {12400, "token/s", "12,400 tok/s"},
                {1234567, "1", "1,234,567"},
                {-12400, "1", "-12,400"},
                {NAN, "ns", "not measured"},
                {2.5e6, "ns", "2.50 ms"},
                {0, "token/s", "0 tok/s"},
                {17.021, "ppl", "17.02"},
                {45.1e9, "B/s", "45.1 GB/s"}};
    char text[64];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(metric_format(rows[i].value, rows[i].unit, text, sizeof text),
                            rows[i].text);
}

// 2 and 4 tokens a second are 0.5 and 0.25 s a token: 0.375 s in the middle, not 3 tokens a second.
static void a_rate_is_of_the_median_time(void **state)
{
    static const double rates[] = {4, 2};
    struct error err = {0};
    struct stat_summary s;
    (void)state;
    assert_float_equal(metric_median(rates, 2, "token/s", &err), 1 / 0.375, 1e-12);
    assert_float_equal(metric_median(rates, 2, "ns", &err), 3, 0);
    assert_int_equal(metric_summarize(rates, 2, "token/s", &s, &err), OK);
    assert_float_equal(s.median, 1 / 0.375, 1e-12);
    assert_float_equal(s.median_interval.low, 2, 1e-12);
    assert_float_equal(s.median_interval.high, 4, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_digits_and_thousands_apart),
        cmocka_unit_test(a_rate_is_of_the_median_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
