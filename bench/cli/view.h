// view.h - shared by the commands that read the store: opening it, JSON, columns of text.
#ifndef BENCH_CLI_VIEW_H
#define BENCH_CLI_VIEW_H

#include <jansson.h>
#include <stdio.h>

#include "base/str.h"
#include "bench/cli/command.h"
#include "results/store.h"

// Opens the database of this invocation for reading; the caller closes it. Without --db a missing file is an empty store.
enum status cli_view_open(const struct arguments *args, struct store **out, struct error *err);

// A flag of jansson for JSON written to `out` (NULL: a file). For a terminal JSON is pure ASCII, so that no text in it
// controls the terminal.
size_t cli_view_json_ascii(FILE *out);

// Prints one JSON document and a newline, and takes `value`.
enum status cli_view_json(json_t *value, struct error *err);

// Rows of cells under one head. Cells are padded to the widest when printed. Text is made plain (base/plain.h).
struct view_table {
    size_t columns;
    struct str *cells; // count, row by row, the head first
    size_t count, capacity;
    bool failed;
};
// heads ends with NULL. A head that begins with '>' aligns its column to the right.
void cli_view_begin(struct view_table *table, const char *const *heads);
void cli_view_cell(struct view_table *table, const char *format, ...) PRINTF_LIKE(2, 3);
// Prints the table and frees it.
enum status cli_view_print(struct view_table *table, struct error *err);

// Appends text made safe for a terminal (str_plain); nothing for NULL.
void cli_view_text(struct str *out, const char *text);

#endif
