// test_moments.c - moments against plain sums in double, and the same bits for any number of threads.
#include "tests/engine/fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "engine/quantize/moments.h"

enum { TOKENS = 1111, COLS = 300, GROUP = 128, LD = 310 }; // the last group has 44 channels
static const uint64_t seed = 71;

static float *random_rows(int rows, int ld)
{
    struct rng rng = {seed};
    float *x = calloc((size_t)rows * (size_t)ld, sizeof *x);
    assert_non_null(x);
    for (int i = 0; i < rows * ld; i++)
        x[i] = (rng_f32(&rng) - 0.4f) * (float)(1 + i % 7);
    return x;
}

static struct moments *moments_of(const float *x, int threads, unsigned isa)
{
    struct error err = {0};
    struct device *device = device_of_tier(threads, isa);
    struct moments *m = NULL;
    expect_ok(moments_create(x, LD, TOKENS, COLS, GROUP, device, &m, &err), &err, "moments");
    device_close(device);
    return m;
}

static void test_mean(void **state)
{
    (void)state;
    float *x = random_rows(TOKENS, LD);
    struct moments *m = moments_of(x, 1, ISA_ALL);
    for (int c = 0; c < COLS; c++) {
        double sum = 0;
        for (int t = 0; t < TOKENS; t++)
            sum += fabs((double)x[t * LD + c]);
        assert_true(fabs(sum / TOKENS - (double)m->mean_abs[c]) < 1e-6 * sum / TOKENS);
    }
    moments_destroy(m);
    free(x);
}

// Means of 1, 4 and 16: at alpha 1/2 scales of 1, 2 and 4, centred on 2.
static void test_scale(void **state)
{
    (void)state;
    static float means[] = {1, 4, 16};
    float scale[3];
    struct moments m = {.cols = 3, .group = 3, .mean_abs = means};
    moments_scale(&m, 0.5, scale);
    assert_float_equal(scale[0], 0.5, 1e-6);
    assert_float_equal(scale[1], 1, 1e-6);
    assert_float_equal(scale[2], 2, 1e-6);
    means[0] = 0;
    moments_scale(&m, 1, scale); // 1e-4, 4, 16, centred on 0.04
    assert_float_equal(scale[0], 0.0025, 1e-6);
    assert_float_equal(scale[1], 100, 1e-3);
    assert_float_equal(scale[2], 400, 1e-3);
}

// E[(e x)^2], token by token.
static double error_of(const float *x, const float *e, int first, int n)
{
    double sum = 0;
    for (int t = 0; t < TOKENS; t++) {
        double y = 0;
        for (int c = 0; c < n; c++)
            y += (double)e[c] * (double)x[t * LD + first + c];
        sum += y * y;
    }
    return sum / TOKENS;
}

static void test_error(void **state)
{
    (void)state;
    struct tier tiers[MAX_TIERS];
    size_t count = machine_tiers(tiers);
    float *x = random_rows(TOKENS, LD);
    _Alignas(64) static float e[PANEL_ROWS * GROUP];
    struct rng rng = {seed + 1};
    for (int i = 0; i < PANEL_ROWS * GROUP; i++)
        e[i] = rng_f32(&rng) - 0.5f;
    for (size_t tier = 0; tier < count; tier++) {
        struct moments *m = moments_of(x, 2, tiers[tier].isa);
        for (int first = 0; first < COLS; first += GROUP) {
            int n = COLS - first < GROUP ? COLS - first : GROUP;
            double error[PANEL_ROWS];
            moments_error(m, first, e, PANEL_ROWS, GROUP, error);
            for (int r = 0; r < PANEL_ROWS; r++) {
                double expected = error_of(x, e + r * GROUP, first, n);
                if (!(fabs(error[r] - expected) < 1e-4 * expected))
                    fail_msg("%s, group at %d, row %d: %g, expected %g (seed %llu)",
                             tiers[tier].name, first, r, error[r], expected,
                             (unsigned long long)seed);
            }
        }
        moments_destroy(m);
    }
    free(x);
}

// What changes of all channels make of one group's: E[(sum e x) x_i], token by token.
static void test_seen(void **state)
{
    (void)state;
    enum { WIDE = 304 };
    float *x = random_rows(TOKENS, LD);
    _Alignas(64) static float e[PANEL_ROWS * WIDE], y[PANEL_ROWS * MOMENTS_GROUP_MAX];
    struct rng rng = {seed + 2};
    for (int i = 0; i < PANEL_ROWS * WIDE; i++)
        e[i] = i % WIDE < COLS ? rng_f32(&rng) - 0.5f : 0;
    struct moments *m = moments_of(x, 2, ISA_ALL);
    for (int first = 0; first < COLS; first += GROUP) {
        moments_seen(m, first, e, PANEL_ROWS, WIDE, y);
        for (int r = 0; r < PANEL_ROWS; r++) {
            int i = (first + 5 * r) % COLS < first ? first : (first + 5 * r) % COLS;
            if (i - first >= GROUP)
                continue;
            double sum = 0, size = 0;
            for (int t = 0; t < TOKENS; t++) {
                double all = 0;
                for (int c = 0; c < COLS; c++)
                    all += (double)e[r * WIDE + c] * (double)x[t * LD + c];
                sum += all * (double)x[t * LD + i];
                size += fabs(all * (double)x[t * LD + i]);
            }
            double got = (double)y[r * MOMENTS_GROUP_MAX + i - first];
            if (!(fabs(got - sum / TOKENS) < 1e-5 * size / TOKENS))
                fail_msg("group at %d, row %d, channel %d: %g, expected %g (seed %llu)", first, r,
                         i, got, sum / TOKENS, (unsigned long long)seed);
        }
    }
    moments_destroy(m);
    free(x);
}

static void test_threads(void **state)
{
    (void)state;
    float *x = random_rows(TOKENS, LD);
    struct moments *one = moments_of(x, 1, ISA_ALL), *two = moments_of(x, 2, ISA_ALL);
    size_t groups = (COLS + GROUP - 1) / GROUP;
    assert_memory_equal(one->mean_abs, two->mean_abs, COLS * sizeof *one->mean_abs);
    assert_memory_equal(one->second, two->second, groups * one->stride_bytes);
    assert_memory_equal(one->whole, two->whole, kernel_packed_bytes(DT_F32, COLS, COLS));
    moments_destroy(one);
    moments_destroy(two);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mean), cmocka_unit_test(test_scale),   cmocka_unit_test(test_error),
        cmocka_unit_test(test_seen), cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
