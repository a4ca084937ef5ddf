// tables.c - the tables of the page: bounds, cells, failures, ceilings, memory.
//
// Each number of a picture is in a table, so the page has the same content without pictures.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "report/html.h"
#include "report/page.h"
#include "results/basis.h"
#include "results/metric.h"

enum { MAPS_OPEN = 6 };

void page_table_head(struct str *out, const char *const *heads)
{
    str_append(out, "<div class=scroll><table><thead><tr>");
    for (size_t i = 0; heads[i]; i++) {
        const char *text = heads[i] + (heads[i][0] == '>'), *id = strchr(text, '#');
        char head[64];
        snprintf(head, sizeof head, "%.*s", id ? (int)(id - text) : (int)strlen(text), text);
        str_printf(out, "<th scope=col%s>", heads[i][0] == '>' ? " class=n" : "");
        if (id)
            page_term(out, id + 1, head);
        else
            str_append(out, head);
        str_append(out, "</th>");
    }
    str_append(out, "</tr></thead><tbody>");
}

void page_table_end(struct str *out)
{
    str_append(out, "</tbody></table></div>");
}

// ---- bound map ----------------------------------------------------------------------------------

static void bound_cell(struct str *out, const struct report_data *data, const struct series *s,
                       int batch, int context, const char *phase)
{
    const struct cell_row *cell = report_series_at(s, batch, context);
    const struct verdict_row *v = cell ? report_data_verdict(data, cell, phase) : NULL;
    if (v == NULL) {
        str_append(out, "<td class=none>&ndash;</td>");
        return;
    }
    str_append(out, "<td class=\"");
    html_text(out, v->bound); // page.css has a colour for each bound
    if (!str_equal(page_limit_word(v), v->bound))
        str_printf(out, " %s", page_limit_word(v));
    str_append(out, "\" title=\"");
    html_text(out, v->text);
    str_append(out, "\">");
    html_text(out, page_limit_word(v));
    if (v->eta > 0 && v->eta < 0.005)
        str_append(out, " &lt;&#8239;1&#8239;%");
    else if (!isnan(v->eta))
        str_printf(out, " %.0f&#8239;%%%s", 100 * v->eta,
                   str_equal(v->finding, FINDING_WRONG) ? "&#8239;!" : "");
    str_append(out, "</td>");
}

static void bound_map(struct str *out, const struct report_data *data, const struct series *s,
                      const char *phase)
{
    int batches[AXIS_VALUES_MAX], contexts[AXIS_VALUES_MAX];
    size_t b = report_axis_values(s->cells, s->cell_count, AXIS_BATCH, batches, AXIS_VALUES_MAX);
    size_t c = report_axis_values(s->cells, s->cell_count, AXIS_CONTEXT, contexts, AXIS_VALUES_MAX);
    str_printf(
        out,
        "<div class=scroll><table class=map><caption>%s</caption><thead><tr><th>batch \\ context",
        phase);
    for (size_t j = 0; j < c; j++)
        str_printf(out, "<th scope=col>%d", contexts[j]);
    str_append(out, "</tr></thead><tbody>");
    for (size_t i = 0; i < b; i++) {
        str_printf(out, "<tr><th scope=row>%d</th>", batches[i]);
        for (size_t j = 0; j < c; j++)
            bound_cell(out, data, s, batches[i], contexts[j], phase);
        str_append(out, "</tr>");
    }
    page_table_end(out);
}

