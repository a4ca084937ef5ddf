// record.c - writes run, machine, cells and ceilings to the store.
#include "bench/run/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/owner.h"
#include "base/str.h"
#include "bench/probe/probe.h"
#include "bench/run/verdict.h"
#include "device/device.h"

// ---- the run -----------------------------------------------------------------------------------------------

static enum status store_processor(struct record *record, const struct machine *machine,
                                   struct error *err)
{
    char fingerprint[65];
    json_t *processor = machine_processor(machine);
    char *content = processor ? json_canonical(processor) : NULL;
    json_decref(processor);
    if (!content)
        return FAIL(err, ERR_NOMEM, "runner: the machine's record");
    if (machine_processor_fingerprint(machine, fingerprint, err) == OK)
        store_device(record->store, fingerprint, DEVICE_DEFAULT, content, &record->processor, err);
    free(content);
    return err->code;
}

static enum status store_content(struct record *record, const struct machine *machine,
                                 struct store_run *run, struct error *err)
{
    char *hardware = json_canonical(machine->hardware);
    char *environment = json_canonical(machine->environment);
    char *build = json_canonical(machine->build);
    if (!hardware || !environment || !build)
        FAIL(err, ERR_NOMEM, "runner: the machine's record");
    else if (store_machine(record->store, machine->fingerprint, hardware, &run->machine, err) ==
                 OK &&
             store_environment(record->store, environment, &run->environment, err) == OK &&
             store_build(record->store, build, &run->build, err) == OK)
        store_processor(record, machine, err);
    record->build = run->build;
    free(hardware);
    free(environment);
    free(build);
    return err->code;
}

bool record_same_machine(const struct run_row *run, const char *fingerprint)
{
    char again[65] = "";
    struct error ignored = {0};
    if (str_equal(run->fingerprint, fingerprint))
        return true;
    json_t *hardware = json_loads(run->hardware, 0, NULL);
    bool same = hardware && machine_fingerprint(hardware, again, &ignored) == OK &&
                str_equal(again, fingerprint);
    json_decref(hardware);
    return same;
}

// Finds the newest run of this suite text on this machine that did not end as "done". *out NULL: there is none.
static enum status find_unfinished(struct store *store, struct arena *arena, const char *suite_text,
                                   const char *fingerprint, const struct run_row **out,
                                   struct error *err)
{
    struct run_row *rows = NULL;
    size_t count = 0;
    *out = NULL;
    TRY(query_runs(store, arena, &rows, &count, err));
    for (size_t i = count; i-- > 0 && !*out;)
        if (!str_equal(rows[i].status, "done") && str_equal(rows[i].suite_text, suite_text) &&
            record_same_machine(&rows[i], fingerprint))
            *out = &rows[i];
    return OK;
}

// Refuses a run that another process owns. Both would measure the same trials at the same time.
static enum status check_owner(const struct run_row *run, bool take_over, struct error *err)
{
    struct os_process owner;
    if (!str_equal(run->status, "running")) // the run or its owner has ended
        return OK;
    enum owner_state state = owner_find(run->owner, &owner);
    if (state == OWNER_RUNS)
        return FAIL(err, ERR_USAGE,
                    "run %lld of suite %s is still running, in process %lld: --resume continues "
                    "only runs that have ended",
                    (long long)run->id, run->suite_name, (long long)owner.pid);
    if (state == OWNER_UNSEEN && !take_over)
        return FAIL(err, ERR_USAGE,
                    "run %lld of suite %s belongs to process %lld of %s, which cannot be seen from "
                    "here: add --take-over when it has ended",
                    (long long)run->id, run->suite_name, (long long)owner.pid,
                    owner.host[0] ? owner.host : "another machine");
    return OK;
}

enum status record_resumable(struct store *store, const struct record_wish *wish,
                             struct arena *arena, const struct run_row **run, struct error *err)
{
    *run = NULL;
    if (store)
        TRY(find_unfinished(store, arena, wish->suite_text, wish->fingerprint, run, err));
    if (!*run)
        return FAIL(err, ERR_USAGE,
                    "%s: no unfinished run of suite %s (as it reads now) on this machine to resume",
                    wish->database, wish->suite_name);
    return check_owner(*run, wish->take_over, err);
}

static enum status resume_run(struct record *record, const struct plan *plan,
                              const struct runner_options *options, const char *fingerprint,
                              const char *owner, struct error *err)
{
    struct arena arena = {0};
    const struct run_row *run = NULL;
    const struct record_wish wish = {.database = options->database,
                                     .suite_name = plan->suite_name,
                                     .suite_text = plan->suite_text,
                                     .fingerprint = fingerprint,
                                     .take_over = options->take_over};
    enum status status = record_resumable(record->store, &wish, &arena, &run, err);
    if (status == OK)
        status = store_run_resume(record->store, run->id, run->owner, owner, err);
    if (status == OK)
        record->run = run->id;
    arena_fini(&arena);
    return status;
}

