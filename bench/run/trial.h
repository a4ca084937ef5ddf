// trial.h - one trial in the runner: gathers its events, judges and stores it.
#ifndef BENCH_RUN_TRIAL_H
#define BENCH_RUN_TRIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/os.h"
#include "base/status.h"
#include "bench/protocol/protocol.h"
#include "bench/suite/plan.h"
#include "results/store.h"

enum {
    VERDICTS_MAX = 2 * (2 + OPC_COUNT)
}; // two phases: whole, by op class, and whole by counted bytes

struct trial {
    const struct cell *cell; // borrowed
    int64_t cell_id;
    int number;                 // 1..procs, and beyond that for trials added to a disturbed cell
    int64_t started_ns;         // wall clock
    const struct event *loaded; // borrowed: the loaded event of its process; NULL: not received
    struct event *repetitions;  // owned
    size_t repetition_count;
    struct event summary; // the trial event; type EVENT_TRIAL once it has arrived

    struct os_steal_resolution steal; // of this machine, for judging stolen time

    const char *status; // NULL until judged
    char reason[600];

    struct arena arena;          // memory of what verdict.c adds
    struct store_metric **added; // (repetition_count) figures that need the ceilings, by repetition
    size_t *added_count;
    struct store_metric *work; // analytic bytes and operations
    size_t work_count;
    struct store_verdict verdicts[VERDICTS_MAX];
    size_t verdict_count;
};

void trial_begin(struct trial *t, const struct cell *cell, int64_t cell_id, int number,
                 const struct event *loaded);
// Takes a repetition or trial event. ERR_FORMAT if it does not fit the cell: a repetition out of order, or token times
// of another shape.
enum status trial_add(struct trial *t, struct event *event, struct error *err);

// Ends the trial as failed, with the reason.
void trial_fail(struct trial *t, const char *status, const char *format, ...) PRINTF_LIKE(3, 4);

// Judges the trial by its repetitions: wrong, throttled, noisy or ok. expected_hash: the token hash of an earlier trial
// of the same cell, or "".
void trial_judge(struct trial *t, const char *expected_hash);
bool trial_measured(const struct trial *t); // ok, noisy, throttled
bool trial_failed(const struct trial *t);   // wrong, oom, timeout, crashed, failed

// The median over the repetitions, NaN if nothing was measured; phase NULL: any. The second does the same for the
// trial's own figures, by op class.
double trial_median(const struct trial *t, const char *name, const char *phase);
double trial_op_value(const struct trial *t, const char *name, const char *phase, const char *op);
double trial_noise_median(const struct trial *t, const char *name);
// Whether the op classes of a phase were timed by the device's activity trace.
bool trial_traced(const struct trial *t, const char *phase);

// Stores the trial in one transaction. build: the row of the program that measured it.
enum status trial_store(const struct trial *t, struct store *store, int64_t build,
                        struct error *err);
void trial_fini(struct trial *t);

#endif
