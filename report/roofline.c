// roofline.c - writes the data of the roofline picture: ceilings as lines, prefill and decode as points.
//
// x comes from the analytic model: operations over the bytes that must move. y is measured: those operations over the
// measured time. A point right under a line is at that limit; its distance to the line is the possible gain.
// Source: Williams, Waterman, Patterson 2009

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "report/pictures.h"
#include "results/metric.h"

struct frame {
    double x_min, x_max, y_min, y_max;
};

struct point {
    double intensity, rate;
};

// The point of one phase of a cell; false if bytes, operations or time are unknown.
static bool point_of(const struct report_data *data, const struct cell_row *cell, const char *phase,
                     struct point *out)
{
    const struct verdict_row *verdict = report_data_verdict(data, cell, phase);
    double flop = report_data_value(data, cell, METRIC_FLOP, phase);
    double bytes = report_data_value(data, cell, METRIC_BYTES, phase);
    if (!verdict || !(verdict->measured_ns > 0) || !(flop > 0) || !(bytes > 0))
        return false;
    out->intensity = flop / bytes;
    out->rate = 1e9 * flop / verdict->measured_ns;
    return true;
}

static void include(struct frame *f, double x, double y)
{
    f->x_min = fmin(f->x_min, x);
    f->x_max = fmax(f->x_max, x);
    f->y_min = fmin(f->y_min, y);
    f->y_max = fmax(f->y_max, y);
}

// ---- ceilings -----------------------------------------------------------------------------------

static bool is_peak(const struct ceiling_row *c)
{
    return c->level[0] == '\0' && !str_equal(c->unit, "ns") && c->value > 0;
}

static bool is_read(const struct ceiling_row *c)
{
    return str_equal(c->name, "read") && c->value > 0;
}

// The ceilings of one picture: those of its device, with the most threads that a cell on it used.
struct roof {
    const struct report_data *data;
    const char *device;
    int threads;
};

static bool under_roof(const struct roof *roof, const struct ceiling_row *c)
{
    return str_equal(c->device, roof->device) && (c->threads == roof->threads || c->threads == 0);
}

static struct roof roof_of(const struct report_data *data, const char *device)
{
    struct roof roof = {data, device, 0};
    int most = 0;
    for (size_t i = 0; i < data->cell_count; i++)
        if (str_equal(data->cells[i].device, device) && data->cells[i].threads > roof.threads)
            roof.threads = data->cells[i].threads;
    for (size_t i = 0; i < data->ceiling_count; i++) {
        const struct ceiling_row *c = &data->ceilings[i];
        if (roof.threads > 0 && under_roof(&roof, c))
            return roof;
        if (str_equal(c->device, device) && c->threads > most)
            most = c->threads;
    }
    roof.threads = most;
    return roof;
}

static void widest(const struct roof *roof, double *bandwidth, double *peak)
{
    *bandwidth = *peak = 0;
    for (size_t i = 0; i < roof->data->ceiling_count; i++) {
        const struct ceiling_row *c = &roof->data->ceilings[i];
        if (!under_roof(roof, c))
            continue;
        if (is_peak(c))
            *peak = fmax(*peak, c->value);
        if (is_read(c))
            *bandwidth = fmax(*bandwidth, c->value);
    }
}

// "bf16 dot 300 GFLOP/s", "DRAM 45.0 GB/s".
static void append_name(struct str *out, const struct ceiling_row *c)
{
    char value[48], name[40];
    snprintf(name, sizeof name, "%s", is_peak(c) ? c->name : c->level);
    for (char *p = name; *p; p++)
        *p = *p == '_' ? ' ' : *p;
    picture_label(out, name);
    str_printf(out, " %s", metric_format(c->value, c->unit, value, sizeof value));
}

// The slowest read ceiling above (or the fastest below) ceiling i that is within `factor` of it, or NULL. The names of
// such neighbours would overlap.
static const struct ceiling_row *neighbour(const struct roof *roof, const struct ceiling_row *of,
                                           bool above, double factor)
{
    const struct ceiling_row *nearest = NULL;
    for (size_t j = 0; j < roof->data->ceiling_count; j++) {
        const struct ceiling_row *c = &roof->data->ceilings[j];
        double ratio = above ? c->value / of->value : of->value / c->value;
        if (c != of && under_roof(roof, c) && is_read(c) && ratio > 1 && ratio < factor &&
            (!nearest || (above ? c->value < nearest->value : c->value > nearest->value)))
            nearest = c;
    }
    return nearest;
}

// Writes one name for a group of neighbours, above the fastest of them: "L2 230 GB/s, L3 183 GB/s".
static void name_slanted(struct str *out, const struct roof *roof, const struct ceiling_row *c,
                         double x, double y, double angle, double factor)
{
    if (neighbour(roof, c, true, factor))
        return;
    str_printf(out, "%.6g\t%.6g\t%.1f\t", x, y, angle);
    append_name(out, c);
    while ((c = neighbour(roof, c, false, factor)) != NULL) {
        str_append(out, ", ");
        append_name(out, c);
    }
    str_append(out, "\n");
}

