// names.c - the names and orders that llama.cpp's converter gives the tensors of each architecture.
//
// One table has the names that all architectures share. Small tables override it for the differences: fused tensors, a
// second norm under another name. Older converters used other names for some tensors; the tensors of a file decide
// which names apply.
// Source: the package gguf (constants, tensor_mapping); llama.cpp's converter for the order of rows.
#include "base/str.h"
#include "engine/load/gguf/gguf.h"

static const struct tensor_names common = {
    .base = "",
    .layer_prefix = "blk.",
    .at[T_EMBEDDING].name = "token_embd.weight",
    .at[T_POSITIONS].name = "position_embd.weight",
    .at[T_EMBEDDING_NORM].name = "token_embd_norm.weight",
    .at[T_EMBEDDING_NORM_BIAS].name = "token_embd_norm.bias",
    .at[T_HEAD].name = "output.weight",
    .at[T_HEAD_BIAS].name = "output.bias",
    .at[T_FINAL_NORM].name = "output_norm.weight",
    .at[T_FINAL_NORM_BIAS].name = "output_norm.bias",
    .at[T_ATTN_NORM].name = "attn_norm.weight",
    .at[T_ATTN_NORM_BIAS].name = "attn_norm.bias",
    .at[T_Q].name = "attn_q.weight",
    .at[T_K].name = "attn_k.weight",
    .at[T_V].name = "attn_v.weight",
    .at[T_O].name = "attn_output.weight",
    .at[T_Q_BIAS].name = "attn_q.bias",
    .at[T_K_BIAS].name = "attn_k.bias",
    .at[T_V_BIAS].name = "attn_v.bias",
    .at[T_O_BIAS].name = "attn_output.bias",
    .at[T_Q_NORM].name = "attn_q_norm.weight",
    .at[T_K_NORM].name = "attn_k_norm.weight",
    .at[T_ATTN_POST_NORM].name = "post_attention_norm.weight",
    .at[T_FF_NORM].name = "ffn_norm.weight",
    .at[T_FF_NORM_BIAS].name = "ffn_norm.bias",
    .at[T_GATE].name = "ffn_gate.weight",
    .at[T_UP].name = "ffn_up.weight",
    .at[T_DOWN].name = "ffn_down.weight",
    .at[T_GATE_BIAS].name = "ffn_gate.bias",
    .at[T_UP_BIAS].name = "ffn_up.bias",
    .at[T_DOWN_BIAS].name = "ffn_down.bias",
    .at[T_FF_POST_NORM].name = "post_ffw_norm.weight",
    .at[T_ROUTER].name = "ffn_gate_inp.weight",
    .at[T_SHARED_GATE].name = "ffn_gate_shexp.weight",
    .at[T_SHARED_UP].name = "ffn_up_shexp.weight",
    .at[T_SHARED_DOWN].name = "ffn_down_shexp.weight",
    .at[T_SHARED_ROUTER].name = "ffn_gate_inp_shexp.weight",
    .at[T_EXPERT_GATE].name = "ffn_gate_exps.weight",
    .at[T_EXPERT_UP].name = "ffn_up_exps.weight",
    .at[T_EXPERT_DOWN].name = "ffn_down_exps.weight",
};

static void fuse_qkv(struct tensor_names *names)
{
    for (int role = T_Q; role <= T_V; role++)
        names->at[role] = (struct tensor_name){.name = "attn_qkv.weight", .order = ORDER_STACKED};
    for (int role = T_Q_BIAS; role <= T_V_BIAS; role++)
        names->at[role] = (struct tensor_name){.name = "attn_qkv.bias", .order = ORDER_STACKED};
}

static void part_qkv(struct tensor_names *names)
{
    for (int role = T_Q; role <= T_V; role++)
        names->at[role] = common.at[role];
    for (int role = T_Q_BIAS; role <= T_V_BIAS; role++)
        names->at[role] = common.at[role];
}

void gguf_names(const struct model_config *config, struct tensor_names *out)
{
    static const char *const fused[] = {"phi3", "gpt2", "gpt_bigcode", "falcon", "mpt", "bloom"};
    static const enum tensor_role halves[] = {T_Q, T_K, T_Q_BIAS, T_K_BIAS};
    const struct arch *arch = arch_find(config->arch);
    *out = common;
    for (size_t i = 0; i < sizeof halves / sizeof *halves && arch && arch->gguf_permuted; i++)
        out->at[halves[i]].order = ORDER_INTERLEAVED;
    for (size_t i = 0; i < sizeof fused / sizeof *fused; i++)
        if (str_equal(config->arch, fused[i]))
            fuse_qkv(out);
    if (str_equal(config->arch, "phi3")) // the gate's rows, then up's
        out->at[T_GATE] = out->at[T_UP] =
            (struct tensor_name){.name = "ffn_up.weight", .order = ORDER_STACKED};
    if (str_equal(config->arch, "falcon") && config->parallel && !config->shared_norm) {
        out->at[T_ATTN_NORM].name = "attn_norm_2.weight";
        out->at[T_ATTN_NORM_BIAS].name = "attn_norm_2.bias";
        out->at[T_FF_NORM].name = "attn_norm.weight";
        out->at[T_FF_NORM_BIAS].name = "attn_norm.bias";
    }
}

void gguf_names_of(const struct gguf *g, struct tensor_names *out)
{
    gguf_names(&g->config, out);
    if (gguf_find_info(g, "blk.0.attn_qkv.weight"))
        fuse_qkv(out);
    else if (out->at[T_Q].order == ORDER_STACKED && gguf_find_info(g, "blk.0.attn_q.weight"))
        part_qkv(out);
    if (gguf_find_info(g, "blk.0.ffn_gate.0.weight")) {
        out->at[T_EXPERT_GATE].name = "ffn_gate.*.weight";
        out->at[T_EXPERT_UP].name = "ffn_up.*.weight";
        out->at[T_EXPERT_DOWN].name = "ffn_down.*.weight";
    }
}
