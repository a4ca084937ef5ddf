// db.h - shared by the files of this folder: the handle, its statements, and uniform errors.
//
// For this folder only; others use store.h and query.h.
#ifndef RESULTS_DB_H
#define RESULTS_DB_H

#include <sqlite3.h>
#include <stdbool.h>

#include "results/store.h"

// "RIDG": marks a database of this program (PRAGMA application_id).
#define SCHEMA_APPLICATION_ID 0x52494447
#define SCHEMA_BUSY_MS        5000

// Prepared on first use, finalized with the store; the SQL is in store.c.
enum statement {
    STMT_MACHINE_ADD,
    STMT_MACHINE_ID,
    STMT_ENVIRONMENT_ADD,
    STMT_ENVIRONMENT_ID,
    STMT_BUILD_ADD,
    STMT_BUILD_ID,
    STMT_DEVICE_ADD,
    STMT_DEVICE_ID,
    STMT_RUN_ADD,
    STMT_RUN_END,
    STMT_RUN_OWNER,
    STMT_CELL_ADD,
    STMT_CELL_ID,
    STMT_CELL_SKIP,
    STMT_CEILING_ADD,
    STMT_CEILINGS_NOTE,
    STMT_TRIAL_ADD,
    STMT_TRIALS_DONE,
    STMT_CELL_DISTURBED,
    STMT_SAMPLE_ADD,
    STMT_TOKEN_ADD,
    STMT_METRIC_ADD,
    STMT_NOISE_ADD,
    STMT_VERDICT_ADD,
    STMT_QUALITY_ADD,
    STMT_QUALITY_VALUE_ADD,
    STMT_QUALITY_FIND,
    STMT_CELL_QUALITY,
    STMT_COUNT
};

struct store {
    sqlite3 *db;
    char *path;
    enum store_mode mode;
    sqlite3_stmt *stmt[STMT_COUNT];
};

// Turns the connection's last failure into one line: "bench.db: disk full: the trial was not stored". `doing` says what
// did not happen: "the trial was not stored".
enum status db_fail(sqlite3 *db, const char *path, const char *doing, struct error *err);

enum status db_exec(struct store *store, const char *sql, const char *doing, struct error *err);

// One integer of a query of one row: PRAGMA user_version.
enum status db_int(sqlite3 *db, const char *path, const char *sql, int64_t *out, struct error *err);

// ---- schema.c -----------------------------------------------------------------------------------

// The version that this build writes and reads.
int schema_version(void);

// The version of the file, and whether it belongs to this program. *version is 0 for an empty file. ERR_FORMAT: it is
// not a database, belongs to another program, or has a newer version.
enum status schema_inspect(sqlite3 *db, const char *path, int *version, struct error *err);

// Migrates a database of this program, or an empty one, to version `target` in one transaction. Two processes may try
// at once; the second finds the work done.
enum status schema_migrate(sqlite3 *db, const char *path, int target, struct error *err);

#endif
