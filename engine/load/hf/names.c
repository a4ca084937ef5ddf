// names.c - the names that Hugging Face's model classes give the tensors of each architecture, and their fusions. A new
// architecture is a new table here.
// Source: the modeling files of transformers.
#include <stddef.h>

#include "base/str.h"
#include "engine/load/hf/hf.h"

// Buffers that old checkpoints still have: rotary tables, causal masks.
static const char *const buffers[] = {"self_attn.rotary_emb.inv_freq",
                                      "self_attention.rotary_emb.inv_freq",
                                      "self_attention.maybe_rotary.inv_freq",
                                      "attn.bias",
                                      "attn.masked_bias",
                                      NULL};

// ---- the llama family -----------------------------------------------------------------------------

#define MODEL                                                                                      \
    .base = "model.", .layer_prefix = "model.layers.", .ignored = buffers,                         \
    .at[T_EMBEDDING].name = "model.embed_tokens.weight",                                           \
    .at[T_FINAL_NORM].name = "model.norm.weight", .at[T_HEAD].name = "lm_head.weight",             \
    .at[T_ATTN_NORM].name = "input_layernorm.weight"

#define SELF_ATTENTION                                                                             \
    .at[T_Q].name = "self_attn.q_proj.weight", .at[T_K].name = "self_attn.k_proj.weight",          \
    .at[T_V].name = "self_attn.v_proj.weight", .at[T_O].name = "self_attn.o_proj.weight",          \
    .at[T_Q_BIAS].name = "self_attn.q_proj.bias", .at[T_K_BIAS].name = "self_attn.k_proj.bias",    \
    .at[T_V_BIAS].name = "self_attn.v_proj.bias", .at[T_O_BIAS].name = "self_attn.o_proj.bias",    \
    .at[T_Q_NORM].name = "self_attn.q_norm.weight", .at[T_K_NORM].name = "self_attn.k_norm.weight"

#define GATED                                                                                      \
    .at[T_GATE].name = "mlp.gate_proj.weight", .at[T_UP].name = "mlp.up_proj.weight",              \
    .at[T_DOWN].name = "mlp.down_proj.weight", .at[T_GATE_BIAS].name = "mlp.gate_proj.bias",       \
    .at[T_UP_BIAS].name = "mlp.up_proj.bias", .at[T_DOWN_BIAS].name = "mlp.down_proj.bias"

// llama, mistral, qwen2, qwen3
static const struct tensor_names llama = {
    MODEL,
    SELF_ATTENTION,
    GATED,
    .at[T_FF_NORM].name = "post_attention_layernorm.weight",
};

// w1 is the gate, w3 up, w2 down.
static const struct tensor_names mixtral = {
    MODEL,
    SELF_ATTENTION,
    .at[T_FF_NORM].name = "post_attention_layernorm.weight",
    .at[T_ROUTER].name = "block_sparse_moe.gate.weight",
    .at[T_EXPERT_GATE].name = "block_sparse_moe.experts.*.w1.weight",
    .at[T_EXPERT_UP].name = "block_sparse_moe.experts.*.w3.weight",
    .at[T_EXPERT_DOWN].name = "block_sparse_moe.experts.*.w2.weight",
};

static const struct tensor_names qwen2_moe = {
    MODEL,
    SELF_ATTENTION,
    .at[T_FF_NORM].name = "post_attention_layernorm.weight",
    .at[T_ROUTER].name = "mlp.gate.weight",
    .at[T_SHARED_GATE].name = "mlp.shared_expert.gate_proj.weight",
    .at[T_SHARED_UP].name = "mlp.shared_expert.up_proj.weight",
    .at[T_SHARED_DOWN].name = "mlp.shared_expert.down_proj.weight",
    .at[T_SHARED_ROUTER].name = "mlp.shared_expert_gate.weight",
    .at[T_EXPERT_GATE].name = "mlp.experts.*.gate_proj.weight",
    .at[T_EXPERT_UP].name = "mlp.experts.*.up_proj.weight",
    .at[T_EXPERT_DOWN].name = "mlp.experts.*.down_proj.weight",
};

static const struct tensor_names gemma = {
    MODEL,
    SELF_ATTENTION,
    GATED,
    .at[T_FF_NORM].name = "post_attention_layernorm.weight",
    .norm_minus_one = true,
};

// gemma2, gemma3_text: here post_attention_layernorm does follow attention.
static const struct tensor_names gemma2 = {
    MODEL,
    SELF_ATTENTION,
    GATED,
    .at[T_ATTN_POST_NORM].name = "post_attention_layernorm.weight",
    .at[T_FF_NORM].name = "pre_feedforward_layernorm.weight",
    .at[T_FF_POST_NORM].name = "post_feedforward_layernorm.weight",
    .norm_minus_one = true,
};

