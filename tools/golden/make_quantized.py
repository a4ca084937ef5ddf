#!/usr/bin/env python3
"""Makes tests/golden/quantized: small quantized Hugging Face folders and what must be read from them.

Each case quantizes the products of a small random model, packs the codes as the format says, unpacks the
packed tensors again as the format's own reader does, and writes
  config.json, model*.safetensors   the quantized folder
  weights.sum                       SHA-256 of each product, dequantized: f32, row-major, (outputs, inputs)
  golden.bin                        logits of transformers in float32 on the dequantized weights
The formats of both are described in tools/golden/README.md. Needs torch, transformers and safetensors.

usage: make_quantized.py OUT_DIR [CASE...]
"""
import hashlib, json, os, re, shutil, sys, tempfile, zlib

import torch
from make_models import randomize, write_golden
from safetensors.torch import load_file, save_file
from transformers import (AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MixtralConfig,
                          MixtralForCausalLM, Phi3Config, Phi3ForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM)

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
E4M3 = torch.float8_e4m3fn


def grouped(w, group):
    """(outputs, inputs) -> (outputs, groups, group)"""
    return w.reshape(w.shape[0], -1, w.shape[1] if group < 0 else group)


def asymmetric(w, group, bits):
    """Codes (outputs, inputs), f16 scales and zeros (outputs, groups)."""
    top = 2 ** bits - 1
    g = grouped(w, group)
    low, high = g.amin(-1).clamp(max=0), g.amax(-1).clamp(min=0)
    scales = ((high - low) / top).half()
    zeros = torch.round(-low / scales.float()).clamp(0, top)
    codes = (torch.round(g / scales.float()[..., None]) + zeros[..., None]).clamp(0, top)
    return codes.reshape(w.shape).int(), scales, zeros.int()


def symmetric(w, group, bits):
    g = grouped(w, group)
    half = 2 ** (bits - 1)
    scales = (g.abs().amax(-1) / (half - 0.5)).half()
    codes = (torch.round(g / scales.float()[..., None]) + half).clamp(0, 2 * half - 1)
    return codes.reshape(w.shape).int(), scales, torch.full_like(scales, half, dtype=torch.int)


def pack(values, bits, dim, order=None):
    """Packs 32 / bits values along `dim` into an int32, the first (by `order`) in the lowest bits."""
    per = 32 // bits
    v = values.movedim(dim, -1).long()
    if v.shape[-1] % per:
        v = torch.nn.functional.pad(v, (0, per - v.shape[-1] % per))
    v = v.reshape(*v.shape[:-1], -1, per)
    if order:
        v = v[..., order]
    word = sum(v[..., i] << (bits * i) for i in range(per))
    word = torch.where(word >= 1 << 31, word - (1 << 32), word)
    return word.int().movedim(-1, dim).contiguous()


def unpack(words, bits, dim, order=None):
    per = 32 // bits
    w = words.movedim(dim, -1)
    v = torch.stack([(w >> (bits * i)) & (2 ** bits - 1) for i in range(per)], -1)
    if order:
        inverse = [order.index(i) for i in range(per)]
        v = v[..., inverse]
    return v.reshape(*w.shape[:-1], -1).movedim(-1, dim)


# ---- formats: each gives tensors by suffix, and its own dequantization of exactly these -----------------


def awq(w, group):
    codes, scales, zeros = asymmetric(w, group, 4)
    parts = {"qweight": pack(codes.t(), 4, 1, AWQ_ORDER), "qzeros": pack(zeros.t(), 4, 1, AWQ_ORDER),
             "scales": scales.t().contiguous()}
    per = w.shape[1] if group < 0 else group
    q = unpack(parts["qweight"], 4, 1, AWQ_ORDER)
    z = unpack(parts["qzeros"], 4, 1, AWQ_ORDER).repeat_interleave(per, 0)
    return parts, ((q - z).float() * parts["scales"].float().repeat_interleave(per, 0)).t()


