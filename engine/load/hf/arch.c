// arch.c - the architectures' keys and defaults in config.json. A new architecture is a new row.
//
// Defaults are those of transformers' configuration classes. A setting with which transformers would compute something
// else than this engine is refused by name.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "engine/load/hf/hf.h"

// ---- beyond the key tables ------------------------------------------------------------------------

static enum status more_gemma(const json_t *root, const char *where, struct model_config *out,
                              struct error *err)
{
    const char *other;
    TRY(json_opt_string(root, where, "hidden_activation", "", &other, err));
    if (out->activation == ACT_GELU) // what the first releases called the approximation
        out->activation = ACT_GELU_TANH;
    if (*other && (!str_equal(other, "gelu_pytorch_tanh") || out->activation != ACT_GELU_TANH))
        return FAIL(err, ERR_FORMAT,
                    "%s: hidden_activation is '%.64s' and hidden_act another: two spellings of one "
                    "setting that contradict each other",
                    where, other);
    return hf_only_bool(root, where, "use_bidirectional_attention", false, "causal attention is",
                        err);
}

static enum status query_scale(const json_t *root, const char *where, struct model_config *out,
                               struct error *err)
{
    float scalar;
    TRY(hf_opt_float(root, where, "query_pre_attn_scalar", 256, &scalar, err));
    if (!(scalar > 0) || !isfinite(scalar))
        return FAIL(err, ERR_FORMAT, "%s: query_pre_attn_scalar: %g is not positive", where,
                    (double)scalar);
    out->attention_scale = (float)pow((double)scalar, -0.5);
    return OK;
}

static enum status more_gemma2(const json_t *root, const char *where, struct model_config *out,
                               struct error *err)
{
    TRY(query_scale(root, where, out, err));
    // Here null means none; the optional readers treat null as absent.
    if (!json_is_null(json_object_get(root, "attn_logit_softcapping")))
        TRY(hf_opt_float(root, where, "attn_logit_softcapping", 50, &out->attention_softcap, err));
    if (!json_is_null(json_object_get(root, "final_logit_softcapping")))
        TRY(hf_opt_float(root, where, "final_logit_softcapping", 30, &out->logit_softcap, err));
    return hf_only_bool(root, where, "use_bidirectional_attention", false, "causal attention is",
                        err);
}

static enum status more_gemma3(const json_t *root, const char *where, struct model_config *out,
                               struct error *err)
{
    TRY(query_scale(root, where, out, err));
    TRY(hf_opt_float(root, where, "attn_logit_softcapping", 0, &out->attention_softcap, err));
    TRY(hf_opt_float(root, where, "final_logit_softcapping", 0, &out->logit_softcap, err));
    return hf_only_bool(root, where, "use_bidirectional_attention", false, "causal attention is",
                        err);
}

static enum status more_phi(const json_t *root, const char *where, struct model_config *out,
                            struct error *err)
{
    (void)out;
    return hf_only_bool(root, where, "qk_layernorm", false, "q and k without a LayerNorm are", err);
}

static enum status more_gpt2(const json_t *root, const char *where, struct model_config *out,
                             struct error *err)
{
    bool scaled;
    out->learned_positions = out->max_positions;
    TRY(json_opt_bool(root, where, "scale_attn_weights", true, &scaled, err));
    if (!scaled)
        out->attention_scale = 1;
    TRY(hf_only_bool(root, where, "scale_attn_by_inverse_layer_idx", false,
                     "one scale for all layers is", err));
    return hf_only_bool(root, where, "add_cross_attention", false, "a decoder alone is", err);
}

static enum status more_gpt_bigcode(const json_t *root, const char *where, struct model_config *out,
                                    struct error *err)
{
    bool multi_query;
    TRY(more_gpt2(root, where, out, err));
    TRY(json_opt_bool(root, where, "multi_query", true, &multi_query, err));
    out->kv_heads = multi_query ? 1 : out->heads;
    return OK;
}

// The older decoder has one KV head, or as many as heads. The newer one has groups. Blocks of either can be parallel,
// with one norm or two.
static enum status more_falcon(const json_t *root, const char *where, struct model_config *out,
                               struct error *err)
{
    bool newer, multi_query, parallel, alibi;
    int norms;
    TRY(json_opt_bool(root, where, "new_decoder_architecture", false, &newer, err));
    TRY(json_opt_bool(root, where, "multi_query", true, &multi_query, err));
    TRY(json_opt_bool(root, where, "parallel_attn", true, &parallel, err));
    TRY(json_opt_bool(root, where, "alibi", false, &alibi, err));
    TRY(hf_opt_int(root, where, "num_ln_in_parallel_attn", newer ? 2 : 1, &norms, err));
    if (!newer)
        out->kv_heads = multi_query ? 1 : out->heads;
    if (newer && !parallel)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: parallel_attn: false is not supported where new_decoder_architecture is "
                    "true",
                    where);
    if (norms != 1 && norms != 2)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: num_ln_in_parallel_attn: %d is not supported (1 and 2 are)", where, norms);
    if (parallel && norms == 2 && !newer)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: num_ln_in_parallel_attn: 2 is not supported in the older decoder", where);
    out->parallel = parallel;
    out->shared_norm = parallel && norms == 1;
    if (alibi) {
        out->alibi = ALIBI_FALCON;
        out->rope = ROPE_NONE;
    }
    return OK;
}

