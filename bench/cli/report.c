// report.c - `bench report`: writes one run of the store as a page with pictures.
#include <stdio.h>
#include <stdlib.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/plain.h"
#include "base/str.h"
#include "bench/cli/values.h"
#include "bench/cli/view.h"
#include "bench/suite/suite.h"
#include "report/gnuplot.h"
#include "report/report.h"

static const struct flag flags[] = {
    {"output", 'o', FLAG_STRING, "DIR", "report-out", "folder to write, created if missing",
     &cli_values_folder},
    {"db", 0, FLAG_STRING, "FILE", NULL, "database to read", &cli_values_file},
    {"format", 0, FLAG_STRING, "LIST", NULL,
     "what to write; default: `formats` in [report] of bench.conf (html, png)",
     &cli_values_report_format},
    {"gnuplot", 0, FLAG_STRING, "PROGRAM", "gnuplot", "program that draws the pictures",
     &cli_values_file},
    {"timeout", 0, FLAG_INT, "SECONDS", "20", "time limit of one picture"},
    {0},
};

enum status command_report_formats(const struct arguments *args, unsigned *formats,
                                   struct error *err)
{
    const char *given = cli_flag_string(args, "format");
    if (given)
        return report_formats(given, formats, err) == OK ? OK : error_context(err, "--format");
    struct suite config;
    const char *path = NULL;
    struct str text = {0};
    TRY(command_config(&config, &path, err));
    for (size_t i = 0; i < config.report.formats.count; i++)
        str_printf(&text, "%s%s", i ? "," : "", config.report.formats.items[i]);
    enum status status = report_formats(str_text(&text), formats, err);
    str_fini(&text);
    suite_fini(&config);
    return status;
}

static enum status write_report(const struct arguments *args, struct error *err)
{
    struct store *store = NULL;
    struct report_options options = {.dir = cli_flag_string(args, "output"),
                                     .gnuplot = cli_flag_string(args, "gnuplot"),
                                     .need_pictures = cli_flag_given(args, "gnuplot")};
    int64_t timeout_s = cli_flag_int(args, "timeout");
    if (timeout_s < 1 || timeout_s > 3600)
        return FAIL(err, ERR_USAGE, "--timeout %lld: 1 to 3600 seconds expected",
                    (long long)timeout_s);
    options.timeout_ms = (int)timeout_s * 1000;
    TRY(command_report_formats(args, &options.formats, err));
    if (cli_flag_given(args, "gnuplot") && gnuplot_check(options.gnuplot, err) != OK)
        return error_context(err, "--gnuplot");
    if (cli_flag_given(args, "format"))
        options.need_pictures |= (options.formats & REPORT_PNG) != 0;
    TRY(cli_view_open(args, &store, err));
    char *index = NULL;
    struct str note = {0};
    enum status status = report_write(store, cli_positional(args, 0), &options, &index, &note, err);
    if (note.length)
        log_line(LOG_WARN, "%s", str_text(&note));
    if (index) // the page is in place, perhaps without its pictures
        plain_printf(stdout, "%s\n", index);
    str_fini(&note);
    free(index);
    store_close(store);
    return status;
}

static enum exit_code run_report(const struct arguments *args, struct error *err)
{
    struct interrupt interrupt;
    interrupt_begin(&interrupt);
    write_report(args, err);
    interrupt_end(&interrupt);
    return cli_exit_code(err);
}

const struct command command_report = {
    .name = "report",
    .positional = "[RUN]",
    .max_positional = 1,
    .accepts = {&cli_values_run},
    .summary = "write a run as one page with pictures",
    .details =
        "RUN is a run's number, \"last\" (the default) or a suite's name for its newest run.\n"
        "The last line printed is the path of the page. Without gnuplot the page has tables\n"
        "and a note instead of pictures; that is an error if png or --gnuplot is given.",
    .flags = flags,
    .run = run_report,
};
