// test_sampler.c - greedy choice, the filters, and draws that follow the distribution asked for.
#include "tests/engine/fixture.h"

#include "engine/model/sampler.h"

static int32_t next(const struct sampling *options, struct rng *stream, const float *row, int vocab)
{
    struct error err = {0};
    struct sampler s;
    struct logits_scan scan = logits_scan(row, 0, vocab);
    expect_ok(sampler_init(&s, vocab, &err), &err, "sampler_init");
    int32_t id = sampler_next(&s, options, stream, row, vocab, &scan);
    sampler_fini(&s);
    return id;
}

static int32_t once(struct sampling options, const float *row, int vocab)
{
    struct rng stream = sampling_stream(options.seed, 0);
    return next(&options, &stream, row, vocab);
}

static void test_greedy(void **state)
{
    (void)state;
    struct sampling greedy = {.temperature = 0};
    assert_int_equal(once(greedy, (float[]){1, 3, 2}, 3), 1);
    assert_int_equal(once(greedy, (float[]){-INFINITY, -5, -INFINITY}, 3), 1);
    assert_int_equal(once(greedy, (float[]){2, 3, 3, 3}, 4), 1); // ties: the lowest id
    assert_int_equal(once(greedy, (float[]){0, INFINITY, 5}, 3), 1);
}

static void test_nothing_to_take(void **state)
{
    (void)state;
    struct sampling ways[] = {{.temperature = 0}, {.temperature = 1, .top_p = 1}};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(once(ways[i], (float[]){1, NAN, 2}, 3), -1);
        assert_int_equal(once(ways[i], (float[]){NAN, 1, 2}, 3), -1);
        assert_int_equal(once(ways[i], (float[]){-INFINITY, -INFINITY}, 2), -1);
        assert_int_equal(once(ways[i], (float[]){INFINITY, INFINITY}, 2), -1);
        assert_int_equal(once(ways[i], (float[]){INFINITY, -INFINITY}, 2), -1);
    }
    assert_int_equal(logits_nonfinite((float[]){0, NAN, INFINITY, -INFINITY, 1}, 5), 3);
}

static void test_refuses_options(void **state)
{
    (void)state;
    struct sampling bad[] = {{.temperature = -1, .top_p = 1},
                             {.temperature = NAN, .top_p = 1},
                             {.temperature = INFINITY, .top_p = 1},
                             {.temperature = 1, .top_p = 0},
                             {.temperature = 1, .top_p = 1.5f},
                             {.temperature = 1, .top_p = NAN},
                             {.temperature = 1, .top_p = 1, .top_k = -1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        assert_int_equal(sampling_check(&bad[i], &err), ERR_USAGE);
        assert_true(err.message[0]);
    }
}

// Draws `n` times and compares the counts with `expected` probabilities by chi-square. The seed is fixed, so this is
// one draw of the statistic, checked against its 99.9 % quantile; ids of probability 0 must
// not come at all.
static void check_distribution(struct sampling options, const float *logits, const double *expected,
                               int vocab, int n, double quantile)
{
    int counts[64] = {0};
    struct rng stream = sampling_stream(options.seed, 0);
    for (int i = 0; i < n; i++) {
        int32_t id = next(&options, &stream, logits, vocab);
        assert_in_range(id, 0, vocab - 1);
        counts[id]++;
    }
    double chi = 0;
    for (int i = 0; i < vocab; i++) {
        double mean = expected[i] * n;
        if (expected[i] == 0)
            assert_int_equal(counts[i], 0);
        else
            chi += (counts[i] - mean) * (counts[i] - mean) / mean;
    }
    print_message("chi-square %.2f (99.9 %% quantile %.2f)\n", chi, quantile);
    assert_true(chi < quantile);
}

// Probabilities .4 .3 .2 .1 at temperature 1, on ids out of order.
static const float four[] = {-2.302585f, -0.916291f, -1.609438f, -1.203973f};

static void test_distribution(void **state)
{
    (void)state;
    enum { N = 100000 };
    struct sampling plain = {.temperature = 1, .top_p = 1, .seed = 7};
    check_distribution(plain, four, (double[]){.1, .4, .2, .3}, 4, N, 16.27); // 3 degrees

    struct sampling cold = plain; // T = 1/2 squares the probabilities
    cold.temperature = 0.5f;
    check_distribution(cold, four, (double[]){.01 / .3, .16 / .3, .04 / .3, .09 / .3}, 4, N, 16.27);

    struct sampling k2 = plain;
    k2.top_k = 2;
    check_distribution(k2, four, (double[]){0, .4 / .7, 0, .3 / .7}, 4, N, 10.83);

    struct sampling p = plain; // .4 + .3 < .75 <= .4 + .3 + .2
    p.top_p = 0.75f;
    check_distribution(p, four, (double[]){0, .4 / .9, .2 / .9, .3 / .9}, 4, N, 13.82);

    struct sampling both = plain; // of the three kept, .4/.9 + .3/.9 = .78 holds .7
    both.top_k = 3;
    both.top_p = 0.7f;
    check_distribution(both, four, (double[]){0, .4 / .7, 0, .3 / .7}, 4, N, 10.83);

    const float masked[] = {0, -INFINITY, 0, -INFINITY};
    check_distribution(plain, masked, (double[]){.5, 0, .5, 0}, 4, N, 10.83);
    k2.top_k = 3; // keeps an impossible one, which must not be drawn
    check_distribution(k2, masked, (double[]){.5, 0, .5, 0}, 4, N, 10.83);
}

static void test_top_k_ties_keep_the_lowest(void **state)
{
    (void)state;
    struct sampling k2 = {.temperature = 1, .top_p = 1, .top_k = 2, .seed = 3};
    check_distribution(k2, (float[]){1, 1, 1, 1, 1}, (double[]){.5, .5, 0, 0, 0}, 5, 20000, 10.83);
}

// A tiny temperature is greedy in the limit; a tiny top_p keeps one.
static void test_limits(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct sampling cold = {.temperature = 1e-30f, .top_p = 1, .seed = seed};
        struct sampling narrow = {.temperature = 1, .top_p = 1e-6f, .seed = seed};
        struct sampling one = {.temperature = 5, .top_p = 1, .top_k = 1, .seed = seed};
        assert_int_equal(once(cold, four, 4), 1);
        assert_int_equal(once(narrow, four, 4), 1);
        assert_int_equal(once(one, four, 4), 1);
    }
}

