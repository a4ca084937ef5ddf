// store.c - the writer: one function for each kind of record, and one transaction per trial.
//
// A statement is prepared once and bound by position: each function binds in the order of the columns in its statement.

#include <assert.h>
#include <math.h>
#include <string.h>

#include "results/db.h"

static const char *const statement_sql[STMT_COUNT] = {
    [STMT_MACHINE_ADD] = "INSERT OR IGNORE INTO machine (fingerprint, hardware) VALUES (?, ?)",
    [STMT_MACHINE_ID] = "SELECT id FROM machine WHERE fingerprint = ? AND hardware = ?",
    [STMT_ENVIRONMENT_ADD] = "INSERT OR IGNORE INTO environment (content) VALUES (?)",
    [STMT_ENVIRONMENT_ID] = "SELECT id FROM environment WHERE content = ?",
    [STMT_BUILD_ADD] = "INSERT OR IGNORE INTO build (content) VALUES (?)",
    [STMT_BUILD_ID] = "SELECT id FROM build WHERE content = ?",
    [STMT_DEVICE_ADD] = "INSERT OR IGNORE INTO device (fingerprint, word, content)"
                        " VALUES (?, ?, ?)",
    [STMT_DEVICE_ID] = "SELECT id FROM device WHERE fingerprint = ? AND word = ? AND content = ?",
    [STMT_RUN_ADD] = "INSERT INTO run (suite_name, suite_text, command, machine_id,"
                     " environment_id, build_id, started_ns, owner)"
                     " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    [STMT_RUN_END] = "UPDATE run SET status = ?, ended_ns = ? WHERE id = ?",
    [STMT_RUN_OWNER] = "UPDATE run SET owner = ?, status = 'running', ended_ns = NULL"
                       " WHERE id = ? AND owner IS ?",
    [STMT_CELL_ADD] = "INSERT INTO cell (run_id, key, params, label, sweep, model, scheme, device,"
                      " threads, batch, context, gen, skip_status, skip_reason, trials_planned,"
                      " predicted_memory_bytes, predicted_ns, prediction, engine)"
                      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [STMT_CELL_ID] = "SELECT id FROM cell WHERE run_id = ? AND key = ?",
    [STMT_CELL_SKIP] = "UPDATE cell SET skip_status = ?, skip_reason = ? WHERE id = ?",
    [STMT_CEILING_ADD] = "INSERT INTO ceiling (run_id, name, level, kernel, threads, samples,"
                         " value, low, high, unit, source, device_id, set_bytes,"
                         " clock_low_hz, clock_high_hz, memory_clock_hz)"
                         " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [STMT_CEILINGS_NOTE] = "UPDATE run SET ceilings_note = ? WHERE id = ?",
    [STMT_TRIAL_ADD] = "INSERT INTO trial (cell_id, number, status, reason, started_ns, ended_ns,"
                       " arithmetic, stored, engine_version, step_form, step_reason, products,"
                       " build_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [STMT_TRIALS_DONE] = "SELECT number FROM trial WHERE cell_id = ?",
    [STMT_CELL_DISTURBED] =
        "SELECT status IN ('noisy', 'throttled') FROM cell_state WHERE cell_id = ?",
    [STMT_SAMPLE_ADD] = "INSERT INTO sample (trial_id, repetition, token_hash, nonfinite_logits)"
                        " VALUES (?, ?, ?, ?)",
    [STMT_TOKEN_ADD] = "INSERT INTO token_time (sample_id, sequence, token, time_ns)"
                       " VALUES (?, ?, ?, ?)",
    [STMT_METRIC_ADD] = "INSERT INTO metric (trial_id, sample_id, name, phase, op, value, unit,"
                        " source) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    [STMT_NOISE_ADD] = "INSERT INTO noise (sample_id, name, phase, value, unit, source)"
                       " VALUES (?, ?, ?, ?, ?, ?)",
    [STMT_VERDICT_ADD] =
        "INSERT INTO verdict (trial_id, phase, op, basis, bound, explanation,"
        " t_roof_ns, t_memory_ns, t_compute_ns, measured_ns, eta, rho, rho_low,"
        " rho_high, overhead_share, eta_low, eta_high, bandwidth_moved,"
        " loss_share, thresholds, finding, reason, loss_op)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
        " ?)",
    [STMT_QUALITY_ADD] = "INSERT INTO quality (run_id, key, params, status, reason, arithmetic,"
                         " stored, engine_version, build_id, started_ns, ended_ns)"
                         " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [STMT_QUALITY_VALUE_ADD] = "INSERT INTO quality_value (quality_id, name, value, unit, source)"
                               " VALUES (?, ?, ?, ?, ?)",
    [STMT_QUALITY_FIND] =
        "SELECT quality.id FROM quality JOIN run ON run.id = run_id"
        "  JOIN machine ON machine.id = run.machine_id, run AS this"
        "  JOIN machine AS here ON here.id = this.machine_id"
        " WHERE this.id = ? AND coalesce(quality.build_id, run.build_id)"
        "   = coalesce(?, this.build_id) AND key = ?"
        " AND machine.fingerprint = here.fingerprint"
        " AND (quality.status = 'unsupported' OR (quality.status = 'ok' AND reason = ''))"
        " ORDER BY quality.id DESC LIMIT 1",
    [STMT_CELL_QUALITY] = "UPDATE cell SET quality_id = ? WHERE id = ?",
};

