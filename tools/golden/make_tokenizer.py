#!/usr/bin/env python3
"""Makes tests/golden/tokenizer: small tokenizers of each known kind, texts, their ids, and the ids as text.

The tokenizers are trained here on the reference model's calibration text and the sentences below. Byte-level
ones are trained by `tokenizers`, SentencePiece ones by `sentencepiece` and then converted as transformers
converts them. Each gets the normalizer, pre-tokenizer, decoder and post-processor that the tokenizer.json of its
family publishes. Ids and decoded text are what the `tokenizers` library makes. Formats:
tools/golden/README.md.

usage: make_tokenizer.py OUT_DIR
"""
import io, os, random, struct, sys

import gguf
import sentencepiece
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)
from transformers.convert_slow_tokenizer import generate_merges

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACE
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
FIRST = r"[^\r\n\p{L}\p{N}]?"
GPT4O = (f"{FIRST}{UPPER}*{LOWER}+{SUFFIX}?|{FIRST}{UPPER}+{LOWER}*{SUFFIX}?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACE)
TEKKEN = (f"{FIRST}{UPPER}*{LOWER}+|{FIRST}{UPPER}+{LOWER}*"
          r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACE)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
META = "\u2581"

# The first article of the Universal Declaration of Human Rights, or its beginning.
SENTENCES = """\
All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience.
Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt.
Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison.
Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón.
Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão e de consciência.
Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione.
Все люди рождаются свободными и равными в своём достоинстве и правах. Они наделены разумом и совестью.
Всі люди народжуються вільними і рівними у своїй гідності та правах.
Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.
Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv.
Minden emberi lény szabadon születik és egyenlő méltósága és joga van.
Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan.
Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. İstanbul'da ılık IŞIK.
Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.
Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.
כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. בְּרֵאשִׁית בָּרָא אֱלֹהִים
يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا ١٢٣٤٥
تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند. ۱۲۳۴
सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। १२३
সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।
மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; அவர்கள் மதிப்பிலும், உரிமைகளிலும் சமமானவர்கள்.
మానవులందరునూ గౌరవము మరియు హక్కుల విషయములో సమానులుగా స్వతంత్రులుగా జన్మించిరి.
มนุษย์ทั้งปวงเกิดมามีอิสระและเสมอภาคกันในศักดิ์ศรีและสิทธิ ๑๒๓
ລາວ ມະນຸດເກີດມາມີສິດເສລີພາບ
လူတိုင်းသည် တူညီလွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် မွေးဖွားလာသူများဖြစ်သည်။
ადამიანები იბადებიან თავისუფალნი და თანასწორნი თავისი ღირსებითა და უფლებებით.
Բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ ու իրավունքներով։
人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。
人人生而自由,在尊嚴和權利上一律平等。
すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。ｶﾀｶﾅ カタカナ
모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.
ሰብዓዊ ፍጡራን ሁሉ ነጻና በክብርና በመብትም እኩልነት ያላቸው ሆነው የተወለዱ ናቸው።
ᏂᎦᏓ ᎠᏂᏴᏫ ᏂᎨᎫᏓᎸᎾ ᎠᎴ ᎤᏂᏠᏱ
Binadamu wote wamezaliwa huru, hadhi na haki zao ni sawa.
Gach uile dhuine saolaítear saor agus comhionann i ndínit agus i gcearta.
""".splitlines()

HAND = [
    "", " ", "  ", "   a", "a   ", "\n", "\r\n", "\n\n\n", " \n \n", "\t\tx", "a\t b", "a \r b", "x\r\n\r\ny",
    "   \n   if (x)\n        return;\n", "a\u00a0b", "\u00a0\u00a0x", "\u3000全角 　x", "\u2028\u2029 a", "\u0085x",
    "\u180e a\u180e\u180e b", "\u200b zero\u200bwidth", "\ufeffbom", "don't DON'T Don'T we'll WE'LL 'S 's 'ſ 'K it's'",
    "I'm I'M you'RE they'Ve he'd HE'D ''s s's", "1234567890 1 12 123 1234 12,345.67", "½ ² ³ ⅷ Ⅻ ① 一二三 ٣٤", "x²+y³=z¹",
    "e\u0301 \u00e9 a\u030a\u0323 q\u0307\u0323 \u1e9b\u0323 \ufb01 \u212b \u2126", "한글 \u1112\u1161\u11ab", "👨‍👩‍👧‍👦 🇩🇪🇫🇷 👍🏽 ❤️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "😀😃😄 text😅text", "<|endoftext|>", "a<|endoftext|>b", "<|endoftext|><|endoftext|>", "<|endoftext|", "<|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|> <|im_start|>", "  <pad>  x<pad>y <pad>", "word masked mask masks unmask mask.", "<|a|><|ab|><|abc|><|abcd|>",
    "#include <stdio.h>\nint main(void)\n{\n\tprintf(\"%d\\n\", 42);\n\treturn 0;\n}\n",
    "def f(x: int) -> str:\n    '''doc'''\n    return f\"{x!r:>10}\"  # comment\n\n\n",
    "SELECT * FROM t WHERE a >= 10 AND b <> 'it''s';", "https://example.org/a/b?c=d&e=%20f#g user@example.org",
    "<div class=\"a b\">&nbsp;&amp;</div><!-- x -->", "{\"a\": [1, 2.5e-3, null, true], \"b\": {\"c\": \"\\u00e9\"}}",
    "$x^{2}_{i,j} \\frac{a}{b} \\sum_{n=0}^{\\infty}$", "a--b---c____d====e....f!!!!g????", "!@#$%^&*()_+-=[]{}|;':\",./<>?`~\\",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", " " * 100, "\n" * 50, " \n" * 30, "ab" * 300,
    "0" * 200, "-" * 200, "é" * 120, "字" * 120, "\u0301" * 60, "CamelCaseWordsAndSNAKE_CASE_words2and3numbers",
    "\u2581\u2581 set \u2581 x  \u2581y", "</s> x <|user|>\n y<|end|>", "\x00\x01\x02\x1f\x7f", "a\x00b", "\U0010ffff\ue000\uf8ff", "\ufffd", "ǅ ǈ ʰ ª º ˆ ˇ", "₀₁₂ ⁴⁵⁶ ℵ ℝ ∀∃∅∈ ← → ⇒ █▓▒░ ─│┌",
]


def random_texts(count):
    rng = random.Random(42)
    ranges = [(0x20, 0x7e)] * 6 + [(0xa0, 0x24f), (0x370, 0x3ff), (0x400, 0x52f), (0x590, 0x6ff), (0x900, 0xdff),
              (0x1e00, 0x20cf), (0x2100, 0x2bff), (0x3000, 0x30ff), (0x4e00, 0x9fa5), (0xac00, 0xd7a3),
              (0xf900, 0xfaff), (0x1f300, 0x1f64f), (0x300, 0x36f), (0x1d400, 0x1d7ff), (0x0, 0x20)]
    spaces = " \t\n\r\u00a0\u2003\u3000\u0085\u180e"
    out = []
    for _ in range(count):
        text = ""
        for _ in range(rng.randrange(1, 12)):
            lo, hi = rng.choice(ranges)
            text += "".join(chr(rng.randint(lo, hi)) for _ in range(rng.randrange(1, 7)))
            text += rng.choice(["", "", " ", "'s", "\n", "  ", rng.choice(spaces) * rng.randrange(1, 4)])
        out.append(text)
    return out


def broken_texts():
    """Bytes that are not UTF-8; the ids are those of the text with U+FFFD for every maximal invalid part."""
    rng = random.Random(7)
    out = [b"\xff", b"a\xc3", b"\xe2\x82", b"\xed\xa0\x80x", b"\xf0\x9f\x98", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\x80\x80 \xbf",
           b"ok \xe4\xb8\xad\xe4\xb8 broken \xf0\x9f\x98\x80\xf0\x9f end"]
    return out + [bytes(rng.choice([rng.randrange(256), rng.randrange(0x20, 0x7f), 0xe4, 0xb8, 0xf0, 0x9f])
                        for _ in range(rng.randrange(1, 40))) for _ in range(60)]


# ---- byte-level kinds -------------------------------------------------------------------------------

# kind: GGUF's name of the splitting
BYTE_LEVEL = {"gpt2": "gpt-2", "llama3": "llama-bpe", "qwen2": "qwen2", "starcoder": "starcoder", "falcon": "falcon",
              "phi2": "phi-2", "neox": "mpt", "bloom": "bloom", "command-r": "command-r", "gpt4o": "gpt-4o",
              "tekken": "tekken", "deepseek": "deepseek-coder", "roberta": None}
PIECES = ("llama2", "mistral", "gemma", "phi3")
KINDS = tuple(BYTE_LEVEL) + PIECES


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def pre_tokenizer(kind):
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digit = pre_tokenizers.Digits(individual_digits=True)
    patterns = {"llama3": LLAMA3, "qwen2": QWEN2, "gpt4o": GPT4O, "tekken": TEKKEN, "bloom": BLOOM}
    if kind in patterns:
        return pre_tokenizers.Sequence([split(patterns[kind]), plain])
    if kind in ("starcoder", "command-r"):
        return pre_tokenizers.Sequence([digit, gpt2])
    if kind == "falcon":
        return pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), gpt2,
                                        pre_tokenizers.Digits(individual_digits=False), split("[0-9][0-9][0-9]")])
    if kind == "deepseek":
        steps = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+"]
        return pre_tokenizers.Sequence([split(s) for s in steps] + [digit, plain])
    return pre_tokenizers.ByteLevel(add_prefix_space=True) if kind == "roberta" else gpt2


