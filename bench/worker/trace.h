// trace.h - what instruments saw, row by row, kept until it is sent.
//
// Rows are kept in memory while a repetition runs, because sending them would disturb it. They are sent after the
// instrument's report, in events of at most TRACE_ROWS_MAX rows.
#ifndef BENCH_WORKER_TRACE_H
#define BENCH_WORKER_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "bench/protocol/protocol.h"

enum { WORKER_TRACE_ROWS = 1 << 21 }; // kept of one instrument; further rows are counted as lost

// Zero-initialised is empty.
struct worker_trace {
    const char *source; // of the rows, set by their instrument
    struct trace_row *rows;
    size_t count, capacity;
    const char *names[TRACE_NAMES_MAX]; // borrowed until the rows are sent
    size_t name_count;
    int64_t lost;
    bool sent[PHASE_COUNT]; // phases whose rows an instrument has sent; the later ones add none
};

// Appends a row. name: of a kernel, or NULL; row->name is ignored. trace NULL: nothing is done.
void worker_trace_add(struct worker_trace *trace, const struct trace_row *row, const char *name);
// Sends all rows and the number of lost ones, and empties the trace. trace NULL, or nothing seen: nothing is sent.
enum status worker_trace_send(struct worker_trace *trace, struct wire *wire, int cell,
                              struct error *err);
void worker_trace_fini(struct worker_trace *trace);

#endif
