// trace.h - the rows of a trial's trace, gathered by the runner and written as a file that Perfetto and
// chrome://tracing open.
//
// The format is Chrome's trace events (JSON object format). All slices are on one track and nest: phase, step, layer,
// op class, and on a GPU the kernel. A kernel may start before the previous one ends. Its slice then begins at that
// end, as in the figures (docs/METRICS.md, Activity); its arguments have the recorded times.
#ifndef BENCH_RUN_TRACE_H
#define BENCH_RUN_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "bench/protocol/protocol.h"

// Rows of one source. A device's clock is not the host's.
struct trace_part {
    const char *source; // in the arena, as names are
    struct trace_row *rows;
    size_t count, capacity;
    const char **names; // (name_count) what the rows' indices mean
    size_t name_count, name_capacity;
    int64_t lost;
};

enum { TRACE_PARTS_MAX = 4 };

// Zero-initialised is empty.
struct trace {
    struct trace_part part[TRACE_PARTS_MAX];
    size_t count;
    struct arena arena;
};

// Takes the rows of a trace event. trace NULL: nothing is done. Errors: ERR_NOMEM.
enum status trace_add(struct trace *trace, const struct event *event, struct error *err);
void trace_clear(struct trace *trace); // NULL: nothing is done
void trace_fini(struct trace *trace);

// Rows that had no room in the worker.
int64_t trace_lost(const struct trace *trace);

// Writes the file; `about` names what was traced. The old file stays until the new one is whole. Errors: ERR_USAGE
// without rows; those of the file.
enum status trace_write(const struct trace *trace, const char *about, const char *path,
                        struct error *err);

#endif
