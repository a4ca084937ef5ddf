// schema.c - the tables and views of the store, and the migration of older files.
//
// The schema is a list of steps. Step i turns version i into version i + 1. A released step must never be edited; to
// change the schema, append a step. Views hold definitions that several readers need: the status of a cell, and a
// trial's value of a metric.

#include <stdio.h>
#include <string.h>

#include "results/db.h"

// Version 1: the tables. A value that was not measured is NULL.
static const char tables_sql[] =
    "CREATE TABLE machine ("
    "  id INTEGER PRIMARY KEY,"
    "  fingerprint TEXT NOT NULL," // hash of hardware and virtualization
    "  hardware TEXT NOT NULL CHECK (json_valid(hardware)),"
    "  UNIQUE (fingerprint, hardware)) STRICT;"

    "CREATE TABLE environment (" // kernel, driver, governor, libraries
    "  id INTEGER PRIMARY KEY,"
    "  content TEXT NOT NULL UNIQUE CHECK (json_valid(content))) STRICT;"

    "CREATE TABLE build (" // compiler, flags, commit, features
    "  id INTEGER PRIMARY KEY,"
    "  content TEXT NOT NULL UNIQUE CHECK (json_valid(content))) STRICT;"

    "CREATE TABLE run ("
    "  id INTEGER PRIMARY KEY,"
    "  suite_name TEXT NOT NULL,"
    "  suite_text TEXT NOT NULL," // resolved: includes, environment and --set applied
    "  command TEXT NOT NULL,"
    "  machine_id INTEGER NOT NULL REFERENCES machine,"
    "  environment_id INTEGER NOT NULL REFERENCES environment,"
    "  build_id INTEGER NOT NULL REFERENCES build,"
    "  started_ns INTEGER NOT NULL," // since 1970, UTC
    "  ended_ns INTEGER,"
    "  status TEXT NOT NULL DEFAULT 'running'"
    "    CHECK (status IN ('running', 'done', 'interrupted', 'failed'))) STRICT;"

    "CREATE TABLE cell ("
    "  id INTEGER PRIMARY KEY,"
    "  run_id INTEGER NOT NULL REFERENCES run,"
    "  key TEXT NOT NULL," // SHA-256 of params
    "  params TEXT NOT NULL CHECK (json_valid(params)),"
    "  label TEXT NOT NULL,"
    "  sweep TEXT,"
    "  model TEXT, scheme TEXT, device TEXT,"
    "  threads INTEGER, batch INTEGER, context INTEGER, gen INTEGER,"
    "  skip_status TEXT CHECK (skip_status IN ('skipped', 'unsupported')),"
    "  skip_reason TEXT,"
    "  trials_planned INTEGER NOT NULL,"
    "  predicted_memory_bytes REAL, predicted_ns REAL,"
    "  prediction TEXT CHECK (prediction IS NULL OR json_valid(prediction)),"
    "  UNIQUE (run_id, key),"
    "  CHECK ((skip_status IS NULL) = (skip_reason IS NULL))) STRICT;"
    "CREATE INDEX cell_by_key ON cell (key, run_id);"

    "CREATE TABLE trial (" // one cell in one fresh process
    "  id INTEGER PRIMARY KEY,"
    "  cell_id INTEGER NOT NULL REFERENCES cell,"
    "  number INTEGER NOT NULL CHECK (number > 0),"
    "  status TEXT NOT NULL CHECK (status IN ('ok', 'noisy', 'throttled', 'wrong', 'oom',"
    "    'timeout', 'crashed', 'unsupported', 'skipped')),"
    "  reason TEXT NOT NULL CHECK (status = 'ok' OR reason <> ''),"
    "  started_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL,"
    "  arithmetic TEXT," // what really ran: "f32", "bf16 dot"
    "  UNIQUE (cell_id, number)) STRICT;"

    "CREATE TABLE sample (" // one timed repetition of a trial
    "  id INTEGER PRIMARY KEY,"
    "  trial_id INTEGER NOT NULL REFERENCES trial,"
    "  repetition INTEGER NOT NULL,"
    "  token_hash TEXT,"
    "  nonfinite_logits INTEGER,"
    "  UNIQUE (trial_id, repetition)) STRICT;"

    "CREATE TABLE token_time (" // when a token was on the host, ns after the request
    "  sample_id INTEGER NOT NULL REFERENCES sample,"
    "  sequence INTEGER NOT NULL,"
    "  token INTEGER NOT NULL,"
    "  time_ns INTEGER NOT NULL,"
    "  PRIMARY KEY (sample_id, sequence, token)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE ceiling (" // a measured limit of the machine, as it was in this run
    "  id INTEGER PRIMARY KEY,"
    "  run_id INTEGER NOT NULL REFERENCES run,"
    "  name TEXT NOT NULL, level TEXT NOT NULL, kernel TEXT NOT NULL,"
    "  threads INTEGER NOT NULL, samples INTEGER NOT NULL,"
    "  value REAL, low REAL, high REAL,"
    "  unit TEXT NOT NULL, source TEXT NOT NULL) STRICT;"
    "CREATE INDEX ceiling_by_run ON ceiling (run_id);"

    "CREATE TABLE metric (" // of a trial, or of one repetition of it
    "  id INTEGER PRIMARY KEY,"
    "  trial_id INTEGER REFERENCES trial,"
    "  sample_id INTEGER REFERENCES sample,"
    "  name TEXT NOT NULL,"
    "  phase TEXT, op TEXT,"
    "  value REAL,"
    "  unit TEXT NOT NULL, source TEXT NOT NULL,"
    "  CHECK ((trial_id IS NULL) <> (sample_id IS NULL))) STRICT;"
    "CREATE INDEX metric_by_trial ON metric (trial_id) WHERE trial_id IS NOT NULL;"
    "CREATE INDEX metric_by_sample ON metric (sample_id) WHERE sample_id IS NOT NULL;"

    "CREATE TABLE noise (" // what disturbed one repetition
    "  id INTEGER PRIMARY KEY,"
    "  sample_id INTEGER NOT NULL REFERENCES sample,"
    "  name TEXT NOT NULL, phase TEXT,"
    "  value REAL,"
    "  unit TEXT NOT NULL, source TEXT NOT NULL) STRICT;"
    "CREATE INDEX noise_by_sample ON noise (sample_id);"

    "CREATE TABLE verdict (" // what limits a phase, with the thresholds that said so
    "  id INTEGER PRIMARY KEY,"
    "  trial_id INTEGER NOT NULL REFERENCES trial,"
    "  phase TEXT NOT NULL, op TEXT,"
    "  basis TEXT NOT NULL,"
    "  bound TEXT NOT NULL CHECK (bound IN ('memory', 'compute', 'overhead', 'balanced',"
    "    'undetermined')),"
    "  explanation TEXT NOT NULL,"
    "  t_roof_ns REAL, t_memory_ns REAL, t_compute_ns REAL, measured_ns REAL,"
    "  eta REAL, rho REAL, rho_low REAL, rho_high REAL, overhead_share REAL,"
    "  thresholds TEXT CHECK (thresholds IS NULL OR json_valid(thresholds))) STRICT;"
    "CREATE INDEX verdict_by_trial ON verdict (trial_id);";

