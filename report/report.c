// report.c - writes all files of a report to a folder next to their destination, then moves them there.
//
// A page is useful without its pictures. If gnuplot is not installed, a note replaces them. If it fails, the rest is
// written and the failure is reported as the error. Any other failure (no run, no space, no permission) leaves the
// report's folder unchanged.

#include "report/report.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "base/words.h"
#include "report/page.h"
#include "results/export.h"

static const struct format {
    const char *name;
    unsigned bit;
} formats_known[] = {{"html", REPORT_HTML}, {"png", REPORT_PNG}, {"csv", REPORT_CSV}};

enum { FORMATS = sizeof formats_known / sizeof formats_known[0] };

static enum status unknown_format(const char *text, size_t length, struct error *err)
{
    struct words known = {.count = 0};
    char word[64], hint[WORDS_HINT_BYTES];
    snprintf(word, sizeof word, "%.*s", (int)length, text);
    for (size_t i = 0; i < FORMATS; i++)
        words_add(&known, formats_known[i].name);
    return FAIL(err, ERR_USAGE, "unknown report format '%s'%s", word,
                words_hint(word, known.items, known.count, hint, sizeof hint));
}

enum status report_formats(const char *text, unsigned *formats, struct error *err)
{
    *formats = 0;
    while (*text) {
        size_t length = strcspn(text, ","), skip = strspn(text, " ");
        size_t end = length;
        while (end > skip && text[end - 1] == ' ')
            end--;
        unsigned bit = 0;
        for (size_t i = 0; i < FORMATS; i++)
            if (end > skip && strlen(formats_known[i].name) == end - skip &&
                strncmp(formats_known[i].name, text + skip, end - skip) == 0)
                bit = formats_known[i].bit;
        if (bit == 0)
            return unknown_format(text, length, err);
        *formats |= bit;
        text += length + (text[length] == ',');
    }
    return *formats ? OK : FAIL(err, ERR_USAGE, "no report format given: html, png, csv");
}

// ---- files --------------------------------------------------------------------------------------

// Formats "dir/name"; NULL when memory is exhausted.
static char *path_of(const char *dir, const char *name, struct error *err)
{
    char *path = file_join(dir, name);
    if (path == NULL)
        FAIL(err, ERR_NOMEM, "%s: no memory for a path", dir);
    return path;
}

static enum status write_file(const char *dir, const char *name, const struct str *text,
                              struct error *err)
{
    if (text->failed)
        return FAIL(err, ERR_NOMEM, "%s/%s: no memory for it", dir, name);
    char *path = path_of(dir, name, err);
    enum status status = path ? file_write(path, str_text(text), text->length, err) : err->code;
    free(path);
    return status;
}

// Whether a file of the working folder belongs to the report; data files do not.
static bool wanted(const char *name, unsigned formats)
{
    if (str_ends(name, ".svg"))
        return formats & REPORT_HTML;
    if (str_ends(name, ".png"))
        return formats & REPORT_PNG;
    return str_ends(name, ".html") || str_ends(name, ".csv");
}

typedef enum status entry_action(const char *work, const char *dir, const char *name,
                                 unsigned formats, struct error *err);

static enum status move_entry(const char *work, const char *dir, const char *name, unsigned formats,
                              struct error *err)
{
    if (!wanted(name, formats))
        return OK;
    char *from = path_of(work, name, err), *to = path_of(dir, name, err);
    enum status status = from && to ? OK : err->code;
    if (status == OK && rename(from, to) != 0)
        status = FAIL_OS(err, errno, "%s", to);
    free(from);
    free(to);
    return status;
}

static enum status remove_entry(const char *work, const char *dir, const char *name,
                                unsigned formats, struct error *err)
{
    (void)dir, (void)formats;
    char *path = path_of(work, name, err);
    if (path)
        unlink(path);
    free(path);
    return OK;
}

static enum status for_entries(const char *work, const char *dir, unsigned formats,
                               entry_action *action, struct error *err)
{
    DIR *folder = opendir(work);
    if (folder == NULL)
        return FAIL_OS(err, errno, "%s", work);
    enum status status = OK;
    for (struct dirent *e; status == OK && (e = readdir(folder)) != NULL;)
        if (!str_equal(e->d_name, ".") && !str_equal(e->d_name, ".."))
            status = action(work, dir, e->d_name, formats, err);
    closedir(folder);
    return status;
}

// The working folder is inside the report's folder, so that renames stay within one file system. Folders of killed
// reports are removed first.
#define WORK_STEM ".report"
#define WORK_MARK ".tmp-"

