// stat.c - medians, their intervals, quantiles and drift.
#include "base/stat.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"

enum {
    BOOTSTRAP_FROM = 20,
    BOOTSTRAP_UP_TO = 4096,
    BOOTSTRAP_RESAMPLES = 2000,
    ALL_PAIRS_UP_TO = 512, // Theil-Sen: 131,000 slopes
};

static const double LEVEL = 0.95;
static const double OUTLIER_MADS = 5;
static const uint64_t BOOTSTRAP_SEED = 42; // fixed: the same sample always gives the same interval

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void stat_sort(double *x, size_t n)
{
    qsort(x, n, sizeof *x, compare_doubles);
}

static enum status sorted_copy(const double *x, size_t n, double **out, struct error *err)
{
    size_t bytes = 0;
    *out = NULL;
    if (n == 0)
        return FAIL(err, ERR_USAGE, "a statistic of an empty sample was requested");
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return FAIL(err, ERR_USAGE, "value %zu of a sample of %zu is not a finite number", i,
                        n);
    TRY(size_mul(n, sizeof *x, &bytes, "sample", err));
    *out = malloc(bytes);
    if (!*out)
        return FAIL(err, ERR_NOMEM, "no memory for a sample of %zu", n);
    memcpy(*out, x, bytes);
    stat_sort(*out, n);
    return OK;
}

static double sorted_median(const double *sorted, size_t n)
{
    return n % 2 ? sorted[n / 2] : sorted[n / 2 - 1] / 2 + sorted[n / 2] / 2;
}

