// live.c - progress and one line per trial on standard error; the final table on standard output.
#include "bench/run/live.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/plain.h"
#include "base/str.h"
#include "results/metric.h"
#include "results/query.h"

static const uint64_t say_every_ns = 10000000000u;
enum { DRAW_EVERY_NS = 100 * 1000 * 1000, BAR_CELLS = 16, COLUMNS_MAX = 240 };

#define WIPE   "\r\033[K"
#define RED    "\033[31m"
#define YELLOW "\033[33m"
#define GREEN  "\033[32m"
#define PLAIN  "\033[0m"

static int terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20)
        return 80;
    return size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX;
}

void live_begin(struct live *live, enum runner_output output)
{
    bool terminal = isatty(STDERR_FILENO) == 1;
    *live = (struct live){
        .out = stderr,
        .drawing = output == RUNNER_LIVE || (output == RUNNER_AUTO && terminal),
        .speaking = output != RUNNER_QUIET,
        .columns = terminal ? terminal_columns() : 80,
    };
}

void live_expect(struct live *live, size_t trials, double predicted_ns)
{
    live->trials = trials;
    live->predicted_ns = predicted_ns;
    live->begin_ns = clock_ns();
}

static void wipe(struct live *live)
{
    if (live->drawn)
        fputs(WIPE, live->out);
    live->drawn = false;
}

