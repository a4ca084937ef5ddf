// trace.c - gathers the rows of a trace, and writes them as nested slices.
#include "bench/run/trace.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "results/metric.h"

// ---- gathering ----------------------------------------------------------------------------------------------

static enum status no_memory(struct error *err)
{
    return FAIL(err, ERR_NOMEM, "no memory for the trace");
}

static struct trace_part *part_of(struct trace *t, const char *source)
{
    for (size_t i = 0; i < t->count; i++)
        if (str_equal(t->part[i].source, source))
            return &t->part[i];
    if (t->count == TRACE_PARTS_MAX)
        return NULL;
    struct trace_part *part = &t->part[t->count];
    part->source = arena_strdup(&t->arena, source);
    t->count += part->source != NULL;
    return part->source ? part : NULL;
}

// The index of a name in the part; -1 without memory.
static int intern(struct trace *t, struct trace_part *p, const char *name)
{
    for (size_t i = 0; i < p->name_count; i++)
        if (str_equal(p->names[i], name))
            return (int)i;
    if (p->name_count == p->name_capacity) {
        size_t capacity = p->name_capacity ? 2 * p->name_capacity : 64;
        const char **names = realloc(p->names, capacity * sizeof *names);
        if (!names)
            return -1;
        p->names = names;
        p->name_capacity = capacity;
    }
    p->names[p->name_count] = arena_strdup(&t->arena, name);
    return p->names[p->name_count] ? (int)p->name_count++ : -1;
}

static bool make_room(struct trace_part *p, size_t more)
{
    size_t capacity = p->capacity ? p->capacity : 4096;
    if (p->count + more <= p->capacity)
        return true;
    while (capacity < p->count + more)
        capacity *= 2;
    struct trace_row *rows = realloc(p->rows, capacity * sizeof *rows);
    if (!rows)
        return false;
    p->rows = rows;
    p->capacity = capacity;
    return true;
}

enum status trace_add(struct trace *t, const struct event *event, struct error *err)
{
    if (!t)
        return OK;
    struct trace_part *p = part_of(t, event->source);
    if (!p || !make_room(p, event->trace_count))
        return no_memory(err);
    p->lost += event->trace_lost;
    for (size_t i = 0; i < event->trace_count; i++) {
        struct trace_row row = event->trace[i];
        if (row.name >= 0 && (row.name = intern(t, p, event->trace_names[row.name])) < 0)
            return no_memory(err);
        p->rows[p->count++] = row;
    }
    return OK;
}

void trace_clear(struct trace *t)
{
    for (size_t i = 0; t && i < t->count; i++) {
        free(t->part[i].rows);
        free(t->part[i].names);
    }
    if (t) {
        arena_fini(&t->arena);
        *t = (struct trace){0};
    }
}

void trace_fini(struct trace *t)
{
    trace_clear(t);
}

int64_t trace_lost(const struct trace *t)
{
    int64_t lost = 0;
    for (size_t i = 0; i < t->count; i++)
        lost += t->part[i].lost;
    return lost;
}

// ---- slices -------------------------------------------------------------------------------------------------

// The levels that nest, outermost first. An operation without kernels is the innermost itself.
enum level { LEVEL_PHASE, LEVEL_STEP, LEVEL_LAYER, LEVEL_OP, LEVEL_COUNT };

struct writing {
    const struct trace_part *part;
    int64_t *begin_ns, *end_ns; // (count) without overlaps
    int *step;                  // (count) of its phase, from 1
    int64_t zero_ns;            // the first begin: times in the file begin here
    int process;
    struct file_writer *file;
    bool any;
    struct error *err;
};

static bool same_op(const struct trace_row *a, const struct trace_row *b)
{
    return a->phase == b->phase && a->layer == b->layer && a->op == b->op;
}

// A step begins after what has no class, which ends one. A pass of the same step begins with its embedding, the only
// operation before layer 0. before: the row of this phase before row i; NULL: none.
static bool begins_step(const struct trace_part *p, size_t i, const struct trace_row *before)
{
    const struct trace_row *rows = p->rows;
    if (!before)
        return true;
    if (before->op == OPC_COUNT)
        return rows[i].op != OPC_COUNT;
    if (rows[i].layer != -1 || rows[i].op != OPC_REST ||
        (rows[i].name >= 0 && same_op(&rows[i], before)))
        return false;
    size_t next = i + 1;
    while (rows[i].name >= 0 && next < p->count && same_op(&rows[i], &rows[next]))
        next++;
    return next < p->count && rows[next].layer == 0;
}

// Fills times without overlaps, and numbers the steps of each phase. What belongs to no phase may run between them.
static void number_steps(struct writing *w)
{
    const struct trace_part *p = w->part;
    const struct trace_row *before[PHASE_COUNT] = {NULL};
    int step[PHASE_COUNT] = {0};
    int64_t covered_ns = p->count ? p->rows[0].begin_ns : 0;
    w->zero_ns = covered_ns;
    for (size_t i = 0; i < p->count; i++) {
        const struct trace_row *r = &p->rows[i];
        w->begin_ns[i] = r->begin_ns > covered_ns ? r->begin_ns : covered_ns;
        w->end_ns[i] = r->end_ns > w->begin_ns[i] ? r->end_ns : w->begin_ns[i];
        covered_ns = w->end_ns[i];
        step[r->phase] += begins_step(p, i, before[r->phase]);
        w->step[i] = step[r->phase];
        before[r->phase] = r;
    }
}

