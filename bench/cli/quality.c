// quality.c - `bench quality MODEL`: perplexity of a scheme, and its distance from the same model in f32.
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/home.h"
#include "base/os.h"
#include "base/plain.h"
#include "base/str.h"
#include "base/words.h"
#include "bench/cli/checkpoint.h"
#include "bench/cli/command.h"
#include "bench/cli/device_flag.h"
#include "bench/cli/progress.h"
#include "bench/cli/values.h"
#include "bench/cli/view.h"
#include "bench/probe/probe.h"
#include "bench/quality/quality.h"
#include "results/export.h"
#include "results/metric.h"

struct quality_request {
    const struct quality_convention *convention;
    const char *text_path; // borrowed, or own_path
    char *own_path;        // owned: a text among the program's own files
    const char *calib;     // NULL: the program's own
    struct scheme scheme;  // the table's row with the requested head
    enum dtype kv;
    struct checkpoint *ck;
    struct device *device;
    struct model *model, *baseline; // may be the same
    struct quality_text text;
    char why[256]; // the reason why nothing is compared with f32
    struct quality quality;
    struct progress progress;
};

// ---- the request ------------------------------------------------------------------------------------

static enum status convention_read(const char *name, const struct quality_convention **out,
                                   struct error *err)
{
    char hint[WORDS_HINT_BYTES];
    *out = quality_convention_find(name);
    if (*out)
        return OK;
    return FAIL(err, ERR_USAGE, "--convention: unknown convention '%s'%s", name,
                cli_values_hint(&cli_values_convention, name, hint, sizeof hint));
}

// Finds the text at the given path, else among the program's own files.
static enum status text_find(const char *name, struct quality_request *r, struct error *err)
{
    r->text_path = name;
    if (access(name, R_OK) == 0)
        return OK;
    r->own_path = home_find(name);
    if (r->own_path)
        r->text_path = r->own_path;
    return r->own_path ? OK : FAIL(err, ERR_USAGE, "--text: there is no file %s", name);
}

static enum status request_read(const struct arguments *args, struct quality_request *r,
                                struct error *err)
{
    if (cli_flag_int(args, "windows") < 0)
        return FAIL(err, ERR_USAGE, "--windows cannot be negative");
    TRY(convention_read(cli_flag_string(args, "convention"), &r->convention, err));
    machine_limit_memory(
        0); // so an allocation that does not fit is an error of one line, not a killed process
    TRY(cli_device_open(args, cli_flag_int(args, "threads"), NULL, &r->device, err));
    TRY(cli_scheme_flags_read(args, device_target(r->device), &r->scheme, &r->kv, err));
    TRY(cli_calib_read(args, r->scheme.name, &r->calib, err));
    TRY(text_find(cli_flag_string(args, "text"), r, err));
    TRY(cli_checkpoint_or_shape_find(cli_positional(args, 0), &r->ck, err));
    return quality_check(r->ck, r->convention, err);
}

static enum status read_text(struct quality_request *r, struct error *err)
{
    struct tokenizer *tok = NULL;
    TRY(checkpoint_tokenizer(r->ck, &tok, err));
    if (!tok)
        return FAIL(err, ERR_UNSUPPORTED, "the model has no tokenizer");
    enum status status = quality_text_read(r->text_path, r->convention, tok,
                                           checkpoint_config(r->ck), &r->text, err);
    tokenizer_destroy(tok);
    return status == OK ? quality_check_length(r->convention, &r->text, err) : status;
}

