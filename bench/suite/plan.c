// plan.c - turns a suite into a plan: models, cells, labels, the `only` filter, groups, time.
#include "bench/suite/plan.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/words.h"
#include "bench/suite/expand.h"
#include "bench/suite/prompt_word.h"
#include "results/query.h"

static enum status no_memory(struct error *err)
{
    return FAIL(err, ERR_NOMEM, "no memory for the plan");
}

const char *plan_text(struct plan *plan, const char *format, ...)
{
    struct str text = {0};
    va_list args;
    va_start(args, format);
    str_vprintf(&text, format, args);
    va_end(args);
    const char *kept = text.failed ? NULL : arena_strdup(&plan->arena, str_text(&text));
    str_fini(&text);
    return kept;
}

// ---- labels -------------------------------------------------------------------------------------

// Axes that a label names only if the plan has several values of them.
struct varied {
    bool threads, head, kv, step, products, chunk, gen, prompt;
};

static struct varied what_varies(const struct plan *plan)
{
    struct varied v = {0};
    for (size_t i = 1; i < plan->cell_count; i++) {
        const struct cell *first = &plan->cells[0], *cell = &plan->cells[i];
        v.threads |= cell->threads != first->threads;
        v.step |= cell->step != first->step;
        v.products |= cell->runs.products != first->runs.products;
        v.chunk |= cell->chunk != first->chunk;
        v.gen |= cell->gen != first->gen;
        v.prompt |= strcmp(cell->prompt, first->prompt) != 0;
        // `auto` follows the scheme, which is in the label: only head and kv of one scheme count
        for (size_t k = 0; k < i && !(v.kv && v.head); k++) {
            const struct cell *other = &plan->cells[k];
            bool same = strcmp(other->scheme_name, cell->scheme_name) == 0;
            v.head |= same && other->head != cell->head;
            v.kv |= same && other->kv != cell->kv;
        }
    }
    return v;
}

static bool same_label(const struct plan *plan, size_t before, const char *label)
{
    for (size_t i = 0; i < before; i++)
        if (strcmp(plan->cells[i].label, label) == 0)
            return true;
    return false;
}

static enum status make_labels(struct plan *plan, struct error *err)
{
    struct varied v = what_varies(plan);
    for (size_t i = 0; i < plan->cell_count; i++) {
        struct cell *cell = &plan->cells[i];
        struct str label = {0};
        str_printf(&label, "%s %s %s", cell->model->label, cell->scheme_name, cell->device);
        if (v.threads)
            str_printf(&label, " t%d", cell->threads);
        if (v.head)
            str_printf(&label, " head-%s", storage_name(cell->head));
        if (v.kv)
            str_printf(&label, " kv-%s", storage_name(cell->kv));
        if (v.step && cell->step != DECODE_AUTO)
            str_printf(&label, " %s", context_form_name(cell->step));
        if (v.products && cell->runs.products != PRODUCTS_OWN)
            str_printf(&label, " %s", scheme_products_name(cell->runs.products));
        if (v.chunk)
            str_printf(&label, " p%d", cell->chunk);
        str_printf(&label, " b%d c%d", cell->batch, cell->context);
        if (v.gen)
            str_printf(&label, " g%d", cell->gen);
        if (v.prompt && prompt_text_path(cell->prompt))
            str_append(&label, " text");
        if (!label.failed && same_label(plan, i, label.data))
            str_printf(&label, " %.8s", cell->key); // seeds or sampling differ
        cell->label = label.failed ? NULL : arena_strdup(&plan->arena, label.data);
        str_fini(&label);
        if (!cell->label)
            return no_memory(err);
    }
    return OK;
}

// ---- --only -------------------------------------------------------------------------------------

static bool is_key_prefix(const char *text)
{
    size_t length = 0;
    while (isxdigit((unsigned char)text[length]))
        length++;
    return length >= QUERY_KEY_DIGITS && length <= 64 && !text[length];
}

static bool is_wanted(const struct cell *cell, const char *only, bool key)
{
    return str_glob(only, cell->label) || (key && str_starts(cell->key, only));
}