static const struct tensor_names phi3 = {
    MODEL,
    .at[T_Q] = {.name = "self_attn.qkv_proj.weight", .order = ORDER_STACKED},
    .at[T_K] = {.name = "self_attn.qkv_proj.weight", .order = ORDER_STACKED},
    .at[T_V] = {.name = "self_attn.qkv_proj.weight", .order = ORDER_STACKED},
    .at[T_O].name = "self_attn.o_proj.weight",
    .at[T_FF_NORM].name = "post_attention_layernorm.weight",
    .at[T_GATE] = {.name = "mlp.gate_up_proj.weight", .order = ORDER_STACKED},
    .at[T_UP] = {.name = "mlp.gate_up_proj.weight", .order = ORDER_STACKED},
    .at[T_DOWN].name = "mlp.down_proj.weight",
};

static const struct tensor_names phi = {
    .base = "model.",
    .layer_prefix = "model.layers.",
    .ignored = buffers,
    .at[T_EMBEDDING].name = "model.embed_tokens.weight",
    .at[T_FINAL_NORM].name = "model.final_layernorm.weight",
    .at[T_FINAL_NORM_BIAS].name = "model.final_layernorm.bias",
    .at[T_HEAD].name = "lm_head.weight",
    .at[T_HEAD_BIAS].name = "lm_head.bias",
    .at[T_ATTN_NORM].name = "input_layernorm.weight",
    .at[T_ATTN_NORM_BIAS].name = "input_layernorm.bias",
    .at[T_Q].name = "self_attn.q_proj.weight",
    .at[T_K].name = "self_attn.k_proj.weight",
    .at[T_V].name = "self_attn.v_proj.weight",
    .at[T_O].name = "self_attn.dense.weight",
    .at[T_Q_BIAS].name = "self_attn.q_proj.bias",
    .at[T_K_BIAS].name = "self_attn.k_proj.bias",
    .at[T_V_BIAS].name = "self_attn.v_proj.bias",
    .at[T_O_BIAS].name = "self_attn.dense.bias",
    .at[T_UP].name = "mlp.fc1.weight",
    .at[T_DOWN].name = "mlp.fc2.weight",
    .at[T_UP_BIAS].name = "mlp.fc1.bias",
    .at[T_DOWN_BIAS].name = "mlp.fc2.bias",
};

// ---- the GPT-2 family -----------------------------------------------------------------------------

#define GPT(fused, t)                                                                              \
    .base = "transformer.", .layer_prefix = "transformer.h.", .ignored = buffers,                  \
    .at[T_EMBEDDING].name = "transformer.wte.weight",                                              \
    .at[T_POSITIONS].name = "transformer.wpe.weight",                                              \
    .at[T_FINAL_NORM].name = "transformer.ln_f.weight",                                            \
    .at[T_FINAL_NORM_BIAS].name = "transformer.ln_f.bias", .at[T_HEAD].name = "lm_head.weight",    \
    .at[T_ATTN_NORM].name = "ln_1.weight", .at[T_ATTN_NORM_BIAS].name = "ln_1.bias",               \
    .at[T_Q] = {"attn.c_attn.weight", fused, t}, .at[T_K] = {"attn.c_attn.weight", fused, t},      \
    .at[T_V] = {"attn.c_attn.weight", fused, t},                                                   \
    .at[T_Q_BIAS] = {.name = "attn.c_attn.bias", .order = fused},                                  \
    .at[T_K_BIAS] = {.name = "attn.c_attn.bias", .order = fused},                                  \
    .at[T_V_BIAS] = {.name = "attn.c_attn.bias", .order = fused},                                  \
    .at[T_O] = {"attn.c_proj.weight", ORDER_PLAIN, t}, .at[T_O_BIAS].name = "attn.c_proj.bias",    \
    .at[T_FF_NORM].name = "ln_2.weight", .at[T_FF_NORM_BIAS].name = "ln_2.bias",                   \
    .at[T_UP] = {"mlp.c_fc.weight", ORDER_PLAIN, t}, .at[T_UP_BIAS].name = "mlp.c_fc.bias",        \
    .at[T_DOWN] = {"mlp.c_proj.weight", ORDER_PLAIN, t}, .at[T_DOWN_BIAS].name = "mlp.c_proj.bias"

// Conv1D stores (inputs, outputs).
static const struct tensor_names gpt2 = {GPT(ORDER_STACKED, true)};

// With one KV head q, k and v follow each other; with as many as heads they alternate head by head.
static const struct tensor_names gpt_bigcode = {GPT(ORDER_GROUPED, false)};

// ---- bloom, falcon, mpt ---------------------------------------------------------------------------

