// dry_run.c - prints a plan as text or JSON: cells, memory, time, and the reason for each skipped cell.
#include "bench/cli/dry_run.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/plain.h"
#include "base/str.h"
#include "bench/cli/view.h"
#include "engine/engine.h"
#include "results/export.h"

static int label_width(const struct plan *plan)
{
    size_t width = 4;
    for (size_t i = 0; i < plan->cell_count; i++) {
        size_t length = strlen(plan->cells[i].label);
        width = length > width ? length : width;
    }
    return (int)width;
}

static void print_cell(const struct cell *cell, int width, FILE *out)
{
    char weights[24], kv[24], scratch[24], wait[24], reps[16], copy[24], of_copy[64] = "";
    snprintf(reps, sizeof reps, "%d%s", cell->reps, cell->min_time_ns ? "+" : "");
    if (cell->memory.copy_bytes)
        snprintf(of_copy, sizeof of_copy, "  %s of the weights are a second copy",
                 format_bytes((double)cell->memory.copy_bytes, copy, sizeof copy));
    plain_printf(out, "  %-*s  %10s %10s %10s  %4d x %-4s %12s%s%s\n", width, cell->label,
                 format_bytes((double)cell->memory.weights_bytes, weights, sizeof weights),
                 format_bytes((double)cell->memory.kv_bytes, kv, sizeof kv),
                 format_bytes((double)cell->memory.scratch_bytes, scratch, sizeof scratch),
                 cell->procs, reps, format_wait_ns(cell->predicted_ns, wait, sizeof wait), of_copy,
                 cell->beyond_limit ? "  beyond the model's own context" : "");
}

static bool same_product(const struct cell *a, const struct cell *b)
{
    return a->model == b->model && strcmp(a->scheme_name, b->scheme_name) == 0 &&
           strcmp(a->device, b->device) == 0;
}

// Cells [first, ...) that share a reason: "7b int8 cpu (15 cells)" for each model, scheme and
// device.
static void print_products(const struct plan *plan, size_t first, FILE *out)
{
    const char *reason = plan->cells[first].skip;
    for (size_t i = first; i < plan->cell_count; i++) {
        const struct cell *cell = &plan->cells[i];
        size_t count = 0, earlier = 0;
        if (!str_equal(cell->skip, reason))
            continue;
        for (size_t k = first; k < plan->cell_count; k++) {
            bool same =
                str_equal(plan->cells[k].skip, reason) && same_product(cell, &plan->cells[k]);
            earlier += same && k < i;
            count += same;
        }
        if (count == 1)
            plain_printf(out, "  %s\n", cell->label);
        else if (!earlier)
            plain_printf(out, "  %s %s %s (%zu cells)\n", cell->model->label, cell->scheme_name,
                         cell->device, count);
    }
}

// Prints the skipped cells under their reasons, each reason once.
static void print_skipped(const struct plan *plan, FILE *out)
{
    for (size_t i = 0; i < plan->cell_count; i++) {
        const struct cell *cell = &plan->cells[i];
        const char *status = cell->unsupported ? "unsupported" : "skipped";
        size_t first = 0, count = 0;
        while (cell->skip && !str_equal(plan->cells[first].skip, cell->skip))
            first++;
        if (!cell->skip || first < i)
            continue;
        for (size_t k = i; k < plan->cell_count; k++)
            count += str_equal(plan->cells[k].skip, cell->skip);
        if (count == 1) {
            plain_printf(out, "%s: %s: %s\n", status, cell->label, cell->skip);
            continue;
        }
        plain_printf(out, "%s: %s\n", status, cell->skip);
        print_products(plan, i, out);
    }
}

// Prints the evaluations of quality, each with its time or the reason why it is skipped.
static void print_qualities(const struct plan *plan, FILE *out)
{
    char wait[24];
    if (plan->quality_count)
        fputc('\n', out);
    for (size_t i = 0; i < plan->quality_count; i++) {
        const struct plan_quality *q = &plan->qualities[i];
        plain_printf(out, "quality of %s by %s: ", q->label, q->wish->convention);
        if (q->skip)
            plain_printf(out, "%s, %s\n", q->unsupported ? "unsupported" : "skipped", q->skip);
        else
            plain_printf(out, "%s\n", format_wait_ns(q->predicted_ns, wait, sizeof wait));
    }
}