static enum status begin_run(struct record *record, const struct plan *plan,
                             const struct runner_options *options, const struct machine *machine,
                             struct store_run *run, struct error *err)
{
    char *owner = owner_self();
    record->resumed = options->resume;
    run->owner_json = owner;
    if (!owner)
        FAIL(err, ERR_NOMEM, "runner: the run's owner");
    else if (options->resume)
        resume_run(record, plan, options, machine->fingerprint, owner, err);
    else
        store_run_begin(record->store, run, &record->run, err);
    run->owner_json = NULL;
    free(owner);
    return err->code;
}

enum status record_open(const struct plan *plan, const struct runner_options *options,
                        struct record *out, struct error *err)
{
    struct machine machine = {0};
    struct store_run run = {
        .suite_name = plan->suite_name,
        .suite_text = plan->suite_text,
        .command = options->command,
        .started_ns = clock_wall_ns(),
    };
    *out = (struct record){0};
    out->cells = calloc(plan->cell_count + 1, sizeof *out->cells);
    out->stopped = calloc(plan->cell_count + 1, sizeof *out->stopped);
    if (!out->cells || !out->stopped)
        FAIL(err, ERR_NOMEM, "runner: %zu cells", plan->cell_count);
    else if (store_open(options->database, STORE_WRITE, &out->store, err) == OK &&
             machine_probe(&machine, err) == OK && store_content(out, &machine, &run, err) == OK)
        begin_run(out, plan, options, &machine, &run, err);
    machine_fini(&machine);
    if (err->code != OK)
        record_close(out);
    return err->code;
}

void record_close(struct record *record)
{
    store_close(record->store);
    free(record->cells);
    free(record->stopped);
    memset(record, 0, sizeof *record);
}

// ---- ceilings -----------------------------------------------------------------------------------------------

enum status record_ceilings_of(struct store *store, int64_t run, struct ceilings *out,
                               struct error *err)
{
    struct arena arena = {0};
    struct ceiling_row *rows = NULL;
    size_t count = 0;
    memset(out, 0, sizeof *out);
    out->levels = machine_memory_levels(out->level);
    enum status status = query_ceilings(store, &arena, run, &rows, &count, err);
    for (size_t i = 0; status == OK && i < count && out->count < CEILINGS_MAX; i++) {
        struct ceiling *c = &out->row[out->count++];
        strncpy(c->device, rows[i].device, sizeof c->device - 1);
        strncpy(c->name, rows[i].name, sizeof c->name - 1);
        strncpy(c->level, rows[i].level, sizeof c->level - 1);
        strncpy(c->kernel, rows[i].kernel, sizeof c->kernel - 1);
        c->threads = rows[i].threads;
        c->samples = rows[i].samples;
        c->set_bytes = isnan(rows[i].set_bytes) ? 0 : rows[i].set_bytes;
        c->clock_low_hz = isnan(rows[i].clock_low_hz) ? 0 : rows[i].clock_low_hz;
        c->clock_high_hz = isnan(rows[i].clock_high_hz) ? 0 : rows[i].clock_high_hz;
        c->memory_clock_hz = isnan(rows[i].memory_clock_hz) ? 0 : rows[i].memory_clock_hz;
        c->value = rows[i].value;
        c->low = rows[i].low;
        c->high = rows[i].high;
    }
    arena_fini(&arena);
    return status;
}

// Finds the store's row of the device that a ceiling names.
static enum status ceiling_device(const struct record *record, const char *name, int64_t *id,
                                  struct error *err)
{
    struct device_info info;
    char fingerprint[HASH_HEX_BYTES];
    *id = record->processor;
    if (str_equal(name, DEVICE_DEFAULT))
        return OK;
    TRY(device_find(name, &info, err));
    json_t *root = json_pack("{s:s, s:I, s:i}", "description", info.description, "memory_bytes",
                             (json_int_t)info.memory_bytes, "units", info.units);
    char *content = root ? json_canonical(root) : NULL;
    json_decref(root);
    if (!content)
        return FAIL(err, ERR_NOMEM, "runner: the record of device %s", name);
    if (hash_bytes(content, strlen(content), fingerprint, err) == OK)
        store_device(record->store, fingerprint, name, content, id, err);
    free(content);
    return err->code;
}

enum status record_ceilings(const struct record *record, const struct ceilings *ceilings,
                            struct error *err)
{
    struct store_ceiling *rows = calloc((size_t)ceilings->count + 1, sizeof *rows);
    if (!rows)
        return FAIL(err, ERR_NOMEM, "runner: ceilings");
    int64_t device = 0;
    for (int i = 0; i < ceilings->count && err->code == OK; i++) {
        const struct ceiling *c = &ceilings->row[i];
        if (i == 0 ||
            !str_equal(c->device, ceilings->row[i - 1].device)) // asking lists the devices
            ceiling_device(record, c->device, &device, err);
        rows[i] = (struct store_ceiling){
            .name = c->name,
            .level = c->level,
            .kernel = c->kernel,
            .unit = ceilings_unit(c),
            .source = device_time_source(device_word_kind(c->device)),
            .device = device,
            .set_bytes = c->set_bytes,
            .clock_low_hz = c->clock_low_hz,
            .clock_high_hz = c->clock_high_hz,
            .memory_clock_hz = c->memory_clock_hz,
            .threads = c->threads,
            .samples = c->samples,
            .value = c->value,
            .low = c->low,
            .high = c->high,
        };
    }
    if (err->code == OK)
        store_ceilings(record->store, record->run, rows, (size_t)ceilings->count, err);
    free(rows);
    return err->code;
}

