// runner.h - runs a plan: the parent of all worker processes, and the only writer of the store.
//
// A trial is one cell in one fresh process. The runner records machine, build, run and cells, and has a worker measure
// the ceilings. Then it starts a worker for every group of cells, trial after trial. It writes each trial in one
// transaction as it ends. It opens no GPU and runs no kernel itself, so a crash, exhausted memory or a hang in a worker
// costs only one trial.
#ifndef BENCH_RUN_RUNNER_H
#define BENCH_RUN_RUNNER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "bench/exit_code.h"
#include "bench/suite/plan.h"

enum runner_output {
    RUNNER_AUTO,  // live if standard error is a terminal, else plain
    RUNNER_LIVE,  // one line that redraws itself, then a table
    RUNNER_PLAIN, // one line per finished trial, then a table
    RUNNER_QUIET, // only errors
};

struct trace; // trace.h

struct runner_options {
    const char *database; // path of the store; created if missing
    const char *command;  // exact command to reproduce, stored with the run
    bool resume;          // continue the unfinished run of the same suite text on this machine
    bool take_over; // even if its owner was in another container: the caller knows that it ended
    enum runner_output output;
    bool own_store; // commands use this database without --db
    bool no_table;  // no table of results at the end: the caller shows them
    bool no_resume; // an interrupted run does not name --resume: the caller has no such flag
    // Takes the trace of the newest trial, which its workers then send; borrowed. NULL: none is made.
    struct trace *trace;
    int64_t *run; // receives the run's number once it has one; may be NULL

    // The command that starts a worker, ended by NULL; "--events FD" is added. NULL: this executable's `worker`. Tests
    // put misbehaving workers here.
    const char *const *worker_command;
    // The limit of a worker. It never exceeds the memory available at its start minus some headroom. 0: the plan's
    // limit.
    int64_t memory_limit_bytes;
};

// Runs the plan and returns the program's exit code. EXIT_FINE: no failure; cells may have been skipped.
// EXIT_CELL_FAILED: a cell ended in wrong, oom, timeout, crashed or failed. EXIT_INTERRUPTED: a signal of interrupt.h
// arrived; the store is consistent, the run is marked, and --resume continues it. EXIT_ERROR: the runner itself failed,
// and `err` is set. These signals and Ctrl-Z are blocked during the call and restored afterwards.
enum exit_code runner_run(const struct plan *plan, const struct runner_options *options,
                          struct error *err);

#endif