static enum status no_such_cell(struct plan *plan, const char *only, struct error *err)
{
    char hint[WORDS_HINT_BYTES];
    const char **labels = arena_alloc(&plan->arena, plan->cell_count, sizeof *labels);
    if (!labels)
        return FAIL(err, ERR_NOMEM, "no memory for the plan");
    for (size_t i = 0; i < plan->cell_count; i++)
        labels[i] = plan->cells[i].label;
    return FAIL(err, ERR_USAGE, "--only '%s' matches no cell%s", only,
                words_hint_glob(only, labels, plan->cell_count, hint, sizeof hint));
}

static enum status keep_only(struct plan *plan, const char *only, struct error *err)
{
    bool key = is_key_prefix(only), any = false;
    size_t kept = 0;
    for (size_t i = 0; i < plan->cell_count; i++)
        any |= is_wanted(&plan->cells[i], only, key);
    if (!any)
        return no_such_cell(plan, only, err);
    for (size_t i = 0; i < plan->cell_count; i++) {
        struct cell *cell = &plan->cells[i];
        if (is_wanted(cell, only, key))
            plan->cells[kept++] = *cell;
        else
            json_decref(cell->params);
    }
    plan->cell_count = kept;
    return OK;
}

// ---- groups and time ----------------------------------------------------------------------------

static bool same_group(const struct cell *a, const struct cell *b)
{
    return a->model == b->model && a->scheme == b->scheme && a->head == b->head &&
           a->runs.products == b->runs.products && str_equal(a->calib, b->calib) &&
           strcmp(a->device, b->device) == 0 && a->threads == b->threads && a->procs == b->procs;
}

// Makes groups in the order of their first cells, with cells in the order of the plan.
static enum status make_groups(struct plan *plan, struct error *err)
{
    plan->order = arena_alloc(&plan->arena, plan->cell_count + 1, sizeof *plan->order);
    plan->groups = arena_alloc(&plan->arena, plan->cell_count + 1, sizeof *plan->groups);
    bool *placed = arena_alloc(&plan->arena, plan->cell_count + 1, sizeof *placed);
    if (!plan->order || !plan->groups || !placed)
        return no_memory(err);
    for (size_t i = 0; i < plan->cell_count; i++) {
        const struct cell *first = &plan->cells[i];
        if (first->skip || placed[i])
            continue;
        struct cell_group *group = &plan->groups[plan->group_count++];
        group->first = plan->run_count;
        group->load_ns = predict_load_ns(first);
        for (size_t k = i; k < plan->cell_count; k++) {
            if (placed[k] || plan->cells[k].skip || !same_group(first, &plan->cells[k]))
                continue;
            placed[k] = true;
            plan->order[plan->run_count++] = k;
        }
        group->count = plan->run_count - group->first;
    }
    return OK;
}

// The cells of a group share a load. Up to here, each cell's time included its own.
static void add_up_time(struct plan *plan)
{
    plan->predicted_ns = plan->run_count ? predict_ceilings_ns() : 0;
    for (size_t i = 0; i < plan->quality_count; i++)
        if (!plan->qualities[i].skip)
            plan->predicted_ns += plan->qualities[i].predicted_ns;
    for (size_t g = 0; g < plan->group_count; g++) {
        const struct cell_group *group = &plan->groups[g];
        for (size_t i = 0; i < group->count; i++) {
            struct cell *cell = &plan->cells[plan->order[group->first + i]];
            double saved = group->load_ns * (1 - 1 / (double)group->count);
            if (cell->predicted_ns == PREDICT_UNKNOWN) {
                plan->unpredicted++;
                continue;
            }
            cell->predicted_ns -= cell->procs * saved;
            plan->predicted_ns += cell->predicted_ns;
        }
    }
}

// ---- paths --------------------------------------------------------------------------------------

// A worker is given its files as JSON, which has no other bytes than UTF-8.
static enum status check_path(const char *what, const char *path, struct error *err)
{
    json_t *text = path ? json_string(path) : json_null();
    json_decref(text);
    return text ? OK
                : FAIL(err, ERR_USAGE, "%s %s: the path is not valid UTF-8; rename the file", what,
                       path);
}

