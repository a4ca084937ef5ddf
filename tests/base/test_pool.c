// test_pool.c - every worker once a job, what is written before is seen, barriers, sleep, sharing.
//
// Plain (not atomic) counters on purpose: under the thread sanitizer they prove that the pool orders them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "base/pool.h"

enum { MANY = 1024, APART = 32 };

struct shared {
    struct pool *pool;
    int counts[MANY * APART]; // one a worker, a cache line apart
    int workers_seen, errors;
    int table[MANY];
};

static struct pool *create(int threads, bool pin)
{
    struct error err = {0};
    struct pool *pool = NULL;
    if (pool_create(threads, pin, &pool, &err) != OK)
        fail_msg("%s", err.message);
    return pool;
}

// All processing units of the process, at most MANY.
static int all_units(void)
{
    struct error err = {0};
    struct pool *pool = NULL;
    int units = 0;
    assert_int_equal(pool_create(1 << 20, false, &pool, &err), ERR_USAGE);
    assert_null(pool);
    assert_int_equal(sscanf(err.message, "threads: 1048576 requested, but only %d", &units), 1);
    return units < MANY ? units : MANY;
}

static void count(void *arg, int worker, int workers)
{
    struct shared *shared = arg;
    shared->counts[worker * APART]++;
    if (worker == workers - 1)
        shared->workers_seen = workers;
}

static void every_worker_runs_every_job_once(void **state)
{
    (void)state;
    struct shared *shared = calloc(1, sizeof *shared);
    for (int threads = 1; threads <= all_units() && threads <= 8; threads++) {
        memset(shared, 0, sizeof *shared);
        struct pool *pool = create(threads, false);
        assert_int_equal(pool_threads(pool), threads);
        for (int job = 1; job <= 3000; job++) {
            pool_run(pool, count, shared);
            for (int w = 0; w < threads; w++)
                assert_int_equal(shared->counts[w * APART], job);
        }
        assert_int_equal(shared->workers_seen, threads);
        pool_destroy(pool);
    }
    free(shared);
}

static void sleeping_workers_wake(void **state)
{
    (void)state;
    struct shared *shared = calloc(1, sizeof *shared);
    struct pool *pool = create(all_units(), true);
    for (int job = 0; job < 300; job++) {
        usleep(job % 10 * 50); // before, around and after the moment they fall asleep
        pool_run(pool, count, shared);
    }
    for (int w = 0; w < pool_threads(pool); w++)
        assert_int_equal(shared->counts[w * APART], 300);
    usleep(2000);
    pool_destroy(pool); // asleep
    free(shared);
}

// Each phase writes a table that the next reads as its neighbour wrote it.
static void phases(void *arg, int worker, int workers)
{
    struct shared *shared = arg;
    for (int phase = 0; phase < 500; phase++) {
        shared->table[worker] = phase * workers + worker;
        pool_barrier(shared->pool, worker);
        int next = (worker + 1) % workers;
        if (shared->table[next] != phase * workers + next)
            shared->counts[worker * APART]++;
        pool_barrier(shared->pool, worker);
    }
}

static void nobody_leaves_a_barrier_before_all_came(void **state)
{
    (void)state;
    struct shared *shared = calloc(1, sizeof *shared);
    shared->pool = create(all_units(), false);
    for (int run = 0; run < 3; run++)
        pool_run(shared->pool, phases, shared);
    for (int w = 0; w < pool_threads(shared->pool); w++)
        assert_int_equal(shared->counts[w * APART], 0);
    pool_destroy(shared->pool);
    free(shared);
}

static void wait_for_the_late(void *arg, int worker, int workers)
{
    struct shared *shared = arg;
    (void)workers;
    pool_barrier(shared->pool, worker);
    if (worker > 0)
        usleep(3000); // worker 0 is done long before
}

static void waiting_is_counted(void **state)
{
    (void)state;
    struct shared *shared = calloc(1, sizeof *shared);
    struct pool *alone = create(1, false);
    pool_run(alone, count, shared);
    assert_int_equal(pool_wait_ns(alone), 0); // nobody to wait for
    pool_destroy(alone);
    shared->pool = create(all_units(), false);
    pool_run(shared->pool, wait_for_the_late, shared);
    uint64_t once_ns = pool_wait_ns(shared->pool);
    bool waited = once_ns > 0;
    pool_run(shared->pool, wait_for_the_late, shared);
    assert_int_equal(pool_wait_ns(shared->pool) > once_ns, waited); // it adds up
    assert_int_equal(waited, pool_threads(shared->pool) > 1);
    pool_destroy(shared->pool);
    free(shared);
}

struct places {
    hwloc_topology_t topology;
    hwloc_bitmap_t at[MANY];
};

static void look_where(void *arg, int worker, int workers)
{
    struct places *places = arg;
    (void)workers;
    hwloc_get_cpubind(places->topology, places->at[worker], HWLOC_CPUBIND_THREAD);
}

