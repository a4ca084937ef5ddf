// memory.c - writes the data of the memory picture: weights, KV cache and scratch of each series' largest cell.

#include <math.h>
#include <stdio.h>

#include "base/str.h"
#include "report/pictures.h"
#include "results/metric.h"

enum { BARS_MAX = 16 };

struct bar {
    const struct series *series;
    const struct cell_row *cell;
    double part[3]; // weights, KV cache, scratch: bytes
    double peak;    // NaN: not measured, as for a GPU
};

static bool bar_of(const struct report_data *data, const struct cell_row *cell, struct bar *out)
{
    static const char *const parts[] = {METRIC_MEM_WEIGHTS, METRIC_MEM_KV, METRIC_MEM_SCRATCH};
    bool known = true;
    out->cell = cell;
    for (int i = 0; i < 3; i++) {
        out->part[i] = report_data_value(data, cell, parts[i], NULL);
        known &= !isnan(out->part[i]);
    }
    out->peak = report_data_peak_memory(data, cell);
    return known;
}

static double total(const struct bar *bar)
{
    return bar->part[0] + bar->part[1] + bar->part[2];
}

// Collects the largest cell of each series, for the first BARS_MAX series. Returns the number of series.
static size_t collect(const struct report_data *data, struct bar *bars)
{
    size_t count = 0;
    for (size_t i = 0; i < data->series_count; i++) {
        struct bar largest = {0}, bar;
        for (size_t j = 0; j < data->series[i].cell_count; j++)
            if (bar_of(data, data->series[i].cells[j], &bar) &&
                (!largest.cell || total(&bar) > total(&largest)))
                largest = bar;
        if (!largest.cell)
            continue;
        largest.series = &data->series[i];
        if (count++ < BARS_MAX)
            bars[count - 1] = largest;
    }
    return count;
}

static void write_bar(struct str *out, const struct bar *bar, double unit)
{
    struct str label = {0};
    str_printf(&label, "%s b%d c%d", bar->series->label, bar->cell->batch, bar->cell->context);
    picture_label(out, str_text(&label));
    str_fini(&label);
    for (int i = 0; i < 3; i++)
        str_printf(out, "\t%.6g", bar->part[i] / unit);
    if (isnan(bar->peak))
        str_append(out, "\t?\n");
    else
        str_printf(out, "\t%.6g\n", bar->peak / unit);
}

enum status picture_memory(const struct report_data *data, const char *dir,
                           struct pictures *pictures, struct error *err)
{
    struct bar bars[BARS_MAX];
    struct str text = {0};
    size_t all = collect(data, bars), count = all < BARS_MAX ? all : BARS_MAX;
    double most = 0;
    bool peaks = false;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, total(&bars[i]));
        peaks |= !isnan(bars[i].peak);
    }
    if (count == 0) {
        picture_absent(pictures, "Memory", "weights, KV cache and scratch were not stored");
        return OK;
    }
    if (all > count) {
        char what[48], reason[48];
        snprintf(what, sizeof what, "Memory of %zu more series", all - count);
        snprintf(reason, sizeof reason, "the picture has at most %d bars", BARS_MAX);
        picture_absent(pictures, what, reason);
    }
    bool large = most >= 1024.0 * 1024 * 1024;
    for (size_t i = 0; i < count; i++)
        write_bar(&text, &bars[i], large ? 1024.0 * 1024 * 1024 : 1024.0 * 1024);
    struct picture *p =
        picture_add(pictures, "memory", "memory.gp", "Memory of the largest cell of each series",
                    peaks ? "Stacked bars of weights, KV cache and scratch, with the "
                            "measured peak; the table of all cells has the peaks."
                          : "Stacked bars of weights, KV cache and scratch.");
    enum status status = p ? picture_data(dir, p->name, ".dat", &text, err) : OK;
    if (p) {
        picture_arg(pictures, p, "%zu", count);
        picture_arg(pictures, p, "%s", large ? "GiB" : "MiB");
        picture_arg(pictures, p, "%d", peaks);
    }
    str_fini(&text);
    return status;
}
