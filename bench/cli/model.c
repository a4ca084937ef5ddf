// model.c - `bench model info MODEL`: describes a model and the memory it needs.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plain.h"
#include "base/pool.h"
#include "base/str.h"
#include "bench/cli/checkpoint.h"
#include "bench/cli/command.h"
#include "bench/cli/device_flag.h"
#include "bench/cli/support.h"
#include "bench/cli/values.h"
#include "bench/cli/view.h"
#include "engine/engine.h"

enum { CONTEXTS_MAX = 16, CHUNK = 512 };

struct findings {
    struct checkpoint *ck;
    const struct model_config *config;
    struct tensor_class classes[CHECKPOINT_CLASSES_MAX];
    size_t class_count;
    uint64_t parameters;
    int tokenizer_ids;           // 0: none,
    struct error tokenizer_none; // and why
    char hash[65];               // empty unless requested
    struct support support;
    struct device_info device; // the device that memory is predicted for
    int batch, threads;
    int contexts[CONTEXTS_MAX];
    size_t context_count;
};

// ---- finding --------------------------------------------------------------------------------------

static enum status read_contexts(const struct arguments *args, struct findings *f,
                                 struct error *err)
{
    static const int usual[] = {512, 2048, 8192, 32768};
    const char *const *given;
    size_t count = cli_flag_list(args, "context", &given);
    if (count > CONTEXTS_MAX)
        return FAIL(err, ERR_USAGE, "--context: given more than %d times", CONTEXTS_MAX);
    for (size_t i = 0; i < count; i++) {
        int64_t value;
        if (!str_to_i64(given[i], &value) || value < 1 || value > 1 << 27)
            return FAIL(err, ERR_USAGE, "--context %s: must be 1 to %d", given[i], 1 << 27);
        f->contexts[f->context_count++] = (int)value;
    }
    for (size_t i = 0; count == 0 && i < sizeof usual / sizeof *usual; i++)
        if (i == 0 || usual[i] <= f->config->max_positions)
            f->contexts[f->context_count++] = usual[i];
    return OK;
}

static enum status find_threads(struct findings *f, struct error *err)
{
    struct pool *pool;
    if (f->device.kind != DEVICE_HOST)
        return OK;
    TRY(pool_create(0, false, &pool, err));
    f->threads = pool_threads(pool);
    pool_destroy(pool);
    return OK;
}

static enum status find(const struct arguments *args, struct findings *f, struct error *err)
{
    struct tokenizer *tok;
    int64_t batch = cli_flag_int(args, "batch");
    if (batch < 1 || batch > 1 << 16)
        return FAIL(err, ERR_USAGE, "--batch %lld: must be 1 to %d", (long long)batch, 1 << 16);
    f->batch = (int)batch;
    TRY(cli_checkpoint_or_shape_find(cli_positional(args, 0), &f->ck, err));
    f->config = checkpoint_config(f->ck);
    TRY(read_contexts(args, f, err));
    TRY(cli_device_find(args, &f->device, err));
    TRY(find_threads(f, err));
    f->class_count = checkpoint_tensor_classes(f->ck, f->classes, CHECKPOINT_CLASSES_MAX);
    for (size_t i = 0; i < f->class_count; i++)
        f->parameters += f->classes[i].parameters;
    if (checkpoint_tokenizer(f->ck, &tok, &f->tokenizer_none) == OK) {
        f->tokenizer_ids = tokenizer_vocab(tok);
        tokenizer_destroy(tok);
    }
    return cli_flag_bool(args, "hash") ? checkpoint_content_hash(f->ck, f->hash, err) : OK;
}

// False if the checkpoint does not run in that scheme.
static bool plan_of(const struct findings *f, const struct scheme *row, int context,
                    struct memory_plan *out)
{
    struct scheme scheme;
    struct error ignored = {0};
    struct context_options options = {.batch = f->batch,
                                      .positions = context,
                                      .chunk = context < CHUNK ? context : CHUNK,
                                      .kv = row->default_kv};
    struct device_target target = device_info_target(&f->device);
    return checkpoint_scheme(f->ck, row, target, &scheme, &ignored) == OK &&
           engine_memory_plan(&f->device, f->config, &scheme, &options, f->threads, out,
                              &ignored) == OK;
}