void page_bounds(struct str *out, const struct report_data *data)
{
    size_t shown = 0;
    str_append(out, "<h2 id=bounds>What limits each cell</h2><p>The word says ");
    page_term(out, "verdict", "what limits a phase");
    str_append(out, ", the number how much of the measured ");
    page_term(out, "roof", "roof");
    str_append(out, " it reaches. Below 50&#8239;% the phase is ");
    page_term(out, "inefficient", "inefficient");
    str_append(out, ", and the colour is that of what would limit a perfect kernel. At 100&#8239;% "
                    "nothing is left to win on this machine. Where the measurements do not decide, "
                    "the limit is ");
    page_term(out, "undetermined", "undetermined");
    str_append(out, ". &ldquo;!&rdquo; marks more than 105&#8239;% at any bandwidth that "
                    "was seen: the model of the work or a ceiling is wrong.</p>");
    for (size_t i = 0; i < data->series_count; i++) {
        const struct series *s = &data->series[i];
        bool any = false;
        for (size_t j = 0; j < s->cell_count; j++)
            any |= report_data_verdict(data, s->cells[j], "decode") ||
                   report_data_verdict(data, s->cells[j], "prefill");
        if (!any)
            continue;
        str_printf(out, "<details%s><summary>", shown++ < MAPS_OPEN ? " open" : "");
        html_text(out, s->label);
        str_append(out, "</summary><div class=maps>");
        bound_map(out, data, s, "decode");
        bound_map(out, data, s, "prefill");
        str_append(out, "</div></details>");
    }
    if (shown == 0)
        str_append(out, "<p class=none>No verdict was stored.</p>");
}

// ---- all cells ----------------------------------------------------------------------------------

static void figure_column(struct str *out, const struct report_data *data,
                          const struct cell_row *cell, const char *name, const char *phase,
                          const char *unit)
{
    str_append(out, "<td class=n>");
    html_figure(out, report_data_figure(data, cell, name, phase), unit);
    str_append(out, "</td>");
}

// The peak is that of the process. If the cell's memory is on a GPU, the figure says that it is another memory.
static void peak_column(struct str *out, const struct report_data *data,
                        const struct cell_row *cell)
{
    const struct stat_summary *peak = report_data_figure(data, cell, METRIC_PEAK_MEM, NULL);
    str_append(out, "<td class=n>");
    html_figure(out, peak, "bytes");
    if (peak && !query_cell_on_host(cell))
        str_append(out, "<small>of the host</small>");
    str_append(out, "</td>");
}

static void bound_column(struct str *out, const struct report_data *data,
                         const struct cell_row *cell, const char *phase)
{
    str_append(out, "<td class=limit>");
    page_limit(out, report_data_verdict(data, cell, phase));
    str_append(out, "</td>");
}

// The series of a cell.
static const struct series *series_of(const struct report_data *data, const struct cell_row *cell)
{
    for (size_t i = 0; i < data->series_count; i++)
        for (size_t j = 0; j < data->series[i].cell_count; j++)
            if (data->series[i].cells[j] == cell)
                return &data->series[i];
    return NULL;
}

static void range_column(struct str *out, const struct cell_row *cells, size_t count,
                         enum axis axis)
{
    int low = report_cell_axis(&cells[0], axis), high = low;
    for (size_t i = 1; i < count; i++) {
        int value = report_cell_axis(&cells[i], axis);
        low = value < low ? value : low;
        high = value > high ? value : high;
    }
    str_printf(out, "<td class=n>%d", low);
    if (high != low)
        str_printf(out, "&ndash;%d", high);
    str_append(out, "</td>");
}