// Another sequence or another seed draws something else.
static void test_streams(void **state)
{
    (void)state;
    enum { N = 64 };
    float flat[50] = {0};
    struct sampling options = {.temperature = 1, .top_p = 1};
    struct rng zero = sampling_stream(11, 0), again = zero;
    struct rng neighbour = sampling_stream(11, 5), other = sampling_stream(12, 0);
    int same = 0, same_neighbour = 0, same_seed = 0;
    for (int i = 0; i < N; i++) {
        int32_t id = next(&options, &zero, flat, 50);
        same += id == next(&options, &again, flat, 50);
        same_neighbour += id == next(&options, &neighbour, flat, 50);
        same_seed += id == next(&options, &other, flat, 50);
    }
    assert_int_equal(same, N);
    assert_in_range(same_neighbour, 0, N / 4);
    assert_in_range(same_seed, 0, N / 4);
}

// ---- scans -----------------------------------------------------------------------------------------------

static void check_scan(struct logits_scan scan, const float *row, int n)
{
    int best = -1, finite = 0;
    bool nan = false;
    for (int i = 0; i < n; i++) {
        finite += isfinite(row[i]) != 0;
        nan |= isnan(row[i]) != 0;
        if (!isnan(row[i]) && (best < 0 || row[i] > row[best]))
            best = i;
    }
    assert_int_equal(scan.finite, finite);
    assert_int_equal(scan.unusual, n - finite);
    assert_int_equal(scan.nan, nan);
    assert_int_equal(scan.best, best);
    if (best >= 0)
        assert_memory_equal(&scan.max, &row[best], sizeof(float));
}

// Cut anywhere into three pieces, empty ones included, a row scans to the same: with ties across the cuts, and
// with what is no number anywhere.
static void test_scan_is_the_same_however_cut(void **state)
{
    (void)state;
    enum { N = 45 };
    static const float odd[] = {NAN, INFINITY, -INFINITY, 7, -7, 1};
    struct rng rng = {.state = 9};
    for (int round = 0; round < 400; round++) {
        float row[N];
        for (int i = 0; i < N; i++)
            row[i] = (float)rng_below(&rng, 9) - 4; // many ties
        for (uint32_t i = rng_below(&rng, 4); i > 0; i--)
            row[rng_below(&rng, N)] = odd[rng_below(&rng, 6)];
        int a = (int)rng_below(&rng, N + 1), b = (int)rng_below(&rng, N + 1);
        int low = a < b ? a : b, high = a < b ? b : a;
        check_scan(logits_scan(row, 0, N), row, N);
        struct logits_scan joined = logits_scan_join(
            logits_scan_join(logits_scan(row, 0, low), logits_scan(row, low, high)),
            logits_scan(row, high, N));
        check_scan(joined, row, N);
    }
    const float none[] = {NAN, NAN}, lowest[] = {-INFINITY, -INFINITY};
    check_scan(logits_scan(lowest, 0, 2), lowest, 2);
    assert_int_equal(logits_scan(none, 0, 2).best, -1);
    assert_int_equal(logits_scan(none, 0, 0).best, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_nothing_to_take),
        cmocka_unit_test(test_refuses_options),
        cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_top_k_ties_keep_the_lowest),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_scan_is_the_same_however_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
