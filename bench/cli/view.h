// view.h - what the commands that look into the store share: opening it, JSON, columns of text.
#ifndef BENCH_CLI_VIEW_H
#define BENCH_CLI_VIEW_H

#include <jansson.h>
#include <stdio.h>

#include "base/str.h"
#include "bench/cli/command.h"
#include "results/store.h"

// The database of this invocation, opened for reading; the caller closes it. Where no --db names one, a
// missing file is a store in which nothing was measured yet.
enum status cli_view_open(const struct arguments *args, struct store **out, struct error *err);

// A flag of jansson for JSON that goes to `out` (NULL: a file): to a terminal all of it is ASCII, so that
// the terminal obeys no text in it.
size_t cli_view_json_ascii(FILE *out);

// Prints one JSON document and a newline, and takes `value`.
enum status cli_view_json(json_t *value, struct error *err);

// Rows of cells under one head; cells are padded to the widest when printed. Text is made plain
// (base/plain.h).
struct view_table {
    size_t columns;
    struct str *cells; // count, row by row, the head first
    size_t count, capacity;
    bool failed;
};
// heads ends with NULL; a head that begins with '>' has its column aligned to the right.
void cli_view_begin(struct view_table *table, const char *const *heads);
void cli_view_cell(struct view_table *table, const char *format, ...) PRINTF_LIKE(2, 3);
// Prints the table and frees it.
enum status cli_view_print(struct view_table *table, struct error *err);

// Appends text fit for a terminal (str_plain); nothing for NULL.
void cli_view_text(struct str *out, const char *text);

#endif