// Appends one row for `count` adjacent cells of one series with the same result: a single measured cell, or several
// that were skipped for the same reason.
static void cell_row_html(struct str *out, const struct report_data *data,
                          const struct cell_row *cell, size_t count)
{
    const struct series *s = series_of(data, cell);
    str_append(out, "<tr><td class=name>");
    html_text(out, s ? s->label : cell->label);
    str_append(out, "</td>");
    range_column(out, cell, count, AXIS_BATCH);
    range_column(out, cell, count, AXIS_CONTEXT);
    str_append(out, "<td>");
    html_status(out, cell->status);
    str_append(out, "</td>");
    if (!query_cell_measured(cell)) {
        str_printf(out, "<td class=words colspan=%d>", data->quality_count ? 9 : 8);
        if (count > 1)
            str_printf(out, "%zu cells: ", count);
        html_text(out, cell->reason);
        str_append(out, "</td></tr>");
        return;
    }
    str_printf(out, "<td class=n>%d", cell->trials);
    if (cell->trials != cell->trials_planned)
        str_printf(out, " of %d", cell->trials_planned);
    str_append(out, "</td>");
    figure_column(out, data, cell, METRIC_TTFT, "prefill", "ns");
    figure_column(out, data, cell, METRIC_TPOT, "decode", "ns");
    figure_column(out, data, cell, METRIC_PREFILL_TPS, "prefill", "token/s");
    figure_column(out, data, cell, METRIC_DECODE_TPS, "decode", "token/s");
    peak_column(out, data, cell);
    if (data->quality_count)
        page_quality_column(out, data, cell);
    bound_column(out, data, cell, "prefill");
    bound_column(out, data, cell, "decode");
    str_append(out, "</tr>");
}

static int compare_fates(const struct cell_row *a, const struct cell_row *b)
{
    int order = strcmp(a->status, b->status);
    order = order ? order : strcmp(a->reason, b->reason);
    return order ? order : (a->trials > b->trials) - (a->trials < b->trials);
}

static bool same_fate(const struct cell_row *a, const struct cell_row *b)
{
    return query_cell_left_out(a) && compare_fates(a, b) == 0;
}

// Describes what the intervals of times include besides the scatter of trials.
static void interval_widths(struct str *out, const struct report_data *data)
{
    size_t runs = 0, canaries = 0;
    for (size_t i = 0; i < data->summary_count; i++) {
        runs += str_equal(data->summaries[i].interval, "runs");
        canaries += str_equal(data->summaries[i].interval, "canaries");
    }
    if (runs)
        str_append(out, " Where the store has three or more runs of a cell by this build, the next "
                        "run's median falls into the interval 19 times in 20.");
    if (canaries)
        str_append(out, " Where the store has fewer than three runs of a cell by this build, the "
                        "interval of a time includes how much the machine's speed changed during "
                        "this run, as its canaries measured it. How much other runs would differ "
                        "is not known yet.");
}

// Writes "97 % with 6 trials" for each number of trials.
static void interval_levels(struct str *out, const struct report_data *data)
{
    bool seen[128] = {false};
    size_t kinds = 0;
    for (size_t i = 0; i < data->summary_count; i++) {
        const struct stat_summary *s = &data->summaries[i].stat;
        if (!str_equal(data->summaries[i].name, METRIC_TTFT) || s->n >= sizeof seen || seen[s->n])
            continue;
        seen[s->n] = true;
        str_append(out,
                   kinds++ ? ", " : "The confidence that the interval contains the true median: ");
        if (s->n == 1)
            str_append(out, "none with a single trial");
        else
            str_printf(out, "%.0f&#8239;%% with %zu trials", 100 * s->median_interval.level, s->n);
    }
    if (kinds)
        str_append(out, ".");
    interval_widths(out, data);
}

void page_cells(struct str *out, const struct report_data *data)
{
    static const char *const with[] = {"model, scheme, device",
                                       ">batch#batch",
                                       ">context#context",
                                       "status",
                                       ">trials#trial",
                                       ">TTFT#ttft",
                                       ">TPOT#tpot",
                                       ">prefill#prefill",
                                       ">decode#decode",
                                       ">peak memory#peak-memory",
                                       ">perplexity#perplexity",
                                       "prefill limit#verdict",
                                       "decode limit",
                                       NULL};
    static const char *const without[] = {"model, scheme, device",
                                          ">batch#batch",
                                          ">context#context",
                                          "status",
                                          ">trials#trial",
                                          ">TTFT#ttft",
                                          ">TPOT#tpot",
                                          ">prefill#prefill",
                                          ">decode#decode",
                                          ">peak memory#peak-memory",
                                          "prefill limit#verdict",
                                          "decode limit",
                                          NULL};
    str_append(out,
               "<h2 id=cells>All cells</h2><p>Each figure is the median over the trials. A trial's "
               "own value is the median over its repetitions. Small figures are the interval. ");
    interval_levels(out, data);
    if (data->quality_count)
        str_append(out, " Small, next to a perplexity: its change from the same model in f32.");
    str_append(out, "</p>");
    page_table_head(out, data->quality_count ? with : without);
    for (size_t i = 0, n; i < data->cell_count; i += n) {
        const struct cell_row *cell = &data->cells[i];
        for (n = 1; i + n < data->cell_count && same_fate(cell, cell + n) &&
                    series_of(data, cell) == series_of(data, cell + n);)
            n++;
        cell_row_html(out, data, cell, n);
    }
    page_table_end(out);
}