static const char *scaling_name(enum rope_scaling scaling)
{
    static const char *const names[] = {"none", "linear", "llama3", "factors", "yarn", "longrope"};
    return names[scaling];
}

// ---- for a person ---------------------------------------------------------------------------------

// 6738415616 -> "6,738,415,616".
static const char *grouped(uint64_t value, char out[32])
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value), used = 0;
    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = '\0';
    return out;
}

static const char *activation_name(enum activation activation)
{
    static const char *const names[] = {"silu", "gelu", "gelu (tanh)", "relu"};
    return names[activation];
}

static const char *position_scheme(const struct model_config *c)
{
    if (c->alibi != ALIBI_NONE)
        return "alibi";
    return c->learned_positions ? "learned" : c->rope == ROPE_NONE ? "none" : "rope";
}

static void print_blocks(const struct model_config *c)
{
    printf("  blocks        %s%s, %s, %s%s%s\n", c->norm == NORM_RMS ? "RMSNorm" : "LayerNorm",
           c->post_norms ? " before and behind" : "",
           !c->parallel     ? "one after the other"
           : c->shared_norm ? "in parallel after one norm"
                            : "in parallel after two norms",
           c->plain_ff ? "" : "gated ", activation_name(c->activation),
           c->ff_bias ? ", feed-forward biases" : "");
    if (c->experts)
        printf("  experts       %d of %d for each token%s\n", c->experts_used, c->experts,
               c->shared_ff ? ", and a shared one" : "");
}

static void print_attention(const struct model_config *c)
{
    printf("  attention     %d heads of %d, %d KV heads%s%s%s", c->heads, c->head_dim, c->kv_heads,
           c->qkv_bias ? ", q, k and v biases" : "", c->o_bias ? ", output bias" : "",
           c->qk_norm ? ", norms of q and k" : "");
    if (c->attention_scale != 0)
        printf(", scale %g", (double)c->attention_scale);
    if (c->attention_softcap != 0)
        printf(", soft cap %g", (double)c->attention_softcap);
    if (c->clip_qkv != 0)
        printf(", clipped at %g", (double)c->clip_qkv);
    if (c->window && model_windowed_layers(c) == c->layers)
        printf(", sliding window of %d", c->window);
    else if (c->window)
        printf(", sliding window of %d in %d of %d layers", c->window, model_windowed_layers(c),
               c->layers);
    putchar('\n');
}

static void print_positions(const struct model_config *c)
{
    printf("  positions     %d, ", c->max_positions);
    if (c->alibi != ALIBI_NONE || c->learned_positions || c->rope == ROPE_NONE) {
        printf("%s\n", c->alibi != ALIBI_NONE ? "ALiBi" : position_scheme(c));
        return;
    }
    printf("RoPE theta %g, ", (double)c->rope_theta);
    if (c->rotary < c->head_dim)
        printf("%d of %d dimensions, ", c->rotary, c->head_dim);
    printf("scaling %s", scaling_name(c->rope_scaling));
    if (c->rope_factor != 0)
        printf(" (factor %g)", (double)c->rope_factor);
    putchar('\n');
    char fallback[FALLBACK_BYTES];
    model_fallback_text(c, fallback, sizeof fallback);
    if (fallback[0])
        printf("                %s\n", fallback);
}

// Lists the modules that the folder does not quantize in one line.
static void print_quantization(const struct checkpoint *ck)
{
    const struct checkpoint_quantization *q = checkpoint_quantization(ck);
    if (!q)
        return;
    plain_printf(stdout, "  quantization  %s: %s\n", q->method, q->text);
    const char *plain = q->plain;
    if (*plain)
        printf("  not quantized ");
    for (const char *end; (end = strchr(plain, '\n')); plain = end + 1)
        plain_printf(stdout, "%.*s%s", (int)(end - plain), plain, end[1] ? ", " : "\n");
}