static enum status load_models(struct quality_request *r, struct error *err)
{
    struct engine_options options = {.device = r->device,
                                     .scheme = &r->scheme,
                                     .calib = r->calib,
                                     .calibrating = cli_progress_calibrating};
    const char *name = checkpoint_config(r->ck)->name;
    cli_progress_begin(&r->progress, "loading", name);
    model_load(r->ck, &options, cli_progress_update, &r->progress, &r->model, err);
    TRY(cli_progress_finish(&r->progress, err));
    struct quality_baseline baseline = {
        .ck = r->ck,
        .model = r->model,
        .kv = r->kv,
        .convention = r->convention,
        .options = &options,
        .free_bytes = machine_room_bytes(),
        .progress = cli_progress_update,
        .user = &r->progress,
    };
    cli_progress_begin(&r->progress, "loading f32 of", name);
    quality_baseline_load(&baseline, &r->baseline, r->why, sizeof r->why, err);
    return cli_progress_finish(&r->progress, err);
}

static enum status measure(const struct arguments *args, struct quality_request *r,
                           struct error *err)
{
    struct quality_input in = {
        .model = r->model,
        .kv = r->kv,
        .baseline = r->baseline,
        .convention = r->convention,
        .text = &r->text,
        .windows = (size_t)cli_flag_int(args, "windows"),
        .pool = device_pool(r->device),
        .progress = cli_progress_update,
        .user = &r->progress,
    };
    cli_progress_begin(&r->progress, "evaluating", model_config(r->model)->name);
    quality_measure(&in, &r->quality, err);
    return cli_progress_finish(&r->progress, err);
}

static void request_fini(struct quality_request *r)
{
    if (r->baseline != r->model)
        model_destroy(r->baseline);
    model_destroy(r->model);
    device_close(r->device);
    checkpoint_destroy(r->ck);
    quality_text_fini(&r->text);
    free(r->own_path);
}

// ---- output -----------------------------------------------------------------------------------------

static json_t *calibration_json(const struct calibration *c)
{
    if (!c)
        return json_null();
    return json_pack("{s:o, s:s, s:o, s:b}", "path", export_json_text(c->path), "text_hash",
                     c->text, "time_ns", export_json_number(c->time_ns), "kept", c->kept);
}

static enum status print_json(const struct quality_request *r, struct error *err)
{
    const struct quality *q = &r->quality;
    json_t *root = json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:i, s:o, s:s, s:I, s:I, s:i}",
                             "model", export_json_text(model_config(r->model)->name), "scheme",
                             r->scheme.name, "arithmetic", model_scheme(r->model)->arithmetic,
                             "head", storage_name(r->scheme.head), "kv", storage_name(r->kv),
                             "convention", r->convention->name, "window", r->convention->window,
                             "text", export_json_text(r->text_path), "text_hash", r->text.hash,
                             "documents", (json_int_t)r->text.documents, "text_tokens",
                             (json_int_t)r->text.count, "threads", cli_device_threads(r->device));
    for (const struct quality_figure *f = quality_figures; f->metric; f++)
        if (!str_starts(f->metric, "quality_")) // counts and time have shorter names below
            json_object_set_new(root, f->metric, export_json_number(quality_get(q, f)));
    json_object_set_new(root, "windows", json_integer((json_int_t)q->windows));
    json_object_set_new(root, "tokens", json_integer((json_int_t)q->tokens));
    json_object_set_new(root, "time_ns", export_json_number(q->time_ns));
    json_object_set_new(root, "kl_divergence", export_json_number(q->kl_mean));
    json_object_set_new(root, "baseline", r->baseline ? json_string("f32") : json_null());
    json_object_set_new(root, "note", export_json_text(r->why));
    json_object_set_new(root, "calibration", calibration_json(model_calibration(r->model)));
    return cli_view_json(root, err);
}