def corpus():
    lines = open(os.path.join(ROOT, "models/reference/calib.txt"), encoding="utf-8").read().splitlines()
    return SENTENCES * 6 + lines[:2000]


def train(kind, vocab=1200, odd_tokens=True):
    """A byte-level tokenizer. odd_tokens: added tokens with options, which GGUF does not keep."""
    tok = Tokenizer(models.BPE(ignore_merges=kind in ("llama3", "tekken")))
    if kind in ("qwen2", "neox", "command-r"):
        tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizer(kind)
    tok.decoder = decoders.ByteLevel()
    first = ("gpt2", "starcoder", "falcon", "bloom")
    tok.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<|endoftext|>"] if kind in first else []))
    if kind not in first:
        tok.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    if kind in ("phi2", "neox"):  # runs of whitespace, as CodeGen and GPT-NeoX have
        tok.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)]
                       + [AddedToken("\t" * n, normalized=True) for n in range(9, 1, -1)])
    if kind == "llama3":
        bos = tok.token_to_id("<|im_start|>")
        tok.post_processor = processors.TemplateProcessing("<|im_start|> $A", special_tokens=[("<|im_start|>", bos)])
    if kind == "llama3" and odd_tokens:
        tok.add_tokens([AddedToken("mask", single_word=True, normalized=False),
                        AddedToken("<pad>", lstrip=True, rstrip=True, normalized=False)])
    if kind == "qwen2" and odd_tokens:
        tok.add_tokens([AddedToken("<|a|>"), AddedToken("<|ab|>"), AddedToken("é", normalized=True)])
    return tok


