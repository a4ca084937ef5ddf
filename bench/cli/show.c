// show.c - `bench show RUN|CELL`: prints all that is known about one run or one cell.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "bench/cli/values.h"
#include "bench/cli/view.h"
#include "results/basis.h"
#include "results/export.h"
#include "results/metric.h"
#include "results/query.h"

static const struct flag flags[] = {
    {"db", 0, FLAG_STRING, "FILE", NULL, "database to read", &cli_values_file},
    {"run", 0, FLAG_STRING, "RUN", NULL,
     "look for the cell in this run (default: the newest that has it)", &cli_values_run},
    {"json", 0, FLAG_BOOL, NULL, NULL, "print JSON"},
    {0},
};

// ---- a run --------------------------------------------------------------------------------------

static enum status show_run(struct store *store, struct arena *arena, const struct run_row *run,
                            struct error *err)
{
    static const char *const heads[] = {"ceiling",   "level",       "device",  ">threads", ">set",
                                        ">measured", "1reached by", "2clocks", NULL};
    struct ceiling_row *ceilings = NULL;
    size_t count = 0;
    char text[160];
    TRY(query_ceilings(store, arena, run->id, &ceilings, &count, err));
    snprintf(text, sizeof text, "%lld", (long long)run->id);
    cli_view_field("run", text);
    cli_view_field("suite", run->suite_name);
    cli_view_field("status", run->status);
    cli_view_field("started", clock_iso8601(run->started_ns, text, sizeof text));
    cli_view_field("ended",
                   run->ended_ns ? clock_iso8601(run->ended_ns, text, sizeof text) : "not yet");
    snprintf(text, sizeof text,
             "%lld: %lld ok, %lld noisy or throttled, %lld failed, %lld not run yet, %lld left out",
             (long long)run->cells, (long long)run->ok, (long long)run->disturbed,
             (long long)run->failed, (long long)run->pending, (long long)run->left_out);
    cli_view_field("cells", text);
    snprintf(text, sizeof text, "%lld", (long long)run->trials);
    cli_view_field("trials", text);
    cli_view_field("command", run->command);
    cli_view_field("machine", run->fingerprint);
    cli_view_json_fields("hardware", run->hardware);
    cli_view_json_fields("environment", run->environment);
    cli_view_json_fields("build", run->build);
    if (run->ceilings_note[0])
        cli_view_field("ceilings", run->ceilings_note);
    if (count == 0)
        return OK;
    struct table table;
    printf("\n");
    table_begin(&table, heads);
    for (size_t i = 0; i < count; i++) {
        table_cell(&table, "%s", ceilings[i].name);
        table_cell(&table, "%s", ceilings[i].level);
        table_cell(&table, "%s", ceilings[i].device);
        cli_view_threads(&table, ceilings[i].threads);
        bool sized = ceilings[i].set_bytes > 0; // a peak reads nothing
        table_cell(&table, "%s",
                   sized ? metric_format(ceilings[i].set_bytes, "bytes", text, sizeof text) : "");
        table_cell(&table, "%s",
                   metric_format(ceilings[i].value, ceilings[i].unit, text, sizeof text));
        table_cell(&table, "%s", ceilings[i].kernel);
        table_cell(&table, "%s",
                   cli_view_clocks(ceilings[i].clock_low_hz, ceilings[i].clock_high_hz,
                                   ceilings[i].memory_clock_hz, text, sizeof text));
    }
    return cli_view_table(&table, err);
}

// ---- a cell -------------------------------------------------------------------------------------

