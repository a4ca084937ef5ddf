// list.c - `bench list`: the runs of a store, or with --run the cells of one.
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/plain.h"
#include "bench/cli/values.h"
#include "bench/cli/view.h"
#include "results/export.h"
#include "results/metric.h"
#include "results/query.h"

static const struct flag flags[] = {
    {"db", 0, FLAG_STRING, "FILE", NULL, "database to read", &cli_values_file},
    {"run", 0, FLAG_STRING, "RUN", NULL, "list the cells of this run: number, last, or suite",
     &cli_values_run},
    {"json", 0, FLAG_BOOL, NULL, NULL, "print JSON"},
    {0},
};

// ---- runs ---------------------------------------------------------------------------------------

static enum status print_runs(const struct run_row *runs, size_t count, struct error *err)
{
    static const char *const heads[] = {">run",      "suite",      "2started", "status",
                                        ">cells",    ">ok",        ">noisy",   ">failed",
                                        "3>not run", "1>left out", "4>trials", NULL};
    struct table table;
    table_begin(&table, heads);
    for (size_t i = 0; i < count; i++) {
        char when[32];
        table_cell(&table, "%lld", (long long)runs[i].id);
        table_cell(&table, "%s", runs[i].suite_name);
        table_cell(&table, "%s", clock_iso8601(runs[i].started_ns, when, sizeof when));
        table_cell(&table, "%s", runs[i].status);
        table_cell(&table, "%lld", (long long)runs[i].cells);
        table_cell(&table, "%lld", (long long)runs[i].ok);
        table_cell(&table, "%lld", (long long)runs[i].disturbed);
        table_cell(&table, "%lld", (long long)runs[i].failed);
        table_cell(&table, "%lld", (long long)runs[i].pending);
        table_cell(&table, "%lld", (long long)runs[i].left_out);
        table_cell(&table, "%lld", (long long)runs[i].trials);
    }
    return cli_view_table(&table, err);
}

static enum status list_runs(struct store *store, struct arena *arena, bool json, struct error *err)
{
    struct run_row *runs = NULL;
    size_t count = 0;
    TRY(query_runs(store, arena, &runs, &count, err));
    if (!json && count == 0)
        plain_printf(stdout, "%s: " NOTHING_MEASURED "\n", store_path(store));
    if (!json)
        return count ? print_runs(runs, count, err) : OK;
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, export_run(&runs[i]));
    return cli_view_json(list, err);
}

// ---- cells --------------------------------------------------------------------------------------

static void figure_cell(struct table *table, const struct summary_row *rows, size_t count,
                        const struct cell_row *cell, const char *name, const char *phase)
{
    char text[64] = "";
    const struct summary_row *row = query_summary_find(rows, count, cell->id, name, phase);
    if (row && query_cell_measured(cell))
        metric_format(row->stat.median, row->unit, text, sizeof text);
    table_cell(table, "%s", text);
}

static enum status print_cells(const struct cell_row *cells, size_t count,
                               const struct summary_row *rows, size_t row_count, struct error *err)
{
    static const char *const heads[] = {"5key",      "cell",     "status", "4>trials", "2>TTFT",
                                        "3>prefill", "1>decode", "reason", NULL};
    struct str words = {0};
    struct table table;
    table_begin(&table, heads);
    for (size_t i = 0; i < count; i++) {
        const struct cell_row *c = &cells[i];
        table_cell(&table, "%.10s", c->key);
        table_cell(&table, "%s", c->label);
        table_cell(&table, "%s", c->status);
        table_cell(&table, "%d/%d", c->trials, c->trials_planned);
        figure_cell(&table, rows, row_count, c, METRIC_TTFT, "prefill");
        figure_cell(&table, rows, row_count, c, METRIC_PREFILL_TPS, "prefill");
        figure_cell(&table, rows, row_count, c, METRIC_DECODE_TPS, "decode");
        str_append(&words, c->caveat);
        str_printf(&words, "%s%s", c->caveat[0] && c->reason[0] ? "; " : "", c->reason);
        table_cell(&table, "%s", str_text(&words));
        str_fini(&words);
    }
    return cli_view_table(&table, err);
}

static enum status list_cells(struct store *store, struct arena *arena, const char *which,
                              bool json, struct error *err)
{
    struct run_row run;
    struct cell_row *cells = NULL;
    struct summary_row *rows = NULL;
    size_t count = 0, row_count = 0;
    TRY(query_run(store, arena, which, &run, err));
    TRY(query_cells(store, arena, run.id, &cells, &count, err));
    TRY(query_summaries(store, arena, run.id, &rows, &row_count, err));
    if (!json)
        return print_cells(cells, count, rows, row_count, err);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *cell = export_cell(&cells[i]), *figures = json_array();
        for (size_t j = 0; j < row_count; j++)
            if (rows[j].cell == cells[i].id)
                json_array_append_new(figures, export_summary(&rows[j]));
        json_object_set_new(cell, "figures", figures);
        json_array_append_new(list, cell);
    }
    return cli_view_json(list, err);
}

static enum exit_code run_list(const struct arguments *args, struct error *err)
{
    struct store *store = NULL;
    struct arena arena = {0};
    const char *run = cli_flag_string(args, "run");
    if (cli_view_open(args, &store, err) == OK && query_begin(store, err) == OK) {
        if (run)
            list_cells(store, &arena, run, cli_flag_bool(args, "json"), err);
        else
            list_runs(store, &arena, cli_flag_bool(args, "json"), err);
        query_end(store);
    }
    arena_fini(&arena);
    store_close(store);
    return cli_exit_code(err);
}

const struct command command_list = {
    .name = "list",
    .summary = "list the runs of a store, or the cells of a run",
    .flags = flags,
    .run = run_list,
};
