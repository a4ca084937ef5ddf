// trace.c - trace events: rows of integers, written by the worker and checked by the runner.
#include <stdlib.h>

#include "base/json.h"
#include "bench/protocol/fields.h"
#include "bench/protocol/protocol.h"

enum { ROW_FIELDS = 6 };

// ---- writing ------------------------------------------------------------------------------------------------

static json_t *row_json(const struct trace_row *r)
{
    return json_pack("[iiiIIi]", (int)r->phase, r->layer, r->op, (json_int_t)r->begin_ns,
                     (json_int_t)r->end_ns, r->name);
}

// A kernel's name from the driver may be no text.
static json_t *name_json(const char *name)
{
    json_t *text = json_string(name);
    return text ? text : json_string("(not valid UTF-8)");
}

enum status wire_send_trace(struct wire *wire, int cell, const struct wire_trace *trace,
                            struct error *err)
{
    json_t *rows = json_array(), *names = json_array(), *event = wire_event("trace");
    for (size_t i = 0; i < trace->count; i++)
        json_array_append_new(rows, row_json(&trace->rows[i]));
    for (size_t i = 0; i < trace->name_count; i++)
        json_array_append_new(names, name_json(trace->names[i]));
    bool whole =
        json_array_size(rows) == trace->count && json_array_size(names) == trace->name_count;
    json_object_set_new(event, "cell", json_integer(cell));
    json_object_set_new(event, "source", json_string(trace->source));
    json_object_set_new(event, "lost", json_integer(trace->lost));
    json_object_set_new(event, "names", names);
    json_object_set_new(event, "rows", rows);
    if (whole)
        return wire_send(wire, event, err);
    json_decref(event);
    return FAIL(err, ERR_NOMEM, "worker: a trace's rows");
}

// ---- reading ------------------------------------------------------------------------------------------------

static bool row_parse(const json_t *row, size_t names, struct trace_row *out)
{
    json_int_t v[ROW_FIELDS];
    if (json_array_size(row) != ROW_FIELDS)
        return false;
    for (size_t i = 0; i < ROW_FIELDS; i++) {
        const json_t *field = json_array_get(row, i);
        if (!json_is_integer(field))
            return false;
        v[i] = json_integer_value(field);
    }
    if (v[0] < 0 || v[0] >= PHASE_COUNT || v[1] < -1 || v[1] > TRACE_LAYERS_MAX || v[2] < 0 ||
        v[2] > OPC_COUNT || v[3] < 0 || v[4] < v[3] || v[5] < -1 || v[5] >= (json_int_t)names)
        return false;
    *out = (struct trace_row){(enum phase)v[0], (int)v[1], (int)v[2], v[3], v[4], (int)v[5]};
    return true;
}

static enum status names_parse(struct event *out, struct error *err)
{
    const json_t *names = json_object_get(out->root, "names");
    size_t count = json_array_size(names);
    if (!json_is_array(names) || count > TRACE_NAMES_MAX)
        return FAIL(err, ERR_FORMAT, "names is not an array of at most %d", TRACE_NAMES_MAX);
    out->trace_names = calloc(count + 1, sizeof *out->trace_names);
    if (!out->trace_names)
        return FAIL(err, ERR_NOMEM, "%zu names of a trace", count);
    for (size_t i = 0; i < count; i++) {
        out->trace_names[i] = json_string_value(json_array_get(names, i));
        if (!out->trace_names[i])
            return FAIL(err, ERR_FORMAT, "names[%zu] is not a text", i);
    }
    out->trace_name_count = count;
    return OK;
}

enum status protocol_trace_parse(struct event *out, struct error *err)
{
    const json_t *rows = json_object_get(out->root, "rows");
    size_t count = json_array_size(rows);
    TRY(json_get_string(out->root, "trace", "source", &out->source, err));
    TRY(json_get_i64(out->root, "trace", "lost", 0, INT64_MAX, &out->trace_lost, err));
    TRY(names_parse(out, err));
    if (!json_is_array(rows) || count > TRACE_ROWS_MAX)
        return FAIL(err, ERR_FORMAT, "rows is not an array of at most %d", TRACE_ROWS_MAX);
    out->trace = calloc(count + 1, sizeof *out->trace);
    if (!out->trace)
        return FAIL(err, ERR_NOMEM, "%zu rows of a trace", count);
    for (size_t i = 0; i < count; i++)
        if (!row_parse(json_array_get(rows, i), out->trace_name_count, &out->trace[i]))
            return FAIL(err, ERR_FORMAT,
                        "rows[%zu] is not [phase, layer, op, begin, end, name] of a known phase, "
                        "op and name, in the order of time",
                        i);
    out->trace_count = count;
    return OK;
}