def gptq(w, group, bits=4, version=1, sym=False, act_order=False, with_bias=False):
    per = w.shape[1] if group < 0 else group
    index = torch.arange(w.shape[1]) // per
    if act_order:
        index = index[torch.randperm(w.shape[1])]
    by_group = torch.argsort(index, stable=True)
    codes, scales, zeros = (symmetric if sym else asymmetric)(w[:, by_group], per, bits)
    codes = codes[:, torch.argsort(by_group)]
    mask = 2 ** bits - 1
    stored = (zeros - 1) & mask if version == 1 else zeros
    parts = {"qweight": pack(codes.t(), bits, 0), "qzeros": pack(stored.t(), bits, 1),
             "scales": scales.t().contiguous(), "g_idx": index.int()}
    if with_bias:
        parts["bias"] = torch.zeros(w.shape[0], dtype=torch.float16)
    q = unpack(parts["qweight"], bits, 0)
    z = unpack(parts["qzeros"], bits, 1)
    if version == 1:
        z = (z + 1) & mask
    g = parts["g_idx"].long()
    return parts, ((q - z[g]).float() * parts["scales"].float()[g]).t()


def to_fp8(w):
    return w.clamp(-448, 448).to(E4M3)


def fp8_tensor(w, static=False, name="weight_scale", shape=()):
    scale = w.abs().max() / 448
    parts = {"weight": to_fp8(w / scale), name: scale.reshape(shape)}
    if static:
        parts["input_scale"] = torch.tensor(0.02)
    return parts, parts["weight"].float() * scale


