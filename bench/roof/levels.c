// levels.c - the read bandwidth of a working set, from the measured curve of bandwidth over size.
//
// Each read ceiling is a point of that curve: the size of a set that all threads of a device read repeatedly, and the
// rate. A working set is compared with the curve, never with a reported cache size: virtual machines report caches that
// many guests share.
//
//   bytes/s |  *----*                    value of the set: on the line between its two neighbours,
//           |        \                   in the logarithms of both axes. Its interval reaches from the
//           |         *                  lower end of the farther point to the upper end of the nearer
//           |           \                one, because the size at which a cache gives way is unknown.
//           |            *-----*         Beyond both ends the curve is flat.
//           +--------------------- bytes
//
// A point that is slower than a farther one is not a level: the same bytes could be read faster as a part of the larger
// set. It is left out, and ceilings_explain_levels reports that.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "bench/probe/stream.h"
#include "bench/roof/roof.h"

enum { POINTS_MAX = 24 };
static const double MEMORY_BYTES = 1e12; // larger than every cache

struct point {
    const struct ceiling *row;
    double set_bytes;
};

// Rows of older stores have no size. It is computed from the levels, as it was when they were measured.
static double set_of(const struct ceilings *c, const struct ceiling *row)
{
    if (row->set_bytes > 0)
        return row->set_bytes;
    // The levels belong to the host. Rows of other devices have no threads, although their levels have the same names.
    for (int level = 0; row->threads > 0 && level < c->levels; level++)
        if (str_equal(c->level[level].name, row->level))
            return (double)row->threads *
                   (double)stream_share(c->level, c->levels, level, row->threads);
    // For a device that does not report the size of its caches, memory is one flat level.
    return str_equal(row->level, "DRAM") ? MEMORY_BYTES : 0;
}

static int by_size(const void *a, const void *b)
{
    double x = ((const struct point *)a)->set_bytes, y = ((const struct point *)b)->set_bytes;
    return (x > y) - (x < y);
}

static bool named(const struct ceiling *row, const char *name)
{
    return str_equal(row->name, name) ||
           (str_equal(name, "read") && str_equal(row->name, READ_SET));
}

// The points of one operation with this number of threads, the smallest first.
static size_t points_of(const struct ceilings *c, const char *device, const char *name, int threads,
                        struct point out[POINTS_MAX])
{
    size_t count = 0;
    for (int i = 0; i < c->count && count < POINTS_MAX; i++) {
        const struct ceiling *row = &c->row[i];
        bool fits = str_equal(row->device, device) &&
                    (row->threads == threads || row->threads == 0) && named(row, name);
        double set = fits && row->value > 0 ? set_of(c, row) : 0;
        if (set > 0)
            out[count++] = (struct point){row, set};
    }
    qsort(out, count, sizeof *out, by_size);
    return count;
}

// The fastest of the farther points that is at least as fast as `at`, or NULL.
static const struct ceiling *faster_beyond(const struct point *points, size_t count, size_t at)
{
    const struct ceiling *best = NULL;
    for (size_t i = at + 1; i < count; i++)
        if (points[i].row->value >= points[at].row->value &&
            (!best || points[i].row->value > best->value))
            best = points[i].row;
    return best;
}

// Removes points that are not levels. Returns the number that stay; each is faster than all later ones.
static size_t keep_levels(struct point *points, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!faster_beyond(points, count, i))
            points[kept++] = points[i];
    return kept;
}

// A single sample has no interval.
static double low_of(const struct ceiling *row)
{
    return fmin(row->low, row->value);
}

static double high_of(const struct ceiling *row)
{
    return fmax(row->high, row->value);
}

bool ceilings_read_rate(const struct ceilings *c, const char *device, int threads, double set_bytes,
                        struct read_rate *out)
{
    struct point points[POINTS_MAX];
    size_t count = keep_levels(points, points_of(c, device, "read", threads, points)), at = 0;
    if (count == 0)
        return false;
    while (at < count && points[at].set_bytes < set_bytes)
        at++;
    const struct ceiling *nearer = points[at ? at - 1 : 0].row;
    const struct ceiling *farther = points[at < count ? at : count - 1].row;
    *out = (struct read_rate){.value = farther->value,
                              .low = low_of(farther),
                              .high = high_of(nearer),
                              .nearer = nearer,
                              .farther = farther};
    if (nearer == farther)
        return true;
    double from = points[at - 1].set_bytes, to = points[at].set_bytes;
    double along = log(set_bytes / from) / log(to / from); // 0 at the nearer, 1 at the farther
    out->value = nearer->value * pow(farther->value / nearer->value, along);
    return true;
}

// The row of a farther level that is faster than this row of `name` beyond the noise; NULL: there is none.
static const struct ceiling *slower_than(const struct ceilings *c, const struct ceiling *row,
                                         const char *name)
{
    struct point points[POINTS_MAX];
    const struct ceiling *faster = NULL;
    size_t count = points_of(c, row->device, name, row->threads, points);
    for (size_t p = 0; p < count; p++)
        if (points[p].row == row)
            faster = faster_beyond(points, count, p);
    // Only if the intervals do not overlap: a difference within the noise means nothing.
    return faster && str_equal(row->name, name) && row->high < faster->low ? faster : NULL;
}

void ceilings_explain_levels(const struct ceilings *c, char *out, size_t out_bytes)
{
    static const char *const names[] = {"read", "copy", "triad"};
    static const char end[] = " (others use that cache too; such a level is no reference)";
    struct str text = {0};
    char item[128], more[32] = "";
    int left_out = 0;
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++)
        for (int i = 0; i < c->count; i++) {
            const struct ceiling *row = &c->row[i], *faster = slower_than(c, row, names[n]);
            if (!faster)
                continue;
            snprintf(item, sizeof item, "%s%s of %s with %d thread%s reaches %.1f GB/s, %s %.1f",
                     text.length ? "; " : "", row->name, row->level, row->threads,
                     row->threads == 1 ? "" : "s", row->value / 1e9, faster->level,
                     faster->value / 1e9);
            if (text.length + strlen(item) + sizeof more + sizeof end < out_bytes)
                str_append(&text, item);
            else
                left_out++;
        }
    if (left_out)
        snprintf(more, sizeof more, "; %d more", left_out);
    snprintf(out, out_bytes, "%s%s%s", str_text(&text), more, text.length ? end : "");
    str_fini(&text);
}