// ---- failed and skipped ------------------------------------------------------------------------

static bool remarkable(const struct cell_row *cell)
{
    return !str_equal(cell->status, "ok") || cell->trials != cell->trials_planned ||
           cell->disturbed > 0;
}

// Cells that were left out, grouped by status and reason, in plan order.
struct fates {
    const struct cell_row **cells; // (count) sorted
    size_t count;
};

static int by_fate(const void *a, const void *b)
{
    const struct cell_row *x = *(const struct cell_row *const *)a;
    const struct cell_row *y = *(const struct cell_row *const *)b;
    int order = compare_fates(x, y);
    return order ? order : (x > y) - (x < y);
}

static struct fates sort_fates(struct str *out, const struct report_data *data)
{
    struct fates fates = {.cells = calloc(data->cell_count + 1, sizeof *fates.cells)};
    out->failed |= fates.cells == NULL;
    for (size_t i = 0; fates.cells && i < data->cell_count; i++)
        if (query_cell_left_out(&data->cells[i]))
            fates.cells[fates.count++] = &data->cells[i];
    if (fates.cells)
        qsort(fates.cells, fates.count, sizeof *fates.cells, by_fate);
    return fates;
}

// The cell's entry among them; NULL: it was not left out.
static const struct cell_row **fate_of(const struct fates *fates, const struct cell_row *cell)
{
    return fates->count ? bsearch(&cell, fates->cells, fates->count, sizeof cell, by_fate) : NULL;
}

// The names of all cells left out for the reason of this one, the first few of them in full.
static void fate_names(struct str *out, const struct fates *fates, const struct cell_row *cell)
{
    enum { NAMED = 4 };
    size_t count = 1, rest = 0;
    const struct cell_row **at = fate_of(fates, cell);
    html_text(out, cell->label);
    if (at)
        rest = fates->count - (size_t)(at - fates->cells);
    for (; count < rest && same_fate(cell, at[count]); count++)
        if (count < NAMED) {
            str_append(out, ", ");
            html_text(out, at[count]->label);
        }
    if (count > NAMED)
        str_printf(out, " and %zu more", count - NAMED);
}

static bool named_before(const struct fates *fates, const struct cell_row *cell)
{
    const struct cell_row **at = fate_of(fates, cell);
    return at && at > fates->cells && same_fate(cell, at[-1]);
}

// Order: failures first, then skipped cells, then cells that ended well but disturbed or incomplete.
static int rank(const struct cell_row *cell)
{
    return query_cell_failed(cell) ? 0 : query_cell_left_out(cell) ? 1 : 2;
}

static void fate_row(struct str *out, const struct fates *fates, const struct cell_row *cell)
{
    str_append(out, "<tr><td class=name>");
    fate_names(out, fates, cell);
    str_append(out, "</td><td>");
    html_status(out, cell->status);
    str_append(out, "</td><td class=words>");
    html_text(out, cell->reason);
    if (cell->disturbed)
        str_printf(out, "%s%d of %d trials %s disturbed", cell->reason[0] ? "; " : "",
                   cell->disturbed, cell->trials, cell->disturbed == 1 ? "was" : "were");
    str_printf(out, "</td><td class=n>%d of %d</td></tr>", cell->trials, cell->trials_planned);
}

