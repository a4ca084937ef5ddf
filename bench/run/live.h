// live.h - the display of a run: one line that is redrawn, or plain lines. Progress is written to standard error, the
// table of results to standard output.
#ifndef BENCH_RUN_LIVE_H
#define BENCH_RUN_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"
#include "bench/run/runner.h"
#include "bench/run/trial.h"
#include "results/store.h"

struct live {
    FILE *out;
    bool drawing, speaking; // redraw a line; print anything at all
    int columns;
    size_t trials, trials_done; // trials of this run, without those already in the store
    double predicted_ns, predicted_done_ns; // predicted time of those and of the qualities
    double running_ns;                      // predicted time of the current trial
    uint64_t begin_ns, last_done_ns, last_draw_ns, last_say_ns;
    bool own_store; // --db is not needed to find the run again
    char what[200]; // "7b int8 cpu b1 c512"
    bool noted;     // `what` is the text of an errand that began at noted_ns
    uint64_t noted_ns;
    bool drawn; // a line on the terminal must be cleared first
};

// own_store: the run goes to the store that commands use without --db.
void live_begin(struct live *live, enum runner_output output, bool own_store);
// Sets the number of trials to run, and the predicted time of all work.
void live_expect(struct live *live, size_t trials, double predicted_ns);

// Prints one line for each model whose file lacks a setting, with the value used instead.
void live_models(struct live *live, const struct plan *plan);
// Shows that an errand begins: "measuring what this machine can do with 2 threads".
void live_note(struct live *live, const char *format, ...) PRINTF_LIKE(2, 3);
// Call while waiting. Shows the errand's time: redraws at most ten times a second, or prints a line every ten seconds.
void live_tick(struct live *live);
// Shows that a trial of this cell begins.
void live_cell(struct live *live, const struct cell *cell);
// Shows the progress of its phase. Redraws at most ten times a second. Plain output reports a long load every ten
// seconds.
void live_progress(struct live *live, const char *phase, int repetition, double done);
// Prints the line of a finished trial.
void live_trial(struct live *live, const struct trial *trial);
// Adds one trial to the plan.
void live_add(struct live *live, const struct cell *cell);
// Prints a line that is not redrawn.
void live_line(struct live *live, const char *format, ...) PRINTF_LIKE(2, 3);
// Clears the redrawn line, before anything else is printed.
void live_wipe(struct live *live);
// Shows that this quality begins, and that it has ended or was already known.
void live_quality(struct live *live, const struct plan_quality *quality);
void live_quality_done(struct live *live, const struct plan_quality *quality);
// Removes trials that will not run.
void live_drop(struct live *live, size_t trials, double predicted_ns);

// Prints the table of cells, from the store, and the commands to run next.
enum status live_table(struct live *live, struct store *store, int64_t run, struct error *err);

#endif
