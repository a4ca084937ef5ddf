// test_faults.c - a failing disk, a full disk, kill -9 in mid-transaction, readers next to a writer.
//
// The disk fails through a shim over SQLite's own file system layer (VFS): the Nth write or sync from
// now reports that the disk is full or broken. N runs from the first operation until nothing fails any
// more, so that every point of a transaction is met once.
#include "tests/results/fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "results/db.h"
#include "results/query.h"

// ---- the shim -----------------------------------------------------------------------------------

static struct {
    int countdown; // operations until the failure; negative: never
    int code;      // what it reports
    bool met;      // it has
} fault = {.countdown = -1};

struct shim_file {
    sqlite3_file base;
    sqlite3_file *real; // behind this struct
};

static bool fails(void)
{
    if (fault.countdown < 0 || fault.countdown-- > 0)
        return false;
    fault.met = true;
    fault.countdown = 0; // and all that follow: a full disk stays full
    return true;
}

#define REAL(file) (((struct shim_file *)(file))->real)

static int shim_close(sqlite3_file *f)
{
    return REAL(f)->pMethods ? REAL(f)->pMethods->xClose(REAL(f)) : SQLITE_OK;
}
static int shim_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return REAL(f)->pMethods->xRead(REAL(f), p, n, at);
}
static int shim_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    return fails() ? fault.code : REAL(f)->pMethods->xWrite(REAL(f), p, n, at);
}
static int shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return REAL(f)->pMethods->xTruncate(REAL(f), size);
}
static int shim_sync(sqlite3_file *f, int flags)
{
    return fails() ? fault.code : REAL(f)->pMethods->xSync(REAL(f), flags);
}
static int shim_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return REAL(f)->pMethods->xFileSize(REAL(f), size);
}
static int shim_lock(sqlite3_file *f, int level)
{
    return REAL(f)->pMethods->xLock(REAL(f), level);
}
static int shim_unlock(sqlite3_file *f, int level)
{
    return REAL(f)->pMethods->xUnlock(REAL(f), level);
}
static int shim_reserved(sqlite3_file *f, int *out)
{
    return REAL(f)->pMethods->xCheckReservedLock(REAL(f), out);
}
static int shim_control(sqlite3_file *f, int op, void *arg)
{
    return REAL(f)->pMethods->xFileControl(REAL(f), op, arg);
}
static int shim_sector(sqlite3_file *f)
{
    return REAL(f)->pMethods->xSectorSize(REAL(f));
}
static int shim_device(sqlite3_file *f)
{
    return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f));
}
static int shim_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return REAL(f)->pMethods->xShmMap(REAL(f), page, size, extend, out);
}
static int shim_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return REAL(f)->pMethods->xShmLock(REAL(f), at, n, flags);
}
static void shim_shm_barrier(sqlite3_file *f)
{
    REAL(f)->pMethods->xShmBarrier(REAL(f));
}
static int shim_shm_unmap(sqlite3_file *f, int remove)
{
    return REAL(f)->pMethods->xShmUnmap(REAL(f), remove);
}

static const sqlite3_io_methods shim_methods = {
    .iVersion = 2,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_reserved,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_device,
    .xShmMap = shim_shm_map,
    .xShmLock = shim_shm_lock,
    .xShmBarrier = shim_shm_barrier,
    .xShmUnmap = shim_shm_unmap,
};

static sqlite3_vfs *real_vfs;
static sqlite3_vfs shim_vfs;

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    struct shim_file *f = (struct shim_file *)file;
    (void)vfs;
    f->real = (sqlite3_file *)(f + 1);
    f->base.pMethods = NULL;
    int code = real_vfs->xOpen(real_vfs, name, f->real, flags, out);
    if (code == SQLITE_OK)
        f->base.pMethods = &shim_methods;
    return code;
}

