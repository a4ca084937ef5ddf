// value.c - parses numbers with units, lists, and ranges.
#include "bench/suite/value.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum status value_int(const char *text, double min, double max, int64_t *out, struct error *err)
{
    if (!str_to_i64(text, out))
        return FAIL(err, ERR_USAGE, "'%s' is not a whole number", text);
    if ((double)*out < min || (double)*out > max)
        return FAIL(err, ERR_USAGE, "%s is not within %.0f and %.0f", text, min, max);
    return OK;
}

enum status value_float(const char *text, double min, double max, double *out, struct error *err)
{
    if (!str_to_f64(text, out))
        return FAIL(err, ERR_USAGE, "'%s' is not a number", text);
    if (*out < min || *out > max)
        return FAIL(err, ERR_USAGE, "%s is not within %g and %g", text, min, max);
    return OK;
}

struct unit {
    const char *name;
    double factor;
};

// Parses a number directly followed by one of `units`; `words` names them in messages.
static enum status with_unit(const char *text, const struct unit *units, const char *words,
                             double *out, struct error *err)
{
    char *end = NULL;
    double number = strtod(text, &end);
    bool digits = end > text && (isdigit((unsigned char)text[0]) || text[0] == '.');
    if (!digits || text[1] == 'x' || text[1] == 'X')
        return FAIL(err, ERR_USAGE, "'%s' is not a number with a unit (%s)", text, words);
    for (; units->name; units++)
        if (strcmp(end, units->name) == 0)
            break;
    if (!units->name)
        return FAIL(err, ERR_USAGE, "'%s' needs a unit: %s", text, words);
    *out = number * units->factor;
    if (!isfinite(*out) || *out > 1e18)
        return FAIL(err, ERR_USAGE, "%s is too large", text);
    return OK;
}

enum status value_time(const char *text, double *ns, struct error *err)
{
    static const struct unit units[] = {{"ns", 1},   {"us", 1e3},   {"ms", 1e6}, {"s", 1e9},
                                        {"m", 60e9}, {"h", 3.6e12}, {NULL, 0}};
    return with_unit(text, units, "ns, us, ms, s, m or h", ns, err);
}

enum status value_bytes(const char *text, double *bytes, struct error *err)
{
    static const struct unit units[] = {
        {"B", 1},    {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40},
        {"kB", 1e3}, {"MB", 1e6},     {"GB", 1e9},     {"TB", 1e12},    {NULL, 0}};
    return with_unit(text, units, "B, KiB, MiB, GiB, TiB, kB, MB, GB or TB", bytes, err);
}

// ---- lists --------------------------------------------------------------------------------------

// The next item of a comma list, trimmed and copied into the arena. *rest advances, to NULL after the last item.
static enum status next_item(const char **rest, struct arena *arena, char **out, struct error *err)
{
    const char *begin = *rest + strspn(*rest, " \t");
    size_t length = strcspn(begin, ",");
    *rest = begin[length] == ',' ? begin + length + 1 : NULL;
    while (length && isspace((unsigned char)begin[length - 1]))
        length--;
    if (!length)
        return FAIL(err, ERR_USAGE, "a value is missing");
    *out = arena_alloc(arena, length + 1, 1);
    if (!*out)
        return FAIL(err, ERR_NOMEM, "no memory for a list");
    memcpy(*out, begin, length);
    return OK;
}

enum status value_words(const char *text, struct arena *arena, struct word_list *out,
                        struct error *err)
{
    const char *rest = text;
    out->count = 0;
    out->items = arena_alloc(arena, LIST_MAX, sizeof *out->items);
    if (!out->items)
        return FAIL(err, ERR_NOMEM, "no memory for a list");
    while (rest) {
        char *item = NULL;
        TRY(next_item(&rest, arena, &item, err));
        for (size_t i = 0; i < out->count; i++)
            if (strcmp(out->items[i], item) == 0)
                return FAIL(err, ERR_USAGE, "'%s' is listed twice", item);
        if (out->count == LIST_MAX)
            return FAIL(err, ERR_USAGE, "more than %d values", LIST_MAX);
        out->items[out->count++] = item;
    }
    return OK;
}

