// html.h - appends text as HTML, escaped, and the few elements that the page repeats.
#ifndef REPORT_HTML_H
#define REPORT_HTML_H

#include "base/stat.h"
#include "base/str.h"

// Appends text made plain (str_plain_lines) with & < > " ' escaped: safe in elements and in quoted
// attributes. NULL appends nothing.
void html_text(struct str *out, const char *text);

// Appends `format` with its arguments, all of it escaped as one text.
void html_textf(struct str *out, const char *format, ...) PRINTF_LIKE(2, 3);

// "12.3 ms", or "not measured" muted, for NaN.
void html_value(struct str *out, double value, const char *unit);

// The median and, smaller, its interval in the same unit: "41.2 ms 40.9 to 41.6". NULL: not measured.
void html_figure(struct str *out, const struct stat_summary *figure, const char *unit);

// The status of a cell, coloured by its kind.
void html_status(struct str *out, const char *status);

#endif
