// arch.c - the table of architectures, and the accepted range of a description's numbers.
//
// A row says how an architecture differs from llama, whose description is all zeros: pre-norm blocks of RMSNorm,
// attention with RoPE and grouped KV heads, SwiGLU.
// Sources: the model classes of Hugging Face transformers, and llama.cpp's converter for the GGUF columns.
#include "engine/model/arch.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

// Shared by the first GPTs and their successors.
#define GPT_BLOCK                                                                                  \
    .norm = NORM_LAYER, .norm_bias = true, .qkv_bias = true, .o_bias = true, .ff_bias = true,      \
    .activation = ACT_GELU_TANH, .plain_ff = true

static const struct arch table[] = {
    {.name = "llama", .gguf = "llama", .gguf_permuted = true, .config = {.rope = ROPE_HALF}},
    {.name = "mistral", .gguf = "llama", .gguf_permuted = true, .config = {.rope = ROPE_HALF}},
    {.name = "mixtral",
     .gguf = "llama", // with expert_count
     .gguf_permuted = true,
     .config = {.rope = ROPE_HALF, .experts_renormed = true}},
    {.name = "qwen2", .gguf = "qwen2", .config = {.rope = ROPE_HALF, .qkv_bias = true}},
    {.name = "qwen2_moe",
     .gguf = "qwen2moe",
     .config = {.rope = ROPE_HALF, .qkv_bias = true, .shared_gated = true}},
    {.name = "qwen3", .gguf = "qwen3", .config = {.rope = ROPE_HALF, .qk_norm = true}},
    {.name = "phi",
     .gguf = "phi2",
     .config =
         {.rope = ROPE_HALF, GPT_BLOCK, .parallel = true, .shared_norm = true, .head_bias = true}},
    {.name = "phi3", .gguf = "phi3", .config = {.rope = ROPE_HALF}},
    {.name = "gemma",
     .gguf = "gemma",
     .scaled_embedding = true,
     .config = {.rope = ROPE_HALF, .activation = ACT_GELU_TANH}},
    {.name = "gemma2",
     .gguf = "gemma2",
     .scaled_embedding = true,
     .config = {.rope = ROPE_HALF, .post_norms = true, .activation = ACT_GELU_TANH}},
    {.name = "gemma3_text",
     .scaled_embedding = true,
     .config =
         {.rope = ROPE_HALF, .post_norms = true, .qk_norm = true, .activation = ACT_GELU_TANH}},
    {.name = "gpt2", .gguf = "gpt2", .config = {GPT_BLOCK}},
    {.name = "gpt_bigcode", .gguf = "starcoder", .config = {GPT_BLOCK}},
    {.name = "falcon",
     .gguf = "falcon",
     .config = {.rope = ROPE_HALF,
                .norm = NORM_LAYER,
                .norm_bias = true,
                .activation = ACT_GELU,
                .plain_ff = true}},
    {.name = "mpt",
     .gguf = "mpt",
     .config = {.norm = NORM_LAYER,
                .alibi = ALIBI_MPT,
                .alibi_max = 8,
                .activation = ACT_GELU,
                .plain_ff = true}},
    {.name = "bloom",
     .gguf = "bloom",
     .config = {GPT_BLOCK, .embedding_norm = true, .alibi = ALIBI_BLOOM}},
};
enum { ARCH_COUNT = sizeof table / sizeof *table };

const struct arch *arch_find(const char *name)
{
    for (int i = 0; i < ARCH_COUNT; i++)
        if (str_equal(table[i].name, name))
            return &table[i];
    return NULL;
}

const struct arch *arch_find_gguf(const char *general_architecture)
{
    for (int i = 0; i < ARCH_COUNT; i++)
        if (str_equal(table[i].gguf, general_architecture))
            return &table[i];
    return NULL;
}

char *arch_names(char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < ARCH_COUNT && used < out_bytes; i++)
        used +=
            (size_t)snprintf(out + used, out_bytes - used, "%s%s", i ? ", " : "", table[i].name);
    return out;
}

// ---- the description ------------------------------------------------------------------------------

// Each dimension has an upper limit. Any product of two fits 48 bits, so sizes in bytes cannot overflow size_t.
static enum status check_range(const char *where, const char *what, int64_t value, int64_t min,
                               int64_t max, struct error *err)
{
    if (value < min || value > max)
        return FAIL(err, ERR_FORMAT, "%s: %s: %lld is not within %lld..%lld", where, what,
                    (long long)value, (long long)min, (long long)max);
    return OK;
}

// A factor or limit; 0 means none.
static enum status check_scale(const char *where, const char *what, float value, struct error *err)
{
    if (!(value >= 0) || !isfinite(value))
        return FAIL(err, ERR_FORMAT, "%s: %s: %g is not a positive number", where, what,
                    (double)value);
    return OK;
}

