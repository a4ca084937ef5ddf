// key.c - the cell key: SHA-256 of the canonical JSON of everything that changes the work.
//
// Keys connect the runs of a machine's history. Any change here makes every history start over, so
// tests/suite/test_plan.c checks a known key. The key does not include commit, trials, repetitions, warm-up, names of
// models and sweeps, or anything else that changes how a cell is measured but not what it does.
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "bench/quality/quality.h"
#include "bench/suite/expand.h"

static json_t *sampling_json(const struct sampling *s)
{
    if (s->temperature == 0) // greedy: nothing else matters
        return json_pack("{s:s}", "method", "greedy");
    return json_pack("{s:s, s:f, s:i, s:f, s:I}", "method", "random", "temperature",
                     (double)s->temperature, "top_k", s->top_k, "top_p", (double)s->top_p, "seed",
                     (json_int_t)s->seed);
}

static json_t *prompt_json(const struct cell *cell, const char *hash)
{
    if (hash)
        return json_pack("{s:s}", "text", hash);
    return json_pack("{s:I}", "random", (json_int_t)cell->sampling.seed);
}

static enum status hash_params(const json_t *params, char key[65], struct error *err)
{
    char *text = params ? json_canonical(params) : NULL;
    if (!text)
        return FAIL(err, ERR_NOMEM, "no memory for a cell's key");
    enum status status = hash_bytes(text, strlen(text), key, err);
    free(text);
    return status;
}

// Only if there is one, so that the keys of other schemes do not change.
static void add_calib(json_t *params, const char *calib_hash)
{
    if (params && calib_hash)
        json_object_set_new(params, "calib", json_string(calib_hash));
}

// The key omits the number of threads, which changes no bit. It includes the arithmetic, because another card in the
// same slot, or a processor with other instructions, may multiply differently.
enum status plan_quality_key(struct plan_quality *q, struct error *err)
{
    q->params = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i}", "engine",
                          PLAN_ENGINE_WORK, "model", q->model->content, "scheme", q->scheme->name,
                          "head", dtype_name(q->head), "kv", dtype_name(q->kv), "device", q->device,
                          "arithmetic", q->arithmetic, "text", q->wish->text_hash, "convention",
                          q->wish->convention, "windows", q->wish->windows);
    add_calib(q->params, q->calib_hash);
    const struct quality_convention *convention = quality_convention_find(q->wish->convention);
    if (q->params && convention->revision > 1)
        json_object_set_new(q->params, "revision", json_integer(convention->revision));
    return hash_params(q->params, q->key, err);
}

enum status plan_cell_key(struct cell *cell, const char *prompt_hash, struct error *err)
{
    json_t *sampling = sampling_json(&cell->sampling), *prompt = prompt_json(cell, prompt_hash);
    cell->params = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "engine",
        PLAN_ENGINE_WORK, "model", cell->model->content, "scheme", cell->scheme_name, "head",
        storage_name(cell->head), "kv", storage_name(cell->kv), "device", cell->device, "threads",
        cell->threads, "chunk", cell->chunk, "batch", cell->batch, "context", cell->context, "gen",
        cell->gen, "prompt", prompt, "sampling", sampling);
    add_calib(cell->params, cell->calib_hash);
    // Keys do not change for devices with one form, nor from before there was a choice.
    bool forced = cell->step != DECODE_AUTO && engine_decode_forms(device_word_kind(cell->device));
    if (cell->params && forced)
        json_object_set_new(cell->params, "step", json_string(context_form_name(cell->step)));
    if (cell->params && cell->runs.products != PRODUCTS_OWN)
        json_object_set_new(cell->params, "products",
                            json_string(scheme_products_name(cell->runs.products)));
    return hash_params(cell->params, cell->key, err);
}
