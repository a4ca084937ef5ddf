"""Writes a GGUF file of a Hugging Face folder in llama.cpp's conventions, unquantized.

What llama.cpp's converter does to names, orders and values is reimplemented here, architecture by
architecture, so that our reader is compared with files of that form; tools/golden/README.md lists it.
Tensor names come from the package gguf.
"""
import glob, math, os, re

import gguf
import numpy as np
from safetensors.torch import load_file

ARCHITECTURES = {
    "llama": "llama", "mistral": "llama", "mixtral": "llama", "qwen2": "qwen2", "qwen2_moe": "qwen2moe",
    "qwen3": "qwen3", "phi": "phi2", "phi3": "phi3", "gemma": "gemma", "gemma2": "gemma2", "gpt2": "gpt2",
    "gpt_bigcode": "starcoder", "falcon": "falcon", "mpt": "mpt", "bloom": "bloom"}
RMS = ("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "phi3", "gemma", "gemma2")


def stored_tensors(folder):
    """name: f32 array, of every file of the folder."""
    out = {}
    for path in sorted(glob.glob(os.path.join(folder, "model*.safetensors"))):
        out |= {name: t.float().numpy() for name, t in load_file(path).items()}
    return out


# ---- values ----------------------------------------------------------------------------------------

def permute(w, heads):
    """llama.cpp's order of Q and K rows: the halves of each head interleaved."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def permuted_qk(tensors, c):
    heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}
    for name, w in tensors.items():
        part = name.rsplit(".", 2)[-2]
        yield name, permute(w, heads[part]) if part in heads else w


def stacked(tensors, parts):
    """Experts N of one layer and kind become one tensor: (experts, rows, cols)."""
    groups, rest = {}, []
    for name, w in tensors:
        m = re.fullmatch(r"model\.layers\.(\d+)\.(?:block_sparse_moe|mlp)\.experts\.(\d+)\.(\w+)\.weight", name)
        if m:
            groups.setdefault((int(m[1]), m[3]), {})[int(m[2])] = w
        else:
            rest.append((name, w))
    for (layer, kind), experts in groups.items():
        rest.append((parts.format(layer, kind) + ".weight", np.stack([experts[i] for i in sorted(experts)])))
    return rest


def mixtral(tensors, c):
    return stacked(permuted_qk(tensors, c), "layers.{}.feed_forward.experts.{}")


def qwen2_moe(tensors, c):
    flat = [(n, w.reshape(-1) if n.endswith("shared_expert_gate.weight") else w) for n, w in tensors.items()]
    return stacked(flat, "model.layers.{}.mlp.experts.{}")


def gemma(tensors, c):
    return [(n, w + 1 if n.endswith("norm.weight") else w) for n, w in tensors.items()]


def gpt2(tensors, c):
    kinds = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")
    return [(n, np.ascontiguousarray(w.T) if n.endswith(kinds) else w) for n, w in tensors.items()
            if not n.endswith((".attn.bias", ".attn.masked_bias"))]


def regrouped(w, groups, queries, head_dim):
    """[groups][queries + k + v] heads to all of q, then all of k, then all of v."""
    parts = w.reshape(groups, queries + 2, head_dim, *w.shape[1:])
    flat = [p.reshape(-1, *w.shape[1:]) for p in (parts[:, :-2], parts[:, -2:-1], parts[:, -1:])]
    return np.concatenate(flat)


def falcon(tensors, c):
    groups = c.num_kv_heads if c.new_decoder_architecture else 1
    head_dim = c.hidden_size // c.num_attention_heads
    return [(n, regrouped(w, groups, c.num_attention_heads // groups, head_dim) if "query_key_value" in n else w)
            for n, w in tensors.items()]


def bloom(tensors, c):
    head_dim = c.hidden_size // c.n_head
    return [(n.removeprefix("transformer."),
             regrouped(w, c.n_head, 1, head_dim) if "query_key_value" in n else w) for n, w in tensors.items()]


VALUES = {"llama": permuted_qk, "mistral": permuted_qk, "mixtral": mixtral, "qwen2_moe": qwen2_moe,
          "gemma": gemma, "gemma2": gemma, "gpt2": gpt2, "falcon": falcon, "bloom": bloom}


# ---- metadata --------------------------------------------------------------------------------------

def llama3_factors(rope, head_dim):
    """What llama.cpp's converter stores in rope_freqs.weight: the divisor of each frequency."""
    out, old = [], rope["original_max_position_embeddings"]
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / head_dim)
        if wavelength < old / rope["high_freq_factor"]:
            out.append(1.0)
        elif wavelength > old / rope["low_freq_factor"]:
            out.append(rope["factor"])
        else:
            smooth = ((old / wavelength - rope["low_freq_factor"])
                      / (rope["high_freq_factor"] - rope["low_freq_factor"]))
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(out, dtype=np.float32)


def first(c, *names, default=None):
    return next((getattr(c, n) for n in names if getattr(c, n, None) is not None), default)


