// test_score.c - scores of synthetic logits against the plain formulas in double, and sums over them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "bench/quality/score.h"

enum { VOCAB_MAX = 5000 };

// The definition, without a thought for speed.
static struct score plain(const float *q, const float *p, int vocab, int target)
{
    double max_q = -INFINITY, max_p = -INFINITY, z_q = 0, z_p = 0, kl = 0;
    int top_q = 0, top_p = 0;
    for (int i = vocab; i-- > 0;) {
        if ((double)q[i] >= max_q) {
            max_q = (double)q[i];
            top_q = i;
        }
        if ((double)p[i] >= max_p) {
            max_p = (double)p[i];
            top_p = i;
        }
    }
    for (int i = 0; i < vocab; i++) {
        z_q += exp((double)q[i] - max_q);
        z_p += exp((double)p[i] - max_p);
    }
    double ln_q = max_q + log(z_q), ln_p = max_p + log(z_p);
    for (int i = 0; i < vocab; i++)
        kl += exp((double)p[i] - ln_p) * ((double)p[i] - ln_p - (double)q[i] + ln_q);
    struct score s = {.nll = ln_q - (double)q[target],
                      .nll_f32 = ln_p - (double)p[target],
                      .kl = kl,
                      .same_top = top_q == top_p};
    s.delta_p = exp(-s.nll) - exp(-s.nll_f32);
    return s;
}

static void assert_near(double got, double expected, double tolerance, const char *what, int vocab)
{
    if (!(fabs(got - expected) <= tolerance))
        fail_msg("%s of %d logits: %.12g, expected %.12g", what, vocab, got, expected);
}

static void rows_follow_the_formulas(void **state)
{
    (void)state;
    static const int vocabs[] = {1, 2, 15, 16, 17, 331, 4096, 4999};
    static float q[VOCAB_MAX], p[VOCAB_MAX];
    struct rng rng = {(uint64_t)time(NULL)};
    print_message("seed %llu\n", (unsigned long long)rng.state);
    for (size_t v = 0; v < sizeof vocabs / sizeof *vocabs; v++) {
        for (int width = 1; width <= 1000; width *= 10) {
            int vocab = vocabs[v], target = (int)rng_below(&rng, (uint32_t)vocab);
            for (int i = 0; i < vocab; i++) {
                p[i] = (float)width * (2 * rng_f32(&rng) - 1) + 300; // far from zero
                q[i] = p[i] + (rng_f32(&rng) - 0.5f) * 0.25f;
            }
            struct score got = quality_score_row(q, p, vocab, target),
                         want = plain(q, p, vocab, target);
            double slack = 1e-6 * (1 + 0.01 * width);
            assert_near(got.nll, want.nll, slack, "nll", vocab);
            assert_near(got.nll_f32, want.nll_f32, slack, "nll_f32", vocab);
            assert_near(got.kl, want.kl, slack, "kl", vocab);
            assert_near(got.delta_p, want.delta_p, slack, "delta_p", vocab);
            assert_int_equal(got.same_top, want.same_top);
            struct score alone = quality_score_row(q, NULL, vocab, target);
            assert_true(alone.nll == got.nll);
            assert_true(isnan(alone.kl) && isnan(alone.nll_f32) && isnan(alone.delta_p));
        }
    }
}

// A model is at no distance from itself: exactly, not nearly.
static void itself_is_at_no_distance(void **state)
{
    (void)state;
    static float p[333];
    struct rng rng = {7};
    for (int i = 0; i < 333; i++)
        p[i] = 20 * rng_f32(&rng);
    struct score s = quality_score_row(p, p, 333, 5);
    assert_true(s.kl == 0 && s.delta_p == 0 && s.same_top && s.nll == s.nll_f32);
}

static void ties_go_to_the_lowest_id(void **state)
{
    (void)state;
    float p[20] = {[3] = 2, [7] = 2}, q[20] = {[3] = 1, [7] = 1, [9] = 1};
    assert_true(quality_score_row(q, p, 20, 0).same_top);
    q[7] = 1.5f;
    assert_false(quality_score_row(q, p, 20, 0).same_top);
}

// A probability of nothing is far below the others and stays finite; a NaN or an infinity does not pass.
static void what_is_not_finite_shows(void **state)
{
    (void)state;
    static float row[64];
    row[9] = 400; // e^-400 is no float
    assert_true(isfinite(quality_score_row(row, row, 64, 1).nll));
    assert_true(fabs(quality_score_row(row, row, 64, 1).nll - 400) < 1e-3);
    static const float bad[] = {NAN, INFINITY};
    for (int i = 0; i < 2; i++)
        for (int at = 0; at < 64; at += 21) {
            float kept = row[at];
            row[at] = bad[i];
            assert_false(isfinite(quality_score_row(row, NULL, 64, 1).nll));
            row[at] = kept;
        }
    row[1] = -INFINITY; // the token that came is impossible
    assert_false(isfinite(quality_score_row(row, NULL, 64, 1).nll));
}

