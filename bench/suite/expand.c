// expand.c - expands each sweep's cross product into cells, each with its key or with the reason why it is skipped.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/interrupt.h"
#include "base/str.h"
#include "bench/suite/expand.h"
#include "bench/suite/names.h"
#include "bench/suite/options.h"
#include "bench/suite/prompt_word.h"
#include "results/store.h"

enum { PROMPT_TEXT_BYTES_MAX = 256 << 20 };

// One sweep ready to be walked: the values of each axis, names checked.
struct product {
    const struct suite_sweep *sweep;
    const char *section, *name; // "sweep core", "core"
    struct word_list words[AXIS_COUNT];
    struct int_list numbers[AXIS_COUNT];
    const char *prompt;   // "random", or "text:" and the resolved path
    char prompt_hash[65]; // "" for random
    const char *calib;    // path of the calibration text of int4-awq; NULL: the scheme is not used
    char calib_hash[65];
    struct quality_wish *wish; // NULL: quality is not collected
};

static enum status no_memory(struct error *err)
{
    return FAIL(err, ERR_NOMEM, "no memory for the plan");
}

static size_t axis_count(const struct product *p, enum axis axis)
{
    return axis_is_number(axis) ? p->numbers[axis].count : p->words[axis].count;
}

// ---- the values of a sweep ----------------------------------------------------------------------

// Copies words into the plan, which outlives the suite.
static enum status own_words(struct expansion *x, const struct word_list *from,
                             struct word_list *out, struct error *err)
{
    out->items = arena_alloc(&x->plan->arena, from->count, sizeof *out->items);
    if (!out->items)
        return no_memory(err);
    for (size_t i = 0; i < from->count; i++) {
        out->items[out->count++] = arena_strdup(&x->plan->arena, from->items[i]);
        if (!out->items[i])
            return no_memory(err);
    }
    return OK;
}

static enum status all_models(struct expansion *x, struct word_list *out, struct error *err)
{
    out->items = arena_alloc(&x->plan->arena, x->plan->model_count, sizeof *out->items);
    if (!out->items)
        return no_memory(err);
    for (size_t i = 0; i < x->plan->model_count; i++)
        out->items[out->count++] = x->plan->models[i].label;
    return OK;
}

// Adds a device once, even if several words mean it ("auto, cpu"). name: NULL without memory.
static void add_device(struct word_list *out, const char *name)
{
    for (size_t i = 0; i < out->count; i++)
        if (str_equal(out->items[i], name))
            return;
    out->items[out->count++] = name;
}

// "auto" means all available devices, "cuda" all of that kind, and any other word only itself, available or not.
static enum status list_devices(struct expansion *x, const struct word_list *named,
                                struct word_list *out, struct error *err)
{
    const struct plan_machine *machine = x->machine;
    size_t room = named->count * (machine->device_count + 1);
    out->items = arena_alloc(&x->plan->arena, room, sizeof *out->items);
    if (!out->items)
        return no_memory(err);
    for (size_t i = 0; i < named->count; i++) {
        const char *name = named->items[i];
        bool known = false;
        for (size_t k = 0; k < machine->device_count; k++) {
            const struct device_info *device = &machine->devices[k];
            if (!(str_equal(name, "auto") ? device->available
                                          : device_word_matches(device->name, name)))
                continue;
            add_device(out, arena_strdup(&x->plan->arena, device->name));
            known = true;
        }
        if (!known)
            add_device(out, arena_strdup(&x->plan->arena, name));
    }
    for (size_t i = 0; i < out->count; i++)
        if (!out->items[i])
            return no_memory(err);
    return OK;
}

static enum status hash_text(const char *path, const char *place, char hash[65], struct error *err)
{
    char *bytes = NULL;
    size_t count = 0;
    if (file_read(path, PROMPT_TEXT_BYTES_MAX, &bytes, &count, err) == OK && !count)
        FAIL(err, ERR_USAGE, "%s is empty", path);
    if (err->code == OK)
        hash_bytes(bytes, count, hash, err);
    free(bytes);
    return error_context(err, "%s", place);
}

