// test_open.c - files that are not ridge's stores: each gives one clear line and stays as it was.
#include "tests/results/fixture.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "results/db.h"
#include "results/query.h"

enum { NOBODY = 65534 };

static void write_bytes(const char *path, const char *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    fclose(file);
}

static char *contents(const char *path, size_t *size)
{
    char *text = NULL;
    struct error err = {0};
    must(file_read(path, 1 << 24, &text, size, &err), &err);
    return text;
}

// Opening fails in this mode with this code, the message names the file, says `words`, is one line;
// the file's bytes are the same afterwards.
static void refused(const char *path, enum store_mode mode, enum status code, const char *words)
{
    struct store *store = NULL;
    struct error err = {0};
    struct stat st;
    size_t before_size = 0, after_size = 0;
    bool file = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    char *before = file ? contents(path, &before_size) : NULL;
    assert_int_equal(store_open(path, mode, &store, &err), code);
    assert_null(store);
    assert_non_null(strstr(err.message, path));
    if (!strstr(err.message, words))
        fail_msg("'%s' does not say '%s'", err.message, words);
    assert_null(strchr(err.message, '\n'));
    if (file) {
        char *after = contents(path, &after_size);
        assert_int_equal(before_size, after_size);
        assert_memory_equal(before, after, before_size);
        free(after);
    } else {
        assert_int_equal(stat(path, &st) == 0 && S_ISREG(st.st_mode), 0);
    }
    free(before);
}

static void make_store_at(const char *path)
{
    struct store *store = open_or_fail(path, STORE_WRITE);
    struct error err = {0};
    int64_t cell = 0;
    add_run(store, &cell);
    must(add_trial(store, cell, 1, "ok", 200, &err), &err);
    store_close(store);
}

static void sql(const char *path, const char *text)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void test_not_a_database(void **state)
{
    struct fixture *f = *state;
    char big[8192];
    memset(big, 'x', sizeof big);
    write_bytes(f->path, big, sizeof big);
    refused(f->path, STORE_READ, ERR_FORMAT, "not a database");
    refused(f->path, STORE_WRITE, ERR_FORMAT, "not a database");
    write_bytes(f->path, "hello", 5);
    refused(f->path, STORE_READ, ERR_FORMAT, "not a database");
    refused(f->path, STORE_WRITE, ERR_FORMAT, "not a database");
}

static size_t runs_in(struct store *store)
{
    struct arena arena = {0};
    struct error err = {0};
    struct run_row *runs;
    size_t count = 77;
    must(query_runs(store, &arena, &runs, &count, &err), &err);
    arena_fini(&arena);
    return count;
}

// An empty file, as mktemp makes it, and as SQLite makes it of a database that nothing was written to. It is a store in
// which nothing was measured: a reader leaves it as it is, and a writer fills it.
static void test_an_empty_file_is_an_empty_store(void **state)
{
    struct fixture *f = *state;
    static const char *const ways[] = {"", "CREATE TABLE x (y); DROP TABLE x; VACUUM"};
    for (size_t i = 0; i < 2; i++) {
        struct arena arena = {0};
        struct error err = {0};
        struct run_row run;
        size_t size = 0, after = 0;
        unlink(f->path);
        write_bytes(f->path, "", 0);
        sql(f->path, ways[i]);
        char *before = contents(f->path, &size);
        struct store *store = open_or_fail(f->path, STORE_READ);
        assert_int_equal(runs_in(store), 0);
        assert_int_equal(query_run(store, &arena, NULL, &run, &err), ERR_USAGE);
        assert_non_null(
            strstr(err.message, "nothing measured yet; try: bench run suites/smoke.conf"));
        store_close(store);
        free(before);
        free(contents(f->path, &after));
        assert_int_equal(size, after);
        make_store_at(f->path);
        store = open_or_fail(f->path, STORE_READ);
        assert_int_equal(runs_in(store), 1);
        store_close(store);
        arena_fini(&arena);
    }
}

