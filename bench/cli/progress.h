// progress.h - progress of a long load or conversion on standard error, and stopping it with Ctrl-C.
//
// From cli_progress_begin to cli_progress_end, SIGINT and SIGTERM ask the call to stop instead of ending the program.
// On a terminal one line is redrawn, and cleared at the end. Elsewhere plain lines are printed at intervals. A call of
// less than half a second prints nothing.
#ifndef BENCH_CLI_PROGRESS_H
#define BENCH_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/interrupt.h"
#include "base/status.h"

struct progress {
    const char *verb, *name; // "loading", the model's name; borrowed
    bool terminal, drawn;
    uint64_t begin_ns, last_ns;
    struct interrupt interrupt;
};

void cli_progress_begin(struct progress *p, const char *verb, const char *name);
bool cli_progress_update(void *progress, double done);      // an engine_progress; done: 0..1
bool cli_progress_calibrating(void *progress, double done); // the same, as "calibrating"
bool cli_progress_end(
    struct progress *p); // clears the line; false: a signal has arrived since the beginning
// The same as a status, for calls that leave no result: ERR_INTERRUPTED when a signal has arrived, unless an error came
// first.
enum status cli_progress_finish(struct progress *p, struct error *err);

#endif
