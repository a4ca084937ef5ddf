// basis.h - what writers and readers of verdicts agree on: the sources, best first, and the words of a finding.
#ifndef RESULTS_BASIS_H
#define RESULTS_BASIS_H

#include <stdbool.h>
#include <stddef.h>

// docs/METRICS.md, "Sources, best first". A writer may append further sources (BASIS_CLOCK " + canary").
#define BASIS_COUNTERS "counters + analytic"
#define BASIS_ACTIVITY "activity trace + analytic" // for a GPU
#define BASIS_EVENTS   "device events + analytic"
#define BASIS_CLOCK    "host clock + analytic"

// What a verdict's share of the roof means (column `finding`).
#define FINDING_REACHED "reached" // the run got this far with the limit that is named
// The phase is so far from the roof that the bound describes a perfect kernel, not this run.
#define FINDING_INEFFICIENT "inefficient"
#define FINDING_WRONG       "wrong" // above the roof: the model of the work or a ceiling is wrong

// Counted and analytic bytes, or operations, agree where they differ by no more than this share of the analytic ones.
#define BASIS_AGREE 0.1
// By counted over analytic; false for NaN.
bool metric_agrees(double ratio);
// What explains a ratio that does not agree: "caches kept ...". Static.
const char *metric_bytes_cause(double ratio, bool on_host);
const char *metric_operations_cause(double ratio);
// Writes each ratio that does not agree, with its cause, behind `before`. NaN: not counted.
// "; 1.62 times the analytic bytes were counted (caches lost ...)". Writes "" if all agree.
void metric_counted_findings(double bytes_ratio, double operations_ratio, bool on_host,
                             const char *before, char *out, size_t out_bytes);

// The rank of a source: 0 is the best; an unknown source comes last.
int metric_basis_rank(const char *basis);

// The share of the roof as text: "86 %", or "under 1 %" for one that would round to 0. If the two ends read
// differently, it is a range, "57 to 93 %", and the function returns true. low or high NaN: no range is known.
bool metric_share(double share, double low, double high, char *out, size_t out_bytes);
// The quantity that an inefficient phase's share refers to, for its bound: "memory allows".
const char *metric_allows(const char *bound);

#endif