// Version 2: definitions that readers share.
//
// A cell's status: any failed trial makes the cell failed, and the worst word wins. It is throttled or noisy if at
// least half of its trials are, because their median may then be disturbed. Without trials the status is that of a
// skipped cell, or 'pending'.
//
// A trial's value of a metric: the median over its repetitions, or the value stored for the trial itself. Failed trials
// have none, because a wrong answer is never a speed.
static const char views_sql[] =
    "CREATE VIEW cell_trials AS"
    "  SELECT cell.id AS cell_id, count(trial.id) AS trials,"
    "    count(*) FILTER (WHERE trial.status = 'wrong') AS wrong,"
    "    count(*) FILTER (WHERE trial.status = 'crashed') AS crashed,"
    "    count(*) FILTER (WHERE trial.status = 'oom') AS oom,"
    "    count(*) FILTER (WHERE trial.status = 'timeout') AS timeout,"
    "    count(*) FILTER (WHERE trial.status = 'unsupported') AS unsupported,"
    "    count(*) FILTER (WHERE trial.status = 'skipped') AS skipped,"
    "    count(*) FILTER (WHERE trial.status = 'throttled') AS throttled,"
    "    count(*) FILTER (WHERE trial.status = 'noisy') AS noisy"
    "  FROM cell LEFT JOIN trial ON trial.cell_id = cell.id GROUP BY cell.id;"

    "CREATE VIEW cell_state AS"
    "  SELECT s.*, coalesce((SELECT reason FROM trial"
    "      WHERE trial.cell_id = s.cell_id AND (trial.status = s.status"
    "        OR (s.status = 'noisy' AND trial.status = 'throttled'))"
    "        AND reason <> '' ORDER BY number LIMIT 1), skip_reason, '') AS reason"
    "  FROM (SELECT cell.id AS cell_id, cell.run_id, cell.skip_reason, trials,"
    "      throttled + noisy AS disturbed,"
    "      CASE WHEN trials = 0 THEN coalesce(skip_status, 'pending')"
    "        WHEN wrong > 0 THEN 'wrong' WHEN crashed > 0 THEN 'crashed'"
    "        WHEN oom > 0 THEN 'oom' WHEN timeout > 0 THEN 'timeout'"
    "        WHEN unsupported > 0 THEN 'unsupported' WHEN skipped > 0 THEN 'skipped'"
    "        WHEN 2 * throttled >= trials THEN 'throttled'"
    "        WHEN 2 * (throttled + noisy) >= trials THEN 'noisy'"
    "        ELSE 'ok' END AS status"
    "    FROM cell JOIN cell_trials ON cell_trials.cell_id = cell.id) AS s;"

    "CREATE VIEW trial_value AS"
    "  WITH one AS ("
    "    SELECT metric.trial_id, name, phase, op, value, unit, source FROM metric"
    "      WHERE metric.trial_id IS NOT NULL AND value IS NOT NULL"
    "    UNION ALL"
    "    SELECT sample.trial_id, name, phase, op, value, unit, source"
    "      FROM metric JOIN sample ON sample.id = metric.sample_id WHERE value IS NOT NULL),"
    "  ranked AS ("
    "    SELECT *, row_number() OVER (PARTITION BY trial_id, name, phase, op ORDER BY value) AS i,"
    "      count(*) OVER (PARTITION BY trial_id, name, phase, op) AS n FROM one)"
    "  SELECT trial.cell_id, trial_id, trial.number, name, phase, op, avg(value) AS value,"
    "    min(unit) AS unit, min(source) AS source, n AS repetitions"
    "  FROM ranked JOIN trial ON trial.id = trial_id"
    "  WHERE i IN ((n + 1) / 2, (n + 2) / 2) AND trial.status IN ('ok', 'noisy', 'throttled')"
    "  GROUP BY trial_id, name, phase, op;";