static void sums_follow_the_formulas(void **state)
{
    (void)state;
    struct error err = {0};
    struct quality q;
    // ln 2, ln 4, ln 8 against ln 2, ln 2, ln 4: the mean ratio is ln 4 / 3
    const double ln2 = log(2);
    struct score s[] = {
        {ln2, ln2, 0.1, 0, true},
        {2 * ln2, ln2, 0.3, -0.25, false},
        {3 * ln2, 2 * ln2, 0.2, -0.125, true},
    };
    assert_int_equal(quality_score_summarize(s, 3, true, &q, &err), OK);
    assert_near(q.perplexity, 4, 1e-12, "perplexity", 3);
    assert_near(q.perplexity_f32, exp(4 * ln2 / 3), 1e-12, "perplexity_f32", 3);
    assert_near(q.ln_stderr, ln2 / sqrt(3), 1e-12, "ln_stderr", 3); // deviation ln 2, n = 3
    assert_near(q.ln_ratio, 2 * ln2 / 3, 1e-12, "ln_ratio", 3);
    assert_near(q.ln_ratio_stderr, ln2 / 3, 1e-12, "ln_ratio_stderr", 3);
    assert_near(q.kl_mean, 0.2, 1e-12, "kl_mean", 3);
    assert_near(q.kl_median, 0.2, 1e-12, "kl_median", 3);
    assert_near(q.kl_p99, 0.298, 1e-12, "kl_p99", 3);
    assert_near(q.kl_max, 0.3, 0, "kl_max", 3);
    assert_near(q.same_top, 2.0 / 3, 1e-12, "same_top", 3);
    assert_near(q.dp_mean, -0.125, 1e-12, "dp_mean", 3);
    assert_near(q.dp_rms, sqrt((0.0625 + 0.015625) / 3), 1e-12, "dp_rms", 3);
    assert_near(q.dp_median, -0.125, 1e-12, "dp_median", 3);
    assert_near(q.dp_p25, -0.1875, 1e-12, "dp_p25", 3);
    assert_true(q.tokens == 3);
    // without f32 next to it there is only a perplexity
    assert_int_equal(quality_score_summarize(s, 3, false, &q, &err), OK);
    assert_near(q.perplexity, 4, 1e-12, "perplexity", 3);
    assert_true(isnan(q.kl_mean) && isnan(q.perplexity_f32) && isnan(q.same_top));
    assert_true(isnan(q.dp_rms) && isnan(q.ln_ratio_stderr));
    // one token has no standard error, no token no perplexity
    assert_int_equal(quality_score_summarize(s, 1, true, &q, &err), OK);
    assert_true(isnan(q.ln_stderr) && q.kl_median == 0.1);
    assert_int_equal(quality_score_summarize(s, 0, true, &q, &err), ERR_USAGE);
}

// Windows, first scored token and bos of each convention, on ids that are their own position.
static void windows_are_the_conventions(void **state)
{
    (void)state;
    static int32_t ids[5000], window[2048];
    for (int i = 0; i < 5000; i++)
        ids[i] = i + 10;
    struct quality_text text = {.ids = ids, .count = 5000, .window_bos = 3};
    const struct quality_convention *half = quality_convention_find("half-512"),
                                    *llama = quality_convention_find("llama-512"),
                                    *full = quality_convention_find("full-2048");
    assert_null(quality_convention_find("half"));
    assert_int_equal(quality_scored(half), 256);
    assert_int_equal(quality_scored(llama), 255);
    assert_int_equal(quality_scored(full), 2047);
    quality_window(half, &text, 2, window);
    assert_int_equal(window[0], 1034);
    assert_int_equal(window[511], 1545);
    quality_window(llama, &text, 2, window);
    assert_int_equal(window[0], 3); // bos in place of the first token
    assert_int_equal(window[1], 1035);
    text.window_bos = -1;
    quality_window(llama, &text, 2, window);
    assert_int_equal(window[0], 1034); // a tokenizer that adds none
    quality_window(full, &text, 1, window);
    assert_int_equal(window[0], 2058);
    assert_int_equal(window[2047], 4105);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_follow_the_formulas), cmocka_unit_test(itself_is_at_no_distance),
        cmocka_unit_test(ties_go_to_the_lowest_id), cmocka_unit_test(what_is_not_finite_shows),
        cmocka_unit_test(sums_follow_the_formulas), cmocka_unit_test(windows_are_the_conventions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
