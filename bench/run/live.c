// live.c - progress and one line per trial on standard error; the final table on standard output.
#include "bench/run/live.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/home.h"
#include "base/os.h"
#include "base/plain.h"
#include "base/str.h"
#include "base/table.h"
#include "results/basis.h"
#include "results/metric.h"
#include "results/query.h"

static const uint64_t say_every_ns = 10000000000u;
enum { DRAW_EVERY_NS = 100 * 1000 * 1000, BAR_CELLS = 16, COLUMNS_USUAL = 80, COLUMNS_MAX = 240 };

#define WIPE   "\r\033[K"
#define RED    "\033[31m"
#define YELLOW "\033[33m"
#define GREEN  "\033[32m"
#define PLAIN  "\033[0m"

static int columns_of(FILE *terminal)
{
    int columns = plain_columns(terminal);
    return columns < COLUMNS_MAX ? columns : COLUMNS_MAX;
}

void live_begin(struct live *live, enum runner_output output, bool own_store)
{
    bool terminal = isatty(STDERR_FILENO) == 1;
    *live = (struct live){
        .out = stderr,
        .drawing = output == RUNNER_LIVE || (output == RUNNER_AUTO && terminal),
        .speaking = output != RUNNER_QUIET,
        .own_store = own_store,
        .columns = terminal ? columns_of(stderr) : COLUMNS_USUAL,
    };
}

void live_expect(struct live *live, size_t trials, double predicted_ns)
{
    live->trials = trials;
    live->predicted_ns = predicted_ns;
    live->begin_ns = live->last_done_ns = clock_ns();
}

void live_wipe(struct live *live)
{
    if (live->drawn)
        fputs(WIPE, live->out);
    live->drawn = false;
}

// Draws a line that the next one replaces, cut to the width of the terminal.
static void draw(struct live *live, const char *format, ...) PRINTF_LIKE(2, 3);
static void draw(struct live *live, const char *format, ...)
{
    char line[COLUMNS_MAX + 1];
    va_list args;
    va_start(args, format);
    vsnprintf(line, (size_t)live->columns, format, args);
    va_end(args);
    str_plain(line);
    live_wipe(live);
    fputs(line, live->out);
    live->drawn = true;
    fflush(live->out);
}

void live_line(struct live *live, const char *format, ...)
{
    if (!live->speaking)
        return;
    va_list args;
    va_start(args, format);
    live_wipe(live);
    vfprintf(live->out, format, args);
    fputc('\n', live->out);
    va_end(args);
    fflush(live->out);
}

void live_models(struct live *live, const struct plan *plan)
{
    for (size_t i = 0; i < plan->model_count; i++)
        if (plan->models[i].fallback[0])
            live_line(live, "%s: %s", plan->models[i].label, plan->models[i].fallback);
}

void live_note(struct live *live, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(live->what, sizeof live->what, format, args);
    va_end(args);
    live->noted = true;
    live->noted_ns = live->last_say_ns = clock_ns();
    if (live->drawing)
        draw(live, "%s", live->what);
    else
        live_line(live, "%s", live->what);
}

static char *format_clock(double ns, char *out, size_t out_bytes)
{
    long seconds = ns > 0 ? lround(ns / 1e9) : 0;
    if (seconds >= 3600)
        snprintf(out, out_bytes, "%ldh%02ldm", seconds / 3600, seconds / 60 % 60);
    else
        snprintf(out, out_bytes, "%ld:%02ld", seconds / 60, seconds % 60);
    return out;
}

// Shows how long the errand of live_note has been running.
void live_tick(struct live *live)
{
    char since[32];
    uint64_t now = clock_ns();
    if (!live->speaking || !live->noted)
        return;
    format_clock((double)(now - live->noted_ns), since, sizeof since);
    if (live->drawing && now - live->last_draw_ns >= DRAW_EVERY_NS) {
        live->last_draw_ns = now;
        draw(live, "%s  %s", live->what, since);
    } else if (!live->drawing && now - live->last_say_ns >= say_every_ns) {
        live->last_say_ns = now;
        live_line(live, "%s: %s so far", live->what, since);
    }
}

// Compares the predictions with the time of what has ended.
static void count_done(struct live *live, double predicted_ns)
{
    live->predicted_done_ns += predicted_ns;
    live->last_done_ns = clock_ns();
}

void live_quality(struct live *live, const struct plan_quality *quality)
{
    live_note(live, "quality of %s by %s", quality->label, quality->wish->convention);
}

void live_quality_done(struct live *live, const struct plan_quality *quality)
{
    count_done(live, quality->predicted_ns);
}

void live_cell(struct live *live, const struct cell *cell)
{
    snprintf(live->what, sizeof live->what, "%s", cell->label);
    live->running_ns = cell->predicted_ns / cell->procs;
    live->noted = false;
    live->last_draw_ns = 0;
    live->last_say_ns = clock_ns();
}