static void install_shim(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    assert_non_null(real_vfs);
    shim_vfs = *real_vfs;
    shim_vfs.zName = "failing";
    shim_vfs.szOsFile = (int)sizeof(struct shim_file) + real_vfs->szOsFile;
    shim_vfs.xOpen = shim_open;
    shim_vfs.pNext = NULL;
    assert_int_equal(sqlite3_vfs_register(&shim_vfs, 1), SQLITE_OK);
}

static void remove_shim(void)
{
    fault.countdown = -1;
    sqlite3_vfs_unregister(&shim_vfs);
}

// ---- what must hold whatever happened -----------------------------------------------------------

static int64_t count_of(const char *path, const char *sql)
{
    struct store *store = open_or_fail(path, STORE_READ);
    struct error err = {0};
    int64_t value = -1;
    must(db_int(store->db, path, sql, &value, &err), &err);
    store_close(store);
    return value;
}

// The file is sound, and each trial has all that belongs to it. Returns how many trials there are.
static int64_t check_whole(const char *path)
{
    assert_int_equal(count_of(path, "SELECT count(*) FROM pragma_integrity_check"
                                    " WHERE integrity_check <> 'ok'"),
                     0);
    int64_t trials = count_of(path, "SELECT count(*) FROM trial");
    assert_int_equal(count_of(path, "SELECT count(*) FROM sample"), 2 * trials);
    assert_int_equal(count_of(path, "SELECT count(*) FROM verdict"), trials);
    assert_int_equal(count_of(path, "SELECT count(*) FROM metric"), 3 * trials);
    return trials;
}

static void test_failing_disk_during_trials(void **state)
{
    static const int codes[] = {SQLITE_FULL, SQLITE_IOERR_WRITE};
    struct fixture *f = *state;
    for (int c = 0; c < 2; c++) {
        int64_t cell = 0, stored = 1;
        struct error err = {0};
        struct store *store = open_or_fail(f->path, STORE_WRITE);
        add_run(store, &cell);
        must(add_trial(store, cell, 1, "ok", 400, &err), &err);
        store_close(store);
        int step = 0, failures = 0;
        for (bool met = true; met; step++) {
            install_shim();
            store = open_or_fail(f->path, STORE_WRITE);
            fault.code = codes[c];
            fault.met = false;
            fault.countdown = step;
            enum status status = add_trial(store, cell, step + 2, "ok", 400, &err);
            met = fault.met;
            remove_shim();
            store_close(store);
            if (status != OK) {
                failures++;
                assert_int_equal(status, ERR_IO);
                assert_non_null(strstr(err.message, "the trial was not stored"));
                assert_non_null(strstr(err.message, f->path));
                error_clear(&err);
            } else {
                stored++;
            }
            assert_int_equal(check_whole(f->path), stored);
        }
        assert_true(failures > 3);
        print_message("%d points of failure met\n", failures);
        unlink(f->path);
    }
}

static void test_failing_disk_during_creation(void **state)
{
    struct fixture *f = *state;
    int failures = 0;
    bool met = true;
    for (int step = 0; met; step++) {
        struct store *store = NULL;
        struct error err = {0};
        install_shim();
        fault.code = SQLITE_FULL;
        fault.met = false;
        fault.countdown = step;
        enum status status = store_open(f->path, STORE_WRITE, &store, &err);
        met = fault.met;
        store_close(store);
        remove_shim();
        if (status != OK) {
            failures++;
            assert_non_null(strstr(err.message, f->path));
            assert_int_not_equal(access(f->path, F_OK), 0); // nothing is left behind
        }
    }
    assert_true(failures > 3);
    store_close(open_or_fail(f->path, STORE_READ));
}

// Whether the message names the file, the limit and what was lost.
static bool names_the_limit(const struct error *err, const char *path, size_t limit_bytes,
                            const char *doing)
{
    char expected[256];
    snprintf(expected, sizeof expected,
             "%s: the process may write no file beyond %zu bytes (ulimit -f): %s", path,
             limit_bytes, doing);
    return err->code == ERR_IO && strcmp(err->message, expected) == 0;
}