// Version 3: quality. One row for each evaluation of a model in a scheme over a text, and its figures. A cell refers to
// the evaluation that it shares with all cells of the same model, scheme, head, KV type and text.
static const char quality_sql[] =
    "CREATE TABLE quality ("
    "  id INTEGER PRIMARY KEY,"
    "  run_id INTEGER NOT NULL REFERENCES run," // the run that measured it, with its build and machine
    "  key TEXT NOT NULL,"                      // SHA-256 of params
    "  params TEXT NOT NULL CHECK (json_valid(params)),"
    "  status TEXT NOT NULL CHECK (status IN ('ok', 'wrong', 'oom', 'timeout', 'crashed',"
    "    'unsupported', 'skipped')),"
    "  reason TEXT NOT NULL CHECK (status = 'ok' OR reason <> '')," // of ok: what is missing
    "  arithmetic TEXT,"
    "  started_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL) STRICT;"
    "CREATE INDEX quality_by_key ON quality (key, id);"

    "CREATE TABLE quality_value ("
    "  quality_id INTEGER NOT NULL REFERENCES quality,"
    "  name TEXT NOT NULL,"
    "  value REAL,"
    "  unit TEXT NOT NULL, source TEXT NOT NULL,"
    "  PRIMARY KEY (quality_id, name)) STRICT, WITHOUT ROWID;"

    "ALTER TABLE cell ADD COLUMN quality_id INTEGER REFERENCES quality;";