static enum status append_int(struct int_list *list, int64_t value, double min, double max,
                              struct error *err)
{
    if ((double)value < min || (double)value > max)
        return FAIL(err, ERR_USAGE, "%lld is not within %.0f and %.0f", (long long)value, min, max);
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i] == (int)value)
            return FAIL(err, ERR_USAGE, "%lld is listed twice", (long long)value);
    if (list->count == LIST_MAX)
        return FAIL(err, ERR_USAGE, "more than %d values", LIST_MAX);
    list->items[list->count++] = (int)value;
    return OK;
}

struct range {
    int64_t first, last, step;
    char op; // '*' or '+'
};

// Splits "A-B", "A-B*K" or "A-B+S" with nothing else in it; false if the text is not a range.
static bool split_range(char *item, struct range *out)
{
    char *dash = strchr(item + 1, '-');
    if (!dash)
        return false;
    char *op = strpbrk(dash + 1, "*+");
    *out = (struct range){.step = 1, .op = '+'};
    bool good = true;
    if (op) {
        out->op = *op;
        *op = '\0';
        good = str_to_i64(op + 1, &out->step);
    }
    *dash = '\0';
    good = good && str_to_i64(item, &out->first) && str_to_i64(dash + 1, &out->last);
    *dash = '-';
    if (op)
        *op = out->op;
    return good;
}

static enum status append_range(struct int_list *list, const char *item, const struct range *range,
                                double min, double max, struct error *err)
{
    if (range->last < range->first)
        return FAIL(err, ERR_USAGE, "range '%s' ends below its start", item);
    if (range->op == '*' && range->step < 2)
        return FAIL(err, ERR_USAGE, "range '%s': the factor must be at least 2", item);
    if (range->op == '*' && range->first < 1)
        return FAIL(err, ERR_USAGE, "range '%s': a factor needs a start of at least 1", item);
    if (range->step < 1)
        return FAIL(err, ERR_USAGE, "range '%s': the step must be at least 1", item);
    if ((double)range->first < min || (double)range->last > max)
        return FAIL(err, ERR_USAGE, "range '%s' is not within %.0f and %.0f", item, min, max);
    // Bounds are within [min, max], which fits an int, so neither step below can overflow.
    if (range->op == '+' && (range->last - range->first) / range->step >= LIST_MAX)
        return FAIL(err, ERR_USAGE, "range '%s' makes %lld values: at most %d", item,
                    (long long)((range->last - range->first) / range->step + 1), LIST_MAX);
    for (int64_t value = range->first; value <= range->last;) {
        TRY(append_int(list, value, min, max, err));
        if (range->op == '*' && value > range->last / range->step)
            break;
        if (range->op == '+' && value > range->last - range->step)
            break;
        value = range->op == '*' ? value * range->step : value + range->step;
    }
    return OK;
}

enum status value_ints(const char *text, double min, double max, const char *word,
                       struct arena *arena, struct int_list *out, struct error *err)
{
    const char *rest = text;
    out->count = 0;
    out->items = arena_alloc(arena, LIST_MAX, sizeof *out->items);
    if (!out->items)
        return FAIL(err, ERR_NOMEM, "no memory for a list");
    while (rest) {
        char *item = NULL;
        int64_t value = 0;
        struct range range;
        TRY(next_item(&rest, arena, &item, err));
        if (word && strcmp(item, word) == 0)
            TRY(append_int(out, 0, 0, max, err));
        else if (str_to_i64(item, &value))
            TRY(append_int(out, value, min, max, err));
        else if (split_range(item, &range))
            TRY(append_range(out, item, &range, min, max, err));
        else
            return FAIL(err, ERR_USAGE, "'%s' is neither a number nor a range (1-16*2, 1-8+2, 1-4)",
                        item);
    }
    return OK;
}
