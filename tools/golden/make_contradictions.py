#!/usr/bin/env python3
"""Makes tests/golden/models/NAME of folders that contradict themselves, and the logits transformers computes.

Needs what make_models.py needs. Each model is made as there; then its config.json or its tensors are edited,
and transformers reads the edited folder.

usage: make_contradictions.py OUT_DIR [NAME...]
"""
import json, os, shutil, sys, zlib

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from make_models import LLAMA, classes, plain_rope, randomize, write_golden

SIZES = dict(vocab_size=97, hidden_size=32, intermediate_size=30, num_attention_heads=4, num_key_value_heads=2,
             head_dim=16)
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
LINEAR = dict(rope_type="linear", rope_theta=10000.0, factor=2.0)


def two_scalings(config, _):
    config["rope_scaling"] = dict(rope_type="yarn", factor=4.0, beta_fast=4.0,
                                  original_max_position_embeddings=32)


def no_original(config, _):
    del config["rope_parameters"]["original_max_position_embeddings"]


def own_head(_, tensors):
    g = torch.Generator().manual_seed(7)
    embedding = tensors["model.embed_tokens.weight"]
    tensors["lm_head.weight"] = torch.randn(embedding.shape, generator=g).to(embedding.dtype)


def head_alone(_, tensors):
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")


# name: (class, rope, positions, tied, edit)
FOLDERS = {
    "llama-two-scalings": ("Llama", LINEAR, 128, True, two_scalings),
    "llama-llama3-bare": ("Llama", LLAMA3, 64, True, no_original),
    "qwen2-own-head": ("Qwen2", plain_rope(10000.0), 512, True, own_head),
    "qwen2-head-alone": ("Qwen2", plain_rope(10000.0), 512, True, head_alone),
}


def make(out, name):
    prefix, rope, positions, tied, edit = FOLDERS[name]
    folder, seed = os.path.join(out, name), zlib.crc32(name.encode())
    shutil.rmtree(folder, ignore_errors=True)
    kind, config_kind = classes(prefix)
    fields = SIZES | dict(rms_norm_eps=1e-4, tie_word_embeddings=tied, rope_parameters=dict(rope))
    model = kind(config_kind(**LLAMA | fields | dict(max_position_embeddings=positions)))
    randomize(model, seed)
    model.to(torch.float16).save_pretrained(folder)
    if os.path.exists(os.path.join(folder, "generation_config.json")):
        os.remove(os.path.join(folder, "generation_config.json"))
    config_path, weights = os.path.join(folder, "config.json"), os.path.join(folder, "model.safetensors")
    config, tensors = json.load(open(config_path)), load_file(weights)
    edit(config, tensors)
    with open(config_path, "w") as f:
        json.dump(config, f, indent=2, sort_keys=True)
        f.write("\n")
    save_file(tensors, weights, metadata={"format": "pt"})
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    write_golden(os.path.join(folder, "golden.bin"), model, seed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in sys.argv[2:] or FOLDERS:
        make(sys.argv[1], each)