// Version 4: who measured what. A device is a processor or a GPU with its identifying fields; each ceiling belongs to
// one. A cell names its engine. A trial and an evaluation name the build that ran them, because a run can be resumed
// with another build. `stored` lists the types of weights that the file stores as codes ("q8_0"). An owner is the
// process that writes a run. NULL in rows of older files: not recorded.
//
// A rate of a trial is that of its median time. Over an even number of repetitions the median of the rates would
// differ, because the middle two are averaged.
static const char device_sql[] =
    "CREATE TABLE device ("
    "  id INTEGER PRIMARY KEY,"
    "  fingerprint TEXT NOT NULL," // hash of its identifying fields
    "  word TEXT NOT NULL,"        // as cells name it: "cpu", "cuda:0"
    "  content TEXT NOT NULL CHECK (json_valid(content)),"
    "  UNIQUE (fingerprint, word, content)) STRICT;"

    "ALTER TABLE ceiling ADD COLUMN device_id INTEGER REFERENCES device;"
    "ALTER TABLE ceiling ADD COLUMN set_bytes REAL;" // set that all threads read repeatedly
    "ALTER TABLE run ADD COLUMN owner TEXT CHECK (owner IS NULL OR json_valid(owner));"
    "ALTER TABLE cell ADD COLUMN engine TEXT NOT NULL DEFAULT 'builtin';"
    "ALTER TABLE trial ADD COLUMN build_id INTEGER REFERENCES build;"
    "ALTER TABLE trial ADD COLUMN stored TEXT;"
    "ALTER TABLE quality ADD COLUMN build_id INTEGER REFERENCES build;"
    "ALTER TABLE quality ADD COLUMN stored TEXT;"

    "DROP VIEW trial_value;"
    "CREATE VIEW trial_value AS"
    "  WITH one AS ("
    "    SELECT metric.trial_id, name, phase, op, value, unit, source FROM metric"
    "      WHERE metric.trial_id IS NOT NULL AND value IS NOT NULL"
    "    UNION ALL"
    "    SELECT sample.trial_id, name, phase, op, value, unit, source"
    "      FROM metric JOIN sample ON sample.id = metric.sample_id WHERE value IS NOT NULL),"
    "  ranked AS ("
    "    SELECT *, row_number() OVER (PARTITION BY trial_id, name, phase, op ORDER BY value) AS i,"
    "      count(*) OVER (PARTITION BY trial_id, name, phase, op) AS n FROM one)"
    "  SELECT trial.cell_id, trial_id, trial.number, name, phase, op,"
    "    CASE WHEN min(unit) = 'token/s' AND min(value) > 0 THEN 1 / avg(1 / value)"
    "      ELSE avg(value) END AS value,"
    "    min(unit) AS unit, min(source) AS source, n AS repetitions"
    "  FROM ranked JOIN trial ON trial.id = trial_id"
    "  WHERE i IN ((n + 1) / 2, (n + 2) / 2) AND trial.status IN ('ok', 'noisy', 'throttled')"
    "  GROUP BY trial_id, name, phase, op;";

// Version 5: the version of the engine that measured a trial or an evaluation, in the engine's own words. The build
// identifies the program. NULL in rows of older files, and if no engine was loaded.
//
// The cost of views that group all rows before they pick some grows with the store. So cell_state counts the trials of
// one cell at a time, by the rules of version 2. trial_value is removed; results/summary.c has its definition.
static const char version_sql[] =
    "ALTER TABLE trial ADD COLUMN engine_version TEXT;"
    "ALTER TABLE quality ADD COLUMN engine_version TEXT;"
    "DROP VIEW trial_value;"
    "DROP VIEW cell_state;"
    "DROP VIEW cell_trials;"

    "CREATE VIEW cell_state AS"
    "  WITH counted AS ("
    "    SELECT id AS cell_id, run_id, skip_status, skip_reason,"
    "      (SELECT count(*) FROM trial WHERE cell_id = cell.id) AS trials,"
    "      (SELECT count(*) FROM trial WHERE cell_id = cell.id"
    "        AND status IN ('throttled', 'noisy')) AS disturbed,"
    "      (SELECT count(*) FROM trial WHERE cell_id = cell.id"
    "        AND status = 'throttled') AS throttled,"
    "      (SELECT status FROM trial WHERE cell_id = cell.id" // the first of these, as listed
    "        AND instr('wrong crashed oom timeout unsupported skipped', status)"
    "        ORDER BY instr('wrong crashed oom timeout unsupported skipped', status) LIMIT 1"
    "        ) AS ended"
    "    FROM cell),"
    "  judged AS ("
    "    SELECT cell_id, run_id, skip_reason, trials, disturbed,"
    "      CASE WHEN trials = 0 THEN coalesce(skip_status, 'pending')"
    "        WHEN ended IS NOT NULL THEN ended"
    "        WHEN 2 * throttled >= trials THEN 'throttled'"
    "        WHEN 2 * disturbed >= trials THEN 'noisy'"
    "        ELSE 'ok' END AS status"
    "    FROM counted)"
    "  SELECT judged.*, coalesce((SELECT reason FROM trial"
    "      WHERE trial.cell_id = judged.cell_id AND (trial.status = judged.status"
    "        OR (judged.status = 'noisy' AND trial.status = 'throttled'))"
    "        AND reason <> '' ORDER BY number LIMIT 1), skip_reason, '') AS reason"
    "  FROM judged;";

