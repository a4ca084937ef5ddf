// protocol.c - jobs and events to and from JSON.
//
// Reading is suspicious: the other end may be a process whose memory a kernel has just overwritten.
#include "bench/run/protocol.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "results/metric.h"

enum {
    METRICS_MAX = 4096,    // of one event
    SEQUENCES_MAX = 65536, // of one repetition
    TOKENS_MAX = 1 << 24,  // a sequence
    PROGRESS_EVERY_NS = 100 * 1000 * 1000,
};

// ---- job -----------------------------------------------------------------------------------------------

static json_t *job_cell_json(const struct job_cell *c)
{
    return json_pack("{si si si si si ss ss s{sf si sf sI} si sI si si}", "index", c->index,
                     "batch", c->batch, "context", c->context, "gen", c->gen, "chunk", c->chunk,
                     "kv", dtype_name(c->kv), "prompt", c->prompt, "sampling", "temperature",
                     (double)c->sampling.temperature, "top_k", c->sampling.top_k, "top_p",
                     (double)c->sampling.top_p, "seed", (json_int_t)c->sampling.seed, "reps",
                     c->reps, "min_ns", (json_int_t)c->min_ns, "warmup", (int)c->warmup, "collect",
                     (int)c->collect);
}

static json_t *job_quality_json(const struct job_quality *q)
{
    return json_pack("{ss ss ss ss si}", "kv", dtype_name(q->kv), "text", q->text, "text_hash",
                     q->text_hash, "convention", q->convention, "windows", q->windows);
}

