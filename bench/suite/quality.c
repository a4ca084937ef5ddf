// quality.c - finds the evaluations of quality that a plan needs. Cells with the same inputs share one.
#include "bench/quality/quality.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "bench/suite/expand.h"

static enum status no_memory(struct error *err)
{
    return FAIL(err, ERR_NOMEM, "no memory for the plan");
}

// ---- the request of a sweep -----------------------------------------------------------------------------

static enum status read_text(struct quality_wish *wish, const char *path, char hash[HASH_HEX_BYTES],
                             struct error *err)
{
    char *bytes = NULL;
    size_t count = 0;
    TRY(file_read(path, QUALITY_TEXT_MAX, &bytes, &count, err));
    if (count)
        hash_bytes(bytes, count, hash, err);
    else
        FAIL(err, ERR_USAGE, "%s is empty", path);
    free(bytes);
    wish->text_bytes = (double)count;
    return err->code;
}

enum status expand_quality_wish(struct expansion *x, const char *section,
                                const struct suite_sweep *sweep, struct quality_wish **out,
                                struct error *err)
{
    char place[SUITE_PLACE_BYTES];
    suite_place(x->suite, section, "quality_text", place);
    const char *path = suite_find_file(x->suite, section, "quality_text", sweep->quality_text);
    char hash[HASH_HEX_BYTES];
    if (!path)
        return FAIL(err, ERR_USAGE, "%s: there is no file %s", place, sweep->quality_text);
    struct quality_wish *wish = arena_alloc(&x->plan->arena, 1, sizeof *wish);
    if (!wish)
        return no_memory(err);
    *wish = (struct quality_wish){
        .text = arena_strdup(&x->plan->arena, path),
        .convention = quality_conventions[sweep->quality_convention].name,
        .windows = (int)sweep->quality_windows,
        .max_ns = sweep->max_cell_time_ns,
    };
    if (read_text(wish, path, hash, err) != OK)
        return error_context(err, "%s", place);
    wish->text_hash = arena_strdup(&x->plan->arena, hash);
    *out = wish;
    return wish->text && wish->text_hash ? OK : no_memory(err);
}

// ---- evaluations ------------------------------------------------------------------------------------

// The reason why an evaluation cannot or should not run, or NULL.
static const char *skip_reason(struct expansion *x, struct plan_quality *q)
{
    struct error err = {0};
    char predicted[32], most[32];
    if (q->model->shape_path) {
        q->unsupported = true;
        return "synthetic weights have no quality";
    }
    if (quality_check_window(&q->model->config, quality_convention_find(q->wish->convention),
                             &err) != OK) {
        q->unsupported = true;
        return plan_text(x->plan, "%s", err.message);
    }
    const char *refused =
        plan_text_refused(x, q->model, q->wish->text, quality_convention_find(q->wish->convention));
    if (refused) {
        q->unsupported = true;
        return refused;
    }
    if (!x->machine->resuming && q->predicted_ns > q->wish->max_ns)
        return plan_text(x->plan, "predicted to take %s, max_cell_time is %s",
                         format_wait_ns(q->predicted_ns, predicted, sizeof predicted),
                         format_limit_ns(q->wish->max_ns, most, sizeof most));
    return NULL;
}

static struct plan_quality *find(struct plan *plan, const char *key)
{
    for (size_t i = 0; i < plan->quality_count; i++)
        if (strcmp(plan->qualities[i].key, key) == 0)
            return &plan->qualities[i];
    return NULL;
}

static const char *label_of(struct expansion *x, const struct plan_quality *q)
{
    bool usual = q->kv == q->scheme->default_kv;
    bool own = q->products == PRODUCTS_OWN;
    return plan_text(x->plan, "%s %s %s%s%s%s%s", q->model->label, q->scheme->name, q->device,
                     usual ? "" : " kv-", usual ? "" : dtype_name(q->kv), own ? "" : " ",
                     own ? "" : scheme_products_name(q->products));
}

static enum status quality_of(struct expansion *x, struct cell *cell, struct error *err)
{
    struct plan *plan = x->plan;
    struct plan_quality *q = &plan->qualities[plan->quality_count], *known;
    *q = (struct plan_quality){.wish = cell->wish,
                               .model = cell->model,
                               .scheme = cell->scheme,
                               .device = cell->device,
                               .arithmetic = cell->runs.arithmetic,
                               .head = cell->head,
                               .products = cell->runs.products,
                               .calib = cell->calib,
                               .calib_hash = cell->calib_hash,
                               .kv = cell->kv,
                               .threads = cell->threads,
                               .timeout_ns = cell->timeout_ns};
    if (plan_quality_key(q, err) != OK) {
        json_decref(q->params);
        return err->code;
    }
    if ((known = find(plan, q->key)) != NULL) {
        json_decref(q->params);
        known->threads = q->threads > known->threads ? q->threads : known->threads;
        cell->quality = known;
        return OK;
    }
    plan->quality_count++; // from here on plan_destroy frees its params
    q->label = label_of(x, q);
    q->predicted_ns = predict_quality_ns(q, x->machine);
    q->skip = skip_reason(x, q);
    cell->quality = q;
    return q->label ? OK : no_memory(err);
}

enum status expand_qualities(struct expansion *x, struct error *err)
{
    struct plan *plan = x->plan;
    plan->qualities = arena_alloc(&plan->arena, plan->cell_count + 1, sizeof *plan->qualities);
    if (!plan->qualities)
        return no_memory(err);
    for (size_t i = 0; i < plan->cell_count; i++)
        if (plan->cells[i].wish && !plan->cells[i].skip)
            TRY(quality_of(x, &plan->cells[i], err));
    return OK;
}
