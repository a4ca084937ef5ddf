// trace.c - keeps the rows of a trace, and sends them in pieces.
#include "bench/worker/trace.h"

#include <stdlib.h>

#include "base/str.h"

static bool grow(struct worker_trace *t)
{
    size_t capacity = t->capacity ? 2 * t->capacity : 4096;
    if (t->capacity == WORKER_TRACE_ROWS)
        return false;
    struct trace_row *rows = realloc(t->rows, capacity * sizeof *rows);
    if (!rows)
        return false;
    t->rows = rows;
    t->capacity = capacity;
    return true;
}

// The index of a kernel's name; -1 without a name, and where too many kernels have one.
static int name_index(struct worker_trace *t, const char *name)
{
    size_t at = 0;
    if (!name)
        return -1;
    while (at < t->name_count && !str_equal(t->names[at], name))
        at++;
    if (at == TRACE_NAMES_MAX)
        return -1;
    if (at == t->name_count)
        t->names[t->name_count++] = name;
    return (int)at;
}

void worker_trace_add(struct worker_trace *t, const struct trace_row *row, const char *name)
{
    if (!t)
        return;
    if (t->count == t->capacity && !grow(t)) {
        t->lost++;
        return;
    }
    t->rows[t->count] = *row;
    t->rows[t->count++].name = name_index(t, name);
}

enum status worker_trace_send(struct worker_trace *t, struct wire *wire, int cell,
                              struct error *err)
{
    enum status status = OK;
    if (!t)
        return OK;
    // Without any row the number of lost ones is sent alone.
    for (size_t first = 0; status == OK && (first < t->count || (first == 0 && t->lost));
         first += TRACE_ROWS_MAX) {
        size_t left = t->count - first;
        struct wire_trace piece = {.source = t->source,
                                   .rows = t->rows + first,
                                   .count = left < TRACE_ROWS_MAX ? left : TRACE_ROWS_MAX,
                                   .names = t->names,
                                   .name_count = t->name_count,
                                   .lost = first == 0 ? t->lost : 0};
        status = wire_send_trace(wire, cell, &piece, err);
    }
    for (size_t i = 0; i < t->count; i++)
        t->sent[t->rows[i].phase] = true;
    free(t->rows);
    t->rows = NULL;
    t->count = t->capacity = t->name_count = 0;
    t->lost = 0;
    return status;
}

void worker_trace_fini(struct worker_trace *t)
{
    free(t->rows);
    *t = (struct worker_trace){0};
}
