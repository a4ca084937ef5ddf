#!/usr/bin/env python3
"""Makes tests/golden/models: small random models, GGUF twins and the logits transformers computes.

Needs torch, transformers, safetensors and gguf. Deterministic: each model is seeded by its name.
The formats are described in tools/golden/README.md.

usage: make_models.py OUT_DIR
"""
import json, math, os, shutil, struct, sys, zlib

import gguf
import make_tokenizer
import numpy as np
import torch
from transformers import (AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig,
                          MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM)

COMMON = dict(num_hidden_layers=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
              pad_token_id=None)

# name: (class, config class, config, stored type, shard bytes or None, GGUF architecture or None)
MODELS = {
    "llama-gqa3": (LlamaForCausalLM, LlamaConfig, dict(
        vocab_size=331, hidden_size=60, intermediate_size=62, num_attention_heads=3,
        num_key_value_heads=1, head_dim=20, rms_norm_eps=1e-5, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0)), "float32", None, "llama"),
    "llama-wide-heads": (LlamaForCausalLM, LlamaConfig, dict(
        vocab_size=257, hidden_size=48, intermediate_size=92, num_attention_heads=4,
        num_key_value_heads=4, head_dim=24, rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=5000.0)), "bfloat16", None, "llama"),
    "llama-llama3": (LlamaForCausalLM, LlamaConfig, dict(
        vocab_size=509, hidden_size=64, intermediate_size=50, num_attention_heads=8,
        num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=64)),
        "float32", None, "llama"),
    "llama-linear": (LlamaForCausalLM, LlamaConfig, dict(
        vocab_size=263, hidden_size=56, intermediate_size=90, num_attention_heads=4,
        num_key_value_heads=2, head_dim=14, rms_norm_eps=1e-5, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
        "float16", None, "llama"),
    "qwen2-tied": (Qwen2ForCausalLM, Qwen2Config, dict(
        vocab_size=997, hidden_size=40, intermediate_size=104, num_attention_heads=2,
        num_key_value_heads=1, rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), "float32", None, "qwen2"),
    "qwen2-sharded": (Qwen2ForCausalLM, Qwen2Config, dict(
        vocab_size=307, hidden_size=72, intermediate_size=110, num_attention_heads=6,
        num_key_value_heads=2, rms_norm_eps=1e-6, tie_word_embeddings=False, sliding_window=4,
        use_sliding_window=False,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0)), "bfloat16", 80000, None),
    "mistral-window": (MistralForCausalLM, MistralConfig, dict(
        vocab_size=419, hidden_size=48, intermediate_size=66, num_attention_heads=6,
        num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5, tie_word_embeddings=False,
        sliding_window=7,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0)), "float32", None, "llama"),
}
TOKENIZERS = {"llama-llama3": ("llama3", "llama-bpe"), "qwen2-tied": ("qwen2", "qwen2")}
CASES = [(1, 4, 0), (13, 6, 0), (70, 3, 69)]  # prompt, decode, first stored row


