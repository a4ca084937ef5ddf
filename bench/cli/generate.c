// generate.c - `bench generate MODEL PROMPT`: streams text to standard output, and prints timings to standard error.
//
// It shows what a model says and how fast. Use `bench run` to measure; it repeats and judges.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/plain.h"
#include "base/str.h"
#include "bench/cli/checkpoint.h"
#include "bench/cli/command.h"
#include "bench/cli/device_flag.h"
#include "bench/cli/progress.h"
#include "bench/cli/values.h"
#include "bench/cli/view.h"
#include "bench/probe/probe.h"
#include "engine/engine.h"

enum { MAX_TOKENS = 1 << 20 };

// The checked values of the flags.
struct request {
    const char *model, *prompt, *calib;
    struct scheme scheme;
    enum dtype kv;
    struct sampling sampling;
    int gen, chunk, threads;
    bool json;
};

struct session {
    struct request request;
    struct device *device;
    struct checkpoint *ck;
    struct tokenizer *tok;
    struct model *model;
    struct context *ctx;
    int32_t *ids; // ids of the prompt, bos first if the model has one
    size_t prompt;
    uint64_t *token_ns; // (gen) when each id was drawn, on the context's clock, as begin_ns
    uint64_t load_ns, encode_ns, begin_ns;
    struct str text;
    struct plain_stream shown; // the part of the text already shown on a terminal
};

// ---- flags -----------------------------------------------------------------------------------------------

static enum status int_in(const struct arguments *args, const char *name, int64_t min, int *out,
                          struct error *err)
{
    int64_t value = cli_flag_int(args, name);
    if (value < min || value > MAX_TOKENS)
        return FAIL(err, ERR_USAGE, "--%s %lld: must be %lld to %d", name, (long long)value,
                    (long long)min, MAX_TOKENS);
    *out = (int)value;
    return OK;
}

static enum status request_read(const struct arguments *args, struct request *r, struct error *err)
{
    r->model = cli_positional(args, 0);
    r->prompt = cli_positional(args, 1);
    r->json = cli_flag_bool(args, "json");
    r->sampling.temperature = (float)cli_flag_float(args, "temperature");
    r->sampling.top_p = (float)cli_flag_float(args, "top-p");
    r->sampling.seed = (uint64_t)cli_flag_int(args, "seed");
    TRY(int_in(args, "top-k", 0, &r->sampling.top_k, err));
    TRY(int_in(args, "gen", 1, &r->gen, err));
    TRY(int_in(args, "chunk", 1, &r->chunk, err));
    return int_in(args, "threads", 0, &r->threads, err);
}

// ---- opening ---------------------------------------------------------------------------------------------

static enum status prompt_encode(struct session *s, struct error *err)
{
    TRY(checkpoint_tokenizer(s->ck, &s->tok, err));
    if (!s->tok)
        return FAIL(err, ERR_UNSUPPORTED, "%s: has no tokenizer", s->request.model);
    uint64_t begin = clock_ns();
    TRY(cli_prompt_ids(s->ck, s->tok, s->request.prompt, strlen(s->request.prompt), &s->ids,
                       &s->prompt, err));
    s->encode_ns = clock_ns() - begin;
    if (s->prompt > MAX_TOKENS)
        return FAIL(err, ERR_USAGE, "a prompt of %zu tokens (1 to %d)", s->prompt, MAX_TOKENS);
    return OK;
}

static enum status session_open(const struct arguments *args, struct session *s, struct error *err)
{
    struct request *r = &s->request;
    machine_limit_memory(
        0); // so an allocation that does not fit is an error of one line, not a killed process
    TRY(cli_device_open(args, r->threads, cli_flag_string(args, "isa"), &s->device, err));
    TRY(cli_scheme_flags_read(args, device_target(s->device), &r->scheme, &r->kv, err));
    TRY(cli_calib_read(args, r->scheme.name, &r->calib, err));
    uint64_t begin = clock_ns();
    TRY(cli_checkpoint_find(r->model, &s->ck, err));
    TRY(prompt_encode(s, err));
    struct engine_options options = {.device = s->device,
                                     .scheme = &r->scheme,
                                     .calib = r->calib,
                                     .calibrating = cli_progress_calibrating};
    struct progress progress;
    cli_progress_begin(&progress, "loading", checkpoint_config(s->ck)->name);
    model_load(s->ck, &options, cli_progress_update, &progress, &s->model, err);
    TRY(cli_progress_finish(&progress, err));
    s->load_ns = clock_ns() - begin;
    struct context_options context = {
        .batch = 1,
        .positions = (int)s->prompt + r->gen,
        .chunk = r->chunk < (int)s->prompt ? r->chunk : (int)s->prompt,
        .kv = r->kv,
    };
    TRY(context_create(s->model, &context, &s->ctx, err));
    TRY(context_sample(s->ctx, &r->sampling, err));
    s->token_ns = calloc((size_t)r->gen, sizeof *s->token_ns);
    return s->token_ns ? OK : FAIL(err, ERR_NOMEM, "times of %d tokens", r->gen);
}