// ---- binding --------------------------------------------------------------------------------------

// A statement with its next parameter; parameters are bound in order.
struct bind {
    struct store *store;
    sqlite3_stmt *stmt;
    int at;
    bool failed;
};

static struct bind bind_begin(struct store *store, enum statement which)
{
    struct bind b = {.store = store};
    if (store->stmt[which] == NULL &&
        sqlite3_prepare_v3(store->db, statement_sql[which], -1, SQLITE_PREPARE_PERSISTENT,
                           &store->stmt[which], NULL) != SQLITE_OK)
        b.failed = true;
    b.stmt = store->stmt[which];
    return b;
}

static void bind_text(struct bind *b, const char *text) // NULL stays NULL
{
    if (!b->failed)
        b->failed = sqlite3_bind_text(b->stmt, ++b->at, text, -1, SQLITE_STATIC) != SQLITE_OK;
}

static void bind_int(struct bind *b, int64_t value)
{
    if (!b->failed)
        b->failed = sqlite3_bind_int64(b->stmt, ++b->at, value) != SQLITE_OK;
}

static void bind_id(struct bind *b, int64_t id) // 0: none
{
    if (id != 0)
        bind_int(b, id);
    else
        bind_text(b, NULL);
}

// NaN means not measured, and an infinity is a division by an unmeasured zero. Both become NULL.
static void bind_real(struct bind *b, double value)
{
    if (!isfinite(value))
        bind_text(b, NULL);
    else if (!b->failed)
        b->failed = sqlite3_bind_double(b->stmt, ++b->at, value) != SQLITE_OK;
}

// Runs the statement and resets it for the next use. *id: the id of the added row, or the first column of the found
// row; 0 if no row was found. `id` may be NULL.
static enum status bind_run(struct bind *b, int64_t *id, const char *doing, struct error *err)
{
    int code = b->failed ? SQLITE_ERROR : sqlite3_step(b->stmt);
    enum status status = OK;
    if (code == SQLITE_ROW && id)
        *id = sqlite3_column_int64(b->stmt, 0);
    else if (code == SQLITE_DONE && id)
        *id = sqlite3_stmt_readonly(b->stmt) ? 0 : sqlite3_last_insert_rowid(b->store->db);
    else if (code != SQLITE_ROW && code != SQLITE_DONE)
        status = db_fail(b->store->db, b->store->path, doing, err);
    if (b->stmt) {
        sqlite3_reset(b->stmt);
        sqlite3_clear_bindings(b->stmt);
    }
    return status;
}

// ---- transactions -----------------------------------------------------------------------------------

