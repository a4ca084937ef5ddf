#!/usr/bin/env python3
"""Reads a GGUF file that `bench convert` wrote with package `gguf`, and compares it with the folder it came from.

For llama, mistral and qwen2 folders: every tensor, dequantized, against the safetensors' (Q and K rows permuted back);
types, the sizes in the keys, and the tokens. Run by hand; needs gguf, safetensors and torch.

usage: read_gguf.py FOLDER FILE.gguf
"""
import json, os, sys

import gguf
import gguf_twin
import numpy as np
from gguf import quants

BOUNDS = {"F32": 0, "BF16": 0, "F16": 2 ** -10, "Q8_0": 0.005, "Q4_0": 0.13}  # of the row's largest


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def main(folder, path):
    config = json.load(open(os.path.join(folder, "config.json")))
    reader = gguf.GGUFReader(path)
    arch = reader.get_field("general.architecture").contents()
    names = gguf.get_tensor_name_map({v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[arch],
                                     config["num_hidden_layers"])
    found = {t.name: t for t in reader.tensors}
    checked = {"rope_freqs.weight"} & found.keys()
    for hf, want in gguf_twin.stored_tensors(folder).items():
        name = names.get_name(hf, try_suffixes=(".weight", ".bias"))
        if name == "output.weight" and config["tie_word_embeddings"]:
            continue
        t = found[name]
        got = quants.dequantize(t.data, t.tensor_type).reshape(want.shape).astype(np.float32)
        heads = {"attn_q": config["num_attention_heads"],
                 "attn_k": config["num_key_value_heads"]}.get(name.split(".")[-2])
        if arch == "llama" and heads:
            got = unpermute(got, heads)
        worst = (np.abs(got - want).max(-1) / np.maximum(np.abs(want).max(-1), 1e-30)).max()
        assert worst <= BOUNDS[t.tensor_type.name], (name, t.tensor_type.name, worst)
        checked.add(name)
    assert checked == found.keys(), found.keys() - checked
    for key, field in (("embedding_length", "hidden_size"), ("block_count", "num_hidden_layers"),
                       ("attention.head_count", "num_attention_heads"), ("vocab_size", "vocab_size")):
        assert reader.get_field(f"{arch}.{key}").contents() == config[field], key
    tokens = reader.get_field("tokenizer.ggml.tokens")
    assert tokens is None or len(tokens.contents()) == config["vocab_size"]
    print(f"{path}: {len(found)} tensors as in {folder}, "
          f"{'no tokenizer' if tokens is None else 'a token for each row'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
