// test_deal.c - every unit is taken once, whichever worker is slow; deals follow each other without clearing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/deal.h"
#include "base/pool.h"

enum { MOST = 1000, DEALS = 50 };

struct table {
    struct pool *pool;
    struct deal_slot *slots;
    int count, piece, slow; // slow: a worker that lingers over each piece, -1: none
    int given[MOST];        // plain: under the thread sanitizer it proves that no two take one unit
    int by[MOST];
};

static void linger(void)
{
    for (uint64_t begin = clock_ns(); clock_ns() - begin < 200000;)
        ;
}

static void deal_units(void *arg, int worker, int workers)
{
    struct table *t = arg;
    for (int n = 0; n < DEALS; n++) {
        struct deal deal;
        int begin, end;
        deal_begin(&deal, t->slots, t->count, t->piece, worker, workers);
        while (deal_next(&deal, &begin, &end)) {
            for (int i = begin; i < end; i++) {
                t->given[i]++;
                t->by[i] = worker;
            }
            if (worker == t->slow && n == 0)
                linger();
        }
        pool_barrier(t->pool, worker);
    }
}

static void run(struct table *t, int threads)
{
    struct error err = {0};
    if (pool_create(threads, true, &t->pool, &err) != OK)
        fail_msg("%s", err.message);
    t->slots = aligned_alloc(64, (size_t)threads * sizeof *t->slots);
    assert_non_null(t->slots);
    memset(t->slots, 0, (size_t)threads * sizeof *t->slots);
    memset(t->given, 0, sizeof t->given);
    pool_run(t->pool, deal_units, t);
    free(t->slots);
    pool_destroy(t->pool);
}

static void every_unit_is_given_once(void **state)
{
    (void)state;
    static struct table t;
    for (int threads = 1; threads <= 2; threads++)
        for (int count = 0; count <= MOST; count = count * 3 + 1)
            for (int piece = 1; piece < 40; piece = piece * 3 + 1) {
                t = (struct table){.count = count, .piece = piece, .slow = -1};
                run(&t, threads);
                for (int i = 0; i < MOST; i++)
                    assert_int_equal(t.given[i], i < count ? DEALS : 0);
            }
}

static void the_free_help_the_slow(void **state)
{
    (void)state;
    static struct table t;
    t = (struct table){.count = 800, .piece = 4, .slow = 1};
    run(&t, 2);
    for (int i = 0; i < t.count; i++)
        assert_int_equal(t.given[i], DEALS);
}

// Worker 1 is away: worker 0 takes its own share in order, and then all of the other.
static void one_worker_can_do_it_all(void **state)
{
    (void)state;
    static struct deal_slot slots[2];
    struct deal deal;
    int begin, end, next = 0;
    deal_begin(&deal, slots, 10, 3, 0, 2);
    static const int expected[][2] = {{0, 3}, {3, 5}, {5, 8}, {8, 10}};
    while (deal_next(&deal, &begin, &end)) {
        assert_in_range(next, 0, 3);
        assert_int_equal(begin, expected[next][0]);
        assert_int_equal(end, expected[next][1]);
        next++;
    }
    assert_int_equal(next, 4);
    assert_false(deal_next(&deal, &begin, &end));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_unit_is_given_once),
        cmocka_unit_test(the_free_help_the_slow),
        cmocka_unit_test(one_worker_can_do_it_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