static enum status begin(struct store *store, const char *doing, struct error *err)
{
    assert(store->mode == STORE_WRITE);
    return db_exec(store, "BEGIN IMMEDIATE", doing, err);
}

// Commits if all went well. Otherwise, or if the commit itself fails, nothing is stored.
static enum status finish(struct store *store, enum status status, const char *doing,
                          struct error *err)
{
    if (status == OK)
        status = db_exec(store, "COMMIT", doing, err);
    if (status != OK && !sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

// ---- who measured -------------------------------------------------------------------------------------

// Adds the row of these texts unless it exists, and finds its id.
static enum status intern(struct store *store, enum statement add, enum statement find,
                          const char *const *texts, int count, int64_t *id, struct error *err)
{
    const char *doing = "the machine's record was not stored";
    enum statement which[2] = {add, find};
    for (int i = 0; i < 2; i++) {
        struct bind b = bind_begin(store, which[i]);
        for (int t = 0; t < count; t++)
            bind_text(&b, texts[t]);
        TRY(bind_run(&b, id, doing, err));
    }
    if (*id == 0)
        return FAIL(err, ERR_INTERNAL, "%s: a record that is not valid JSON: %s", store->path,
                    doing);
    return OK;
}

enum status store_machine(struct store *store, const char *fingerprint, const char *hardware_json,
                          int64_t *id, struct error *err)
{
    const char *const texts[] = {fingerprint, hardware_json};
    return intern(store, STMT_MACHINE_ADD, STMT_MACHINE_ID, texts, 2, id, err);
}

enum status store_environment(struct store *store, const char *json, int64_t *id, struct error *err)
{
    return intern(store, STMT_ENVIRONMENT_ADD, STMT_ENVIRONMENT_ID, &json, 1, id, err);
}

enum status store_build(struct store *store, const char *json, int64_t *id, struct error *err)
{
    return intern(store, STMT_BUILD_ADD, STMT_BUILD_ID, &json, 1, id, err);
}

enum status store_device(struct store *store, const char *fingerprint, const char *word,
                         const char *json, int64_t *id, struct error *err)
{
    const char *const texts[] = {fingerprint, word, json};
    return intern(store, STMT_DEVICE_ADD, STMT_DEVICE_ID, texts, 3, id, err);
}

// ---- runs and cells -------------------------------------------------------------------------------------

enum status store_run_begin(struct store *store, const struct store_run *run, int64_t *id,
                            struct error *err)
{
    struct bind b = bind_begin(store, STMT_RUN_ADD);
    bind_text(&b, run->suite_name);
    bind_text(&b, run->suite_text);
    bind_text(&b, run->command);
    bind_int(&b, run->machine);
    bind_int(&b, run->environment);
    bind_int(&b, run->build);
    bind_int(&b, run->started_ns);
    bind_text(&b, run->owner_json);
    return bind_run(&b, id, "the run was not stored", err);
}

enum status store_run_end(struct store *store, int64_t run, const char *status, int64_t ended_ns,
                          struct error *err)
{
    struct bind b = bind_begin(store, STMT_RUN_END);
    bind_text(&b, status);
    bind_int(&b, ended_ns);
    bind_int(&b, run);
    return bind_run(&b, NULL, "the end of the run was not stored", err);
}

enum status store_run_resume(struct store *store, int64_t run, const char *before,
                             const char *owner_json, struct error *err)
{
    struct bind b = bind_begin(store, STMT_RUN_OWNER);
    bind_text(&b, owner_json);
    bind_int(&b, run);
    bind_text(&b, before);
    TRY(bind_run(&b, NULL, "the run was not taken up", err));
    if (sqlite3_changes(store->db) == 1)
        return OK;
    return FAIL(err, ERR_USAGE, "%s: run %lld has just been taken up by another process",
                store->path, (long long)run);
}

static enum status cell_find(struct store *store, const struct store_cell *cell, int64_t *id,
                             struct error *err)
{
    struct bind b = bind_begin(store, STMT_CELL_ID);
    bind_int(&b, cell->run);
    bind_text(&b, cell->key);
    return bind_run(&b, id, "the cell was not found", err);
}

enum status store_cell(struct store *store, const struct store_cell *cell, int64_t *id,
                       struct error *err)
{
    TRY(cell_find(store, cell, id, err));
    if (*id != 0)
        return OK;
    struct bind b = bind_begin(store, STMT_CELL_ADD);
    bind_int(&b, cell->run);
    bind_text(&b, cell->key);
    bind_text(&b, cell->params_json);
    bind_text(&b, cell->label);
    bind_text(&b, cell->sweep);
    bind_text(&b, cell->model);
    bind_text(&b, cell->scheme);
    bind_text(&b, cell->device);
    bind_id(&b, cell->threads);
    bind_id(&b, cell->batch);
    bind_id(&b, cell->context);
    bind_id(&b, cell->gen);
    bind_text(&b, cell->skip_reason ? cell->skip_status : NULL);
    bind_text(&b, cell->skip_reason);
    bind_int(&b, cell->trials_planned);
    bind_real(&b, cell->predicted_memory_bytes);
    bind_real(&b, cell->predicted_ns);
    bind_text(&b, cell->prediction_json);
    bind_text(&b, cell->engine ? cell->engine : STORE_ENGINE);
    return bind_run(&b, id, "the cell was not stored", err);
}

enum status store_cell_skip(struct store *store, int64_t cell, const char *status,
                            const char *reason, struct error *err)
{
    struct bind b = bind_begin(store, STMT_CELL_SKIP);
    bind_text(&b, status);
    bind_text(&b, reason);
    bind_int(&b, cell);
    return bind_run(&b, NULL, "the skipped cell was not stored", err);
}

static enum status add_ceiling(struct store *store, int64_t run, const struct store_ceiling *row,
                               struct error *err)
{
    struct bind b = bind_begin(store, STMT_CEILING_ADD);
    bind_int(&b, run);
    bind_text(&b, row->name);
    bind_text(&b, row->level);
    bind_text(&b, row->kernel);
    bind_int(&b, row->threads);
    bind_int(&b, row->samples);
    bind_real(&b, row->value);
    bind_real(&b, row->low);
    bind_real(&b, row->high);
    bind_text(&b, row->unit);
    bind_text(&b, row->source);
    bind_id(&b, row->device);
    bind_real(&b, row->set_bytes > 0 ? row->set_bytes : NAN);
    bind_real(&b, row->clock_low_hz > 0 ? row->clock_low_hz : NAN);
    bind_real(&b, row->clock_high_hz > 0 ? row->clock_high_hz : NAN);
    bind_real(&b, row->memory_clock_hz > 0 ? row->memory_clock_hz : NAN);
    return bind_run(&b, NULL, "the ceilings were not stored", err);
}

enum status store_ceilings(struct store *store, int64_t run, const struct store_ceiling *rows,
                           size_t count, struct error *err)
{
    const char *doing = "the ceilings were not stored";
    TRY(begin(store, doing, err));
    enum status status = OK;
    for (size_t i = 0; i < count && status == OK; i++)
        status = add_ceiling(store, run, &rows[i], err);
    return finish(store, status, doing, err);
}

enum status store_ceilings_note(struct store *store, int64_t run, const char *note,
                                struct error *err)
{
    struct bind b = bind_begin(store, STMT_CEILINGS_NOTE);
    bind_text(&b, note);
    bind_int(&b, run);
    return bind_run(&b, NULL, "the note on the ceilings was not stored", err);
}

// ---- trials -----------------------------------------------------------------------------------------------

static const char trial_lost[] = "the trial was not stored";

// Adds metrics of a trial, or of one of its samples; the other id is 0.
static enum status add_metrics(struct store *store, int64_t trial, int64_t sample,
                               const struct store_metric *rows, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct bind b = bind_begin(store, STMT_METRIC_ADD);
        bind_id(&b, trial);
        bind_id(&b, sample);
        bind_text(&b, rows[i].name);
        bind_text(&b, rows[i].phase);
        bind_text(&b, rows[i].op);
        bind_real(&b, rows[i].value);
        bind_text(&b, rows[i].unit);
        bind_text(&b, rows[i].source);
        TRY(bind_run(&b, NULL, trial_lost, err));
    }
    return OK;
}

static enum status add_noise(struct store *store, int64_t sample, const struct store_metric *rows,
                             size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct bind b = bind_begin(store, STMT_NOISE_ADD);
        bind_int(&b, sample);
        bind_text(&b, rows[i].name);
        bind_text(&b, rows[i].phase);
        bind_real(&b, rows[i].value);
        bind_text(&b, rows[i].unit);
        bind_text(&b, rows[i].source);
        TRY(bind_run(&b, NULL, trial_lost, err));
    }
    return OK;
}

