// export.h - exports one run for other programs: everything as JSON, or the cells' figures as CSV.
#ifndef RESULTS_EXPORT_H
#define RESULTS_EXPORT_H

#include <jansson.h>

#include "base/str.h"
#include "results/query.h"

// The whole run: machine, environment, build, ceilings, cells with their figures, verdicts, trials and every stored
// value of each repetition. Values that were not measured are null. Caller json_decref's *out.
enum status export_json(struct store *store, const char *run, json_t **out, struct error *err);

// One row per cell and metric (RFC 4180: comma, CRLF, quotes doubled); the first row names the columns. A cell without
// figures has one row with those columns empty.
enum status export_csv(struct store *store, const char *run, struct str *out, struct error *err);

// A text as a JSON value: bytes that are not UTF-8 become "?"; NULL becomes null.
json_t *export_json_text(const char *text);
// A number; NaN and infinities become null.
json_t *export_json_number(double value);
// Stored JSON unchanged, or null if it is damaged.
json_t *export_json_stored(const char *text);

// Parts of the document above, which `bench list` and `bench show` print.
json_t *export_run(const struct run_row *run);
json_t *export_cell(const struct cell_row *cell);
json_t *export_summary(const struct summary_row *row);
json_t *export_verdict(const struct verdict_row *row);
json_t *export_quality(const struct quality_row *row); // NULL: null

// A cell's trials with all their values.
enum status export_trials(struct store *store, struct arena *arena, int64_t cell, json_t **out,
                          struct error *err);

// Appends one field, quoted if necessary. Exposed for the tests.
void export_csv_field(struct str *out, const char *text);

#endif
