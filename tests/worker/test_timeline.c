// test_timeline.c - time and waits since a request, without those of pauses.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "bench/worker/timeline.h"
#include "device/device.h"

// A clock that the test sets.
struct moment {
    uint64_t now_ns, wait_ns;
};

static uint64_t now_of(const void *user)
{
    return ((const struct moment *)user)->now_ns;
}

static uint64_t wait_of(const void *user)
{
    return ((const struct moment *)user)->wait_ns;
}

static struct timeline started(const struct moment *moment)
{
    struct timeline t;
    timeline_start(&t, &(struct timeline_clock){now_of, wait_of, moment});
    return t;
}

static void time_begins_with_the_request(void **state)
{
    (void)state;
    struct moment m = {.now_ns = 1000, .wait_ns = 70};
    struct timeline t = started(&m);
    assert_int_equal(timeline_at(&t, 1000), 0);
    assert_int_equal(timeline_at(&t, 1250), 250);
    // A clock of a device may have stamped an event before the host asked.
    assert_int_equal(timeline_at(&t, 990), -10);
    m.wait_ns = 75;
    assert_float_equal(timeline_wait_ns(&t), 5, 0);
}

static void pauses_take_no_time_and_no_waits(void **state)
{
    (void)state;
    struct moment m = {.now_ns = 1000, .wait_ns = 70};
    struct timeline t = started(&m);
    m = (struct moment){1100, 80};
    timeline_pause(&t);
    m = (struct moment){1900, 400};
    timeline_resume(&t);
    assert_int_equal(timeline_at(&t, 1900), 100);
    m = (struct moment){2000, 401};
    timeline_pause(&t);
    m = (struct moment){2500, 431};
    timeline_resume(&t);
    assert_int_equal(timeline_at(&t, 2503), 203);
    assert_float_equal(timeline_wait_ns(&t), 11, 0);
}

static void waits_of_a_device_that_has_none_are_not_zero(void **state)
{
    (void)state;
    struct moment m = {.now_ns = 1, .wait_ns = DEVICE_WAIT_UNKNOWN};
    struct timeline t = started(&m);
    timeline_pause(&t);
    timeline_resume(&t);
    assert_true(isnan(timeline_wait_ns(&t)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_begins_with_the_request),
        cmocka_unit_test(pauses_take_no_time_and_no_waits),
        cmocka_unit_test(waits_of_a_device_that_has_none_are_not_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