char *job_encode(const struct job *job)
{
    json_t *cells = json_array();
    for (size_t i = 0; i < job->cell_count; i++)
        json_array_append_new(cells, job_cell_json(&job->cells[i]));
    static const char *const tasks[] = {"cells", "ceilings", "quality"};
    bool measure = job->task != JOB_CEILINGS;
    json_t *root = json_pack(
        "{si ss si si sI ss* ss* ss* ss* ss* sI sb so}", "version", PROTOCOL_VERSION, "task",
        tasks[job->task], "threads", job->threads, "isa", (int)job->isa, "memory_limit",
        (json_int_t)job->memory_limit_bytes, "device", job->device, "scheme", job->scheme, "head",
        measure ? dtype_name(job->head) : NULL, "model", job->model_path, "shape", job->shape_path,
        "seed", (json_int_t)job->seed, "cold", job->cold, "cells", cells);
    if (root && job->calib)
        json_object_set_new(root, "calib", json_string(job->calib));
    if (root && job->task == JOB_QUALITY)
        json_object_set_new(root, "quality", job_quality_json(&job->quality));
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

// An integer field between `min` and `max` into an int.
static enum status get_int(const json_t *object, const char *key, int min, int max, int *out,
                           struct error *err)
{
    int64_t value = 0;
    TRY(json_get_i64(object, "worker protocol", key, min, max, &value, err));
    *out = (int)value;
    return OK;
}

static enum status get_dtype(const json_t *object, const char *key, enum dtype *out,
                             struct error *err)
{
    const char *name = NULL;
    TRY(json_get_string(object, "worker protocol", key, &name, err));
    for (int type = 0; type < DT_COUNT; type++) {
        if (str_equal(dtype_name((enum dtype)type), name)) {
            *out = (enum dtype)type;
            return OK;
        }
    }
    return FAIL(err, ERR_FORMAT, "worker protocol: %s: no element type '%s'", key, name);
}

static enum status sampling_decode(const json_t *object, struct sampling *out, struct error *err)
{
    double temperature = 0, top_p = 1;
    int64_t seed = 0;
    if (!json_is_object(object))
        return FAIL(err, ERR_FORMAT, "worker protocol: sampling: not an object");
    TRY(json_get_f64(object, "worker protocol", "temperature", &temperature, err));
    TRY(json_get_f64(object, "worker protocol", "top_p", &top_p, err));
    TRY(get_int(object, "top_k", 0, INT32_MAX, &out->top_k, err));
    TRY(json_get_i64(object, "worker protocol", "seed", INT64_MIN, INT64_MAX, &seed, err));
    out->temperature = (float)temperature;
    out->top_p = (float)top_p;
    out->seed = (uint64_t)seed;
    return OK;
}

static enum status job_cell_decode(const json_t *object, struct job_cell *out, struct error *err)
{
    int warmup = 0, collect = 0;
    if (!json_is_object(object))
        return FAIL(err, ERR_FORMAT, "worker protocol: a cell is not an object");
    TRY(get_int(object, "index", 0, INT32_MAX, &out->index, err));
    TRY(get_int(object, "batch", 1, SEQUENCES_MAX, &out->batch, err));
    TRY(get_int(object, "gen", 1, TOKENS_MAX, &out->gen, err));
    TRY(get_int(object, "context", out->gen + 1, TOKENS_MAX, &out->context, err));
    TRY(get_int(object, "chunk", 1, TOKENS_MAX, &out->chunk, err));
    TRY(get_int(object, "reps", 1, 1 << 20, &out->reps, err));
    TRY(json_get_i64(object, "worker protocol", "min_ns", 0, INT64_MAX, &out->min_ns, err));
    TRY(get_int(object, "warmup", WARMUP_NONE, WARMUP_FULL, &warmup, err));
    TRY(get_int(object, "collect", 0, INT32_MAX, &collect, err));
    TRY(get_dtype(object, "kv", &out->kv, err));
    TRY(json_get_string(object, "worker protocol", "prompt", &out->prompt, err));
    out->warmup = (enum warmup)warmup;
    out->collect = (unsigned)collect;
    return sampling_decode(json_object_get(object, "sampling"), &out->sampling, err);
}

static enum status job_model_decode(const json_t *root, struct job *out, struct error *err)
{
    int64_t seed = 0;
    TRY(json_get_string(root, "worker protocol", "device", &out->device, err));
    TRY(json_get_string(root, "worker protocol", "scheme", &out->scheme, err));
    TRY(get_dtype(root, "head", &out->head, err));
    TRY(json_opt_string(root, "worker protocol", "calib", NULL, &out->calib, err));
    TRY(json_opt_string(root, "worker protocol", "model", NULL, &out->model_path, err));
    TRY(json_opt_string(root, "worker protocol", "shape", NULL, &out->shape_path, err));
    TRY(json_get_i64(root, "worker protocol", "seed", INT64_MIN, INT64_MAX, &seed, err));
    TRY(json_opt_bool(root, "worker protocol", "cold", false, &out->cold, err));
    out->seed = (uint64_t)seed;
    if (!out->model_path == !out->shape_path)
        return FAIL(err, ERR_FORMAT, "worker protocol: a job has either a model or a shape");
    return OK;
}

static enum status job_cells_decode(const json_t *root, struct job *out, struct error *err)
{
    const json_t *cells = json_object_get(root, "cells");
    if (json_array_size(cells) == 0)
        return FAIL(err, ERR_FORMAT, "worker protocol: a job without cells");
    out->cells = calloc(json_array_size(cells), sizeof *out->cells);
    if (!out->cells)
        return FAIL(err, ERR_NOMEM, "worker protocol: %zu cells", json_array_size(cells));
    for (; out->cell_count < json_array_size(cells); out->cell_count++)
        TRY(job_cell_decode(json_array_get(cells, out->cell_count), &out->cells[out->cell_count],
                            err));
    return OK;
}

static enum status job_quality_decode(const json_t *root, struct job_quality *out,
                                      struct error *err)
{
    const json_t *object = json_object_get(root, "quality");
    if (!json_is_object(object))
        return FAIL(err, ERR_FORMAT, "worker protocol: quality: not an object");
    TRY(get_dtype(object, "kv", &out->kv, err));
    TRY(json_get_string(object, "worker protocol", "text", &out->text, err));
    TRY(json_get_string(object, "worker protocol", "text_hash", &out->text_hash, err));
    TRY(json_get_string(object, "worker protocol", "convention", &out->convention, err));
    return get_int(object, "windows", 0, TOKENS_MAX, &out->windows, err);
}

static enum status job_fields(const json_t *root, struct job *out, struct error *err)
{
    const char *task = NULL;
    int version = 0, isa = 0;
    TRY(get_int(root, "version", 0, INT32_MAX, &version, err));
    if (version != PROTOCOL_VERSION)
        return FAIL(err, ERR_FORMAT, "worker protocol: version %d, this worker speaks %d", version,
                    PROTOCOL_VERSION);
    TRY(json_get_string(root, "worker protocol", "task", &task, err));
    TRY(get_int(root, "threads", 1, 1 << 16, &out->threads, err));
    TRY(get_int(root, "isa", 0, INT32_MAX, &isa, err));
    TRY(json_get_i64(root, "worker protocol", "memory_limit", 0, INT64_MAX,
                     &out->memory_limit_bytes, err));
    out->isa = (unsigned)isa;
    out->task = str_equal(task, "ceilings")  ? JOB_CEILINGS
                : str_equal(task, "quality") ? JOB_QUALITY
                                             : JOB_CELLS;
    if (out->task == JOB_CELLS && !str_equal(task, "cells"))
        return FAIL(err, ERR_FORMAT, "worker protocol: no task '%s'", task);
    if (out->task == JOB_CEILINGS)
        return OK;
    TRY(job_model_decode(root, out, err));
    return out->task == JOB_CELLS ? job_cells_decode(root, out, err)
                                  : job_quality_decode(root, &out->quality, err);
}

enum status job_decode(const char *text, size_t length, struct job *out, json_t **root,
                       struct error *err)
{
    memset(out, 0, sizeof *out);
    *root = NULL;
    TRY(json_parse("job", text, length, root, err));
    if (job_fields(*root, out, err) == OK)
        return OK;
    free(out->cells);
    json_decref(*root);
    memset(out, 0, sizeof *out);
    *root = NULL;
    return err->code;
}

// ---- events read ------------------------------------------------------------------------------------------

// A number, or NaN for null.
static enum status get_value(const json_t *object, const char *key, double *out, struct error *err)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_null(value))
        *out = NAN;
    else if (json_is_number(value))
        *out = json_number_value(value);
    else
        return FAIL(err, ERR_FORMAT, "%s is not a number", key);
    return OK;
}