// The remaining time: the predictions, scaled by their accuracy so far, minus the time since the last end. It never
// falls below the prediction for everything after the current trial.
static double left_ns(const struct live *live)
{
    double planned = live->predicted_ns - live->predicted_done_ns;
    double spent = (double)(live->last_done_ns - live->begin_ns);
    double scale = live->predicted_done_ns > 0 && spent > 0 ? spent / live->predicted_done_ns : 1;
    double since = (double)(clock_ns() - live->last_done_ns);
    return scale * fmax(planned - live->running_ns, planned - since / scale);
}

static void say_load(struct live *live, const char *phase, double done)
{
    uint64_t now = clock_ns();
    if (!str_equal(phase, "load") || now - live->last_say_ns < say_every_ns)
        return;
    live->last_say_ns = now;
    if (live->noted)
        live_line(live, "%s: load %.0f %%", live->what, 100 * done);
    else
        live_line(live, "trial %zu of %zu  %s  load %.0f %%", live->trials_done + 1, live->trials,
                  live->what, 100 * done);
}

void live_progress(struct live *live, const char *phase, int repetition, double done)
{
    char bar[BAR_CELLS + 1], left[32], part[48] = "";
    uint64_t now = clock_ns();
    if (!live->drawing)
        say_load(live, phase, done);
    if (live->noted) // an errand shows its time
        live_tick(live);
    if (live->noted || !live->drawing || now - live->last_draw_ns < DRAW_EVERY_NS)
        return;
    live->last_draw_ns = now;
    int filled = (int)(fmin(fmax(done, 0), 1) * BAR_CELLS);
    for (int i = 0; i < BAR_CELLS; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[BAR_CELLS] = '\0';
    if (repetition > 0)
        snprintf(part, sizeof part, ", rep %d", repetition);
    draw(live, "trial %zu of %zu, about %s left  %s  [%s] %s%s", live->trials_done + 1,
         live->trials, format_clock(left_ns(live), left, sizeof left), live->what, bar, phase,
         part);
}

// "TTFT 81.0 ms  prefill 812 tok/s  decode 31.2 tok/s"
static void append_figures(const struct trial *t, struct str *out)
{
    static const struct {
        const char *title, *name, *phase, *unit;
    } figures[] = {
        {"TTFT", METRIC_TTFT, "prefill", "ns"},
        {"prefill", METRIC_PREFILL_TPS, "prefill", "token/s"},
        {"decode", METRIC_DECODE_TPS, "decode", "token/s"},
    };
    char text[48];
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        double value = trial_median(t, figures[i].name, figures[i].phase);
        if (!isnan(value))
            str_printf(out, "  %s %s", figures[i].title,
                       metric_format(value, figures[i].unit, text, sizeof text));
    }
    for (size_t i = 0; i < t->verdict_count; i++)
        if (!t->verdicts[i].op && str_equal(t->verdicts[i].phase, "decode"))
            str_printf(out, "  %s%s",
                       str_equal(t->verdicts[i].basis, BASIS_COUNTERS) ? "counted: " : "",
                       t->verdicts[i].text);
}

static const char *colour_of(const struct trial *t)
{
    return trial_failed(t) ? RED : str_equal(t->status, "ok") ? GREEN : YELLOW;
}

void live_trial(struct live *live, const struct trial *t)
{
    struct str line = {0};
    live->trials_done++;
    count_done(live, t->cell->predicted_ns / t->cell->procs);
    str_printf(&line, "trial %zu of %zu  %s%s  ", live->trials_done, live->trials, t->cell->label,
               t->number > t->cell->procs ? " (added)" : "");
    str_printf(&line, "%s%s%s", live->drawing ? colour_of(t) : "", t->status,
               live->drawing ? PLAIN : "");
    if (trial_measured(t))
        append_figures(t, &line);
    if (t->reason[0])
        str_printf(&line, "%s%s", trial_measured(t) ? "  (" : ": ", t->reason);
    if (t->reason[0] && trial_measured(t))
        str_append(&line, ")");
    live_line(live, "%s", str_text(&line));
    str_fini(&line);
}

void live_add(struct live *live, const struct cell *cell)
{
    live->trials++;
    live->predicted_ns += cell->predicted_ns / cell->procs;
}

void live_drop(struct live *live, size_t trials, double predicted_ns)
{
    live->trials -= trials < live->trials ? trials : live->trials;
    live->predicted_ns -= predicted_ns;
}

// ---- the table ----------------------------------------------------------------------------------------------

// A cell's median of one metric, or "-".
static const char *median_text(const struct summary_row *rows, size_t count, int64_t cell,
                               const char *name, const char *phase, char *out, size_t out_bytes)
{
    const struct summary_row *row = query_summary_find(rows, count, cell, name, phase);
    snprintf(out, out_bytes, "-");
    return row ? metric_format(row->stat.median, row->unit, out, out_bytes) : out;
}

