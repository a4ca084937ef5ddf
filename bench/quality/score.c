// score.c - log-softmax of rows of logits, their divergence, and the sums over tokens.
//
// P has logits a_i and Q has b_i; Z_a and Z_b are their sums of exponentials. Then
//   KL(P || Q) = sum p_i (ln p_i - ln q_i) = sum e^a_i (a_i - b_i) / Z_a - (ln Z_a - ln Z_b)
// This needs no logarithm per element. The loops work on LANES independent sums, because a compiler may not reorder one
// sum of floats into lanes. The order of the lanes is fixed, so the result is fixed as well.
#include "bench/quality/score.h"

#include <math.h>
#include <stdlib.h>

#include "base/fp.h"
#include "base/stat.h"

enum { LANES = 16 };

// e^x for x <= 0: x = n ln 2 + r, |r| <= ln 2 / 2, and the Taylor series of e^r to r^7 (the rest is below
// 6e-9). Below -87 it stays at the smallest normal number: negligible next to the largest term, e^0. NaN
// stays NaN.
static inline float exp_negative(float x)
{
    const float round =
        12582912.0f; // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
    // From -87 to minus infinity, as bits. They are selected by a mask, because a branch would prevent vectorization.
    const uint32_t least = 0xc2ae0000u, infinity = 0xff800000u;
    uint32_t bits = f32_bits(x), below = 0u - (uint32_t)(bits - least <= infinity - least);
    x = f32_from_bits((bits & ~below) | (least & below));
    float shifted = x * 1.44269504f + round, n = shifted - round;
    float r = x - n * 0.693145752f; // ln 2 in two parts, the first with few bits: n * part is exact
    r = r - n * 1.42860682e-6f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t exponent = f32_bits(shifted) - f32_bits(round) + 127;
    return p * f32_from_bits(exponent << 23);
}

// Logits per block. Compilers vectorize the loops over a block, but not one loop over a whole row.
enum { BLOCK = 128 };

static float row_max(const float *x, int n)
{
    float lanes[LANES], max;
    int i = 0;
    for (int j = 0; j < LANES; j++)
        lanes[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    max = lanes[0];
    for (int j = 1; j < LANES; j++)
        max = lanes[j] > max ? lanes[j] : max;
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static int first_at(const float *x, int n, float value)
{
    for (int i = 0; i < n; i++)
        if (x[i] == value)
            return i;
    return -1; // all values of the row are NaN
}

// e[i] = e^(x[i] - max)
static void exp_block(const float *restrict x, float max, int n, float *restrict e)
{
    for (int i = 0; i < n; i++)
        e[i] = exp_negative(x[i] - max);
}

// The sum of a block, in LANES parallel sums.
static double block_sum(const float *e, int n)
{
    double lanes[LANES] = {0}, sum = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] += (double)e[i + j];
    for (int j = 0; j < LANES; j++)
        sum += lanes[j];
    for (; i < n; i++)
        sum += (double)e[i];
    return sum;
}

// Sum of e^(a_i - max); with b, *weighted = sum of e^(a_i - max) (a_i - b_i).
static double exp_sum(const float *a, const float *b, float max, int n, double *weighted)
{
    float e[BLOCK];
    double sum = 0;
    *weighted = 0;
    for (int at = 0; at < n; at += BLOCK) {
        int count = n - at < BLOCK ? n - at : BLOCK;
        exp_block(a + at, max, count, e);
        sum += block_sum(e, count);
        for (int i = 0; b && i < count; i++)
            e[i] *= a[at + i] - b[at + i];
        if (b)
            *weighted += block_sum(e, count);
    }
    return sum;
}

struct score quality_score_row(const float *logits, const float *base, int vocab, int32_t target)
{
    struct score s = {.nll_f32 = NAN, .kl = NAN, .delta_p = NAN};
    float max = row_max(logits, vocab);
    double weighted, ln_z = (double)max + log(exp_sum(logits, NULL, max, vocab, &weighted));
    s.nll = ln_z - (double)logits[target];
    if (!base)
        return s;
    float base_max = row_max(base, vocab);
    double z = exp_sum(base, logits, base_max, vocab, &weighted);
    double base_ln_z = (double)base_max + log(z);
    s.nll_f32 = base_ln_z - (double)base[target];
    s.kl = weighted / z - (base_ln_z - ln_z);
    s.delta_p = exp(-s.nll) - exp(-s.nll_f32);
    s.same_top = first_at(logits, vocab, max) == first_at(base, vocab, base_max);
    return s;
}

// ---- sums -------------------------------------------------------------------------------------------

struct moments {
    double mean, stderr_of_mean; // NaN for n = 1
    double rms;
};

static double pick(const struct score *s, int which)
{
    switch (which) {
    case 0:
        return s->nll;
    case 1:
        return s->nll_f32;
    case 2:
        return s->nll - s->nll_f32;
    case 3:
        return s->kl;
    default:
        return s->delta_p;
    }
}

static struct moments moments_of(const struct score *scores, size_t n, int which)
{
    double sum = 0, squares = 0, about_mean = 0;
    for (size_t i = 0; i < n; i++) {
        double x = pick(&scores[i], which);
        sum += x;
        squares += x * x;
    }
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        double x = pick(&scores[i], which) - mean;
        about_mean += x * x;
    }
    return (struct moments){
        .mean = mean,
        .stderr_of_mean = n > 1 ? sqrt(about_mean / (double)(n - 1) / (double)n) : NAN,
        .rms = sqrt(squares / (double)n),
    };
}

