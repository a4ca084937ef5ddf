#!/usr/bin/env python3
"""Makes tests/golden/models: small random models, GGUF twins and the logits transformers computes.

Needs torch, transformers, safetensors and gguf. Deterministic: each model is seeded by its name.
The formats are described in tools/golden/README.md.

usage: make_models.py OUT_DIR [NAME...]
"""
import json, math, os, shutil, struct, sys, zlib

import gguf
import gguf_twin
import make_tokenizer
import torch
import transformers
from transformers import AutoModelForCausalLM

LLAMA = dict(num_hidden_layers=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
             pad_token_id=None)
GPT2 = dict(n_layer=2, n_positions=80, bos_token_id=1, eos_token_id=2, pad_token_id=None)
FALCON = dict(num_hidden_layers=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
              pad_token_id=None)
MPT = dict(n_layers=2, max_seq_len=128, bos_token_id=1, eos_token_id=2, pad_token_id=None)
BLOOM = dict(n_layer=2, bos_token_id=1, eos_token_id=2, pad_token_id=None)


def plain_rope(theta):
    return dict(rope_type="default", rope_theta=theta)


# name: (transformers' class prefix, shared config, config, stored type, shard bytes or None, GGUF twin)
MODELS = {
    "llama-gqa3": ("Llama", LLAMA, dict(
        vocab_size=331, hidden_size=60, intermediate_size=62, num_attention_heads=3,
        num_key_value_heads=1, head_dim=20, rms_norm_eps=1e-5, tie_word_embeddings=False,
        rope_parameters=plain_rope(10000.0)), "float32", None, True),
    "llama-wide-heads": ("Llama", LLAMA, dict(
        vocab_size=257, hidden_size=48, intermediate_size=92, num_attention_heads=4,
        num_key_value_heads=4, head_dim=24, rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_parameters=plain_rope(5000.0)), "bfloat16", None, True),
    "llama-llama3": ("Llama", LLAMA, dict(
        vocab_size=509, hidden_size=64, intermediate_size=50, num_attention_heads=8,
        num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=64)),
        "float32", None, True),
    "llama-linear": ("Llama", LLAMA, dict(
        vocab_size=263, hidden_size=56, intermediate_size=90, num_attention_heads=4,
        num_key_value_heads=2, head_dim=14, rms_norm_eps=1e-5, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
        "float16", None, True),
    "llama-yarn": ("Llama", LLAMA | dict(max_position_embeddings=128), dict(
        vocab_size=131, hidden_size=36, intermediate_size=44, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-3, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="yarn", rope_theta=500.0, factor=4.0, beta_fast=4.0, beta_slow=0.5,
                             original_max_position_embeddings=32)), "float16", None, True),
    "qwen2-tied": ("Qwen2", LLAMA, dict(
        vocab_size=997, hidden_size=40, intermediate_size=104, num_attention_heads=2,
        num_key_value_heads=1, rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_parameters=plain_rope(1000000.0)), "float32", None, True),
    "qwen2-sharded": ("Qwen2", LLAMA, dict(
        vocab_size=307, hidden_size=72, intermediate_size=110, num_attention_heads=6,
        num_key_value_heads=2, rms_norm_eps=1e-6, tie_word_embeddings=False, sliding_window=4,
        use_sliding_window=False, rope_parameters=plain_rope(10000.0)), "bfloat16", 80000, False),
    "mistral-window": ("Mistral", LLAMA, dict(
        vocab_size=419, hidden_size=48, intermediate_size=66, num_attention_heads=6,
        num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5, tie_word_embeddings=False,
        sliding_window=7, rope_parameters=plain_rope(10000.0)), "float32", None, True),
    "mixtral": ("Mixtral", LLAMA, dict(
        vocab_size=101, hidden_size=28, intermediate_size=14, num_attention_heads=4,
        num_key_value_heads=2, head_dim=10, rms_norm_eps=3e-4, tie_word_embeddings=False,
        num_local_experts=5, num_experts_per_tok=2, rope_parameters=plain_rope(1000000.0)),
        "bfloat16", None, True),
    "qwen2-moe": ("Qwen2Moe", LLAMA, dict(
        vocab_size=103, hidden_size=32, intermediate_size=50, moe_intermediate_size=12,
        shared_expert_intermediate_size=26, num_experts=6, num_experts_per_tok=3, norm_topk_prob=False,
        num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-3, tie_word_embeddings=False,
        rope_parameters=plain_rope(10000.0)), "bfloat16", None, True),
    "qwen2-moe-normed": ("Qwen2Moe", LLAMA, dict(
        vocab_size=89, hidden_size=36, intermediate_size=40, moe_intermediate_size=10,
        shared_expert_intermediate_size=14, num_experts=8, num_experts_per_tok=2, norm_topk_prob=True,
        num_attention_heads=6, num_key_value_heads=3, rms_norm_eps=2e-4, tie_word_embeddings=True,
        rope_parameters=plain_rope(1000.0)), "bfloat16", None, True),
    "qwen3": ("Qwen3", LLAMA, dict(
        vocab_size=107, hidden_size=36, intermediate_size=46, num_attention_heads=6,
        num_key_value_heads=2, head_dim=14, rms_norm_eps=5e-4, tie_word_embeddings=True,
        rope_parameters=plain_rope(1000000.0)), "float16", None, True),
    "phi-2": ("Phi", LLAMA, dict(
        vocab_size=109, hidden_size=28, intermediate_size=112, num_attention_heads=2,
        layer_norm_eps=2e-3, tie_word_embeddings=False,
        rope_parameters=plain_rope(10000.0) | dict(partial_rotary_factor=0.45)), "float16", None, True),
    "phi3": ("Phi3", LLAMA, dict(
        vocab_size=97, hidden_size=36, intermediate_size=34, num_attention_heads=6,
        num_key_value_heads=2, rms_norm_eps=1e-3, tie_word_embeddings=False, sliding_window=9,
        original_max_position_embeddings=512, rope_parameters=plain_rope(10000.0)),
        "float16", None, True),
    "phi3-longrope": ("Phi3", LLAMA | dict(max_position_embeddings=128), dict(
        vocab_size=97, hidden_size=48, intermediate_size=38, num_attention_heads=3,
        num_key_value_heads=1, rms_norm_eps=1e-3, tie_word_embeddings=True, sliding_window=None,
        original_max_position_embeddings=32,
        rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75,
                             original_max_position_embeddings=32,
                             short_factor=[1.0, 1.05, 1.2, 1.4, 1.7, 2.1],
                             long_factor=[1.1, 1.6, 2.7, 4.3, 7.0, 9.5])), "float16", None, True),
    "gemma": ("Gemma", LLAMA, dict(
        vocab_size=113, hidden_size=36, intermediate_size=40, num_attention_heads=4,
        num_key_value_heads=1, head_dim=14, rms_norm_eps=1e-3, tie_word_embeddings=True,
        rope_parameters=plain_rope(10000.0)), "float16", None, True),
    "gemma2": ("Gemma2", LLAMA | dict(num_hidden_layers=3), dict(
        vocab_size=127, hidden_size=32, intermediate_size=30, num_attention_heads=4,
        num_key_value_heads=2, head_dim=10, query_pre_attn_scalar=17, rms_norm_eps=1e-3,
        sliding_window=6, attn_logit_softcapping=5.0, final_logit_softcapping=4.0,
        tie_word_embeddings=True, rope_parameters=plain_rope(10000.0)), "float16", None, True),
    "gemma3": ("Gemma3", LLAMA | dict(num_hidden_layers=7), dict(
        vocab_size=89, hidden_size=24, intermediate_size=26, num_attention_heads=2,
        num_key_value_heads=1, head_dim=10, query_pre_attn_scalar=17, rms_norm_eps=1e-3,
        sliding_window=6, tie_word_embeddings=True,
        rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                             sliding_attention=plain_rope(500.0))), "float16", None, False),
    "gpt2": ("GPT2LMHead", GPT2, dict(
        vocab_size=89, n_embd=30, n_head=3, layer_norm_epsilon=1e-3), "float16", None, True),
    "gpt-bigcode": ("GPTBigCode", GPT2, dict(
        vocab_size=83, n_embd=42, n_head=3, n_inner=70, layer_norm_epsilon=2e-3, multi_query=True),
        "float16", None, True),
    "gpt-bigcode-heads": ("GPTBigCode", GPT2, dict(
        vocab_size=83, n_embd=30, n_head=3, layer_norm_epsilon=2e-3, multi_query=False),
        "float16", None, False),
    "falcon-7b": ("Falcon", FALCON, dict(
        vocab_size=101, hidden_size=30, num_attention_heads=3, layer_norm_epsilon=1e-3,
        multi_query=True, parallel_attn=True, bias=False, new_decoder_architecture=False, alibi=False,
        rope_parameters=plain_rope(10000.0)), "float16", None, True),
    "falcon-40b": ("Falcon", FALCON, dict(
        vocab_size=103, hidden_size=36, num_attention_heads=6, num_kv_heads=2, layer_norm_epsilon=1e-3,
        parallel_attn=True, bias=False, new_decoder_architecture=True, alibi=False,
        tie_word_embeddings=False, rope_parameters=plain_rope(10000.0)), "float16", None, True),
    "falcon-11b": ("Falcon", FALCON, dict(
        vocab_size=97, hidden_size=32, num_attention_heads=4, num_kv_heads=2, layer_norm_epsilon=1e-3,
        bias=False, new_decoder_architecture=True, num_ln_in_parallel_attn=1, alibi=False,
        rope_parameters=plain_rope(10000.0)), "float16", None, False),
    # 12 heads: half of the slopes are no powers of two, so that their rounding to bf16 shows.
    "falcon-rw": ("Falcon", FALCON, dict(
        vocab_size=97, hidden_size=48, num_attention_heads=12, layer_norm_epsilon=1e-3,
        multi_query=False, parallel_attn=False, bias=True, new_decoder_architecture=False, alibi=True),
        "float16", None, False),
    "mpt": ("Mpt", MPT, dict(
        vocab_size=103, d_model=36, n_heads=6, layer_norm_epsilon=1e-3,
        attn_config=dict(alibi=True, alibi_bias_max=6)), "float16", None, True),
    "bloom": ("Bloom", BLOOM, dict(
        vocab_size=79, hidden_size=30, n_head=5, layer_norm_epsilon=1e-3), "float16", None, True),
}
TOKENIZERS = {"llama-llama3": ("llama3", "llama-bpe"), "qwen2-tied": ("qwen2", "qwen2")}
OLDER_EXPERTS = ("mixtral",)  # also as GGUF with one tensor an expert
CASES = [(1, 4, 0), (13, 6, 0), (70, 3, 69)]  # prompt, decode, first stored row