static void print_text(const struct quality_request *r)
{
    const struct quality *q = &r->quality;
    plain_printf(stdout, "%s, %s (%s), head %s, kv %s\n", model_config(r->model)->name,
                 r->scheme.name, model_scheme(r->model)->arithmetic, storage_name(r->scheme.head),
                 storage_name(r->kv));
    printf("%s: %s\n", r->convention->name, r->convention->words);
    plain_printf(stdout, "%s: %.0f windows, %.0f tokens scored, in %.1f s\n\n", r->text_path,
                 q->windows, q->tokens, q->time_ns / 1e9);
    printf("perplexity     %.4f  (ln: %.5f +- %.5f)\n", q->perplexity, log(q->perplexity),
           q->ln_stderr);
    if (!r->baseline) {
        plain_printf(stdout, "%s\n", r->why);
        return;
    }
    printf("of f32         %.4f  (this is %+.3f %%, +- %.3f)\n", q->perplexity_f32,
           100 * expm1(q->ln_ratio), 100 * q->ln_ratio_stderr);
    printf("KL divergence  mean %.6f  median %.6f  99 %% %.6f  largest %.4f nat\n", q->kl_mean,
           q->kl_median, q->kl_p99, q->kl_max);
    printf("same top       %.3f %%\n", 100 * q->same_top);
    printf("delta-p        mean %+.4f %%  RMS %.4f %%\n", 100 * q->dp_mean, 100 * q->dp_rms);
    printf("  quantiles    1 %% %+.3f  5 %% %+.3f  25 %% %+.3f  50 %% %+.3f  75 %% %+.3f  95 %% "
           "%+.3f  99 %% %+.3f %%\n",
           100 * q->dp_p1, 100 * q->dp_p5, 100 * q->dp_p25, 100 * q->dp_median, 100 * q->dp_p75,
           100 * q->dp_p95, 100 * q->dp_p99);
    if (r->baseline == r->model && r->kv == DT_F32)
        printf("this is the f32 run itself: its distance from itself is zero\n");
}

static enum exit_code quality_run(const struct arguments *args, struct error *err)
{
    struct quality_request r = {0};
    if (request_read(args, &r, err) == OK && read_text(&r, err) == OK &&
        load_models(&r, err) == OK && measure(args, &r, err) == OK) {
        if (cli_flag_bool(args, "json"))
            print_json(&r, err);
        else
            print_text(&r);
    }
    request_fini(&r);
    return cli_exit_code(err);
}

static const struct flag flags[] = {
    {"scheme", 's', FLAG_STRING, "NAME", "bf16", "how weights are stored and multiplied",
     &cli_values_scheme},
    {"text", 0, FLAG_STRING, "FILE", "models/reference/eval.txt",
     "text to predict; never a calibration text", &cli_values_file},
    {"calib", 0, FLAG_STRING, "FILE", NULL,
     "int4-awq: calibration text; default: the program's own", &cli_values_file},
    {"convention", 0, FLAG_STRING, "NAME", "half-512", "which tokens are scored, in which windows",
     &cli_values_convention},
    {"windows", 'n', FLAG_INT, "N", "0", "only the first N; 0: all"},
    {"kv", 0, FLAG_STRING, "TYPE", NULL, "type of the KV cache; default: the scheme's",
     &cli_values_kv},
    {"head", 0, FLAG_STRING, "TYPE", NULL, "type of head and embedding; default: the scheme's",
     &cli_values_head},
    DEVICE_FLAG,
    {"threads", 't', FLAG_INT, "N", "0", "0: one per physical core"},
    {"json", 0, FLAG_BOOL, NULL, NULL, "print JSON"},
    {0},
};

const struct command command_quality = {
    .name = "quality",
    .positional = "MODEL",
    .min_positional = 1,
    .max_positional = 1,
    .accepts = {&cli_values_model_file},
    .summary = "perplexity of a model in a scheme, and its distance from f32",
    .details =
        "MODEL is a Hugging Face folder or a .gguf file. Conventions:\n"
        "  half-512   windows of 512, the second half scored; bos before each document\n"
        "  llama-512  llama-perplexity's: windows of 512, the last 255 scored, bos as its "
        "tokenizer has it\n"
        "  full-2048  windows of 2048 that do not overlap, every token but the first scored\n"
        "Figures of different conventions cannot be compared. The same model in f32 runs next to "
        "it\n"
        "if both fit into memory.",
    .flags = flags,
    .run = quality_run,
};
