// test_counter_loads.c - an event that reads zero, or cannot be read, is refused with the reason.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/os.h"
#include "bench/probe/counter.h"

// The counts of the stops of a trial, in order.
struct script {
    int64_t counts[2];
    int stops;
};

static void start(void *set)
{
    (void)set;
}

static void stop(void *set, int64_t *values)
{
    struct script *script = set;
    assert_true(script->stops < 2);
    values[0] = script->counts[script->stops++];
}

static const struct counter_source source = {.name = "script", .start = start, .stop = stop};

static bool right(enum counter_quantity quantity, int64_t first, int64_t second,
                  char reason[COUNTER_REASON_BYTES])
{
    struct script script = {.counts = {first, second}};
    const struct counter_event event = {.name = "event", .quantity = quantity};
    reason[0] = '\0';
    return counter_right(&source, &event, &script, reason);
}

static void an_event_that_reads_zero_is_refused(void **state)
{
    (void)state;
    char reason[COUNTER_REASON_BYTES];
    for (int quantity = COUNT_INSTRUCTIONS; quantity <= COUNT_TASK_CLOCK; quantity++) {
        assert_false(right((enum counter_quantity)quantity, 0, 0, reason));
        assert_non_null(strstr(reason, "counted 0 under a known load of "));
    }
}

static void an_event_that_cannot_be_read_is_refused(void **state)
{
    (void)state;
    char reason[COUNTER_REASON_BYTES];
    for (int quantity = COUNT_INSTRUCTIONS; quantity <= COUNT_TASK_CLOCK; quantity++) {
        assert_false(right((enum counter_quantity)quantity, OS_UNKNOWN, OS_UNKNOWN, reason));
        assert_string_equal(reason, "cannot be read");
    }
    assert_false(right(COUNT_INSTRUCTIONS, OS_UNKNOWN, 3000000, reason));
    assert_string_equal(reason, "cannot be read");
    assert_false(right(COUNT_INSTRUCTIONS, 1000000, OS_UNKNOWN, reason));
    assert_string_equal(reason, "cannot be read");
}

static void a_round_is_a_whole_number_of_instructions(void **state)
{
    (void)state;
    char reason[COUNTER_REASON_BYTES];
    assert_true(right(COUNT_INSTRUCTIONS, 4000500, 12000500, reason));
    assert_false(right(COUNT_INSTRUCTIONS, 4000500, 13000500, reason)); // 4.5
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_that_reads_zero_is_refused),
        cmocka_unit_test(an_event_that_cannot_be_read_is_refused),
        cmocka_unit_test(a_round_is_a_whole_number_of_instructions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