// Version 6: the clocks of a device around the samples of its ceiling. NULL in rows of older files, and if unknown.
static const char clock_sql[] =
    "ALTER TABLE ceiling ADD COLUMN clock_low_hz REAL;" // the lowest and the highest of its cores
    "ALTER TABLE ceiling ADD COLUMN clock_high_hz REAL;"
    "ALTER TABLE ceiling ADD COLUMN memory_clock_hz REAL;"; // the lowest

// Version 7: the form of a trial's decode steps, if its device has several, and the reason for it.
static const char step_sql[] =
    "ALTER TABLE trial ADD COLUMN step_form TEXT;"    // "graph", "persistent"
    "ALTER TABLE trial ADD COLUMN step_reason TEXT;"; // text

// Version 8: columns for what a verdict says, so that readers need not parse its sentence, and a run's note on its
// ceilings. In older files the columns are filled from the sentences; shares there are rounded to a per cent. A row
// keeps NULL for what its sentence does not say: a range ("under 1 to 3 %" gives none), or how far bandwidth moved
// without making one.
//
// `reason` is for a bound that needs one: "62 % of the time is waiting", "memory to compute within the interval of the
// ceilings". It follows the first ": " and, where there is a share, ends at the last ", ": rtrim cuts that off.
#define MOVED "instr(explanation, ' (bandwidth moved by ')"
#define LOSES "instr(explanation, ' loses most, ')"
#define SHARE                                                                                      \
    "replace(CASE WHEN explanation LIKE 'inefficient here: %' THEN substr(explanation, 19)"        \
    " ELSE substr(explanation, instr(explanation, ', ') + 2) END, 'kernels at ', '')"
static const char finding_sql[] =
    "ALTER TABLE verdict ADD COLUMN finding TEXT"
    "  CHECK (finding IN ('reached', 'inefficient', 'wrong'));" // NULL: there is no share
    "ALTER TABLE verdict ADD COLUMN eta_low REAL;"         // with the most bandwidth that was seen
    "ALTER TABLE verdict ADD COLUMN eta_high REAL;"        // with the least
    "ALTER TABLE verdict ADD COLUMN bandwidth_moved REAL;" // of the most that was seen, while it ran
    "ALTER TABLE verdict ADD COLUMN reason TEXT;"
    "ALTER TABLE verdict ADD COLUMN loss_op TEXT;"    // the op class that loses most
    "ALTER TABLE verdict ADD COLUMN loss_share REAL;" // of all that the classes lose
    "ALTER TABLE run ADD COLUMN ceilings_note TEXT;"  // text: what was disturbed or not measured

    "UPDATE verdict SET finding = CASE"
    "    WHEN explanation LIKE 'inefficient here: %' THEN 'inefficient'"
    "    WHEN instr(explanation, 'the model or a ceiling is wrong') THEN 'wrong'"
    "    ELSE 'reached' END WHERE eta IS NOT NULL;"
    "UPDATE verdict SET bandwidth_moved = CAST(substr(explanation, " MOVED " + 21) AS REAL) / 100"
    "  WHERE " MOVED ";"
    "UPDATE verdict SET eta_low = CAST(" SHARE " AS REAL) / 100,"
    "    eta_high = CAST(substr(" SHARE ", instr(" SHARE ", ' to ') + 4) AS REAL) / 100"
    "  WHERE " MOVED " AND " SHARE " GLOB '[0-9]* to [0-9]* % of *';"
    "UPDATE verdict SET reason = substr(explanation, instr(explanation, ': ') + 2)"
    "  WHERE bound IN ('overhead', 'undetermined') AND instr(explanation, ': ');"
    "UPDATE verdict SET reason = rtrim(rtrim(reason, replace(reason, ',', '')), ',')"
    "  WHERE eta IS NOT NULL AND instr(reason, ', ');"
    "UPDATE verdict SET loss_share = CAST(substr(explanation, " LOSES " + 13) AS REAL) / 100,"
    "    loss_op = substr(explanation, instr(explanation, '; ') + 2,"
    "      " LOSES " - instr(explanation, '; ') - 2)"
    "  WHERE " LOSES " AND instr(explanation, '; ');";
