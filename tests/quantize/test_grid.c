// test_grid.c - the walk over exponents: what it tries, what it finds, and that errors end it.
#include "tests/engine/fixture.h"

#include <stdlib.h>

#include "engine/quantize/grid.h"

struct bowl {
    int lowest, tried, fails_at;
};

static enum status try(void *user, int alpha, double *loss, struct error *err)
{
    struct bowl *b = user;
    assert_in_range(alpha, 1, AWQ_ALPHAS);
    b->tried++;
    if (alpha == b->fails_at)
        return FAIL(err, ERR_NOMEM, "at %d", alpha);
    *loss = 1 + abs(alpha - b->lowest);
    return OK;
}

static void test_every_lowest_point_is_found(void **state)
{
    (void)state;
    for (int lowest = 0; lowest <= AWQ_ALPHAS; lowest++) {
        struct error err = {0};
        struct bowl bowl = {.lowest = lowest};
        struct grid_best best = {.loss = 1 + lowest};
        expect_ok(awq_grid_search(try, &bowl, &best, &err), &err, "awq_grid_search");
        assert_int_equal(best.alpha, lowest);
        assert_true(best.loss == 1);
        assert_in_range(bowl.tried, AWQ_ALPHAS / 2 + 1, AWQ_ALPHAS / 2 + 2);
    }
}

static void test_no_scale_stays_where_nothing_is_better(void **state)
{
    (void)state;
    struct error err = {0};
    struct bowl bowl = {.lowest = 7};
    struct grid_best best = {.loss = 1};
    expect_ok(awq_grid_search(try, &bowl, &best, &err), &err, "awq_grid_search");
    assert_int_equal(best.alpha, 0);
}

static void test_an_error_ends_it(void **state)
{
    (void)state;
    struct error err = {0};
    struct bowl bowl = {.lowest = 7, .fails_at = 6};
    struct grid_best best = {.loss = 8};
    assert_int_equal(awq_grid_search(try, &bowl, &best, &err), ERR_NOMEM);
    assert_int_equal(bowl.tried, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_lowest_point_is_found),
        cmocka_unit_test(test_no_scale_stays_where_nothing_is_better),
        cmocka_unit_test(test_an_error_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
