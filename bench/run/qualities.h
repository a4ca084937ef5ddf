// qualities.h - the qualities that a run's cells need: found in the store, or evaluated.
#ifndef BENCH_RUN_QUALITIES_H
#define BENCH_RUN_QUALITIES_H

#include <stddef.h>

#include "base/status.h"
#include "bench/run/session.h"

// Runs after the trials, so that an interrupted run already has its speeds. A quality that this build has measured on
// this machine for the same content is not measured again. *failed: the number that ended in oom, timeout, crashed or
// failed. Errors: the runner's own; ERR_INTERRUPTED.
enum status session_qualities(struct run_context *run, size_t *failed, struct error *err);

#endif