static enum status print_figures(const struct cell_row *cell, const struct summary_row *rows,
                                 size_t count, struct error *err)
{
    static const char *const heads[] = {"figure",  "phase",    "op",     "4source",
                                        ">median", "2>low",    "1>high", "5>level",
                                        "6>MAD",   "3>trials", NULL};
    struct table table;
    char text[64];
    table_begin(&table, heads);
    for (size_t i = 0; i < count; i++) {
        const struct stat_summary *s = &rows[i].stat;
        const double values[] = {s->median, s->median_interval.low, s->median_interval.high};
        if (rows[i].cell != cell->id)
            continue;
        table_cell(&table, "%s", rows[i].name);
        table_cell(&table, "%s", rows[i].phase ? rows[i].phase : "");
        table_cell(&table, "%s", rows[i].op ? rows[i].op : "");
        table_cell(&table, "%s", rows[i].source);
        for (int v = 0; v < 3; v++)
            table_cell(&table, "%s", metric_format(values[v], rows[i].unit, text, sizeof text));
        if (s->n > 1)
            table_cell(&table, "%.0f %%", 100 * s->median_interval.level);
        else
            table_cell(&table, "none");
        table_cell(&table, "%s", metric_format(s->mad, rows[i].unit, text, sizeof text));
        table_cell(&table, "%zu", s->n);
    }
    printf("\n");
    return cli_view_table(&table, err);
}

// " (2 of 3 trials agree)"; "" where all do.
static const char *agreement(const struct verdict_row *v, char *out, size_t out_bytes)
{
    *out = '\0';
    if (v->agree < v->trials)
        snprintf(out, out_bytes, " (%d of %d trials agree)", v->agree, v->trials);
    return out;
}

static enum status print_verdicts(struct store *store, struct arena *arena,
                                  const struct cell_row *cell, struct error *err)
{
    static const char *const heads[] = {"phase",  "op",      ">roof", ">measured",
                                        "1basis", "verdict", NULL};
    struct verdict_row *rows = NULL;
    size_t count = 0;
    struct table table;
    char text[64];
    TRY(query_verdicts(store, arena, cell->run, &rows, &count, err));
    table_begin(&table, heads);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].cell != cell->id)
            continue;
        table_cell(&table, "%s", rows[i].phase);
        table_cell(&table, "%s", rows[i].op ? rows[i].op : "all");
        table_cell(&table, "%s", metric_format(rows[i].t_roof_ns, "ns", text, sizeof text));
        table_cell(&table, "%s", metric_format(rows[i].measured_ns, "ns", text, sizeof text));
        table_cell(&table, "%s", rows[i].basis);
        table_cell(&table, "%s%s", rows[i].text, agreement(&rows[i], text, sizeof text));
    }
    printf("\n");
    return cli_view_table(&table, err);
}

// Prints the builds that measured a cell's trials, if any differs from the run's build.
static void print_builds(const struct trial_row *trials, size_t count, const char *run_build)
{
    bool other = false;
    for (size_t i = 0; i < count; i++)
        other |= trials[i].build && !str_equal(trials[i].build, run_build);
    for (size_t i = 0; i < count && other; i++) {
        char name[32];
        bool first = true;
        for (size_t j = 0; j < i; j++)
            first &= !str_equal(trials[i].build, trials[j].build);
        snprintf(name, sizeof name, "trial %d by", trials[i].number);
        if (first)
            cli_view_field(name, trials[i].build ? trials[i].build : "a build not recorded");
    }
}

// Prints the version of the cell's engine for each trial where it differs from that of the previous trial.
static void print_engines(const struct trial_row *trials, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[160];
        const char *version = trials[i].engine_version ? trials[i].engine_version : "not recorded";
        if (i == 0)
            snprintf(text, sizeof text, "%s", version);
        else
            snprintf(text, sizeof text, "%s from trial %d on", version, trials[i].number);
        if (i == 0 || !str_equal(trials[i].engine_version, trials[i - 1].engine_version))
            cli_view_field("engine version", text);
    }
}

static enum status print_statuses(const struct trial_row *trials, size_t count, struct error *err)
{
    static const char *const heads[] = {">trial", "status", "reason", NULL};
    struct table table;
    table_begin(&table, heads);
    for (size_t i = 0; i < count; i++) {
        table_cell(&table, "%d", trials[i].number);
        table_cell(&table, "%s", trials[i].status);
        table_cell(&table, "%s", trials[i].reason);
    }
    return cli_view_table(&table, err);
}

