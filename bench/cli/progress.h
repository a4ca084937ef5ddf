// progress.h - how far a long load or conversion is, on standard error; and Ctrl-C, by which it is stopped.
//
// From cli_progress_begin to cli_progress_end SIGINT and SIGTERM do not end the program: the call is asked to stop.
// On a terminal one line that redraws itself and is wiped at the end; elsewhere a plain line now and then.
// What takes less than half a second says nothing.
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
    struct progress *p); // wipes what is drawn; false: a signal came since the beginning
// The same as a status, for calls that make nothing that lasts: ERR_INTERRUPTED when a signal came, unless
// something failed before.
enum status cli_progress_finish(struct progress *p, struct error *err);

#endif
