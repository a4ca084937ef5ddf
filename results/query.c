// query.c - runs, cells and trials: one statement and one reader for each kind of row.

#include "results/query.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/owner.h"
#include "base/str.h"
#include "base/words.h"
#include "results/rows.h"

// rows_read into a typed array.
#define READ_ROWS(sql, id, reader)                                                                 \
    rows_read(store, arena, (sql), (id), (reader), sizeof **rows, (void **)rows, count, err)

enum status query_begin(struct store *store, struct error *err)
{
    return db_exec(store, "BEGIN", "it was not read", err);
}

void query_end(struct store *store)
{
    if (store && !sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

// ---- runs ---------------------------------------------------------------------------------------

static const char runs_sql[] =
    "WITH tally AS (SELECT run_id, count(*) AS cells, sum(trials) AS trials,"
    "    count(*) FILTER (WHERE status" STATUS_FAILED ") AS failed,"
    "    count(*) FILTER (WHERE status IN ('skipped', 'unsupported')) AS left_out,"
    "    count(*) FILTER (WHERE status = 'pending') AS pending,"
    "    count(*) FILTER (WHERE status = 'ok') AS ok,"
    "    count(*) FILTER (WHERE status IN ('noisy', 'throttled')) AS disturbed"
    "  FROM cell_state GROUP BY run_id)"
    " SELECT run.id, suite_name, suite_text, command, run.status, fingerprint, hardware,"
    "  environment.content, build.content, started_ns, ended_ns, cells, trials, failed, left_out,"
    "  pending, owner, ok, disturbed, ceilings_note"
    " FROM run JOIN machine ON machine.id = machine_id"
    "  JOIN environment ON environment.id = environment_id JOIN build ON build.id = build_id"
    "  LEFT JOIN tally ON tally.run_id = run.id ORDER BY run.id";

static void read_run(struct row *row, void *out)
{
    struct run_row *run = out;
    const char **texts[] = {&run->suite_name,  &run->suite_text, &run->command,     &run->status,
                            &run->fingerprint, &run->hardware,   &run->environment, &run->build};
    run->id = row_int(row, 0);
    for (int i = 0; i < 8; i++)
        *texts[i] = row_text(row, 1 + i);
    run->started_ns = row_int(row, 9);
    run->ended_ns = row_int(row, 10);
    run->cells = row_int(row, 11);
    run->trials = row_int(row, 12);
    run->failed = row_int(row, 13);
    run->left_out = row_int(row, 14);
    run->pending = row_int(row, 15);
    run->owner = row_text_or_null(row, 16);
    run->ok = row_int(row, 17);
    run->disturbed = row_int(row, 18);
    run->ceilings_note = row_text(row, 19);
    struct os_process owner;
    if (str_equal(run->status, "running") && owner_find(run->owner, &owner) == OWNER_GONE)
        run->status = "interrupted";
}

enum status query_runs(struct store *store, struct arena *arena, struct run_row **rows,
                       size_t *count, struct error *err)
{
    return READ_ROWS(runs_sql, 0, read_run);
}

static enum status no_such_run(struct store *store, struct arena *arena, const char *which,
                               const struct run_row *runs, size_t count, struct error *err)
{
    const char **names = arena_alloc(arena, count, sizeof *names);
    char near[WORDS_HINT_BYTES];
    for (size_t i = 0; names && i < count; i++)
        names[i] = runs[i].suite_name;
    if (names && words_near(which, names, count, near, sizeof near))
        return FAIL(err, ERR_USAGE, "%s: no run '%s'%s", store->path, which, near);
    return FAIL(err, ERR_USAGE,
                "%s: no run '%s': give its number, \"last\" or the name of a suite "
                "(`bench list` shows them)",
                store->path, which);
}

enum status query_run(struct store *store, struct arena *arena, const char *which,
                      struct run_row *out, struct error *err)
{
    struct run_row *runs = NULL;
    size_t count = 0;
    int64_t number = 0;
    TRY(query_runs(store, arena, &runs, &count, err));
    if (count == 0)
        return FAIL(err, ERR_USAGE, "%s: " NOTHING_MEASURED, store->path);
    bool last = which == NULL || str_equal(which, "last");
    bool numbered = !last && str_to_i64(which, &number);
    for (size_t i = count; i-- > 0;) {
        bool match =
            last || (numbered ? runs[i].id == number : str_equal(runs[i].suite_name, which));
        if (match) {
            *out = runs[i];
            return OK;
        }
    }
    return no_such_run(store, arena, which, runs, count, err);
}

// ---- cells --------------------------------------------------------------------------------------

// The trial that chose a cell's form of decode steps: the first that was measured. Later trials use the same form.
#define STEP_TRIAL                                                                                 \
    " FROM trial WHERE cell_id = cell.id AND status" TRIAL_MEASURED                                \
    " AND step_form IS NOT NULL ORDER BY number LIMIT 1"

#define CELL_COLUMNS                                                                               \
    "SELECT cell.id, cell.run_id, key, label, params, model, scheme, device, sweep, engine,"       \
    "  threads,"                                                                                   \
    "  batch, context, gen, state.status, state.reason, state.trials, trials_planned,"             \
    "  state.disturbed, predicted_memory_bytes, predicted_ns, prediction,"                         \
    "  (SELECT arithmetic FROM trial WHERE cell_id = cell.id AND arithmetic IS NOT NULL"           \
    "     ORDER BY number LIMIT 1),"                                                               \
    "  coalesce((SELECT stored FROM trial WHERE cell_id = cell.id AND stored IS NOT NULL"          \
    "     ORDER BY number LIMIT 1), (SELECT stored FROM quality WHERE quality.id = quality_id)),"  \
    "  (SELECT step_form" STEP_TRIAL "), (SELECT step_form || ': ' || step_reason" STEP_TRIAL ")," \
    "  (SELECT products FROM trial WHERE cell_id = cell.id AND products IS NOT NULL"               \
    "     ORDER BY number LIMIT 1)"                                                                \
    " FROM cell JOIN cell_state AS state ON state.cell_id = cell.id "

// The end of the arithmetic, from engine/load_model.c, if the codes of the file ran unchanged and so are the scheme.
#define AS_STORED "; codes as stored"

static const char *keep(struct row *row, struct str *text)
{
    const char *kept = text->failed ? NULL : arena_strdup(row->arena, str_text(text));
    str_fini(text);
    row->failed |= kept == NULL;
    return kept;
}

// "stored q8_0, measured as bf16"
static const char *weights_caveat_of(struct row *row, const struct cell_row *cell)
{
    size_t length = strlen(cell->arithmetic), ending = strlen(AS_STORED);
    struct str text = {0};
    if (cell->stored[0] &&
        !(length >= ending && str_equal(cell->arithmetic + length - ending, AS_STORED)))
        str_printf(&text, "stored %s, measured as %s", cell->stored, cell->scheme);
    return keep(row, &text);
}

// The caveat about the weights, and "requested the persistent decode step, ran as graph".
static const char *caveat_of(struct row *row, const struct cell_row *cell)
{
    json_t *params = json_loads(cell->params, 0, NULL);
    const char *asked = json_string_value(json_object_get(params, "step"));
    struct str text = {0};
    str_append(&text, cell->weights_caveat ? cell->weights_caveat : "");
    if (asked && cell->step_form[0] && !str_equal(asked, cell->step_form))
        str_printf(&text, "%srequested the %s decode step, ran as %s", text.length ? "; " : "",
                   asked, cell->step_form);
    json_decref(params);
    return keep(row, &text);
}

static void read_cell(struct row *row, void *out)
{
    struct cell_row *cell = out;
    const char **texts[] = {&cell->key,    &cell->label,  &cell->params, &cell->model,
                            &cell->scheme, &cell->device, &cell->sweep,  &cell->engine};
    cell->id = row_int(row, 0);
    cell->run = row_int(row, 1);
    for (int i = 0; i < 8; i++)
        *texts[i] = row_text(row, 2 + i);
    cell->threads = (int)row_int(row, 10);
    cell->batch = (int)row_int(row, 11);
    cell->context = (int)row_int(row, 12);
    cell->gen = (int)row_int(row, 13);
    cell->status = row_text(row, 14);
    cell->reason = row_text(row, 15);
    cell->trials = (int)row_int(row, 16);
    cell->trials_planned = (int)row_int(row, 17);
    cell->disturbed = (int)row_int(row, 18);
    cell->predicted_memory_bytes = row_real(row, 19);
    cell->predicted_ns = row_real(row, 20);
    cell->prediction = row_text_or_null(row, 21);
    cell->arithmetic = row_text(row, 22);
    cell->stored = row_text(row, 23);
    cell->step_form = row_text(row, 24);
    cell->step = row_text(row, 25);
    cell->products = row_text(row, 26);
    cell->weights_caveat = weights_caveat_of(row, cell);
    cell->caveat = caveat_of(row, cell);
}

enum status query_cells(struct store *store, struct arena *arena, int64_t run,
                        struct cell_row **rows, size_t *count, struct error *err)
{
    return READ_ROWS(CELL_COLUMNS "WHERE cell.run_id = ? ORDER BY cell.id", run, read_cell);
}

static bool cell_matches(const struct cell_row *cell, const char *which)
{
    bool prefix = strlen(which) >= QUERY_KEY_DIGITS && str_starts(cell->key, which);
    return prefix || str_equal(cell->label, which);
}

// run 0: the word may also have meant the name of a run.
static enum status no_such_cell(struct store *store, struct arena *arena, int64_t run,
                                const char *which, const struct cell_row *cells, size_t count,
                                struct error *err)
{
    struct run_row *runs = NULL;
    size_t run_count = 0;
    char near[WORDS_HINT_BYTES];
    if (run == 0)
        TRY(query_runs(store, arena, &runs, &run_count, err));
    const char **names = arena_alloc(arena, count + run_count, sizeof *names);
    for (size_t i = 0; names && i < run_count; i++)
        names[i] = runs[i].suite_name;
    for (size_t i = 0; names && i < count; i++)
        names[run_count + i] = cells[i].label;
    const char *kinds = run == 0 ? "no run and no cell" : "no cell";
    if (names && words_near(which, names, count + run_count, near, sizeof near))
        return FAIL(err, ERR_USAGE, "%s: %s '%s'%s", store->path, kinds, which, near);
    return FAIL(err, ERR_USAGE,
                "%s: %s '%s': give %sthe start of a cell's key, or its label "
                "(`bench list --run RUN` shows them)",
                store->path, kinds, which, run == 0 ? "a run, " : "");
}

enum status query_cell(struct store *store, struct arena *arena, int64_t run, const char *which,
                       struct cell_row *out, struct error *err)
{
    struct cell_row *cells = NULL;
    size_t count = 0;
    const struct cell_row *found = NULL;
    enum status status =
        rows_read(store, arena,
                  CELL_COLUMNS "WHERE ?1 IN (0, cell.run_id) ORDER BY cell.run_id DESC, cell.id",
                  run, read_cell, sizeof *cells, (void **)&cells, &count, err);
    if (status != OK)
        return status;
    for (size_t i = 0; i < count; i++) {
        if (!cell_matches(&cells[i], which) || (found && cells[i].run != found->run))
            continue;
        if (found)
            return FAIL(err, ERR_USAGE,
                        "%s: '%s' means several cells, among them %.12s (%s) and %.12s (%s)",
                        store->path, which, found->key, found->label, cells[i].key, cells[i].label);
        found = &cells[i];
    }
    if (count == 0 && run == 0)
        return FAIL(err, ERR_USAGE, "%s: " NOTHING_MEASURED, store->path);
    if (found == NULL)
        return no_such_cell(store, arena, run, which, cells, count, err);
    *out = *found;
    return OK;
}

static bool status_is(const char *status, const char *const *words)
{
    for (; *words; words++)
        if (str_equal(status, *words))
            return true;
    return false;
}

bool query_status_failed(const char *status)
{
    return status_is(status,
                     (const char *const[]){"wrong", "oom", "timeout", "crashed", "failed", NULL});
}

bool query_status_measured(const char *status)
{
    return status_is(status, (const char *const[]){"ok", "noisy", "throttled", NULL});
}

bool query_cell_failed(const struct cell_row *cell)
{
    return query_status_failed(cell->status);
}

bool query_cell_left_out(const struct cell_row *cell)
{
    return status_is(cell->status, (const char *const[]){"skipped", "unsupported", NULL});
}

bool query_cell_measured(const struct cell_row *cell)
{
    return query_status_measured(cell->status);
}

// The word is part of the store's format: readers of old files know no devices.
bool query_device_is_host(const char *device)
{
    return str_equal(device, "cpu");
}

bool query_cell_on_host(const struct cell_row *cell)
{
    return query_device_is_host(cell->device);
}

double query_cell_memory_ratio(const struct cell_row *cell, double peak_bytes)
{
    bool known = query_cell_on_host(cell) && cell->predicted_memory_bytes > 0;
    return known ? peak_bytes / cell->predicted_memory_bytes : (double)NAN;
}

// ---- ceilings -----------------------------------------------------------------------------------

static void read_ceiling(struct row *row, void *out)
{
    struct ceiling_row *c = out;
    const char **texts[] = {&c->name, &c->level, &c->kernel, &c->unit, &c->source, &c->device};
    for (int i = 0; i < 6; i++)
        *texts[i] = row_text(row, i);
    c->device_content = row_text_or_null(row, 6);
    c->threads = (int)row_int(row, 7);
    c->samples = (int)row_int(row, 8);
    c->value = row_real(row, 9);
    c->low = row_real(row, 10);
    c->high = row_real(row, 11);
    c->set_bytes = row_real(row, 12);
    c->clock_low_hz = row_real(row, 13);
    c->clock_high_hz = row_real(row, 14);
    c->memory_clock_hz = row_real(row, 15);
}

enum status query_ceilings(struct store *store, struct arena *arena, int64_t run,
                           struct ceiling_row **rows, size_t *count, struct error *err)
{
    return READ_ROWS("SELECT name, level, kernel, unit, source, coalesce(word, 'cpu'), content,"
                     "  threads, samples, value, low, high, set_bytes,"
                     "  clock_low_hz, clock_high_hz, memory_clock_hz"
                     " FROM ceiling LEFT JOIN device ON device.id = device_id"
                     " WHERE run_id = ? ORDER BY ceiling.id",
                     run, read_ceiling);
}

// ---- trials -------------------------------------------------------------------------------------

static void read_trial(struct row *row, void *out)
{
    struct trial_row *t = out;
    t->id = row_int(row, 0);
    t->number = (int)row_int(row, 1);
    t->status = row_text(row, 2);
    t->reason = row_text(row, 3);
    t->arithmetic = row_text_or_null(row, 4);
    t->started_ns = row_int(row, 5);
    t->ended_ns = row_int(row, 6);
    t->samples = (int)row_int(row, 7);
    t->stored = row_text_or_null(row, 8);
    t->build_id = row_int(row, 9);
    t->build = row_text_or_null(row, 10);
    t->engine_version = row_text_or_null(row, 11);
    t->step_form = row_text_or_null(row, 12);
    t->step_reason = row_text_or_null(row, 13);
    t->products = row_text_or_null(row, 14);
}

enum status query_trials(struct store *store, struct arena *arena, int64_t cell,
                         struct trial_row **rows, size_t *count, struct error *err)
{
    return READ_ROWS("SELECT trial.id, number, status, reason, arithmetic, started_ns, ended_ns,"
                     "  (SELECT count(*) FROM sample WHERE trial_id = trial.id),"
                     "  stored, build_id, content, engine_version, step_form, step_reason,"
                     "  products"
                     " FROM trial LEFT JOIN build ON build.id = build_id"
                     " WHERE cell_id = ? ORDER BY number",
                     cell, read_trial);
}

static void read_value(struct row *row, void *out)
{
    struct value_row *v = out;
    v->repetition = (int)row_int(row, 0);
    v->name = row_text(row, 1);
    v->unit = row_text(row, 2);
    v->source = row_text(row, 3);
    v->phase = row_text_or_null(row, 4);
    v->op = row_text_or_null(row, 5);
    v->value = row_real(row, 6);
    v->noise = row_int(row, 7) != 0;
}

enum status query_values(struct store *store, struct arena *arena, int64_t trial,
                         struct value_row **rows, size_t *count, struct error *err)
{
    return READ_ROWS("SELECT 0 AS repetition, name, unit, source, phase, op, value, 0 AS noise,"
                     "   metric.id AS place FROM metric WHERE trial_id = ?1"
                     " UNION ALL SELECT repetition, name, unit, source, phase, op, value, 0,"
                     "   metric.id FROM metric JOIN sample ON sample.id = sample_id"
                     "   WHERE sample.trial_id = ?1"
                     " UNION ALL SELECT repetition, name, unit, source, phase, NULL, value, 1,"
                     "   noise.id FROM noise JOIN sample ON sample.id = sample_id"
                     "   WHERE sample.trial_id = ?1"
                     " ORDER BY repetition, noise, place",
                     trial, read_value);
}

static const char token_hash_sql[] =
    "SELECT token_hash FROM sample JOIN trial ON trial.id = trial_id"
    " WHERE cell_id = ? AND status" TRIAL_MEASURED " AND token_hash IS NOT NULL"
    " ORDER BY number, repetition LIMIT 1";

static const char step_form_sql[] =
    "SELECT (SELECT step_form" STEP_TRIAL ") FROM cell WHERE id = ?";

static void read_word(struct row *row, void *out)
{
    *(const char **)out = row_text(row, 0);
}

// The single word that `sql` returns for a cell, or "".
static enum status query_word(struct store *store, struct arena *arena, const char *sql,
                              int64_t cell, const char **word, struct error *err)
{
    const char **found = NULL, ***rows = &found;
    size_t found_count = 0, *count = &found_count;
    TRY(READ_ROWS(sql, cell, read_word));
    *word = found_count ? found[0] : "";
    return OK;
}

enum status query_token_hash(struct store *store, struct arena *arena, int64_t cell,
                             const char **hash, struct error *err)
{
    return query_word(store, arena, token_hash_sql, cell, hash, err);
}

enum status query_step_form(struct store *store, struct arena *arena, int64_t cell,
                            const char **form, struct error *err)
{
    return query_word(store, arena, step_form_sql, cell, form, err);
}
