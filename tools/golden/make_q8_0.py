#!/usr/bin/env python3
"""Makes tests/golden/q8_0: one small random llama in a GGUF file of Q8_0, and its logits under scheme q8_0.

As make_schemes.py, but the weights of the products are what package `gguf` reads out of the file's blocks, not
rounded again. Some codes are -128, which no writer makes and every reader has to read. Needs torch, transformers
and gguf. Deterministic.

usage: make_q8_0.py OUT_DIR
"""
import os, shutil, struct, sys

import gguf
import gguf_twin
import make_gguf_models
import make_schemes
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type, quants
from transformers import LlamaConfig, LlamaForCausalLM

# 64, 96 and 160 inputs: two, three and five groups of 32, none of which fills a GPU's unit of 256
CONFIG = make_schemes.CONFIG | dict(hidden_size=96, intermediate_size=160, head_dim=16)
PROMPT, DECODE, SEED = make_schemes.PROMPT, make_schemes.DECODE, make_schemes.SEED

# scheme, inputs of products, head, KV cache
CASES = [("q8_0", "int8", "bf16", "f32"), ("q8_0", "bf16", "bf16", "f32"), ("q8_0", "int8", "int8", "int8")]


def blocks_of(value):
    data = quants.quantize(value, Type.Q8_0)
    data.reshape(-1, 34)[::7, 5] = 0x80
    return data, quants.dequantize(data, Type.Q8_0).reshape(value.shape)


def write_model(path, model):
    c = model.config
    w = gguf.GGUFWriter(path, "llama")
    make_gguf_models.add_metadata(w, "q8_0", c)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c.num_hidden_layers)
    for hf, tensor in model.state_dict().items():
        value, twin = tensor.float().numpy(), names.get_name(hf, try_suffixes=(".weight",))
        if value.ndim == 1:
            w.add_tensor(twin, value)
            continue
        heads = c.num_attention_heads if "q_proj" in hf else c.num_key_value_heads if "k_proj" in hf else 0
        data, read = blocks_of(gguf_twin.permute(value, heads) if heads else value)
        w.add_tensor(twin, data, raw_dtype=Type.Q8_0)
        read = make_gguf_models.unpermute(read, heads) if heads else read
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(read)))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def logits(model, ids, inputs, head, kv):
    """model: in float64, with the weights of the file. Its products' weights stay, and its head is rounded."""
    for layer in model.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name, linear in list(block.named_children()):
                if isinstance(linear, torch.nn.Linear):
                    setattr(block, name, make_schemes.Rounded(linear, "f32", inputs))
    model.lm_head = make_schemes.Rounded(model.lm_head, head, make_schemes.inputs_of(head, inputs))
    model.model.embed_tokens.weight.data = make_schemes.ROUND["bf16"](model.model.embed_tokens.weight.data)
    cache = make_schemes.RoundedCache()
    cache.kind = kv
    return model(ids, past_key_values=cache, use_cache=True).logits[0].float()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    out = sys.argv[1]
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG, attn_implementation="eager"))
    make_schemes.randomize(model)
    write_model(os.path.join(out, "model.gguf"), model)
    state = model.state_dict()
    ids = torch.randint(0, CONFIG["vocab_size"], (1, PROMPT + DECODE),
                        generator=torch.Generator().manual_seed(SEED))
    with open(os.path.join(out, "golden.bin"), "wb") as f:
        f.write(b"RGSC" + struct.pack("<IIIII", 1, CONFIG["vocab_size"], PROMPT, DECODE, len(CASES)))
        f.write(ids[0].numpy().astype("<i4").tobytes())
        for case in CASES:
            fresh = LlamaForCausalLM(LlamaConfig(**CONFIG, attn_implementation="eager")).double().eval()
            fresh.load_state_dict(state)
            f.write(b"".join(make_schemes.text(word, 16) for word in case))
            f.write(logits(fresh, ids, *case[1:]).numpy().astype("<f4").tobytes())
