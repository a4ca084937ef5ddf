// table.h - columns of text for people, fitted to the width of a terminal.
//
// A file or a pipe gets every column in full, so that its text is the same everywhere. On a terminal the last column is
// wrapped if it is text. Columns whose head marks them as dispensable are left out if the width is too small, and their
// names are printed below.
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/status.h"
#include "base/str.h"

// Rows of cells under one head. Zero-initialised has no column.
struct table {
    const char *const *heads;
    size_t columns;
    struct str *cells; // (count), row by row, without the head
    size_t count, capacity;
    bool failed;
};

// heads: borrowed until table_print, ended by NULL. '>' in front of a head aligns its column to the right. A digit
// before that marks it as dispensable; the highest digit is left out first ("2>MAD").
void table_begin(struct table *table, const char *const *heads);
// Appends the next cell, made plain (str_plain). NULL as "%s" is an empty cell.
void table_cell(struct table *table, const char *format, ...) PRINTF_LIKE(2, 3);
// Prints the table and frees it. width: plain_columns(out); 0: no limit. Errors: ERR_NOMEM.
enum status table_print(struct table *table, FILE *out, int width, struct error *err);

// Prints a text, made plain, and a line end. The cursor is at column `indent`, and all lines begin there. width 0: one
// line.
void table_text(FILE *out, int indent, int width, const char *text);

#endif
