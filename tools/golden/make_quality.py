#!/usr/bin/env python3
"""Makes tests/golden/reference/quality.bin: what transformers says of the first windows of
models/reference/eval.txt by each convention of `bench quality`, and how far the same model with another
rotary base is from it.

The text goes in as text: tokenizer, documents, windows and scored tokens are held together. The format is
described in tools/golden/README.md. Needs torch, transformers, tokenizers.

usage: make_quality.py models/reference OUT_FILE
"""
import os, struct, sys

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

BOS = 0
# name, tokens of a window, first scored token, windows
CONVENTIONS = [("half-512", 512, 256, 4), ("llama-512", 512, 257, 4), ("full-2048", 2048, 1, 1)]
# The judged model of the comparison: the same weights turned by another rotary base. Both run in f32, so nothing but
# the formulas of the divergence is compared with ours.
OTHER_THETA = 9000.0


def load(folder, dtype, theta=None):
    config = AutoConfig.from_pretrained(folder)
    if theta:
        config.rope_parameters["rope_theta"] = theta
    return AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=dtype, attn_implementation="eager").eval()


def windows_of(name, tokens, count, tok, text):
    if name == "half-512":
        ids = []
        for document in (d for d in text.split("\f\n") if d.strip()):
            ids += [BOS] + tok.encode(document).ids
    elif name == "llama-512":
        # No bos: this tokenizer adds none. The text spells no special token.
        ids = tok.encode(text[:-1] if text.endswith("\n") else text).ids
    else:
        ids = [BOS] + tok.encode(text).ids
    return torch.tensor(ids[:count * tokens]).view(count, tokens)


@torch.no_grad()
def log_softmax(model, windows, first):
    logits = model(windows).logits.double()[:, first - 1:-1]  # position i predicts token i + 1
    return torch.log_softmax(logits, -1)


def nll(log_p, windows, first):
    return -log_p.gather(-1, windows[:, first:, None])[..., 0]


def main():
    folder, out = sys.argv[1:]
    tok = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    text = open(os.path.join(folder, "eval.txt"), encoding="utf-8", newline="").read()
    f32, bf16 = load(folder, torch.float32), load(folder, torch.bfloat16)
    turned = load(folder, torch.float32, OTHER_THETA)
    with open(out, "wb") as f:
        f.write(b"RGQL" + struct.pack("<II", 1, len(CONVENTIONS)))
        for name, tokens, first, count in CONVENTIONS:
            windows = windows_of(name, tokens, count, tok, text)
            p, q = log_softmax(f32, windows, first), log_softmax(turned, windows, first)
            a, b = nll(p, windows, first), nll(q, windows, first)
            c = nll(log_softmax(bf16, windows, first), windows, first)
            kl = (p.exp() * (p - q)).sum(-1).flatten()
            same = (p.argmax(-1) == q.argmax(-1)).double().mean()
            change = (-b).exp() - (-a).exp()
            figures = [a.mean(), c.mean(), b.mean(), kl.mean(), kl.quantile(0.5), kl.quantile(0.99),
                       same, change.mean(), change.square().mean().sqrt(),
                       change.flatten().quantile(0.05)]
            f.write(name.encode().ljust(16, b"\0") + struct.pack("<II", count, a.shape[1]))
            f.write(struct.pack("<%dd" % len(figures), *figures))
            print(name, "perplexity f32 %.4f bf16 %.4f turned %.4f" %
                  tuple(figures[i].exp() for i in range(3)), [float(x) for x in figures[3:]])


if __name__ == "__main__":
    main()
