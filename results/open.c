// open.c - opens the store: decides which files are accepted, and in which mode, and reports errors for others.
//
// All checks read the file before anything is written, so a foreign, newer or damaged file does not change. A file that
// this call created is removed if it cannot be set up. An empty file (mktemp makes them) has version 0 of the schema: a
// writer migrates it, a reader migrates a copy in memory.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "results/db.h"

// The errno of a failed system call, 0 if SQLite kept none. sqlite3_system_errno is 0 if the transaction was rolled
// back in between; then the files have kept their own.
static int refusal_of(sqlite3 *db)
{
    int os = sqlite3_system_errno(db);
    sqlite3_file *journal = NULL; // or the write-ahead log
    if (!os)
        sqlite3_file_control(db, "main", SQLITE_FCNTL_LAST_ERRNO, &os);
    if (!os &&
        sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &journal) == SQLITE_OK &&
        journal && journal->pMethods)
        journal->pMethods->xFileControl(journal, SQLITE_FCNTL_LAST_ERRNO, &os);
    return os;
}

enum status db_fail(sqlite3 *db, const char *path, const char *doing, struct error *err)
{
    int code = sqlite3_errcode(db) & 0xff;
    switch (code) {
    case SQLITE_NOTADB:
        return FAIL(err, ERR_FORMAT, "%s: not a database (no SQLite header)", path);
    case SQLITE_CORRUPT:
        return FAIL(err, ERR_FORMAT, "%s: the database is damaged (%s): %s", path,
                    sqlite3_errmsg(db), doing);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return FAIL(err, ERR_IO, "%s: locked by another process for more than %d s: %s", path,
                    SCHEMA_BUSY_MS / 1000, doing);
    case SQLITE_READONLY:
        return FAIL(err, ERR_IO, "%s: read-only: %s", path, doing);
    case SQLITE_FULL:
        return FAIL(err, ERR_IO, "%s: disk full: %s", path, doing);
    case SQLITE_NOMEM:
        return FAIL(err, ERR_NOMEM, "%s: out of memory: %s", path, doing);
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR: {
        char reason[ERROR_REASON_BYTES];
        int os = refusal_of(db);
        return FAIL(err, ERR_IO, "%s: %s: %s", path,
                    os ? error_reason(os, reason, sizeof reason) : sqlite3_errmsg(db), doing);
    }
    default:
        return FAIL(err, ERR_INTERNAL, "%s: %s: %s", path, sqlite3_errmsg(db), doing);
    }
}

enum status db_exec(struct store *store, const char *sql, const char *doing, struct error *err)
{
    if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return db_fail(store->db, store->path, doing, err);
    return OK;
}

enum status db_int(sqlite3 *db, const char *path, const char *sql, int64_t *out, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return db_fail(db, path, "it was not read", err);
    enum status status = OK;
    if (sqlite3_step(stmt) == SQLITE_ROW)
        *out = sqlite3_column_int64(stmt, 0);
    else
        status = db_fail(db, path, "it was not read", err);
    sqlite3_finalize(stmt);
    return status;
}

// Creates the store's folder, private to the user, because the store has names of models and machines. An existing
// folder keeps its mode.
static enum status make_parent(const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return OK;
    char *dir = strndup(path, (size_t)(slash - path));
    if (dir == NULL)
        return FAIL(err, ERR_NOMEM, "%s: out of memory", path);
    enum status status = file_make_private_dirs(dir, err);
    free(dir);
    return status;
}

// Creates the file if there is none, so that after a failure it is known whether to remove it.
static enum status claim(const char *path, bool *made, struct error *err)
{
    *made = false;
    TRY(file_refuse_dangling(path, err));
    TRY(make_parent(path, err));
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) {
        close(fd);
        *made = true;
    } else if (errno != EEXIST) {
        return FAIL_OS(err, errno, "%s", path);
    }
    return OK;
}

