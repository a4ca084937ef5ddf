// export.c - `bench export`: writes a run for other programs, as JSON or CSV.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/plain.h"
#include "base/words.h"
#include "bench/cli/values.h"
#include "bench/cli/view.h"
#include "results/export.h"

static const struct flag flags[] = {
    {"format", 0, FLAG_STRING, "FORMAT", "json",
     "json has everything, csv the figures of the cells", &cli_values_export_format},
    {"output", 'o', FLAG_STRING, "FILE", NULL,
     "file to write, whole or not at all (default: standard output)", &cli_values_file},
    {"db", 0, FLAG_STRING, "FILE", NULL, "database to read", &cli_values_file},
    {"json", 0, FLAG_BOOL, NULL, NULL, "the same as --format json"},
    {0},
};

// out: NULL if the text goes to a file.
static enum status to_text(struct store *store, const char *run, bool csv, FILE *out,
                           struct str *text, struct error *err)
{
    json_t *root = NULL;
    if (csv)
        return export_csv(store, run, text, err);
    TRY(export_json(store, run, &root, err));
    char *dump =
        json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17) | cli_view_json_ascii(out));
    json_decref(root);
    if (dump) {
        str_append(text, dump);
        str_append(text, "\n");
    }
    free(dump);
    return dump && !text->failed ? OK : FAIL(err, ERR_NOMEM, "no memory for the export");
}

static enum status write_text(const char *path, const struct str *text, struct error *err)
{
    if (path)
        return file_write(path, str_text(text), text->length, err);
    plain_write(stdout, str_text(text), text->length); // main reports output errors
    return OK;
}

static enum status unknown_format(const char *format, struct error *err)
{
    char hint[WORDS_HINT_BYTES];
    return FAIL(err, ERR_USAGE, "--format: unknown format '%s'%s", format,
                cli_values_hint(&cli_values_export_format, format, hint, sizeof hint));
}

static enum exit_code run_export(const struct arguments *args, struct error *err)
{
    const char *format = cli_flag_string(args, "format"), *output = cli_flag_string(args, "output");
    bool csv = str_equal(format, "csv") && !cli_flag_bool(args, "json");
    struct store *store = NULL;
    struct str text = {0};
    if (!csv && !str_equal(format, "json") && !cli_flag_bool(args, "json"))
        unknown_format(format, err);
    else if (command_check_output(args, "--output", output, err) == OK &&
             cli_view_open(args, &store, err) == OK &&
             to_text(store, cli_positional(args, 0), csv, output ? NULL : stdout, &text, err) == OK)
        write_text(output, &text, err);
    str_fini(&text);
    store_close(store);
    return cli_exit_code(err);
}

const struct command command_export = {
    .name = "export",
    .positional = "[RUN]",
    .max_positional = 1,
    .accepts = {&cli_values_run},
    .summary = "write a run as JSON or CSV",
    .details = "RUN is a run's number, \"last\" (the default) or the name of a suite.",
    .flags = flags,
    .run = run_export,
};
