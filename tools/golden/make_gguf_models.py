#!/usr/bin/env python3
"""Makes tests/golden/models/gguf-*: small models in GGUF's quantized types, and transformers' logits.

The weights are those that package `gguf` reads back out of the blocks, so that the expected logits are
those of the stored file. Types that `gguf` cannot make (the K types) are filled with random codes whose
scales give the weights the usual spread. Needs torch, transformers and gguf. Deterministic.

usage: make_gguf_models.py OUT_DIR
"""
import os, shutil, sys, zlib

import gguf
import gguf_twin
import make_models
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type, quants
from transformers import LlamaConfig, LlamaForCausalLM

# name: (config, types taken in turn by the matrices)
MODELS = {
    "gguf-small-blocks": (dict(
        vocab_size=301, hidden_size=64, intermediate_size=96, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, tie_word_embeddings=False),
        [Type.Q8_0, Type.Q5_1, Type.Q4_0, Type.F16, Type.Q5_0, Type.Q4_1, Type.BF16, Type.F32]),
    "gguf-k-blocks": (dict(
        vocab_size=131, hidden_size=256, intermediate_size=256, num_attention_heads=4,
        num_key_value_heads=1, head_dim=64, tie_word_embeddings=True),
        [Type.Q6_K, Type.Q4_K, Type.Q5_K]),
}
CENTRE = {Type.Q4_K: 7.5, Type.Q5_K: 15.5}  # dmin / d that makes the mean zero


def random_k_blocks(rng, rows, cols, kind, spread):
    size = gguf.constants.GGML_QUANT_SIZES[kind][1]
    blocks = rng.integers(0, 256, (rows, cols // 256, size), dtype=np.uint8)

    def set_scales(d):
        if kind == Type.Q6_K:
            blocks[..., 208:210] = np.frombuffer(np.float16(d).tobytes(), np.uint8)
        else:
            pair = np.array([d, d * CENTRE[kind]], dtype=np.float16)
            blocks[..., 0:4] = np.frombuffer(pair.tobytes(), np.uint8)
        return blocks.reshape(rows, -1)

    one = quants.dequantize(set_scales(1 / 64), kind).std()
    return set_scales(spread / one / 64)


def stored(rng, value, kind):
    """The tensor as GGUF stores it, and what is read out of it again."""
    if kind in (Type.Q4_K, Type.Q5_K, Type.Q6_K):
        data = random_k_blocks(rng, *value.shape, kind, value.std())
    else:
        data = quants.quantize(value, kind)
    return data, quants.dequantize(data, kind).reshape(value.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def add_metadata(w, name, c):
    w.add_name(name)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_key_length(c.head_dim)
    w.add_value_length(c.head_dim)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(10000.0)
    w.add_rope_dimension_count(c.head_dim)
    w.add_bos_token_id(c.bos_token_id)
    w.add_eos_token_id(c.eos_token_id)


def make(out, name):
    fields, types = MODELS[name]
    folder, seed = os.path.join(out, name), zlib.crc32(name.encode())
    rng = np.random.default_rng(seed)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    config = LlamaConfig(
        num_hidden_layers=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
        pad_token_id=None, rms_norm_eps=1e-5, attn_implementation="eager",
        rope_parameters=dict(rope_type="default", rope_theta=10000.0), **fields)
    model = LlamaForCausalLM(config).eval()
    make_models.randomize(model, seed)
    w = gguf.GGUFWriter(os.path.join(folder, "model.gguf"), "llama")
    add_metadata(w, name, config)
    names, turn = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers), 0
    for hf, tensor in model.state_dict().items():
        if hf == "lm_head.weight" and config.tie_word_embeddings:
            continue
        value, twin = tensor.float().numpy(), names.get_name(hf, try_suffixes=(".weight", ".bias"))
        if value.ndim == 1:
            w.add_tensor(twin, value)
            continue
        heads = (config.num_attention_heads if "q_proj" in hf else
                 config.num_key_value_heads if "k_proj" in hf else 0)
        kind = types[turn % len(types)]
        turn += 1
        data, read = stored(rng, gguf_twin.permute(value, heads) if heads else value, kind)
        w.add_tensor(twin, data, raw_dtype=kind)
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(unpermute(read, heads) if heads else read)))
    make_models.write_golden(os.path.join(folder, "golden.bin"), model, seed)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in MODELS:
        make(sys.argv[1], each)
