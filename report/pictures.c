// pictures.c - plans the pictures of a run, lets gnuplot draw them, and reads them back for the page.

#include "report/pictures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/home.h"
#include "base/str.h"
#include "report/whole.h"
#include "results/metric.h"

enum { LABEL_MAX = 44, SVG_MAX = 4 << 20 };

// ---- small parts --------------------------------------------------------------------------------

void picture_absent(struct pictures *pictures, const char *what, const char *reason)
{
    struct picture_absence *at = pictures->absent, *end = at + pictures->absent_count;
    while (at != end && !str_equal(at->reason, reason))
        at++;
    if (at != end) {
        struct str both = {0};
        str_printf(&both, "%s; %s", at->what, what);
        const char *kept = arena_strdup(&pictures->arena, str_text(&both));
        at->what = kept ? kept : at->what;
        str_fini(&both);
        return;
    }
    struct picture_absence *rows =
        realloc(pictures->absent, (pictures->absent_count + 1) * sizeof *rows);
    if (!rows)
        return;
    pictures->absent = rows;
    rows[pictures->absent_count] =
        (struct picture_absence){.reason = arena_strdup(&pictures->arena, reason),
                                 .what = arena_strdup(&pictures->arena, what)};
    pictures->absent_count +=
        rows[pictures->absent_count].reason && rows[pictures->absent_count].what;
}

struct picture *picture_add(struct pictures *pictures, const char *name, const char *script,
                            const char *title, const char *alt)
{
    if (pictures->count == PICTURES_MAX) {
        char reason[64];
        snprintf(reason, sizeof reason, "a report has at most %d pictures", PICTURES_MAX);
        picture_absent(pictures, title, reason);
        return NULL;
    }
    struct picture *p = &pictures->row[pictures->count++];
    snprintf(p->name, sizeof p->name, "%s", name);
    p->script = script;
    p->title = arena_strdup(&pictures->arena, title);
    p->alt = arena_strdup(&pictures->arena, alt);
    picture_arg(pictures, p, "%s", p->name);
    return p;
}

void picture_arg(struct pictures *pictures, struct picture *picture, const char *format, ...)
{
    char text[128];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t i = 0;
    while (picture->args[i])
        i++;
    if (i < sizeof picture->args / sizeof picture->args[0] - 1)
        picture->args[i] = arena_strdup(&pictures->arena, text);
}

// gnuplot reads a quote as the start of a string and a backslash as an escape, and fails on bytes that are not UTF-8.
void picture_label(struct str *out, const char *text)
{
    struct str plain = {0}, label = {0};
    size_t letters = 0;
    str_append_plain(&plain, text, strlen(text));
    for (const char *p = str_text(&plain); *p && letters < LABEL_MAX; p++) {
        char c = *p == '"' ? '\'' : *p == '\\' ? '/' : *p;
        str_append_bytes(&label, &c, 1);
        letters += ((unsigned char)p[1] & 0xc0) != 0x80; // a letter ends where the next begins
        if (letters == LABEL_MAX && p[1])
            str_append(&label, "...");
    }
    bool blank = str_text(&label)[strspn(str_text(&label), " ")] == '\0';
    str_append(out, blank ? "(no name)" : str_text(&label));
    str_fini(&label);
    str_fini(&plain);
}

enum status picture_data(const char *dir, const char *name, const char *ending,
                         const struct str *text, struct error *err)
{
    struct str path = {0};
    enum status status;
    str_printf(&path, "%s/%s%s", dir, name, ending);
    if (path.failed || text->failed)
        status = FAIL(err, ERR_NOMEM, "%s: no memory for a picture's data", name);
    else
        status = file_write(str_text(&path), str_text(text), text->length, err);
    str_fini(&path);
    return status;
}

// The group with room for one more series of a model, or NULL.
static struct series_group *group_with_room(struct series_group *groups, size_t count,
                                            const char *model)
{
    for (size_t i = 0; i < count; i++)
        if ((!groups[i].model || str_equal(groups[i].model, model)) &&
            groups[i].count < PICTURE_SERIES_MAX)
            return &groups[i];
    return NULL;
}

