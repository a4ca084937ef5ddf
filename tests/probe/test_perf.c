// test_perf.c - what an event counted between two readings, and when that is not known.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/probe/perf.h"

static struct perf_reading now;
static bool readable;

static bool read_now(int fd, struct perf_reading *out)
{
    (void)fd;
    if (readable)
        *out = now;
    return readable;
}

static const struct perf_calls calls = {.read = read_now};

// Reads an event at 100, and again at 250 after it was on its counter for `running_ns` of 1000 ns.
static bool counted(bool at_first, bool at_last, uint64_t running_ns, uint64_t *value)
{
    struct perf_open event = {.fd = 0};
    now = (struct perf_reading){.value = 100, .enabled_ns = 5000, .running_ns = 4000};
    readable = at_first;
    perf_begin(&calls, &event);
    now = (struct perf_reading){.value = 250, .enabled_ns = 6000, .running_ns = 4000 + running_ns};
    readable = at_last;
    return perf_counted(&calls, &event, value);
}

static void a_count_is_a_difference(void **state)
{
    (void)state;
    uint64_t value = 0;
    assert_true(counted(true, true, 1000, &value));
    assert_int_equal(value, 150);
    assert_true(counted(true, true, 990, &value));
    assert_false(counted(true, true, 989, &value)); // it shared its counter
}

// Without its first reading a count would be that since the event was opened.
static void a_count_needs_both_readings(void **state)
{
    (void)state;
    uint64_t value = 0;
    assert_false(counted(false, true, 1000, &value));
    assert_false(counted(true, false, 1000, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_count_is_a_difference),
        cmocka_unit_test(a_count_needs_both_readings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
