// logits.c - `bench model logits MODEL`: the raw logits of a prompt, to compare with another engine.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/str.h"
#include "bench/cli/checkpoint.h"
#include "bench/cli/command.h"
#include "bench/cli/device_flag.h"
#include "bench/cli/progress.h"
#include "bench/cli/values.h"
#include "bench/probe/probe.h"

enum { MAX_IDS = 1 << 16 };

struct logits_request {
    struct checkpoint *ck;
    struct device *device;
    struct model *model;
    struct context *ctx;
    int32_t *ids;
    size_t count;
    int vocab, chunk;
    float *rows; // (count, vocab)
};

static enum status parse_ids(const char *text, struct logits_request *r, struct error *err)
{
    char *words = strdup(text), *rest = NULL;
    r->ids = calloc(strlen(text) + 1, sizeof *r->ids);
    if (!words || !r->ids)
        FAIL(err, ERR_NOMEM, "no memory for the ids");
    for (char *word = err->code == OK ? strtok_r(words, ", ", &rest) : NULL; word;
         word = strtok_r(NULL, ", ", &rest)) {
        int64_t id;
        if (!str_to_i64(word, &id) || id < 0 || id > INT32_MAX) {
            FAIL(err, ERR_USAGE, "--ids: '%s' is no id", word);
            break;
        }
        r->ids[r->count++] = (int32_t)id;
    }
    free(words);
    if (r->count == 0)
        FAIL(err, ERR_USAGE, "--ids: none were given");
    return err->code;
}

static enum status read_prompt(const struct arguments *args, struct logits_request *r,
                               struct error *err)
{
    const char *ids = cli_flag_string(args, "ids"), *prompt = cli_flag_string(args, "prompt");
    struct tokenizer *tok = NULL;
    if (!ids == !prompt)
        return FAIL(err, ERR_USAGE, "give either --ids or --prompt");
    if (ids)
        return parse_ids(ids, r, err);
    TRY(checkpoint_tokenizer(r->ck, &tok, err));
    if (!tok)
        return FAIL(err, ERR_UNSUPPORTED, "%s: has no tokenizer", cli_positional(args, 0));
    enum status status =
        cli_prompt_ids(r->ck, tok, prompt, strlen(prompt), &r->ids, &r->count, err);
    tokenizer_destroy(tok);
    return status;
}

static enum status open_request(const struct arguments *args, struct logits_request *r,
                                struct error *err)
{
    int64_t chunk = cli_flag_int(args, "chunk");
    if (chunk < 1 || chunk > MAX_IDS)
        return FAIL(err, ERR_USAGE, "--chunk %lld: must be 1 to %d", (long long)chunk, MAX_IDS);
    struct scheme scheme;
    enum dtype kv;
    machine_limit_memory(
        0); // so an allocation that does not fit is an error of one line, not a killed process
    TRY(cli_device_open(args, cli_flag_int(args, "threads"), cli_flag_string(args, "isa"),
                        &r->device, err));
    TRY(cli_scheme_flags_read(args, device_target(r->device), &scheme, &kv, err));
    struct engine_options options = {
        .device = r->device, .scheme = &scheme, .calibrating = cli_progress_calibrating};
    TRY(cli_checkpoint_or_shape_find(cli_positional(args, 0), &r->ck, err));
    TRY(read_prompt(args, r, err));
    if (r->count > MAX_IDS)
        return FAIL(err, ERR_USAGE, "%zu ids are more than %d", r->count, MAX_IDS);
    struct progress progress;
    cli_progress_begin(&progress, "loading", checkpoint_config(r->ck)->name);
    model_load(r->ck, &options, cli_progress_update, &progress, &r->model, err);
    TRY(cli_progress_finish(&progress, err));
    r->vocab = model_config(r->model)->vocab;
    r->chunk = (size_t)chunk < r->count ? (int)chunk : (int)r->count;
    struct context_options context = {
        .batch = 1,
        .positions = (int)r->count,
        .chunk = r->chunk,
        .logit_rows = r->chunk,
        .kv = kv,
    };
    return context_create(r->model, &context, &r->ctx, err);
}