// ---- cells --------------------------------------------------------------------------------------------------

static enum status record_cell(struct record *record, const struct cell *cell,
                               const struct ceilings *ceilings, int64_t *id, struct error *err)
{
    struct memory_plan memory = cell->memory;
    char *params = json_canonical(cell->params), *prediction = NULL;
    json_t *predicted = cell->skip ? NULL : trial_prediction(cell, ceilings);
    if (predicted)
        prediction = json_canonical(predicted);
    double bytes =
        (double)memory.weights_bytes + (double)memory.kv_bytes + (double)memory.scratch_bytes;
    struct store_cell row = {
        .run = record->run,
        .key = cell->key,
        .params_json = params,
        .label = cell->label,
        .sweep = cell->sweep,
        .engine = cell->engine,
        .model = cell->model->label,
        .scheme = cell->scheme_name,
        .device = cell->device,
        .threads = cell->threads,
        .batch = cell->batch,
        .context = cell->context,
        .gen = cell->gen,
        .skip_reason = cell->skip,
        .skip_status = !cell->skip         ? NULL
                       : cell->unsupported ? "unsupported"
                                           : "skipped",
        .trials_planned = cell->procs,
        .predicted_memory_bytes = bytes > 0 ? bytes : NAN,
        .predicted_ns = cell->predicted_ns > 0 ? cell->predicted_ns : NAN,
        .prediction_json = prediction,
    };
    enum status status = params ? store_cell(record->store, &row, id, err)
                                : FAIL(err, ERR_NOMEM, "runner: a cell's parameters");
    json_decref(predicted);
    free(prediction);
    free(params);
    return status;
}

// Whether a cell needs no more trials. One that ran out of memory or time would do so again; a skipped one stays
// skipped.
static bool at_its_end(const struct cell_row *row)
{
    return str_equal(row->status, "oom") || str_equal(row->status, "timeout") ||
           query_cell_left_out(row);
}

enum status record_cells(struct record *record, const struct plan *plan,
                         const struct ceilings *ceilings, struct error *err)
{
    struct arena arena = {0};
    struct cell_row *rows = NULL;
    size_t count = 0;
    for (size_t i = 0; i < plan->cell_count; i++) { // each waits for the disk
        TRY(interrupt_check(err));
        TRY(record_cell(record, &plan->cells[i], ceilings, &record->cells[i], err));
    }
    enum status status = query_cells(record->store, &arena, record->run, &rows, &count, err);
    for (size_t r = 0; status == OK && r < count; r++)
        for (size_t i = 0; i < plan->cell_count; i++)
            if (record->cells[i] == rows[r].id)
                record->stopped[i] = at_its_end(&rows[r]);
    arena_fini(&arena);
    return status;
}

enum status record_covered(const struct record *record, const struct plan *plan, bool *out,
                           struct error *err)
{
    struct arena arena = {0};
    struct cell_row *rows = NULL;
    size_t count = 0, known = 0;
    enum status status = query_cells(record->store, &arena, record->run, &rows, &count, err);
    for (size_t r = 0; status == OK && r < count; r++)
        for (size_t i = 0; i < plan->cell_count; i++)
            known += record->cells[i] == rows[r].id;
    *out = known == count;
    arena_fini(&arena);
    return status;
}

enum status record_has(const struct record *record, const struct plan *plan, size_t cell,
                       int number, bool *out, struct error *err)
{
    int most = plan->cells[cell].procs + plan->cells[cell].retries;
    bool *done = calloc((size_t)most, sizeof *done);
    if (!done)
        return FAIL(err, ERR_NOMEM, "runner: %d trials", most);
    enum status status = store_trials_done(record->store, record->cells[cell], done, most, err);
    *out = status == OK && done[number - 1];
    free(done);
    return status;
}

enum status record_disturbed(const struct record *record, size_t cell, bool *out, struct error *err)
{
    return store_cell_disturbed(record->store, record->cells[cell], out, err);
}

enum status record_skip(struct record *record, size_t cell, const char *reason, struct error *err)
{
    record->stopped[cell] = true;
    return store_cell_skip(record->store, record->cells[cell], "skipped", reason, err);
}

enum status record_failed(const struct record *record, size_t *failed, struct error *err)
{
    struct arena arena = {0};
    struct cell_row *rows = NULL;
    size_t count = 0;
    *failed = 0;
    enum status status = query_cells(record->store, &arena, record->run, &rows, &count, err);
    for (size_t i = 0; status == OK && i < count; i++)
        *failed += query_cell_failed(&rows[i]);
    arena_fini(&arena);
    return status;
}
