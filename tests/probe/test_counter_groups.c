// test_counter_groups.c - which events of a scripted machine are counted, by whom, and in which groups.
#include "tests/probe/perf_script.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"
#include "bench/probe/counter.h"
#include "bench/probe/papi.h"
#include "bench/probe/probe.h"
#include "tests/probe/papi_script.h"

static struct counter_source papi, perf;
static const char *wrong; // the event that miscounts
static char root[] = "tests/machines/xeon-2s";

// A load that counts whatever the script says.
static bool right(const struct counter_source *source, const struct counter_event *event, void *set,
                  char reason[COUNTER_REASON_BYTES])
{
    int64_t value = OS_UNKNOWN;
    source->start(set);
    source->stop(set, &value);
    if (value == OS_UNKNOWN || (wrong && !strcmp(event->name, wrong))) {
        snprintf(reason, COUNTER_REASON_BYTES, "counted 0 under a known load");
        return false;
    }
    return true;
}

static int reset(void **state)
{
    (void)state;
    memset(&perf_script, 0, sizeof perf_script);
    memset(&papi_script, 0, sizeof papi_script);
    wrong = NULL;
    papi = counter_papi;
    papi.calls = &papi_scripted;
    perf = counter_perf;
    perf.calls = &perf_scripted;
    papi_script.init = PAPI_SCRIPT_VERSION;
    return 0;
}

static int all_closed(void **state)
{
    (void)state;
    return perf_script_opened() || papi_script.open ? -1 : 0;
}

static struct counters *opened(void)
{
    const struct counter_setup setup = {root, &papi, &perf, right};
    struct counters *c = NULL;
    struct error err = {0};
    assert_int_equal(counters_open_with(&setup, &c, &err), OK);
    return c;
}

// "instructions cycles | cache-misses": the events in order, a bar between groups.
static void events_are(const struct counters *c, const char *expected)
{
    char text[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < counters_count(c); i++) {
        bool next = i > 0 && counters_group(c, i) != counters_group(c, i - 1);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s%s", i ? " " : "",
                                 next ? "| " : "", counters_name(c, i));
    }
    assert_string_equal(text, expected);
}

static void says(const struct counters *c, const char *words)
{
    if (!strstr(counters_reason(c), words))
        fail_msg("'%s' instead of '%s'", counters_reason(c), words);
}

// Counts each group once, while every event counts `count` on every thread.
static void count_groups(struct counters *c, uint64_t count, int64_t values[COUNTERS_MAX])
{
    perf_script.a_stop = papi_script.a_stop = count;
    for (size_t i = 0; i < COUNTERS_MAX; i++)
        values[i] = -7; // not written
    for (size_t group = 0; group < counters_groups(c); group++) {
        counters_select(c, group);
        counters_start(c);
        counters_stop(c, values);
    }
}

static void papi_counts_what_fits_in_groups(void **state)
{
    (void)state;
    int64_t values[COUNTERS_MAX];
    papi_script.room = 2;
    struct counters *c = opened();
    assert_string_equal(counters_source(c), "papi");
    events_are(c, "instructions cycles | stalled-cycles cache-misses | dtlb-load-misses");
    assert_string_equal(counters_reason(c), "");
    assert_int_equal(perf_script.count, 0);
    assert_int_equal(counters_groups(c), 3);
    count_groups(c, 41, values);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(values[i], 41); // of this process's one thread
    assert_int_equal(values[5], -7);
    counters_close(c);
}

static void papi_without_an_event_counts_the_others(void **state)
{
    (void)state;
    papi_script.unknown = "PAPI_RES_STL";
    struct counters *c = opened();
    events_are(c, "instructions cycles cache-misses dtlb-load-misses");
    assert_string_equal(counters_reason(c), "papi stalled-cycles: Event does not exist");
    counters_close(c);
}

static void perf_counts_where_papi_does_not(void **state)
{
    (void)state;
    papi_script.init = -4;
    perf_script.room = 4;
    struct counters *c = opened();
    assert_string_equal(counters_source(c), "perf");
    events_are(c, "instructions cycles stalled-cycles cache-misses | dtlb-load-misses page-faults "
                  "context-switches task-clock");
    says(c,
         "papi instructions, cycles, stalled-cycles, cache-misses, dtlb-load-misses: the library "
         "does not start: scripted error -4");
    counters_close(c);

    papi.calls = NULL; // a build without PAPI
    perf_script.validates = true;
    c = opened();
    assert_int_equal(counters_groups(c), 2);
    says(c, "this build has no PAPI");
    counters_close(c);
}

