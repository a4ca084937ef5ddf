// quality.c - the cost of each scheme: the table of quality, its column among the cells, the data of the Pareto
// pictures.
//
// Lower perplexity and more speed (or less memory) are both better. A point is on the Pareto front if no other point is
// at least as good in both and better in one. A picture has points of one model, one batch and one context, because
// perplexities of different models are over different tokens.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/html.h"
#include "report/page.h"
#include "results/metric.h"

// ---- figures ----------------------------------------------------------------------------------------

// A figure of a cell's evaluation, whatever the result of its trials. NaN: not measured.
static double figure(const struct report_data *data, int64_t cell, const char *name)
{
    const struct summary_row *row =
        query_summary_find(data->summaries, data->summary_count, cell, name, NULL);
    return row ? row->stat.median : NAN;
}

// Writes the logarithm of a ratio as "+0.4 %", signed, with two significant digits.
static void change_text(struct str *out, double ln_ratio)
{
    double percent = 100 * expm1(ln_ratio);
    str_printf(out, fabs(percent) < 0.095 ? "%+.3f&#8239;%%" : "%+.2g&#8239;%%", percent);
}

void page_quality_column(struct str *out, const struct report_data *data,
                         const struct cell_row *cell)
{
    const struct quality_row *q = report_data_quality(data, cell);
    double perplexity = figure(data, cell->id, METRIC_PERPLEXITY);
    double ln_ratio = figure(data, cell->id, METRIC_LN_RATIO);
    str_append(out, "<td class=n>");
    if (isnan(perplexity)) {
        str_append(out, "<span class=none title=\"");
        html_text(out, q ? q->reason : "not collected for this cell");
        str_append(out, "\">not measured</span>");
    } else {
        html_value(out, perplexity, "ppl");
        if (!isnan(ln_ratio)) {
            str_append(out, " <small>");
            change_text(out, ln_ratio);
            str_append(out, "</small>");
        }
    }
    str_append(out, "</td>");
}

// ---- the table --------------------------------------------------------------------------------------

static void value_column(struct str *out, double value, const char *unit)
{
    str_append(out, "<td class=n>");
    html_value(out, value, unit);
    str_append(out, "</td>");
}

static void share_column(struct str *out, double share)
{
    if (isnan(share))
        value_column(out, share, "1");
    else
        str_printf(out, "<td class=n>%.2f&#8239;%%</td>", 100 * share);
}

static void change_column(struct str *out, double ln_ratio, double stderr_of_it)
{
    str_append(out, "<td class=n>");
    if (isnan(ln_ratio)) {
        html_value(out, ln_ratio, "1");
    } else {
        change_text(out, ln_ratio);
        if (!isnan(stderr_of_it))
            str_printf(out, " <small>&plusmn;&#8239;%.2g</small>", 100 * stderr_of_it);
    }
    str_append(out, "</td>");
}

static void words_of(struct str *out, const struct quality_row *q)
{
    str_append(out, "<td class=words>");
    html_text(out, q->arithmetic);
    if (q->reason[0]) {
        str_append(out, q->arithmetic ? "; " : "");
        html_text(out, q->reason);
    }
    str_append(out, "</td></tr>");
}

// The settings that distinguish this evaluation from others of its model and scheme: "kv f16, head bf16, half-512".
static void settings_of(struct str *out, const struct quality_row *q)
{
    json_t *params = json_loads(q->params, 0, NULL);
    static const char *const keys[] = {"kv", "head", "convention"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *value = json_string_value(json_object_get(params, keys[i]));
        str_append(out, i ? ", " : "");
        html_textf(out, "%s%s%s", i < 2 ? keys[i] : "", i < 2 ? " " : "", value ? value : "?");
    }
    json_decref(params);
}

static void quality_row_html(struct str *out, const struct report_data *data,
                             const struct cell_row *cell, const struct quality_row *q)
{
    static const char *const divergences[] = {METRIC_KL_MEAN, METRIC_KL_MEDIAN, METRIC_KL_P99};
    str_append(out, "<tr><td class=name>");
    html_textf(out, "%s %s %s", cell->model, cell->scheme, cell->device);
    str_append(out, " <small>");
    settings_of(out, q);
    if (cell->weights_caveat[0])
        html_textf(out, "; %s", cell->weights_caveat);
    str_append(out, "</small></td><td>");
    html_status(out, q->status);
    str_append(out, "</td>");
    value_column(out, figure(data, cell->id, METRIC_PERPLEXITY), "ppl");
    value_column(out, figure(data, cell->id, METRIC_PERPLEXITY_F32), "ppl");
    change_column(out, figure(data, cell->id, METRIC_LN_RATIO),
                  figure(data, cell->id, METRIC_LN_RATIO_STDERR));
    for (size_t i = 0; i < sizeof divergences / sizeof divergences[0]; i++)
        value_column(out, figure(data, cell->id, divergences[i]), "nat");
    share_column(out, figure(data, cell->id, METRIC_SAME_TOP));
    share_column(out, figure(data, cell->id, METRIC_DP_MEAN));
    share_column(out, figure(data, cell->id, METRIC_DP_RMS));
    value_column(out, figure(data, cell->id, METRIC_QUALITY_TOKENS), "1");
    words_of(out, q);
}