static void value_cells(struct table *table, const struct trial_row *trial,
                        const struct value_row *value)
{
    char text[64];
    table_cell(table, "%d", trial->number);
    if (value->repetition == 0)
        table_cell(table, "all");
    else
        table_cell(table, "%d", value->repetition);
    table_cell(table, "%s%s", value->noise ? "noise " : "", value->name);
    table_cell(table, "%s", value->phase ? value->phase : "");
    table_cell(table, "%s", metric_format(value->value, value->unit, text, sizeof text));
    table_cell(table, "%s", value->source);
}

// Prints every value of each repetition of each trial, with what disturbed it. Of a trial's own values only those that
// were not measured are printed, because the others are among the figures.
static enum status print_values(struct store *store, struct arena *arena,
                                const struct trial_row *trials, size_t count, struct error *err)
{
    static const char *const heads[] = {">trial",    ">repetition", "value", "1phase",
                                        ">measured", "1source",     NULL};
    struct table table;
    table_begin(&table, heads);
    for (size_t i = 0; i < count; i++) {
        struct value_row *values = NULL;
        size_t value_count = 0;
        TRY(query_values(store, arena, trials[i].id, &values, &value_count, err));
        for (size_t v = 0; v < value_count; v++) {
            bool among_figures = values[v].repetition == 0 && !isnan(values[v].value);
            if (!values[v].op && !among_figures)
                value_cells(&table, &trials[i], &values[v]);
        }
    }
    return cli_view_table(&table, err);
}

static enum status print_trials(struct store *store, struct arena *arena,
                                const struct cell_row *cell, struct error *err)
{
    char number[24];
    struct run_row run;
    struct trial_row *trials = NULL;
    size_t count = 0;
    snprintf(number, sizeof number, "%lld", (long long)cell->run);
    TRY(query_run(store, arena, number, &run, err));
    TRY(query_trials(store, arena, cell->id, &trials, &count, err));
    printf("\n");
    print_builds(trials, count, run.build);
    print_engines(trials, count);
    TRY(print_statuses(trials, count, err));
    printf("\n");
    return print_values(store, arena, trials, count, err);
}

// Prints how the quality was measured, or why it was not. Its values are among the figures.
static void print_quality(const struct quality_row *q)
{
    char text[512];
    if (q == NULL) {
        cli_view_field("quality", "not requested");
        return;
    }
    snprintf(text, sizeof text, "%s%s%s, measured in run %lld", q->status, q->reason[0] ? ": " : "",
             q->reason, (long long)q->run);
    cli_view_field("quality", text);
    cli_view_json_fields("quality of", q->params);
}

// Prints the predicted memory next to the measured one. The measurement covers the whole process, so it is larger for
// small models.
static void print_memory(const struct cell_row *cell, const struct summary_row *rows, size_t count)
{
    char expected[40], peak[40], text[160];
    const struct summary_row *row =
        query_summary_find(rows, count, cell->id, METRIC_PEAK_MEM, NULL);
    double ratio = row ? query_cell_memory_ratio(cell, row->stat.median) : (double)NAN;
    int used = cell->predicted_memory_bytes > 0
                   ? snprintf(text, sizeof text, "predicted %s",
                              metric_format(cell->predicted_memory_bytes, "bytes", expected,
                                            sizeof expected))
                   : snprintf(text, sizeof text, "not predicted");
    if (row)
        used += snprintf(text + used, sizeof text - (size_t)used, "; peak of the whole process %s",
                         metric_format(row->stat.median, "bytes", peak, sizeof peak));
    if (!isnan(ratio))
        snprintf(text + used, sizeof text - (size_t)used, ", %.2f times that", ratio);
    cli_view_field("memory", text);
}

static double median_of(const struct cell_row *cell, const struct summary_row *rows, size_t count,
                        const char *name, const char *phase)
{
    const struct summary_row *row = query_summary_find(rows, count, cell->id, name, phase);
    return row ? row->stat.median : (double)NAN;
}