// The slowest peak above `below`, or the slowest of all (NULL). Among equal ones the first is taken first.
static const struct ceiling_row *next_peak(const struct roof *roof, const struct ceiling_row *below)
{
    const struct ceiling_row *next = NULL;
    for (size_t i = 0; i < roof->data->ceiling_count; i++) {
        const struct ceiling_row *c = &roof->data->ceilings[i];
        bool above = !below || c->value > below->value || (c->value == below->value && c > below);
        if (under_roof(roof, c) && is_peak(c) && above && (!next || c->value < next->value))
            next = c;
    }
    return next;
}

// Writes a name above each flat line, from the lowest up. If two lines are close, the upper one's name moves up.
static void name_flat(struct str *out, const struct roof *roof, const struct frame *f)
{
    double x = f->x_max / pow(f->x_max / f->x_min, 0.01), free_from = 0;
    double half_line = pow(f->y_max / f->y_min, 0.028); // of text
    for (const struct ceiling_row *c = NULL; (c = next_peak(roof, c)) != NULL;) {
        double y = fmax(c->value * half_line, free_from);
        str_printf(out, "%.6g\t%.6g\t0\t", x, y);
        append_name(out, c);
        str_append(out, "\n");
        free_from = y * half_line * half_line;
    }
}

// Writes each ceiling over the range in which it is the limit. Returns the number written.
static size_t write_ceilings(const struct roof *roof, const struct frame *f, struct str *out,
                             struct str *slanted)
{
    double bandwidth = 0, peak = 0;
    size_t count = 0;
    widest(roof, &bandwidth, &peak);
    // The slope of y = b x on paper; 454 by 320 is the frame of roofline.gp.
    double decades_x = log10(f->x_max / f->x_min), decades_y = log10(f->y_max / f->y_min);
    double angle = atan2(320 / decades_y, 454 / decades_x) * 180 / 3.14159265358979;
    for (size_t i = 0; i < roof->data->ceiling_count; i++) {
        const struct ceiling_row *c = &roof->data->ceilings[i];
        if (!under_roof(roof, c) || !(is_peak(c) || is_read(c)))
            continue;
        double x0 = f->x_min, y0 = c->value * x0, x1 = f->x_max, y1 = c->value;
        if (is_read(c) && y0 < f->y_min) {
            y0 = f->y_min;
            x0 = y0 / c->value;
        }
        if (is_read(c) && peak > 0) {
            x1 = fmin(x1, peak / c->value);
            y1 = c->value * x1;
        } else if (is_peak(c)) {
            y0 = c->value;
            x0 = bandwidth > 0 ? fmax(f->x_min, c->value / bandwidth) : f->x_min;
        }
        str_printf(out, "%.6g\t%.6g\n%.6g\t%.6g\n\n\n", x0, y0, x1, y1);
        if (is_read(c)) {
            double x = x0 * pow(10, decades_x * 0.012);
            name_slanted(slanted, roof, c, x, c->value * x * pow(10, decades_y * 0.042), angle,
                         pow(10, decades_y * 0.07));
        }
        count++;
    }
    return count;
}

// ---- points -------------------------------------------------------------------------------------

static const char *const phases[] = {"prefill", "decode"};

static size_t write_points(const struct report_data *data, const struct series *s,
                           const char *phase, struct str *out, struct frame *frame)
{
    size_t count = 0;
    picture_label(out, s->label);
    str_append(out, "\n");
    for (size_t i = 0; i < s->cell_count; i++) {
        struct point p;
        if (!point_of(data, s->cells[i], phase, &p))
            continue;
        str_printf(out, "%.6g\t%.6g\n", p.intensity, p.rate);
        include(frame, p.intensity, p.rate);
        count++;
    }
    if (count == 0)
        str_append(out, "?\t?\n");
    str_append(out, "\n\n");
    return count;
}

// Names the ends of a single series: the slowest and the fastest point of each phase. With more series the names would
// overlap; colours and the bound map identify them instead.
static void write_names(const struct report_data *data, const struct series_group *group,
                        struct str *out)
{
    for (size_t i = 0; i < group->count && group->count == 1; i++)
        for (int phase = 0; phase < 2; phase++) {
            const struct cell_row *end[2] = {NULL, NULL};
            struct point p, at[2] = {{0, 0}, {0, 0}};
            for (size_t j = 0; j < group->series[i]->cell_count; j++) {
                const struct cell_row *cell = group->series[i]->cells[j];
                if (!point_of(data, cell, phases[phase], &p))
                    continue;
                for (int k = 0; k < 2; k++)
                    if (!end[k] || (k ? p.rate > at[k].rate : p.rate < at[k].rate)) {
                        end[k] = cell;
                        at[k] = p;
                    }
            }
            for (int k = 0; k < 2; k++)
                if (end[k] && (k == 0 || end[0] != end[1]))
                    str_printf(out, "%.6g\t%.6g\tb%d c%d\n", at[k].intensity, at[k].rate,
                               end[k]->batch, end[k]->context);
        }
    if (out->length == 0)
        str_append(out, "?\t?\t\n");
}

