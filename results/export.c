// export.c - writes rows as JSON and CSV.

#include "results/export.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- values -------------------------------------------------------------------------------------

json_t *export_json_text(const char *text)
{
    if (text == NULL)
        return json_null();
    json_t *value = json_string(text);
    if (value)
        return value;
    char *plain = strdup(text);
    if (plain)
        str_plain_lines(plain);
    value = plain ? json_string(plain) : NULL;
    free(plain);
    return value;
}

json_t *export_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *export_json_stored(const char *text)
{
    json_t *value = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    return value ? value : json_null();
}

static json_t *json_time(int64_t wall_ns) // 0: not yet
{
    return wall_ns ? json_integer(wall_ns) : json_null();
}

// ---- rows ---------------------------------------------------------------------------------------

json_t *export_run(const struct run_row *run)
{
    return json_pack(
        "{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "run",
        (json_int_t)run->id, "suite", export_json_text(run->suite_name), "status",
        export_json_text(run->status), "started_ns", json_time(run->started_ns), "ended_ns",
        json_time(run->ended_ns), "command", export_json_text(run->command), "fingerprint",
        export_json_text(run->fingerprint), "cells", (json_int_t)run->cells, "trials",
        (json_int_t)run->trials, "ok", (json_int_t)run->ok, "disturbed", (json_int_t)run->disturbed,
        "failed", (json_int_t)run->failed, "left_out", (json_int_t)run->left_out, "pending",
        (json_int_t)run->pending, "owner", export_json_stored(run->owner), "ceilings_note",
        export_json_text(run->ceilings_note));
}

json_t *export_cell(const struct cell_row *c)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:i, s:i, s:o, s:o, s:i, s:i, s:i, s:o, s:o,"
        " s:o, s:o, s:o, s:o, s:o}",
        "key", export_json_text(c->key), "label", export_json_text(c->label), "model",
        export_json_text(c->model), "scheme", export_json_text(c->scheme), "engine",
        export_json_text(c->engine), "device", export_json_text(c->device), "sweep",
        export_json_text(c->sweep), "threads", c->threads, "batch", c->batch, "context", c->context,
        "gen", c->gen, "status", export_json_text(c->status), "reason", export_json_text(c->reason),
        "trials", c->trials, "trials_planned", c->trials_planned, "trials_disturbed", c->disturbed,
        "predicted_memory_bytes", export_json_number(c->predicted_memory_bytes), "predicted_ns",
        export_json_number(c->predicted_ns), "arithmetic", export_json_text(c->arithmetic),
        "stored", c->stored[0] ? export_json_text(c->stored) : json_null(), "caveat",
        c->caveat[0] ? export_json_text(c->caveat) : json_null(), "step",
        c->step[0] ? export_json_text(c->step) : json_null(), "params",
        export_json_stored(c->params));
}

json_t *export_summary(const struct summary_row *row)
{
    const struct stat_summary *s = &row->stat;
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:I}", "name",
        export_json_text(row->name), "phase", export_json_text(row->phase), "op",
        export_json_text(row->op), "unit", export_json_text(row->unit), "source",
        export_json_text(row->source), "n", (json_int_t)s->n, "median",
        export_json_number(s->median), "low", export_json_number(s->median_interval.low), "high",
        export_json_number(s->median_interval.high), "level",
        export_json_number(s->median_interval.level), "interval_from", row->interval, "mad",
        export_json_number(s->mad), "min", export_json_number(s->min), "max",
        export_json_number(s->max), "drift", export_json_number(s->drift), "outliers",
        (json_int_t)s->outliers);
}

json_t *export_verdict(const struct verdict_row *v)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o,"
        " s:o, s:o, s:o}",
        "phase", export_json_text(v->phase), "op", export_json_text(v->op), "bound",
        export_json_text(v->bound), "basis", export_json_text(v->basis), "text",
        export_json_text(v->text), "trials", v->trials, "agree", v->agree, "t_roof_ns",
        export_json_number(v->t_roof_ns), "t_memory_ns", export_json_number(v->t_memory_ns),
        "t_compute_ns", export_json_number(v->t_compute_ns), "measured_ns",
        export_json_number(v->measured_ns), "eta", export_json_number(v->eta), "rho",
        export_json_number(v->rho), "overhead_share", export_json_number(v->overhead_share),
        "finding", export_json_text(v->finding), "reason", export_json_text(v->reason), "eta_low",
        export_json_number(v->eta_low), "eta_high", export_json_number(v->eta_high),
        "bandwidth_moved", export_json_number(v->bandwidth_moved), "loss_op",
        export_json_text(v->loss_op), "loss_share", export_json_number(v->loss_share));
}

json_t *export_quality(const struct quality_row *q)
{
    if (q == NULL)
        return json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:I}", "status", export_json_text(q->status),
                     "reason", export_json_text(q->reason), "arithmetic",
                     export_json_text(q->arithmetic), "params", export_json_stored(q->params),
                     "build", export_json_stored(q->build), "run", (json_int_t)q->run);
}