static enum status metric_parse(const json_t *object, struct store_metric *out, struct error *err)
{
    if (!json_is_object(object))
        return FAIL(err, ERR_FORMAT, "a metric is not an object");
    TRY(json_get_string(object, "metric", "name", &out->name, err));
    TRY(json_get_string(object, out->name, "source", &out->source, err));
    TRY(json_opt_string(object, out->name, "phase", NULL, &out->phase, err));
    TRY(json_opt_string(object, out->name, "op", NULL, &out->op, err));
    if (get_value(object, "value", &out->value, err) != OK)
        return error_context(err, "%s", out->name);
    const struct metric_info *info = metric_find(out->name);
    out->unit = info ? info->unit : str_starts(out->name, METRIC_COUNTER_PREFIX) ? "1" : NULL;
    if (!out->unit)
        return FAIL(err, ERR_FORMAT, "there is no metric '%s'", out->name);
    return OK;
}

static enum status metrics_parse(const json_t *root, const char *key, struct store_metric **out,
                                 size_t *count, struct error *err)
{
    const json_t *array = json_object_get(root, key);
    size_t n = json_array_size(array);
    if (!json_is_array(array) || n > METRICS_MAX)
        return FAIL(err, ERR_FORMAT, "%s is not an array of at most %d metrics", key, METRICS_MAX);
    *out = calloc(n ? n : 1, sizeof **out);
    if (!*out)
        return FAIL(err, ERR_NOMEM, "%zu metrics", n);
    for (*count = 0; *count < n; ++*count)
        TRY(metric_parse(json_array_get(array, *count), *out + *count, err));
    return OK;
}

static enum status token_times_parse(struct event *out, struct error *err)
{
    const json_t *rows = json_object_get(out->root, "token_ns");
    size_t sequences = json_array_size(rows), tokens = json_array_size(json_array_get(rows, 0));
    if (sequences == 0 || sequences > SEQUENCES_MAX || tokens == 0 || tokens > TOKENS_MAX)
        return FAIL(err, ERR_FORMAT, "token_ns is not an array of arrays of times");
    out->token_ns = calloc(sequences * tokens, sizeof *out->token_ns);
    if (!out->token_ns)
        return FAIL(err, ERR_NOMEM, "%zu x %zu token times", sequences, tokens);
    out->sequences = (int)sequences;
    out->tokens = (int)tokens;
    for (size_t s = 0; s < sequences; s++) {
        const json_t *row = json_array_get(rows, s);
        if (json_array_size(row) != tokens)
            return FAIL(err, ERR_FORMAT, "token_ns: sequence %zu has %zu times, the first has %zu",
                        s, json_array_size(row), tokens);
        for (size_t t = 0; t < tokens; t++) {
            const json_t *time = json_array_get(row, t);
            if (!json_is_integer(time) || json_integer_value(time) < 0)
                return FAIL(err, ERR_FORMAT, "token_ns[%zu][%zu] is not a time", s, t);
            out->token_ns[s * tokens + t] = json_integer_value(time);
        }
    }
    return OK;
}

static enum status cell_parse(struct event *out, struct error *err)
{
    return get_int(out->root, "cell", 0, INT32_MAX, &out->cell, err);
}