// Finds the calibration text of int4-awq, if the sweep has that scheme.
static enum status find_calib(struct expansion *x, struct product *p, struct error *err)
{
    const char *given = p->sweep->calib;
    char place[SUITE_PLACE_BYTES];
    suite_place(x->suite, p->section, "calib", place);
    bool awq = false;
    for (size_t i = 0; i < p->words[AXIS_SCHEME].count; i++)
        awq |= str_equal(p->words[AXIS_SCHEME].items[i], "int4-awq");
    if (!awq)
        return OK;
    char *shipped = NULL;
    if (!given && calib_default(&shipped, err) != OK)
        return error_context(err, "%s", place);
    const char *path = given ? suite_find_file(x->suite, p->section, "calib", given) : shipped;
    if (!path)
        return FAIL(err, ERR_USAGE, "%s: there is no file %s", place, given);
    p->calib = plan_text(x->plan, "%s", path);
    free(shipped);
    return p->calib ? hash_text(p->calib, place, p->calib_hash, err) : no_memory(err);
}

// Resolves "text:FILE" to a file, and hashes its bytes.
static enum status find_prompt(struct expansion *x, struct product *p, struct error *err)
{
    const char *text = p->sweep->prompt;
    char place[SUITE_PLACE_BYTES];
    suite_place(x->suite, p->section, "prompt", place);
    p->prompt = PROMPT_RANDOM;
    if (strcmp(text, p->prompt) == 0)
        return OK;
    const char *name = prompt_text_path(text);
    if (!name || !name[0])
        return FAIL(err, ERR_USAGE, "%s: '%s' is neither random nor text:FILE", place, text);
    const char *path = suite_find_file(x->suite, p->section, "prompt", name);
    if (!path)
        return FAIL(err, ERR_USAGE, "%s: there is no file %s", place, name);
    TRY(hash_text(path, place, p->prompt_hash, err));
    p->prompt = plan_text(x->plan, PROMPT_TEXT_PREFIX "%s", path);
    return p->prompt ? OK : no_memory(err);
}

static unsigned collect_mask(const struct word_list *words)
{
    return COLLECT_TIMING | option_mask(option_find(SECTION_SWEEP, "collect"), words);
}

static enum status check_links(struct expansion *x, const struct product *p, struct error *err)
{
    char place[SUITE_PLACE_BYTES];
    for (int a = 0; a < AXIS_COUNT; a++) {
        enum axis leader = p->sweep->link.leader[a];
        size_t count = axis_count(p, (enum axis)a), first = axis_count(p, leader);
        if (count != first)
            return FAIL(err, ERR_USAGE, "%s: '%s' has %zu values and '%s' has %zu",
                        suite_place(x->suite, p->section, "link", place), axis_name(leader), first,
                        axis_name((enum axis)a), count);
    }
    return OK;
}

static enum status prepare(struct expansion *x, const struct suite_sweep *sweep, struct product *p,
                           struct error *err)
{
    *p = (struct product){.sweep = sweep};
    p->section = plan_text(x->plan, "sweep %s", sweep->name);
    if (!p->section)
        return no_memory(err);
    p->name = p->section + strlen("sweep ");
    TRY(plan_names_check(x->suite, p->section, sweep, err));
    if (sweep->model.count)
        TRY(own_words(x, &sweep->model, &p->words[AXIS_MODEL], err));
    else
        TRY(all_models(x, &p->words[AXIS_MODEL], err));
    TRY(own_words(x, &sweep->scheme, &p->words[AXIS_SCHEME], err));
    TRY(list_devices(x, &sweep->device, &p->words[AXIS_DEVICE], err));
    p->words[AXIS_HEAD] = sweep->head;
    p->words[AXIS_KV] = sweep->kv;
    p->words[AXIS_STEP] = sweep->step;
    p->words[AXIS_PRODUCTS] = sweep->products;
    p->numbers[AXIS_THREADS] = sweep->threads;
    p->numbers[AXIS_CHUNK] = sweep->chunk;
    p->numbers[AXIS_BATCH] = sweep->batch;
    p->numbers[AXIS_CONTEXT] = sweep->context;
    p->numbers[AXIS_GEN] = sweep->gen;
    TRY(check_links(x, p, err));
    if (collect_mask(&sweep->collect) & COLLECT_QUALITY)
        TRY(expand_quality_wish(x, p->section, sweep, &p->wish, err));
    TRY(find_calib(x, p, err));
    return find_prompt(x, p, err);
}

