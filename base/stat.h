// stat.h - the statistics of every figure: medians, their intervals, quantiles, scatter and drift.
//
// Sources. Interval of the median from order statistics: Conover, Practical Nonparametric Statistics, 3rd edition,
// section 3.2. Percentile bootstrap: Efron and Tibshirani 1993, chapter 13. Quantiles: Hyndman and Fan 1996, definition
// 7. Slope: Theil 1950 and Sen 1968.
// Samples need not be sorted and are not changed. Errors: ERR_USAGE for n = 0 and for a sample with a non-finite value,
// ERR_NOMEM.
#ifndef BASE_STAT_H
#define BASE_STAT_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

// An interval and its true confidence: a small sample cannot reach the requested 95 %.
struct stat_interval {
    double low, high;
    double level; // e.g. 0.95, or 0.75 for n = 3; 0 when n = 1 (low = high = the value)
};

struct stat_summary {
    size_t n;
    double min, median, max, mean;
    double mad;      // median absolute deviation from the median, not scaled
    double p90, p99; // linear interpolation between order statistics (type 7)
    // Below n = 20 from order statistics. From 20 to 4096 from a percentile bootstrap of 2000 resamples with a fixed
    // seed. Beyond 4096 both agree in every digit that matters, so order statistics are used again.
    struct stat_interval median_interval;
    // Theil-Sen slope over the sample's order, as a share of the median per value. NaN for n = 1 and for a
    // median of zero. Beyond n = 512 only pairs half the sample apart are used.
    double drift;
    size_t outliers; // further than 5 MAD from the median; flagged, never dropped
};

// x: n values in any unit, not sorted, borrowed. Errors: ERR_USAGE for n = 0 or a value that is not finite; ERR_NOMEM.
enum status stat_summarize(const double *x, size_t n, struct stat_summary *out, struct error *err);

double stat_median(const double *x, size_t n, struct error *err); // NaN on error

// q in [0, 1], type 7. NaN on error.
double stat_quantile(const double *x, size_t n, double q, struct error *err);

// For several quantiles of one sample: sort it once in place, then query it. n > 0, and no value is NaN.
void stat_sort(double *x, size_t n);
double stat_sorted_quantile(const double *sorted, size_t n, double q);

#endif