// The reason for a missing evaluation: it was not requested, or the run has not reached it.
static void no_quality(struct str *out, const struct report_data *data)
{
    str_append(out, "<p class=none>");
    if (!report_data_asks_for(data, "quality"))
        str_append(out, "Not collected in this run: no sweep of the suite asks for it "
                        "(collect = quality).");
    else if (str_equal(data->run.status, "done"))
        str_append(out, "The suite asks for it (collect = quality), but no cell has it: none could "
                        "be evaluated.");
    else {
        str_append(out,
                   "Not measured yet: the suite asks for it (collect = quality), it comes after "
                   "the trials, and the run is ");
        html_text(out, data->run.status);
        str_append(out, ".");
    }
    str_append(out, "</p>");
}

void page_quality(struct str *out, const struct report_data *data)
{
    static const char *const heads[] = {"model, scheme, device",
                                        "status",
                                        ">perplexity#perplexity",
                                        ">of f32",
                                        ">change",
                                        ">KL, mean#kl-divergence",
                                        ">median",
                                        ">99 %",
                                        ">same top#same-top",
                                        ">&Delta;p, mean#change-of-probability",
                                        ">RMS",
                                        ">tokens",
                                        "arithmetic#arithmetic",
                                        NULL};
    if (data->quality_count == 0) {
        no_quality(out, data);
        return;
    }
    page_table_head(out, heads);
    for (size_t i = 0; i < data->cell_count; i++) {
        const struct quality_row *q = report_data_quality(data, &data->cells[i]);
        bool shown = false;
        for (size_t j = 0; q && j < i && !shown; j++) {
            const struct quality_row *before = report_data_quality(data, &data->cells[j]);
            shown = before && before->id == q->id;
        }
        if (q && !shown)
            quality_row_html(out, data, &data->cells[i], q);
    }
    page_table_end(out);
}

// ---- Pareto pictures ----------------------------------------------------------------------------------

struct pareto_point {
    const struct series *series;
    double x, perplexity;
    bool front, below; // below: its name is drawn below it
};

static const struct pareto_kind {
    const char *name, *metric, *phase;
    bool more_is_better; // of x
    const char *title, *x_label;
} kinds[] = {
    {"pareto-decode", METRIC_DECODE_TPS, "decode", true, "Decode speed against perplexity",
     "decode, tokens per second"},
    {"pareto-memory", METRIC_PEAK_MEM, NULL, false, "Memory against perplexity",
     "peak memory, MiB"},
};

static size_t points_of(const struct report_data *data, const struct pareto_kind *kind,
                        const char *model, struct pareto_point *out)
{
    int batch = report_data_fixed(data, AXIS_CONTEXT),
        context = report_data_fixed(data, AXIS_BATCH);
    size_t count = 0;
    for (size_t i = 0; i < data->series_count; i++) {
        const struct series *s = &data->series[i];
        const struct cell_row *cell = report_series_at(s, batch, context);
        if (!cell || !str_equal(s->model, model))
            continue;
        struct pareto_point p = {
            .series = s, .perplexity = report_data_value(data, cell, METRIC_PERPLEXITY, NULL)};
        if (str_equal(kind->metric, METRIC_PEAK_MEM))
            p.x = report_data_peak_memory(data, cell) / (1024.0 * 1024);
        else
            p.x = report_data_value(data, cell, kind->metric, kind->phase);
        if (!isnan(p.x) && !isnan(p.perplexity))
            out[count++] = p;
    }
    return count;
}

static bool beats(const struct pareto_point *a, const struct pareto_point *b, bool more_is_better)
{
    bool as_fast = more_is_better ? a->x >= b->x : a->x <= b->x;
    bool better = a->perplexity < b->perplexity || a->x != b->x;
    return as_fast && a->perplexity <= b->perplexity && better;
}

static int by_x(const void *a, const void *b)
{
    double x = ((const struct pareto_point *)a)->x, y = ((const struct pareto_point *)b)->x;
    return (x > y) - (x < y);
}

// Marks the front, and sorts by x so that a line can connect it.
static void find_front(struct pareto_point *points, size_t count, bool more_is_better)
{
    for (size_t i = 0; i < count; i++) {
        points[i].front = true;
        for (size_t j = 0; j < count; j++)
            points[i].front &= !beats(&points[j], &points[i], more_is_better);
    }
    qsort(points, count, sizeof *points, by_x);
}