static void print_description(const struct findings *f)
{
    const struct model_config *c = f->config;
    char number[32];
    plain_printf(stdout, "%s\n", c->name);
    printf("  format        %s%s\n", checkpoint_format(f->ck),
           checkpoint_is_synthetic(f->ck) ? " (a shape: random weights)" : "");
    plain_printf(stdout, "  architecture  %s, %d layers, width %d, feed-forward %d\n", c->arch,
                 c->layers, c->width, c->ff);
    print_blocks(c);
    print_attention(c);
    print_positions(c);
    printf("  vocabulary    %d, head %s%s", c->vocab, c->tied ? "tied to the embedding" : "untied",
           c->head_bias ? " with a bias" : "");
    if (c->embedding_scale != 0)
        printf(", embedding times %g", (double)c->embedding_scale);
    if (c->logit_softcap != 0)
        printf(", logits capped at %g", (double)c->logit_softcap);
    printf("\n  parameters    %s\n", grouped(f->parameters, number));
    print_quantization(f->ck);
    if (f->tokenizer_ids)
        printf("  tokenizer     yes, %d ids\n", f->tokenizer_ids);
    else
        printf("  tokenizer     no: %s\n", f->tokenizer_none.message);
    if (f->hash[0])
        printf("  SHA-256       %s\n", f->hash);
}

// A shape stores nothing.
static const char *stored_text(const struct findings *f, uint64_t bytes, char *out,
                               size_t out_bytes)
{
    return checkpoint_is_synthetic(f->ck) ? "-" : format_bytes((double)bytes, out, out_bytes);
}

static void print_classes(const struct findings *f)
{
    char number[32], size[32];
    uint64_t bytes = 0;
    int width = 10;
    for (size_t i = 0; i < f->class_count; i++)
        if ((int)strlen(f->classes[i].type) > width)
            width = (int)strlen(f->classes[i].type);
    printf("\n  %-14s %-*s %8s %16s %12s\n", "tensors", width, "type", "count", "parameters",
           "stored");
    for (size_t i = 0; i < f->class_count; i++) {
        const struct tensor_class *class = &f->classes[i];
        bytes += class->bytes;
        printf("  %-14s %-*s %8llu %16s %12s\n", class->name, width, class->type,
               (unsigned long long)class->tensors,
               class->parameters ? grouped(class->parameters, number) : "-",
               stored_text(f, class->bytes, size, sizeof size));
    }
    printf("  %-14s %-*s %8s %16s %12s\n", "all", width, "", "", grouped(f->parameters, number),
           stored_text(f, bytes, size, sizeof size));
    const char *unused = checkpoint_unused_tensors(f->ck);
    if (*unused)
        printf("\n  stored but not used:\n");
    for (const char *end; (end = strchr(unused, '\n')); unused = end + 1)
        printf("    %.*s\n", (int)(end - unused), unused);
}

// Prints why the KV cache of layers with a window is larger than the window: one line, for the longest planned context.
static void print_windows(const struct findings *f)
{
    size_t count;
    const struct scheme *row = scheme_table(&count);
    struct memory_plan p;
    int longest = 0;
    char whole[32], windows[32];
    for (size_t i = 0; i < f->context_count; i++)
        longest = f->contexts[i] > longest ? f->contexts[i] : longest;
    double share = model_window_share(f->config, longest);
    while (count > 0 && !plan_of(f, row, longest, &p))
        row++, count--;
    if (share >= 1 || count == 0)
        return;
    plain_printf(
        stdout,
        "  kv holds every position in layers with a window too; the windows alone would take %s "
        "of %s (%s, context %d)\n",
        format_bytes(share * (double)p.kv_bytes, windows, sizeof windows),
        format_bytes((double)p.kv_bytes, whole, sizeof whole), row->name, longest);
}