static void session_close(struct session *s)
{
    free(s->token_ns);
    free(s->ids);
    str_fini(&s->text);
    context_destroy(s->ctx);
    model_destroy(s->model);
    tokenizer_destroy(s->tok);
    checkpoint_destroy(s->ck);
    device_close(s->device);
}

// ---- generating ------------------------------------------------------------------------------------------

static enum status feed(struct session *s, const int32_t *ids, int count, bool sample,
                        enum phase phase, struct step_result *result, struct error *err)
{
    struct span span = {.sequence = 0, .count = count, .tokens = ids, .sample = sample};
    return context_step(s->ctx, &span, 1, phase, result, err);
}

static enum status prefill(struct session *s, struct step_result *result, struct error *err)
{
    int total = (int)s->prompt, chunk = s->request.chunk;
    for (int at = 0; at < total; at += chunk) {
        bool last = at + chunk >= total;
        TRY(feed(s, s->ids + at, last ? total - at : chunk, last, PHASE_PREFILL, result, err));
    }
    return OK;
}

// Writes the token's bytes at once. For a terminal an incomplete character is held back until its rest arrives.
static void show(struct session *s, int32_t id)
{
    size_t before = s->text.length;
    tokenizer_decode(s->tok, id, &s->text);
    if (s->request.json)
        return;
    plain_stream_write(&s->shown, stdout, str_text(&s->text) + before, s->text.length - before);
    fflush(stdout);
}

static enum status generate(struct session *s, struct error *err)
{
    struct step_result result;
    s->begin_ns = context_clock_ns(s->ctx);
    TRY(prefill(s, &result, err));
    for (int i = 0; i < s->request.gen; i++) {
        int32_t id = result.ids[0];
        s->token_ns[i] = result.end_ns;
        if (id < 0)
            return FAIL(err, ERR_INTERNAL, "token %d: the logits are not numbers", i);
        show(s, id);
        if (i + 1 < s->request.gen)
            TRY(feed(s, &id, 1, true, PHASE_DECODE, &result, err));
    }
    return s->text.failed ? FAIL(err, ERR_NOMEM, "the text") : OK;
}

// ---- timings -----------------------------------------------------------------------------------------------

struct timings {
    double ttft_ns, prefill_tok_s;
    double tpot_ns, decode_tok_s; // 0 if only one token was generated: there is no decode
};

static struct timings timings_of(const struct session *s)
{
    struct timings t = {.ttft_ns = (double)(s->token_ns[0] - s->begin_ns)};
    int steps = s->request.gen - 1;
    t.prefill_tok_s = (double)s->prompt / t.ttft_ns * 1e9;
    if (steps > 0) {
        t.tpot_ns = (double)(s->token_ns[steps] - s->token_ns[0]) / steps;
        t.decode_tok_s = 1e9 / t.tpot_ns;
    }
    return t;
}

static void timings_print(const struct session *s, FILE *out)
{
    char a[32], b[32];
    struct timings t = timings_of(s);
    fprintf(out, "load     %s, tokenization %s\n", format_time_ns((double)s->load_ns, a, sizeof a),
            format_time_ns((double)s->encode_ns, b, sizeof b));
    fprintf(out, "prefill  %zu tokens, TTFT %s, %.1f tok/s\n", s->prompt,
            format_time_ns(t.ttft_ns, a, sizeof a), t.prefill_tok_s);
    if (s->request.gen > 1)
        fprintf(out, "decode   %d tokens, TPOT %s, %.1f tok/s\n", s->request.gen - 1,
                format_time_ns(t.tpot_ns, a, sizeof a), t.decode_tok_s);
    else
        fprintf(out, "decode   none: one token was generated\n");
    int threads = cli_device_threads(s->device);
    plain_printf(out, "%s, %s, ", model_config(s->model)->name, model_scheme(s->model)->arithmetic);
    if (threads)
        fprintf(out, "%d thread%s%s\n", threads, threads == 1 ? "" : "s",
                cli_device_pinned(s->device) ? "" : ", not pinned");
    else
        fprintf(out, "%s\n", device_info(s->device)->name);
}

