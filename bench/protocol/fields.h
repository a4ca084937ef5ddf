// fields.h - shared by the readers of jobs and of events.
#ifndef BENCH_PROTOCOL_FIELDS_H
#define BENCH_PROTOCOL_FIELDS_H

#include <jansson.h>

#include "base/status.h"
#include "bench/protocol/protocol.h"

enum {
    PROTOCOL_METRICS_MAX = 4096,    // metrics of one event
    PROTOCOL_SEQUENCES_MAX = 65536, // sequences of one repetition
    PROTOCOL_TOKENS_MAX = 1 << 24,  // tokens of a sequence
};

// An integer field between `min` and `max`. Errors: ERR_FORMAT naming the field.
enum status protocol_get_int(const json_t *object, const char *key, int min, int max, int *out,
                             struct error *err);

// trace.c: the fields of a trace event but its cell. event_fini frees what was read, also after an error.
enum status protocol_trace_parse(struct event *out, struct error *err);

#endif