// SQLite would hang on a pipe, and fail on a directory with an unhelpful message.
static enum status check_file(const char *path, struct error *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return errno == ENOENT
                   ? FAIL(err, ERR_IO, "%s: no such database; `bench run SUITE` makes one", path)
                   : FAIL_OS(err, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return FAIL(err, ERR_IO, "%s: %s, not a database file", path,
                    S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
    return OK;
}

static enum status open_write(struct store *store, struct error *err)
{
    if (sqlite3_open_v2(store->path, &store->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        return db_fail(store->db, store->path, "it was not opened", err);
    sqlite3_busy_timeout(store->db, SCHEMA_BUSY_MS);
    int version = 0;
    TRY(schema_inspect(store->db, store->path, &version, err));
    if (sqlite3_db_readonly(store->db, "main") == 1)
        return FAIL(err, ERR_IO, "%s: read-only: nothing can be stored in it", store->path);
    TRY(db_exec(store, "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL", "it was not opened",
                err));
    if (version < schema_version())
        TRY(schema_migrate(store->db, store->path, schema_version(), err));
    return db_exec(store, "PRAGMA journal_mode = WAL", "it was not opened", err);
}

// Whether the folder accepts no new files. A process without a free descriptor says nothing about its folder.
static bool cannot_make_side_files(sqlite3 *db)
{
    int code = sqlite3_errcode(db) & 0xff, os = sqlite3_system_errno(db);
    return code == SQLITE_READONLY || (code == SQLITE_CANTOPEN && os != EMFILE && os != ENFILE);
}

// A "file:" URI, with all special characters escaped.
static char *immutable_uri(const char *path)
{
    struct str uri = {0};
    str_append(&uri, "file:");
    for (const char *p = path; *p; p++)
        if (strchr("?#%", *p))
            str_printf(&uri, "%%%02X", (unsigned)(unsigned char)*p);
        else
            str_append_bytes(&uri, p, 1);
    str_append(&uri, "?immutable=1");
    return str_take(&uri);
}

static enum status reopen_immutable(struct store *store, struct error *err)
{
    char *uri = immutable_uri(store->path);
    if (uri == NULL)
        return FAIL(err, ERR_NOMEM, "%s: out of memory", store->path);
    sqlite3_close(store->db);
    store->db = NULL;
    int code = sqlite3_open_v2(uri, &store->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    free(uri);
    if (code != SQLITE_OK)
        return db_fail(store->db, store->path, "it was not opened", err);
    log_line(LOG_WARN,
             "%s: its directory cannot be written, so it is read as immutable: what a running "
             "bench has not yet moved out of %s-wal is missing",
             store->path, store->path);
    return OK;
}

// Replaces the connection by one to a copy in memory, migrated to this version.
static enum status read_through_copy(struct store *store, struct error *err)
{
    sqlite3 *copy = NULL;
    if (sqlite3_open_v2(":memory:", &copy, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
        sqlite3_close(copy);
        return FAIL(err, ERR_NOMEM, "%s: out of memory", store->path);
    }
    sqlite3_backup *backup = sqlite3_backup_init(copy, "main", store->db, "main");
    if (backup)
        sqlite3_backup_step(backup, -1);
    enum status status = OK;
    if (backup == NULL || sqlite3_backup_finish(backup) != SQLITE_OK)
        status = db_fail(copy, store->path, "it was not read", err);
    sqlite3_close(store->db);
    store->db = copy;
    if (status == OK)
        status = schema_migrate(copy, store->path, schema_version(), err);
    return status;
}

// Opens an empty store in memory, because there is no file.
static enum status open_none(struct store *store, struct error *err)
{
    if (sqlite3_open_v2(":memory:", &store->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        return FAIL(err, ERR_NOMEM, "%s: out of memory", store->path);
    return schema_migrate(store->db, store->path, schema_version(), err);
}

static enum status open_read(struct store *store, struct error *err)
{
    if (sqlite3_open_v2(store->path, &store->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        return db_fail(store->db, store->path, "it was not opened", err);
    sqlite3_busy_timeout(store->db, SCHEMA_BUSY_MS);
    int64_t objects = 0;
    struct error first = {0};
    if (db_int(store->db, store->path, "SELECT count(*) FROM sqlite_schema", &objects, &first) &&
        !cannot_make_side_files(store->db)) {
        *err = first;
        return first.code;
    }
    if (first.code)
        TRY(reopen_immutable(store, err));
    int version = 0;
    TRY(schema_inspect(store->db, store->path, &version, err));
    return version < schema_version() ? read_through_copy(store, err) : OK;
}

static void remove_made(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        struct str name = {0};
        str_printf(&name, "%s%s", path, suffixes[i]);
        if (!name.failed)
            unlink(str_text(&name));
        str_fini(&name);
    }
}

enum status store_open(const char *path, enum store_mode mode, struct store **out,
                       struct error *err)
{
    *out = NULL;
    bool made = false;
    if (mode == STORE_WRITE)
        TRY(claim(path, &made, err));
    bool none = mode == STORE_READ_OR_NONE && access(path, F_OK) != 0 && errno == ENOENT;
    if (!none)
        TRY(check_file(path, err));
    struct store *store = calloc(1, sizeof *store);
    if (store)
        store->path = strdup(path);
    enum status status;
    if (store == NULL || store->path == NULL) {
        status = FAIL(err, ERR_NOMEM, "%s: out of memory", path);
    } else {
        store->mode = mode;
        status = none                  ? open_none(store, err)
                 : mode == STORE_WRITE ? open_write(store, err)
                                       : open_read(store, err);
    }
    if (status == OK) {
        *out = store;
        return OK;
    }
    store_close(store);
    if (made)
        remove_made(path);
    return status;
}

// Write-ahead mode is used only while a writer has the file open: readers of such a file leave an empty -wal and -shm
// next to it. If another process has the file open, it stays in that mode, which does no harm.
static void leave_write_ahead(struct store *store)
{
    sqlite3_busy_timeout(store->db, 0);
    sqlite3_exec(store->db, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    for (int i = 0; i < STMT_COUNT; i++)
        sqlite3_finalize(store->stmt[i]);
    if (store->db && store->mode == STORE_WRITE)
        leave_write_ahead(store);
    sqlite3_close(store->db);
    free(store->path);
    free(store);
}

const char *store_path(const struct store *store)
{
    return store->path;
}