// ---- keys that nothing reads --------------------------------------------------------------------

static bool reads_calib(const struct product *p)
{
    return p->calib != NULL;
}

static bool reads_quality(const struct product *p)
{
    return p->wish != NULL;
}

static bool any_device(const struct product *p, bool (*has)(enum device_kind kind))
{
    bool any = false;
    for (size_t i = 0; i < p->words[AXIS_DEVICE].count; i++)
        any |= has(device_word_kind(p->words[AXIS_DEVICE].items[i]));
    return any;
}

static bool reads_step(const struct product *p)
{
    return any_device(p, engine_decode_forms);
}

static bool reads_products(const struct product *p)
{
    return any_device(p, engine_products);
}

// Keys that only some sweeps read.
static const struct reader {
    const char *key;
    bool (*reads)(const struct product *p);
    const char *needs;
} readers[] = {
    {"calib", reads_calib, "only int4-awq calibrates"},
    {"quality_text", reads_quality, "only collect = quality reads it"},
    {"quality_convention", reads_quality, "only collect = quality reads it"},
    {"quality_windows", reads_quality, "only collect = quality reads it"},
    {"step", reads_step, "only devices of kind cuda have a choice"},
    {"products", reads_products, "only devices of kind cuda have a choice"},
};

// Refuses a flag or --set that no sweep reads. Files may have keys for sweeps that --set changes.
static enum status check_read(struct expansion *x, const struct product *products, size_t count,
                              struct error *err)
{
    char place[SUITE_PLACE_BYTES];
    for (size_t r = 0; r < sizeof readers / sizeof *readers; r++) {
        const struct product *given = NULL;
        bool read = false;
        for (size_t i = 0; i < count; i++) {
            read |= readers[r].reads(&products[i]);
            if (suite_key_given(x->suite, products[i].section, readers[r].key))
                given = &products[i];
        }
        if (given && !read)
            return FAIL(err, ERR_USAGE, "%s: nothing reads it: %s",
                        suite_place(x->suite, given->section, readers[r].key, place),
                        readers[r].needs);
    }
    return OK;
}

// ---- why a cell is skipped ---------------------------------------------------------------------

const struct device_info *plan_device(const struct plan_machine *machine, const char *name)
{
    for (size_t i = 0; i < machine->device_count; i++)
        if (strcmp(machine->devices[i].name, name) == 0)
            return &machine->devices[i];
    return NULL;
}

// The machine's row of a device, or a row that says that it does not exist.
static struct device_info find_device(const struct plan_machine *machine, const char *name)
{
    const struct device_info *row = plan_device(machine, name);
    if (row)
        return *row;
    struct device_info absent = {.kind = device_word_kind(name), .reason = "no such device here"};
    snprintf(absent.name, sizeof absent.name, "%s", name);
    return absent;
}

static const char *skip_by_rule(struct expansion *x, const struct product *p,
                                const struct point *point)
{
    const struct rule *rule = rules_match(&p->sweep->skip, point);
    if (!rule)
        return NULL;
    return plan_text(x->plan, "left out by the suite: skip = %s", rule->text);
}

static size_t scheme_index(const struct scheme *row)
{
    size_t count;
    return (size_t)(row - scheme_table(&count));
}