def randomize(model, seed):
    """Weights that spread the scores: transformers' own 0.02 would make every attention uniform."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            if name.endswith("norm.weight"):
                p.copy_(1 + 0.2 * noise)
            elif p.dim() == 1:
                p.copy_(0.3 * noise)
            elif "embed" in name:
                p.copy_(noise / (math.sqrt(p.shape[1]) if model.config.tie_word_embeddings else 1))
            else:
                p.copy_(noise * (1.5 if "q_proj" in name or "k_proj" in name else 1.0)
                        / math.sqrt(p.shape[1]))


@torch.no_grad()
def expected(model, prompt, decode, seed):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, model.config.vocab_size, (1, prompt + decode), generator=g)
    whole = model(ids).logits[0]
    step = model(ids[:, :prompt], use_cache=True)
    rows = [step.logits[0]]
    for i in range(prompt, prompt + decode):
        step = model(ids[:, i:i + 1], past_key_values=step.past_key_values, use_cache=True)
        rows.append(step.logits[0])
    rows = torch.cat(rows)
    worst = (rows - whole).abs().max() / whole.abs().max()
    assert worst < 1e-5, worst
    return ids[0].numpy().astype("<i4"), rows.numpy().astype("<f4")


def write_golden(path, model, seed):
    with open(path, "wb") as f:
        f.write(b"RGLD" + struct.pack("<III", 1, model.config.vocab_size, len(CASES)))
        for n, (prompt, decode, first) in enumerate(CASES):
            ids, rows = expected(model, prompt, decode, seed + 1 + n)
            f.write(struct.pack("<III", prompt, decode, first) + ids.tobytes() + rows[first:].tobytes())


def permute(w, heads):
    """llama.cpp's order of Q and K rows: the halves of each head interleaved."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    outside = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
               "lm_head.weight": "output.weight"}
    if name in outside:
        return outside[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    stem, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{LAYER_NAMES[stem]}.{kind}"


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


def add_tokenizer(w, tok, pre):
    added = set(tok.get_added_tokens_decoder())
    ids = range(tok.get_vocab_size())
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list([tok.id_to_token(i) for i in ids])
    w.add_token_types([gguf.TokenType.CONTROL if i in added else gguf.TokenType.NORMAL for i in ids])
    w.add_token_merges([" ".join(m) for m in json.loads(tok.to_str())["model"]["merges"]])


def write_gguf(path, name, model, arch, dtype, tok):
    c, rope = model.config, model.config.rope_parameters
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w = gguf.GGUFWriter(path, arch)
    w.add_name(name)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_key_length(head_dim)
    w.add_value_length(head_dim)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(rope["rope_theta"])
    w.add_rope_dimension_count(head_dim)
    w.add_vocab_size(c.vocab_size)
    w.add_bos_token_id(c.bos_token_id)
    w.add_eos_token_id(c.eos_token_id)
    if tok:
        add_tokenizer(w, tok, TOKENIZERS[name][1])
    if rope["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    if getattr(c, "sliding_window", None) and c.model_type == "mistral":
        w.add_sliding_window(c.sliding_window)
    if rope["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(rope, head_dim))
    for hf, tensor in model.state_dict().items():
        if hf == "lm_head.weight" and c.tie_word_embeddings:
            continue
        value = tensor.float().numpy()
        if arch == "llama" and "q_proj" in hf:
            value = permute(value, c.num_attention_heads)
        if arch == "llama" and "k_proj" in hf:
            value = permute(value, c.num_key_value_heads)
        if dtype == "float32" or value.ndim == 1:
            w.add_tensor(gguf_name(hf), value)
        elif dtype == "float16":
            w.add_tensor(gguf_name(hf), value.astype(np.float16))
        else:
            kind = gguf.GGMLQuantizationType.BF16
            w.add_tensor(gguf_name(hf), gguf.quants.quantize(value, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def spell_as_transformers4(folder):
    path = os.path.join(folder, "config.json")
    config = json.load(open(path))
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")
    json.dump(config, open(path, "w"), indent=2, sort_keys=True)
    open(path, "a").write("\n")


def make(out, name):
    kind, config_kind, fields, dtype, shard, arch = MODELS[name]
    folder, seed = os.path.join(out, name), zlib.crc32(name.encode())
    shutil.rmtree(folder, ignore_errors=True)
    model = kind(config_kind(**COMMON, **fields))
    randomize(model, seed)
    model.to(getattr(torch, dtype)).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    if os.path.exists(os.path.join(folder, "generation_config.json")):
        os.remove(os.path.join(folder, "generation_config.json"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    write_golden(os.path.join(folder, "golden.bin"), model, seed)
    tok = None
    if name in TOKENIZERS:
        tok = make_tokenizer.train(TOKENIZERS[name][0], model.config.vocab_size - 9, odd_tokens=False)
        tok.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    if arch:
        write_gguf(os.path.join(folder, "model.gguf"), name, model, arch, dtype, tok)
    if name == "llama-wide-heads":
        spell_as_transformers4(folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in MODELS:
        make(sys.argv[1], each)