static enum status check_paths(const struct plan *plan, struct error *err)
{
    for (size_t i = 0; i < plan->cell_count; i++) {
        const struct cell *cell = &plan->cells[i];
        TRY(check_path("model", cell->model->path, err));
        TRY(check_path("shape", cell->model->shape_path, err));
        TRY(check_path("prompt", cell->prompt, err));
        TRY(check_path("calib", cell->calib, err));
        TRY(check_path("quality_text", cell->wish ? cell->wish->text : NULL, err));
    }
    return OK;
}

// ---- plans --------------------------------------------------------------------------------------

static enum status describe(struct expansion *x, struct error *err)
{
    struct plan *plan = x->plan;
    const struct suite *suite = x->suite;
    const struct plan_machine *machine = x->machine;
    bool noted = machine->threads_note && machine->threads_note[0];
    plan->suite_name = arena_strdup(&plan->arena, suite->header.name);
    plan->suite_path = arena_strdup(&plan->arena, suite->path ? suite->path : "");
    if (suite->header.about)
        plan->suite_about = arena_strdup(&plan->arena, suite->header.about);
    plan->suite_text = arena_strdup(&plan->arena, suite->text);
    plan->threads_note = noted ? plan_text(plan, "threads = auto is %d: %s",
                                           machine->physical_cores, machine->threads_note)
                               : "";
    plan->interleaved = suite->defaults.order == 0;
    plan->prune_larger_on_oom = suite->defaults.on_oom == 0;
    bool complete = plan->suite_name && plan->suite_path && plan->suite_text && plan->threads_note;
    return complete ? OK : no_memory(err);
}

static enum status measure_ceilings(const struct plan *plan, struct plan_machine *machine,
                                    struct error *err)
{
    bool any = false;
    for (size_t i = 0; i < plan->cell_count; i++)
        any |= !plan->cells[i].skip;
    return any && machine->measure && !machine->ceilings
               ? machine->measure(machine->user, &machine->ceilings, err)
               : OK;
}

// machine: the one that x points to.
static enum status fill_plan(struct expansion *x, struct plan_machine *machine, const char *only,
                             struct error *err)
{
    struct plan *plan = x->plan;
    TRY(describe(x, err));
    TRY(expand_models(x, err));
    TRY(expand_sweeps(x, err));
    TRY(check_paths(plan, err));
    TRY(make_labels(plan, err));
    if (only)
        TRY(keep_only(plan, only, err));
    TRY(measure_ceilings(plan, machine, err));
    expand_times(x);
    TRY(make_groups(plan, err));
    TRY(expand_qualities(x, err));
    add_up_time(plan);
    return OK;
}

enum status plan_create(struct suite *suite, const struct plan_machine *machine, const char *only,
                        struct plan **out, struct error *err)
{
    struct plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return no_memory(err);
    struct plan_machine limited = *machine;
    double asked = suite->defaults.memory_bytes;
    if (asked > 0 && (machine->memory_bytes <= 0 || asked < (double)machine->memory_bytes))
        limited.memory_bytes = (int64_t)asked;
    plan->memory_bytes = limited.memory_bytes;
    struct expansion x = {.suite = suite, .machine = &limited, .plan = plan};
    enum status status = fill_plan(&x, &limited, only, err);
    expand_close_texts(&x);
    if (status != OK) {
        plan_destroy(plan);
        return status;
    }
    *out = plan;
    return OK;
}

enum status plan_check_any(const struct plan *plan, struct error *err)
{
    if (plan->run_count || !plan->cell_count)
        return OK;
    char more[64] = "";
    if (plan->cell_count > 1)
        snprintf(more, sizeof more, "; %zu more %s left out", plan->cell_count - 1,
                 plan->cell_count == 2 ? "is" : "are");
    return FAIL(err, ERR_UNSUPPORTED, "nothing of suite %s can be measured: %s: %s%s",
                plan->suite_name, plan->cells[0].label, plan->cells[0].skip, more);
}

void plan_destroy(struct plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->cell_count; i++)
        json_decref(plan->cells[i].params);
    for (size_t i = 0; i < plan->quality_count; i++)
        json_decref(plan->qualities[i].params);
    arena_fini(&plan->arena);
    free(plan);
}
