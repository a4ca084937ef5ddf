// rows.c - steps through a query, for all readers.

#include "results/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t row_int(const struct row *row, int column)
{
    return sqlite3_column_int64(row->stmt, column);
}

double row_real(const struct row *row, int column)
{
    if (sqlite3_column_type(row->stmt, column) == SQLITE_NULL)
        return NAN;
    return sqlite3_column_double(row->stmt, column);
}

const char *row_text_or_null(struct row *row, int column)
{
    const char *text = (const char *)sqlite3_column_text(row->stmt, column);
    if (text == NULL)
        return NULL;
    char *copy = arena_strdup(row->arena, text);
    if (copy == NULL)
        row->failed = true;
    return copy;
}

const char *row_text(struct row *row, int column)
{
    const char *text = row_text_or_null(row, column);
    return text ? text : "";
}

// Rows while their number is not yet known.
struct growing {
    char *data;
    size_t count, capacity, row_bytes;
};

static void *grow(struct growing *g)
{
    if (g->count == g->capacity) {
        size_t capacity = g->capacity ? 2 * g->capacity : 64;
        char *data = realloc(g->data, capacity * g->row_bytes);
        if (data == NULL)
            return NULL;
        g->data = data;
        g->capacity = capacity;
    }
    void *row = g->data + g->count++ * g->row_bytes;
    memset(row, 0, g->row_bytes);
    return row;
}

static enum status step_all(struct store *store, struct row *row, row_reader *read,
                            struct growing *g, struct error *err)
{
    int code;
    while ((code = sqlite3_step(row->stmt)) == SQLITE_ROW) {
        void *out = grow(g);
        if (out)
            read(row, out);
        if (out == NULL || row->failed)
            return FAIL(err, ERR_NOMEM, "%s: no memory for its rows", store->path);
    }
    return code == SQLITE_DONE ? OK : db_fail(store->db, store->path, "it was not read", err);
}

enum status rows_read(struct store *store, struct arena *arena, const char *sql, int64_t id,
                      row_reader *read, size_t row_bytes, void **rows, size_t *count,
                      struct error *err)
{
    struct row row = {.arena = arena};
    struct growing g = {.row_bytes = row_bytes};
    *rows = NULL;
    *count = 0;
    if (sqlite3_prepare_v2(store->db, sql, -1, &row.stmt, NULL) != SQLITE_OK)
        return db_fail(store->db, store->path, "it was not read", err);
    if (sqlite3_bind_parameter_count(row.stmt) > 0)
        sqlite3_bind_int64(row.stmt, 1, id);
    enum status status = step_all(store, &row, read, &g, err);
    if (status == OK && g.count > 0) {
        *rows = arena_alloc(arena, g.count, row_bytes);
        if (*rows == NULL) {
            status = FAIL(err, ERR_NOMEM, "%s: no memory for its rows", store->path);
        } else {
            memcpy(*rows, g.data, g.count * row_bytes);
            *count = g.count;
        }
    }
    free(g.data);
    sqlite3_finalize(row.stmt);
    return status;
}
