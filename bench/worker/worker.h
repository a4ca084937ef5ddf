// worker.h - the child process: loads one model once, measures cells one after another, tells the runner.
#ifndef BENCH_WORKER_WORKER_H
#define BENCH_WORKER_WORKER_H

#include "base/status.h"

// Reads a job from standard input and writes events to `events_fd` (protocol.h). What goes wrong is told
// there; the status returned and `err` are for the exit code and standard error. Dies with its parent
// where the system can arrange that, and at the first event nobody reads everywhere.
enum status worker_main(int events_fd, struct error *err);

#endif
