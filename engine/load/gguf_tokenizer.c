// gguf_tokenizer.c - the tokenizer inside a GGUF file.
//
// GGUF stores tokens, merges and the name of a way to split text ("pre"); the expressions behind the names
// stand here, as tokenizer.json of the first model of each name has them. SentencePiece vocabularies
// (tokenizer.ggml.model = llama) are not supported yet.
#include <string.h>

#include "engine/load/gguf.h"
#include "engine/load/tokenizer.h"

#define LLAMA3                                                                                     \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"                      \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN2                                                                                      \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"                           \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

struct pre {
    const char *name;
    const char *steps[6]; // patterns, in order
    bool ignore_merges;
    enum normal_form form;
};

static const struct pre pres[] = {
    {"gpt-2", {pretok_gpt2}, false, NORMAL_NONE},
    {"llama-bpe", {LLAMA3}, true, NORMAL_NONE},
    {"qwen2", {QWEN2}, false, NORMAL_NFC},
    {"smollm", {"\\p{N}", pretok_gpt2}, false, NORMAL_NONE},
    {"deepseek-coder",
     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
      "[\\x{4e00}-\\x{9fa5}\\x{0800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+", "\\p{N}"},
     false,
     NORMAL_NONE},
};

static const struct pre *find_pre(struct gguf_text name)
{
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++)
        if (strlen(pres[i].name) == name.bytes && memcmp(pres[i].name, name.text, name.bytes) == 0)
            return &pres[i];
    return NULL;
}

enum { TYPE_CONTROL = 3, TYPE_USER = 4 };

static bool is_added(const struct gguf *g, const struct gguf_entry *types, uint64_t id)
{
    if (!types || id >= types->count)
        return false;
    int64_t type = gguf_integer_at(g, types->element, types->first + (size_t)id * 4);
    return type == TYPE_CONTROL || type == TYPE_USER;
}

// First the vocabulary proper, which is indexed, then the added tokens, which are not to be found in it.
static enum status read_tokens(const struct gguf *g, const struct gguf_entry *tokens,
                               const struct gguf_entry *types, struct tokenizer *tok,
                               struct error *err)
{
    struct gguf_text text;
    for (int added = 0; added < 2; added++) {
        size_t at = tokens->first;
        for (uint64_t id = 0; id < tokens->count; id++) {
            struct added_token token = {.id = (int32_t)id};
            at = gguf_next_string(g, at, &text);
            if (is_added(g, types, id) != (added == 1))
                continue;
            TRY(tokenizer_set(tok, (int64_t)id, text.text, text.bytes, err));
            if (added)
                TRY(added_insert(&tok->added_raw, text.text, text.bytes, &token, err));
        }
        if (!added)
            TRY(tokenizer_index(tok, err));
    }
    return OK;
}

static enum status read_merges(const struct gguf *g, const struct gguf_entry *merges,
                               struct tokenizer *tok, struct error *err)
{
    struct gguf_text text;
    size_t at = merges->first;
    for (uint64_t i = 0; i < merges->count; i++) {
        at = gguf_next_string(g, at, &text);
        const char *space = text.bytes ? memchr(text.text + 1, ' ', text.bytes - 1) : NULL;
        if (!space)
            return FAIL(err, ERR_FORMAT, "%s: tokenizer.ggml.merges: %llu: not a pair", g->name,
                        (unsigned long long)i);
        size_t left = (size_t)(space - text.text);
        TRY(tokenizer_merge(tok, text.text, left, space + 1, text.bytes - left - 1, (size_t)i,
                            err));
    }
    return OK;
}

static enum status check_kind(const struct gguf *g, const struct pre **pre, struct error *err)
{
    struct gguf_text model, name = {"", 0};
    if (!gguf_string(g, "tokenizer.ggml.model", &model))
        return FAIL(err, ERR_UNSUPPORTED, "%s: the file holds no tokenizer", g->name);
    if (model.bytes != 4 || memcmp(model.text, "gpt2", 4) != 0)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: tokenizer.ggml.model: '%.*s' is not supported (gpt2, byte-level BPE, is)",
                    g->name, (int)(model.bytes > 32 ? 32 : model.bytes), model.text);
    gguf_string(g, "tokenizer.ggml.pre", &name);
    *pre = find_pre(name);
    if (!*pre)
        return FAIL(err, ERR_UNSUPPORTED, "%s: tokenizer.ggml.pre: '%.*s' is not supported",
                    g->name, (int)(name.bytes > 32 ? 32 : name.bytes), name.text);
    return OK;
}

static bool is_array_of(const struct gguf_entry *e, uint32_t element)
{
    return e && e->type == GGUF_ARRAY && e->element == element;
}

static enum status fill(const struct gguf *g, const struct pre *pre, struct tokenizer *tok,
                        struct error *err)
{
    const struct gguf_entry *types = gguf_find(g, "tokenizer.ggml.token_type");
    if (types && !is_array_of(types, GGUF_I32))
        return FAIL(err, ERR_FORMAT, "%s: tokenizer.ggml.token_type: not a list of types", g->name);
    tok->ignore_merges = pre->ignore_merges;
    tok->form = pre->form;
    for (size_t i = 0; i < sizeof pre->steps / sizeof *pre->steps && pre->steps[i]; i++)
        TRY(pretok_add(tok->pretok, pre->steps[i], strlen(pre->steps[i]), false, false, false,
                       g->name, err));
    TRY(read_tokens(g, gguf_find(g, "tokenizer.ggml.tokens"), types, tok, err));
    return read_merges(g, gguf_find(g, "tokenizer.ggml.merges"), tok, err);
}

enum status gguf_tokenizer(const struct gguf *g, struct tokenizer **out, struct error *err)
{
    const struct gguf_entry *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    const struct gguf_entry *merges = gguf_find(g, "tokenizer.ggml.merges");
    const struct pre *pre;
    *out = NULL;
    TRY(check_kind(g, &pre, err));
    if (!is_array_of(tokens, GGUF_STRING) || !is_array_of(merges, GGUF_STRING))
        return FAIL(err, ERR_FORMAT, "%s: tokenizer.ggml.tokens or merges: missing", g->name);
    if (tokens->count > TOKENIZER_IDS_MAX)
        return FAIL(err, ERR_FORMAT, "%s: tokenizer.ggml.tokens: %llu of them", g->name,
                    (unsigned long long)tokens->count);
    TRY(tokenizer_create(g->name, (int64_t)tokens->count, (size_t)merges->count, out, err));
    enum status status = fill(g, pre, *out, err);
    if (status != OK) {
        tokenizer_destroy(*out);
        *out = NULL;
    }
    return status;
}
