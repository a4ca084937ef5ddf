// worker.h - the child process: loads one model, measures cells one after another, reports to the runner.
#ifndef BENCH_WORKER_WORKER_H
#define BENCH_WORKER_WORKER_H

#include "base/status.h"

// Reads a job from standard input and writes events to `events_fd` (protocol.h). Errors are reported there; the status
// and `err` are for the exit code and standard error. The worker dies with its parent where the system supports that,
// and elsewhere at the first event after the parent's end.
enum status worker_main(int events_fd, struct error *err);

#endif
