#!/usr/bin/env python3
"""Makes tests/golden/schemes: one small random llama, and its logits under each scheme's exact arithmetic.

docs/SCHEMES.md says what each scheme rounds and how; this is that text in torch, written apart from the C
code: weights and inputs are rounded as the scheme says and multiplied in float64, inside transformers'
own model. Needs torch, transformers and safetensors. The format is described in tools/golden/README.md.

usage: make_schemes.py OUT_DIR
"""
import math, os, shutil, struct, sys

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

# 136 inputs: a group of 128 and one of 8; 204: a last group of 76, and 204 is no multiple of 8
CONFIG = dict(num_hidden_layers=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
              pad_token_id=None, vocab_size=97, hidden_size=136, intermediate_size=204, num_attention_heads=4,
              num_key_value_heads=2, head_dim=34, rms_norm_eps=1e-5, tie_word_embeddings=False,
              rope_parameters=dict(rope_type="default", rope_theta=10000.0))
PROMPT, DECODE, SEED, GROUP = 24, 8, 11, 128

# scheme, inputs of products, head, KV cache
CASES = [("int8", "int8", "bf16", "f32"), ("int4-rtn", "int8", "bf16", "f32"),
         ("int4-rtn", "bf16", "bf16", "f32"), ("fp8", "bf16", "bf16", "f32"),
         ("f16", "f16", "f16", "f32"),
         ("int8", "int8", "bf16", "int8"), ("int8", "int8", "bf16", "fp8"),
         ("int8", "int8", "int8", "f32"), ("fp8", "bf16", "fp8", "f32"),
         ("int4-rtn", "int8", "int4", "f32"), ("int4-rtn", "bf16", "int4", "f32"),
         ("int4-rtn", "int8", "f32", "bf16"),
         ("fp8-w8a8", "fp8", "bf16", "f32"), ("fp8-w8a8", "fp8", "fp8", "f32"),
         ("fp8-w8a8", "fp8", "bf16", "int8")]


def randomize(model):
    """Weights that spread the scores, as in make_models.py."""
    g = torch.Generator().manual_seed(SEED)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=g)
        if name.endswith("norm.weight"):
            p.data.copy_(1 + 0.2 * noise)
        else:
            wide = 1.5 if "q_proj" in name or "k_proj" in name else 1.0
            p.data.copy_(noise if "embed" in name else noise * wide / math.sqrt(p.shape[1]))


def rows_int8(x):
    """One scale per row: max |x| / 127. Everything up to the codes is float32."""
    x = x.float()
    scale = x.abs().amax(-1, keepdim=True) / 127
    return (x / scale).round().clamp(-127, 127).double() * scale.double()


def rows_fp8(x):
    x = x.float()
    scale = x.abs().amax(-1, keepdim=True) / 448
    return (x / scale).clamp(-448, 448).to(torch.float8_e4m3fn).double() * scale.double()


def rows_int4(x):
    """Groups of 128 inputs, the last shorter; an f16 scale and a zero of 0..15 each."""
    out = []
    for g in x.float().split(GROUP, -1):
        low, high = g.amin(-1, keepdim=True).clamp(max=0), g.amax(-1, keepdim=True).clamp(min=0)
        scale = ((high - low) / 15).half().float()
        zero = (-low / scale).round().clamp(0, 15)
        codes = ((g / scale).round() + zero).clamp(0, 15)
        out.append((codes - zero).double() * scale.double())
    return torch.cat(out, -1)


ROUND = {"int8": rows_int8, "fp8": rows_fp8, "int4": rows_int4, "f32": lambda x: x.float().double(),
         "bf16": lambda x: x.float().bfloat16().double(), "f16": lambda x: x.float().half().double()}


class Rounded(torch.nn.Module):
    def __init__(self, linear, weights, inputs):
        super().__init__()
        self.weight, self.inputs = ROUND[weights](linear.weight.data), ROUND[inputs]

    def forward(self, x):
        return self.inputs(x) @ self.weight.T


class RoundedCache(DynamicCache):
    """A scale for each position and head: that of the row of head_dim values."""
    kind = "f32"

    def update(self, key, value, *args, **kwargs):
        return super().update(ROUND[self.kind](key), ROUND[self.kind](value), *args, **kwargs)


def inputs_of(weights, of_layers):
    """What the head's products read: int8 and fp8 where the layers' do, else what its weights ask for."""
    if weights == "int4":
        return of_layers
    if weights == "fp8":
        return "fp8" if of_layers == "fp8" else "bf16"
    return weights


@torch.no_grad()
def logits(folder, ids, scheme, inputs, head, kv):
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    for layer in model.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name, linear in list(block.named_children()):
                if isinstance(linear, torch.nn.Linear):
                    setattr(block, name, Rounded(linear, scheme.split("-")[0], inputs))
    model.lm_head = Rounded(model.lm_head, head, inputs_of(head, inputs))
    cache = RoundedCache()
    cache.kind = kv
    return model(ids, past_key_values=cache, use_cache=True).logits[0].float()


def text(word, size):
    return word.encode().ljust(size, b"\0")


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = sys.argv[1]
    shutil.rmtree(out, ignore_errors=True)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG))
    randomize(model)
    model.bfloat16().save_pretrained(out)
    if os.path.exists(os.path.join(out, "generation_config.json")):
        os.remove(os.path.join(out, "generation_config.json"))
    ids = torch.randint(0, CONFIG["vocab_size"], (1, PROMPT + DECODE),
                        generator=torch.Generator().manual_seed(SEED))
    with open(os.path.join(out, "golden.bin"), "wb") as f:
        f.write(b"RGSC" + struct.pack("<IIIII", 1, CONFIG["vocab_size"], PROMPT, DECODE, len(CASES)))
        f.write(ids[0].numpy().astype("<i4").tobytes())
        for case in CASES:
            f.write(b"".join(text(word, 16) for word in case))
            f.write(logits(out, ids, *case).numpy().astype("<f4").tobytes())
