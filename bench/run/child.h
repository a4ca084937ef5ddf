// child.h - one worker process: starts it, reads its lines, ends it, and reports how it ended.
//
// The runner is one thread. It waits in child_next() for a line, the end, the deadline, or a signal to the runner
// itself. Signals are blocked and polled, not handled (base/interrupt.h).
#ifndef BENCH_RUN_CHILD_H
#define BENCH_RUN_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct child;

// Starts argv[0] with argv and "--events 3", and with `job` on standard input. It runs in a new process group, so that
// a Ctrl-C for the runner does not reach it. Its output is kept for child_end(). Errors: ERR_IO, ERR_NOMEM; nothing
// then runs.
enum status child_start(const char *const *argv, const char *job, struct child **out,
                        struct error *err);

enum child_news {
    CHILD_LINE,        // a whole line was read
    CHILD_QUIET,       // no line for a tenth of a second: time to redraw the progress
    CHILD_CLOSED,      // the worker closed its end: no more lines
    CHILD_TOO_LONG,    // a line beyond PROTOCOL_LINE_MAX
    CHILD_TIMEOUT,     // the deadline passed, and all earlier output has been read
    CHILD_INTERRUPTED, // the runner was asked to stop
};
// Waits for one of these until deadline_ns (child_clock_ns). *line has no newline and is borrowed until the next call.
// An incomplete line before the end is returned as a line, and the parser refuses it. A Ctrl-Z that the caller holds
// (interrupt_hold_stop) stops the worker's process group, then this process; both continue together.
enum child_news child_next(struct child *child, uint64_t deadline_ns, const char **line,
                           size_t *length);

// The clock of deadlines. It skips time during which the runner was stopped or starved.
uint64_t child_clock_ns(struct child *child);
// The time skipped since the last call; 0 if a busy machine explains it.
uint64_t child_take_stopped_ns(struct child *child);

// How a process ended.
struct child_end {
    bool exited_well;   // status 0
    int signal;         // the signal that killed it; 0: none
    bool out_of_memory; // SIGKILL, and the kernel's count of out-of-memory kills has risen
    char words[512];    // "killed by SIGSEGV (Segmentation fault)", with its last line
};

// Ends the process if it still runs, reaps it, and frees `child`. TERM sends SIGTERM, and two seconds later SIGKILL.
// NOW sends SIGKILL at once. GENTLY first waits two seconds for the process to end by itself.
enum child_stop { CHILD_STOP_GENTLY, CHILD_STOP_TERM, CHILD_STOP_NOW };
void child_end(struct child *child, enum child_stop how, struct child_end *out);

#endif