// Adds what limits a cell's speed, or why it has none. Each further sentence gets its own row.
static void sentence_rows(struct table *table, const struct cell_row *cell,
                          const struct verdict_row *verdict)
{
    char why[700] = "";
    const char *const sentences[] = {verdict ? verdict->text : "", cell->caveat, why};
    bool first = true;
    if (cell->reason[0])
        snprintf(why, sizeof why, "%s: %s", cell->status, cell->reason);
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++) {
        if (!sentences[i][0])
            continue;
        for (size_t c = 1; !first && c < table->columns; c++)
            table_cell(table, "%s", "");
        table_cell(table, "%s", sentences[i]);
        first = false;
    }
    if (first)
        table_cell(table, "%s", "");
}

static void cell_row(struct table *table, const struct cell_row *cell,
                     const struct summary_row *rows, size_t count, bool quality,
                     const struct verdict_row *verdict)
{
    static const struct {
        const char *name, *phase;
    } figures[] = {{METRIC_TTFT, "prefill"},
                   {METRIC_PREFILL_TPS, "prefill"},
                   {METRIC_DECODE_TPS, "decode"},
                   {METRIC_TPOT, "decode"},
                   {METRIC_PERPLEXITY, NULL}};
    size_t figure_count = sizeof figures / sizeof *figures - !quality;
    char text[48];
    table_cell(table, "%s", cell->label);
    table_cell(table, "%s", cell->status);
    if (cell->trials < cell->trials_planned)
        table_cell(table, "%d of %d", cell->trials, cell->trials_planned);
    else
        table_cell(table, "%d", cell->trials); // more than planned if some were disturbed
    for (size_t i = 0; i < figure_count; i++)
        table_cell(table, "%s",
                   median_text(rows, count, cell->id, figures[i].name, figures[i].phase, text,
                               sizeof text));
    sentence_rows(table, cell, verdict);
}

// The word that starts this program: its name if it is in PATH, else its path.
static void append_program(struct str *out)
{
    char *path = home_has_program("bench") ? NULL : os_executable_path(), folder[4096];
    size_t length = path && getcwd(folder, sizeof folder) ? strlen(folder) : 0;
    bool below = length && str_starts(path, folder) && path[length] == '/';
    str_append_shell(out, path ? path + (below ? length + 1 : 0) : "bench");
    free(path);
}

// Prints the next commands for this run, ready to copy.
static void print_next(const struct live *live, const struct store *store, int64_t run,
                       size_t left_out)
{
    struct str db = {0}, program = {0};
    append_program(&program);
    if (!live->own_store) {
        str_append(&db, " --db ");
        str_append_shell(&db, store_path(store));
    }
    if (left_out)
        plain_printf(stdout, "\n%zu cell%s left out; with reasons: %s list --run %lld%s\n",
                     left_out, left_out == 1 ? "" : "s", str_text(&program), (long long)run,
                     str_text(&db));
    plain_printf(stdout, "\nrun %lld is in %s; next: %s report %lld%s\n", (long long)run,
                 store_path(store), str_text(&program), (long long)run, str_text(&db));
    str_fini(&program);
    str_fini(&db);
}

enum status live_table(struct live *live, struct store *store, int64_t run, struct error *err)
{
    static const char *const with[] = {
        "cell",   "status",       "3>trials",           ">TTFT", "2>prefill", ">decode",
        "4>TPOT", "1>perplexity", "what limits decode", NULL};
    static const char *const without[] = {"cell",      "status",  "3>trials", ">TTFT",
                                          "2>prefill", ">decode", "4>TPOT",   "what limits decode",
                                          NULL};
    struct arena arena = {0};
    struct cell_row *cells = NULL;
    struct summary_row *rows = NULL;
    struct verdict_row *verdicts = NULL;
    struct table table;
    size_t cell_count = 0, row_count = 0, verdict_count = 0, left_out = 0;
    bool quality = false;
    if (!live->speaking)
        return OK;
    live_wipe(live);
    if (query_cells(store, &arena, run, &cells, &cell_count, err) == OK &&
        query_summaries(store, &arena, run, &rows, &row_count, err) == OK &&
        query_verdicts(store, &arena, run, &verdicts, &verdict_count, err) == OK) {
        for (size_t i = 0; i < row_count; i++)
            quality |= str_equal(rows[i].name, METRIC_PERPLEXITY);
        table_begin(&table, quality ? with : without);
        for (size_t i = 0; i < cell_count; i++)
            if (query_cell_left_out(&cells[i]))
                left_out++;
            else
                cell_row(&table, &cells[i], rows, row_count, quality,
                         query_verdict_find(verdicts, verdict_count, cells[i].id, "decode"));
        putchar('\n');
        table_print(&table, stdout, plain_columns(stdout), err);
        print_next(live, store, run, left_out);
        fflush(stdout);
    }
    arena_fini(&arena);
    return err->code;
}
