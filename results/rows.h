// rows.h - reads a query's rows into an array in an arena. For the readers of this folder.
#ifndef RESULTS_ROWS_H
#define RESULTS_ROWS_H

#include "base/arena.h"
#include "results/db.h"

// Of trials whose figures count, for the SQL of queries: "status" TRIAL_MEASURED. The steps of schema.c keep their own
// text, because stores were made with it.
#define TRIAL_MEASURED " IN ('ok', 'noisy', 'throttled')"
// The same of trials and cells that failed: "status" STATUS_FAILED.
#define STATUS_FAILED " IN ('wrong', 'oom', 'timeout', 'crashed', 'failed')"

// The argument of a reader function, for each row.
struct row {
    sqlite3_stmt *stmt;
    struct arena *arena;
    bool failed; // memory was exhausted
};

int64_t row_int(const struct row *row, int column);        // NULL: 0
double row_real(const struct row *row, int column);        // NULL: NaN
const char *row_text(struct row *row, int column);         // NULL: ""
const char *row_text_or_null(struct row *row, int column); // NULL: NULL

typedef void row_reader(struct row *row, void *out);

// Runs `sql` with `id` as its parameter, if it has one. For each row `read` fills one element of `row_bytes` bytes.
// *rows is in the arena; NULL if there are none.
enum status rows_read(struct store *store, struct arena *arena, const char *sql, int64_t id,
                      row_reader *read, size_t row_bytes, void **rows, size_t *count,
                      struct error *err);

#endif