// Whether rows a and b, a the earlier one, lie in one slice of this level.
static bool together(const struct writing *w, size_t a, size_t b, enum level level)
{
    const struct trace_row *x = &w->part->rows[a], *y = &w->part->rows[b];
    bool same = x->phase == y->phase;
    if (level >= LEVEL_STEP)
        same &= w->step[a] == w->step[b];
    if (level >= LEVEL_LAYER)
        same &= x->layer == y->layer;
    if (level >= LEVEL_OP)
        same &= x->op == y->op && x->name >= 0;
    return same;
}

static void slice_name(const struct writing *w, size_t i, enum level level, char *out, size_t bytes)
{
    const struct trace_row *r = &w->part->rows[i];
    bool phased = r->phase != PHASE_LOAD;
    switch (level) {
    case LEVEL_PHASE:
        snprintf(out, bytes, "%s", phased ? phase_name(r->phase) : "of no phase");
        break;
    case LEVEL_STEP:
        snprintf(out, bytes, "%s %d", r->phase == PHASE_DECODE ? "step" : "pass", w->step[i]);
        break;
    case LEVEL_LAYER:
        snprintf(out, bytes, "layer %d", r->layer);
        break;
    default:
        snprintf(out, bytes, "%s",
                 r->op < OPC_COUNT ? op_class_name((enum op_class)r->op) : METRIC_OP_END);
    }
}

// ---- the file -----------------------------------------------------------------------------------------------

static void put(struct writing *w, const char *text)
{
    if (w->err->code == OK)
        file_writer_put(w->file, text, strlen(text), w->err);
}

// Puts one object of the list, and takes it.
static void put_event(struct writing *w, json_t *event)
{
    char *text = event ? json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(event);
    if (!text && w->err->code == OK)
        no_memory(w->err);
    put(w, w->any ? ",\n" : "\n");
    put(w, text ? text : "");
    w->any = true;
    free(text);
}

// Times are microseconds, to the ns.
static void put_slice(struct writing *w, const char *name, const char *category, size_t first,
                      size_t last, json_t *args)
{
    double from_us = (double)(w->begin_ns[first] - w->zero_ns) / 1e3;
    double for_us = (double)(w->end_ns[last] - w->begin_ns[first]) / 1e3;
    put_event(w,
              json_pack("{ss ss ss si si sf sf so*}", "ph", "X", "name", name, "cat", category,
                        "pid", w->process, "tid", 1, "ts", from_us, "dur", for_us, "args", args));
}

static void put_name(struct writing *w, const char *what, const char *name)
{
    put_event(w, json_pack("{ss ss si si s{ss}}", "ph", "M", "name", what, "pid", w->process, "tid",
                           1, "args", "name", name));
}

// Puts the slices that begin with row i, the outermost first.
static void put_row(struct writing *w, size_t i)
{
    static const char *const categories[] = {"phase", "step", "layer", "op"};
    const struct trace_part *p = w->part;
    const struct trace_row *r = &p->rows[i];
    char name[64];
    for (int level = 0; level < LEVEL_COUNT; level++) {
        size_t last = i;
        bool absent = (level == LEVEL_LAYER && r->layer < 0) ||
                      (r->phase == PHASE_LOAD && level != LEVEL_PHASE);
        if (absent || (i > 0 && together(w, i - 1, i, (enum level)level)))
            continue;
        while (last + 1 < p->count && together(w, i, last + 1, (enum level)level) &&
               together(w, last, last + 1, (enum level)level))
            last++;
        slice_name(w, i, (enum level)level, name, sizeof name);
        put_slice(w, name, categories[level], i, last, NULL);
    }
    if (r->name >= 0)
        put_slice(w, p->names[r->name], "kernel", i, i,
                  json_pack("{sI sI}", "begin_ns", (json_int_t)r->begin_ns, "end_ns",
                            (json_int_t)r->end_ns));
}

static enum status write_part(struct writing *w, const char *about)
{
    size_t count = w->part->count;
    struct str process = {0};
    w->begin_ns = calloc(count + 1, sizeof *w->begin_ns);
    w->end_ns = calloc(count + 1, sizeof *w->end_ns);
    w->step = calloc(count + 1, sizeof *w->step);
    str_append(&process, about);
    if (!w->begin_ns || !w->end_ns || !w->step || process.failed) {
        no_memory(w->err);
    } else {
        number_steps(w);
        put_name(w, "process_name", str_text(&process));
        put_name(w, "thread_name", w->part->source);
        for (size_t i = 0; i < count && w->err->code == OK; i++)
            put_row(w, i);
    }
    str_fini(&process);
    free(w->begin_ns);
    free(w->end_ns);
    free(w->step);
    return w->err->code;
}

enum status trace_write(const struct trace *t, const char *about, const char *path,
                        struct error *err)
{
    struct writing w = {.err = err};
    char end[128];
    if (t->count == 0)
        return FAIL(err, ERR_USAGE, "%s: no operation was traced", path);
    TRY(file_writer_open(path, &w.file, err));
    put(&w, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
    for (size_t i = 0; i < t->count && err->code == OK; i++) {
        w.part = &t->part[i];
        w.process = (int)i + 1;
        write_part(&w, about);
    }
    snprintf(end, sizeof end, "\n],\"otherData\":{\"lost\":%" PRId64 "}}\n", trace_lost(t));
    put(&w, end);
    if (err->code != OK) {
        file_writer_abandon(w.file);
        return err->code;
    }
    return file_writer_finish(w.file, err);
}