// The text may end inside a character, which is not valid in a JSON string. Up to three bytes are then left out.
static json_t *text_json(const struct str *text)
{
    for (size_t cut = 0; cut < 4 && cut <= text->length; cut++) {
        json_t *value = json_stringn(str_text(text), text->length - cut);
        if (value)
            return value;
    }
    return json_null();
}

static enum status json_print(const struct session *s, struct error *err)
{
    struct timings t = timings_of(s);
    bool decoded = s->request.gen > 1;
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:i, s:o, s:I, s:i, s:I, s:I, s:f, s:f, s:o, s:o}", "model",
                  model_config(s->model)->name, "scheme", s->request.scheme.name, "device",
                  device_info(s->device)->name, "threads", cli_device_threads(s->device), "text",
                  text_json(&s->text), "prompt_tokens", (json_int_t)s->prompt, "generated_tokens",
                  s->request.gen, "load_ns", (json_int_t)s->load_ns, "tokenization_ns",
                  (json_int_t)s->encode_ns, "ttft_ns", t.ttft_ns, "prefill_tok_s", t.prefill_tok_s,
                  "tpot_ns", decoded ? json_real(t.tpot_ns) : json_null(), "decode_tok_s",
                  decoded ? json_real(t.decode_tok_s) : json_null());
    if (!root)
        return FAIL(err, ERR_NOMEM, "the result as JSON");
    json_dumpf(root, stdout, JSON_INDENT(2) | cli_view_json_ascii(stdout));
    putchar('\n');
    json_decref(root);
    return OK;
}

static enum exit_code generate_run(const struct arguments *args, struct error *err)
{
    struct session s = {0};
    if (request_read(args, &s.request, err) == OK && session_open(args, &s, err) == OK &&
        generate(&s, err) == OK) {
        if (s.request.json) {
            json_print(&s, err);
        } else {
            plain_stream_end(&s.shown, stdout);
            putchar('\n');
            fflush(stdout);
            timings_print(&s, stderr);
        }
    }
    session_close(&s);
    return cli_exit_code(err);
}

static const struct flag flags[] = {
    {"scheme", 's', FLAG_STRING, "NAME", "bf16",
     "how weights are stored and multiplied; q4_0 and q8_0 only of a GGUF file",
     &cli_values_scheme},
    {"head", 0, FLAG_STRING, "TYPE", "auto", "type of head and embedding; auto: the scheme's",
     &cli_values_head},
    {"kv", 0, FLAG_STRING, "TYPE", "auto", "type of the KV cache; auto: the scheme's",
     &cli_values_kv},
    {"gen", 'n', FLAG_INT, "N", "128",
     "tokens to generate; the model's end token does not stop it"},
    {"temperature", 0, FLAG_FLOAT, "T", "0", "0: always the likeliest token"},
    {"top-k", 0, FLAG_INT, "K", "0", "draw from the K likeliest tokens; 0: off"},
    {"top-p", 0, FLAG_FLOAT, "P", "1",
     "draw from the likeliest tokens with a total probability of P"},
    {"seed", 0, FLAG_INT, "N", "42", "of the draws"},
    {"calib", 0, FLAG_STRING, "FILE", NULL,
     "calibration text of int4-awq; default: models/reference/calib.txt", &cli_values_file},
    DEVICE_FLAG,
    {"threads", 't', FLAG_INT, "N", "0", "0: one per physical core"},
    {"chunk", 0, FLAG_INT, "N", "512", "prompt tokens in one step"},
    {"isa", 0, FLAG_STRING, "TIER", NULL, "fastest kernels to use: ref, avx2, avx512, ...",
     &cli_values_isa},
    {"json", 0, FLAG_BOOL, NULL, NULL, "text and timings as one JSON object, when all is done"},
    {0},
};

const struct command command_generate = {
    .name = "generate",
    .positional = "MODEL PROMPT",
    .min_positional = 2,
    .max_positional = 2,
    .accepts = {&cli_values_model_file},
    .summary = "generate text from a prompt, with timings",
    .details = "MODEL is a Hugging Face folder or a .gguf file. The model's bos token, if it has "
               "one, is put before the prompt.",
    .flags = flags,
    .run = generate_run,
};