def fp8_block(w, rows=128, cols=128):
    scale = torch.zeros(-(-w.shape[0] // rows), -(-w.shape[1] // cols))
    full = torch.zeros_like(w)
    for r in range(scale.shape[0]):
        for c in range(scale.shape[1]):
            at = (slice(r * rows, (r + 1) * rows), slice(c * cols, (c + 1) * cols))
            scale[r, c] = w[at].abs().max() / 448
            full[at] = scale[r, c]
    parts = {"weight": to_fp8(w / full), "weight_scale_inv": scale}
    return parts, parts["weight"].float() * full


def fp8_channel(w):
    scale = (w.abs().amax(1, keepdim=True) / 448).bfloat16()
    parts = {"weight": to_fp8(w / scale.float()), "weight_scale": scale}
    return parts, parts["weight"].float() * scale.float()


def int8_channel(w, scale_type=torch.float32):
    scale = (w.abs().amax(1, keepdim=True) / 127.5).to(scale_type)  # reaches -128
    q = torch.round(w / scale.float()).clamp(-128, 127)
    parts = {"weight": q.to(torch.int8), "weight_scale": scale}
    return parts, parts["weight"].float() * scale.float()


def int8_asymmetric(w):
    low, high = w.amin(1, keepdim=True), w.amax(1, keepdim=True)
    scale = (high - low) / 255
    zero = torch.round(-128 - low / scale).clamp(-128, 127)
    q = (torch.round(w / scale) + zero).clamp(-128, 127)
    parts = {"weight": q.to(torch.int8), "weight_scale": scale, "weight_zero_point": zero.to(torch.int8)}
    return parts, (parts["weight"].float() - parts["weight_zero_point"].float()) * scale


def packed(w, group, bits=4, sym=True, scale_type=torch.bfloat16):
    codes, scales, zeros = (symmetric if sym else asymmetric)(w, group, bits)
    scales = scales.to(scale_type)
    parts = {"weight_packed": pack(codes, bits, 1), "weight_scale": scales,
             "weight_shape": torch.tensor(w.shape)}
    if not sym:
        parts["weight_zero_point"] = pack(zeros, bits, 0)
    per = w.shape[1] if group < 0 else group
    q = unpack(parts["weight_packed"], bits, 1)[:, :w.shape[1]]
    z = (unpack(parts["weight_zero_point"], bits, 0)[:w.shape[0]] if not sym
         else torch.full(scales.shape, 2 ** (bits - 1)))
    return parts, (q - z.repeat_interleave(per, 1)).float() * scales.float().repeat_interleave(per, 1)


def compressed(format, ignore=(), **weights):
    args = dict(num_bits=8, type="int", strategy="channel", symmetric=True, group_size=None,
                block_structure=None, actorder=None, dynamic=False, observer="minmax")
    args.update(weights)
    return dict(quant_method="compressed-tensors", format=format, quantization_status="compressed",
                global_compression_ratio=1.5, kv_cache_scheme=None, ignore=["lm_head", *ignore],
                config_groups={"group_0": dict(targets=["Linear"], weights=args, output_activations=None,
                                               input_activations=dict(num_bits=8, type=args["type"],
                                                                      strategy="token", dynamic=True,
                                                                      symmetric=True))})


def awq_config(group, skip=None):
    return dict(quant_method="awq", bits=4, group_size=group, zero_point=True, version="gemm",
                modules_to_not_convert=skip)


def gptq_config(group, **more):
    return dict(dict(quant_method="gptq", bits=4, group_size=group, desc_act=False, sym=True,
                     damp_percent=0.1, true_sequential=True), **more)


# ---- cases ----------------------------------------------------------------------------------------------

COMMON = dict(vocab_size=64, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1,
              max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=None,
              rms_norm_eps=1e-5, tie_word_embeddings=False,
              rope_parameters=dict(rope_type="default", rope_theta=10000.0))
WIDE = dict(COMMON, hidden_size=128, intermediate_size=256)
RAGGED = dict(COMMON, hidden_size=128, intermediate_size=200)  # no multiple of 128
SMALL = dict(COMMON, hidden_size=64, intermediate_size=96)
ODD = dict(COMMON, hidden_size=64, intermediate_size=104)  # no multiple of 16

# name: (fields, function, quantization_config, what stays plain, plain type)
CASES = {
    "awq-g128": (WIDE, lambda w: awq(w, 128), awq_config(128), (), torch.float16),
    "awq-g32-qwen2": (dict(SMALL, tie_word_embeddings=True), lambda w: awq(w, 32),
                      awq_config(32, ["down_proj"]), ("down_proj",), torch.bfloat16),
    "awq-g32-phi3": (SMALL, lambda w: awq(w, 32), awq_config(32), (), torch.float16),
    "awq-row": (ODD, lambda w: awq(w, -1), awq_config(-1), (), torch.float16),
    "gptq-v1-asym": (WIDE, lambda w: gptq(w, 128, with_bias=True), gptq_config(128, sym=False), (),
                     torch.float16),
    "gptq-v2-asym": (WIDE, lambda w: gptq(w, 64, version=2),
                     gptq_config(64, sym=False, checkpoint_format="gptq_v2"), (), torch.float16),
    "gptq-v1-sym": (ODD, lambda w: gptq(w, -1, sym=True), gptq_config(-1), (), torch.float16),
    "gptq-act-order": (SMALL, lambda w: gptq(w, 32, act_order=True),
                       gptq_config(32, sym=False, desc_act=True), (), torch.float16),
    "gptq-8bit": (SMALL, lambda w: gptq(w, 32, bits=8), gptq_config(32, bits=8, sym=False), (),
                  torch.float16),
    "fp8-static": (SMALL, lambda w: fp8_tensor(w, static=True),
                   dict(quant_method="fp8", activation_scheme="static", ignored_layers=["lm_head"]), (),
                   torch.bfloat16),
    "fp8-dynamic": (ODD, lambda w: fp8_tensor(w, shape=(1,)),
                    dict(quant_method="fp8", activation_scheme="dynamic"), (), torch.bfloat16),
    "fp8-block": (RAGGED, fp8_block,
                  dict(quant_method="fp8", activation_scheme="dynamic", fmt="e4m3",
                       weight_block_size=[128, 128]), (), torch.bfloat16),
    "ct-fp8-channel": (SMALL, fp8_channel, compressed("float-quantized", type="float"), (),
                       torch.bfloat16),
    "ct-fp8-tensor": (ODD, lambda w: fp8_tensor(w, shape=(1,)),
                      compressed("float-quantized", type="float", strategy="tensor"), (),
                      torch.bfloat16),
    "ct-int8": (ODD, int8_channel, compressed("int-quantized", ignore=["model.layers.0.mlp.up_proj"]),
                ("up_proj",), torch.bfloat16),
    "ct-int8-mixtral": (dict(SMALL, num_local_experts=3, num_experts_per_tok=2), int8_channel,
                        compressed("int-quantized", ignore=["re:.*block_sparse_moe.gate"]), (),
                        torch.bfloat16),
    "ct-int8-asym": (SMALL, int8_asymmetric, compressed("int-quantized", symmetric=False), (),
                     torch.bfloat16),
    "ct-pack-g64": (WIDE, lambda w: packed(w, 64),
                    compressed("pack-quantized", num_bits=4, strategy="group", group_size=64), (),
                    torch.bfloat16),
    "ct-pack-asym": (ODD, lambda w: packed(w, -1, sym=False, scale_type=torch.float16),
                     compressed("pack-quantized", num_bits=4, symmetric=False), (), torch.bfloat16),
    "ct-pack-8bit": (SMALL, lambda w: packed(w, 32, bits=8),
                     compressed("pack-quantized", strategy="group", group_size=32), (),
                     torch.bfloat16),
}
KINDS = {"qwen2": (Qwen2ForCausalLM, Qwen2Config), "phi3": (Phi3ForCausalLM, Phi3Config),
         "mixtral": (MixtralForCausalLM, MixtralConfig), "llama": (LlamaForCausalLM, LlamaConfig)}


def is_product(name):
    return re.search(r"(_proj|\.w[123])\.weight$", name)


def write_config(folder, config):
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f, indent=2, sort_keys=True)
        f.write("\n")


def quantize_all(name, plain, tensors):
    """The quantized folder's tensors, the same dequantized, and the lines of weights.sum."""
    _, quantize, _, keep, _ = CASES[name]
    out, dense, sums = {}, {}, []
    for key, value in tensors.items():
        if not is_product(key) or any(p in key for p in keep):
            out[key] = dense[key] = value
            continue
        value = value.float()
        if "up_proj" in key and name == "gptq-v1-asym":
            value = value.abs()  # a zero point of 0, which version 1 of GPTQ stores as 15
        parts, weights = quantize(value)
        assert weights.shape == value.shape
        worst = (weights - value).abs().max() / value.abs().max()
        assert worst < 0.15, (name, key, worst)
        stem = key.removesuffix(".weight")
        for suffix, part in parts.items():
            out[f"{stem}.{suffix}"] = part.contiguous()
        dense[key] = weights.contiguous()
        digest = hashlib.sha256(dense[key].numpy().astype("<f4").tobytes()).hexdigest()
        sums.append(f"{digest}  {key}\n")
    return out, dense, sums


def save_quantized(folder, name, tensors):
    if name != "gptq-act-order":
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        return
    names, index = sorted(tensors), {}
    for i in range(2):  # parts of one product in different files
        file = f"model-{i + 1:05}-of-00002.safetensors"
        save_file({k: tensors[k] for k in names[i::2]}, os.path.join(folder, file),
                  metadata={"format": "pt"})
        index.update({k: file for k in names[i::2]})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
        json.dump(dict(metadata={}, weight_map=index), f, indent=1, sort_keys=True)


def make(out, name):
    fields, _, quantization, _, plain = CASES[name]
    kind, config = KINDS[name.split("-")[-1] if name.split("-")[-1] in KINDS else "llama"]
    seed, folder = zlib.crc32(name.encode()), os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    torch.manual_seed(seed)
    model = kind(config(**fields))
    randomize(model, seed)
    with tempfile.TemporaryDirectory() as dense:
        model.to(plain).save_pretrained(dense)
        tensors = load_file(os.path.join(dense, "model.safetensors"))
        quantized, weights, sums = quantize_all(name, plain, tensors)
        save_quantized(folder, name, quantized)
        save_file({k: v.float() for k, v in weights.items()}, os.path.join(dense, "model.safetensors"),
                  metadata={"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(dense, dtype=torch.float32,
                                                     attn_implementation="eager").eval()
        fields_out = json.load(open(os.path.join(dense, "config.json")))
    fields_out["dtype"] = str(plain).removeprefix("torch.")
    write_config(folder, dict(fields_out, quantization_config=quantization))
    with open(os.path.join(folder, "weights.sum"), "w") as f:
        f.writelines(sums)
    write_golden(os.path.join(folder, "golden.bin"), model, seed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in sys.argv[2:] or CASES:
        make(sys.argv[1], each)