// Each thread has its own group, and its events the thread's own leader (perf_script.h).
static void values_add_up_over_threads(void **state)
{
    (void)state;
    int64_t values[COUNTERS_MAX];
    struct pool *pool = NULL;
    struct error err = {0};
    if (pool_create(2, true, &pool, &err) != OK)
        skip();
    papi.calls = NULL;
    struct counters *c = opened();
    assert_int_equal(counters_groups(c), 1);
    // The thread sanitizer has a thread of its own.
    int threads[64];
    int64_t count = (int64_t)perf_threads(threads, 64);
    assert_in_range(count, 2, 64);
    count_groups(c, 100, values);
    for (size_t i = 0; i < counters_count(c); i++)
        assert_int_equal(values[i], 100 * count);
    perf_script.held = true; // by another program, from now on
    count_groups(c, 100, values);
    for (size_t i = 0; i < counters_count(c); i++)
        assert_int_equal(values[i], OS_UNKNOWN);
    counters_close(c);
    pool_destroy(pool);
}

static void a_miscounting_event_is_left_out(void **state)
{
    (void)state;
    papi.calls = NULL;
    wrong = "cycles";
    struct counters *c = opened();
    events_are(c, "instructions stalled-cycles cache-misses dtlb-load-misses page-faults "
                  "context-switches task-clock");
    says(c, "perf cycles: counted 0 under a known load");
    counters_close(c);
}

// kernel.perf_event_paranoid 2: the same events, of user code alone.
static void user_code_alone_where_more_is_forbidden(void **state)
{
    (void)state;
    papi.calls = NULL;
    perf_script.kernel = EACCES;
    struct counters *c = opened();
    assert_int_equal(counters_count(c), 8);
    for (int i = 0; i < perf_script.count; i++)
        assert_true(perf_script.event[i].place.user_only);
    counters_close(c);
}

static void nothing_is_permitted(void **state)
{
    (void)state;
    papi.calls = NULL;
    perf_script.refuse = EPERM;
    struct counters *c = opened();
    assert_string_equal(counters_source(c), "none");
    assert_int_equal(counters_groups(c), 0);
    says(c,
         "perf instructions, cycles, stalled-cycles, cache-misses, dtlb-load-misses, page-faults, "
         "context-switches, task-clock: not permitted");
    counters_start(c);
    counters_close(c);
}

static int count_of(uint32_t type, uint64_t config)
{
    int found = 0;
    for (int i = 0; i < perf_script.count; i++)
        found += perf_script.event[i].counter.type == type &&
                 perf_script.event[i].counter.config == config;
    return found;
}

// The kernel names no stalls of Intel's processors; their own encoding is tried on no other.
static void stalls_by_the_processors_own_encoding(void **state)
{
    (void)state;
    papi.calls = NULL;
    perf_script.unknown_config = 8;
    struct counters *c = opened();
    events_are(c, "instructions cycles stalled-cycles cache-misses dtlb-load-misses page-faults "
                  "context-switches task-clock");
    assert_string_equal(counters_reason(c),
                        "papi instructions, cycles, stalled-cycles, "
                        "cache-misses, dtlb-load-misses: this build has no PAPI");
    assert_true(count_of(4, 0x040004a3) > 0);
    counters_close(c);

    memset(perf_script.event, 0, sizeof perf_script.event);
    perf_script.count = 0;
    strcpy(root, "tests/machines/epyc-vm");
    c = opened();
    assert_int_equal(counters_count(c), 7);
    says(c, "perf stalled-cycles: the processor, or the hypervisor above it");
    assert_int_equal(count_of(4, 0x040004a3), 0);
    counters_close(c);
    strcpy(root, "tests/machines/xeon-2s");
}

#define SCRIPTED(test) cmocka_unit_test_setup_teardown(test, reset, all_closed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRIPTED(papi_counts_what_fits_in_groups),
        SCRIPTED(papi_without_an_event_counts_the_others),
        SCRIPTED(perf_counts_where_papi_does_not),
        SCRIPTED(values_add_up_over_threads),
        SCRIPTED(a_miscounting_event_is_left_out),
        SCRIPTED(user_code_alone_where_more_is_forbidden),
        SCRIPTED(nothing_is_permitted),
        SCRIPTED(stalls_by_the_processors_own_encoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