// Adds room around everything, and keeps the knee of the highest roof visible.
static void widen(const struct roof *roof, struct frame *f)
{
    double bandwidth, peak;
    widest(roof, &bandwidth, &peak);
    for (size_t i = 0; i < roof->data->ceiling_count; i++) {
        const struct ceiling_row *c = &roof->data->ceilings[i];
        if (!under_roof(roof, c))
            continue;
        if (is_read(c) && peak > 0)
            f->x_max = fmax(f->x_max, peak / c->value);
        if (is_peak(c))
            f->y_max = fmax(f->y_max, c->value);
    }
    f->x_min /= 3;
    // The names of the flat lines take the right 36 % of the frame, which has no points.
    f->x_max = f->x_min * pow(1.3 * f->x_max / f->x_min, 1 / 0.64);
    f->y_min /= 4;
    f->y_max *= 2.5;
}

static const char *why_absent(size_t ceilings)
{
    return ceilings ? "no phase has both its bytes and its time"
                    : "no ceilings of this device were measured";
}

// group: series of one device. number: of the picture.
static enum status draw(const struct report_data *data, const struct series_group *group,
                        size_t number, const char *dir, struct pictures *pictures,
                        struct error *err)
{
    struct str points = {0}, ceilings = {0}, slanted = {0}, flat = {0}, labels = {0}, title = {0};
    struct frame frame = {INFINITY, 0, INFINITY, 0};
    const struct roof roof = roof_of(data, group->series[0]->device);
    size_t count = 0, limits = 0;
    enum status status = OK;
    for (size_t i = 0; i < group->count; i++)
        for (int phase = 0; phase < 2; phase++)
            count += write_points(data, group->series[i], phases[phase], &points, &frame);
    for (size_t i = 0; i < data->ceiling_count; i++)
        limits += under_roof(&roof, &data->ceilings[i]);
    str_printf(&title, "Roofline of %s", roof.device);
    if (group->model)
        str_printf(&title, ", %s", group->model);
    if (count > 0 && limits > 0) {
        char name[40];
        widen(&roof, &frame);
        size_t lines = write_ceilings(&roof, &frame, &ceilings, &slanted);
        name_flat(&flat, &roof, &frame);
        write_names(data, group, &labels);
        snprintf(name, sizeof name, number ? "roofline-%zu" : "roofline", number + 1);
        struct picture *p = picture_add(pictures, name, "roofline.gp", str_text(&title),
                                        "Measured ceilings as lines, phases of the cells as "
                                        "points; the bound map has the same verdicts in words.");
        if (p) {
            picture_arg(pictures, p, "%zu", group->count);
            picture_arg(pictures, p, "%zu", lines);
            picture_arg(pictures, p, "%.6g", frame.x_min);
            picture_arg(pictures, p, "%.6g", frame.x_max);
            picture_arg(pictures, p, "%.6g", frame.y_min);
            picture_arg(pictures, p, "%.6g", frame.y_max);
            picture_arg(pictures, p, "%zu", group->longest);
            status = picture_data(dir, p->name, ".dat", &points, err);
            if (status == OK)
                status = picture_data(dir, p->name, ".ceilings", &ceilings, err);
            if (status == OK)
                status = picture_data(dir, p->name, ".slanted", &slanted, err);
            if (status == OK)
                status = picture_data(dir, p->name, ".flat", &flat, err);
            if (status == OK)
                status = picture_data(dir, p->name, ".labels", &labels, err);
        }
    } else {
        picture_absent(pictures, str_text(&title), why_absent(limits));
    }
    str_fini(&points);
    str_fini(&ceilings);
    str_fini(&slanted);
    str_fini(&flat);
    str_fini(&labels);
    str_fini(&title);
    return status;
}

// The series of a group on the device of its series `first`. Empty if an earlier series has that device.
static struct series_group on_device(const struct series_group *group, size_t first)
{
    struct series_group out = {.model = group->model};
    const char *device = group->series[first]->device;
    for (size_t i = 0; i < group->count; i++) {
        const struct series *s = group->series[i];
        if (!str_equal(s->device, device))
            continue;
        if (i < first)
            return (struct series_group){0};
        out.series[out.count++] = s;
        out.longest = strlen(s->label) > out.longest ? strlen(s->label) : out.longest;
    }
    return out;
}

// A point belongs under the ceilings of its own device, so each device has one picture.
enum status picture_roofline(const struct report_data *data, const char *dir,
                             struct pictures *pictures, struct error *err)
{
    struct series_group *groups;
    size_t count, number = 0;
    TRY(picture_groups(data, pictures, &groups, &count, err));
    for (size_t g = 0; g < count; g++)
        for (size_t i = 0; i < groups[g].count; i++) {
            const struct series_group part = on_device(&groups[g], i);
            if (part.count > 0)
                TRY(draw(data, &part, number++, dir, pictures, err));
        }
    return OK;
}