static enum status add_tokens(struct store *store, int64_t sample, const struct store_sample *from,
                              struct error *err)
{
    if (from->token_ns == NULL)
        return OK;
    for (int s = 0; s < from->sequences; s++)
        for (int i = 0; i < from->tokens; i++) {
            struct bind b = bind_begin(store, STMT_TOKEN_ADD);
            bind_int(&b, sample);
            bind_int(&b, s);
            bind_int(&b, i);
            bind_int(&b, from->token_ns[(size_t)s * (size_t)from->tokens + (size_t)i]);
            TRY(bind_run(&b, NULL, trial_lost, err));
        }
    return OK;
}

static enum status add_sample(struct store *store, int64_t trial, const struct store_sample *from,
                              struct error *err)
{
    int64_t sample = 0;
    struct bind b = bind_begin(store, STMT_SAMPLE_ADD);
    bind_int(&b, trial);
    bind_int(&b, from->repetition);
    bind_text(&b, from->token_hash);
    bind_int(&b, from->nonfinite_logits);
    TRY(bind_run(&b, &sample, trial_lost, err));
    TRY(add_metrics(store, 0, sample, from->metrics, from->metric_count, err));
    TRY(add_noise(store, sample, from->noise, from->noise_count, err));
    return add_tokens(store, sample, from, err);
}

