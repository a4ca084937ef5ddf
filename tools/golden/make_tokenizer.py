#!/usr/bin/env python3
"""Makes tests/golden/tokenizer: small byte-level BPE tokenizers of each known kind, texts, and their ids.

The tokenizers are trained here on the reference model's calibration text and the sentences below, with
the splitting expressions of GPT-2, Llama 3, Qwen2, SmolLM and DeepSeek Coder; the ids are what the
`tokenizers` library makes of the texts. Formats: tools/golden/README.md.

usage: make_tokenizer.py OUT_DIR
"""
import os, random, struct, sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

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
    "\x00\x01\x02\x1f\x7f", "a\x00b", "\U0010ffff\ue000\uf8ff", "\ufffd", "ǅ ǈ ʰ ª º ˆ ˇ", "₀₁₂ ⁴⁵⁶ ℵ ℝ ∀∃∅∈ ← → ⇒ █▓▒░ ─│┌",
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


def pre_tokenizer(kind):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if kind == "gpt2":
        return whole
    if kind in ("llama3", "qwen2"):
        return pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(LLAMA3 if kind == "llama3" else QWEN2), "isolated"), byte_level])
    if kind == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), whole])
    steps = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"]
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(s), "isolated") for s in steps]
                                   + [pre_tokenizers.Digits(individual_digits=True), byte_level])


def train(kind, vocab=1200, odd_tokens=True):
    tok = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    if kind == "qwen2":
        tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizer(kind)
    tok.decoder = decoders.ByteLevel()
    lines = open(os.path.join(ROOT, "models/reference/calib.txt"), encoding="utf-8").read().splitlines()
    tok.train_from_iterator(SENTENCES * 6 + lines[:2000], trainers.BpeTrainer(
        vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<|endoftext|>"] if kind in ("gpt2", "smollm") else []))
    if kind not in ("gpt2", "smollm"):
        tok.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    if kind == "llama3" and odd_tokens:
        tok.add_tokens([AddedToken("mask", single_word=True, normalized=False),
                        AddedToken("<pad>", lstrip=True, rstrip=True, normalized=False)])
    if kind == "qwen2" and odd_tokens:
        tok.add_tokens([AddedToken("<|a|>"), AddedToken("<|ab|>"), AddedToken("é", normalized=True)])
    return tok


def main(out):
    os.makedirs(out, exist_ok=True)
    evaluation = open(os.path.join(ROOT, "models/reference/eval.txt"), encoding="utf-8").read()
    texts = [t.encode() for t in SENTENCES + HAND + ["\n".join(SENTENCES)] + random_texts(400)]
    texts += broken_texts() + [evaluation[:20000].encode()]
    with open(os.path.join(out, "texts.bin"), "wb") as f:
        f.write(b"RTXT" + struct.pack("<I", len(texts)))
        for t in texts:
            f.write(struct.pack("<I", len(t)) + t)
    toks = {kind: train(kind) for kind in ("gpt2", "llama3", "qwen2", "smollm", "deepseek")}
    for kind, tok in toks.items():
        tok.save(os.path.join(out, kind + ".json"), pretty=False)
    toks["reference"] = Tokenizer.from_file(os.path.join(ROOT, "models/reference/tokenizer.json"))
    for kind, tok in toks.items():
        with open(os.path.join(out, kind + ".ids"), "wb") as f:
            for t in texts:
                ids = tok.encode(t.decode("utf-8", "replace"), add_special_tokens=False).ids
                f.write(struct.pack(f"<I{len(ids)}H", len(ids), *ids))


if __name__ == "__main__":
    main(sys.argv[1])
