// gguf_description.c - writes a model's description as keys of a GGUF file.
//
// It writes values that differ from a reader's defaults, and values that every reader needs. Properties that an
// architecture fixes (bias, activation, parallel blocks) have no key: the name of the architecture implies them.
// Source: the package gguf (constants.py) for the keys; llama.cpp's converter for the keys of each architecture.
#include <math.h>
#include <stdio.h>

#include "base/str.h"
#include "engine/model/arch.h"
#include "engine/save/gguf_plan.h"

struct keys {
    struct gguf_writer *writer;
    const char *arch;
    char text[128];
};

static const char *key(struct keys *k, const char *name)
{
    snprintf(k->text, sizeof k->text, "%s.%s", k->arch, name);
    return k->text;
}

static void put_u32(struct keys *k, const char *name, int value)
{
    gguf_put_u32(k->writer, key(k, name), (uint32_t)value);
}

static void put_f32(struct keys *k, const char *name, float value)
{
    gguf_put_f32(k->writer, key(k, name), value);
}

static void put_sizes(struct keys *k, const struct model_config *c)
{
    put_u32(k, "vocab_size", c->vocab);
    put_u32(k, "context_length", c->max_positions);
    put_u32(k, "embedding_length", c->width);
    put_u32(k, "block_count", c->layers);
    put_u32(k, "feed_forward_length", c->shared_ff ? c->experts_used * c->ff : c->ff);
    put_u32(k, "attention.head_count", c->heads);
    put_u32(k, "attention.head_count_kv", c->kv_heads);
    put_u32(k, "attention.key_length", c->head_dim);
    put_u32(k, "attention.value_length", c->head_dim);
    if (c->norm == NORM_RMS)
        put_f32(k, "attention.layer_norm_rms_epsilon", c->norm_eps);
    else
        put_f32(k, "attention.layer_norm_epsilon", c->norm_eps);
}

static void put_attention(struct keys *k, const struct model_config *c)
{
    if (c->window || str_equal(k->arch, "phi3")) // readers of phi3 files require it
        put_u32(k, "attention.sliding_window", c->window);
    if (c->attention_softcap > 0)
        put_f32(k, "attn_logit_softcapping", c->attention_softcap);
    if (c->logit_softcap > 0)
        put_f32(k, "final_logit_softcapping", c->logit_softcap);
    if (c->attention_scale > 0)
        put_f32(k, "attention.scale", c->attention_scale);
    if (c->clip_qkv > 0)
        put_f32(k, "attention.clamp_kqv", c->clip_qkv);
    if (c->alibi == ALIBI_MPT)
        put_f32(k, "attention.max_alibi_bias", c->alibi_max);
}

// The factor of the tables beyond yarn's own 0.1 ln(factor) + 1.
static float yarn_attn_factor(const struct model_config *c)
{
    float usual = c->rope_factor > 1 ? 0.1f * logf(c->rope_factor) + 1 : 1;
    return (c->rope_attention_factor > 0 ? c->rope_attention_factor : 1) / usual;
}

// The bands of llama3 are written as a tensor of factors (gguf_factors).
static void put_rope(struct keys *k, const struct model_config *c)
{
    if (c->rope == ROPE_NONE)
        return;
    put_u32(k, "rope.dimension_count", c->rotary);
    put_f32(k, "rope.freq_base", c->rope_theta);
    switch (c->rope_scaling) {
    case ROPE_SCALE_LINEAR:
        gguf_put_text(k->writer, key(k, "rope.scaling.type"), "linear");
        put_f32(k, "rope.scaling.factor", c->rope_factor);
        break;
    case ROPE_SCALE_YARN:
        gguf_put_text(k->writer, key(k, "rope.scaling.type"), "yarn");
        put_f32(k, "rope.scaling.factor", c->rope_factor);
        put_u32(k, "rope.scaling.original_context_length", c->rope_original_positions);
        put_f32(k, "rope.scaling.yarn_beta_fast", c->rope_beta_fast);
        put_f32(k, "rope.scaling.yarn_beta_slow", c->rope_beta_slow);
        put_f32(k, "rope.scaling.attn_factor", yarn_attn_factor(c));
        break;
    case ROPE_SCALE_LONGROPE:
        put_u32(k, "rope.scaling.original_context_length", c->rope_original_positions);
        put_f32(k, "rope.scaling.attn_factor",
                c->rope_attention_factor > 0 ? c->rope_attention_factor : 1);
        break;
    default:
        break;
    }
}

static void put_experts(struct keys *k, const struct model_config *c)
{
    if (!c->experts)
        return;
    put_u32(k, "expert_count", c->experts);
    put_u32(k, "expert_used_count", c->experts_used);
    if (!c->shared_ff) // mixtral: as wide as a dense layer would be
        return;
    put_u32(k, "expert_feed_forward_length", c->ff);
    put_u32(k, "expert_shared_feed_forward_length", c->shared_ff);
    gguf_put_bool(k->writer, key(k, "expert_weights_norm"), c->experts_renormed);
}

enum status gguf_put_description(struct gguf_writer *w, const struct model_config *config,
                                 struct error *err)
{
    const struct arch *arch = arch_find(config->arch);
    if (!arch || !arch->gguf)
        return FAIL(err, ERR_UNSUPPORTED, "GGUF has no name for architecture %s", config->arch);
    struct keys k = {.writer = w, .arch = arch->gguf};
    gguf_put_text(w, "general.architecture", arch->gguf);
    gguf_put_text(w, "general.name", config->name);
    put_sizes(&k, config);
    put_attention(&k, config);
    put_experts(&k, config);
    put_rope(&k, config);
    return OK;
}