// Appends ", 1.62 times the analytic ones" and the cause, if that is a finding.
static void append_ratio(struct str *text, double ratio, const char *cause)
{
    if (isnan(ratio))
        return;
    str_printf(text, ", %.2f times the analytic ones", ratio);
    if (!metric_agrees(ratio))
        str_printf(text, " (%s)", cause);
}

// Prints the bytes and operations that were counted, as a share of the analytic ones; or why they were not, and what
// would count them.
static void print_counted(const struct cell_row *cell, const struct summary_row *rows, size_t count,
                          const char *uncounted)
{
    static const char *const phases[] = {"prefill", "decode"};
    bool any = false;
    for (int p = 0; p < 2; p++) {
        struct str text = {0};
        char value[40];
        double bytes = median_of(cell, rows, count, METRIC_DRAM_BYTES, phases[p]);
        double operations = median_of(cell, rows, count, METRIC_TENSOR_OPS, phases[p]);
        double ratio = median_of(cell, rows, count, METRIC_DRAM_RATIO, phases[p]);
        if (!isnan(bytes)) {
            str_printf(&text, "%s: %s of memory", phases[p],
                       metric_format(bytes, "bytes", value, sizeof value));
            append_ratio(&text, ratio, metric_bytes_cause(ratio, query_cell_on_host(cell)));
        }
        if (!isnan(operations)) {
            ratio = median_of(cell, rows, count, METRIC_OPS_RATIO, phases[p]);
            str_printf(&text, "%s%s%s of tensor cores", text.length ? "; " : phases[p],
                       text.length ? "" : ": ",
                       metric_format(operations, "FLOP", value, sizeof value));
            append_ratio(&text, ratio, metric_operations_cause(ratio));
        }
        if (text.length)
            cli_view_field(any ? "" : "counted", str_text(&text));
        any |= text.length > 0;
        str_fini(&text);
    }
    struct str none = {0};
    str_append(&none, "nothing of memory");
    if (uncounted)
        str_printf(&none, ": %s", uncounted);
    else
        str_append(&none, "; collect = counters counts it where the device or the machine's memory "
                          "controllers can");
    if (!any)
        cli_view_field("counted", str_text(&none));
    str_fini(&none);
}

static enum status show_cell(struct store *store, struct arena *arena, const struct cell_row *cell,
                             struct error *err)
{
    char text[96];
    struct summary_row *figures = NULL;
    struct quality_row *qualities = NULL;
    struct uncounted_row *uncounted = NULL;
    size_t figure_count = 0, quality_count = 0, uncounted_count = 0;
    TRY(query_uncounted(store, arena, cell->run, &uncounted, &uncounted_count, err));
    TRY(query_summaries(store, arena, cell->run, &figures, &figure_count, err));
    TRY(query_quality(store, arena, cell->run, &qualities, &quality_count, err));
    cli_view_field("cell", cell->label);
    cli_view_field("key", cell->key);
    snprintf(text, sizeof text, "%lld", (long long)cell->run);
    cli_view_field("run", text);
    cli_view_field("status", cell->status);
    cli_view_field("reason", cell->reason[0] ? cell->reason : "none");
    snprintf(text, sizeof text, "%d of %d, %d disturbed", cell->trials, cell->trials_planned,
             cell->disturbed);
    cli_view_field("trials", text);
    cli_view_field("arithmetic", cell->arithmetic[0] ? cell->arithmetic : "not reported");
    if (cell->step[0])
        cli_view_field("decode step", cell->step);
    if (cell->products[0])
        cli_view_parts("products", cell->products);
    cli_view_field("engine", cell->engine);
    if (cell->stored[0])
        cli_view_field("weights", cell->weights_caveat[0] ? cell->weights_caveat : cell->stored);
    print_memory(cell, figures, figure_count);
    print_counted(cell, figures, figure_count,
                  query_uncounted_find(uncounted, uncounted_count, cell->id));
    cli_view_json_fields("parameters", cell->params);
    print_quality(query_quality_find(qualities, quality_count, cell->id));
    TRY(print_figures(cell, figures, figure_count, err));
    TRY(print_verdicts(store, arena, cell, err));
    return print_trials(store, arena, cell, err);
}

