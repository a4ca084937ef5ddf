// view.h - shared by the commands that read the store: opening it, JSON, tables and fields of text.
#ifndef BENCH_CLI_VIEW_H
#define BENCH_CLI_VIEW_H

#include <jansson.h>
#include <stdio.h>

#include "base/table.h"
#include "bench/cli/command.h"
#include "results/store.h"

// Opens the database of this invocation for reading; the caller closes it. Without --db a missing file is an empty
// store.
enum status cli_view_open(const struct arguments *args, struct store **out, struct error *err);

// The flags of jansson for JSON written to `out` (NULL: a file). For a terminal JSON is pure ASCII, so that no text in
// it can control the terminal.
size_t cli_view_json_ascii(FILE *out);

// Prints one JSON document and a newline, and takes `value`.
enum status cli_view_json(json_t *value, struct error *err);

// Prints a table to standard output, fitted to a terminal's width.
enum status cli_view_table(struct table *table, struct error *err);

// Prints "name           text" on standard output, wrapped to a terminal's width.
void cli_view_field(const char *name, const char *text);
// The same with a line for each part of the text; parts are separated by "; ".
void cli_view_parts(const char *name, const char *text);
// The same for stored JSON: a line of text for each member of the object. Text that is no object is printed unchanged.
void cli_view_json_fields(const char *name, const char *json);

// "1905 to 1980 MHz, memory 3201 MHz", as far as it was measured; "" where nothing was (not a number, or 0).
const char *cli_view_clocks(double low_hz, double high_hz, double memory_hz, char *out,
                            size_t out_bytes);

// Adds a cell with a number of the host's threads; an empty one for 0, a device that uses none.
void cli_view_threads(struct table *table, int threads);

#endif
