// pages.h - a made-up store, its report, and what every page must be.
#ifndef TESTS_REPORT_PAGES_H
#define TESTS_REPORT_PAGES_H

#include "tests/results/fixture.h"

#include <dirent.h>
#include <sys/stat.h>

#include "base/file.h"
#include "report/report.h"
#include "tests/report/make_store.h"

static inline struct store *made(const char *path, struct made_store what)
{
    struct error err = {0};
    int64_t run = 0;
    struct store *store = open_or_fail(path, STORE_WRITE);
    what.trials = what.trials ? what.trials : 3;
    what.reps = 2;
    what.seed = 11;
    must(make_run(store, &what, &run, &err), &err);
    return store;
}

static inline struct made_store small(const char *name)
{
    return (struct made_store){.models = 1,
                               .schemes = 2,
                               .batches = 2,
                               .contexts = 3,
                               .model_name = name,
                               .failures = true,
                               .quality = true};
}

// Options of a report into the folder "out" of the fixture, whose path is put into `dir`.
static inline struct report_options report_to(const struct fixture *f, char dir[128],
                                              unsigned formats, const char *gnuplot, int timeout_ms)
{
    snprintf(dir, 128, "%s/out", f->dir);
    return (struct report_options){
        .dir = dir, .formats = formats, .gnuplot = gnuplot, .timeout_ms = timeout_ms};
}

// Writes a report and returns the page, which is in place even where the status is not OK; note and error go to `note`.
static inline char *page_of_status(const struct fixture *f, struct store *store,
                                   const char *gnuplot, int timeout_ms, enum status status,
                                   struct str *note)
{
    static char *text; // static: gcc 12 takes the page for the address of a local
    char dir[128], *index = NULL;
    struct error err = {0};
    size_t size = 0;
    struct report_options options =
        report_to(f, dir, REPORT_HTML | REPORT_PNG | REPORT_CSV, gnuplot, timeout_ms);
    assert_int_equal(report_write(store, NULL, &options, &index, note, &err), status);
    str_append(note, err.message);
    error_clear(&err);
    assert_non_null(index);
    must(file_read(index, 1 << 24, &text, &size, &err), &err);
    assert_int_equal(strlen(text), size);
    free(index);
    return text;
}

static inline char *page_of(const struct fixture *f, struct store *store, const char *gnuplot,
                            int timeout_ms, struct str *note)
{
    return page_of_status(f, store, gnuplot, timeout_ms, OK, note);
}

static inline size_t files_in(const char *dir, const char *ending)
{
    size_t count = 0;
    DIR *folder = opendir(dir);
    assert_non_null(folder);
    for (struct dirent *e; (e = readdir(folder));) {
        size_t n = strlen(e->d_name), k = strlen(ending);
        count += e->d_name[0] != '.' && n >= k && strcmp(e->d_name + n - k, ending) == 0;
        assert_false(str_starts(e->d_name, ".report")); // no working folder is left
    }
    closedir(folder);
    return count;
}

static inline void has(const char *page, const char *text)
{
    if (!strstr(page, text))
        fail_msg("the page does not say '%s'", text);
}

// Elements that must be closed are, in order; attributes and text hold no bare '<'.
static inline void check_nesting(const char *page)
{
    static const char *const void_elements[] = {"meta", "br", "!doctype", "th", NULL};
    char open[256][16];
    size_t depth = 0;
    for (const char *p = strchr(page, '<'); p; p = strchr(p + 1, '<')) {
        char name[16] = "";
        bool closing = p[1] == '/';
        size_t n = strcspn(p + 1 + closing, " >\t\n/");
        const char *end = p + 1;
        char quote = 0;
        for (; *end && (quote || *end != '>'); end++)
            if (quote ? *end == quote : *end == '"' || *end == '\'')
                quote = quote ? 0 : *end;
        assert_int_equal(*end, '>');
        snprintf(name, sizeof name, "%.*s", (int)(n < 15 ? n : 15), p + 1 + closing);
        bool single = end[-1] == '/';
        for (size_t i = 0; void_elements[i]; i++)
            single |= str_equal(name, void_elements[i]);
        if (closing && !single) {
            assert_true(depth > 0);
            depth--;
            if (strcmp(open[depth], name) != 0)
                fail_msg("<%s> is closed by </%s> at: %.60s", open[depth], name, p);
        } else if (!single) {
            assert_true(depth < 256);
            strcpy(open[depth++], name);
        }
        if (str_equal(name, "style") && !closing)
            end = strstr(end, "</style") - 1;
        p = end;
    }
    assert_int_equal(depth, 0);
}

#endif
