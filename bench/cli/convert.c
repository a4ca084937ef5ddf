// convert.c - `bench convert IN -o X.gguf`: writes any checkpoint as one GGUF file, so that another engine can run
// exactly these weights.
#include <jansson.h>
#include <stdio.h>

#include "base/plain.h"
#include "base/str.h"
#include "bench/cli/checkpoint.h"
#include "bench/cli/command.h"
#include "bench/cli/progress.h"
#include "bench/cli/values.h"
#include "bench/cli/view.h"
#include "engine/engine.h"

static void print_report(const char *path, const struct conversion *c)
{
    char size[32];
    plain_printf(stdout, "%s: %zu tensors, %s\n", path, c->tensors,
                 format_bytes((double)c->data_bytes, size, sizeof size));
    if (c->unblocked)
        printf("  %zu of them as f16: their rows are no whole blocks\n", c->unblocked);
    if (c->no_tokenizer[0])
        plain_printf(stdout, "  without a tokenizer: %s\n", c->no_tokenizer);
}

static enum status print_json(const char *path, const struct conversion *c, struct error *err)
{
    json_t *root =
        json_pack("{s:s, s:I, s:I, s:I, s:o}", "path", path, "tensors", (json_int_t)c->tensors,
                  "as_f16", (json_int_t)c->unblocked, "data_bytes", (json_int_t)c->data_bytes,
                  "no_tokenizer", c->no_tokenizer[0] ? json_string(c->no_tokenizer) : json_null());
    if (!root)
        return FAIL(err, ERR_NOMEM, "the report as JSON");
    json_dumpf(root, stdout, JSON_INDENT(2) | cli_view_json_ascii(stdout));
    putchar('\n');
    json_decref(root);
    return OK;
}

static enum exit_code convert_run(const struct arguments *args, struct error *err)
{
    const char *in = cli_positional(args, 0), *out = cli_flag_string(args, "output");
    struct checkpoint *ck = NULL;
    struct conversion report;
    struct progress progress;
    bool interrupted = false; // a signal asked to stop, perhaps too late
    if (!out) {
        FAIL(err, ERR_USAGE, "-o FILE is missing");
        return EXIT_ERROR;
    }
    if (cli_checkpoint_or_shape_find(in, &ck, err) == OK) {
        cli_progress_begin(&progress, "converting", checkpoint_config(ck)->name);
        checkpoint_convert(ck, cli_flag_string(args, "type"), out, cli_progress_update, &progress,
                           &report, err);
        interrupted = !cli_progress_end(&progress);
    }
    if (err->code == OK && cli_flag_bool(args, "json"))
        print_json(out, &report, err);
    else if (err->code == OK)
        print_report(out, &report);
    checkpoint_destroy(ck);
    return interrupted ? EXIT_INTERRUPTED : cli_exit_code(err);
}

static const struct flag flags[] = {
    {"output", 'o', FLAG_STRING, "FILE", NULL, "the file to write; it must not exist",
     &cli_values_file},
    {"type", 't', FLAG_STRING, "TYPE", NULL,
     "type of the matrices; default: a plain type that holds the stored values exactly",
     &cli_values_convert_type},
    {"json", 0, FLAG_BOOL, NULL, NULL, "the result as one JSON object"},
    {0},
};

const struct command command_convert = {
    .name = "convert",
    .positional = "MODEL",
    .min_positional = 1,
    .max_positional = 1,
    .accepts = {&cli_values_model},
    .summary = "write a model as a GGUF file",
    .details = "MODEL is a Hugging Face folder, a .gguf file, a config.json or the name of a "
               "shape. Without "
               "--type, plain weights keep their type, and the codes of quantized ones become f32, "
               "which holds "
               "their values exactly. Vectors stay f32.",
    .flags = flags,
    .run = convert_run,
};