static enum status run_prompt(struct logits_request *r, struct error *err)
{
    size_t row = (size_t)r->vocab, all = 0;
    TRY(size_mul(r->count, row * sizeof(float), &all, "the logits", err));
    r->rows = malloc(all);
    if (!r->rows)
        return FAIL(err, ERR_NOMEM, "%zu rows of %d logits", r->count, r->vocab);
    for (size_t at = 0; at < r->count; at += (size_t)r->chunk) {
        size_t left = r->count - at, count = left < (size_t)r->chunk ? left : (size_t)r->chunk;
        struct span span = {.count = (int)count, .tokens = r->ids + at, .logits = LOGITS_ALL};
        struct step_result result;
        TRY(context_step(r->ctx, &span, 1, PHASE_PREFILL, &result, err));
        memcpy(r->rows + at * row, result.logits, count * row * sizeof *result.logits);
    }
    return OK;
}

static void print_json(const struct logits_request *r)
{
    printf("{\"vocab\": %d,\n \"ids\": [", r->vocab);
    for (size_t i = 0; i < r->count; i++)
        printf("%s%d", i ? ", " : "", r->ids[i]);
    printf("],\n \"logits\": [");
    for (size_t i = 0; i < r->count; i++) {
        printf("%s\n  [", i ? "," : "");
        for (int v = 0; v < r->vocab; v++) {
            float logit = r->rows[i * (size_t)r->vocab + (size_t)v];
            printf(v ? ", " : "");
            printf(logit - logit == 0 ? "%.9g" : "null", (double)logit); // JSON has no NaN
        }
        putchar(']');
    }
    printf("\n ]}\n");
}

static enum exit_code logits_run(const struct arguments *args, struct error *err)
{
    struct logits_request r = {0};
    const char *output = cli_flag_string(args, "output");
    if (file_same(output, cli_positional(args, 0)))
        FAIL(err, ERR_USAGE, "--output %s: it is the model; another file is needed", output);
    else if (open_request(args, &r, err) == OK && run_prompt(&r, err) == OK) {
        size_t bytes = r.count * (size_t)r.vocab * sizeof *r.rows;
        if (output)
            file_write(output, r.rows, bytes, err);
        else
            print_json(&r);
    }
    free(r.rows);
    free(r.ids);
    context_destroy(r.ctx);
    model_destroy(r.model);
    checkpoint_destroy(r.ck);
    device_close(r.device);
    return cli_exit_code(err);
}

static const struct flag flags[] = {
    {"ids", 0, FLAG_STRING, "1,2,3", NULL, "the prompt as ids"},
    {"prompt", 0, FLAG_STRING, "TEXT", NULL,
     "the prompt as text; the model's bos token is put before it"},
    {"scheme", 's', FLAG_STRING, "NAME", "f32", "how weights are stored and multiplied",
     &cli_values_scheme},
    {"head", 0, FLAG_STRING, "TYPE", "auto", "type of head and embedding; auto: the scheme's",
     &cli_values_head},
    {"kv", 0, FLAG_STRING, "TYPE", "auto", "type of the KV cache; auto: the scheme's",
     &cli_values_kv},
    {"chunk", 0, FLAG_INT, "N", "512", "ids in one step; 1: token by token, as decode does"},
    DEVICE_FLAG,
    {"threads", 't', FLAG_INT, "N", "0", "0: one per physical core"},
    {"isa", 0, FLAG_STRING, "TIER", NULL, "fastest kernels to use: ref, avx2, avx512, ...",
     &cli_values_isa},
    {"output", 'o', FLAG_STRING, "FILE", NULL, "write f32 rows (ids, vocabulary) instead of JSON",
     &cli_values_file},
    {0},
};

const struct command command_model_logits = {
    .name = "model logits",
    .positional = "MODEL",
    .min_positional = 1,
    .max_positional = 1,
    .accepts = {&cli_values_model},
    .summary = "print the raw logits of every position of a prompt",
    .details =
        "MODEL is a Hugging Face folder, a .gguf file, a config.json or the name of a shape.",
    .flags = flags,
    .run = logits_run,
};