static enum status cell_json(struct store *store, struct arena *arena, const struct cell_row *cell,
                             struct error *err)
{
    struct summary_row *figures = NULL;
    struct verdict_row *verdicts = NULL;
    struct quality_row *qualities = NULL;
    size_t figure_count = 0, verdict_count = 0, quality_count = 0;
    json_t *trials = NULL;
    TRY(query_summaries(store, arena, cell->run, &figures, &figure_count, err));
    TRY(query_verdicts(store, arena, cell->run, &verdicts, &verdict_count, err));
    TRY(query_quality(store, arena, cell->run, &qualities, &quality_count, err));
    enum status status = export_trials(store, arena, cell->id, &trials, err);
    if (status != OK) {
        json_decref(trials);
        return status;
    }
    json_t *root = export_cell(cell), *list = json_array(), *limits = json_array();
    for (size_t i = 0; i < figure_count; i++)
        if (figures[i].cell == cell->id)
            json_array_append_new(list, export_summary(&figures[i]));
    for (size_t i = 0; i < verdict_count; i++)
        if (verdicts[i].cell == cell->id)
            json_array_append_new(limits, export_verdict(&verdicts[i]));
    json_object_set_new(root, "run", json_integer(cell->run));
    json_object_set_new(root, "prediction", export_json_stored(cell->prediction));
    json_object_set_new(root, "figures", list);
    json_object_set_new(root, "verdicts", limits);
    json_object_set_new(root, "quality",
                        export_quality(query_quality_find(qualities, quality_count, cell->id)));
    json_object_set_new(root, "stored_trials", trials);
    return cli_view_json(root, err);
}

// ---- which of the two ---------------------------------------------------------------------------

static enum status show_one_run(struct store *store, struct arena *arena, const struct run_row *run,
                                bool json, struct error *err)
{
    if (!json)
        return show_run(store, arena, run, err);
    json_t *root = export_run(run);
    json_object_set_new(root, "suite_text", export_json_text(run->suite_text));
    json_object_set_new(root, "hardware", export_json_stored(run->hardware));
    json_object_set_new(root, "environment", export_json_stored(run->environment));
    json_object_set_new(root, "build", export_json_stored(run->build));
    return cli_view_json(root, err);
}

static enum status show(const struct arguments *args, struct store *store, struct arena *arena,
                        struct error *err)
{
    const char *which = cli_positional(args, 0), *in = cli_flag_string(args, "run");
    bool json = cli_flag_bool(args, "json");
    struct run_row run = {0};
    struct cell_row cell;
    struct error no_run = {0};
    if (!in && query_run(store, arena, which, &run, &no_run) == OK)
        return show_one_run(store, arena, &run, json, err);
    if (!in && no_run.code != ERR_USAGE) {
        *err = no_run;
        return err->code;
    }
    if (in)
        TRY(query_run(store, arena, in, &run, err));
    TRY(query_cell(store, arena, run.id, which, &cell, err));
    return json ? cell_json(store, arena, &cell, err) : show_cell(store, arena, &cell, err);
}

static enum exit_code run_show(const struct arguments *args, struct error *err)
{
    struct store *store = NULL;
    struct arena arena = {0};
    if (cli_view_open(args, &store, err) == OK && query_begin(store, err) == OK) {
        show(args, store, &arena, err);
        query_end(store);
    }
    arena_fini(&arena);
    store_close(store);
    return cli_exit_code(err);
}

const struct command command_show = {
    .name = "show",
    .positional = "RUN|CELL",
    .min_positional = 1,
    .max_positional = 1,
    .accepts = {&cli_values_run},
    .summary = "show one run or one cell in full",
    .details =
        "RUN is a run's number, \"last\" or the name of a suite, whose newest run is meant.\n"
        "CELL is the start of a cell's key, at least 6 digits, or its label.",
    .flags = flags,
    .run = run_show,
};