#undef MOVED
#undef LOSES
#undef SHARE

// Version 9: 'failed' is the status of a worker that reported an error (a full disk, a lost file); 'crashed'
// is left to workers that died. The lists of words are inside a CHECK and a view, which are edited as text: SQLite
// documents this for changes that do not touch stored rows (lang_altertable.html). In older files the words of the
// reason tell the two apart: those about a death begin with "the worker".
static const char failed_sql[] =
    "PRAGMA writable_schema = ON;"
    "UPDATE sqlite_schema SET sql = replace(sql, '''crashed'',', '''crashed'', ''failed'',')"
    "  WHERE type = 'table' AND name IN ('trial', 'quality');"
    "UPDATE sqlite_schema SET sql = replace(sql, 'crashed oom', 'crashed failed oom')"
    "  WHERE type = 'view' AND name = 'cell_state';"
    "PRAGMA writable_schema = RESET;"
    "UPDATE trial SET status = 'failed'"
    "  WHERE status = 'crashed' AND reason NOT LIKE 'the worker %';"
    "UPDATE quality SET status = 'failed'"
    "  WHERE status = 'crashed' AND reason NOT LIKE 'the worker %';";

// Version 10: the library that multiplied in a trial's prefill passes, its version and its picks, as text.
static const char products_sql[] = "ALTER TABLE trial ADD COLUMN products TEXT;";

static const char *const steps[] = {tables_sql, views_sql, quality_sql, device_sql, version_sql,
                                    clock_sql,  step_sql,  finding_sql, failed_sql, products_sql};

int schema_version(void)
{
    return (int)(sizeof steps / sizeof steps[0]);
}

enum status schema_inspect(sqlite3 *db, const char *path, int *version, struct error *err)
{
    int64_t application = 0, user_version = 0, objects = 0;
    TRY(db_int(db, path, "PRAGMA application_id", &application, err));
    TRY(db_int(db, path, "PRAGMA user_version", &user_version, err));
    TRY(db_int(db, path, "SELECT count(*) FROM sqlite_schema", &objects, err));
    if (application == 0 && user_version == 0 && objects == 0) {
        *version = 0;
        return OK;
    }
    if (application != SCHEMA_APPLICATION_ID)
        return FAIL(err, ERR_FORMAT,
                    "%s: a database of another program, not one of bench (application id %lld)",
                    path, (long long)application);
    if (user_version > schema_version())
        return FAIL(err, ERR_FORMAT,
                    "%s: made by a newer bench (schema version %lld, this one knows up to %d)",
                    path, (long long)user_version, schema_version());
    if (user_version < 1)
        return FAIL(err, ERR_FORMAT, "%s: damaged: schema version %lld", path,
                    (long long)user_version);
    *version = (int)user_version;
    return OK;
}

static enum status migrate_locked(sqlite3 *db, const char *path, int target, struct error *err)
{
    int version = 0;
    TRY(schema_inspect(db, path, &version, err));
    char stamp[96];
    for (; version < target; version++)
        if (sqlite3_exec(db, steps[version], NULL, NULL, NULL) != SQLITE_OK)
            return db_fail(db, path, "its tables were not made", err);
    snprintf(stamp, sizeof stamp, "PRAGMA application_id = %d; PRAGMA user_version = %d",
             SCHEMA_APPLICATION_ID, version);
    if (sqlite3_exec(db, stamp, NULL, NULL, NULL) != SQLITE_OK)
        return db_fail(db, path, "its tables were not made", err);
    return OK;
}

enum status schema_migrate(sqlite3 *db, const char *path, int target, struct error *err)
{
    if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return db_fail(db, path, "its tables were not made", err);
    enum status status = migrate_locked(db, path, target, err);
    if (status == OK && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        status = db_fail(db, path, "its tables were not made", err);
    if (status != OK)
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}