static enum status more_bloom(const json_t *root, const char *where, struct model_config *out,
                              struct error *err)
{
    (void)out;
    return hf_only_bool(root, where, "apply_residual_connection_post_layernorm", false,
                        "a residual stream that bypasses the norms is", err);
}

static enum status more_mpt(const json_t *root, const char *where, struct model_config *out,
                            struct error *err)
{
    char place[512];
    const char *type;
    int ratio;
    const json_t *attn = json_object_get(root, "attn_config");
    TRY(hf_opt_int(root, where, "expansion_ratio", 4, &ratio, err));
    if (ratio != 4)
        return FAIL(err, ERR_UNSUPPORTED, "%s: expansion_ratio: only 4 is supported", where);
    if (!attn || json_is_null(attn))
        return OK;
    snprintf(place, sizeof place, "%s: attn_config", where);
    if (!json_is_object(attn))
        return FAIL(err, ERR_FORMAT, "%s: not an object", place);
    TRY(json_opt_string(attn, place, "attn_type", "multihead_attention", &type, err));
    if (!str_equal(type, "multihead_attention"))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: attn_type: '%.64s' is not supported (multihead_attention is)", place,
                    type);
    TRY(hf_only_bool(attn, place, "alibi", true, "ALiBi is", err));
    TRY(hf_only_bool(attn, place, "prefix_lm", false, "causal attention is", err));
    TRY(hf_only_bool(attn, place, "qk_ln", false, "q and k without a LayerNorm are", err));
    TRY(hf_opt_float(attn, place, "clip_qkv", 0, &out->clip_qkv, err));
    TRY(hf_opt_float(attn, place, "softmax_scale", 0, &out->attention_scale, err));
    return hf_opt_float(attn, place, "alibi_bias_max", 8, &out->alibi_max, err);
}

static enum status more_mixtral(const json_t *root, const char *where, struct model_config *out,
                                struct error *err)
{
    TRY(hf_opt_int(root, where, "num_local_experts|num_experts", 8, &out->experts, err));
    if (out->experts < 1)
        return FAIL(err, ERR_FORMAT, "%s: num_local_experts: not positive", where);
    return hf_opt_int(root, where, "num_experts_per_tok", 2, &out->experts_used, err);
}

static enum status more_qwen2_moe(const json_t *root, const char *where, struct model_config *out,
                                  struct error *err)
{
    int step;
    const json_t *dense = json_object_get(root, "mlp_only_layers");
    TRY(hf_opt_int(root, where, "num_experts", 60, &out->experts, err));
    TRY(hf_opt_int(root, where, "num_experts_per_tok", 4, &out->experts_used, err));
    TRY(hf_opt_int(root, where, "shared_expert_intermediate_size", 5632, &out->shared_ff, err));
    TRY(json_opt_bool(root, where, "norm_topk_prob", false, &out->experts_renormed, err));
    TRY(json_opt_bool(root, where, "qkv_bias", true, &out->qkv_bias, err));
    TRY(hf_opt_int(root, where, "decoder_sparse_step", 1, &step, err));
    if (step != 1 || json_array_size(dense) > 0)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: %s: layers without experts among those with them are not supported", where,
                    step != 1 ? "decoder_sparse_step" : "mlp_only_layers");
    if (out->experts < 1)
        return FAIL(err, ERR_FORMAT, "%s: num_experts: not positive", where);
    return OK;
}

// ---- the table ------------------------------------------------------------------------------------

#define SIZE_KEYS                                                                                  \
    .width = "hidden_size", .layers = "num_hidden_layers", .heads = "num_attention_heads",         \
    .kv_heads = "num_key_value_heads", .positions = "max_position_embeddings"

#define LLAMA_KEYS                                                                                 \
    SIZE_KEYS, .ff = "intermediate_size", .eps = "rms_norm_eps", .activation = "hidden_act"

// gemma 2 and 3
#define GEMMA_KEYS                                                                                 \
    SIZE_KEYS, .head_dim = "head_dim", .default_head_dim = 256, .default_kv_heads = 4,             \
               .ff = "intermediate_size", .eps = "rms_norm_eps",                                   \
               .activation = "hidden_activation", .attention_bias = "attention_bias",              \
               .tied = true, .window = "sliding_window", .default_window = 4096,                   \
               .layer_types = true, .window_by_default = true

