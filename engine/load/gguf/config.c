// config.c - derives a model's description from a GGUF file's metadata and tensors.
//
// Keys begin with the architecture's name. They omit what llama.cpp knows about the architecture. The row of arch.c,
// the defaults here, and the tensors provide that (biases, a tied head, factors of rope scaling).
// Source: the package gguf (constants), llama.cpp's converter and its reading of each key.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "engine/load/gguf/gguf.h"
#include "engine/model/arch.h"

// ---- values ---------------------------------------------------------------------------------------

static char *full_key(const struct gguf *g, const char *key, char out[128])
{
    snprintf(out, 128, "%s.%s", g->arch, key);
    return out;
}

static bool has_key(const struct gguf *g, const char *key)
{
    char full[128];
    return gguf_find(g, full_key(g, key, full)) != NULL;
}

// fallback < 0: the key is required.
static enum status config_int(const struct gguf *g, const char *key, int64_t fallback, int *out,
                              struct error *err)
{
    char full[128];
    const struct gguf_entry *e = gguf_find(g, full_key(g, key, full));
    int64_t value = fallback;
    if (!e && fallback < 0)
        return FAIL(err, ERR_FORMAT, "%s: %s: missing", g->name, full);
    if (e && !gguf_is_integer(e->type))
        return FAIL(
            err, e->type == GGUF_ARRAY ? ERR_UNSUPPORTED : ERR_FORMAT, "%s: %s: %s", g->name, full,
            e->type == GGUF_ARRAY ? "a value for each layer is not supported" : "not an integer");
    if (e)
        value = gguf_integer_at(g, e->type, e->first);
    if (value < 0 || value > INT32_MAX)
        return FAIL(err, ERR_FORMAT, "%s: %s: %lld is not a size", g->name, full, (long long)value);
    *out = (int)value;
    return OK;
}

// A fallback of NaN: the key is required.
static enum status config_float(const struct gguf *g, const char *key, float fallback, float *out,
                                struct error *err)
{
    char full[128];
    const struct gguf_entry *e = gguf_find(g, full_key(g, key, full));
    *out = fallback;
    if (!e && isnan(fallback))
        return FAIL(err, ERR_FORMAT, "%s: %s: missing", g->name, full);
    if (!e)
        return OK;
    double wide;
    if (e->type == GGUF_F32) {
        memcpy(out, g->data + e->first, 4);
    } else if (e->type == GGUF_F64) {
        memcpy(&wide, g->data + e->first, 8);
        *out = (float)wide;
    } else {
        return FAIL(err, ERR_FORMAT, "%s: %s: not a number with a fraction", g->name, full);
    }
    return OK;
}

static bool config_bool(const struct gguf *g, const char *key)
{
    char full[128];
    const struct gguf_entry *e = gguf_find(g, full_key(g, key, full));
    return e && e->type == GGUF_BOOL && g->data[e->first] != 0;
}

static enum status config_token(const struct gguf *g, const char *key, int32_t *out,
                                struct error *err)
{
    const struct gguf_entry *e = gguf_find(g, key);
    *out = -1;
    if (!e)
        return OK;
    int64_t value = gguf_is_integer(e->type) ? gguf_integer_at(g, e->type, e->first) : -1;
    if (value < 0 || value > INT32_MAX)
        return FAIL(err, ERR_FORMAT, "%s: %s: not a token id", g->name, key);
    *out = (int32_t)value;
    return OK;
}

// ---- the description ------------------------------------------------------------------------------

static bool is_arch(const struct gguf *g, const char *name)
{
    return str_equal(g->config.arch, name);
}

static enum status read_arch(struct gguf *g, struct error *err)
{
    struct gguf_text text;
    char known[ARCH_NAMES_BYTES];
    int experts;
    if (!gguf_string(g, "general.architecture", &text))
        return FAIL(err, ERR_FORMAT, "%s: general.architecture: missing", g->name);
    snprintf(g->arch, sizeof g->arch, "%.*s", (int)(text.bytes > 31 ? 31 : text.bytes), text.text);
    g->row = arch_find_gguf(g->arch);
    TRY(config_int(g, "expert_count", 0, &experts, err));
    if (g->row && str_equal(g->arch, "llama") && experts && arch_find("mixtral"))
        g->row = arch_find("mixtral");
    if (!g->row)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: general.architecture: '%s' is not supported (%s are)", g->name, g->arch,
                    arch_names(known, sizeof known));
    arch_start(g->row, &g->config);
    return OK;
}

