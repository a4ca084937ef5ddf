// html.c - escapes text and formats values.

#include "report/html.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "results/metric.h"

static void escape(struct str *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '&')
            str_append(out, "&amp;");
        else if (*p == '<')
            str_append(out, "&lt;");
        else if (*p == '>')
            str_append(out, "&gt;");
        else if (*p == '"')
            str_append(out, "&quot;");
        else if (*p == '\'')
            str_append(out, "&#39;");
        else
            str_append_bytes(out, p, 1);
    }
}

void html_text(struct str *out, const char *text)
{
    char *plain = text ? strdup(text) : NULL;
    if (plain) {
        str_plain_lines(plain);
        escape(out, plain);
    }
    out->failed |= text && !plain;
    free(plain);
}

void html_textf(struct str *out, const char *format, ...)
{
    struct str text = {0};
    va_list args;
    va_start(args, format);
    str_vprintf(&text, format, args);
    va_end(args);
    html_text(out, str_text(&text));
    out->failed |= text.failed;
    str_fini(&text);
}

void html_value(struct str *out, double value, const char *unit)
{
    char text[64];
    if (isnan(value)) {
        str_append(out, "<span class=none>not measured</span>");
        return;
    }
    html_text(out, metric_format(value, unit, text, sizeof text));
}

// The offset of the unit in "41.2 ms", or the end.
static size_t number_length(const char *text)
{
    const char *space = strrchr(text, ' ');
    return space ? (size_t)(space - text) : strlen(text);
}

void html_figure(struct str *out, const struct stat_summary *figure, const char *unit)
{
    char median[64], low[64], high[64];
    if (figure == NULL) {
        html_value(out, NAN, unit);
        return;
    }
    metric_format(figure->median, unit, median, sizeof median);
    metric_format(figure->median_interval.low, unit, low, sizeof low);
    metric_format(figure->median_interval.high, unit, high, sizeof high);
    html_text(out, median);
    if (figure->n < 2)
        return;
    // The unit is written once unless the ends need another one.
    bool same = strcmp(low + number_length(low), high + number_length(high)) == 0 &&
                strcmp(low + number_length(low), median + number_length(median)) == 0;
    str_append(out, " <small>");
    html_textf(out, "%.*s\xe2\x80\x93%.*s", same ? (int)number_length(low) : 63, low,
               same ? (int)number_length(high) : 63, high);
    str_append(out, "</small>");
}

void html_status(struct str *out, const char *status)
{
    static const struct {
        const char *status, *kind;
    } kinds[] = {
        {"ok", "good"},       {"done", "good"},         {"noisy", "doubt"}, {"throttled", "doubt"},
        {"running", "doubt"}, {"interrupted", "doubt"}, {"wrong", "bad"},   {"oom", "bad"},
        {"timeout", "bad"},   {"crashed", "bad"},       {"failed", "bad"},
    };
    const char *kind = "left";
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (str_equal(kinds[i].status, status))
            kind = kinds[i].kind;
    str_printf(out, "<span class=\"status %s\">", kind);
    html_text(out, status);
    str_append(out, "</span>");
}