static void print_memory(const struct findings *f)
{
    size_t count;
    const struct scheme *schemes = scheme_table(&count);
    char threads[32] = "";
    if (f->threads)
        snprintf(threads, sizeof threads, ", %d thread%s", f->threads, f->threads == 1 ? "" : "s");
    printf("\n  predicted memory on %s: batch %d, prefill chunks of %d%s\n", f->device.name,
           f->batch, CHUNK, threads);
    printf("  %-10s %-5s %8s %10s %10s %10s %10s\n", "scheme", "kv", "context", "weights", "kv",
           "scratch", "all");
    for (size_t s = 0; s < count; s++)
        for (size_t i = 0; i < f->context_count; i++) {
            struct memory_plan p;
            char a[32], b[32], c[32], d[32];
            if (!plan_of(f, &schemes[s], f->contexts[i], &p))
                continue;
            double all = (double)p.weights_bytes + (double)p.kv_bytes + (double)p.scratch_bytes;
            printf(
                "  %-10s %-5s %8d %10s %10s %10s %10s%s\n", schemes[s].name,
                storage_name(schemes[s].default_kv), f->contexts[i],
                format_bytes((double)p.weights_bytes, a, sizeof a),
                format_bytes((double)p.kv_bytes, b, sizeof b),
                format_bytes((double)p.scratch_bytes, c, sizeof c), format_bytes(all, d, sizeof d),
                f->contexts[i] > f->config->max_positions ? "  beyond the model's positions" : "");
        }
}

// ---- as data --------------------------------------------------------------------------------------

static json_t *or_null(double value)
{
    return value != 0 ? json_real(value) : json_null();
}

static void add_features(json_t *root, const struct model_config *c)
{
    json_object_set_new(root, "norm", json_string(c->norm == NORM_RMS ? "rmsnorm" : "layernorm"));
    json_object_set_new(root, "post_norms", json_boolean(c->post_norms));
    json_object_set_new(root, "parallel", json_boolean(c->parallel));
    json_object_set_new(root, "activation", json_string(activation_name(c->activation)));
    json_object_set_new(root, "gated", json_boolean(!c->plain_ff));
    json_object_set_new(root, "position_scheme", json_string(position_scheme(c)));
    json_object_set_new(root, "rotary", json_integer(c->rotary));
    char fallback[FALLBACK_BYTES];
    model_fallback_text(c, fallback, sizeof fallback);
    json_object_set_new(root, "fallback", fallback[0] ? json_string(fallback) : json_null());
    json_object_set_new(root, "windowed_layers", json_integer(model_windowed_layers(c)));
    json_object_set_new(root, "attention_softcap", or_null((double)c->attention_softcap));
    json_object_set_new(root, "logit_softcap", or_null((double)c->logit_softcap));
    json_object_set_new(root, "experts", c->experts ? json_integer(c->experts) : json_null());
    json_object_set_new(root, "experts_used",
                        c->experts ? json_integer(c->experts_used) : json_null());
}

static json_t *config_json(const struct model_config *c)
{
    json_t *root = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:b, s:o, s:s, s:o}", "architecture",
        c->arch, "layers", c->layers, "width", c->width, "heads", c->heads, "kv_heads", c->kv_heads,
        "head_dim", c->head_dim, "feed_forward", c->ff, "vocabulary", c->vocab, "positions",
        c->max_positions, "tied", c->tied, "qkv_bias", c->qkv_bias, "rope_theta",
        or_null((double)c->rope_theta), "rope_scaling", scaling_name(c->rope_scaling), "window",
        c->window ? json_integer(c->window) : json_null());
    if (root)
        add_features(root, c);
    return root;
}

static json_t *quantization_json(const struct checkpoint *ck)
{
    const struct checkpoint_quantization *q = checkpoint_quantization(ck);
    if (!q)
        return json_null();
    json_t *plain = json_array();
    for (const char *at = q->plain, *end; (end = strchr(at, '\n')); at = end + 1)
        json_array_append_new(plain, json_stringn(at, (size_t)(end - at)));
    return json_pack("{s:s, s:s, s:i, s:o, s:b, s:o}", "method", q->method, "text", q->text, "bits",
                     q->bits, "group", q->group ? json_integer(q->group) : json_null(),
                     "zero_points", q->zero_points, "not_quantized", plain);
}

static json_t *classes_json(const struct findings *f)
{
    json_t *list = json_array();
    for (size_t i = 0; i < f->class_count; i++) {
        const struct tensor_class *c = &f->classes[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:I}", "name", c->name, "type",
                                              c->type, "tensors", (json_int_t)c->tensors,
                                              "parameters", (json_int_t)c->parameters,
                                              "stored_bytes", (json_int_t)c->bytes));
    }
    return list;
}