static enum status read_dimensions(struct gguf *g, struct error *err)
{
    struct model_config *c = &g->config;
    int value_length;
    TRY(config_int(g, "block_count", -1, &c->layers, err));
    TRY(config_int(g, "embedding_length", -1, &c->width, err));
    TRY(config_int(g, "feed_forward_length", -1, &c->ff, err));
    TRY(config_int(g, "attention.head_count", -1, &c->heads, err));
    TRY(config_int(g, "attention.head_count_kv", c->heads, &c->kv_heads, err));
    TRY(config_int(g, "context_length", -1, &c->max_positions, err));
    if (c->heads < 1 || c->width < 1)
        return FAIL(err, ERR_FORMAT, "%s: %d heads and a width of %d", g->name, c->heads, c->width);
    TRY(config_int(g, "attention.key_length", c->width / c->heads, &c->head_dim, err));
    TRY(config_int(g, "attention.value_length", c->head_dim, &value_length, err));
    if (value_length != c->head_dim)
        return FAIL(err, ERR_UNSUPPORTED, "%s: keys of %d and values of %d are not supported",
                    g->name, c->head_dim, value_length);
    const char *eps =
        c->norm == NORM_RMS ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    TRY(config_float(g, eps, NAN, &c->norm_eps, err));
    TRY(config_token(g, "tokenizer.ggml.bos_token_id", &c->bos, err));
    return config_token(g, "tokenizer.ggml.eos_token_id", &c->eos, err);
}

// Older qwen2moe files lack expert_feed_forward_length: all experts of a token share the width.
static enum status read_experts(struct gguf *g, struct error *err)
{
    struct model_config *c = &g->config;
    int shared = 0;
    TRY(config_int(g, "expert_count", 0, &c->experts, err));
    TRY(config_int(g, "expert_used_count", 0, &c->experts_used, err));
    bool known = is_arch(g, "mixtral") || is_arch(g, "qwen2_moe");
    if (!known && c->experts)
        return FAIL(err, ERR_UNSUPPORTED, "%s: a mixture of %d experts is not supported in %s",
                    g->name, c->experts, g->arch);
    if (known && (c->experts_used < 1 || c->experts_used > c->experts))
        return FAIL(err, ERR_FORMAT, "%s: %s.expert_used_count: %d of %d experts", g->name, g->arch,
                    c->experts_used, c->experts);
    if (!is_arch(g, "qwen2_moe"))
        return OK;
    int dense = c->ff;
    TRY(config_int(g, "expert_feed_forward_length", dense / c->experts_used, &c->ff, err));
    TRY(config_int(g, "expert_shared_feed_forward_length", dense, &shared, err));
    c->shared_ff = shared;
    if (has_key(g, "expert_weights_norm"))
        c->experts_renormed = config_bool(g, "expert_weights_norm");
    return OK;
}

static void set_full_layer(struct model_config *c, int layer)
{
    c->full_layers[layer / 64] |= UINT64_C(1) << (layer % 64);
}

static enum status read_attention(struct gguf *g, struct error *err)
{
    struct model_config *c = &g->config;
    TRY(config_int(g, "attention.sliding_window", is_arch(g, "gemma2") ? 4096 : 0, &c->window,
                   err));
    TRY(config_float(g, "attention.scale", 0, &c->attention_scale, err));
    TRY(config_float(g, "attention.clamp_kqv", 0, &c->clip_qkv, err));
    if (is_arch(g, "mpt")) {
        TRY(config_float(g, "attention.max_alibi_bias", 0, &c->alibi_max, err));
        if (c->alibi_max == 0)
            c->alibi = ALIBI_NONE;
    }
    if (!is_arch(g, "gemma2"))
        return OK;
    // llama.cpp's converter omits the query's scale, which differs in the model of 46 layers.
    if (c->attention_scale == 0 && c->layers == 46)
        c->attention_scale = 1 / sqrtf((float)c->width / (float)c->heads);
    for (int layer = 1; layer < c->layers && layer < MODEL_MAX_LAYERS; layer += 2)
        set_full_layer(c, layer);
    TRY(config_float(g, "attn_logit_softcapping", 50, &c->attention_softcap, err));
    return config_float(g, "final_logit_softcapping", 30, &c->logit_softcap, err);
}