static const char *skip_by_scheme_or_device(struct expansion *x, struct cell *cell)
{
    if (!cell->scheme) {
        cell->unsupported = true;
        return plan_text(x->plan, "scheme %s is not implemented yet", cell->scheme_name);
    }
    const char *refused = cell->model->refused[scheme_index(cell->scheme)];
    if (refused) {
        cell->unsupported = true;
        return refused;
    }
    refused = scheme_products_refused(&cell->runs, &cell->model->config);
    if (refused) {
        cell->unsupported = true;
        return refused;
    }
    struct device_info device = find_device(x->machine, cell->device);
    cell->unsupported = !device.available;
    return device.available ? NULL : plan_text(x->plan, "%s: %s", cell->device, device.reason);
}

static const char *skip_by_threads(struct expansion *x, struct cell *cell)
{
    int most = x->machine->most_threads;
    if (most <= 0 || cell->threads <= most)
        return NULL;
    cell->unsupported = true;
    return plan_text(x->plan, "%d threads: a process may use %d processing unit%s here",
                     cell->threads, most, most == 1 ? "" : "s");
}

static const char *skip_by_length(struct expansion *x, struct cell *cell)
{
    int limit = cell->model->config.max_positions;
    if (cell->gen >= cell->context)
        return plan_text(x->plan, "gen %d leaves no prompt in a context of %d", cell->gen,
                         cell->context);
    cell->beyond_limit = limit > 0 && cell->context > limit;
    if (cell->beyond_limit && cell->model->path)
        return plan_text(x->plan, "context %d is beyond the model's %d positions", cell->context,
                         limit);
    int table = cell->model->config.learned_positions;
    if (table > 0 && cell->context > table)
        return plan_text(x->plan, "context %d is beyond the %d positions the model has learned",
                         cell->context, table);
    if (cell->model->shape && prompt_text_path(cell->prompt))
        return plan_text(x->plan, "a shape has no tokenizer for prompt = %s", cell->prompt);
    if (prompt_text_path(cell->prompt))
        return plan_text_refused(x, cell->model, prompt_text_path(cell->prompt), NULL);
    return NULL;
}

// The memory that a worker may take on the device of its weights and cache; 0: unknown.
static double memory_room(const struct plan_machine *machine, const struct device_info *device)
{
    return device->kind == DEVICE_HOST ? (double)machine->memory_bytes
                                       : (double)device->memory_bytes;
}

static const char *skip_by_memory(struct expansion *x, struct cell *cell)
{
    // the process itself: code, libraries, the tables of a repetition
    const double process_bytes = 64 << 20;
    struct context_options shape = {.batch = cell->batch,
                                    .positions = cell->context,
                                    .chunk = cell->chunk,
                                    .kv = cell->kv,
                                    .decode = cell->step};
    struct device_info device = find_device(x->machine, cell->device);
    struct error err = {0};
    if (engine_memory_plan(&device, &cell->model->config, &cell->runs, &shape, cell->threads,
                           &cell->memory, &err) != OK) {
        cell->unsupported = true;
        return plan_text(x->plan, "%s", err.message);
    }
    double room = memory_room(x->machine, &device);
    double need = (double)cell->memory.weights_bytes + (double)cell->memory.kv_bytes +
                  (double)cell->memory.scratch_bytes + process_bytes;
    if (x->machine->resuming || room <= 0 || need <= room)
        return NULL;
    char needed[32], had[32], copy[32], of_copy[64] = "";
    format_bytes(need, needed, sizeof needed);
    if (cell->memory.copy_bytes)
        snprintf(of_copy, sizeof of_copy, " (%s of it a second copy of weights)",
                 format_bytes((double)cell->memory.copy_bytes, copy, sizeof copy));
    if (room <= PLAN_NO_ROOM)
        return plan_text(x->plan, "needs %s of memory%s, none is free beyond what the system keeps",
                         needed, of_copy);
    return plan_text(x->plan, "needs %s of memory%s, %s are available", needed, of_copy,
                     format_bytes(room, had, sizeof had));
}