static bool adds_repetitions(const struct plan *plan)
{
    bool adds = false;
    for (size_t i = 0; i < plan->cell_count; i++)
        adds |= !plan->cells[i].skip && plan->cells[i].min_time_ns > 0;
    return adds;
}

// The cell of a model that runs with the longest context, if its layers with a window do not need all of it.
static const struct cell *longest_windowed(const struct plan *plan, const struct plan_model *model)
{
    const struct cell *longest = NULL;
    for (size_t i = 0; i < plan->cell_count; i++) {
        const struct cell *cell = &plan->cells[i];
        if (cell->model == model && !cell->skip &&
            model_window_share(&model->config, cell->context) < 1 &&
            (!longest || cell->context > longest->context))
            longest = cell;
    }
    return longest;
}

// Prints why the KV cache of layers with a window is larger than the window, one line per model with such layers.
static void print_windows(const struct plan *plan, FILE *out)
{
    for (size_t i = 0; i < plan->model_count; i++) {
        char whole[24], windows[24];
        const struct cell *cell = longest_windowed(plan, &plan->models[i]);
        if (!cell)
            continue;
        double bytes = (double)cell->memory.kv_bytes;
        double share = model_window_share(&cell->model->config, cell->context);
        plain_printf(
            out,
            "  kv of %s holds every position in layers with a window too; the windows alone "
            "would take %s of %s\n",
            cell->label, format_bytes(share * bytes, windows, sizeof windows),
            format_bytes(bytes, whole, sizeof whole));
    }
}

static void print_fallbacks(const struct plan *plan, FILE *out)
{
    for (size_t i = 0; i < plan->model_count; i++)
        if (plan->models[i].fallback[0])
            plain_printf(out, "  %s: %s\n", plan->models[i].label, plan->models[i].fallback);
}

static json_t *fallbacks_json(const struct plan *plan)
{
    json_t *object = json_object();
    for (size_t i = 0; i < plan->model_count; i++)
        if (plan->models[i].fallback[0])
            json_object_set_new(object, plan->models[i].label,
                                export_json_text(plan->models[i].fallback));
    return object;
}

void cli_dry_run_print(const struct plan *plan, const char *basis, FILE *out)
{
    int width = label_width(plan);
    char wait[24], memory[24];
    plain_printf(out, "suite %s: %zu cell%s, %zu to run, %zu left out\n", plan->suite_name,
                 plan->cell_count, plan->cell_count == 1 ? "" : "s", plan->run_count,
                 plan->cell_count - plan->run_count);
    if (plan->suite_about)
        plain_printf(out, "%s\n", plan->suite_about);
    if (plan->threads_note[0])
        plain_printf(out, "%s\n", plan->threads_note);
    if (plan->duplicates)
        plain_printf(out, "named more than once, run once: %zu\n", plan->duplicates);
    if (plan->run_count)
        plain_printf(out, "\n  %-*s  %10s %10s %10s  %11s %12s\n", width, "cell", "weights", "kv",
                     "scratch", "trials", "time");
    for (size_t i = 0; i < plan->cell_count; i++)
        if (!plan->cells[i].skip)
            print_cell(&plan->cells[i], width, out);
    print_windows(plan, out);
    print_fallbacks(plan, out);
    if (adds_repetitions(plan))
        plain_printf(
            out,
            "  trials x repetitions in each; N+: N at least, more (up to %d) until min_time is "
            "measured; the time counts them\n",
            REPETITIONS_MOST);
    if (plan->run_count < plan->cell_count)
        fputc('\n', out);
    print_skipped(plan, out);
    print_qualities(plan, out);
    if (plan->memory_bytes > 0)
        plain_printf(out, "\nmemory a worker may use: %s",
                     plan->memory_bytes <= PLAN_NO_ROOM
                         ? "none beyond what the system keeps"
                         : format_bytes((double)plan->memory_bytes, memory, sizeof memory));
    plain_printf(out, "\ntime in all: %s", format_wait_ns(plan->predicted_ns, wait, sizeof wait));
    if (plan->unpredicted)
        plain_printf(out, " without the %zu cell%s whose time is not known", plan->unpredicted,
                     plan->unpredicted == 1 ? "" : "s");
    plain_printf(out, " (%s)\n", basis);
}

