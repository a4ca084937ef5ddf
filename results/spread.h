// spread.h - how far a figure moves from one run to the next, which the trials of one run cannot show.
//
// Trials of a run are close together in time, but the state of a shared host drifts over minutes. Intervals of two runs
// have failed to overlap although nothing had changed. So the interval of a time is widened by what the store knows,
// best first:
//
//   runs      3 to 12 runs of the same cell, build and machine, this one and the newest others: a 95 % prediction
//             interval for the next run's median, round their mean, from the scatter of their logarithms
//             (Student's t)
//   canaries  else: how far the slice of work that canaries repeat moved from trial to trial of this run, half the
//             way from its 10 % to its 90 % quantile, times SPREAD_GAIN. It knows what this run saw and no more
//
// An interval is never narrowed. For the files of results/ only.
#ifndef RESULTS_SPREAD_H
#define RESULTS_SPREAD_H

#include "results/query.h"

// A decode step has moved by up to twice as much as the slice of work (docs/measured/2026-11-28-between-runs.md).
#define SPREAD_GAIN 2.0

enum { SPREAD_RUNS_MIN = 3, SPREAD_RUNS_MAX = 12 };

// Widens the intervals of the rows' times and rates and sets `interval` of all rows.
enum status spread_widen(struct store *store, struct arena *arena, int64_t run,
                         struct summary_row *rows, size_t count, struct error *err);

// The 95 % prediction interval for one more of n values, n >= 2, on their logarithms.
struct spread_range {
    double low, high;
};
struct spread_range spread_predict(const double *values, size_t n);

#endif