static enum status add_verdict(struct store *store, int64_t trial, const struct store_verdict *v,
                               struct error *err)
{
    struct bind b = bind_begin(store, STMT_VERDICT_ADD);
    bind_int(&b, trial);
    bind_text(&b, v->phase);
    bind_text(&b, v->op);
    bind_text(&b, v->basis);
    bind_text(&b, v->bound);
    bind_text(&b, v->text);
    const double values[] = {
        v->t_roof_ns, v->t_memory_ns,     v->t_compute_ns, v->measured_ns,    v->eta,
        v->rho,       v->rho_low,         v->rho_high,     v->overhead_share, v->eta_low,
        v->eta_high,  v->bandwidth_moved, v->loss_share};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        bind_real(&b, values[i]);
    bind_text(&b, v->thresholds_json);
    bind_text(&b, v->finding);
    bind_text(&b, v->reason && v->reason[0] ? v->reason : NULL);
    bind_text(&b, v->loss_op);
    return bind_run(&b, NULL, trial_lost, err);
}

static enum status add_trial(struct store *store, const struct store_trial *t, int64_t *id,
                             struct error *err)
{
    struct bind b = bind_begin(store, STMT_TRIAL_ADD);
    bind_int(&b, t->cell);
    bind_int(&b, t->number);
    bind_text(&b, t->status);
    bind_text(&b, t->reason ? t->reason : "");
    bind_int(&b, t->started_ns);
    bind_int(&b, t->ended_ns);
    bind_text(&b, t->arithmetic);
    bind_text(&b, t->stored && t->stored[0] ? t->stored : NULL);
    bind_text(&b, t->engine_version);
    bind_text(&b, t->step_form);
    bind_text(&b, t->step_reason);
    bind_text(&b, t->products);
    bind_id(&b, t->build);
    TRY(bind_run(&b, id, trial_lost, err));
    TRY(add_metrics(store, *id, 0, t->metrics, t->metric_count, err));
    for (size_t i = 0; i < t->sample_count; i++)
        TRY(add_sample(store, *id, &t->samples[i], err));
    for (size_t i = 0; i < t->verdict_count; i++)
        TRY(add_verdict(store, *id, &t->verdicts[i], err));
    return OK;
}