// ---- positions ------------------------------------------------------------------------------------

static enum status read_original(struct gguf *g, struct error *err)
{
    static const char key[] = "rope.scaling.original_context_length";
    struct model_config *c = &g->config;
    c->rope_original_assumed = !has_key(g, key);
    return config_int(g, key, c->max_positions, &c->rope_original_positions, err);
}

static enum status read_yarn(struct gguf *g, struct error *err)
{
    struct model_config *c = &g->config;
    float whole, factor;
    c->rope_scaling = ROPE_SCALE_YARN;
    TRY(config_float(g, "rope.scaling.yarn_beta_fast", 32, &c->rope_beta_fast, err));
    TRY(config_float(g, "rope.scaling.yarn_beta_slow", 1, &c->rope_beta_slow, err));
    TRY(read_original(g, err));
    TRY(config_float(g, "rope.scaling.attn_factor", 1, &factor, err));
    TRY(config_float(g, "rope.scaling.yarn_attn_factor", 0, &whole, err));
    float usual = c->rope_factor > 1 ? 0.1f * logf(c->rope_factor) + 1 : 1;
    c->rope_attention_factor = factor * (whole > 0 ? whole : usual);
    return OK;
}

static enum status read_rope(struct gguf *g, struct error *err)
{
    struct model_config *c = &g->config;
    struct gguf_text type = {"none", 4};
    char full[128], name[16];
    float older;
    if (c->rope == ROPE_NONE)
        return OK;
    TRY(config_int(g, "rope.dimension_count", c->head_dim, &c->rotary, err));
    if (g->row->gguf_permuted && c->rotary != c->head_dim)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: rotating %d of %d dimensions of a permuted head is not supported", g->name,
                    c->rotary, c->head_dim);
    TRY(config_float(g, "rope.freq_base", 10000, &c->rope_theta, err));
    TRY(config_float(g, "rope.scale_linear", 1, &older, err)); // before rope.scaling.*
    TRY(config_float(g, "rope.scaling.factor", older, &c->rope_factor, err));
    if (!gguf_string(g, full_key(g, "rope.scaling.type", full), &type) && older != 1)
        type = (struct gguf_text){"linear", 6};
    snprintf(name, sizeof name, "%.*s", (int)(type.bytes > 15 ? 15 : type.bytes), type.text);
    if (str_equal(name, "none") || str_equal(name, "longrope")) // longrope: by its tensors
        return OK;
    if (str_equal(name, "yarn"))
        return read_yarn(g, err);
    if (!str_equal(name, "linear"))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: %s: '%s' is not supported (none, linear, yarn and longrope are)", g->name,
                    full, name);
    c->rope_scaling = ROPE_SCALE_LINEAR;
    return OK;
}

// ---- from the tensors -----------------------------------------------------------------------------

static enum status copy_factors(const struct gguf *g, const struct gguf_info *t, float *out,
                                struct error *err)
{
    int count = g->config.rotary / 2;
    if (t->type != stored_f32 || t->dim_count != 1 || t->dims[0] != (uint64_t)count)
        return FAIL(err, ERR_FORMAT, "%s: tensor %s: not %d values in F32", g->name, t->name,
                    count);
    memcpy(out, t->data, (size_t)t->bytes);
    for (int i = 0; i < count; i++)
        if (!(out[i] > 0) || !isfinite(out[i]))
            return FAIL(err, ERR_FORMAT, "%s: tensor %s: value %d is not positive", g->name,
                        t->name, i);
    return OK;
}

