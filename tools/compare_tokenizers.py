#!/usr/bin/env python3
"""Compares our tokenizers with the `tokenizers` library on many hostile lines, id for id, and back to text.

Each kind that tools/golden/make_tokenizer.py can train is trained again into a temporary folder and compared
as tokenizer.json and, where GGUF can say the same, as GGUF. Further arguments are real tokenizers: a
tokenizer.json, or a GGUF file, of which the tokenizer.json is rebuilt as its family publishes it. Lines go to
`bench model tokenize --json`, so that they may hold anything.

usage: compare_tokenizers.py [--lines N] [--seed S] [--kinds a,b] BENCH [FILE ...]
"""
import argparse, json, os, random, subprocess, sys, tempfile

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden"))
import make_tokenizer as mt

ALPHABETS = ["abcdefghij KLMNOP  0123456789", "äöüßéèñçøåÀÉ ", "привет мир как дела ", "日本語テキスト漢字、。",
             "안녕하세요 세계", "مرحبا بالعالم ١٢٣", "שלום עולם בְּרֵא", "नमस्ते दुनिया १२", "สวัสดีชาวโลก", "😀👩‍👩‍👧‍👦🇩🇪✨👍🏽",
             "\t  \u00a0\u2003\u200b\u3000", "\r\n \n\t", "!@#$%^&*()_+-=[]{};':\",./<>?\\|`~", "e\u0301a\u0308\u0323q\u0307",
             "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "ﬁﬂ½①Ⅷ٣४²³¹¼", "don't I'll we've 'S 'LL it'd 'ſ", "<s></s><unk>▁▁ ▁<0x0A>", "\x00\x01\x7f\x85\u180e\ufeff",
             "<|endoftext|><|im_start|><|im_end|><|user|> \n<|end|>  <|a|>mask <pad> "]
WORDS = ["<|endoftext|>", "<s>", "</s>", "<unk>", "<bos>", "<|im_start|>", "<|user|>", "<|end|>", "<pad>", "mask", "<table>",
         "  ", "\n\n", "\t\t\t", "'s", "'LL", "12345", "3.14159", "0x7f", "if (x == 0) {\n    return y[i];\n}", "HelloWorld",
         "for i in range(10):\n\tprint(i)\n", "https://a.b/c?d=e%20f", "</div>\n", "你好，世界", "e\u0301", "\u0915\u094d\u0937", "!!!", "..."]


