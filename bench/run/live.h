// live.h - what a person sees during a run: a line that redraws itself, or plain lines. Progress is written to
// standard error, the table of results to standard output.
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
    size_t trials, trials_done;             // of this run, those already in the store left out
    double predicted_ns, predicted_done_ns; // of those
    uint64_t begin_ns, last_draw_ns, last_say_ns;
    char what[200]; // "7b int8 cpu b1 c512  2/6"
    bool noted;     // `what` is an errand's, begun at noted_ns
    uint64_t noted_ns;
    bool drawn; // there is a line that must be wiped first
};

void live_begin(struct live *live, enum runner_output output);
// Sets the number of trials to run, and their predicted time.
void live_expect(struct live *live, size_t trials, double predicted_ns);

// An errand begins: "measuring what this machine can do with 2 threads".
void live_note(struct live *live, const char *format, ...) PRINTF_LIKE(2, 3);
// Nothing came for a moment. Shows how long the errand takes: redraws ten times a second at most, or prints a
// line every ten seconds.
void live_tick(struct live *live);
// Now this cell, this trial.
void live_cell(struct live *live, const struct cell *cell, int number);
// How far its phase is. Redraws ten times a second at most. Plain output reports a long load every ten
// seconds.
void live_progress(struct live *live, const char *phase, int repetition, double done);
// A trial ended: its line.
void live_trial(struct live *live, const struct trial *trial);
// A trial more than was planned.
void live_add(struct live *live, const struct cell *cell);
// Prints a line that is not redrawn.
void live_line(struct live *live, const char *format, ...) PRINTF_LIKE(2, 3);
// Now this quality. A quality that is done, or was known, counts as a trial.
void live_quality(struct live *live, const struct plan_quality *quality);
void live_quality_done(struct live *live, const struct plan_quality *quality);
// Removes trials that will not run after all.
void live_drop(struct live *live, size_t trials, double predicted_ns);

// Prints the table of cells, from the store, and the commands to run next.
enum status live_table(struct live *live, struct store *store, int64_t run, struct error *err);

#endif