# ---- SentencePiece kinds ----------------------------------------------------------------------------

PHI3_ADDED = ["<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|system|>", "<|end|>", "<|user|>"]
GEMMA_RUNS = ["\n" * n for n in range(2, 8)] + [META * n for n in range(2, 9)] + ["<table>", "</table>"]


def train_sentencepiece(kind, vocab=1500):
    out = io.BytesIO()
    gemma = kind == "gemma"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=out, model_type="bpe", vocab_size=vocab, byte_fallback=True,
        split_digits=True, character_coverage=0.995, normalization_rule_name="identity",
        add_dummy_prefix=not gemma, remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
        user_defined_symbols=GEMMA_RUNS if gemma else [], minloglevel=2, num_threads=1,
        unk_id=3 if gemma else 0, bos_id=2 if gemma else 1, eos_id=1 if gemma else 2, pad_id=0 if gemma else -1,
        bos_piece="<bos>" if gemma else "<s>", eos_piece="<eos>" if gemma else "</s>")
    sp = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    types = gguf.TokenType

    def kind_of(i):
        return (types.UNKNOWN if sp.is_unknown(i) else types.CONTROL if sp.is_control(i) else
                types.BYTE if sp.is_byte(i) else types.USER_DEFINED if sp.id_to_piece(i) in GEMMA_RUNS and gemma
                else types.NORMAL)
    return [(sp.id_to_piece(i), sp.get_score(i), kind_of(i)) for i in range(sp.get_piece_size())]


def from_pieces(kind, pieces, added=True):
    """What transformers' LlamaConverter and GemmaConverter make of SentencePiece's pieces."""
    types = gguf.TokenType
    vocab = [(text, 0.0 if type in (types.CONTROL, types.UNKNOWN) else score) for text, score, type in pieces]
    if kind == "gemma" and "\t" not in dict(vocab):
        vocab = [("\t", 0.0) if text == "<0x09>" else (text, score) for text, score in vocab]
    ids = {text: i for i, (text, _) in enumerate(vocab)}
    unk = next(text for text, _, type in pieces if type == types.UNKNOWN)
    tok = Tokenizer(models.BPE(ids, generate_merges(ids, dict(vocab)), unk_token=unk, fuse_unk=True,
                               byte_fallback=True))
    prepend, replace = normalizers.Prepend(META), normalizers.Replace(" ", META)
    ends = [decoders.Replace(META, " "), decoders.ByteFallback(), decoders.Fuse()]
    if kind == "gemma":
        tok.normalizer = replace
        tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    elif kind == "mistral":
        tok.pre_tokenizer = pre_tokenizers.Metaspace(META, prepend_scheme="first", split=False)
    else:
        tok.normalizer = normalizers.Sequence([prepend, replace])
    tok.decoder = decoders.Sequence(ends if kind == "gemma" else ends + [decoders.Strip(" ", 1, 0)])
    special = [text for text, _, type in pieces if type in (types.CONTROL, types.UNKNOWN)]
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True, rstrip=kind == "phi3" and t == "</s>")
                            for t in special])
    user = [text for text, _, type in pieces if type == types.USER_DEFINED]
    tok.add_tokens([AddedToken(t, normalized=False, rstrip=kind == "phi3" and t == "</s>") for t in user])
    if kind == "phi3" and added:
        tok.add_special_tokens([AddedToken(t, normalized=False, special=True, rstrip=t != "<|endoftext|>")
                                for t in PHI3_ADDED])
    bos = "<bos>" if kind == "gemma" else "<s>"
    tok.post_processor = processors.TemplateProcessing(f"{bos} $A", special_tokens=[(bos, ids[bos])])
    return tok