static enum status hello_parse(struct event *out, struct error *err)
{
    int version = 0;
    TRY(get_int(out->root, "version", 0, INT32_MAX, &version, err));
    if (version != PROTOCOL_VERSION)
        return FAIL(err, ERR_FORMAT, "a worker of version %d, this runner speaks %d", version,
                    PROTOCOL_VERSION);
    return OK;
}

static enum status progress_parse(struct event *out, struct error *err)
{
    int64_t cell = -1, repetition = 0;
    TRY(json_get_string(out->root, "progress", "phase", &out->phase, err));
    TRY(json_get_f64(out->root, "progress", "done", &out->done, err));
    TRY(json_opt_i64(out->root, "progress", "cell", 0, INT32_MAX, -1, &cell, err));
    TRY(json_opt_i64(out->root, "progress", "repetition", 0, INT32_MAX, 0, &repetition, err));
    out->cell = (int)cell;
    out->repetition = (int)repetition;
    return OK;
}

static enum status loaded_parse(struct event *out, struct error *err)
{
    TRY(json_get_string(out->root, "loaded", "arithmetic", &out->arithmetic, err));
    return metrics_parse(out->root, "metrics", &out->metrics, &out->metric_count, err);
}

static enum status repetition_parse(struct event *out, struct error *err)
{
    TRY(cell_parse(out, err));
    TRY(get_int(out->root, "repetition", 1, INT32_MAX, &out->repetition, err));
    TRY(json_get_string(out->root, "repetition", "token_hash", &out->token_hash, err));
    TRY(json_get_i64(out->root, "repetition", "nonfinite", 0, INT64_MAX, &out->nonfinite, err));
    TRY(metrics_parse(out->root, "metrics", &out->metrics, &out->metric_count, err));
    TRY(metrics_parse(out->root, "noise", &out->noise, &out->noise_count, err));
    return token_times_parse(out, err);
}

static enum status trial_parse(struct event *out, struct error *err)
{
    TRY(cell_parse(out, err));
    return metrics_parse(out->root, "metrics", &out->metrics, &out->metric_count, err);
}

static enum status error_parse(struct event *out, struct error *err)
{
    const char *code = NULL;
    int64_t cell = -1;
    TRY(json_opt_i64(out->root, "error", "cell", 0, INT32_MAX, -1, &cell, err));
    TRY(json_get_string(out->root, "error", "code", &code, err));
    TRY(json_get_string(out->root, "error", "message", &out->message, err));
    out->cell = (int)cell;
    for (int status = ERR_USAGE; status <= ERR_INTERNAL; status++)
        if (str_equal(status_name((enum status)status), code))
            out->code = (enum status)status;
    if (out->code == OK)
        return FAIL(err, ERR_FORMAT, "there is no error code '%s'", code);
    return OK;
}

static enum status ceiling_parse(const json_t *object, struct ceiling *out, struct error *err)
{
    const char *name = NULL, *level = NULL, *kernel = NULL;
    if (!json_is_object(object))
        return FAIL(err, ERR_FORMAT, "a ceiling is not an object");
    TRY(json_get_string(object, "ceiling", "name", &name, err));
    TRY(json_get_string(object, name, "level", &level, err));
    TRY(json_get_string(object, name, "kernel", &kernel, err));
    TRY(json_get_f64(object, name, "value", &out->value, err));
    TRY(json_get_f64(object, name, "low", &out->low, err));
    TRY(json_get_f64(object, name, "high", &out->high, err));
    TRY(get_int(object, "threads", 1, 1 << 16, &out->threads, err));
    TRY(get_int(object, "samples", 1, INT32_MAX, &out->samples, err));
    if (strlen(name) >= sizeof out->name || strlen(level) >= sizeof out->level ||
        strlen(kernel) >= sizeof out->kernel)
        return FAIL(err, ERR_FORMAT, "a ceiling's name is too long");
    strcpy(out->name, name);
    strcpy(out->level, level);
    strcpy(out->kernel, kernel);
    return OK;
}

static enum status ceilings_parse(struct event *out, struct error *err)
{
    const json_t *rows = json_object_get(out->root, "rows");
    const char *note = NULL;
    if (!json_is_array(rows) || json_array_size(rows) > CEILINGS_MAX)
        return FAIL(err, ERR_FORMAT, "ceilings: rows are missing, or more than %d", CEILINGS_MAX);
    out->ceilings = calloc(1, sizeof *out->ceilings);
    if (!out->ceilings)
        return FAIL(err, ERR_NOMEM, "ceilings");
    struct ceilings *c = out->ceilings;
    for (; c->count < (int)json_array_size(rows); c->count++)
        TRY(ceiling_parse(json_array_get(rows, (size_t)c->count), &c->row[c->count], err));
    TRY(json_opt_string(out->root, "ceilings", "note", "", &note, err));
    strncpy(c->note, note, sizeof c->note - 1);
    return OK;
}