// A folder that is made for a store is its user's own; one that is there keeps its mode.
static void test_the_folder_is_private(void **state)
{
    struct fixture *f = *state;
    char path[160], dir[128];
    struct stat st;
    mode_t mask = umask(022);
    snprintf(path, sizeof path, "%s/share/ridge/bench.db", f->dir);
    snprintf(dir, sizeof dir, "%s/share/ridge", f->dir);
    make_store_at(path);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(chmod(dir, 0755), 0);
    make_store_at(path);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755);
    umask(mask);
}

static void test_missing_and_misplaced(void **state)
{
    struct fixture *f = *state;
    char path[160];
    refused(f->path, STORE_READ, ERR_IO, "no such database");
    refused(f->dir, STORE_READ, ERR_IO, "a directory");
    refused(f->dir, STORE_WRITE, ERR_IO, "a directory");
    snprintf(path, sizeof path, "%s/file", f->dir);
    write_bytes(path, "x", 1);
    snprintf(path, sizeof path, "%s/file/bench.db", f->dir);
    struct store *store = NULL;
    struct error err = {0};
    assert_int_equal(store_open(path, STORE_WRITE, &store, &err), ERR_IO);
    snprintf(path, sizeof path, "%s/new/folders/bench.db", f->dir); // the twin that succeeds
    make_store_at(path);
    store_close(open_or_fail(path, STORE_READ));
}

static void test_foreign_and_newer(void **state)
{
    struct fixture *f = *state;
    sql(f->path, "CREATE TABLE theirs (x); PRAGMA user_version = 1");
    refused(f->path, STORE_READ, ERR_FORMAT, "another program");
    refused(f->path, STORE_WRITE, ERR_FORMAT, "another program");
    unlink(f->path);
    sql(f->path, "PRAGMA application_id = 99");
    refused(f->path, STORE_WRITE, ERR_FORMAT, "another program");
    unlink(f->path);
    make_store_at(f->path);
    sql(f->path, "PRAGMA journal_mode = DELETE; PRAGMA user_version = 4711");
    refused(f->path, STORE_READ, ERR_FORMAT, "newer");
    refused(f->path, STORE_WRITE, ERR_FORMAT, "newer");
}

// Every truncation and every damaged page is either refused in one line, or read without a crash.
static void test_damaged(void **state)
{
    struct fixture *f = *state;
    size_t size = 0;
    make_store_at(f->path);
    sql(f->path, "PRAGMA journal_mode = DELETE");
    char *whole = contents(f->path, &size);
    size_t refusals = 0;
    for (size_t cut = 1; cut < size; cut += 1009) {
        struct store *store = NULL;
        struct error err = {0};
        struct arena arena = {0};
        struct run_row *runs;
        size_t count;
        write_bytes(f->path, whole, cut);
        enum status status = store_open(f->path, STORE_READ, &store, &err);
        if (status == OK)
            status = query_runs(store, &arena, &runs, &count, &err);
        if (status != OK) {
            refusals++;
            assert_non_null(strstr(err.message, f->path));
            assert_null(strchr(err.message, '\n'));
        }
        arena_fini(&arena);
        store_close(store);
    }
    assert_true(refusals > 10);
    free(whole);
}

// ---- older versions -----------------------------------------------------------------------------