#define GPT_KEYS                                                                                   \
    .width = "n_embd|hidden_size", .layers = "n_layer|num_hidden_layers",                          \
    .heads = "n_head|num_attention_heads", .ff = "n_inner", .ff_times = 4,                         \
    .positions = "n_positions|max_position_embeddings", .eps = "layer_norm_epsilon",               \
    .default_eps = 1e-5, .default_positions = 1024, .activation = "activation_function",           \
    .tied = true

static const struct hf_arch table[] = {
    {.name = "llama",
     LLAMA_KEYS,
     .head_dim = "head_dim",
     .attention_bias = "attention_bias",
     .ff_bias = "mlp_bias"},
    {.name = "mistral",
     LLAMA_KEYS,
     .head_dim = "head_dim",
     .default_kv_heads = 8,
     .window = "sliding_window",
     .default_window = 4096,
     .window_by_default = true},
    {.name = "mixtral",
     LLAMA_KEYS,
     .head_dim = "head_dim",
     .default_kv_heads = 8,
     .default_eps = 1e-5,
     .default_theta = 1e6,
     .window = "sliding_window",
     .window_by_default = true,
     .more = more_mixtral},
    {.name = "qwen2",
     LLAMA_KEYS,
     .head_dim = "head_dim",
     .default_kv_heads = 32,
     .window = "sliding_window",
     .default_window = 4096,
     .layer_types = true},
    {.name = "qwen2_moe",
     SIZE_KEYS,
     .head_dim = "head_dim",
     .ff = "moe_intermediate_size",
     .eps = "rms_norm_eps",
     .activation = "hidden_act",
     .default_kv_heads = 16,
     .window = "sliding_window",
     .default_window = 4096,
     .layer_types = true,
     .layer_types_only = true,
     .more = more_qwen2_moe},
    {.name = "qwen3",
     LLAMA_KEYS,
     .head_dim = "head_dim",
     .default_head_dim = 128,
     .default_kv_heads = 32,
     .attention_bias = "attention_bias",
     .window = "sliding_window",
     .default_window = 4096,
     .layer_types = true},
    {.name = "phi",
     SIZE_KEYS,
     .head_dim = "head_dim",
     .ff = "intermediate_size",
     .eps = "layer_norm_eps",
     .default_eps = 1e-5,
     .activation = "hidden_act",
     .default_rotary_share = 0.5,
     .more = more_phi},
    {.name = "phi3",
     LLAMA_KEYS,
     .head_dim = "head_dim",
     .default_eps = 1e-5,
     .default_rotary_share = 1,
     .default_original = 4096,
     .window = "sliding_window",
     .window_by_default = true},
    {.name = "gemma",
     LLAMA_KEYS,
     .head_dim = "head_dim",
     .default_head_dim = 256,
     .default_kv_heads = 16,
     .attention_bias = "attention_bias",
     .tied = true,
     .more = more_gemma},
    {.name = "gemma2", GEMMA_KEYS, .full_every = 2, .more = more_gemma2},
    {.name = "gemma3_text",
     GEMMA_KEYS,
     .default_positions = 131072,
     .full_every = 6,
     .full_every_key = "sliding_window_pattern",
     .default_theta = 1e6,
     .default_local_theta = 1e4,
     .more = more_gemma3},
    {.name = "gpt2", GPT_KEYS, .more = more_gpt2},
    {.name = "gpt_bigcode", GPT_KEYS, .more = more_gpt_bigcode},
    {.name = "falcon",
     .width = "hidden_size|n_embed",
     .layers = "num_hidden_layers|n_layer",
     .heads = "num_attention_heads|n_head",
     .kv_heads = "num_kv_heads|n_head_kv",
     .ff = "ffn_hidden_size",
     .ff_times = 4,
     .positions = "max_position_embeddings",
     .default_positions = 2048,
     .eps = "layer_norm_epsilon",
     .default_eps = 1e-5,
     .activation = "activation",
     .attention_bias = "bias",
     .ff_bias = "bias",
     .tied = true,
     .more = more_falcon},
    {.name = "mpt",
     .width = "d_model|hidden_size",
     .layers = "n_layers|num_hidden_layers",
     .heads = "n_heads|num_attention_heads",
     .ff_times = 4,
     .positions = "max_seq_len",
     .eps = "layer_norm_epsilon",
     .default_eps = 1e-5,
     .tied = true,
     .more = more_mpt},
    {.name = "bloom",
     .width = "hidden_size|n_embed",
     .layers = "n_layer|num_hidden_layers",
     .heads = "n_head|num_attention_heads",
     .ff_times = 4,
     .positions = "seq_length",
     .default_positions = 2048,
     .eps = "layer_norm_epsilon",
     .default_eps = 1e-5,
     .tied = true,
     .more = more_bloom},
};

const struct hf_arch *hf_arch_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (str_equal(table[i].name, name))
            return &table[i];
    return NULL;
}