// The same through the kernel: a file may grow no further.
static void test_file_size_limit(void **state)
{
    struct fixture *f = *state;
    int64_t cell = 0;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    add_run(store, &cell);
    store_close(store);
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {1 << 20, 1 << 20};
        struct error err = {0};
        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0 ||
            store_open(f->path, STORE_WRITE, &store, &err) != OK)
            _exit(2);
        enum status status = OK;
        for (int t = 1; t < 1000 && status == OK; t++)
            status = add_trial(store, cell, t, "ok", 2000, &err);
        store_close(store);
        _exit(names_the_limit(&err, f->path, 1 << 20, "the trial was not stored") ? 0 : 3);
    }
    int status = 0;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(check_whole(f->path) > 1);
}

// A new store that may not grow to its tables is removed again, wherever the limit is met.
static void test_file_size_limit_of_a_new_store(void **state)
{
    struct fixture *f = *state;
    for (size_t bytes = 0; bytes < 120 << 10; bytes += 20 << 10) {
        pid_t child = fork();
        if (child == 0) {
            const struct rlimit limit = {bytes, bytes};
            struct error err = {0};
            struct store *store = NULL;
            signal(SIGXFSZ, SIG_IGN);
            if (setrlimit(RLIMIT_FSIZE, &limit) != 0 ||
                store_open(f->path, STORE_WRITE, &store, &err) == OK)
                _exit(2);
            _exit(names_the_limit(&err, f->path, bytes, "its tables were not made") ? 0 : 3);
        }
        int status = 0;
        waitpid(child, &status, 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_int_not_equal(access(f->path, F_OK), 0);
    }
}

// ---- other processes ----------------------------------------------------------------------------

static void write_forever(const char *path, int64_t cell, int first)
{
    struct store *store = open_or_fail(path, STORE_WRITE);
    struct error err = {0};
    for (int t = first;; t++)
        if (add_trial(store, cell, t, "ok", 300, &err) != OK)
            _exit(4);
}

static void test_killed_writer(void **state)
{
    enum { KILLS = 12 };
    struct fixture *f = *state;
    unsigned seed = (unsigned)getpid();
    int64_t cell = 0, before = 0;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    add_run(store, &cell);
    store_close(store);
    print_message("seed %u\n", seed);
    for (int i = 0; i < KILLS; i++) {
        pid_t child = fork();
        if (child == 0)
            write_forever(f->path, cell, 1 + 100000 * i);
        struct timespec pause = {.tv_nsec = 10000000 + rand_r(&seed) % 30000000};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        int64_t now = check_whole(f->path);
        assert_true(now >= before); // no earlier trial is ever lost
        before = now;
    }
    assert_true(before > 0);
}

static void test_reader_beside_writer(void **state)
{
    struct fixture *f = *state;
    int64_t cell = 0;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t run = add_run(store, &cell);
    store_close(store);
    pid_t child = fork();
    if (child == 0)
        write_forever(f->path, cell, 1);
    int64_t seen = 0;
    for (int i = 0; i < 60; i++) {
        struct error err = {0};
        struct arena arena = {0};
        struct cell_row *cells;
        struct summary_row *sums;
        size_t count, sum_count;
        store = open_or_fail(f->path, STORE_READ);
        must(query_begin(store, &err), &err);
        must(query_cells(store, &arena, run, &cells, &count, &err), &err);
        struct timespec pause = {.tv_nsec = 2000000};
        nanosleep(&pause, NULL); // the writer continues; this reader must not see it
        must(query_summaries(store, &arena, run, &sums, &sum_count, &err), &err);
        query_end(store);
        assert_int_equal(sum_count ? (int)sums[0].stat.n : 0, cells[0].trials);
        assert_true(cells[0].trials >= seen);
        seen = cells[0].trials;
        arena_fini(&arena);
        store_close(store);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_true(seen > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_failing_disk_during_trials),
        fixture_test(test_failing_disk_during_creation),
        fixture_test(test_file_size_limit_of_a_new_store),
        fixture_test(test_file_size_limit),
        fixture_test(test_killed_writer),
        fixture_test(test_reader_beside_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
