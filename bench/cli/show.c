// show.c - `bench show RUN|CELL`: what is known of one run or one cell, in full.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "bench/cli/view.h"
#include "results/export.h"
#include "results/metric.h"
#include "results/query.h"

static const struct flag flags[] = {
    {"db", 0, FLAG_STRING, "FILE", NULL, "database to read"},
    {"run", 0, FLAG_STRING, "RUN", NULL,
     "look for the cell in this run (default: the newest that has it)"},
    {"json", 0, FLAG_BOOL, NULL, NULL, "print JSON"},
    {0},
};

static void print_field(const char *name, const char *text)
{
    struct str plain = {0};
    cli_view_text(&plain, text);
    printf("%-14s %s\n", name, str_text(&plain));
    str_fini(&plain);
}

// ---- a run --------------------------------------------------------------------------------------

static enum status show_run(struct store *store, struct arena *arena, const struct run_row *run,
                            struct error *err)
{
    static const char *const heads[] = {"ceiling",   "level",      "device", ">threads",
                                        ">measured", "reached by", NULL};
    struct ceiling_row *ceilings = NULL;
    size_t count = 0;
    char text[64];
    TRY(query_ceilings(store, arena, run->id, &ceilings, &count, err));
    snprintf(text, sizeof text, "%lld", (long long)run->id);
    print_field("run", text);
    print_field("suite", run->suite_name);
    print_field("status", run->status);
    print_field("started", clock_iso8601(run->started_ns, text, sizeof text));
    print_field("ended",
                run->ended_ns ? clock_iso8601(run->ended_ns, text, sizeof text) : "not yet");
    snprintf(text, sizeof text, "%lld, %lld failed, %lld left out, %lld trials",
             (long long)run->cells, (long long)run->failed, (long long)run->left_out,
             (long long)run->trials);
    print_field("cells", text);
    print_field("command", run->command);
    print_field("machine", run->fingerprint);
    print_field("hardware", run->hardware);
    print_field("environment", run->environment);
    print_field("build", run->build);
    if (count == 0)
        return OK;
    struct view_table table;
    printf("\n");
    cli_view_begin(&table, heads);
    for (size_t i = 0; i < count; i++) {
        cli_view_cell(&table, "%s", ceilings[i].name);
        cli_view_cell(&table, "%s", ceilings[i].level);
        cli_view_cell(&table, "%s", ceilings[i].device);
        cli_view_cell(&table, "%d", ceilings[i].threads);
        cli_view_cell(&table, "%s",
                      metric_format(ceilings[i].value, ceilings[i].unit, text, sizeof text));
        cli_view_cell(&table, "%s", ceilings[i].kernel);
    }
    return cli_view_print(&table, err);
}

// ---- a cell -------------------------------------------------------------------------------------

static enum status print_figures(struct store *store, struct arena *arena,
                                 const struct cell_row *cell, struct error *err)
{
    static const char *const heads[] = {"figure", "phase", "op",      ">median", ">low", ">high",
                                        ">level", ">MAD",  ">trials", "source",  NULL};
    struct summary_row *rows = NULL;
    size_t count = 0;
    struct view_table table;
    char text[64];
    TRY(query_summaries(store, arena, cell->run, &rows, &count, err));
    cli_view_begin(&table, heads);
    for (size_t i = 0; i < count; i++) {
        const struct stat_summary *s = &rows[i].stat;
        const double values[] = {s->median, s->median_interval.low, s->median_interval.high};
        if (rows[i].cell != cell->id)
            continue;
        cli_view_cell(&table, "%s", rows[i].name);
        cli_view_cell(&table, "%s", rows[i].phase ? rows[i].phase : "");
        cli_view_cell(&table, "%s", rows[i].op ? rows[i].op : "");
        for (int v = 0; v < 3; v++)
            cli_view_cell(&table, "%s", metric_format(values[v], rows[i].unit, text, sizeof text));
        if (s->n > 1)
            cli_view_cell(&table, "%.0f %%", 100 * s->median_interval.level);
        else
            cli_view_cell(&table, "none");
        cli_view_cell(&table, "%s", metric_format(s->mad, rows[i].unit, text, sizeof text));
        cli_view_cell(&table, "%zu", s->n);
        cli_view_cell(&table, "%s", rows[i].source);
    }
    printf("\n");
    return cli_view_print(&table, err);
}

static enum status print_verdicts(struct store *store, struct arena *arena,
                                  const struct cell_row *cell, struct error *err)
{
    static const char *const heads[] = {"limit of",       "op",   "bound", ">roof", ">measured",
                                        ">share of roof", "says", "basis", NULL};
    struct verdict_row *rows = NULL;
    size_t count = 0;
    struct view_table table;
    char text[64];
    TRY(query_verdicts(store, arena, cell->run, &rows, &count, err));
    cli_view_begin(&table, heads);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].cell != cell->id)
            continue;
        cli_view_cell(&table, "%s", rows[i].phase);
        cli_view_cell(&table, "%s", rows[i].op ? rows[i].op : "all");
        cli_view_cell(&table, "%s", rows[i].bound);
        cli_view_cell(&table, "%s", metric_format(rows[i].t_roof_ns, "ns", text, sizeof text));
        cli_view_cell(&table, "%s", metric_format(rows[i].measured_ns, "ns", text, sizeof text));
        if (isnan(rows[i].eta))
            cli_view_cell(&table, "not measured");
        else
            cli_view_cell(&table, "%.0f %%", 100 * rows[i].eta);
        cli_view_cell(&table, "%s (%d of %d trials agree)", rows[i].text, rows[i].agree,
                      rows[i].trials);
        cli_view_cell(&table, "%s", rows[i].basis);
    }
    printf("\n");
    return cli_view_print(&table, err);
}