// If the names of two neighbours would overlap, the lower one's name is drawn below. Points are sorted by x; width and
// height are those of the picture.
static void place_names(struct pareto_point *points, size_t count, double width, double height)
{
    for (size_t i = 1; i < count; i++) {
        struct pareto_point *left = &points[i - 1], *p = &points[i];
        bool close =
            p->x - left->x < 0.2 * width && fabs(p->perplexity - left->perplexity) < 0.08 * height;
        if (close && !left->below)
            *(p->perplexity <= left->perplexity ? &p->below : &left->below) = true;
    }
}

// Only the scheme if that is enough.
static const char *point_label(const struct pareto_point *points, size_t count, size_t i)
{
    for (size_t j = 0; j < count; j++)
        if (j != i && str_equal(points[j].series->scheme, points[i].series->scheme))
            return points[i].series->label;
    return points[i].series->scheme;
}

// Writes two blocks: the points of the front, then the others. "?" stands in an empty block.
static void write_points(struct str *out, const struct pareto_point *points, size_t count)
{
    for (int front = 1; front >= 0; front--) {
        size_t written = 0;
        for (size_t i = 0; i < count; i++) {
            if (points[i].front != (front == 1))
                continue;
            picture_label(out, point_label(points, count, i));
            str_printf(out, "\t%.9g\t%.9g\t%d\n", points[i].x, points[i].perplexity,
                       points[i].below ? -1 : 1);
            written++;
        }
        str_append(out, written ? "\n\n" : "none\t?\t?\t1\n\n\n");
    }
}

static enum status draw(const struct report_data *data, const struct pareto_kind *kind,
                        const char *model, size_t number, const char *dir,
                        struct pictures *pictures, struct error *err)
{
    struct pareto_point *points =
        arena_alloc(&pictures->arena, data->series_count + 1, sizeof *points);
    struct str text = {0}, title = {0};
    char name[40];
    double low = INFINITY, high = 0, right = 0;
    enum status status = OK;
    if (!points)
        return FAIL(err, ERR_NOMEM, "no memory for the pictures");
    size_t count = points_of(data, kind, model, points);
    str_printf(&title, "%s, %s (batch %d, context %d)", kind->title, model[0] ? model : "(no name)",
               report_data_fixed(data, AXIS_CONTEXT), report_data_fixed(data, AXIS_BATCH));
    if (count < 2) {
        picture_absent(pictures, str_text(&title),
                       count ? "both were measured of one scheme only"
                             : "both were measured of no scheme");
    } else {
        find_front(points, count, kind->more_is_better);
        for (size_t i = 0; i < count; i++) {
            low = fmin(low, points[i].perplexity);
            high = fmax(high, points[i].perplexity);
            right = fmax(right, points[i].x);
        }
        double room = fmax(0.12 * (high - low), 0.002 * high);
        place_names(points, count, 1.25 * right, high - low + 2 * room);
        write_points(&text, points, count);
        snprintf(name, sizeof name, number ? "%s-%zu" : "%s", kind->name, number + 1);
        struct picture *p = picture_add(pictures, name, "pareto.gp", str_text(&title),
                                        "Points named by scheme, the Pareto front joined by a "
                                        "line; the table of all cells has the same figures.");
        status = p ? picture_data(dir, p->name, ".dat", &text, err) : OK;
        if (p) {
            picture_arg(pictures, p, "%s", kind->x_label);
            picture_arg(pictures, p, "%.6g", 1.25 * right); // room for the last label
            picture_arg(pictures, p, "%.6g", low - room);
            picture_arg(pictures, p, "%.6g", high + room);
        }
    }
    str_fini(&text);
    str_fini(&title);
    return status;
}

// The models with a quality, each once.
static size_t models_of(const struct report_data *data, const char **out)
{
    size_t count = 0;
    for (size_t i = 0; i < data->cell_count; i++) {
        bool known = isnan(figure(data, data->cells[i].id, METRIC_PERPLEXITY));
        for (size_t j = 0; j < count; j++)
            known |= str_equal(out[j], data->cells[i].model);
        if (!known)
            out[count++] = data->cells[i].model;
    }
    return count;
}

enum status picture_pareto(const struct report_data *data, const char *dir,
                           struct pictures *pictures, struct error *err)
{
    const char **models = arena_alloc(&pictures->arena, data->cell_count + 1, sizeof *models);
    if (!models)
        return FAIL(err, ERR_NOMEM, "no memory for the pictures");
    size_t count = models_of(data, models);
    if (count == 0)
        picture_absent(pictures, "Speed and memory against perplexity", "no quality was measured");
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (size_t m = 0; m < count; m++)
            TRY(draw(data, &kinds[k], models[m], m, dir, pictures, err));
    return OK;
}