def is_norm(module):
    return "Norm" in type(module).__name__


def randomize(model, seed):
    """Weights that spread the scores: transformers' own 0.02 would make every attention uniform, and its
    norms of 1 and biases of 0 would hide that they are left out."""
    g = torch.Generator().manual_seed(seed)
    norms = {id(p) for m in model.modules() if is_norm(m) for p in m.parameters(recurse=False)}
    conv1d = {id(m.weight) for m in model.modules() if type(m).__name__ == "Conv1D"}
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    one = 0 if model.config.model_type.startswith("gemma") else 1  # gemma's norms add 1 themselves
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            fan_in = p.shape[0] if id(p) in conv1d else p.shape[-1]
            if id(p) in norms and name.endswith("weight"):
                p.copy_(one + 0.2 * noise)
            elif p.dim() == 1:
                p.copy_(0.3 * noise)
            elif id(p) in tables:
                p.copy_(noise / (math.sqrt(fan_in) if model.config.tie_word_embeddings else 1))
            else:
                spread = ("q_proj", "k_proj", "qkv", "query_key_value", "c_attn", "mlp.gate.weight")
                p.copy_(noise * (1.5 if any(s in name for s in spread) else 1.0) / math.sqrt(fan_in))


@torch.no_grad()
def expected(model, prompt, decode, seed):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, model.config.vocab_size, (1, prompt + decode), generator=g)
    whole = model(ids).logits[0]
    step = model(ids[:, :prompt], use_cache=True)
    rows = [step.logits[0]]
    for i in range(prompt, prompt + decode):
        step = model(ids[:, i:i + 1], past_key_values=step.past_key_values, use_cache=True)
        rows.append(step.logits[0])
    rows = torch.cat(rows)
    worst = (rows - whole).abs().max() / whole.abs().max()
    assert worst < 1e-5, worst
    return ids[0].numpy().astype("<i4"), rows.numpy().astype("<f4")