static enum status check_rope_scaling(const struct model_config *c, const char *where,
                                      struct error *err)
{
    enum rope_scaling scaling = c->rope_scaling;
    if (scaling == ROPE_SCALE_LINEAR || scaling == ROPE_SCALE_LLAMA3 || scaling == ROPE_SCALE_YARN)
        if (!(c->rope_factor > 0) || !isfinite(c->rope_factor))
            return FAIL(err, ERR_FORMAT, "%s: rope scaling factor: %g is not positive", where,
                        (double)c->rope_factor);
    if (scaling == ROPE_SCALE_LLAMA3)
        if (!(c->rope_low_freq > 0) || !(c->rope_high_freq > c->rope_low_freq) ||
            !isfinite(c->rope_high_freq))
            return FAIL(
                err, ERR_FORMAT,
                "%s: rope scaling: low_freq_factor %g and high_freq_factor %g must be positive "
                "and rising",
                where, (double)c->rope_low_freq, (double)c->rope_high_freq);
    if (scaling == ROPE_SCALE_YARN)
        if (!(c->rope_beta_slow > 0) || !(c->rope_beta_fast > 0) || !isfinite(c->rope_beta_fast) ||
            !isfinite(c->rope_beta_slow))
            return FAIL(err, ERR_FORMAT,
                        "%s: rope scaling: beta_fast %g and beta_slow %g must be positive", where,
                        (double)c->rope_beta_fast, (double)c->rope_beta_slow);
    for (int i = 0; scaling == ROPE_SCALE_LONGROPE && i < c->rotary / 2; i++)
        if (!(c->rope_factors[i] > 0) || !(c->rope_long_factors[i] > 0) ||
            !isfinite(c->rope_factors[i]) || !isfinite(c->rope_long_factors[i]))
            return FAIL(err, ERR_FORMAT, "%s: rope scaling: factor %d is not positive", where, i);
    if (scaling == ROPE_SCALE_LLAMA3 || scaling == ROPE_SCALE_YARN ||
        scaling == ROPE_SCALE_LONGROPE)
        TRY(check_range(where, "original_max_position_embeddings", c->rope_original_positions, 1,
                        1 << 27, err));
    return check_scale(where, "rope attention factor", c->rope_attention_factor, err);
}

static enum status check_positions(const struct model_config *c, const char *where,
                                   struct error *err)
{
    if (c->learned_positions)
        TRY(check_range(where, "learned positions", c->learned_positions, 1, 1 << 22, err));
    if (c->alibi == ALIBI_MPT && (!(c->alibi_max > 0) || !(c->alibi_max <= 64)))
        return FAIL(err, ERR_FORMAT, "%s: alibi_bias_max: %g is not within 0..64", where,
                    (double)c->alibi_max);
    if (c->rope == ROPE_NONE)
        return OK;
    if (!(c->rope_theta > 0) || !isfinite(c->rope_theta))
        return FAIL(err, ERR_FORMAT, "%s: rope_theta: %g is not positive", where,
                    (double)c->rope_theta);
    TRY(check_scale(where, "local rope_theta", c->rope_local_theta, err));
    TRY(check_range(where, "rotating dimensions of a head", c->rotary, 1, c->head_dim, err));
    if (c->rotary % 2)
        return FAIL(err, ERR_FORMAT,
                    "%s: %d rotating dimensions of a head are odd: RoPE turns pairs", where,
                    c->rotary);
    return check_rope_scaling(c, where, err);
}

static enum status check_experts(const struct model_config *c, const char *where, struct error *err)
{
    if (c->experts == 0)
        return OK;
    TRY(check_range(where, "experts", c->experts, 1, 1 << 12, err));
    TRY(check_range(where, "experts a token", c->experts_used, 1, c->experts, err));
    TRY(check_range(where, "the shared expert's width", c->shared_ff, 0, 1 << 20, err));
    int64_t widest =
        c->ff > c->width ? c->ff : c->width; // the rows of all experts together must fit an int
    return check_range(where, "rows of all experts", c->experts * widest, 1, INT_MAX, err);
}

enum status model_config_check(const struct model_config *c, const char *where, struct error *err)
{
    TRY(check_range(where, "layers", c->layers, 1, MODEL_MAX_LAYERS, err));
    TRY(check_range(where, "width", c->width, 1, 1 << 18, err));
    TRY(check_range(where, "attention heads", c->heads, 1, 1 << 12, err));
    TRY(check_range(where, "KV heads", c->kv_heads, 1, c->heads, err));
    TRY(check_range(where, "head size", c->head_dim, 1, MODEL_MAX_HEAD_DIM, err));
    TRY(check_range(where, "feed-forward width", c->ff, 1, 1 << 20, err));
    TRY(check_range(where, "vocabulary", c->vocab, 1, 1 << 22, err));
    TRY(check_range(where, "positions", c->max_positions, 1, 1 << 27, err));
    if (c->heads % c->kv_heads)
        return FAIL(err, ERR_FORMAT, "%s: %d attention heads do not share %d KV heads evenly",
                    where, c->heads, c->kv_heads);
    if (!(c->norm_eps >= 0) || !(c->norm_eps < 1))
        return FAIL(err, ERR_FORMAT, "%s: norm epsilon: %g is not within 0..1", where,
                    (double)c->norm_eps);
    if (c->bos < -1 || c->bos >= c->vocab || c->eos < -1 || c->eos >= c->vocab)
        return FAIL(err, ERR_FORMAT, "%s: bos %d or eos %d is outside the vocabulary of %d", where,
                    (int)c->bos, (int)c->eos, c->vocab);
    TRY(check_scale(where, "attention scale", c->attention_scale, err));
    TRY(check_scale(where, "attention soft cap", c->attention_softcap, err));
    TRY(check_scale(where, "logit soft cap", c->logit_softcap, err));
    TRY(check_scale(where, "clip_qkv", c->clip_qkv, err));
    TRY(check_scale(where, "embedding scale", c->embedding_scale, err));
    TRY(check_experts(c, where, err));
    return check_positions(c, where, err);
}

void arch_start(const struct arch *arch, struct model_config *config)
{
    *config = arch->config;
    snprintf(config->arch, sizeof config->arch, "%s", arch->name);
}

void arch_finish(const struct arch *arch, struct model_config *config)
{
    if (arch->scaled_embedding)
        config->embedding_scale = (float)sqrt((double)config->width);
}
