// arch.c - the table of architectures, and what follows from a model's description.
//
// The rows say in what the architectures differ; everything else they share: pre-norm blocks of RMSNorm,
// attention with RoPE and grouped KV heads, SwiGLU. Sources: the model classes of Hugging Face
// transformers (llama, mistral, qwen2) and llama.cpp's converter for the GGUF columns.
#include "engine/model/arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "engine/load/source.h"

static const struct arch table[] = {
    {.name = "llama", .gguf = "llama", .rope = ROPE_HALF, .gguf_permuted = true},
    {.name = "mistral",
     .gguf = "llama",
     .rope = ROPE_HALF,
     .gguf_permuted = true,
     .windowed = true,
     .window_by_default = true,
     .default_kv_heads = 8},
    {.name = "qwen2",
     .gguf = "qwen2",
     .rope = ROPE_HALF,
     .qkv_bias = true,
     .windowed = true,
     .default_kv_heads = 32},
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

// The largest of each dimension that is believed. Every product of two of them fits 48 bits, so that
// sizes in bytes cannot overflow size_t.
static enum status check_range(const char *where, const char *what, int64_t value, int64_t max,
                               struct error *err)
{
    if (value < 1 || value > max)
        return FAIL(err, ERR_FORMAT, "%s: %s: %lld is not within 1..%lld", where, what,
                    (long long)value, (long long)max);
    return OK;
}

static enum status check_rope(const struct model_config *c, const char *where, struct error *err)
{
    if (!(c->rope_theta > 0) || !isfinite(c->rope_theta))
        return FAIL(err, ERR_FORMAT, "%s: rope_theta: %g is not positive", where,
                    (double)c->rope_theta);
    if (c->rotary != c->head_dim)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: rotating %d of %d dimensions of a head is not supported", where, c->rotary,
                    c->head_dim);
    if (c->rope_scaling == ROPE_SCALE_LINEAR || c->rope_scaling == ROPE_SCALE_LLAMA3)
        if (!(c->rope_factor > 0) || !isfinite(c->rope_factor))
            return FAIL(err, ERR_FORMAT, "%s: rope scaling factor: %g is not positive", where,
                        (double)c->rope_factor);
    if (c->rope_scaling == ROPE_SCALE_LLAMA3) {
        if (!(c->rope_low_freq > 0) || !(c->rope_high_freq > c->rope_low_freq) ||
            !isfinite(c->rope_high_freq))
            return FAIL(
                err, ERR_FORMAT,
                "%s: rope scaling: low_freq_factor %g and high_freq_factor %g must be positive "
                "and rising",
                where, (double)c->rope_low_freq, (double)c->rope_high_freq);
        TRY(check_range(where, "original_max_position_embeddings", c->rope_original_positions,
                        1 << 27, err));
    }
    return OK;
}

enum status model_config_check(const struct model_config *c, const char *where, struct error *err)
{
    TRY(check_range(where, "layers", c->layers, 4096, err));
    TRY(check_range(where, "width", c->width, 1 << 18, err));
    TRY(check_range(where, "attention heads", c->heads, 1 << 12, err));
    TRY(check_range(where, "KV heads", c->kv_heads, c->heads, err));
    TRY(check_range(where, "head size", c->head_dim, MODEL_MAX_HEAD_DIM, err));
    TRY(check_range(where, "feed-forward width", c->ff, 1 << 20, err));
    TRY(check_range(where, "vocabulary", c->vocab, 1 << 22, err));
    TRY(check_range(where, "positions", c->max_positions, 1 << 27, err));
    if (c->heads % c->kv_heads)
        return FAIL(err, ERR_FORMAT, "%s: %d attention heads do not share %d KV heads evenly",
                    where, c->heads, c->kv_heads);
    if (c->head_dim % 2)
        return FAIL(err, ERR_FORMAT, "%s: a head size of %d is odd: RoPE turns pairs", where,
                    c->head_dim);
    if (!(c->norm_eps >= 0) || !(c->norm_eps < 1))
        return FAIL(err, ERR_FORMAT, "%s: norm epsilon: %g is not within 0..1", where,
                    (double)c->norm_eps);
    if (c->bos < -1 || c->bos >= c->vocab || c->eos < -1 || c->eos >= c->vocab)
        return FAIL(err, ERR_FORMAT, "%s: bos %d or eos %d is outside the vocabulary of %d", where,
                    (int)c->bos, (int)c->eos, c->vocab);
    return check_rope(c, where, err);
}

// ---- the tensors ----------------------------------------------------------------------------------

struct tensor_shape tensor_shape(const struct model_config *c, enum tensor_role role)
{
    int q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, bias = c->qkv_bias;
    switch (role) {
    case T_EMBEDDING:
        return (struct tensor_shape){c->vocab, c->width};
    case T_HEAD:
        return c->tied ? (struct tensor_shape){0, 0} : (struct tensor_shape){c->vocab, c->width};
    case T_FINAL_NORM:
    case T_ATTN_NORM:
    case T_FF_NORM:
        return (struct tensor_shape){1, c->width};
    case T_Q:
        return (struct tensor_shape){q, c->width};
    case T_K:
    case T_V:
        return (struct tensor_shape){kv, c->width};
    case T_O:
        return (struct tensor_shape){c->width, q};
    case T_Q_BIAS:
        return (struct tensor_shape){bias, bias * q};
    case T_K_BIAS:
    case T_V_BIAS:
        return (struct tensor_shape){bias, bias * kv};
    case T_GATE:
    case T_UP:
        return (struct tensor_shape){c->ff, c->width};
    case T_DOWN:
        return (struct tensor_shape){c->width, c->ff};
    case T_ROLE_COUNT:
        break;
    }
    return (struct tensor_shape){0, 0};
}

const char *tensor_role_name(enum tensor_role role)
{
    static const char *const names[T_ROLE_COUNT] = {[T_EMBEDDING] = "embedding",
                                                    [T_HEAD] = "head",
                                                    [T_FINAL_NORM] = "final norm",
                                                    [T_ATTN_NORM] = "attention norm",
                                                    [T_Q] = "q",
                                                    [T_K] = "k",
                                                    [T_V] = "v",
                                                    [T_O] = "o",
                                                    [T_Q_BIAS] = "q bias",
                                                    [T_K_BIAS] = "k bias",
                                                    [T_V_BIAS] = "v bias",
                                                    [T_FF_NORM] = "feed-forward norm",
                                                    [T_GATE] = "gate",
                                                    [T_UP] = "up",
                                                    [T_DOWN] = "down"};
    return (unsigned)role < T_ROLE_COUNT ? names[role] : "unknown";
}

uint64_t model_parameters(const struct model_config *c)
{
    uint64_t total = 0;
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        struct tensor_shape shape = tensor_shape(c, (enum tensor_role)role);
        uint64_t each = (uint64_t)shape.rows * (uint64_t)shape.cols;
        total += role <= T_FINAL_NORM ? each : each * (uint64_t)c->layers;
    }
    return total;
}