// A store as an older version left it, with a trial in it: 1 had no views, 2 no quality.
static void make_version(const char *path, int version)
{
    sqlite3 *db = NULL;
    struct error err = {0};
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    must(schema_migrate(db, path, version, &err), &err);
    static const char rows[] =
        "INSERT INTO machine VALUES (1, 'f', '{}'); INSERT INTO environment VALUES (1, '{}');"
        "INSERT INTO build VALUES (1, '{}');"
        "INSERT INTO run (id, suite_name, suite_text, command, machine_id, environment_id, "
        "build_id,"
        "    started_ns, ended_ns, status) VALUES (1, 'old', 't', 'c', 1, 1, 1, 5, 6, 'done');"
        "INSERT INTO cell (id, run_id, key, params, label, trials_planned)"
        "  VALUES (1, 1, 'k', '{}', 'l', 1);"
        "INSERT INTO trial (id, cell_id, number, status, reason, started_ns, ended_ns)"
        "  VALUES (1, 1, 1, 'oom', 'why', 1, 2);"
        "INSERT INTO ceiling (run_id, name, level, kernel, threads, samples, value, low, high,"
        "    unit, source) VALUES (1, 'read', 'DRAM', 'k', 1, 3, 2e9, 1e9, 3e9, 'B/s', 's');";
    assert_int_equal(sqlite3_exec(db, rows, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void check_old_run(struct store *store)
{
    struct quality_row *qualities;
    size_t quality_count;
    struct arena arena = {0};
    struct error err = {0};
    struct cell_row *cells;
    struct trial_row *trials;
    struct ceiling_row *ceilings;
    size_t count;
    must(query_cells(store, &arena, 1, &cells, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_string_equal(cells[0].status, "oom");
    assert_string_equal(cells[0].reason, "why");
    assert_string_equal(cells[0].step, "");
    must(query_trials(store, &arena, cells[0].id, &trials, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_null(trials[0].step_form);
    assert_null(trials[0].step_reason);
    must(query_ceilings(store, &arena, 1, &ceilings, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_true(ceilings[0].value == 2e9);
    assert_true(isnan(ceilings[0].clock_low_hz) && isnan(ceilings[0].clock_high_hz));
    assert_true(isnan(ceilings[0].memory_clock_hz));
    must(query_quality(store, &arena, 1, &qualities, &quality_count, &err), &err);
    assert_int_equal(quality_count, 0);
    arena_fini(&arena);
}

static void check_older_version(const struct fixture *f, int version_made)
{
    size_t before_size, after_size;
    make_version(f->path, version_made);
    char *before = contents(f->path, &before_size);
    struct store *store = open_or_fail(f->path, STORE_READ);
    check_old_run(store);
    store_close(store);
    char *after = contents(f->path, &after_size);
    assert_int_equal(before_size, after_size); // a reader migrates a copy, not the file
    assert_memory_equal(before, after, before_size);
    free(before);
    free(after);

    store = open_or_fail(f->path, STORE_WRITE);
    check_old_run(store);
    int64_t version = 0;
    struct error err = {0};
    must(db_int(store->db, f->path, "PRAGMA user_version", &version, &err), &err);
    assert_int_equal(version, schema_version());
    store_close(store);
    unlink(f->path);
}

static void test_older_version(void **state)
{
    for (int version = 1; version < schema_version(); version++)
        check_older_version(*state, version);
}

// What the sentences of version 7 say becomes columns; NULL (NaN) is what they do not say.
static const struct {
    const char *bound, *text, *eta;
    const char *finding, *reason, *loss_op;
    double eta_low, eta_high, moved, loss_share;
} old_sentences[] = {
    {"memory", "memory-bound, 88 % of the roof", "0.88", "reached", NULL, NULL, NAN, NAN, NAN, NAN},
    {"memory", "memory-bound", "NULL", NULL, NULL, NULL, NAN, NAN, NAN, NAN},
    {"memory", "memory-bound, 57 to 93 % of the roof (bandwidth moved by 39 % while it ran)", "0.8",
     "reached", NULL, NULL, 0.57, 0.93, 0.39, NAN},
    {"compute",
     "compute-bound, kernels at 78 to 82 % of the roof (bandwidth moved by 39 % while it ran)",
     "0.8", "reached", NULL, NULL, 0.78, 0.82, 0.39, NAN},
    {"compute", "inefficient here: 10 % of what compute allows", "0.1", "inefficient", NULL, NULL,
     NAN, NAN, NAN, NAN},
    {"memory",
     "inefficient here: 14 to 15 % of what memory allows (bandwidth moved by 6 % while it ran); "
     "gate-up loses most, 70 % of what is lost",
     "0.145", "inefficient", NULL, "gate-up", 0.14, 0.15, 0.06, 0.7},
    {"memory",
     "inefficient here: under 1 to 3 % of what memory allows (bandwidth moved by 66 % while it "
     "ran)",
     "0.02", "inefficient", NULL, NULL, NAN, NAN, 0.66, NAN},
    {"memory", "memory-bound, 133 % of the roof: the model or a ceiling is wrong", "1.33", "wrong",
     NULL, NULL, NAN, NAN, NAN, NAN},
    {"overhead", "overhead-bound: 60 % of the time is waiting, 20 % of the roof", "0.2", "reached",
     "60 % of the time is waiting", NULL, NAN, NAN, NAN, NAN},
    {"undetermined",
     "undetermined: memory to balanced within the interval of the ceilings and of what bandwidth "
     "did, 57 to 93 % of the roof (bandwidth moved by 39 % while it ran)",
     "0.8", "reached",
     "memory to balanced within the interval of the ceilings and of what bandwidth did", NULL, 0.57,
     0.93, 0.39, NAN},
    {"undetermined",
     "undetermined: bandwidth moved by 9 % while it ran, memory by rho, 87 % of the roof", "0.87",
     "reached", "bandwidth moved by 9 % while it ran, memory by rho", NULL, NAN, NAN, NAN, NAN},
    {"undetermined", "undetermined: nothing is moved or computed", "NULL", NULL,
     "nothing is moved or computed", NULL, NAN, NAN, NAN, NAN},
};

static void check_figure(const char *what, size_t row, double got, double wanted)
{
    if (isnan(wanted) ? !isnan(got) : !(fabs(got - wanted) < 1e-12))
        fail_msg("%s of '%s': %g instead of %g", what, old_sentences[row].text, got, wanted);
}

static void check_word(const char *what, size_t row, const char *got, const char *wanted)
{
    if (!str_equal(got, wanted))
        fail_msg("%s of '%s': %s", what, old_sentences[row].text, got ? got : "none");
}

static void test_old_sentences_become_columns(void **state)
{
    const struct fixture *f = *state;
    enum { COUNT = sizeof old_sentences / sizeof old_sentences[0] };
    sqlite3 *db = NULL;
    struct arena arena = {0};
    struct error err = {0};
    struct verdict_row *rows;
    size_t count;
    make_version(f->path, 7);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE trial SET status = 'ok'", NULL, NULL, NULL), 0);
    for (size_t i = 0; i < COUNT; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "INSERT INTO verdict (trial_id, phase, op, basis, bound, explanation, eta)"
                 " VALUES (1, 'decode', 'op %02zu', 'b', '%s', '%s', %s)",
                 i, old_sentences[i].bound, old_sentences[i].text, old_sentences[i].eta);
        assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    }
    sqlite3_close(db);
    struct store *store = open_or_fail(f->path, STORE_READ);
    must(query_verdicts(store, &arena, 1, &rows, &count, &err), &err);
    assert_int_equal(count, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        check_word("finding", i, rows[i].finding, old_sentences[i].finding);
        check_word("reason", i, rows[i].reason, old_sentences[i].reason);
        check_word("loss", i, rows[i].loss_op, old_sentences[i].loss_op);
        check_figure("low", i, rows[i].eta_low, old_sentences[i].eta_low);
        check_figure("high", i, rows[i].eta_high, old_sentences[i].eta_high);
        check_figure("moved", i, rows[i].bandwidth_moved, old_sentences[i].moved);
        check_figure("loss share", i, rows[i].loss_share, old_sentences[i].loss_share);
    }
    arena_fini(&arena);
    store_close(store);
}

// Before version 9 a worker's own error was stored as crashed. Rows keep their place, and new ones may be 'failed'.
static void test_old_errors_become_failed(void **state)
{
    static const struct {
        const char *reason, *status;
    } rows[] = {{"the worker ended in load without a result: killed by SIGSEGV", "crashed"},
                {"loading m: m.gguf: No such file or directory", "failed"}};
    const struct fixture *f = *state;
    enum { COUNT = sizeof rows / sizeof rows[0] };
    sqlite3 *db = NULL;
    struct arena arena = {0};
    struct error err = {0};
    struct trial_row *trials;
    struct cell_row *cells;
    size_t count;
    make_version(f->path, 8);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    for (int i = 0; i < COUNT; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "INSERT INTO trial (cell_id, number, status, reason, started_ns, ended_ns)"
                 " VALUES (1, %d, 'crashed', '%s', 1, 2)",
                 i + 2, rows[i].reason);
        assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    }
    sqlite3_close(db);
    for (int mode = 0; mode < 2; mode++) {
        struct store *store = open_or_fail(f->path, mode ? STORE_WRITE : STORE_READ);
        must(query_trials(store, &arena, 1, &trials, &count, &err), &err);
        assert_int_equal(count, 1 + COUNT);
        assert_string_equal(trials[0].status, "oom");
        for (int i = 0; i < COUNT; i++)
            assert_string_equal(trials[i + 1].status, rows[i].status);
        must(query_cells(store, &arena, 1, &cells, &count, &err), &err);
        assert_string_equal(cells[0].status, "crashed");
        if (mode)
            must(add_trial(store, 1, 9, "failed", 1, &err), &err);
        store_close(store);
    }
    arena_fini(&arena);
    unlink(f->path);
}

// A store that the build before schema 4 wrote: two cells of batch 1, two trials of four repetitions each.
static void make_captured(const char *path)
{
    sqlite3 *db = NULL;
    size_t size = 0;
    char *text = contents("tests/results/old/version3.sql", &size);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    sqlite3_close(db);
    free(text);
}

static void check_captured_cell(struct store *store, const struct cell_row *cell)
{
    struct arena arena = {0};
    struct error err = {0};
    struct summary_row *rows;
    struct trial_row *trials;
    size_t count, trial_count;
    assert_string_equal(cell->engine, "builtin");
    assert_string_equal(cell->stored, "");
    assert_string_equal(cell->caveat, "");
    must(query_trials(store, &arena, cell->id, &trials, &trial_count, &err), &err);
    assert_true(trial_count >= 2);
    for (size_t i = 0; i < trial_count; i++) { // which build is not known, and not invented
        assert_int_equal(trials[i].build_id, 0);
        assert_null(trials[i].build);
        assert_null(trials[i].engine_version);
        assert_null(trials[i].step_form);
        assert_int_equal(trials[i].samples, 4);
    }
    must(query_summaries(store, &arena, cell->run, &rows, &count, &err), &err);
    const struct stat_summary *rate =
        &query_summary_find(rows, count, cell->id, "decode_tps", NULL)->stat;
    const struct stat_summary *time =
        &query_summary_find(rows, count, cell->id, "tpot", NULL)->stat;
    assert_float_equal(rate->median * time->median, 1e9, 1e-3);
    assert_float_equal(rate->median_interval.low * time->median_interval.high, 1e9, 1e-3);
    assert_float_equal(rate->median_interval.high * time->median_interval.low, 1e9, 1e-3);
    arena_fini(&arena);
}

static void check_captured(struct store *store)
{
    struct arena arena = {0};
    struct error err = {0};
    struct run_row run;
    struct cell_row *cells;
    struct ceiling_row *ceilings;
    struct quality_row *qualities;
    size_t count, ceiling_count, quality_count;
    must(query_run(store, &arena, "smoke", &run, &err), &err);
    assert_string_equal(run.status, "interrupted");
    assert_null(run.owner);
    must(query_cells(store, &arena, run.id, &cells, &count, &err), &err);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++)
        check_captured_cell(store, &cells[i]);
    must(query_ceilings(store, &arena, run.id, &ceilings, &ceiling_count, &err), &err);
    assert_int_equal(ceiling_count, 7);
    for (size_t i = 0; i < ceiling_count; i++) { // all were the processor's
        assert_string_equal(ceilings[i].device, "cpu");
        assert_null(ceilings[i].device_content);
        assert_true(isnan(ceilings[i].set_bytes));
        assert_true(isnan(ceilings[i].clock_low_hz));
    }
    must(query_quality(store, &arena, run.id, &qualities, &quality_count, &err), &err);
    assert_int_equal(quality_count, 2);
    assert_null(qualities[0].build);
    arena_fini(&arena);
}

static void test_captured_version(void **state)
{
    const struct fixture *f = *state;
    make_captured(f->path);
    struct store *store = open_or_fail(f->path, STORE_READ);
    check_captured(store);
    store_close(store);
    store = open_or_fail(f->path, STORE_WRITE);
    check_captured(store);
    store_close(store);
    store = open_or_fail(f->path, STORE_READ);
    check_captured(store);
    store_close(store);
}

// ---- permissions and locks ----------------------------------------------------------------------

// Runs `check` as a user whom permissions bind; its failures show as its exit code.
static void as_nobody(void (*check)(const char *path), const char *path)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
            _exit(2);
        check(path);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void check_read_only(const char *path)
{
    struct store *store = NULL;
    struct error err = {0};
    if (store_open(path, STORE_WRITE, &store, &err) != ERR_IO || !strstr(err.message, "read-only"))
        _exit(3);
    error_clear(&err);
    // The folder is read-only too, so SQLite can make no side files: read as immutable.
    if (store_open(path, STORE_READ, &store, &err) != OK)
        _exit(4);
    struct arena arena = {0};
    struct run_row *runs;
    size_t count = 0;
    if (query_runs(store, &arena, &runs, &count, &err) != OK || count != 1)
        _exit(5);
    arena_fini(&arena);
    store_close(store);
}

// As files of before were left, and as a writer leaves one that another process has open.
static void leave_in_write_ahead(const char *path)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void test_read_only(void **state)
{
    struct fixture *f = *state;
    make_store_at(f->path);
    for (int write_ahead = 0; write_ahead < 2; write_ahead++) {
        assert_int_equal(chmod(f->path, 0644), 0);
        if (write_ahead)
            leave_in_write_ahead(f->path);
        assert_int_equal(chmod(f->path, 0444), 0);
        assert_int_equal(chmod(f->dir, 0555), 0);
        as_nobody(check_read_only, f->path);
        assert_int_equal(chmod(f->dir, 0755), 0);
    }
}

// The number of files next to the store.
static int files_beside(const char *path)
{
    static const char *const endings[] = {"-wal", "-shm", "-journal"};
    int count = 0;
    for (int i = 0; i < 3; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s%s", path, endings[i]);
        count += access(name, F_OK) == 0;
    }
    return count;
}

// A finished run is one file, and reading it makes no other. During a run readers and the writer do not wait for
// each other, and a reader that is there when the run ends costs nothing but two files.
static void test_no_files_beside(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct arena arena = {0};
    struct run_row *runs;
    size_t count = 0;
    make_store_at(f->path);
    assert_int_equal(files_beside(f->path), 0);
    struct store *reader = open_or_fail(f->path, STORE_READ);
    must(query_runs(reader, &arena, &runs, &count, &err), &err);
    store_close(reader);
    assert_int_equal(files_beside(f->path), 0);

    struct store *writer = open_or_fail(f->path, STORE_WRITE);
    reader = open_or_fail(f->path, STORE_READ);
    must(query_begin(reader, &err), &err);
    must(query_runs(reader, &arena, &runs, &count, &err), &err);
    must(store_run_end(writer, 1, "failed", 9, &err), &err);
    store_close(writer);
    must(query_runs(reader, &arena, &runs, &count, &err), &err);
    assert_string_not_equal(runs[0].status, "failed"); // its snapshot
    query_end(reader);
    must(query_runs(reader, &arena, &runs, &count, &err), &err);
    assert_string_equal(runs[0].status, "failed");
    store_close(reader);
    arena_fini(&arena);
}

// Opens with one more free descriptor each time until it succeeds: no attempt falls back to immutable.
static void check_few_descriptors(const char *path)
{
    struct rlimit limit;
    bool opened = false;
    int refusals = 0, first = open("/dev/null", O_RDONLY); // the lowest free descriptor
    close(first);
    if (first < 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0)
        _exit(3);
    for (int free_fds = 0; free_fds < 8 && !opened; free_fds++) {
        struct store *store = NULL;
        struct error err = {0};
        limit.rlim_cur = (rlim_t)(first + free_fds);
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            _exit(4);
        opened = store_open(path, STORE_READ, &store, &err) == OK;
        if (!opened && (!strstr(err.message, path) || !strstr(err.message, "Too many open files")))
            _exit(5);
        if (opened && sqlite3_uri_boolean(sqlite3_db_filename(store->db, "main"), "immutable", 0))
            _exit(6);
        refusals += !opened;
        if (opened)
            store_close(store);
    }
    if (!opened || refusals < 2)
        _exit(7);
}

static void test_few_descriptors(void **state)
{
    struct fixture *f = *state;
    make_store_at(f->path);
    leave_in_write_ahead(f->path);
    assert_int_equal(chmod(f->path, 0666), 0);
    assert_int_equal(chmod(f->dir, 0777), 0);
    as_nobody(check_few_descriptors, f->path);
}

static void check_unreadable(const char *path)
{
    struct store *store = NULL;
    struct error err = {0};
    if (store_open(path, STORE_READ, &store, &err) != ERR_IO || !strstr(err.message, path))
        _exit(3);
}

static void test_unreadable(void **state)
{
    struct fixture *f = *state;
    make_store_at(f->path);
    assert_int_equal(chmod(f->path, 0), 0);
    assert_int_equal(chmod(f->dir, 0755), 0);
    as_nobody(check_unreadable, f->path);
    assert_int_equal(chmod(f->path, 0644), 0);
}

// Takes the five seconds of the busy timeout.
static void test_locked(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    make_store_at(f->path);
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    sqlite3 *other = NULL;
    assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(add_trial(store, 1, 2, "ok", 1, &err), ERR_IO);
    assert_non_null(strstr(err.message, "locked"));
    assert_non_null(strstr(err.message, "the trial was not stored"));
    sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(other);
    error_clear(&err);
    must(add_trial(store, 1, 2, "ok", 1, &err), &err);
    store_close(store);
}

static void test_uri_letters_in_names(void **state)
{
    struct fixture *f = *state;
    char path[160];
    snprintf(path, sizeof path, "%s/a?b#c%%20'd.db", f->dir);
    make_store_at(path);
    store_close(open_or_fail(path, STORE_READ));
    assert_int_equal(chmod(path, 0444), 0);
    assert_int_equal(chmod(f->dir, 0555), 0);
    as_nobody(check_read_only, path);
    assert_int_equal(chmod(f->dir, 0755), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_not_a_database),
        fixture_test(test_missing_and_misplaced),
        fixture_test(test_foreign_and_newer),
        fixture_test(test_damaged),
        fixture_test(test_older_version),
        fixture_test(test_old_sentences_become_columns),
        fixture_test(test_old_errors_become_failed),
        fixture_test(test_captured_version),
        fixture_test(test_an_empty_file_is_an_empty_store),
        fixture_test(test_the_folder_is_private),
        fixture_test(test_read_only),
        fixture_test(test_no_files_beside),
        fixture_test(test_few_descriptors),
        fixture_test(test_unreadable),
        fixture_test(test_locked),
        fixture_test(test_uri_letters_in_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