static json_t *export_ceiling(const struct ceiling_row *c)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
        export_json_text(c->name), "level", export_json_text(c->level), "kernel",
        export_json_text(c->kernel), "unit", export_json_text(c->unit), "source",
        export_json_text(c->source), "device", export_json_text(c->device), "device_content",
        export_json_stored(c->device_content), "threads", c->threads, "samples", c->samples,
        "value", export_json_number(c->value), "low", export_json_number(c->low), "high",
        export_json_number(c->high), "set_bytes", export_json_number(c->set_bytes), "clock_low_hz",
        export_json_number(c->clock_low_hz), "clock_high_hz", export_json_number(c->clock_high_hz),
        "memory_clock_hz", export_json_number(c->memory_clock_hz));
}

static json_t *export_value(const struct value_row *v)
{
    return json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "repetition", v->repetition,
                     "name", export_json_text(v->name), "phase", export_json_text(v->phase), "op",
                     export_json_text(v->op), "value", export_json_number(v->value), "unit",
                     export_json_text(v->unit), "source", export_json_text(v->source), "noise",
                     v->noise);
}

static json_t *export_trial(const struct trial_row *t)
{
    return json_pack(
        "{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i}", "number", t->number,
        "status", export_json_text(t->status), "reason", export_json_text(t->reason), "arithmetic",
        export_json_text(t->arithmetic), "stored", export_json_text(t->stored), "engine_version",
        export_json_text(t->engine_version), "products", export_json_text(t->products), "step_form",
        export_json_text(t->step_form), "step_reason", export_json_text(t->step_reason), "build",
        export_json_stored(t->build), "started_ns", json_time(t->started_ns), "ended_ns",
        json_time(t->ended_ns), "repetitions", t->samples);
}

enum status export_trials(struct store *store, struct arena *arena, int64_t cell, json_t **out,
                          struct error *err)
{
    struct trial_row *trials = NULL;
    size_t count = 0;
    *out = json_array();
    TRY(query_trials(store, arena, cell, &trials, &count, err));
    for (size_t i = 0; i < count; i++) {
        struct value_row *values = NULL;
        size_t value_count = 0;
        json_t *trial = export_trial(&trials[i]), *list = json_array();
        json_object_set_new(trial, "values", list);
        json_array_append_new(*out, trial);
        TRY(query_values(store, arena, trials[i].id, &values, &value_count, err));
        for (size_t v = 0; v < value_count; v++)
            json_array_append_new(list, export_value(&values[v]));
    }
    return OK;
}

// ---- the whole run ------------------------------------------------------------------------------

struct whole {
    struct arena arena;
    struct run_row run;
    struct cell_row *cells;
    struct summary_row *summaries;
    struct verdict_row *verdicts;
    struct ceiling_row *ceilings;
    struct quality_row *qualities;
    size_t cell_count, summary_count, verdict_count, ceiling_count, quality_count;
};

static enum status load(struct store *store, const char *run, struct whole *w, struct error *err)
{
    TRY(query_run(store, &w->arena, run, &w->run, err));
    TRY(query_cells(store, &w->arena, w->run.id, &w->cells, &w->cell_count, err));
    TRY(query_summaries(store, &w->arena, w->run.id, &w->summaries, &w->summary_count, err));
    TRY(query_verdicts(store, &w->arena, w->run.id, &w->verdicts, &w->verdict_count, err));
    TRY(query_quality(store, &w->arena, w->run.id, &w->qualities, &w->quality_count, err));
    return query_ceilings(store, &w->arena, w->run.id, &w->ceilings, &w->ceiling_count, err);
}

static enum status add_cell(struct store *store, struct whole *w, const struct cell_row *cell,
                            json_t *cells, struct error *err)
{
    json_t *object = export_cell(cell), *figures = json_array(), *verdicts = json_array();
    json_t *trials = NULL;
    struct arena arena = {0};
    for (size_t i = 0; i < w->summary_count; i++)
        if (w->summaries[i].cell == cell->id)
            json_array_append_new(figures, export_summary(&w->summaries[i]));
    for (size_t i = 0; i < w->verdict_count; i++)
        if (w->verdicts[i].cell == cell->id)
            json_array_append_new(verdicts, export_verdict(&w->verdicts[i]));
    enum status status = export_trials(store, &arena, cell->id, &trials, err);
    arena_fini(&arena);
    json_object_set_new(object, "figures", figures);
    json_object_set_new(object, "verdicts", verdicts);
    json_object_set_new(
        object, "quality",
        export_quality(query_quality_find(w->qualities, w->quality_count, cell->id)));
    json_object_set_new(object, "stored_trials", trials);
    if (json_array_append_new(cells, object) != 0)
        return FAIL(err, ERR_NOMEM, "%s: no memory for the export", store_path(store));
    return status;
}