static void pinned_threads_have_a_unit_each_and_the_caller_is_let_go(void **state)
{
    (void)state;
    struct places *places = calloc(1, sizeof *places);
    hwloc_bitmap_t before = hwloc_bitmap_alloc(), after = hwloc_bitmap_alloc();
    assert_int_equal(hwloc_topology_init(&places->topology), 0);
    assert_int_equal(hwloc_topology_load(places->topology), 0);
    hwloc_get_cpubind(places->topology, before, HWLOC_CPUBIND_THREAD);
    struct pool *pool = create(0, true);
    int threads = pool_threads(pool);
    bool pinned = pool_pinned(pool);
    for (int w = 0; w < threads; w++)
        places->at[w] = hwloc_bitmap_alloc();
    pool_run(pool, look_where, places);
    for (int w = 0; w < threads && pinned; w++) {
        assert_int_equal(hwloc_bitmap_weight(places->at[w]), 1);
        for (int other = 0; other < w; other++)
            assert_false(hwloc_bitmap_intersects(places->at[w], places->at[other]));
    }
    pool_destroy(pool);
    hwloc_get_cpubind(places->topology, after, HWLOC_CPUBIND_THREAD);
    assert_true(hwloc_bitmap_isequal(before, after));
    for (int w = 0; w < threads; w++)
        hwloc_bitmap_free(places->at[w]);
    hwloc_bitmap_free(before);
    hwloc_bitmap_free(after);
    hwloc_topology_destroy(places->topology);
    free(places);
    if (!pinned) {
        print_message("skipped: this system does not bind threads\n");
        skip();
    }
}

static void senseless_thread_counts_are_usage_errors(void **state)
{
    (void)state;
    struct error err = {0};
    struct pool *pool = NULL;
    assert_int_equal(pool_create(-1, false, &pool, &err), ERR_USAGE);
    assert_null(pool);
    error_clear(&err);
    int units = all_units();
    assert_int_equal(pool_create(units + 1, false, &pool, &err), ERR_USAGE);
    char expected[128];
    snprintf(expected, sizeof expected,
             "threads: %d requested, but only %d processing unit%s may be used", units + 1, units,
             units == 1 ? "" : "s");
    assert_string_equal(err.message, expected);
    pool_destroy(NULL);
}

static void shares_cover_everything_once(void **state)
{
    (void)state;
    for (int total = 0; total <= 70; total++)
        for (int grain = 1; grain <= 17; grain += 4)
            for (int workers = 1; workers <= 9; workers++) {
                int at = 0, smallest = 1 << 30, largest = 0;
                for (int w = 0; w < workers; w++) {
                    int begin, end;
                    pool_share(total, grain, w, workers, &begin, &end);
                    assert_int_equal(begin, at);
                    assert_true(end >= begin && (end == total || end % grain == 0));
                    int grains = (end - begin + grain - 1) / grain;
                    smallest = grains < smallest ? grains : smallest;
                    largest = grains > largest ? grains : largest;
                    at = end;
                }
                assert_int_equal(at, total);
                assert_true(largest - smallest <= 1);
            }
    int begin, end;
    pool_share(2000000000, 16, 63, 64, &begin, &end); // no overflow on the way
    assert_int_equal(end, 2000000000);
    assert_true(begin > 1900000000);
}

// The smaller of the cores and the quota rounded up.
static void a_quota_limits_the_threads(void **state)
{
    (void)state;
    static const struct {
        int cores;
        int64_t quota_millis;
        int threads;
    } cases[] = {{8, OS_UNKNOWN, 8}, {8, 8000, 8}, {8, 7999, 8}, {8, 7000, 7}, {8, 1500, 2},
                 {8, 1000, 1},       {8, 100, 1},  {1, 4000, 1}, {2, 9000, 2}, {8, 1001, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(pool_automatic_threads(cases[i].cores, cases[i].quota_millis),
                         cases[i].threads);
    char note[128];
    struct pool_room room = {.units = 16, .cores = 8, .quota_millis = 1500, .automatic = 2};
    assert_string_equal(pool_room_note(&room, note, sizeof note),
                        "the control group's quota of 1.50 processors; 8 cores may be used");
    room.automatic = 8;
    assert_string_equal(pool_room_note(&room, note, sizeof note), "");
}

static void the_room_is_the_pools(void **state)
{
    (void)state;
    struct error err = {0};
    struct pool_room room;
    struct pool *pool = create(0, false);
    assert_int_equal(pool_room(&room, &err), OK);
    assert_int_equal(room.automatic, pool_threads(pool));
    assert_true(room.cores >= room.automatic && room.units >= room.cores);
    assert_int_equal(room.units < MANY ? room.units : MANY, all_units());
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quota_limits_the_threads),
        cmocka_unit_test(the_room_is_the_pools),
        cmocka_unit_test(every_worker_runs_every_job_once),
        cmocka_unit_test(sleeping_workers_wake),
        cmocka_unit_test(nobody_leaves_a_barrier_before_all_came),
        cmocka_unit_test(waiting_is_counted),
        cmocka_unit_test(pinned_threads_have_a_unit_each_and_the_caller_is_let_go),
        cmocka_unit_test(senseless_thread_counts_are_usage_errors),
        cmocka_unit_test(shares_cover_everything_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
