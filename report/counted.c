// counted.c - counted bytes and operations next to those of the analytic model; or why there are none.

#include <math.h>

#include "report/html.h"
#include "report/page.h"
#include "results/basis.h"
#include "results/metric.h"

static const char *const phases[] = {"decode", "prefill"};
enum { PHASES = sizeof phases / sizeof *phases };

// How many phases have a ratio, and how many of them moved or computed more or fewer than the model says.
struct agreement {
    size_t compared, more, fewer;
};

static struct agreement agreement_of(const struct report_data *data, const char *name)
{
    struct agreement a = {0};
    for (size_t i = 0; i < data->cell_count; i++)
        for (int p = 0; p < PHASES; p++) {
            double ratio = report_data_value(data, &data->cells[i], name, phases[p]);
            a.compared += !isnan(ratio);
            a.more += ratio > 1 && !metric_agrees(ratio);
            a.fewer += ratio < 1 && !metric_agrees(ratio);
        }
    return a;
}

static void figure(struct str *out, const struct report_data *data, const struct cell_row *cell,
                   const char *name, const char *phase, const char *unit)
{
    str_append(out, "<td class=n>");
    html_figure(out, report_data_figure(data, cell, name, phase), unit);
    str_append(out, "</td>");
}

static void phase_row(struct str *out, const struct report_data *data, const struct cell_row *cell,
                      const char *phase)
{
    const struct verdict_row *counted = report_data_verdict(data, cell, phase);
    const struct verdict_row *analytic = report_data_analytic(data, cell, phase);
    str_append(out, "<tr><td class=name>");
    html_text(out, cell->label);
    str_append(out, "</td><td>");
    html_text(out, phase);
    str_append(out, "</td>");
    figure(out, data, cell, METRIC_DRAM_READ, phase, "bytes");
    figure(out, data, cell, METRIC_DRAM_WRITTEN, phase, "bytes");
    figure(out, data, cell, METRIC_DRAM_BYTES, phase, "bytes");
    figure(out, data, cell, METRIC_BYTES, phase, "bytes");
    figure(out, data, cell, METRIC_DRAM_RATIO, phase, "1");
    figure(out, data, cell, METRIC_TENSOR_OPS, phase, "FLOP");
    figure(out, data, cell, METRIC_OPS_RATIO, phase, "1");
    str_append(out, "<td class=limit>");
    page_limit(out, counted && str_equal(counted->basis, BASIS_COUNTERS) ? counted : NULL);
    str_append(out, "</td><td class=limit>");
    page_limit(out, analytic);
    str_append(out, "</td></tr>");
}

// "Counted and analytic bytes agree within 10 % in 3 of 4 phases.", with the cause where they do not.
static void sentence(struct str *out, const char *what, const struct agreement *a, const char *more,
                     const char *fewer)
{
    if (a->compared == 0)
        return;
    str_printf(out, "<p>Counted and analytic %s agree within %g&thinsp;%% in %zu of %zu phases.",
               what, 100 * BASIS_AGREE, a->compared - a->more - a->fewer, a->compared);
    if (a->more)
        str_printf(out, " <span class=doubt>%zu had more than the model says</span>: %s.", a->more,
                   more);
    if (a->fewer)
        str_printf(out, " <span class=doubt>%zu had fewer</span>: %s.", a->fewer, fewer);
    str_append(out, "</p>");
}

// Why cells have no counted bytes, and what would give them some.
static void none_counted(struct str *out, const struct report_data *data)
{
    const struct cell_row *measured = NULL;
    const char *reason = NULL;
    for (size_t i = 0; i < data->cell_count; i++) {
        const struct cell_row *cell = &data->cells[i];
        if (!query_cell_measured(cell))
            continue;
        measured = cell;
        if (!reason)
            reason = query_uncounted_find(data->uncounted, data->uncounted_count, cell->id);
    }
    if (!measured)
        return;
    str_append(out, "<p>Bytes are those of the analytic model. ");
    if (reason)
        html_textf(out, "Bytes of memory were not counted: %s.", reason);
    else if (report_data_asks_for(data, "counters"))
        str_append(out, "No trial counted bytes of memory.");
    else
        str_append(out, "<code>collect = counters</code> also counts them, where the device or the "
                        "machine's memory controllers can.");
    str_append(out, "</p>");
}

static bool any(const struct report_data *data, const struct cell_row *cell, const char *phase)
{
    return report_data_figure(data, cell, METRIC_DRAM_BYTES, phase) ||
           report_data_figure(data, cell, METRIC_OPS_RATIO, phase);
}

static void table(struct str *out, const struct report_data *data)
{
    static const char *const heads[] = {
        "cell",   "phase",       ">read",  ">written",       ">both",           ">analytic",
        ">ratio", ">operations", ">ratio", "limit, counted", "limit, analytic", NULL};
    page_table_head(out, heads);
    for (size_t i = 0; i < data->cell_count; i++)
        for (int p = 0; p < PHASES; p++)
            if (any(data, &data->cells[i], phases[p]))
                phase_row(out, data, &data->cells[i], phases[p]);
    page_table_end(out);
}

// Whether any measured cell ran on the host.
static bool on_host(const struct report_data *data)
{
    bool host = false;
    for (size_t i = 0; i < data->cell_count; i++)
        host |= query_cell_measured(&data->cells[i]) && query_cell_on_host(&data->cells[i]);
    return host;
}

void page_counted(struct str *out, const struct report_data *data)
{
    bool counted = false, host = on_host(data);
    for (size_t i = 0; i < data->cell_count; i++)
        for (int p = 0; p < PHASES; p++)
            counted |= any(data, &data->cells[i], phases[p]);
    if (!counted) {
        none_counted(out, data);
        return;
    }
    struct agreement bytes = agreement_of(data, METRIC_DRAM_RATIO);
    struct agreement operations = agreement_of(data, METRIC_OPS_RATIO);
    sentence(out, "bytes", &bytes, metric_bytes_cause(2, host), metric_bytes_cause(0, host));
    sentence(out, "operations", &operations, metric_operations_cause(2),
             metric_operations_cause(0));
    str_append(out, "<details><summary>Counted bytes and operations, as a table</summary><p>Whole "
                    "prefill, or mean decode step. ");
    if (host)
        str_append(out, "Memory controllers count the whole machine, so other programs are "
                        "included. ");
    str_append(out, "There is no ratio of bytes where a cache holds the working set.</p>");
    table(out, data);
    str_append(out, "</details>");
}
