// live.h - what a person sees while a run goes on: a line that redraws itself, or plain lines.
#ifndef BENCH_RUN_LIVE_H
#define BENCH_RUN_LIVE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "bench/run/runner.h"
#include "bench/run/trial.h"
#include "results/store.h"

struct live {
    bool drawing, speaking; // redraw a line; print anything at all
    int columns;
    size_t trials, trials_done;             // of this run, those already in the store left out
    double predicted_ns, predicted_done_ns; // of those
    uint64_t begin_ns, last_draw_ns, last_say_ns;
    char what[160]; // "7b int8 cpu b1 c512  2/6"
    bool drawn;     // a line stands there that must be wiped first
};

void live_begin(struct live *live, enum runner_output output, size_t trials, double predicted_ns);

// A word before the cells begin: "measuring the ceilings of this machine".
void live_note(struct live *live, const char *format, ...) PRINTF_LIKE(2, 3);
// Now this cell, this trial.
void live_cell(struct live *live, const struct cell *cell, int number);
// How far its phase is. Redraws ten times a second at most; where lines are plain, a long load says every
// ten seconds how far it is.
void live_progress(struct live *live, const char *phase, int repetition, double done);
// A trial ended: its line.
void live_trial(struct live *live, const struct trial *trial);
// A trial more than was planned.
void live_add(struct live *live, const struct cell *cell);
// A line that stays.
void live_line(struct live *live, const char *format, ...) PRINTF_LIKE(2, 3);
// Now this quality; and it is done, or was known, and counts as a trial.
void live_quality(struct live *live, const struct plan_quality *quality);
void live_quality_done(struct live *live, const struct plan_quality *quality);
// Trials that will not run after all.
void live_drop(struct live *live, size_t trials, double predicted_ns);

// The table of cells, from the store, and the command to run next.
enum status live_table(struct live *live, struct store *store, int64_t run, const char *command,
                       struct error *err);

#endif