static enum status make_work_dir(const char *dir, char **work, struct error *err)
{
    TRY(file_make_dirs(dir, err));
    file_sweep(dir, WORK_STEM, WORK_MARK);
    char *stem = path_of(dir, WORK_STEM, err);
    enum status status = stem ? file_temporary_dir(stem, WORK_MARK, work, err) : err->code;
    free(stem);
    return status;
}

static void remove_work_dir(char *work)
{
    struct error ignored = {0};
    if (work == NULL)
        return;
    for_entries(work, NULL, 0, remove_entry, &ignored);
    rmdir(work);
    free(work);
}

// ---- content ------------------------------------------------------------------------------------

static enum status write_page(const struct report_data *data, const struct pictures *pictures,
                              const char *work, struct error *err)
{
    struct str page = {0};
    char *css = NULL;
    enum status status = page_css(&css, err);
    if (status == OK) {
        page_write(&page, data, pictures, css);
        status = write_file(work, "index.html", &page, err);
    }
    str_fini(&page);
    free(css);
    return status;
}

static enum status write_csv(struct store *store, const char *run, const char *work,
                             struct error *err)
{
    struct str csv = {0};
    enum status status = export_csv(store, run, &csv, err);
    if (status == OK)
        status = write_file(work, "cells.csv", &csv, err);
    str_fini(&csv);
    return status;
}

// `missing`: why some or all pictures are missing.
static enum status make_pictures(const struct report_data *data,
                                 const struct report_options *options, const char *work,
                                 struct error *missing, struct error *err)
{
    struct pictures pictures;
    const struct gnuplot gnuplot = {options->gnuplot, options->timeout_ms};
    TRY(pictures_draw(data, &gnuplot, work, &pictures, err));
    error_replace(&pictures.failure, work, options->dir); // the page prints it
    *missing = pictures.failure;
    error_context(missing, "pictures are missing");
    enum status status = OK;
    if (options->formats & REPORT_HTML)
        status = write_page(data, &pictures, work, err);
    pictures_fini(&pictures);
    return status;
}

static enum status make_files(struct store *store, const char *run, const struct report_data *data,
                              const struct report_options *options, const char *work,
                              struct error *missing, struct error *err)
{
    if (options->formats & (REPORT_HTML | REPORT_PNG))
        TRY(make_pictures(data, options, work, missing, err));
    return options->formats & REPORT_CSV ? write_csv(store, run, work, err) : OK;
}

// Whether only pictures were requested and they are incomplete: the folder then keeps its old files.
static bool is_nothing(const struct report_options *options, const struct error *missing)
{
    return missing->code != OK && !(options->formats & (REPORT_HTML | REPORT_CSV));
}

// Missing pictures become a note if gnuplot is not installed and they were not requested.
static enum status conclude(const struct report_options *options, const struct error *missing,
                            struct str *note, struct error *err)
{
    if (missing->code == ERR_UNSUPPORTED && !options->need_pictures)
        str_append(note, missing->message);
    else if (missing->code != OK)
        *err = *missing;
    return err->code;
}

enum status report_write(struct store *store, const char *run, const struct report_options *options,
                         char **index, struct str *note, struct error *err)
{
    struct report_data data;
    struct error missing = {0};
    char *work = NULL, number[24];
    *index = NULL;
    TRY(report_data_load(store, run, &data, err));
    // From here on the run is named by its number, because "last" may mean another one by now.
    snprintf(number, sizeof number, "%lld", (long long)data.run.id);
    bool had_dir = file_is_dir(options->dir);
    enum status status = make_work_dir(options->dir, &work, err);
    if (status == OK)
        status = make_files(store, number, &data, options, work, &missing, err);
    if (status == OK && is_nothing(options, &missing)) {
        *err = missing;
        status = err->code;
    }
    if (status == OK)
        status = for_entries(work, options->dir, options->formats, move_entry, err);
    if (status == OK) {
        *index = options->formats & REPORT_HTML ? path_of(options->dir, "index.html", err)
                                                : strdup(options->dir);
        status = *index ? OK : FAIL(err, ERR_NOMEM, "no memory for a path");
    }
    error_replace(err, work, options->dir);
    remove_work_dir(work);
    if (status != OK && !had_dir)
        rmdir(options->dir); // only if it is empty
    if (status == OK)
        status = conclude(options, &missing, note, err);
    report_data_fini(&data);
    return status;
}
