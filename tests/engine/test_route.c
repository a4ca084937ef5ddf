// test_route.c - which experts are chosen, with what shares, and how slots are grouped.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "engine/model/route.h"

enum { EXPERTS = 60, TOKENS = 97, USED = 4 };

static void near(double a, double b)
{
    if (!(fabs(a - b) < 1e-6))
        fail_msg("%.9g is not %.9g", a, b);
}

static void test_shares(void **state)
{
    (void)state;
    const float scores[] = {logf(1), logf(4), logf(2), logf(3)};
    int chosen[2];
    float shares[2];
    route_choose(scores, 4, 2, false, chosen, shares);
    assert_int_equal(chosen[0], 1);
    assert_int_equal(chosen[1], 3);
    near((double)shares[0], 0.4);
    near((double)shares[1], 0.3);
    route_choose(scores, 4, 2, true, chosen, shares);
    near((double)shares[0], 4.0 / 7);
    near((double)shares[1], 3.0 / 7);
}

// Scores so large that an exponential without the maximum subtracted would overflow.
static void test_large_scores(void **state)
{
    (void)state;
    const float scores[] = {500, 501, -900};
    int chosen[3];
    float shares[3];
    route_choose(scores, 3, 3, false, chosen, shares);
    assert_int_equal(chosen[0], 1);
    near((double)shares[0], 1 / (1 + exp(-1)));
    near((double)shares[2], 0);
}

static void test_ties_and_nan(void **state)
{
    (void)state;
    const float tied[] = {1, 2, 2, 2, 0}, broken[] = {NAN, 1, NAN, 3};
    int chosen[3];
    float shares[3];
    route_choose(tied, 5, 2, true, chosen, shares);
    assert_int_equal(chosen[0], 1);
    assert_int_equal(chosen[1], 2);
    route_choose(broken, 4, 3, true, chosen, shares);
    assert_int_equal(chosen[0], 3);
    assert_int_equal(chosen[1], 1);
    assert_int_equal(chosen[2], 0);
    assert_true(isnan(shares[0])); // and so the token's logits are, which is how it shows
}

// Against choosing by sorting everything.
static const float *sort_scores;

static int by_score(const void *a, const void *b)
{
    int i = *(const int *)a, j = *(const int *)b;
    if (sort_scores[i] != sort_scores[j])
        return sort_scores[i] > sort_scores[j] ? -1 : 1;
    return i - j;
}

static void test_random(void **state)
{
    (void)state;
    uint64_t seed = clock_ns();
    print_message("seed %llu\n", (unsigned long long)seed);
    static float scores[TOKENS][EXPERTS], shares[TOKENS * USED], share[TOKENS * USED];
    static int chosen[TOKENS * USED], first[EXPERTS + 1], token[TOKENS * USED];
    for (int t = 0; t < TOKENS; t++) {
        int order[EXPERTS];
        for (int e = 0; e < EXPERTS; e++) {
            order[e] = e;
            scores[t][e] = (float)(rng_hash(seed + (uint64_t)(t * EXPERTS + e)) % 97) / 10;
        }
        route_choose(scores[t], EXPERTS, USED, true, chosen + t * USED, shares + t * USED);
        sort_scores = scores[t];
        qsort(order, EXPERTS, sizeof *order, by_score);
        assert_memory_equal(order, chosen + t * USED, USED * sizeof *order);
    }
    struct route_groups groups = {first, token, share};
    route_group(chosen, shares, TOKENS, USED, EXPERTS, &groups);
    assert_int_equal(first[0], 0);
    assert_int_equal(first[EXPERTS], TOKENS * USED);
    for (int e = 0; e < EXPERTS; e++)
        for (int s = first[e]; s < first[e + 1]; s++) {
            assert_true(s == first[e] || token[s] > token[s - 1]);
            int i = 0;
            while (i < USED && chosen[token[s] * USED + i] != e)
                i++;
            assert_in_range(i, 0, USED - 1);
            assert_memory_equal(&share[s], &shares[token[s] * USED + i], sizeof *share);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_large_scores),
        cmocka_unit_test(test_ties_and_nan),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