static const char *skip_by_time(struct expansion *x, struct cell *cell)
{
    double trial = predict_trial_ns(cell, x->machine);
    char predicted[32], most[32];
    if (trial == PREDICT_UNKNOWN)
        return NULL;
    trial += predict_load_ns(cell); // plan.c shares loads
    cell->predicted_ns = cell->procs * trial;
    if (x->machine->resuming)
        return NULL;
    if (cell->predicted_ns > cell->max_ns)
        return plan_text(x->plan, "predicted to take %s, max_cell_time is %s",
                         format_wait_ns(cell->predicted_ns, predicted, sizeof predicted),
                         format_limit_ns(cell->max_ns, most, sizeof most));
    if (trial > (double)cell->timeout_ns)
        return plan_text(x->plan, "a trial is predicted to take %s, timeout is %s",
                         format_wait_ns(trial, predicted, sizeof predicted),
                         format_limit_ns((double)cell->timeout_ns, most, sizeof most));
    return NULL;
}

void expand_times(struct expansion *x)
{
    for (size_t i = 0; i < x->plan->cell_count; i++) {
        struct cell *cell = &x->plan->cells[i];
        if (!cell->skip)
            cell->skip = skip_by_time(x, cell);
    }
}

static const char *skip_reason(struct expansion *x, const struct product *p,
                               const struct point *point, struct cell *cell)
{
    const char *reason = skip_by_rule(x, p, point);
    if (!reason)
        reason = skip_by_scheme_or_device(x, cell);
    if (!reason)
        reason = skip_by_threads(x, cell);
    if (!reason)
        reason = skip_by_length(x, cell);
    if (!reason && cell->calib)
        reason = plan_calibration_refused(x, cell->model, cell->calib);
    if (!reason)
        reason = skip_by_memory(x, cell);
    return reason;
}

// ---- cells --------------------------------------------------------------------------------------

// `auto`: the type of the scheme; bf16 if there is no scheme yet.
static enum dtype type_of(const char *word, const struct scheme *scheme, enum dtype of_scheme)
{
    enum dtype type = DT_BF16;
    if (!storage_parse(word, &type) && scheme)
        return of_scheme;
    return type;
}

static void fill_cell(struct expansion *x, const struct product *p, const struct point *point,
                      struct cell *cell)
{
    const struct suite_sweep *sweep = p->sweep;
    int threads = point->number[AXIS_THREADS];
    *cell = (struct cell){
        .model = plan_model_find(x->plan, point->word[AXIS_MODEL]),
        .sweep = p->name,
        .scheme_name = point->word[AXIS_SCHEME],
        .scheme = scheme_find(point->word[AXIS_SCHEME]),
        .device = point->word[AXIS_DEVICE],
        .engine = STORE_ENGINE,
        .threads = threads ? threads : x->machine->physical_cores,
        .chunk = point->number[AXIS_CHUNK],
        .batch = point->number[AXIS_BATCH],
        .context = point->number[AXIS_CONTEXT],
        .gen = point->number[AXIS_GEN],
        .prompt = p->prompt,
        .sampling = {.temperature = (float)sweep->temperature,
                     .top_k = (int)sweep->top_k,
                     .top_p = (float)sweep->top_p,
                     .seed = (uint64_t)sweep->seed},
        .procs = (int)sweep->procs,
        .reps = (int)sweep->reps,
        .retries = (int)sweep->retries,
        .min_time_ns = (uint64_t)sweep->min_time_ns,
        .warmup = (enum warmup)sweep->warmup,
        .timeout_ns = (uint64_t)sweep->timeout_ns,
        .max_ns = sweep->max_cell_time_ns,
        .collect = collect_mask(&sweep->collect),
        .wish = p->wish,
    };
    const struct scheme *scheme = cell->scheme;
    if (str_equal(cell->scheme_name, "int4-awq") && cell->model->path) {
        cell->calib = p->calib;
        cell->calib_hash = p->calib_hash;
    }
    cell->head = type_of(point->word[AXIS_HEAD], scheme, scheme ? scheme->head : DT_BF16);
    cell->kv = type_of(point->word[AXIS_KV], scheme, scheme ? scheme->default_kv : DT_BF16);
    cell->step = DECODE_AUTO;
    if (engine_decode_forms(device_word_kind(cell->device)))
        context_form_parse(point->word[AXIS_STEP], &cell->step); // a valid choice
    struct device_info device = find_device(x->machine, cell->device);
    cell->device_cache_bytes = device.cache_bytes;
    if (scheme) {
        struct scheme row = *scheme;
        scheme_products_parse(point->word[AXIS_PRODUCTS], &row.products); // a valid choice
        row.group = cell->model->group[scheme_index(scheme)];
        cell->runs = scheme_resolve(&row, cell->head, device_info_target(&device));
    }
}