enum status picture_groups(const struct report_data *data, struct pictures *pictures,
                           struct series_group **out, size_t *count, struct error *err)
{
    size_t measured = 0;
    struct series_group *groups =
        arena_alloc(&pictures->arena, data->series_count + 1, sizeof *groups);
    *out = groups;
    *count = 0;
    if (!groups)
        return FAIL(err, ERR_NOMEM, "no memory for the pictures");
    for (size_t i = 0; i < data->series_count; i++)
        measured += data->series[i].measured > 0;
    bool together = measured <= PICTURE_SERIES_MAX;
    for (size_t i = 0; i < data->series_count; i++) {
        const struct series *s = &data->series[i];
        if (s->measured == 0)
            continue;
        struct series_group *g = group_with_room(groups, *count, s->model);
        if (!g) {
            g = &groups[(*count)++];
            *g = (struct series_group){.model = together ? NULL : s->model};
        }
        size_t letters = strlen(s->label);
        g->series[g->count++] = s;
        g->longest = letters > g->longest ? letters : g->longest;
    }
    return OK;
}

// ---- lines over batch and context ---------------------------------------------------------------

static const struct line_picture {
    const char *name, *metric, *phase;
    enum axis axis;
    const char *title; // "Decode throughput"
    const char *y_label;
} line_pictures[] = {
    {"decode-over-batch", METRIC_DECODE_TPS, "decode", AXIS_BATCH, "Decode throughput over batch",
     "tokens/s, all sequences"},
    {"decode-over-context", METRIC_DECODE_TPS, "decode", AXIS_CONTEXT,
     "Decode throughput over context", "tokens/s, all sequences"},
    {"prefill-over-batch", METRIC_PREFILL_TPS, "prefill", AXIS_BATCH,
     "Prefill throughput over batch", "prompt tokens/s"},
    {"prefill-over-context", METRIC_PREFILL_TPS, "prefill", AXIS_CONTEXT,
     "Prefill throughput over context", "prompt tokens/s"},
    {"ttft-over-context", METRIC_TTFT, "prefill", AXIS_CONTEXT, "Time to first token over context",
     "seconds"},
};

struct extent {
    double low, high;
    size_t longest; // points of the longest line
};

// One line's block of the data file.
static size_t write_line(const struct report_data *data, const struct series *s,
                         const struct line_picture *what, int fixed, struct str *out,
                         struct extent *extent)
{
    int values[AXIS_VALUES_MAX];
    size_t points = 0,
           n = report_axis_values(s->cells, s->cell_count, what->axis, values, AXIS_VALUES_MAX);
    double scale = str_equal(what->metric, METRIC_TTFT) ? 1e-9 : 1; // stored in ns, drawn in s
    picture_label(out, s->label);
    str_append(out, "\n");
    for (size_t i = 0; i < n; i++) {
        int batch = what->axis == AXIS_BATCH ? values[i] : fixed;
        int context = what->axis == AXIS_BATCH ? fixed : values[i];
        const struct cell_row *cell = report_series_at(s, batch, context);
        const struct stat_summary *f =
            cell ? report_data_figure(data, cell, what->metric, what->phase) : NULL;
        if (!f || f->median <= 0)
            continue;
        str_printf(out, "%d\t%.9g\t%.9g\t%.9g\n", values[i], f->median * scale,
                   f->median_interval.low * scale, f->median_interval.high * scale);
        extent->low = fmin(extent->low, f->median_interval.low * scale);
        extent->high = fmax(extent->high, f->median_interval.high * scale);
        points++;
    }
    str_append(out, "\n\n");
    return points;
}

static void describe(const struct line_picture *what, const struct series_group *group, int fixed,
                     struct str *title)
{
    str_append(title, what->title);
    if (group->model)
        str_printf(title, ", %s", group->model);
    str_printf(title, " (%s %d)", what->axis == AXIS_BATCH ? "context" : "batch", fixed);
}

