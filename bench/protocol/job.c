// job.c - encodes and decodes the job of a worker as JSON.
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "bench/protocol/fields.h"
#include "bench/protocol/protocol.h"

enum status protocol_get_int(const json_t *object, const char *key, int min, int max, int *out,
                             struct error *err)
{
    int64_t value = 0;
    TRY(json_get_i64(object, "worker protocol", key, min, max, &value, err));
    *out = (int)value;
    return OK;
}

static json_t *job_cell_json(const struct job_cell *c)
{
    return json_pack("{si si si si si ss ss ss s{sf si sf sI} si sI si si}", "index", c->index,
                     "batch", c->batch, "context", c->context, "gen", c->gen, "chunk", c->chunk,
                     "kv", dtype_name(c->kv), "step", context_form_name(c->step), "prompt",
                     c->prompt, "sampling", "temperature", (double)c->sampling.temperature, "top_k",
                     c->sampling.top_k, "top_p", (double)c->sampling.top_p, "seed",
                     (json_int_t)c->sampling.seed, "reps", c->reps, "min_ns", (json_int_t)c->min_ns,
                     "warmup", (int)c->warmup, "collect", (int)c->collect);
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
        "{si ss si si sI ss* ss* ss* ss* ss* ss* sI sb sb so}", "version", PROTOCOL_VERSION, "task",
        tasks[job->task], "threads", job->threads, "isa", (int)job->isa, "memory_limit",
        (json_int_t)job->memory_limit_bytes, "engine", job->engine, "device", job->device, "scheme",
        job->scheme, "head", measure ? dtype_name(job->head) : NULL, "model", job->model_path,
        "shape", job->shape_path, "seed", (json_int_t)job->seed, "cold", job->cold, "trace",
        job->trace, "cells", cells);
    if (root && job->products != PRODUCTS_OWN)
        json_object_set_new(root, "products", json_string(scheme_products_name(job->products)));
    if (root && job->calib)
        json_object_set_new(root, "calib", json_string(job->calib));
    if (root && job->task == JOB_QUALITY)
        json_object_set_new(root, "quality", job_quality_json(&job->quality));
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
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
    TRY(protocol_get_int(object, "top_k", 0, INT32_MAX, &out->top_k, err));
    TRY(json_get_i64(object, "worker protocol", "seed", INT64_MIN, INT64_MAX, &seed, err));
    out->temperature = (float)temperature;
    out->top_p = (float)top_p;
    out->seed = (uint64_t)seed;
    return OK;
}

static enum status job_cell_decode(const json_t *object, struct job_cell *out, struct error *err)
{
    int warmup = 0, collect = 0;
    const char *step = NULL;
    if (!json_is_object(object))
        return FAIL(err, ERR_FORMAT, "worker protocol: a cell is not an object");
    TRY(protocol_get_int(object, "index", 0, INT32_MAX, &out->index, err));
    TRY(protocol_get_int(object, "batch", 1, PROTOCOL_SEQUENCES_MAX, &out->batch, err));
    TRY(protocol_get_int(object, "gen", 1, PROTOCOL_TOKENS_MAX, &out->gen, err));
    TRY(protocol_get_int(object, "context", out->gen + 1, PROTOCOL_TOKENS_MAX, &out->context, err));
    TRY(protocol_get_int(object, "chunk", 1, PROTOCOL_TOKENS_MAX, &out->chunk, err));
    TRY(protocol_get_int(object, "reps", 1, 1 << 20, &out->reps, err));
    TRY(json_get_i64(object, "worker protocol", "min_ns", 0, INT64_MAX, &out->min_ns, err));
    TRY(protocol_get_int(object, "warmup", WARMUP_NONE, WARMUP_FULL, &warmup, err));
    TRY(protocol_get_int(object, "collect", 0, INT32_MAX, &collect, err));
    TRY(get_dtype(object, "kv", &out->kv, err));
    TRY(json_get_string(object, "worker protocol", "step", &step, err));
    if (!context_form_parse(step, &out->step))
        return FAIL(err, ERR_FORMAT, "worker protocol: step '%s' is no form of decode steps", step);
    TRY(json_get_string(object, "worker protocol", "prompt", &out->prompt, err));
    out->warmup = (enum warmup)warmup;
    out->collect = (unsigned)collect;
    return sampling_decode(json_object_get(object, "sampling"), &out->sampling, err);
}

static enum status job_model_decode(const json_t *root, struct job *out, struct error *err)
{
    int64_t seed = 0;
    TRY(json_get_string(root, "worker protocol", "engine", &out->engine, err));
    TRY(json_get_string(root, "worker protocol", "scheme", &out->scheme, err));
    TRY(get_dtype(root, "head", &out->head, err));
    const char *products = NULL;
    TRY(json_opt_string(root, "worker protocol", "products", "own", &products, err));
    if (!scheme_products_parse(products, &out->products))
        return FAIL(err, ERR_FORMAT, "worker protocol: no products '%s'", products);
    TRY(json_opt_string(root, "worker protocol", "calib", NULL, &out->calib, err));
    TRY(json_opt_string(root, "worker protocol", "model", NULL, &out->model_path, err));
    TRY(json_opt_string(root, "worker protocol", "shape", NULL, &out->shape_path, err));
    TRY(json_get_i64(root, "worker protocol", "seed", INT64_MIN, INT64_MAX, &seed, err));
    TRY(json_opt_bool(root, "worker protocol", "cold", false, &out->cold, err));
    TRY(json_opt_bool(root, "worker protocol", "trace", false, &out->trace, err));
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
    return protocol_get_int(object, "windows", 0, PROTOCOL_TOKENS_MAX, &out->windows, err);
}

static enum status job_fields(const json_t *root, struct job *out, struct error *err)
{
    const char *task = NULL;
    int version = 0, isa = 0;
    TRY(protocol_get_int(root, "version", 0, INT32_MAX, &version, err));
    if (version != PROTOCOL_VERSION)
        return FAIL(err, ERR_FORMAT, "worker protocol: version %d, this worker speaks %d", version,
                    PROTOCOL_VERSION);
    TRY(json_get_string(root, "worker protocol", "task", &task, err));
    TRY(protocol_get_int(root, "threads", 1, 1 << 16, &out->threads, err));
    TRY(json_get_string(root, "worker protocol", "device", &out->device, err));
    TRY(protocol_get_int(root, "isa", 0, INT32_MAX, &isa, err));
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
