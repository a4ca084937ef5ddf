// data.h - the data of a report: one run's rows, and its cells as lines over batch and context.
//
// A series is all cells that differ only in batch and context: one line of a picture. Its name has model, scheme and
// device, and whatever else distinguishes it from series of the same name.
#ifndef REPORT_DATA_H
#define REPORT_DATA_H

#include <jansson.h>

#include "results/query.h"

struct series {
    const char *label; // "7b int8 cpu", "7b bf16 cpu (stored q8_0)"
    const char *model, *scheme, *device;
    int threads;
    const char *rest;              // canonical JSON of the parameters except batch and context
    const struct cell_row **cells; // in planned order
    size_t cell_count;
    size_t measured; // number of cells with a speed
};

struct report_data {
    struct arena arena; // owns everything below except the JSON
    struct run_row run;
    struct cell_row *cells;
    struct summary_row *summaries;
    struct verdict_row *verdicts;
    struct ceiling_row *ceilings;
    struct noise_row *noise;
    struct quality_row *qualities;
    struct uncounted_row *uncounted;
    size_t cell_count, summary_count, verdict_count, ceiling_count, noise_count, quality_count,
        uncounted_count;
    struct series *series;
    size_t series_count;
    json_t *hardware, *environment, *build; // owned; never NULL
    json_t *devices; // same: what the store knows about devices with ceilings, by word
};

// Reads one consistent view of the store. On failure nothing needs freeing.
enum status report_data_load(struct store *store, const char *run, struct report_data *out,
                             struct error *err);
void report_data_fini(struct report_data *data);

// The most values that an axis of a plan can have (PLAN_CELLS_MAX of bench/suite), so that lines and maps are complete.
enum { AXIS_VALUES_MAX = 10000 };

// A figure of a cell, or NULL: the cell failed, or it was not measured. phase NULL: any.
const struct stat_summary *report_data_figure(const struct report_data *data,
                                              const struct cell_row *cell, const char *name,
                                              const char *phase);
// Its median, NaN if there is none.
double report_data_value(const struct report_data *data, const struct cell_row *cell,
                         const char *name, const char *phase);
const struct verdict_row *report_data_verdict(const struct report_data *data,
                                              const struct cell_row *cell, const char *phase);
// The verdict by analytic bytes, of which only the time was measured; NULL: there is none.
const struct verdict_row *report_data_analytic(const struct report_data *data,
                                               const struct cell_row *cell, const char *phase);

// Whether a sweep of the run's suite collects this: "quality". Read from the resolved text stored with it.
bool report_data_asks_for(const struct report_data *data, const char *what);

// The peak, in bytes, of the memory that holds a cell's weights. NaN: not measured, as for every GPU, because the peak
// of the process does not include a GPU's memory.
double report_data_peak_memory(const struct report_data *data, const struct cell_row *cell);

// The evaluation of a cell's quality; NULL: none was requested.
const struct quality_row *report_data_quality(const struct report_data *data,
                                              const struct cell_row *cell);

// The measured cell of a series at a batch and context, or NULL.
const struct cell_row *report_series_at(const struct series *series, int batch, int context);

enum axis { AXIS_BATCH, AXIS_CONTEXT };
int report_cell_axis(const struct cell_row *cell, enum axis axis);

// The value of the other axis in a picture over `axis`. It is the smallest value with at least 80 % of the measured
// cells of the value with the most. 0 if nothing was measured.
int report_data_fixed(const struct report_data *data, enum axis axis);

// The distinct values of an axis over some cells, ascending, at most max. Returns their number.
size_t report_axis_values(const struct cell_row *const *cells, size_t count, enum axis axis,
                          int *out, size_t max);

// Text found in nested JSON by a path like "cpu.model", or NULL.
const char *report_json_text(const json_t *root, const char *path);

#endif
