// event.c - a worker's events, read line by line.
//
// Every field is checked: a kernel may have overwritten the memory of the process at the other end.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "bench/protocol/fields.h"
#include "bench/protocol/protocol.h"
#include "results/metric.h"

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
    bool open_ended = str_starts(out->name, METRIC_COUNTER_PREFIX) ||
                      str_starts(out->name, METRIC_INSTRUMENT_PREFIX);
    out->unit = info ? info->unit : open_ended ? "1" : NULL;
    if (!out->unit)
        return FAIL(err, ERR_FORMAT, "there is no metric '%s'", out->name);
    return OK;
}

static enum status metrics_parse(const json_t *root, const char *key, struct store_metric **out,
                                 size_t *count, struct error *err)
{
    const json_t *array = json_object_get(root, key);
    size_t n = json_array_size(array);
    if (!json_is_array(array) || n > PROTOCOL_METRICS_MAX)
        return FAIL(err, ERR_FORMAT, "%s is not an array of at most %d metrics", key,
                    PROTOCOL_METRICS_MAX);
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
    if (sequences == 0 || sequences > PROTOCOL_SEQUENCES_MAX || tokens == 0 ||
        tokens > PROTOCOL_TOKENS_MAX)
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
    return protocol_get_int(out->root, "cell", 0, INT32_MAX, &out->cell, err);
}

static enum status hello_parse(struct event *out, struct error *err)
{
    int version = 0;
    TRY(protocol_get_int(out->root, "version", 0, INT32_MAX, &version, err));
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
    TRY(json_get_string(out->root, "loaded", "engine", &out->engine, err));
    TRY(json_get_string(out->root, "loaded", "engine_version", &out->engine_version, err));
    TRY(json_get_string(out->root, "loaded", "arithmetic", &out->arithmetic, err));
    TRY(json_opt_string(out->root, "loaded", "stored", NULL, &out->stored, err));
    return metrics_parse(out->root, "metrics", &out->metrics, &out->metric_count, err);
}

static enum status repetition_parse(struct event *out, struct error *err)
{
    TRY(cell_parse(out, err));
    TRY(protocol_get_int(out->root, "repetition", 1, INT32_MAX, &out->repetition, err));
    TRY(json_get_string(out->root, "repetition", "token_hash", &out->token_hash, err));
    TRY(json_get_i64(out->root, "repetition", "nonfinite", 0, INT64_MAX, &out->nonfinite, err));
    TRY(metrics_parse(out->root, "metrics", &out->metrics, &out->metric_count, err));
    TRY(metrics_parse(out->root, "noise", &out->noise, &out->noise_count, err));
    return token_times_parse(out, err);
}

static enum status trace_parse(struct event *out, struct error *err)
{
    TRY(cell_parse(out, err));
    return protocol_trace_parse(out, err);
}

static enum status trial_parse(struct event *out, struct error *err)
{
    TRY(cell_parse(out, err));
    TRY(json_opt_string(out->root, "trial", "products", NULL, &out->products, err));
    TRY(json_opt_string(out->root, "trial", "step_form", NULL, &out->step_form, err));
    TRY(json_opt_string(out->root, "trial", "step_reason", NULL, &out->step_reason, err));
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
    const char *device = NULL, *name = NULL, *level = NULL, *kernel = NULL;
    if (!json_is_object(object))
        return FAIL(err, ERR_FORMAT, "a ceiling is not an object");
    TRY(json_get_string(object, "ceiling", "name", &name, err));
    TRY(json_get_string(object, name, "device", &device, err));
    TRY(json_get_string(object, name, "level", &level, err));
    TRY(json_get_string(object, name, "kernel", &kernel, err));
    TRY(json_get_f64(object, name, "value", &out->value, err));
    TRY(json_get_f64(object, name, "low", &out->low, err));
    TRY(json_get_f64(object, name, "high", &out->high, err));
    TRY(protocol_get_int(object, "threads", 0, 1 << 16, &out->threads, err));
    TRY(protocol_get_int(object, "samples", 1, INT32_MAX, &out->samples, err));
    TRY(json_opt_f64(object, "ceilings", "set_bytes", 0, &out->set_bytes, err));
    TRY(json_opt_f64(object, "ceilings", "clock_low_hz", 0, &out->clock_low_hz, err));
    TRY(json_opt_f64(object, "ceilings", "clock_high_hz", 0, &out->clock_high_hz, err));
    TRY(json_opt_f64(object, "ceilings", "memory_clock_hz", 0, &out->memory_clock_hz, err));
    if (strlen(name) >= sizeof out->name || strlen(level) >= sizeof out->level ||
        strlen(kernel) >= sizeof out->kernel || strlen(device) >= sizeof out->device)
        return FAIL(err, ERR_FORMAT, "a ceiling's name is too long");
    strcpy(out->device, device);
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
    [EVENT_TRACE] = {"trace", trace_parse},
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
    free(event->trace);
    free(event->trace_names);
    json_decref(event->root);
    memset(event, 0, sizeof *event);
    event->cell = -1;
}