# ---- GGUF -------------------------------------------------------------------------------------------

def write_gguf(path, arch, tok, pre=None, pieces=None, prefix=True):
    """A GGUF file without tensors, its tokenizer as llama.cpp's converter writes it."""
    types, added = gguf.TokenType, tok.get_added_tokens_decoder()
    writer = gguf.GGUFWriter(path, arch)
    tokens, kinds, scores = [], [], []
    for i in range(tok.get_vocab_size()):
        text, score, kind = pieces[i] if pieces and i < len(pieces) else (tok.id_to_token(i), -1000.0, types.NORMAL)
        if i in added and kind != types.UNKNOWN:
            kind = types.CONTROL if added[i].special else types.USER_DEFINED
            if kind == types.USER_DEFINED and pieces:
                text, score = text.replace(META, " "), -1000.0
        tokens.append(text.encode())
        kinds.append(kind)
        scores.append(score)
    writer.add_tokenizer_model("llama" if pieces else "gpt2")
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if pieces:
        writer.add_token_scores(scores)
        writer.add_add_space_prefix(prefix)
    else:
        writer.add_token_merges([" ".join(m) for m in merges_of(tok)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def merges_of(tok):
    import json
    return [m.split(" ") if isinstance(m, str) else m for m in json.loads(tok.to_str())["model"]["merges"]]


def make(kind, out, odd_tokens=True):
    """Writes out/KIND.json and, where GGUF can say the same, out/KIND.gguf; returns the library's tokenizer."""
    pieces = train_sentencepiece(kind) if kind in PIECES else None
    tok = from_pieces(kind, pieces) if pieces else train(kind, odd_tokens=odd_tokens)
    tok.save(os.path.join(out, kind + ".json"), pretty=False)
    if kind == "mistral" or not (pieces or BYTE_LEVEL[kind]) or (odd_tokens and kind in ("llama3", "qwen2")):
        return tok
    write_gguf(os.path.join(out, kind + ".gguf"), {"phi3": "phi3", "gemma": "gemma"}.get(kind, "llama"), tok,
               BYTE_LEVEL.get(kind), pieces, kind != "gemma")
    return tok


# ---- golden files -----------------------------------------------------------------------------------

def write_ids(path, tok, texts):
    with open(path, "wb") as f:
        for t in texts:
            text = t.decode("utf-8", "replace")
            ids = tok.encode(text, add_special_tokens=False).ids
            back = tok.decode(ids, skip_special_tokens=False)
            f.write(struct.pack(f"<I{len(ids)}H", len(ids), *ids))
            if back == text:
                f.write(struct.pack("<I", 0xffffffff))
            else:
                f.write(struct.pack("<I", len(back.encode())) + back.encode())


def main(out):
    os.makedirs(out, exist_ok=True)
    evaluation = open(os.path.join(ROOT, "models/reference/eval.txt"), encoding="utf-8").read()
    texts = [t.encode() for t in SENTENCES + HAND + ["\n".join(SENTENCES)] + random_texts(150)]
    texts += broken_texts() + [evaluation[:4000].encode()]
    with open(os.path.join(out, "texts.bin"), "wb") as f:
        f.write(b"RTXT" + struct.pack("<I", len(texts)))
        for t in texts:
            f.write(struct.pack("<I", len(t)) + t)
    toks = {kind: make(kind, out) for kind in KINDS}
    toks["reference"] = Tokenizer.from_file(os.path.join(ROOT, "models/reference/tokenizer.json"))
    for kind, tok in toks.items():
        write_ids(os.path.join(out, kind + ".ids"), tok, texts)


if __name__ == "__main__":
    main(sys.argv[1])
