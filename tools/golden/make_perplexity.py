#!/usr/bin/env python3
"""Makes tests/golden/reference/perplexity.bin: token windows of models/reference/eval.txt and what
transformers says about them, so that the engine is compared with it without a tokenizer between them.

The convention is that of models/reference/README.md, over the first WINDOWS windows only.
Needs torch, transformers, tokenizers. The format is described in tools/golden/README.md.

usage: make_perplexity.py models/reference OUT_FILE
"""
import os, struct, sys

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

WINDOWS, TOKENS = 4, 512


@torch.no_grad()
def negative_log_likelihood(folder, windows, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    logits = model(windows).logits.double()
    scored = slice(TOKENS // 2 - 1, TOKENS - 1)  # position i predicts token i + 1
    log_p = torch.log_softmax(logits[:, scored], -1)
    target = windows[:, TOKENS // 2:]
    return -log_p.gather(-1, target[..., None])[..., 0].mean(-1)


def main():
    folder, out = sys.argv[1:]
    tok = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    text = open(os.path.join(folder, "eval.txt"), encoding="utf-8").read()
    ids = []
    for document in (d for d in text.split("\f\n") if d.strip()):
        ids += [0] + tok.encode(document).ids
    windows = torch.tensor(ids[:WINDOWS * TOKENS]).view(WINDOWS, TOKENS)
    f32 = negative_log_likelihood(folder, windows, torch.float32)
    bf16 = negative_log_likelihood(folder, windows, torch.bfloat16)
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with open(out, "wb") as f:
        f.write(b"RGPP" + struct.pack("<III", 1, WINDOWS, TOKENS))
        for w in range(WINDOWS):
            f.write(windows[w].numpy().astype("<i4").tobytes())
            f.write(struct.pack("<dd", f32[w].item(), bf16[w].item()))
    print("perplexity f32 %.4f bf16 %.4f" % (f32.mean().exp(), bf16.mean().exp()))


if __name__ == "__main__":
    main()
