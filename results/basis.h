// basis.h - the sources of verdicts, best first: one list for writers and readers.
#ifndef RESULTS_BASIS_H
#define RESULTS_BASIS_H

// docs/METRICS.md, "Sources, best first". A writer may append what it added (BASIS_CLOCK " + canary").
#define BASIS_COUNTERS "counters + analytic"
#define BASIS_ACTIVITY "activity trace + analytic" // of a GPU
#define BASIS_EVENTS   "device events + analytic"
#define BASIS_CLOCK    "host clock + analytic"

// 0 is the best; an unknown source comes last.
int basis_rank(const char *basis);

#endif
