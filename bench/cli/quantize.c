// quantize.c - `bench quantize MODEL --scheme S -o OUT`: writes a quantized folder that other programs can read too.
#include <jansson.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/plain.h"
#include "base/str.h"
#include "bench/cli/checkpoint.h"
#include "bench/cli/command.h"
#include "bench/cli/progress.h"
#include "bench/cli/values.h"
#include "bench/cli/view.h"
#include "bench/probe/probe.h"
#include "engine/engine.h"

static uint64_t stored_size(const struct checkpoint *ck)
{
    struct tensor_class classes[16];
    uint64_t bytes = 0;
    size_t count = checkpoint_tensor_classes(ck, classes, 16);
    for (size_t i = 0; i < count; i++)
        bytes += classes[i].bytes;
    return bytes;
}

// Reads back what was written, with the checks that any folder gets.
static enum status report(const struct arguments *args, const struct checkpoint *source,
                          const char *out, uint64_t time_ns, struct error *err)
{
    struct checkpoint *made = NULL;
    char before[32], after[32], took[32];
    TRY(checkpoint_open(out, &made, err));
    uint64_t bytes = stored_size(made);
    const struct checkpoint_quantization *q = checkpoint_quantization(made);
    if (cli_flag_bool(args, "json")) {
        json_t *root = json_pack("{s:s, s:s, s:s, s:I, s:I, s:f}", "path", out, "scheme",
                                 cli_flag_string(args, "scheme"), "layout", q ? q->text : "",
                                 "bytes", (json_int_t)bytes, "source_bytes",
                                 (json_int_t)stored_size(source), "seconds", (double)time_ns / 1e9);
        json_dumpf(root, stdout, JSON_INDENT(2) | cli_view_json_ascii(stdout));
        putchar('\n');
        json_decref(root);
    } else {
        plain_printf(stdout, "%s: %s, %s (from %s) in %s\n", out, q ? q->text : "",
                     format_bytes((double)bytes, after, sizeof after),
                     format_bytes((double)stored_size(source), before, sizeof before),
                     format_time_ns((double)time_ns, took, sizeof took));
    }
    checkpoint_destroy(made);
    return OK;
}

// *interrupted: a signal asked to stop, perhaps too late.
static enum status quantize(const struct arguments *args, const struct checkpoint *ck,
                            struct device *device, const char *calib, bool *interrupted,
                            struct error *err)
{
    const char *out = cli_flag_string(args, "output");
    struct quantize_options options = {.scheme = cli_flag_string(args, "scheme"),
                                       .group = (int)cli_flag_int(args, "group"),
                                       .device = device,
                                       .calib = calib};
    struct progress progress;
    uint64_t begin = clock_ns();
    cli_progress_begin(&progress, "quantizing", checkpoint_config(ck)->name);
    enum status status =
        checkpoint_quantize(ck, &options, out, cli_progress_update, &progress, err);
    *interrupted = !cli_progress_end(&progress);
    return status == OK ? report(args, ck, out, clock_ns() - begin, err) : status;
}

static enum status check_arguments(const struct arguments *args, const char **calib,
                                   struct error *err)
{
    int64_t group = cli_flag_int(args, "group");
    char hint[WORDS_HINT_BYTES];
    if (!cli_flag_string(args, "scheme"))
        return FAIL(err, ERR_USAGE, "--scheme is missing%s",
                    cli_values_hint(&cli_values_quantize_scheme, "", hint, sizeof hint));
    if (!cli_flag_string(args, "output"))
        return FAIL(err, ERR_USAGE, "-o is missing: the folder to create");
    if (group < 8 || group > 1 << 20 || group % 8)
        return FAIL(err, ERR_USAGE, "--group %lld: must be a multiple of 8, at least 8",
                    (long long)group);
    if (cli_flag_given(args, "group") && !str_starts(cli_flag_string(args, "scheme"), "int4"))
        return FAIL(err, ERR_USAGE, "--group: only int4 has groups");
    return cli_calib_read(args, cli_flag_string(args, "scheme"), calib, err);
}

static enum exit_code quantize_run(const struct arguments *args, struct error *err)
{
    struct checkpoint *ck = NULL;
    struct device *device = NULL;
    const char *calib = NULL;
    struct device_options options = {.pin = true, .isa = ISA_ALL};
    bool interrupted = false;
    machine_limit_memory(
        0); // so an allocation that does not fit is an error of one line, not a killed process
    if (check_arguments(args, &calib, err) == OK &&
        cli_checkpoint_find(cli_positional(args, 0), &ck, err) == OK &&
        device_open(DEVICE_DEFAULT, &options, &device, err) == OK)
        quantize(args, ck, device, calib, &interrupted, err);
    device_close(device);
    checkpoint_destroy(ck);
    return interrupted ? EXIT_INTERRUPTED : cli_exit_code(err);
}

static const struct flag flags[] = {
    {"scheme", 's', FLAG_STRING, "S", NULL, "how the weights are rounded",
     &cli_values_quantize_scheme},
    {"output", 'o', FLAG_STRING, "OUT", NULL, "the folder to create; it must not exist",
     &cli_values_folder},
    {"calib", 0, FLAG_STRING, "FILE", NULL,
     "int4-awq: UTF-8 calibration text, with lines of a form feed between documents; default: the "
     "text shipped with the program",
     &cli_values_file},
    {"group", 0, FLAG_INT, "N", "128", "int4: inputs per scale"},
    {"json", 0, FLAG_BOOL, NULL, NULL, "the result as one JSON object"},
    {0},
};

const struct command command_quantize = {
    .name = "quantize",
    .positional = "MODEL",
    .min_positional = 1,
    .max_positional = 1,
    .accepts = {&cli_values_model_file},
    .summary = "write a quantized copy of a model that other programs read",
    .details =
        "MODEL is a Hugging Face folder. int4 is written as AutoAWQ's gemm layout, int8 and fp8 as "
        "compressed-tensors. Embedding and head are not quantized. int4-awq runs the model on the "
        "calibration text first.",
    .flags = flags,
    .run = quantize_run,
};
