// progress.h - how far a long load or conversion is, on standard error.
//
// On a terminal one line that redraws itself and is wiped at the end; elsewhere a plain line now and then.
// What takes less than half a second says nothing.
#ifndef BENCH_CLI_PROGRESS_H
#define BENCH_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *verb, *name; // "loading", the model's name; borrowed
    bool terminal, drawn;
    uint64_t begin_ns, last_ns;
};

void progress_begin(struct progress *p, const char *verb, const char *name);
void progress_update(void *progress, double done);      // an engine_progress; done: 0..1
void progress_calibrating(void *progress, double done); // the same, as "calibrating"
void progress_end(struct progress *p);                  // wipes what is drawn; may be called twice

#endif
