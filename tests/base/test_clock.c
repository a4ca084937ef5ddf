// test_clock.c - a clock that does not go back, and the text of a wall time.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

static void the_clock_never_goes_back(void **state)
{
    (void)state;
    uint64_t last = clock_ns();
    for (int i = 0; i < 100000; i++) {
        uint64_t now = clock_ns();
        assert_true(now >= last);
        last = now;
    }
    assert_true(clock_wall_ns() > 1577836800LL * 1000000000); // after 2020
}

static void a_thread_keeps_its_processor_or_not(void **state)
{
    (void)state;
    assert_true(clock_kept_processor(950, 1000));
    assert_false(clock_kept_processor(949, 1000));
    assert_true(clock_kept_processor(1001, 1000)); // two clocks, read one after the other
    assert_true(clock_kept_processor(0, 0));
    assert_false(clock_kept_processor(8000000 - 750000, 8000000)); // a slice of the longest window
}

static void wall_times_read_as_iso_8601(void **state)
{
    (void)state;
    char text[21];
    assert_string_equal(clock_iso8601(0, text, sizeof text), "1970-01-01T00:00:00Z");
    assert_string_equal(clock_iso8601(951827696LL * 1000000000 + 999999999, text, sizeof text),
                        "2000-02-29T12:34:56Z");
}

static void an_awake_clock_leaves_out_long_gaps(void **state)
{
    (void)state;
    struct clock_awake clock = {0};
    assert_int_equal(clock_awake_look(&clock, 1000, 100), 1000); // the first look has no gap
    assert_int_equal(clock_awake_look(&clock, 1100, 100), 1100); // as long as is allowed
    assert_int_equal(clock_awake_look(&clock, 1201, 100), 1200); // one too long
    assert_int_equal(clock_awake_look(&clock, 1250, 100), 1249);
    assert_int_equal(clock_awake_look(&clock, 91250, 100), 1349); // stopped: one look counts
    assert_int_equal(clock.lost_ns, 89901);
    assert_int_equal(clock_awake_look(&clock, 91250, 100), 1349);
}

// After a stop that the owner knows of, not even one look counts.
static void an_awake_clock_skips_a_known_stop(void **state)
{
    (void)state;
    struct clock_awake clock = {0};
    assert_int_equal(clock_awake_skip(&clock, 1000), 0); // nothing has been read yet
    assert_int_equal(clock_awake_look(&clock, 1050, 100), 1050);
    assert_int_equal(clock_awake_skip(&clock, 91050), 90000);
    assert_int_equal(clock_awake_look(&clock, 91060, 100), 1060);
    assert_int_equal(clock_awake_skip(&clock, 91000), 0); // no time before the last reading
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_never_goes_back),
        cmocka_unit_test(a_thread_keeps_its_processor_or_not),
        cmocka_unit_test(wall_times_read_as_iso_8601),
        cmocka_unit_test(an_awake_clock_leaves_out_long_gaps),
        cmocka_unit_test(an_awake_clock_skips_a_known_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
