// basis.h - what writers and readers of verdicts agree on: the sources, best first, and how a text begins.
#ifndef RESULTS_BASIS_H
#define RESULTS_BASIS_H

// docs/METRICS.md, "Sources, best first". A writer may append what it added (BASIS_CLOCK " + canary").
#define BASIS_COUNTERS "counters + analytic"
#define BASIS_ACTIVITY "activity trace + analytic" // of a GPU
#define BASIS_EVENTS   "device events + analytic"
#define BASIS_CLOCK    "host clock + analytic"

// How the text of a verdict begins where the phase is so far from its roof that the bound describes a perfect
// kernel, not this run.
#define VERDICT_INEFFICIENT "inefficient here: "
// What a text holds where bandwidth moved during the run, so that it gives a range of the roof.
#define VERDICT_MOVED " (bandwidth moved by "
// What precedes the share where a phase is limited by compute.
#define VERDICT_KERNELS "kernels at "
// What a text holds where a phase is faster than its roof allows.
#define VERDICT_WRONG "the model or a ceiling is wrong"

// 0 is the best; an unknown source comes last.
int metric_basis_rank(const char *basis);

#endif
