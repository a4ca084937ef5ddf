// pictures.h - the pictures of a run, their data files, and gnuplot's results.
//
// To add a picture: a script in report/gnuplot/, a function here that writes its data file and names
// its arguments, a row in `plan` of pictures.c (README.md).
#ifndef REPORT_PICTURES_H
#define REPORT_PICTURES_H

#include "base/str.h"
#include "report/data.h"
#include "report/gnuplot.h"

enum {
    PICTURES_MAX = 48,
    PICTURE_SERIES_MAX = 8, // the number of distinguishable colours
};

struct picture {
    char name[40];        // file name without its ending: "decode-over-batch-2"
    const char *script;   // "lines.gp"
    const char *title;    // plain text, may contain a model's name
    const char *alt;      // a description for screen readers
    const char *args[12]; // of the script, ended by NULL; never names from the store
    char *svg;            // owned: the picture, or NULL when it was not drawn
};

struct pictures {
    struct arena arena; // owns titles and args
    struct picture row[PICTURES_MAX];
    size_t count;
    // Missing or incomplete pictures, by reason; each reason occurs once.
    struct picture_absence {
        // "no quality was measured"; "Decode over batch; Decode over context"
        const char *reason, *what;
    } * absent;
    size_t absent_count;
    struct error failure; // why gnuplot failed; OK if it drew all
};

// Writes the data files into `dir` and runs gnuplot for each picture, until one fails: the others would
// fail in the same way. A failure of gnuplot is kept in out->failure and is not an error, unless it is ERR_INTERRUPTED.
enum status pictures_draw(const struct report_data *data, const struct gnuplot *gnuplot,
                          const char *dir, struct pictures *out, struct error *err);
void pictures_fini(struct pictures *pictures);

// ---- for the files that plan pictures -----------------------------------------------------------

// Records what is missing, and why: a clause without a full stop. Omitted without memory.
void picture_absent(struct pictures *pictures, const char *what, const char *reason);
// Adds a picture. NULL if there are already PICTURES_MAX; it is then named in pictures->absent. The caller formats
// title and alt.
struct picture *picture_add(struct pictures *pictures, const char *name, const char *script,
                            const char *title, const char *alt);
void picture_arg(struct pictures *pictures, struct picture *picture, const char *format, ...)
    PRINTF_LIKE(3, 4);

// Makes text from the store safe for a data file: one line, no tabs or quotes, valid UTF-8, short.
void picture_label(struct str *out, const char *text);

// Writes dir/name + ending.
enum status picture_data(const char *dir, const char *name, const char *ending,
                         const struct str *text, struct error *err);

// roofline.c, memory.c, quality.c
enum status picture_roofline(const struct report_data *data, const char *dir,
                             struct pictures *pictures, struct error *err);
enum status picture_memory(const struct report_data *data, const char *dir,
                           struct pictures *pictures, struct error *err);
enum status picture_pareto(const struct report_data *data, const char *dir,
                           struct pictures *pictures, struct error *err);

// Cuts the series into groups of at most PICTURE_SERIES_MAX that are drawn together: all in one if they fit, else one
// model at a time. Groups hold only series with a speed, and each such series is in one group. The groups live in the
// arena of `pictures`.
struct series_group {
    const struct series *series[PICTURE_SERIES_MAX];
    size_t count;
    const char *model; // NULL: several
    size_t longest;    // letters of the longest label
};
enum status picture_groups(const struct report_data *data, struct pictures *pictures,
                           struct series_group **out, size_t *count, struct error *err);

#endif
