// pre.c - GGUF's names for ways to split text (tokenizer.ggml.pre), as rows.
//
// A GGUF file has the name of a splitting, not the splitting. Each row has the steps of the tokenizer.json of the first
// model with that name, so ids are those of the tokenizers library. The names come from llama.cpp, which approximates
// some of them (no normal forms, other expressions for Falcon).
// Rows that differ in the name alone are neighbours; the first of them is written.
#include <string.h>

#include "engine/text/tokenizer.h"

#define SPLIT(expression) .kind = PRETOK_SPLIT, .pattern = expression
#define DIGIT             .kind = PRETOK_DIGITS
#define DIGITS            .kind = PRETOK_DIGITS, .behavior = PRETOK_CONTIGUOUS
#define PUNCTUATION       .kind = PRETOK_PUNCTUATION, .behavior = PRETOK_CONTIGUOUS
#define BYTE_LEVEL        .kind = PRETOK_BYTE_LEVEL
#define BYTE_LEVEL_GPT2   .kind = PRETOK_BYTE_LEVEL, .split = true

#define SUFFIX "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACE  "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER  "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define FIRST  "[^\\r\\n\\p{L}\\p{N}]?"

#define LLAMA3 SUFFIX "|" FIRST "\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACE
#define QWEN2  SUFFIX "|" FIRST "\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACE
#define GPT4O                                                                                      \
    FIRST UPPER "*" LOWER "+" SUFFIX "?|" FIRST UPPER "+" LOWER "*" SUFFIX                         \
                "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACE
#define TEKKEN                                                                                     \
    FIRST UPPER "*" LOWER "+|" FIRST UPPER "+" LOWER                                               \
                "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACE
#define BLOOM " ?[^(\\s|[.,!?…。，、।۔،])]+"
#define CJK   "[一-龥ࠀ-一가-\xed\x9f\xbf]+"

// The letters with case of an older Unicode, as DeepSeek LLM lists them.
static const char deepseek_cased[] =
    "\\s?"
    "[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌ"
    "Ύ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ"
    "-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ"
    "-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ"
    "-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-"
    "𐑏"
    "𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

static const struct pre pres[] = {
    {"gpt-2", {{BYTE_LEVEL_GPT2}}, false, NORMAL_NONE},
    {"phi-2", {{BYTE_LEVEL_GPT2}}, false, NORMAL_NONE},
    {"mpt", {{BYTE_LEVEL_GPT2}}, false, NORMAL_NFC},
    {"olmo", {{BYTE_LEVEL_GPT2}}, false, NORMAL_NFC},
    {"llama-bpe", {{SPLIT(LLAMA3)}, {BYTE_LEVEL}}, true, NORMAL_NONE},
    {"dbrx", {{SPLIT(LLAMA3)}, {BYTE_LEVEL}}, false, NORMAL_NONE},
    {"qwen2", {{SPLIT(QWEN2)}, {BYTE_LEVEL}}, false, NORMAL_NFC},
    {"deepseek-r1-qwen", {{SPLIT(QWEN2)}, {BYTE_LEVEL}}, false, NORMAL_NFC},
    {"starcoder", {{DIGIT}, {BYTE_LEVEL_GPT2}}, false, NORMAL_NONE},
    {"refact", {{DIGIT}, {BYTE_LEVEL_GPT2}}, false, NORMAL_NONE},
    {"smollm", {{DIGIT}, {BYTE_LEVEL_GPT2}}, false, NORMAL_NONE},
    {"command-r", {{DIGIT}, {BYTE_LEVEL_GPT2}}, false, NORMAL_NFC},
    {"falcon",
     {{PUNCTUATION}, {BYTE_LEVEL_GPT2}, {DIGITS}, {SPLIT("[0-9][0-9][0-9]")}},
     false,
     NORMAL_NONE},
    {"bloom", {{SPLIT(BLOOM)}, {BYTE_LEVEL}}, false, NORMAL_NONE},
    {"gpt-4o", {{SPLIT(GPT4O)}, {BYTE_LEVEL}}, false, NORMAL_NONE},
    {"tekken", {{SPLIT(TEKKEN)}, {BYTE_LEVEL}}, true, NORMAL_NONE},
    {"deepseek-coder",
     {{SPLIT("[\r\n]")},
      {SPLIT("\\s?\\p{L}+")},
      {SPLIT("\\s?\\p{P}+")},
      {SPLIT(CJK)},
      {DIGIT},
      {BYTE_LEVEL}},
     false,
     NORMAL_NONE},
    {"deepseek-llm",
     {{SPLIT("[\r\n]")},
      {SPLIT(deepseek_cased)},
      {SPLIT("\\s?[!-/:-~！-／：-～‘-‟　-。]+")},
      {SPLIT("\\s+$")},
      {SPLIT(CJK)},
      {DIGIT},
      {BYTE_LEVEL}},
     false,
     NORMAL_NONE},
    // llama.cpp's fallback for a file whose splitting was not known when it was written.
    {"default",
     {{SPLIT("[\\p{P}\\$\\+<=>\\^~\\|]+")},
      {SPLIT(PRETOK_GPT2)},
      {SPLIT("\\p{N}+")},
      {SPLIT("[0-9][0-9][0-9]")},
      {BYTE_LEVEL}},
     false,
     NORMAL_NONE},
};

int pre_steps(const struct pre *pre)
{
    int count = 0;
    while (count < (int)(sizeof pre->steps / sizeof *pre->steps) &&
           (pre->steps[count].kind != PRETOK_SPLIT || pre->steps[count].pattern))
        count++;
    return count;
}

const struct pre *pre_find(const char *name, size_t bytes)
{
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++)
        if (strlen(pres[i].name) == bytes && memcmp(pres[i].name, name, bytes) == 0)
            return &pres[i];
    return NULL;
}

const struct pre *pre_of(const struct tokenizer *tok)
{
    enum normal_form form = NORMAL_NONE;
    if (tok->kind != TOKENIZER_BYTE_LEVEL || tok->normal.count > 1 ||
        (tok->normal.count == 1 && tok->normal.steps[0].kind != NORMAL_FORM))
        return NULL;
    if (tok->normal.count == 1)
        form = tok->normal.steps[0].form;
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++)
        if (pres[i].form == form && pres[i].ignore_merges == tok->ignore_merges &&
            pretok_equals(tok->pretok, pres[i].steps, pre_steps(&pres[i])))
            return &pres[i];
    return NULL;
}

void pre_names(struct str *out)
{
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++)
        str_printf(out, "%s%s", i ? ", " : "", pres[i].name);
}
