// verdict.h - computes what limited a trial, and the figures that need the machine's ceilings.
#ifndef BENCH_RUN_VERDICT_H
#define BENCH_RUN_VERDICT_H

#include <jansson.h>

#include "base/status.h"
#include "bench/roof/roof.h"
#include "bench/run/trial.h"
#include "bench/suite/plan.h"

// The analytic work of one cell, as its scheme and head store the weights. The sizes of caches come from `ceilings`.
void trial_work(const struct cell *cell, const struct ceilings *ceilings,
                struct phase_work *prefill, struct phase_work *decode);

// The same as JSON for the store: {"prefill": {"total": {"bytes": .., "flop": ..}, "qkv": ..}, "decode": ..}, and the
// predicted split of memory. NULL when memory is exhausted.
json_t *trial_prediction(const struct cell *cell, const struct ceilings *ceilings);

// Adds MBU and MFU to each repetition, bytes and operations to the trial, and the verdicts of both phases and their op
// classes. Omits figures whose ceiling was not measured. thresholds: JSON text, borrowed until the trial is stored.
// Errors: ERR_NOMEM.
enum status trial_verdicts(struct trial *t, const struct ceilings *ceilings, const char *thresholds,
                           struct error *err);

#endif
