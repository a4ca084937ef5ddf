// energy.c - a table of joules per token, and the power they were computed from, for the cells that have them.
#include "report/html.h"
#include "report/page.h"
#include "results/metric.h"

static const struct {
    const char *metric, *phase, *unit;
} columns[] = {
    {METRIC_ENERGY_TOKEN, "decode", "J"}, {METRIC_ENERGY_PROMPT, "prefill", "J"},
    {METRIC_POWER, "decode", "W"},        {METRIC_POWER, "prefill", "W"},
    {METRIC_POWER_IDLE, NULL, "W"},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static void cell_row(struct str *out, const struct report_data *data, const struct cell_row *cell)
{
    str_append(out, "<tr><td class=name>");
    html_text(out, cell->label);
    str_append(out, "</td>");
    for (int c = 0; c < COLUMNS; c++) {
        str_append(out, "<td class=n>");
        html_figure(out, report_data_figure(data, cell, columns[c].metric, columns[c].phase),
                    columns[c].unit);
        str_append(out, "</td>");
    }
    str_append(out, "</tr>");
}

void page_energy(struct str *out, const struct report_data *data)
{
    static const char *const heads[] = {"cell",
                                        ">a generated token#energy",
                                        ">a prompt token",
                                        ">power in decode",
                                        ">power in prefill",
                                        ">power at rest",
                                        NULL};
    size_t rows = 0;
    for (size_t i = 0; i < data->cell_count; i++) {
        if (!report_data_figure(data, &data->cells[i], METRIC_POWER_IDLE, NULL))
            continue;
        if (rows++ == 0) {
            str_append(out, "<details><summary>Energy of all cells as a table</summary><p>From the "
                            "device's energy counter. The energies exclude the power at rest, "
                            "measured with the model loaded. The powers include it.</p>");
            page_table_head(out, heads);
        }
        cell_row(out, data, &data->cells[i]);
    }
    if (rows == 0)
        return;
    page_table_end(out);
    str_append(out, "</details>");
}