void page_failures(struct str *out, const struct report_data *data)
{
    static const char *const heads[] = {"cell", "status", "reason", ">trials", NULL};
    size_t count = 0;
    struct fates fates = sort_fates(out, data);
    str_append(out, "<h2 id=failed>Failed, disturbed and left-out cells</h2>");
    for (int r = 0; r < 3; r++)
        for (size_t i = 0; i < data->cell_count; i++) {
            const struct cell_row *cell = &data->cells[i];
            if (rank(cell) != r || !remarkable(cell) || named_before(&fates, cell))
                continue;
            if (count++ == 0)
                page_table_head(out, heads);
            fate_row(out, &fates, cell);
        }
    if (count)
        page_table_end(out);
    else
        str_append(out, "<p>None: every cell ended well, with all its trials.</p>");
    free(fates.cells);
}

// ---- ceilings and memory ------------------------------------------------------------------------

// A farther level with a clearly higher read rate than this one, or NULL.
static const struct ceiling_row *faster_beyond(const struct report_data *data,
                                               const struct ceiling_row *near)
{
    for (size_t i = 0; i < data->ceiling_count; i++) {
        const struct ceiling_row *far = &data->ceilings[i];
        if (str_equal(far->name, near->name) && str_equal(far->device, near->device) &&
            far->threads == near->threads && far->set_bytes > near->set_bytes &&
            far->low > near->high)
            return far;
    }
    return NULL;
}

// Reports and explains caches that are slower than the next level: they are measured but not used.
static void slower_levels(struct str *out, const struct report_data *data)
{
    char slow[48], fast[48];
    for (size_t i = 0; i < data->ceiling_count; i++) {
        const struct ceiling_row *c = &data->ceilings[i];
        const struct ceiling_row *faster = c->level[0] ? faster_beyond(data, c) : NULL;
        if (!faster || !str_equal(c->name, "read"))
            continue;
        str_append(out, "<p class=doubt>");
        html_textf(
            out,
            "With %d thread%s %s was read at %s and %s at %s: this machine does not have the "
            "cache it reports to itself. No cell is compared with it.",
            c->threads, c->threads == 1 ? "" : "s", c->level,
            metric_format(c->value, c->unit, slow, sizeof slow), faster->level,
            metric_format(faster->value, faster->unit, fast, sizeof fast));
        str_append(out, "</p>");
    }
}

static void ceiling_name(struct str *out, const char *name)
{
    if (str_equal(name, "read_set"))
        page_term(out, "read-set", name);
    else
        html_text(out, name);
}

void page_ceilings(struct str *out, const struct report_data *data)
{
    static const char *const heads[] = {
        "ceiling#ceiling", "level",     "device",    "reached by", ">set",
        ">threads",        ">measured", ">interval", ">samples",   NULL};
    char low[48], high[48];
    if (data->ceiling_count == 0)
        str_append(out, "<p class=none>No ceilings were measured in this run.</p>");
    if (data->run.ceilings_note && data->run.ceilings_note[0]) {
        str_append(out, "<p class=soft>While they were measured: ");
        html_text(out, data->run.ceilings_note);
        str_append(out, ".</p>");
    }
    if (data->ceiling_count == 0)
        return;
    str_append(out, "<details><summary>The measured ceilings as a table</summary>");
    page_table_head(out, heads);
    for (size_t i = 0; i < data->ceiling_count; i++) {
        const struct ceiling_row *c = &data->ceilings[i];
        str_append(out, "<tr><td>");
        ceiling_name(out, c->name);
        str_append(out, "</td><td>");
        html_text(out, c->level);
        str_append(out, "</td><td>");
        html_text(out, c->device);
        str_append(out, "</td><td class=kernel>");
        html_text(out, c->kernel);
        str_append(out, "</td><td class=n>");
        if (c->set_bytes > 0)
            html_value(out, c->set_bytes, "bytes");
        str_append(out, "</td><td class=n>");
        if (c->threads > 0) // a GPU's are not measured with threads of the host
            str_printf(out, "%d", c->threads);
        str_append(out, "</td><td class=n>");
        html_value(out, c->value, c->unit);
        str_append(out, "</td><td class=n>");
        html_textf(out, "%s to %s", metric_format(c->low, c->unit, low, sizeof low),
                   metric_format(c->high, c->unit, high, sizeof high));
        str_printf(out, "</td><td class=n>%d</td></tr>", c->samples);
    }
    page_table_end(out);
    str_append(out, "</details>");
    slower_levels(out, data);
}

