// session.h - runs one worker, from the runner's side. Its job yields a trial for each cell, or is an errand. An errand
// is a job without cells: it measures the machine's ceilings or evaluates a quality.
#ifndef BENCH_RUN_SESSION_H
#define BENCH_RUN_SESSION_H

#include <stddef.h>

#include "base/status.h"
#include "base/str.h"
#include "bench/run/live.h"
#include "bench/protocol/protocol.h"
#include "bench/run/record.h"
#include "bench/run/trace.h"
#include "bench/suite/plan.h"

// Shared by all sessions of a run.
struct run_context {
    const struct plan *plan;
    const char *const *worker_command;
    int64_t memory_limit_bytes;
    struct record record;
    struct ceilings *ceilings;
    struct str ceilings_note; // what was noted while they were measured, of all measurements
    char *thresholds;         // of the bound rule, as JSON
    struct live live;
    struct trace *trace; // takes what the workers saw; NULL: no trace was asked for
};

// Runs trial `number` of `count` cells in one worker, and stores each as it ends. The cells share model, scheme, head,
// device and threads. Returns early, with at least one trial stored, if the worker died, hung or sent an invalid line,
// or if remaining cells were pruned. The caller then calls again for the missing ones. Errors: the runner's own (the
// store, starting a process); ERR_INTERRUPTED.
enum status session_cells(struct run_context *run, const size_t *cells, size_t count, int number,
                          struct error *err);

// The trial status that an engine's error means.
const char *session_status_of(enum status code);

// ---- errands.c --------------------------------------------------------------------------------------

// Measures the ceilings for `threads` threads, and for some smaller numbers, and adds them to run->ceilings. If the
// worker fails, it prints a warning and changes nothing; there are then no verdicts.
enum status session_ceilings(struct run_context *run, const char *device, int threads,
                             struct error *err);

// How an evaluation of quality ended.
struct quality_outcome {
    const char *status;           // ok, unsupported, oom, timeout, crashed, failed
    char reason[600];             // of ok: what was not measured, or ""
    struct event loaded, figures; // as far as they arrived; the caller calls event_fini
};
// Evaluates one quality in a separate worker. Errors: the runner's own; ERR_INTERRUPTED.
enum status session_quality(struct run_context *run, const struct plan_quality *quality,
                            struct quality_outcome *out, struct error *err);

#endif
