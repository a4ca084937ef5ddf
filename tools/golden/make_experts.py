#!/usr/bin/env python3
"""Makes a mixtral of the reference model: each expert a copy of the layer's feed-forward, the router random.
So it computes what the reference model does, and loses what quantizing its experts makes it lose.

Needs torch, safetensors; runs from the root of the repository. Nothing of it is kept.

usage: make_experts.py OUT [EXPERTS [USED]]
"""
import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file

SOURCE = pathlib.Path("models/reference")
NAMES = {"gate_proj.weight": "w1", "up_proj.weight": "w3", "down_proj.weight": "w2"}


def main():
    out = pathlib.Path(sys.argv[1])
    experts = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    used = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    config = json.loads((SOURCE / "config.json").read_text())
    random = torch.Generator().manual_seed(1)
    tensors = {}
    for name, weight in load_file(SOURCE / "model.safetensors").items():
        layer, mlp, part = name.partition(".mlp.")
        if not mlp:
            tensors[name] = weight
            continue
        for e in range(experts):
            tensors[f"{layer}.block_sparse_moe.experts.{e}.{NAMES[part]}.weight"] = weight.clone()
    width = config["hidden_size"]
    for layer in range(config["num_hidden_layers"]):
        router = torch.randn(experts, width, generator=random) / width**0.5
        tensors[f"model.layers.{layer}.block_sparse_moe.gate.weight"] = router.to(torch.bfloat16)
    config.update(
        architectures=["MixtralForCausalLM"],
        model_type="mixtral",
        num_local_experts=experts,
        num_experts_per_tok=used,
        sliding_window=None,
    )
    for key in ("attention_bias", "mlp_bias", "pretraining_tp"):
        config.pop(key, None)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config, indent=1))
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "generation_config.json"):
        shutil.copy(SOURCE / name, out)


main()