// Draws the line that the next one replaces, cut to the terminal's width.
static void draw(struct live *live, const char *format, ...) PRINTF_LIKE(2, 3);
static void draw(struct live *live, const char *format, ...)
{
    char line[COLUMNS_MAX + 1];
    va_list args;
    va_start(args, format);
    vsnprintf(line, (size_t)live->columns, format, args);
    va_end(args);
    str_plain(line);
    wipe(live);
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
    wipe(live);
    vfprintf(live->out, format, args);
    fputc('\n', live->out);
    va_end(args);
    fflush(live->out);
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

void live_quality(struct live *live, const struct plan_quality *quality)
{
    live_note(live, "quality of %s by %s", quality->label, quality->wish->convention);
}

void live_quality_done(struct live *live, const struct plan_quality *quality)
{
    live->trials_done++;
    live->predicted_done_ns += quality->predicted_ns;
}

void live_cell(struct live *live, const struct cell *cell, int number)
{
    snprintf(live->what, sizeof live->what, "%s  trial %d/%d%s", cell->label, number, cell->procs,
             number > cell->procs ? " (added)" : "");
    live->noted = false;
    live->last_draw_ns = 0;
    live->last_say_ns = clock_ns();
}

// What is left, from the prediction and how true the predictions were so far.
static double eta_ns(const struct live *live)
{
    double left = live->predicted_ns - live->predicted_done_ns;
    double elapsed = (double)(clock_ns() - live->begin_ns);
    if (live->predicted_done_ns <= 0 || live->trials_done == 0)
        return left;
    return left * elapsed / live->predicted_done_ns;
}

static void say_load(struct live *live, const char *phase, double done)
{
    uint64_t now = clock_ns();
    if (!str_equal(phase, "load") || now - live->last_say_ns < say_every_ns)
        return;
    live->last_say_ns = now;
    live_line(live, "[%zu/%zu] %s  load %.0f %%", live->trials_done + 1, live->trials, live->what,
              100 * done);
}

void live_progress(struct live *live, const char *phase, int repetition, double done)
{
    char bar[BAR_CELLS + 1], eta[32], part[48] = "";
    uint64_t now = clock_ns();
    if (!live->drawing)
        say_load(live, phase, done);
    if (!live->drawing || now - live->last_draw_ns < DRAW_EVERY_NS)
        return;
    live->last_draw_ns = now;
    int filled = (int)(fmin(fmax(done, 0), 1) * BAR_CELLS);
    for (int i = 0; i < BAR_CELLS; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[BAR_CELLS] = '\0';
    if (repetition > 0)
        snprintf(part, sizeof part, " %d", repetition);
    draw(live, "[%zu/%zu] %s  %s%s [%s]  ETA %s", live->trials_done + 1, live->trials, live->what,
         phase, part, bar, format_clock(eta_ns(live), eta, sizeof eta));
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
            str_printf(out, "  %s", t->verdicts[i].text);
}

static const char *colour_of(const struct trial *t)
{
    return trial_failed(t) ? RED : str_equal(t->status, "ok") ? GREEN : YELLOW;
}

void live_trial(struct live *live, const struct trial *t)
{
    struct str line = {0};
    live->trials_done++;
    live->predicted_done_ns += t->cell->predicted_ns / t->cell->procs;
    str_printf(&line, "[%zu/%zu] %s  trial %d/%d%s  ", live->trials_done, live->trials,
               t->cell->label, t->number, t->cell->procs,
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

// "  17.02", where any cell has a quality.
static const char *quality_text(const struct cell_row *cell, const struct summary_row *rows,
                                size_t count, bool shown, char *out, size_t out_bytes)
{
    char value[32];
    snprintf(out, out_bytes, "%s", "");
    if (shown)
        snprintf(out, out_bytes, "  %10s",
                 median_text(rows, count, cell->id, METRIC_PERPLEXITY, NULL, value, sizeof value));
    return out;
}

static void print_cell(const struct cell_row *cell, const struct summary_row *rows, size_t count,
                       bool quality, const struct verdict_row *verdict, int label_width)
{
    char ttft[32], prefill[32], decode[32], tpot[32], perplexity[48];
    plain_printf(
        stdout, "%-*s  %-11s  %3d/%-3d  %10s  %12s  %12s  %10s%s  %s\n", label_width, cell->label,
        cell->status, cell->trials, cell->trials_planned,
        median_text(rows, count, cell->id, METRIC_TTFT, "prefill", ttft, sizeof ttft),
        median_text(rows, count, cell->id, METRIC_PREFILL_TPS, "prefill", prefill, sizeof prefill),
        median_text(rows, count, cell->id, METRIC_DECODE_TPS, "decode", decode, sizeof decode),
        median_text(rows, count, cell->id, METRIC_TPOT, "decode", tpot, sizeof tpot),
        quality_text(cell, rows, count, quality, perplexity, sizeof perplexity),
        verdict ? verdict->text : "");
    if (cell->caveat[0])
        plain_printf(stdout, "%-*s  %s\n", label_width, "", cell->caveat);
    if (cell->reason[0])
        plain_printf(stdout, "%-*s  %s\n", label_width, "", cell->reason);
}

// What to do with the run next, as commands to copy.
static void print_next(const struct store *store, int64_t run, size_t left_out)
{
    struct str path = {0};
    str_append_shell(&path, store_path(store));
    if (left_out)
        plain_printf(stdout, "\n%zu cell%s left out; with reasons: bench list --run %lld --db %s\n",
                     left_out, left_out == 1 ? "" : "s", (long long)run, str_text(&path));
    plain_printf(stdout, "\nrun %lld is in %s; next: bench report %lld --db %s\n", (long long)run,
                 store_path(store), (long long)run, str_text(&path));
    str_fini(&path);
}

enum status live_table(struct live *live, struct store *store, int64_t run, struct error *err)
{
    struct arena arena = {0};
    struct cell_row *cells = NULL;
    struct summary_row *rows = NULL;
    struct verdict_row *verdicts = NULL;
    size_t cell_count = 0, row_count = 0, verdict_count = 0;
    int width = 4;
    if (!live->speaking)
        return OK;
    wipe(live);
    if (query_cells(store, &arena, run, &cells, &cell_count, err) == OK &&
        query_summaries(store, &arena, run, &rows, &row_count, err) == OK &&
        query_verdicts(store, &arena, run, &verdicts, &verdict_count, err) == OK) {
        size_t left_out = 0;
        bool quality = false;
        for (size_t i = 0; i < row_count; i++)
            quality |= str_equal(rows[i].name, METRIC_PERPLEXITY);
        for (size_t i = 0; i < cell_count; i++)
            left_out += query_cell_left_out(&cells[i]);
        for (size_t i = 0; i < cell_count; i++)
            width = (int)strlen(cells[i].label) > width ? (int)strlen(cells[i].label) : width;
        printf("\n%-*s  %-11s  %-7s  %10s  %12s  %12s  %10s%s  %s\n", width, "cell", "status",
               "trials", "TTFT", "prefill", "decode", "TPOT", quality ? "  perplexity" : "",
               "decode is");
        for (size_t i = 0; i < cell_count; i++)
            if (!query_cell_left_out(&cells[i]))
                print_cell(&cells[i], rows, row_count, quality,
                           query_verdict_find(verdicts, verdict_count, cells[i].id, "decode"),
                           width);
        print_next(store, run, left_out);
        fflush(stdout);
    }
    arena_fini(&arena);
    return err->code;
}