static enum status build(struct store *store, struct whole *w, json_t **out, struct error *err)
{
    json_t *root = export_run(&w->run), *ceilings = json_array(), *cells = json_array();
    json_object_set_new(root, "suite_text", export_json_text(w->run.suite_text));
    json_object_set_new(root, "hardware", export_json_stored(w->run.hardware));
    json_object_set_new(root, "environment", export_json_stored(w->run.environment));
    json_object_set_new(root, "build", export_json_stored(w->run.build));
    json_object_set_new(root, "ceilings", ceilings);
    *out = root;
    for (size_t i = 0; i < w->ceiling_count; i++)
        json_array_append_new(ceilings, export_ceiling(&w->ceilings[i]));
    enum status status = OK;
    for (size_t i = 0; i < w->cell_count && status == OK; i++)
        status = add_cell(store, w, &w->cells[i], cells, err);
    // Replaces "cells", their number, by the list, which also shows it.
    if (json_object_set_new(root, "cells", cells) != 0 && status == OK)
        status = FAIL(err, ERR_NOMEM, "%s: no memory for the export", store_path(store));
    return status;
}

enum status export_json(struct store *store, const char *run, json_t **out, struct error *err)
{
    struct whole w = {0};
    *out = NULL;
    TRY(query_begin(store, err));
    enum status status = load(store, run, &w, err);
    if (status == OK)
        status = build(store, &w, out, err);
    query_end(store);
    arena_fini(&w.arena);
    if (status != OK) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}

// ---- CSV ----------------------------------------------------------------------------------------

void export_csv_field(struct str *out, const char *text)
{
    if (text == NULL)
        return;
    if (text[strcspn(text, ",\"\r\n")] == '\0') {
        str_append(out, text);
        return;
    }
    str_append(out, "\"");
    for (const char *p = text; *p; p++) {
        str_append_bytes(out, p, 1);
        if (*p == '"')
            str_append(out, "\"");
    }
    str_append(out, "\"");
}

static void csv_texts(struct str *out, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        export_csv_field(out, texts[i]);
        str_append(out, ",");
    }
}

static void csv_number(struct str *out, double value) // NaN: empty
{
    if (isfinite(value))
        str_printf(out, "%.17g", value);
    str_append(out, ",");
}

static void csv_cell(struct str *out, const struct run_row *run, const struct cell_row *c)
{
    const char *first[] = {c->key, c->label, c->model, c->scheme, c->device};
    const char *second[] = {c->status, c->reason};
    str_printf(out, "%lld,", (long long)run->id);
    csv_texts(out, first, 5);
    str_printf(out, "%d,%d,%d,%d,", c->threads, c->batch, c->context, c->gen);
    csv_texts(out, second, 2);
    str_printf(out, "%d,", c->trials);
}

static void csv_figure(struct str *out, const struct summary_row *row)
{
    if (row == NULL) {
        str_append(out, ",,,,,,,,,,,,");
        return;
    }
    const char *texts[] = {row->name, row->phase, row->op, row->unit, row->source};
    const struct stat_summary *s = &row->stat;
    csv_texts(out, texts, 5);
    str_printf(out, "%zu,", s->n);
    csv_number(out, s->median);
    csv_number(out, s->median_interval.low);
    csv_number(out, s->median_interval.high);
    csv_number(out, s->median_interval.level);
    csv_number(out, s->mad);
    str_printf(out, "%zu,", s->outliers);
}

static void csv_record(struct str *out, const struct run_row *run, const struct cell_row *c,
                       const struct summary_row *row)
{
    csv_cell(out, run, c);
    csv_figure(out, row);
    export_csv_field(out, c->engine);
    str_append(out, ",");
    export_csv_field(out, c->caveat);
    str_append(out, "\r\n");
}

enum status export_csv(struct store *store, const char *run, struct str *out, struct error *err)
{
    struct whole w = {0};
    TRY(query_begin(store, err));
    enum status status = load(store, run, &w, err);
    query_end(store);
    str_append(out, "run,key,label,model,scheme,device,threads,batch,context,gen,status,reason,"
                    "trials,metric,phase,op,unit,source,n,median,low,high,level,mad,outliers,"
                    "engine,caveat\r\n");
    for (size_t i = 0; i < w.cell_count; i++) {
        size_t figures = 0;
        for (size_t j = 0; j < w.summary_count; j++)
            if (w.summaries[j].cell == w.cells[i].id) {
                csv_record(out, &w.run, &w.cells[i], &w.summaries[j]);
                figures++;
            }
        if (figures == 0)
            csv_record(out, &w.run, &w.cells[i], NULL);
    }
    arena_fini(&w.arena);
    if (status == OK && out->failed)
        return FAIL(err, ERR_NOMEM, "%s: no memory for the export", store_path(store));
    return status;
}