static enum status quality_parse(struct event *out, struct error *err)
{
    TRY(json_opt_string(out->root, "quality", "note", "", &out->message, err));
    return metrics_parse(out->root, "metrics", &out->metrics, &out->metric_count, err);
}

static enum status bye_parse(struct event *out, struct error *err)
{
    (void)out;
    (void)err;
    return OK;
}

typedef enum status event_parser(struct event *out, struct error *err);
static const struct {
    const char *name;
    event_parser *parse;
} event_table[EVENT_TYPE_COUNT] = {
    [EVENT_HELLO] = {"hello", hello_parse},
    [EVENT_PROGRESS] = {"progress", progress_parse},
    [EVENT_LOADED] = {"loaded", loaded_parse},
    [EVENT_CELL] = {"cell", cell_parse},
    [EVENT_REPETITION] = {"repetition", repetition_parse},
    [EVENT_TRIAL] = {"trial", trial_parse},
    [EVENT_ERROR] = {"error", error_parse},
    [EVENT_CEILINGS] = {"ceilings", ceilings_parse},
    [EVENT_QUALITY] = {"quality", quality_parse},
    [EVENT_BYE] = {"bye", bye_parse},
};

static enum status event_fields(struct event *out, struct error *err)
{
    const char *name = NULL;
    if (!json_is_object(out->root))
        return FAIL(err, ERR_FORMAT, "not an object");
    TRY(json_get_string(out->root, "line", "event", &name, err));
    for (int type = 0; type < EVENT_TYPE_COUNT; type++) {
        if (str_equal(event_table[type].name, name)) {
            out->type = (enum event_type)type;
            return event_table[type].parse(out, err);
        }
    }
    return FAIL(err, ERR_FORMAT, "there is no event '%s'", name);
}

enum status event_parse(const char *line, size_t length, struct event *out, struct error *err)
{
    memset(out, 0, sizeof *out);
    out->cell = -1;
    if (json_parse("event", line, length, &out->root, err) == OK && event_fields(out, err) == OK)
        return OK;
    event_fini(out);
    if (err->code == ERR_USAGE)
        err->code = ERR_FORMAT;
    return err->code;
}

void event_fini(struct event *event)
{
    free(event->metrics);
    free(event->noise);
    free(event->token_ns);
    free(event->ceilings);
    json_decref(event->root);
    memset(event, 0, sizeof *event);
    event->cell = -1;
}

// ---- events written -------------------------------------------------------------------------------------

json_t *wire_event(const char *name)
{
    return json_pack("{ss}", "event", name);
}

enum status wire_send(struct wire *wire, json_t *event, struct error *err)
{
    char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;
    json_decref(event);
    if (!text)
        return FAIL(err, ERR_NOMEM, "worker: an event's text");
    size_t length = strlen(text), sent = 0;
    text[length++] = '\n'; // takes the place of the NUL: the length is known
    while (sent < length) {
        ssize_t wrote = write(wire->fd, text + sent, length - sent);
        if (wrote < 0 && errno != EINTR)
            break;
        sent += wrote > 0 ? (size_t)wrote : 0;
    }
    free(text);
    return sent == length
               ? OK
               : FAIL(err, ERR_IO, "worker: cannot tell the runner: %s", strerror(errno));
}

void wire_metric(json_t *metrics, const char *name, double value, const char *phase, const char *op,
                 const char *source)
{
    json_t *number = isfinite(value) ? json_real(value) : json_null();
    json_array_append_new(metrics, json_pack("{ss so ss* ss* ss}", "name", name, "value", number,
                                             "phase", phase, "op", op, "source", source));
}

void wire_progress(struct wire *wire, const char *phase, int cell, int repetition, double done)
{
    uint64_t now = clock_ns();
    if (now - wire->last_progress_ns < PROGRESS_EVERY_NS)
        return;
    wire->last_progress_ns = now;
    json_t *event = json_pack("{ss ss sf}", "event", "progress", "phase", phase, "done", done);
    if (cell >= 0)
        json_object_set_new(event, "cell", json_integer(cell));
    if (repetition > 0)
        json_object_set_new(event, "repetition", json_integer(repetition));
    struct error ignored = {0}; // progress is for the eye: the next real event will fail as well
    wire_send(wire, event, &ignored);
}