def add_rope(w, c, head_dim):
    """What is written, and the tensors of factors."""
    rope = c.rope_parameters
    kind, factors = rope["rope_type"], {}
    share = rope.get("partial_rotary_factor", 1.0)
    w.add_rope_dimension_count(int(share * head_dim))
    if c.model_type not in ("falcon", "gemma", "gemma2", "phi"):
        w.add_rope_freq_base(rope["rope_theta"])
    if kind == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        w.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        w.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    if kind == "llama3":
        factors["rope_freqs.weight"] = llama3_factors(rope, head_dim)
    if kind == "longrope":
        original = rope["original_max_position_embeddings"]
        scale = c.max_position_embeddings / original
        w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))
        for length in ("long", "short"):
            factors[f"rope_factors_{length}.weight"] = np.array(rope[f"{length}_factor"], dtype=np.float32)
    if c.model_type == "phi3":
        w.add_rope_scaling_orig_ctx_len(rope.get("original_max_position_embeddings", c.max_position_embeddings))
    return factors


def add_attention(w, c):
    kind = c.model_type
    if kind == "mistral" or kind == "gemma2" or (kind == "phi3" and c.sliding_window):
        w.add_sliding_window(c.sliding_window)
    if kind == "phi3" and not c.sliding_window:
        w.add_sliding_window(0)
    if kind == "gemma2":
        w.add_attn_logit_softcapping(c.attn_logit_softcapping)
        w.add_final_logit_softcapping(c.final_logit_softcapping)
        w.add_attention_scale(c.query_pre_attn_scalar ** -0.5)  # not the converter's: see README
    if kind == "mpt":
        w.add_max_alibi_bias(float(c.attn_config.alibi_bias_max))
    if kind == "falcon":
        w.add_tensor_data_layout("jploski")


def add_experts(w, c):
    if c.model_type == "mixtral":
        w.add_expert_count(c.num_local_experts)
        w.add_expert_used_count(c.num_experts_per_tok)
    if c.model_type == "qwen2_moe":
        w.add_expert_count(c.num_experts)
        w.add_expert_used_count(c.num_experts_per_tok)
        w.add_expert_feed_forward_length(c.moe_intermediate_size)
        w.add_expert_shared_feed_forward_length(c.shared_expert_intermediate_size)
        if c.norm_topk_prob:
            w.add_expert_weights_norm(True)  # not the converter's: see README


def add_dimensions(w, c):
    kind = c.model_type
    width, heads = first(c, "hidden_size", "n_embd", "d_model"), first(c, "num_attention_heads", "n_head", "n_heads")
    kv = first(c, "num_key_value_heads", default=heads)
    if kind == "falcon":
        kv = c.num_kv_heads if c.new_decoder_architecture else 1
    if kind == "gpt_bigcode":
        kv = 1
    head_dim = first(c, "head_dim", default=width // heads)
    w.add_context_length(first(c, "max_position_embeddings", "n_positions", "max_seq_len", default=512))
    w.add_embedding_length(width)
    w.add_block_count(first(c, "num_hidden_layers", "n_layer", "n_layers"))
    w.add_feed_forward_length(first(c, "intermediate_size", "ffn_hidden_size", "n_inner", default=4 * width))
    w.add_head_count(heads)
    if kind not in ("gpt2", "mpt"):
        w.add_head_count_kv(kv)
    if "head_dim" in c.to_dict() and kind != "phi3":
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if kind in RMS:
        w.add_layer_norm_rms_eps(c.rms_norm_eps)
    else:
        w.add_layer_norm_eps(first(c, "layer_norm_eps", "layer_norm_epsilon"))
    return head_dim


# ---- the file --------------------------------------------------------------------------------------

def add_tensor(w, name, value, dtype):
    value = np.ascontiguousarray(value, dtype=np.float32)
    if dtype == "float32" or value.ndim == 1:
        w.add_tensor(name, value)
    elif dtype == "float16":
        w.add_tensor(name, value.astype(np.float16))
    else:
        kind = gguf.GGMLQuantizationType.BF16
        w.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)


def split_experts(name, value):
    """The older form: one tensor an expert."""
    if not name.endswith("_exps.weight"):
        return [(name, value)]
    stem = name.removesuffix("_exps.weight")
    return [(f"{stem}.{i}.weight", expert) for i, expert in enumerate(value)]


def write(path, name, config, folder, dtype, add_tokenizer=None, older_experts=False):
    c, tensors = config, stored_tensors(folder)
    architecture = ARCHITECTURES[c.model_type]
    w = gguf.GGUFWriter(path, architecture)
    w.add_name(name)
    head_dim = add_dimensions(w, c)
    if c.model_type in ("llama", "mistral", "mixtral"):
        w.add_vocab_size(c.vocab_size)
    if c.bos_token_id is not None:
        w.add_bos_token_id(c.bos_token_id)
    if c.eos_token_id is not None:
        w.add_eos_token_id(c.eos_token_id)
    if add_tokenizer:
        add_tokenizer(w)
    has_rope = c.model_type not in ("gpt2", "gpt_bigcode", "mpt", "bloom")
    factors = add_rope(w, c, head_dim) if has_rope else {}
    add_attention(w, c)
    add_experts(w, c)
    for each, value in factors.items():
        w.add_tensor(each, value)
    kinds = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], 8)
    values = VALUES.get(c.model_type, lambda t, _: t.items())
    for hf, value in values(tensors, c):
        twin = names.get_name(hf, try_suffixes=(".weight", ".bias"))
        assert twin, hf
        for final, array in split_experts(twin, value) if older_experts else [(twin, value)]:
            add_tensor(w, final, array, dtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