// Like export_json_text, but returns NULL for no text, which json_pack omits after a star.
static json_t *text_if_any(const char *text)
{
    return text ? export_json_text(text) : NULL;
}

static json_t *cell_json(const struct cell *cell)
{
    json_t *object =
        json_pack("{s:s, s:o, s:o, s:O, s:i, s:i, s:b, s:s, s:o*}", "key", cell->key, "label",
                  export_json_text(cell->label), "sweep", export_json_text(cell->sweep), "params",
                  cell->params, "procs", cell->procs, "reps", cell->reps, "beyond_limit",
                  cell->beyond_limit, "status",
                  !cell->skip         ? "planned"
                  : cell->unsupported ? "unsupported"
                                      : "skipped",
                  "reason", text_if_any(cell->skip));
    // A cell that was skipped before its memory or time was predicted has null there, not zero.
    bool planned = cell->memory.weights_bytes > 0;
    json_t *memory = planned ? json_pack("{s:I, s:I, s:I}", "weights_bytes",
                                         (json_int_t)cell->memory.weights_bytes, "kv_bytes",
                                         (json_int_t)cell->memory.kv_bytes, "scratch_bytes",
                                         (json_int_t)cell->memory.scratch_bytes)
                             : json_null();
    if (cell->memory.copy_bytes)
        json_object_set_new(memory, "copy_bytes",
                            json_integer((json_int_t)cell->memory.copy_bytes));
    json_object_set_new(object, "memory", memory);
    json_object_set_new(object, "predicted_ns",
                        cell->predicted_ns > 0 ? json_real(cell->predicted_ns) : json_null());
    json_object_set_new(object, "quality",
                        cell->quality ? json_string(cell->quality->key) : json_null());
    return object;
}

static json_t *quality_json(const struct plan_quality *q)
{
    return json_pack("{s:s, s:o, s:O, s:s, s:o*, s:o}", "key", q->key, "label",
                     export_json_text(q->label), "params", q->params, "status",
                     !q->skip         ? "planned"
                     : q->unsupported ? "unsupported"
                                      : "skipped",
                     "reason", text_if_any(q->skip), "predicted_ns",
                     q->predicted_ns > 0 ? json_real(q->predicted_ns) : json_null());
}

enum status cli_dry_run_print_json(const struct plan *plan, const char *basis, FILE *out,
                                   struct error *err)
{
    json_t *cells = json_array(), *qualities = json_array();
    for (size_t i = 0; i < plan->quality_count; i++)
        json_array_append_new(qualities, quality_json(&plan->qualities[i]));
    for (size_t i = 0; i < plan->cell_count; i++)
        json_array_append_new(cells, cell_json(&plan->cells[i]));
    json_t *root = json_pack(
        "{s:o, s:o*, s:o, s:o, s:o, s:o, s:f, s:o, s:I, s:I, s:o, s:o}", "suite",
        export_json_text(plan->suite_name), "about", text_if_any(plan->suite_about), "path",
        export_json_text(plan->suite_path), "resolved", export_json_text(plan->suite_text), "cells",
        cells, "qualities", qualities, "predicted_ns", plan->predicted_ns, "basis",
        export_json_text(basis), "duplicates", (json_int_t)plan->duplicates, "memory_bytes",
        (json_int_t)plan->memory_bytes, "threads_note", export_json_text(plan->threads_note),
        "fallbacks", fallbacks_json(plan));
    char *text = root ? json_dumps(root, JSON_INDENT(2) | cli_view_json_ascii(out)) : NULL;
    if (text)
        fprintf(out, "%s\n", text); // data: a terminal gets it in ASCII
    else
        FAIL(err, ERR_NOMEM, "no memory for the plan as JSON");
    free(text);
    json_decref(root);
    return err->code;
}