// Hyndman and Fan 1996, definition 7.
double stat_sorted_quantile(const double *sorted, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t below = (size_t)at;
    if (below + 1 >= n)
        return sorted[n - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

double stat_median(const double *x, size_t n, struct error *err)
{
    return stat_quantile(x, n, 0.5, err);
}

double stat_quantile(const double *x, size_t n, double q, struct error *err)
{
    double *sorted = NULL;
    if (!(q >= 0 && q <= 1)) {
        FAIL(err, ERR_USAGE, "a quantile lies between 0 and 1, not at %g", q);
        return NAN;
    }
    if (sorted_copy(x, n, &sorted, err) != OK)
        return NAN;
    double value = q == 0.5 ? sorted_median(sorted, n) : stat_sorted_quantile(sorted, n, q);
    free(sorted);
    return value;
}

// ---- interval of the median ----------------------------------------------------------------------

// The narrowest pair (k-th smallest, k-th largest) that covers the median with LEVEL, or else the widest pair. The
// number of values below the median is Binomial(n, 1/2), so the pair misses it with probability 2 P(fewer than k).
// Conover, section 3.2.
static struct stat_interval order_interval(const double *sorted, size_t n)
{
    if (n == 1)
        return (struct stat_interval){sorted[0], sorted[0], 0};
    double size = (double)n, below = exp(-size * log(2)); // P(fewer than k), k = 1
    size_t k = 1;
    while (k < n / 2) {
        double exactly_k = exp(lgamma(size + 1) - lgamma((double)k + 1) -
                               lgamma(size - (double)k + 1) - size * log(2));
        if (1 - 2 * (below + exactly_k) < LEVEL)
            break;
        below += exactly_k;
        k++;
    }
    return (struct stat_interval){sorted[k - 1], sorted[n - k], 1 - 2 * below};
}

// The median of one resample with replacement. Ranks are counted instead of values sorted: O(n).
static double resample_median(const double *sorted, size_t n, uint32_t *counts, struct rng *rng)
{
    memset(counts, 0, n * sizeof *counts);
    for (size_t i = 0; i < n; i++)
        counts[rng_below(rng, (uint32_t)n)]++;
    size_t seen = 0, rank = 0, lower = (n - 1) / 2, upper = n / 2;
    while (seen + counts[rank] <= lower)
        seen += counts[rank++];
    double low = sorted[rank];
    while (seen + counts[rank] <= upper)
        seen += counts[rank++];
    return low / 2 + sorted[rank] / 2;
}

static enum status bootstrap_interval(const double *sorted, size_t n, struct stat_interval *out,
                                      struct error *err)
{
    double medians[BOOTSTRAP_RESAMPLES];
    uint32_t *counts = malloc(n * sizeof *counts); // n <= BOOTSTRAP_UP_TO
    if (!counts)
        return FAIL(err, ERR_NOMEM, "no memory to resample %zu values", n);
    struct rng rng = {BOOTSTRAP_SEED};
    for (int i = 0; i < BOOTSTRAP_RESAMPLES; i++)
        medians[i] = resample_median(sorted, n, counts, &rng);
    qsort(medians, BOOTSTRAP_RESAMPLES, sizeof *medians, compare_doubles);
    out->low = stat_sorted_quantile(medians, BOOTSTRAP_RESAMPLES, (1 - LEVEL) / 2);
    out->high = stat_sorted_quantile(medians, BOOTSTRAP_RESAMPLES, (1 + LEVEL) / 2);
    out->level = LEVEL;
    free(counts);
    return OK;
}

// ---- drift ---------------------------------------------------------------------------------------

// Median of the slopes of all pairs (Sen 1968), or, for long samples, of the pairs (i, i + n/2) (Theil's
// "incomplete" method), which is as robust and costs O(n).
static enum status theil_sen(const double *x, size_t n, double *out, struct error *err)
{
    bool all = n <= ALL_PAIRS_UP_TO;
    size_t half = n / 2, count = all ? n * (n - 1) / 2 : n - half, used = 0;
    double *slopes = malloc(count * sizeof *slopes);
    if (!slopes)
        return FAIL(err, ERR_NOMEM, "no memory for %zu slopes", count);
    for (size_t i = 0; i < n; i++)
        for (size_t j = all ? i + 1 : i + half; j < n; j++) {
            slopes[used++] = (x[j] - x[i]) / (double)(j - i);
            if (!all)
                break;
        }
    qsort(slopes, used, sizeof *slopes, compare_doubles);
    *out = sorted_median(slopes, used);
    free(slopes);
    return OK;
}

// ---- summary -------------------------------------------------------------------------------------

// Reuses `sorted` for the deviations: nothing needs it afterwards.
static void summarize_spread(double *sorted, struct stat_summary *out)
{
    for (size_t i = 0; i < out->n; i++)
        sorted[i] = fabs(sorted[i] - out->median);
    qsort(sorted, out->n, sizeof *sorted, compare_doubles);
    out->mad = sorted_median(sorted, out->n);
    for (size_t i = 0; i < out->n; i++)
        out->outliers += sorted[i] > OUTLIER_MADS * out->mad;
}

enum status stat_summarize(const double *x, size_t n, struct stat_summary *out, struct error *err)
{
    double *sorted = NULL;
    *out = (struct stat_summary){.n = n, .drift = NAN};
    TRY(sorted_copy(x, n, &sorted, err));
    enum status status = OK;
    out->min = sorted[0];
    out->max = sorted[n - 1];
    out->median = sorted_median(sorted, n);
    out->p90 = stat_sorted_quantile(sorted, n, 0.90);
    out->p99 = stat_sorted_quantile(sorted, n, 0.99);
    for (size_t i = 0; i < n; i++)
        out->mean += x[i] / (double)n;
    if (n >= BOOTSTRAP_FROM && n <= BOOTSTRAP_UP_TO)
        status = bootstrap_interval(sorted, n, &out->median_interval, err);
    else
        out->median_interval = order_interval(sorted, n);
    if (status == OK && n > 1 && out->median != 0) {
        double slope = NAN;
        status = theil_sen(x, n, &slope, err);
        out->drift = slope / out->median;
    }
    summarize_spread(sorted, out);
    free(sorted);
    return status;
}