def watch_routers(model, gaps):
    """Notes how far the last expert chosen is from the first one left out: a tie would be no test."""
    def note(router, _, out):
        p = torch.softmax(out[0].float(), -1).sort(-1, descending=True).values
        gaps.append((p[:, router.top_k - 1] - p[:, router.top_k]).min().item())
    for m in model.modules():
        if type(m).__name__.endswith("TopKRouter"):
            m.register_forward_hook(note)


def write_golden(path, model, seed):
    gaps = []
    watch_routers(model, gaps)
    with open(path, "wb") as f:
        f.write(b"RGLD" + struct.pack("<III", 1, model.config.vocab_size, len(CASES)))
        for n, (prompt, decode, first) in enumerate(CASES):
            ids, rows = expected(model, prompt, decode, seed + 1 + n)
            f.write(struct.pack("<III", prompt, decode, first) + ids.tobytes() + rows[first:].tobytes())
    assert not gaps or min(gaps) > 1e-5, f"experts tie: {min(gaps)}"


def add_tokenizer(w, tok, pre):
    added = set(tok.get_added_tokens_decoder())
    ids = range(tok.get_vocab_size())
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list([tok.id_to_token(i) for i in ids])
    w.add_token_types([gguf.TokenType.CONTROL if i in added else gguf.TokenType.NORMAL for i in ids])
    w.add_token_merges([" ".join(m) for m in json.loads(tok.to_str())["model"]["merges"]])