static json_t *memory_json(const struct findings *f)
{
    size_t count;
    const struct scheme *schemes = scheme_table(&count);
    json_t *list = json_array();
    for (size_t s = 0; s < count; s++)
        for (size_t i = 0; i < f->context_count; i++) {
            struct memory_plan p;
            if (!plan_of(f, &schemes[s], f->contexts[i], &p))
                continue;
            json_array_append_new(
                list, json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I}", "scheme",
                                schemes[s].name, "kv", storage_name(schemes[s].default_kv), "batch",
                                f->batch, "context", f->contexts[i], "chunk", CHUNK, "threads",
                                f->threads, "weights_bytes", (json_int_t)p.weights_bytes,
                                "kv_bytes", (json_int_t)p.kv_bytes, "kv_within_windows_bytes",
                                (json_int_t)((double)p.kv_bytes *
                                             model_window_share(f->config, f->contexts[i])),
                                "scratch_bytes", (json_int_t)p.scratch_bytes));
        }
    return list;
}

static enum status print_json(const struct findings *f, struct error *err)
{
    json_t *root =
        json_pack("{s:s, s:s, s:b, s:o, s:o, s:I, s:o, s:o, s:o, s:s, s:o, s:b, s:o}", "name",
                  f->config->name, "format", checkpoint_format(f->ck), "synthetic",
                  checkpoint_is_synthetic(f->ck), "config", config_json(f->config), "quantization",
                  quantization_json(f->ck), "parameters", (json_int_t)f->parameters, "tensors",
                  classes_json(f), "tokenizer_ids",
                  f->tokenizer_ids ? json_integer(f->tokenizer_ids) : json_null(), "sha256",
                  f->hash[0] ? json_string(f->hash) : json_null(), "unused_tensors",
                  checkpoint_unused_tensors(f->ck), "memory", memory_json(f), "runs", 1, "support",
                  cli_support_json(&f->support));
    if (!root)
        return FAIL(err, ERR_NOMEM, "the description as JSON");
    json_dumpf(root, stdout, JSON_INDENT(2) | cli_view_json_ascii(stdout));
    putchar('\n');
    json_decref(root);
    return OK;
}

// Prints what is known about a checkpoint that does not load.
static void print_refused(const struct support *support, bool as_json, const struct error *err)
{
    if (!as_json) {
        cli_support_print(support);
        return;
    }
    json_t *root = json_pack("{s:b, s:s, s:o}", "runs", 0, "error", err->message, "support",
                             cli_support_json(support));
    if (root) {
        json_dumpf(root, stdout, JSON_INDENT(2) | cli_view_json_ascii(stdout));
        putchar('\n');
    }
    json_decref(root);
}

static enum exit_code model_info_run(const struct arguments *args, struct error *err)
{
    struct findings f = {0};
    bool as_json = cli_flag_bool(args, "json");
    enum status status = find(args, &f, err);
    cli_support_find(cli_positional(args, 0), &f.support);
    if (status == OK && as_json) {
        print_json(&f, err);
    } else if (status == OK) {
        print_description(&f);
        print_classes(&f);
        print_memory(&f);
        print_windows(&f);
        cli_support_print(&f.support);
    } else if (!f.ck && f.support.count) { // else an option is wrong, or nothing has that name
        print_refused(&f.support, as_json, err);
    }
    checkpoint_destroy(f.ck);
    return cli_exit_code(err);
}

static const struct flag flags[] = {
    {"batch", 'b', FLAG_INT, "N", "1", "sequences the memory is predicted for"},
    {"context", 'c', FLAG_LIST, "N", NULL,
     "positions it is predicted for; default 512, 2048, ... up to the model's own"},
    DEVICE_FLAG,
    {"hash", 0, FLAG_BOOL, NULL, NULL, "also the SHA-256 of the content, which reads all of it"},
    {"json", 0, FLAG_BOOL, NULL, NULL, "the description as one JSON object"},
    {0},
};

const struct command command_model_info = {
    .name = "model info",
    .positional = "MODEL",
    .min_positional = 1,
    .max_positional = 1,
    .accepts = {&cli_values_model},
    .summary = "describe a model and predict the memory it takes",
    .details = "MODEL is a Hugging Face folder, a .gguf file, a config.json or the name of a shape "
               "(models/shapes).",
    .flags = flags,
    .run = model_info_run,
};
