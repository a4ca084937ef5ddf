#!/usr/bin/env python3
"""Prints what transformers makes of config.json files that spell one setting twice or leave it out.

Needs transformers alone. tests/load/test_spellings.c expects what this prints.

usage: show_spellings.py
"""
import json
import os
import tempfile

import transformers
from transformers import AutoConfig

SIZES = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             intermediate_size=96, vocab_size=100, max_position_embeddings=128)
OWN_NAMES = ("gpt2", "bloom", "mpt", "falcon")  # of the sizes
SHOWN = ("rope_parameters", "sliding_window", "layer_types", "hidden_size", "num_hidden_layers", "head_dim",
         "original_max_position_embeddings", "num_local_experts", "dtype")


def show(what, model, **fields):
    with tempfile.TemporaryDirectory() as folder:
        sizes = dict(vocab_size=100) if model in OWN_NAMES else SIZES
        json.dump(sizes | dict(model_type=model) | fields, open(os.path.join(folder, "config.json"), "w"))
        try:
            config = AutoConfig.from_pretrained(folder)
            print(f"{model}: {what}: { {k: getattr(config, k, None) for k in SHOWN} }")
        except Exception as e:
            print(f"{model}: {what}: {type(e).__name__}: {str(e)[:200]}")


transformers.logging.set_verbosity_error()
print("transformers", transformers.__version__)
yarn = dict(rope_type="yarn", factor=4.0)
show("both", "llama", rope_scaling=yarn, rope_parameters=dict(rope_type="default", rope_theta=500000.0))
show("both+theta", "llama", rope_theta=7.0, rope_scaling=yarn, rope_parameters=dict(rope_type="default", rope_theta=500000.0))
show("empty scaling", "llama", rope_scaling={}, rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=5e5))
show("theta both", "llama", rope_theta=7.0, rope_parameters=dict(rope_type="default", rope_theta=500000.0))
show("rope_params no theta", "llama", rope_theta=7.0, rope_parameters=dict(rope_type="linear", factor=2.0))
show("type+rope_type", "llama", rope_scaling=dict(type="linear", rope_type="default", factor=3.0))
show("rope_type null", "llama", rope_scaling=dict(type="linear", rope_type=None, factor=3.0))
for m in ("llama", "phi3", "qwen2"):
    show("top orig yarn", m, original_max_position_embeddings=32, rope_scaling=dict(rope_type="longrope" if m=="phi3" else "yarn", factor=4.0, short_factor=[1.0]*8, long_factor=[2.0]*8))
    show("both orig", m, original_max_position_embeddings=32, rope_scaling=dict(rope_type="longrope" if m=="phi3" else "yarn", factor=4.0, original_max_position_embeddings=16, short_factor=[1.0]*8, long_factor=[2.0]*8))
    show("in orig", m, rope_scaling=dict(rope_type="longrope" if m=="phi3" else "yarn", factor=4.0, original_max_position_embeddings=16, short_factor=[1.0]*8, long_factor=[2.0]*8))
show("llama3 bare", "llama", rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0))
show("llama3 top", "llama", original_max_position_embeddings=32, rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0))
show("yarn no factor", "llama", rope_scaling=dict(rope_type="yarn", original_max_position_embeddings=32))
show("g3", "gemma3_text", rope_scaling=dict(rope_type="linear", factor=8.0), rope_parameters=dict(full_attention=dict(rope_type="default", rope_theta=5.0), sliding_attention=dict(rope_type="default", rope_theta=6.0)), rope_theta=7.0, rope_local_base_freq=8.0, head_dim=16)
show("g3 flat params", "gemma3_text", rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=5.0), head_dim=16)
show("g3 scal rope_theta", "gemma3_text", rope_scaling=dict(rope_type="linear", factor=8.0, rope_theta=9.0), rope_theta=7.0, head_dim=16)
show("g3 nested in scaling", "gemma3_text", rope_scaling=dict(full_attention=dict(rope_type="linear", factor=8.0)), head_dim=16)
show("nested llama", "llama", rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0), sliding_attention=dict(rope_type="default")))
show("g2 nested", "gemma2", rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0), sliding_attention=dict(rope_type="default")), head_dim=16)
show("qwen3 layer_types no use", "qwen3", layer_types=["sliding_attention", "full_attention"], head_dim=16)
show("qwen2moe win", "qwen2_moe", use_sliding_window=True, max_window_layers=1)
show("mixtral no theta", "mixtral")
show("gpt2 alias", "gpt2", n_embd=12, hidden_size=24, n_layer=1, num_hidden_layers=3, n_head=2, num_attention_heads=4)
show("bloom alias", "bloom", hidden_size=24, n_embed=48, n_layer=1, num_hidden_layers=3)
show("falcon alias", "falcon", hidden_size=142, n_embed=284, n_layer=1, num_hidden_layers=3)
show("mpt alias", "mpt", d_model=24, hidden_size=48, n_layers=1, num_hidden_layers=3)
show("mixtral alias", "mixtral", num_local_experts=4, num_experts=6)
show("dtype", "llama", dtype="bfloat16", torch_dtype="float16")
show("prf", "phi", partial_rotary_factor=0.25, rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.75))
show("prf2", "phi", rope_scaling=dict(rope_type="linear", factor=2.0), rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.75))
