// report.h - writes one run of the store as a page, pictures, and a table for other programs.
//
// It reads only the store. Nothing is half-written: files are made in a folder next to their destination
// and renamed when all of them are complete.
#ifndef REPORT_REPORT_H
#define REPORT_REPORT_H

#include <stdbool.h>

#include "base/str.h"
#include "results/store.h"

enum report_format {
    REPORT_HTML = 1 << 0, // index.html, and the SVG files it shows
    REPORT_PNG = 1 << 1,
    REPORT_CSV = 1 << 2, // cells.csv, as `bench export --format csv` writes it
};

struct report_options {
    const char *dir;     // created if missing
    unsigned formats;    // bits of enum report_format
    const char *gnuplot; // program to draw with: a path, or a name looked up in PATH
    int timeout_ms;      // per picture
    bool need_pictures;  // explicitly requested: without gnuplot an error, not a note
};

// "html,png" as formats. ERR_USAGE names the unknown one.
enum status report_formats(const char *text, unsigned *formats, struct error *err);

// Writes the report of one run (query.h defines the names of runs; NULL is the last). *index is the path of the page,
// or of the folder when no page was requested; the caller frees it. Without gnuplot the page has no pictures, and
// `note` has the reason in one line; else it is empty. If gnuplot fails, hangs or writes half a file, or if pictures
// are needed and missing, everything else is in place, *index is set, and the reason is the error. After any other
// error, or if only pictures were requested, *index is NULL and the folder is unchanged. ERR_INTERRUPTED:
// base/interrupt.h.
enum status report_write(struct store *store, const char *run, const struct report_options *options,
                         char **index, struct str *note, struct error *err);

#endif