enum status store_trial(struct store *store, const struct store_trial *trial, int64_t *id,
                        struct error *err)
{
    TRY(begin(store, trial_lost, err));
    return finish(store, add_trial(store, trial, id, err), trial_lost, err);
}

enum status store_trials_done(struct store *store, int64_t cell, bool *done, int procs,
                              struct error *err)
{
    struct bind b = bind_begin(store, STMT_TRIALS_DONE);
    bind_int(&b, cell);
    int code = SQLITE_ERROR;
    while (!b.failed && (code = sqlite3_step(b.stmt)) == SQLITE_ROW) {
        int64_t number = sqlite3_column_int64(b.stmt, 0);
        if (number >= 1 && number <= procs)
            done[number - 1] = true;
    }
    enum status status = OK;
    if (code != SQLITE_DONE)
        status = db_fail(store->db, store->path, "its trials were not read", err);
    if (b.stmt)
        sqlite3_reset(b.stmt);
    return status;
}

enum status store_cell_disturbed(struct store *store, int64_t cell, bool *out, struct error *err)
{
    *out = false;
    struct bind b = bind_begin(store, STMT_CELL_DISTURBED);
    bind_int(&b, cell);
    int code = b.failed ? SQLITE_ERROR : sqlite3_step(b.stmt);
    enum status status = OK;
    if (code == SQLITE_ROW)
        *out = sqlite3_column_int(b.stmt, 0) != 0;
    else
        status = db_fail(store->db, store->path, "a cell's state was not read", err);
    if (b.stmt)
        sqlite3_reset(b.stmt);
    return status;
}

// ---- quality ------------------------------------------------------------------------------------------------

static const char quality_lost[] = "the quality was not stored";

static enum status add_quality(struct store *store, const struct store_quality *q, int64_t *id,
                               struct error *err)
{
    struct bind b = bind_begin(store, STMT_QUALITY_ADD);
    bind_int(&b, q->run);
    bind_text(&b, q->key);
    bind_text(&b, q->params_json);
    bind_text(&b, q->status);
    bind_text(&b, q->reason ? q->reason : "");
    bind_text(&b, q->arithmetic);
    bind_text(&b, q->stored && q->stored[0] ? q->stored : NULL);
    bind_text(&b, q->engine_version);
    bind_id(&b, q->build);
    bind_int(&b, q->started_ns);
    bind_int(&b, q->ended_ns);
    TRY(bind_run(&b, id, quality_lost, err));
    for (size_t i = 0; i < q->metric_count; i++) {
        b = bind_begin(store, STMT_QUALITY_VALUE_ADD);
        bind_int(&b, *id);
        bind_text(&b, q->metrics[i].name);
        bind_real(&b, q->metrics[i].value);
        bind_text(&b, q->metrics[i].unit);
        bind_text(&b, q->metrics[i].source);
        TRY(bind_run(&b, NULL, quality_lost, err));
    }
    return OK;
}

enum status store_quality(struct store *store, const struct store_quality *quality, int64_t *id,
                          struct error *err)
{
    TRY(begin(store, quality_lost, err));
    return finish(store, add_quality(store, quality, id, err), quality_lost, err);
}

enum status store_quality_find(struct store *store, int64_t run, int64_t build, const char *key,
                               int64_t *id, struct error *err)
{
    struct bind b = bind_begin(store, STMT_QUALITY_FIND);
    bind_int(&b, run);
    bind_id(&b, build);
    bind_text(&b, key);
    return bind_run(&b, id, "the quality was not looked up", err);
}

enum status store_cell_quality(struct store *store, int64_t cell, int64_t quality,
                               struct error *err)
{
    struct bind b = bind_begin(store, STMT_CELL_QUALITY);
    bind_int(&b, quality);
    bind_int(&b, cell);
    return bind_run(&b, NULL, quality_lost, err);
}