static enum status add_cell(struct expansion *x, const struct product *p, const struct point *point,
                            struct error *err)
{
    struct plan *plan = x->plan;
    struct cell *cell = &plan->cells[plan->cell_count];
    TRY(interrupt_check(err));
    fill_cell(x, p, point, cell);
    if (plan_cell_key(cell, p->prompt_hash[0] ? p->prompt_hash : NULL, err) != OK) {
        json_decref(cell->params);
        return err->code;
    }
    for (size_t i = 0; i < plan->cell_count; i++) {
        if (memcmp(plan->cells[i].key, cell->key, sizeof cell->key) == 0) {
            plan->duplicates++;
            json_decref(cell->params);
            return OK;
        }
    }
    plan->cell_count++; // from here on plan_destroy frees its params
    cell->skip = skip_reason(x, p, point, cell);
    return OK;
}

// The number of points of the sweep; 0 if they exceed the limit of a plan.
static size_t count_points(const struct product *p)
{
    size_t count = 1;
    for (int a = 0; a < AXIS_COUNT; a++) {
        if (p->sweep->link.leader[a] != (enum axis)a)
            continue;
        count *= axis_count(p, (enum axis)a);
        if (count > PLAN_CELLS_MAX)
            return 0;
    }
    return count;
}

// Builds the n-th point; the last axis varies fastest.
static void make_point(const struct product *p, size_t n, struct point *out)
{
    size_t index[AXIS_COUNT] = {0};
    for (int a = AXIS_COUNT; a-- > 0;) {
        if (p->sweep->link.leader[a] != (enum axis)a)
            continue;
        index[a] = n % axis_count(p, (enum axis)a);
        n /= axis_count(p, (enum axis)a);
    }
    for (int a = 0; a < AXIS_COUNT; a++) {
        size_t i = index[p->sweep->link.leader[a]];
        if (axis_is_number((enum axis)a))
            out->number[a] = p->numbers[a].items[i];
        else
            out->word[a] = p->words[a].items[i];
    }
}

// Counts the points of all sweeps first, so that the array of cells never moves.
enum status expand_sweeps(struct expansion *x, struct error *err)
{
    struct plan *plan = x->plan;
    size_t sweeps = x->suite->sweep_count, total = 0;
    struct product *products = arena_alloc(&plan->arena, sweeps, sizeof *products);
    if (!products)
        return no_memory(err);
    for (size_t s = 0; s < sweeps; s++) {
        TRY(prepare(x, &x->suite->sweeps[s], &products[s], err));
        size_t points = count_points(&products[s]);
        total += points;
        if (!points || total > PLAN_CELLS_MAX)
            return FAIL(err, ERR_USAGE, "%s: more than %d cells",
                        suite_where(x->suite, products[s].section, NULL), PLAN_CELLS_MAX);
    }
    TRY(check_read(x, products, sweeps, err));
    plan->cells = arena_alloc(&plan->arena, total, sizeof *plan->cells);
    if (!plan->cells)
        return no_memory(err);
    for (size_t s = 0; s < sweeps; s++) {
        size_t points = count_points(&products[s]);
        for (size_t n = 0; n < points; n++) {
            struct point point = {0};
            make_point(&products[s], n, &point);
            TRY(add_cell(x, &products[s], &point, err));
        }
    }
    return OK;
}