// rope_freqs.weight has the divisor of each pair's frequency. It applies on top of linear scaling.
static enum status read_factors(struct gguf *g, const struct gguf_info *t, struct error *err)
{
    struct model_config *c = &g->config;
    if (c->rope_scaling == ROPE_SCALE_YARN)
        return FAIL(err, ERR_UNSUPPORTED, "%s: tensor %s on top of yarn scaling is not supported",
                    g->name, t->name);
    TRY(copy_factors(g, t, c->rope_factors, err));
    for (int i = 0; i < c->rotary / 2 && c->rope_scaling == ROPE_SCALE_LINEAR; i++)
        c->rope_factors[i] *= c->rope_factor;
    c->rope_scaling = ROPE_SCALE_FACTORS;
    return OK;
}

static enum status read_longrope(struct gguf *g, const struct gguf_info *small,
                                 const struct gguf_info *large, struct error *err)
{
    struct model_config *c = &g->config;
    c->rope_scaling = ROPE_SCALE_LONGROPE;
    TRY(copy_factors(g, small, c->rope_factors, err));
    TRY(copy_factors(g, large, c->rope_long_factors, err));
    TRY(config_float(g, "rope.scaling.attn_factor", 1, &c->rope_attention_factor, err));
    return read_original(g, err);
}

static enum status read_scaling_tensors(struct gguf *g, struct error *err)
{
    const struct gguf_info *factors = gguf_find_info(g, "rope_freqs.weight");
    const struct gguf_info *small = gguf_find_info(g, "rope_factors_short.weight");
    const struct gguf_info *large = gguf_find_info(g, "rope_factors_long.weight");
    if (g->config.rope == ROPE_NONE)
        return OK;
    if (factors)
        TRY(read_factors(g, factors, err));
    if (small && large)
        TRY(read_longrope(g, small, large, err));
    return OK;
}

// The model has a bias when the first layer has it. All layers must then have it.
static void read_biases(struct gguf *g)
{
    struct model_config *c = &g->config;
    c->qkv_bias =
        gguf_find_info(g, "blk.0.attn_qkv.bias") || gguf_find_info(g, "blk.0.attn_q.bias");
    c->o_bias = gguf_find_info(g, "blk.0.attn_output.bias") != NULL;
    c->ff_bias = gguf_find_info(g, "blk.0.ffn_down.bias") != NULL;
    c->norm_bias = gguf_find_info(g, "blk.0.attn_norm.bias") != NULL;
    c->head_bias = gguf_find_info(g, "output.bias") != NULL;
}

static bool has_rows(const struct gguf_info *t)
{
    return t && t->dim_count == 2 && t->dims[1] <= INT32_MAX;
}

static enum status read_tensor_sizes(struct gguf *g, struct error *err)
{
    struct model_config *c = &g->config;
    const struct gguf_info *embedding = gguf_find_info(g, "token_embd.weight");
    const struct gguf_info *positions = gguf_find_info(g, "position_embd.weight");
    const struct gguf_info *shared = gguf_find_info(g, "blk.0.ffn_gate_shexp.weight");
    if (!has_rows(embedding))
        return FAIL(err, ERR_FORMAT, "%s: tensor token_embd.weight is missing or no matrix",
                    g->name);
    c->vocab = (int)embedding->dims[1];
    c->tied = !gguf_find_info(g, "output.weight");
    if (has_rows(positions))
        c->learned_positions = (int)positions->dims[1];
    if (has_rows(shared))
        c->shared_ff = (int)shared->dims[1];
    if (is_arch(g, "falcon")) { // llama.cpp supports only the parallel forms
        c->parallel = true;
        c->shared_norm = !gguf_find_info(g, "blk.0.attn_norm_2.weight");
    }
    return OK;
}

enum status gguf_read_config(struct gguf *g, struct error *err)
{
    TRY(read_arch(g, err));
    TRY(read_dimensions(g, err));
    TRY(read_experts(g, err));
    TRY(read_attention(g, err));
    TRY(read_rope(g, err));
    TRY(read_tensor_sizes(g, err));
    read_biases(g);
    arch_finish(g->row, &g->config);
    TRY(model_config_check(&g->config, g->name, err)); // factors are read by a rotary that fits
    TRY(read_scaling_tensors(g, err));
    TRY(model_config_check(&g->config, g->name, err));
    gguf_names_of(g, &g->names);
    return OK;
}