def hostile_lines(seed, count):
    rng = random.Random(seed)
    out = []
    source = open(os.path.join(mt.ROOT, "models/reference/eval.txt"), encoding="utf-8").read().split("\n")
    base = [t for t in mt.SENTENCES + mt.HAND] + [x for x in source if x][:count // 5]
    while len(out) < count - len(base):
        way = rng.randrange(8)
        if way < 3:
            one = ["".join(rng.choice(rng.choice(ALPHABETS)) for _ in range(rng.randint(1, 60)))]
        elif way == 3:  # any assigned or unassigned character
            one = [chr(c) for c in (rng.randrange(0x110000) for _ in range(rng.randint(1, 12))) if not 0xd800 <= c < 0xe000]
        elif way == 4:  # the planes in use, mixed with Latin
            one = [rng.choice([chr(rng.choice([rng.randrange(0x20, 0x7f), rng.randrange(0xa0, 0x3100)])), " ", "a", "1"])
                   for _ in range(rng.randint(1, 50))]
        elif way == 5:
            one = [rng.choice(WORDS + mt.SENTENCES[rng.randrange(len(mt.SENTENCES))].split()) + rng.choice(["", " ", "\n"])
                   for _ in range(rng.randint(1, 12))]
        elif way == 6:  # long runs
            one = [rng.choice(rng.choice(ALPHABETS)) * rng.randint(1, 90) for _ in range(rng.randint(1, 4))]
        else:
            line = rng.choice(base) or "x"
            at = rng.randrange(len(line))
            one = [line[:at], rng.choice(rng.choice(ALPHABETS)), rng.choice(WORDS), line[at:]]
        out.append("".join(one))
    return base + out


def ask(bench, path, args, values):
    lines = "".join(json.dumps(v) + "\n" for v in values)
    run = subprocess.run([bench, "model", "tokenize", path, "--json"] + args, input=lines.encode(), capture_output=True)
    if run.returncode:
        sys.exit(f"{path}: {run.stderr.decode()}")
    return [json.loads(line) for line in run.stdout.decode().split("\n")[:-1]]


def compare(bench, name, path, tok, lines):
    want = [e.ids for e in tok.encode_batch(lines, add_special_tokens=False)]
    got = ask(bench, path, [], lines)
    wrong = [i for i in range(len(lines)) if want[i] != got[i]]
    text = tok.decode_batch(want, skip_special_tokens=False)
    back = ask(bench, path, ["--decode"], want)
    unlike = [i for i in range(len(lines)) if text[i] != back[i]]
    print(f"{name:32} {len(lines)} lines, {sum(map(len, want))} ids: {len(wrong)} lines encoded otherwise, "
          f"{len(unlike)} decoded otherwise", flush=True)
    for i in wrong[:3]:
        print("   ", ascii(lines[i][:200]), "\n      ", want[i][:40], "\n      ", got[i][:40])
    for i in unlike[:3]:
        print("   ", ascii(text[i][:200]), "\n   ", ascii(back[i][:200]))
    return len(wrong) + len(unlike)


# ---- real tokenizers out of GGUF files ----------------------------------------------------------------

def from_gguf(path):
    reader = gguf.GGUFReader(path)
    field = lambda key: reader.fields[key].contents() if key in reader.fields else None
    tokens, types = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    kinds = gguf.TokenType
    if field("tokenizer.ggml.model") == "llama":
        arch = field("general.architecture")
        pieces = list(zip(tokens, field("tokenizer.ggml.scores"), [kinds(t) for t in types]))
        kind = "gemma" if arch == "gemma" else "llama2"
        if arch == "phi3":
            plain = [(t, s, kinds.UNKNOWN if t == "<unk>" else k) for t, s, k in pieces[:32000]]
            tok = mt.from_pieces("phi3", plain, added=False)
            tok.add_special_tokens([AddedToken(t, normalized=False, special=True, rstrip=t != "<|endoftext|>")
                                    for t, _, _ in pieces[32000:]])
            return tok
        return mt.from_pieces(kind, pieces)
    pre = field("tokenizer.ggml.pre")
    kind = {v: k for k, v in mt.BYTE_LEVEL.items()}.get({"refact": "starcoder", "olmo": "mpt"}.get(pre, pre))
    if kind is None:
        return None
    added = [(i, t) for i, t in enumerate(tokens) if types[i] in (kinds.CONTROL, kinds.USER_DEFINED)]
    model = {t: i for i, t in enumerate(tokens) if types[i] != kinds.UNUSED and (i, t) not in added or i < 3}
    merges = [tuple(m.split(" ")) for m in field("tokenizer.ggml.merges")]
    tok = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges, ignore_merges=kind in ("llama3", "tekken")))
    if kind in ("qwen2", "neox", "command-r"):
        tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = mt.pre_tokenizer(kind)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for i, t in added])
    return tok


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=12000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default=",".join(mt.KINDS))
    parser.add_argument("bench")
    parser.add_argument("files", nargs="*")
    a = parser.parse_args()
    lines = hostile_lines(a.seed, a.lines)
    print(f"seed {a.seed}, {len(lines)} lines, {sum(len(x.encode()) for x in lines)} bytes")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in filter(None, a.kinds.split(",")):
            odd = mt.make(kind, folder)
            wrong += compare(a.bench, kind + ".json", os.path.join(folder, kind + ".json"), odd, lines)
            plain = mt.make(kind, folder, odd_tokens=False)
            path = os.path.join(folder, kind + ".gguf")
            if os.path.exists(path):
                wrong += compare(a.bench, kind + ".gguf", path, plain, lines)
        for path in a.files:
            tok = from_gguf(path) if path.endswith(".gguf") else Tokenizer.from_file(path)
            if tok is None:
                print(f"{os.path.basename(path)}: no known tokenizer.json of its family")
                continue
            wrong += compare(a.bench, os.path.basename(path), path, tok, lines)
            if path.endswith(".gguf"):
                tok.save(os.path.join(folder, "real.json"))
                wrong += compare(a.bench, "  as tokenizer.json", os.path.join(folder, "real.json"), tok, lines)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