// Why the cache of layers with a window is not the window's.
static void window_note(struct str *out, const struct report_data *data,
                        const struct cell_row *cell)
{
    const struct summary_row *kv =
        query_summary_find(data->summaries, data->summary_count, cell->id, METRIC_MEM_KV, NULL);
    if (kv && str_starts(kv->source, METRIC_KV_WHOLE))
        html_textf(out, " (KV cache of every position; its windows alone would take %s)",
                   kv->source + strlen(METRIC_KV_WHOLE));
}

// Explains the columns, for cells on the host and for others.
static void memory_words(struct str *out, const struct report_data *data)
{
    bool host = false, others = false;
    for (size_t i = 0; i < data->cell_count; i++) {
        bool measured = query_cell_measured(&data->cells[i]);
        host |= measured && query_cell_on_host(&data->cells[i]);
        others |= measured && !query_cell_on_host(&data->cells[i]);
    }
    str_append(out, "<p>The prediction is what the plan expected a cell to allocate.");
    if (host)
        str_append(out, " The peak is that of the whole process, which also has the program, its "
                        "libraries and small allocations. So the ratio of a small "
                        "model is larger, and that of a large one is close to 1.");
    if (others)
        str_append(out, " A GPU's cells have no ratio: the prediction is for the GPU's memory, and "
                        "the peak is that of the process on the host.");
    str_append(out, "</p>");
}

void page_memory(struct str *out, const struct report_data *data)
{
    static const char *const heads[] = {"cell",
                                        ">weights",
                                        ">KV cache#kv-cache",
                                        ">scratch",
                                        ">predicted#predicted-memory",
                                        ">measured peak#peak-memory",
                                        ">peak / predicted",
                                        NULL};
    static const char *const parts[] = {METRIC_MEM_WEIGHTS, METRIC_MEM_KV, METRIC_MEM_SCRATCH};
    size_t rows = 0;
    str_append(out, "<details><summary>Memory of all cells as a table</summary>");
    memory_words(out, data);
    page_table_head(out, heads);
    for (size_t i = 0; i < data->cell_count; i++) {
        const struct cell_row *cell = &data->cells[i];
        if (!query_cell_measured(cell))
            continue;
        str_append(out, "<tr><td class=name>");
        html_text(out, cell->label);
        if (cell->caveat[0])
            html_textf(out, " (%s)", cell->caveat);
        window_note(out, data, cell);
        str_append(out, "</td>");
        for (int p = 0; p < 3; p++)
            figure_column(out, data, cell, parts[p], NULL, "bytes");
        str_append(out, "<td class=n>");
        html_value(out, cell->predicted_memory_bytes, "bytes");
        str_append(out, "</td>");
        peak_column(out, data, cell);
        double ratio =
            query_cell_memory_ratio(cell, report_data_value(data, cell, METRIC_PEAK_MEM, NULL));
        if (isnan(ratio))
            str_append(out, "<td class=n>&ndash;</td></tr>");
        else
            str_printf(out, "<td class=n>%.2f</td></tr>", ratio);
        rows++;
    }
    if (rows == 0)
        str_append(out, "<tr><td colspan=7 class=none>nothing was measured</td></tr>");
    page_table_end(out);
    str_append(out, "</details>");
}