#define WORDS                                                                                      \
    .base = "transformer.", .layer_prefix = "transformer.h.", .ignored = buffers,                  \
    .at[T_EMBEDDING].name = "transformer.word_embeddings.weight",                                  \
    .at[T_EMBEDDING_NORM].name = "transformer.word_embeddings_layernorm.weight",                   \
    .at[T_EMBEDDING_NORM_BIAS].name = "transformer.word_embeddings_layernorm.bias",                \
    .at[T_FINAL_NORM].name = "transformer.ln_f.weight",                                            \
    .at[T_FINAL_NORM_BIAS].name = "transformer.ln_f.bias", .at[T_HEAD].name = "lm_head.weight",    \
    .at[T_Q] = {.name = "self_attention.query_key_value.weight", .order = ORDER_GROUPED},          \
    .at[T_K] = {.name = "self_attention.query_key_value.weight", .order = ORDER_GROUPED},          \
    .at[T_V] = {.name = "self_attention.query_key_value.weight", .order = ORDER_GROUPED},          \
    .at[T_Q_BIAS] = {.name = "self_attention.query_key_value.bias", .order = ORDER_GROUPED},       \
    .at[T_K_BIAS] = {.name = "self_attention.query_key_value.bias", .order = ORDER_GROUPED},       \
    .at[T_V_BIAS] = {.name = "self_attention.query_key_value.bias", .order = ORDER_GROUPED},       \
    .at[T_O].name = "self_attention.dense.weight",                                                 \
    .at[T_O_BIAS].name = "self_attention.dense.bias", .at[T_UP].name = "mlp.dense_h_to_4h.weight", \
    .at[T_UP_BIAS].name = "mlp.dense_h_to_4h.bias", .at[T_DOWN].name = "mlp.dense_4h_to_h.weight", \
    .at[T_DOWN_BIAS].name = "mlp.dense_4h_to_h.bias"

// bloom, and falcon with blocks one after the other or with one norm in each
static const struct tensor_names bloom = {
    WORDS,
    .at[T_ATTN_NORM].name = "input_layernorm.weight",
    .at[T_ATTN_NORM_BIAS].name = "input_layernorm.bias",
    .at[T_FF_NORM].name = "post_attention_layernorm.weight",
    .at[T_FF_NORM_BIAS].name = "post_attention_layernorm.bias",
};

// falcon with two norms in a parallel block: the new decoder
static const struct tensor_names falcon_two_norms = {
    WORDS,
    .at[T_ATTN_NORM].name = "ln_attn.weight",
    .at[T_ATTN_NORM_BIAS].name = "ln_attn.bias",
    .at[T_FF_NORM].name = "ln_mlp.weight",
    .at[T_FF_NORM_BIAS].name = "ln_mlp.bias",
};

static const struct tensor_names mpt = {
    .base = "transformer.",
    .layer_prefix = "transformer.blocks.",
    .ignored = buffers,
    .at[T_EMBEDDING].name = "transformer.wte.weight",
    .at[T_FINAL_NORM].name = "transformer.norm_f.weight",
    .at[T_HEAD].name = "lm_head.weight",
    .at[T_ATTN_NORM].name = "norm_1.weight",
    .at[T_Q] = {.name = "attn.Wqkv.weight", .order = ORDER_STACKED},
    .at[T_K] = {.name = "attn.Wqkv.weight", .order = ORDER_STACKED},
    .at[T_V] = {.name = "attn.Wqkv.weight", .order = ORDER_STACKED},
    .at[T_O].name = "attn.out_proj.weight",
    .at[T_FF_NORM].name = "norm_2.weight",
    .at[T_UP].name = "ffn.up_proj.weight",
    .at[T_DOWN].name = "ffn.down_proj.weight",
};

// ---- by architecture ------------------------------------------------------------------------------

static const struct {
    const char *arch;
    const struct tensor_names *names;
} tables[] = {
    {"llama", &llama},
    {"mistral", &llama},
    {"mixtral", &mixtral},
    {"qwen2_moe", &qwen2_moe},
    {"qwen2", &llama},
    {"qwen3", &llama},
    {"gemma", &gemma},
    {"gemma2", &gemma2},
    {"gemma3_text", &gemma2},
    {"phi", &phi},
    {"phi3", &phi3},
    {"gpt2", &gpt2},
    {"bloom", &bloom},
    {"falcon", &bloom},
    {"gpt_bigcode", &gpt_bigcode},
    {"mpt", &mpt},
};

const struct tensor_names *hf_names(const struct model_config *config)
{
    if (str_equal(config->arch, "falcon") && config->parallel && !config->shared_norm)
        return &falcon_two_norms;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (str_equal(tables[i].arch, config->arch))
            return tables[i].names;
    return &llama;
}