// The builds that measured a cell's trials, where any is not the run's.
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
            print_field(name, trials[i].build ? trials[i].build : "a build not recorded");
    }
}

// Which version of the cell's engine measured a trial, once where all agree.
static void print_engines(const struct trial_row *trials, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char name[40];
        const char *version = trials[i].engine_version;
        snprintf(name, sizeof name, "engine of trial %d", trials[i].number);
        if (i == 0 || !str_equal(version, trials[i - 1].engine_version))
            print_field(name, version ? version : "version not recorded");
    }
}

// Each trial's status, and every value of each of its repetitions with what disturbed it.
static enum status print_trials(struct store *store, struct arena *arena,
                                const struct cell_row *cell, struct error *err)
{
    char number[24];
    struct run_row run;
    static const char *const heads[] = {">trial",    "status", ">repetition", "value", "phase",
                                        ">measured", "source", "reason",      NULL};
    struct trial_row *trials = NULL;
    size_t count = 0;
    struct view_table table;
    char text[64];
    snprintf(number, sizeof number, "%lld", (long long)cell->run);
    TRY(query_run(store, arena, number, &run, err));
    TRY(query_trials(store, arena, cell->id, &trials, &count, err));
    printf("\n");
    print_builds(trials, count, run.build);
    print_engines(trials, count);
    cli_view_begin(&table, heads);
    for (size_t i = 0; i < count; i++) {
        struct value_row *values = NULL;
        size_t value_count = 0;
        TRY(query_values(store, arena, trials[i].id, &values, &value_count, err));
        cli_view_cell(&table, "%d", trials[i].number);
        cli_view_cell(&table, "%s", trials[i].status);
        for (int c = 2; c < 7; c++)
            cli_view_cell(&table, "%s", "");
        cli_view_cell(&table, "%s", trials[i].reason);
        for (size_t v = 0; v < value_count; v++) {
            bool whole = values[v].repetition ==
                         0; // of the trial: in the figures above, where it was measured
            if (values[v].op || (whole && !isnan(values[v].value)))
                continue;
            cli_view_cell(&table, "%d", trials[i].number);
            cli_view_cell(&table, "%s", "");
            if (whole)
                cli_view_cell(&table, "%s", "all");
            else
                cli_view_cell(&table, "%d", values[v].repetition);
            cli_view_cell(&table, "%s%s", values[v].noise ? "noise " : "", values[v].name);
            cli_view_cell(&table, "%s", values[v].phase ? values[v].phase : "");
            cli_view_cell(&table, "%s",
                          metric_format(values[v].value, values[v].unit, text, sizeof text));
            cli_view_cell(&table, "%s", values[v].source);
            cli_view_cell(&table, "%s", "");
        }
    }
    return cli_view_print(&table, err);
}

// How the quality was measured, or why there is none; its figures are among the others.
static void print_quality(const struct quality_row *q)
{
    char text[512];
    if (q == NULL) {
        print_field("quality", "not asked for");
        return;
    }
    snprintf(text, sizeof text, "%s%s%s, measured in run %lld", q->status, q->reason[0] ? ": " : "",
             q->reason, (long long)q->run);
    print_field("quality", text);
    print_field("quality of", q->params);
}

static enum status show_cell(struct store *store, struct arena *arena, const struct cell_row *cell,
                             struct error *err)
{
    char text[96];
    struct quality_row *qualities = NULL;
    size_t quality_count = 0;
    TRY(query_quality(store, arena, cell->run, &qualities, &quality_count, err));
    print_field("cell", cell->label);
    print_field("key", cell->key);
    snprintf(text, sizeof text, "%lld", (long long)cell->run);
    print_field("run", text);
    print_field("status", cell->status);
    print_field("reason", cell->reason[0] ? cell->reason : "none");
    snprintf(text, sizeof text, "%d of %d, %d disturbed", cell->trials, cell->trials_planned,
             cell->disturbed);
    print_field("trials", text);
    print_field("arithmetic", cell->arithmetic[0] ? cell->arithmetic : "not reported");
    print_field("engine", cell->engine);
    if (cell->stored[0])
        print_field("weights", cell->caveat[0] ? cell->caveat : cell->stored);
    print_field("predicted", metric_format(cell->predicted_memory_bytes, "bytes", text, 40));
    print_field("parameters", cell->params);
    print_quality(query_quality_find(qualities, quality_count, cell->id));
    TRY(print_figures(store, arena, cell, err));
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
    .summary = "show one run or one cell in full",
    .details =
        "RUN is a run's number, \"last\" or the name of a suite, whose newest run is meant.\n"
        "CELL is the start of a cell's key, at least 4 digits, or its label.",
    .flags = flags,
    .run = run_show,
};