static enum status quantiles(const struct score *scores, size_t n, struct quality *out,
                             struct error *err)
{
    double *x = calloc(n, sizeof *x);
    if (!x)
        return FAIL(err, ERR_NOMEM, "quality: %zu scores", n);
    for (size_t i = 0; i < n; i++)
        x[i] = scores[i].kl;
    stat_sort(x, n);
    out->kl_median = stat_sorted_quantile(x, n, 0.5);
    out->kl_p99 = stat_sorted_quantile(x, n, 0.99);
    out->kl_max = x[n - 1];
    for (size_t i = 0; i < n; i++)
        x[i] = scores[i].delta_p;
    stat_sort(x, n);
    out->dp_p1 = stat_sorted_quantile(x, n, 0.01);
    out->dp_p5 = stat_sorted_quantile(x, n, 0.05);
    out->dp_p25 = stat_sorted_quantile(x, n, 0.25);
    out->dp_median = stat_sorted_quantile(x, n, 0.5);
    out->dp_p75 = stat_sorted_quantile(x, n, 0.75);
    out->dp_p95 = stat_sorted_quantile(x, n, 0.95);
    out->dp_p99 = stat_sorted_quantile(x, n, 0.99);
    free(x);
    return OK;
}

enum status quality_score_summarize(const struct score *scores, size_t n, bool with_base,
                                    struct quality *out, struct error *err)
{
    for (const struct quality_figure *f = quality_figures; f->metric; f++)
        *(double *)((char *)out + f->offset) = NAN;
    if (n == 0)
        return FAIL(err, ERR_USAGE, "quality: no token was scored");
    struct moments nll = moments_of(scores, n, 0);
    out->tokens = (double)n;
    out->perplexity = exp(nll.mean);
    out->ln_stderr = nll.stderr_of_mean;
    if (!with_base)
        return OK;
    struct moments ratio = moments_of(scores, n, 2), dp = moments_of(scores, n, 4);
    size_t same = 0;
    for (size_t i = 0; i < n; i++)
        same += scores[i].same_top;
    out->perplexity_f32 = exp(moments_of(scores, n, 1).mean);
    out->ln_ratio = ratio.mean;
    out->ln_ratio_stderr = ratio.stderr_of_mean;
    out->kl_mean = moments_of(scores, n, 3).mean;
    out->same_top = (double)same / (double)n;
    out->dp_mean = dp.mean;
    out->dp_rms = dp.rms;
    return quantiles(scores, n, out, err);
}