def spell_as_transformers4(folder):
    path = os.path.join(folder, "config.json")
    config = json.load(open(path))
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")
    json.dump(config, open(path, "w"), indent=2, sort_keys=True)
    open(path, "a").write("\n")


def obey_alibi_bias_max(model):
    """Mosaic's own code goes by attn_config.alibi_bias_max; transformers takes 8 whatever it says."""
    if model.config.model_type == "mpt":
        build, most = model.transformer.build_mpt_alibi_tensor, model.config.attn_config.alibi_bias_max
        model.transformer.build_mpt_alibi_tensor = (
            lambda heads, length, alibi_bias_max=most, device=None: build(heads, length, most, device))


def classes(prefix):
    model = getattr(transformers, prefix + ("Model" if prefix.endswith("LMHead") else "ForCausalLM"))
    return model, model.config_class


def make(out, name):
    prefix, shared, fields, dtype, shard, twin = MODELS[name]
    folder, seed = os.path.join(out, name), zlib.crc32(name.encode())
    shutil.rmtree(folder, ignore_errors=True)
    kind, config_kind = classes(prefix)
    model = kind(config_kind(**shared | fields))
    randomize(model, seed)
    model.to(getattr(torch, dtype)).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    if os.path.exists(os.path.join(folder, "generation_config.json")):
        os.remove(os.path.join(folder, "generation_config.json"))
    experts = dict(experts_implementation="eager") if "num_experts_per_tok" in fields else {}
    # Falcon's eager attention adds the ALiBi biases twice: with the mask, which holds them, and by itself.
    attention = "sdpa" if fields.get("alibi") else "eager"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                 attn_implementation=attention, **experts).eval()
    obey_alibi_bias_max(model)
    write_golden(os.path.join(folder, "golden.bin"), model, seed)
    add = None
    if name in TOKENIZERS:
        tok = make_tokenizer.train(TOKENIZERS[name][0], model.config.vocab_size - 9, odd_tokens=False)
        tok.save(os.path.join(folder, "tokenizer.json"), pretty=False)
        add = lambda w: add_tokenizer(w, tok, TOKENIZERS[name][1])
    if twin:
        gguf_twin.write(os.path.join(folder, "model.gguf"), name, model.config, folder, dtype, add)
    if name in OLDER_EXPERTS:
        gguf_twin.write(os.path.join(folder, "older.gguf"), name, model.config, folder, dtype, add, True)
    if name == "llama-wide-heads":
        spell_as_transformers4(folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in sys.argv[2:] or MODELS:
        make(sys.argv[1], each)