static enum status draw_lines(const struct report_data *data, const struct line_picture *what,
                              const struct series_group *group, size_t number, const char *dir,
                              struct pictures *pictures, struct error *err)
{
    struct str text = {0}, title = {0};
    struct extent extent = {INFINITY, 0, 0};
    size_t lines = 0;
    int fixed = report_data_fixed(data, what->axis);
    enum status status = OK;
    for (size_t i = 0; i < group->count; i++) {
        struct str line = {0};
        size_t points = write_line(data, group->series[i], what, fixed, &line, &extent);
        if (points > 0) {
            str_append(&text, str_text(&line));
            lines++;
        }
        extent.longest = points > extent.longest ? points : extent.longest;
        str_fini(&line);
    }
    describe(what, group, fixed, &title);
    if (extent.longest < 2) {
        picture_absent(pictures, str_text(&title),
                       what->axis == AXIS_BATCH
                           ? "fewer than two batch sizes were measured at this context"
                           : "fewer than two contexts were measured at this batch size");
    } else {
        char name[40];
        snprintf(name, sizeof name, number ? "%s-%zu" : "%s", what->name, number + 1);
        struct picture *p = picture_add(pictures, name, "lines.gp", str_text(&title),
                                        "Lines with error bars; the table of all cells has the "
                                        "same figures.");
        status = p ? picture_data(dir, p->name, ".dat", &text, err) : OK;
        if (p) {
            picture_arg(pictures, p, "%zu", lines);
            picture_arg(pictures, p, "%s",
                        what->axis == AXIS_BATCH ? "batch (sequences)" : "context (tokens)");
            picture_arg(pictures, p, "%s", what->y_label);
            // Over more than about a decade, the axis is logarithmic.
            bool log = extent.high > 20 * extent.low;
            picture_arg(pictures, p, "%d", log);
            picture_arg(pictures, p, "%.6g", log ? extent.low / 1.6 : 0);
            picture_arg(pictures, p, "%.6g", extent.high * (log ? 1.6 : 1.08));
            picture_arg(pictures, p, "%zu", group->longest);
        }
    }
    str_fini(&text);
    str_fini(&title);
    return status;
}

// ---- drawing ------------------------------------------------------------------------------------

static enum status read_svg(const char *dir, struct picture *p, struct error *err)
{
    struct str path = {0};
    size_t size = 0;
    str_printf(&path, "%s/%s.svg", dir, p->name);
    enum status status = file_read(str_text(&path), SVG_MAX, &p->svg, &size, err);
    str_fini(&path);
    return status;
}

// Removes the remains of a failed drawing.
static void remove_picture(const char *dir, const struct picture *p)
{
    static const char *const endings[] = {".svg", ".png"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        struct str path = {0};
        str_printf(&path, "%s/%s%s", dir, p->name, endings[i]);
        unlink(str_text(&path));
        str_fini(&path);
    }
}

static enum status draw_one(const struct gnuplot *gnuplot, const char *dir, struct picture *p,
                            struct error *err)
{
    struct str relative = {0};
    str_printf(&relative, "report/gnuplot/%s", p->script);
    char *script = home_find(str_text(&relative));
    str_fini(&relative);
    if (script == NULL)
        return FAIL(err, ERR_IO, "report/gnuplot/%s is not among the program's files", p->script);
    enum status status = gnuplot_run(gnuplot, dir, script, p->args, err);
    if (status == OK)
        status = picture_svg_check(dir, p->name, err);
    if (status == OK)
        status = picture_png_check(dir, p->name, err);
    if (status == OK)
        status = read_svg(dir, p, err);
    if (status != OK)
        remove_picture(dir, p);
    free(script);
    return status;
}

static enum status plan(const struct report_data *data, const char *dir, struct pictures *out,
                        struct error *err)
{
    struct series_group *groups;
    size_t count;
    TRY(picture_groups(data, out, &groups, &count, err));
    for (size_t i = 0; i < sizeof line_pictures / sizeof line_pictures[0]; i++)
        for (size_t g = 0; g < count; g++)
            TRY(draw_lines(data, &line_pictures[i], &groups[g], g, dir, out, err));
    TRY(picture_roofline(data, dir, out, err));
    TRY(picture_pareto(data, dir, out, err));
    return picture_memory(data, dir, out, err);
}

enum status pictures_draw(const struct report_data *data, const struct gnuplot *gnuplot,
                          const char *dir, struct pictures *out, struct error *err)
{
    memset(out, 0, sizeof *out);
    enum status status = plan(data, dir, out, err);
    for (size_t i = 0; status == OK && i < out->count && out->failure.code == OK; i++)
        if (draw_one(gnuplot, dir, &out->row[i], &out->failure) == ERR_INTERRUPTED)
            status = FAIL(err, ERR_INTERRUPTED, "stopped");
    if (status != OK)
        pictures_fini(out);
    return status;
}

void pictures_fini(struct pictures *pictures)
{
    for (size_t i = 0; i < pictures->count; i++)
        free(pictures->row[i].svg);
    free(pictures->absent);
    arena_fini(&pictures->arena);
    memset(pictures, 0, sizeof *pictures);
}
