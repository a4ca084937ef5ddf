// tokenizer_json.c - tokenizer.json of the tokenizers library to struct tokenizer.
//
// What is read: BPE models that are byte-level (as of GPT-2, Llama 3, Qwen2, SmolLM, DeepSeek Coder), their
// normal form, splitting and added tokens. What would give other ids than the library is refused by name.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/load/parse.h"
#include "engine/load/tokenizer.h"

enum { FILE_MAX_BYTES = 256 << 20, NESTING_MAX = 4 };

// ---- the vocabulary and the merges ----------------------------------------------------------------

struct parts {
    const json_t *vocab, *merges, *added; // objects or arrays; added may be NULL
};

static enum status largest_id(const struct parts *parts, const char *where, int64_t *largest,
                              struct error *err)
{
    const char *token;
    json_t *value;
    size_t i;
    *largest = -1;
    json_object_foreach((json_t *)parts->vocab, token, value)
    {
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return FAIL(err, ERR_FORMAT, "%s: model.vocab: '%.64s': not an id", where, token);
        if (json_integer_value(value) > *largest)
            *largest = json_integer_value(value);
    }
    json_array_foreach(parts->added, i, value)
    {
        int64_t id;
        TRY(json_get_i64(value, where, "id", 0, TOKENIZER_IDS_MAX - 1, &id, err));
        *largest = id > *largest ? id : *largest;
    }
    size_t entries = json_object_size(parts->vocab) + json_array_size(parts->added);
    if (*largest < 0 || (uint64_t)*largest > 2 * (uint64_t)entries + 1024)
        return FAIL(err, ERR_FORMAT, "%s: model.vocab: %zu entries, and %lld is the largest id",
                    where, entries, (long long)*largest);
    return OK;
}

static enum status read_vocab(struct tokenizer *tok, const json_t *vocab, struct error *err)
{
    const char *token;
    json_t *id;
    json_object_foreach((json_t *)vocab, token, id)
        TRY(tokenizer_set(tok, json_integer_value(id), token, strlen(token), err));
    return tokenizer_index(tok, err);
}

// ["a", "b"] or "a b".
static enum status read_merge(struct tokenizer *tok, const json_t *merge, size_t rank,
                              struct error *err)
{
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    if (json_array_size(merge) == 2 && json_is_string(left) && json_is_string(right))
        return tokenizer_merge(tok, json_string_value(left), json_string_length(left),
                               json_string_value(right), json_string_length(right), rank, err);
    const char *text = json_string_value(merge), *space = text ? strchr(text, ' ') : NULL;
    if (!space || strchr(space + 1, ' '))
        return FAIL(err, ERR_FORMAT, "%s: model.merges: %zu: not a pair", tok->name, rank);
    return tokenizer_merge(tok, text, (size_t)(space - text), space + 1, strlen(space + 1), rank,
                           err);
}

static enum status read_merges(struct tokenizer *tok, const json_t *merges, struct error *err)
{
    size_t i;
    json_t *merge;
    json_array_foreach(merges, i, merge) TRY(read_merge(tok, merge, i, err));
    return OK;
}

static enum status read_added_token(struct tokenizer *tok, const json_t *token, struct error *err)
{
    struct added_token added = {0};
    int64_t id;
    const char *content;
    bool normalized;
    struct str text = {0};
    TRY(json_get_i64(token, tok->name, "id", 0, tok->ids - 1, &id, err));
    TRY(json_get_string(token, tok->name, "content", &content, err));
    TRY(json_opt_bool(token, tok->name, "single_word", false, &added.single_word, err));
    TRY(json_opt_bool(token, tok->name, "lstrip", false, &added.lstrip, err));
    TRY(json_opt_bool(token, tok->name, "rstrip", false, &added.rstrip, err));
    TRY(json_opt_bool(token, tok->name, "normalized", false, &normalized, err));
    added.id = (int32_t)id;
    TRY(tokenizer_set(tok, id, content, strlen(content), err));
    if (!normalized)
        return added_insert(&tok->added_raw, content, strlen(content), &added, err);
    enum status status = utf8_normalize(content, strlen(content), tok->form, &text, err);
    if (status == OK)
        status = text.failed ? FAIL(err, ERR_NOMEM, "%s: no memory", tok->name)
                             : added_insert(&tok->added_normalized, str_text(&text), text.length,
                                            &added, err);
    str_fini(&text);
    return status;
}

static enum status read_added(struct tokenizer *tok, const json_t *added, struct error *err)
{
    size_t i;
    json_t *token;
    json_array_foreach(added, i, token) if (read_added_token(tok, token, err) !=
                                            OK) return error_context(err, "added_tokens: %zu", i);
    return OK;
}

// ---- normal form and splitting --------------------------------------------------------------------

static enum status read_normalizer(struct tokenizer *tok, const json_t *n, int depth,
                                   struct error *err)
{
    static const char *const forms[] = {
        [NORMAL_NFC] = "NFC", [NORMAL_NFD] = "NFD", [NORMAL_NFKC] = "NFKC", [NORMAL_NFKD] = "NFKD"};
    const char *type;
    size_t i;
    json_t *each;
    if (!n || json_is_null(n))
        return OK;
    TRY(json_get_string(n, tok->name, "type", &type, err));
    if (str_equal(type, "Sequence") && depth < NESTING_MAX) {
        json_array_foreach(json_object_get(n, "normalizers"), i, each)
            TRY(read_normalizer(tok, each, depth + 1, err));
        return OK;
    }
    for (int form = NORMAL_NFC; form <= NORMAL_NFKD; form++)
        if (str_equal(type, forms[form]) && tok->form == NORMAL_NONE) {
            tok->form = (enum normal_form)form;
            return OK;
        }
    return FAIL(err, ERR_UNSUPPORTED,
                "%s: normalizer: '%.64s' is not supported (one of NFC, NFD, NFKC and NFKD is)",
                tok->name, type);
}

static enum status read_split(struct tokenizer *tok, const json_t *step, struct error *err)
{
    const json_t *pattern = json_object_get(step, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex"),
                 *text = json_object_get(pattern, "String");
    const json_t *value = regex ? regex : text;
    const char *behavior;
    bool invert;
    TRY(json_get_string(step, tok->name, "behavior", &behavior, err));
    TRY(json_opt_bool(step, tok->name, "invert", false, &invert, err));
    if (!json_is_string(value))
        return FAIL(err, ERR_FORMAT, "%s: pre_tokenizer: Split: pattern: neither Regex nor String",
                    tok->name);
    bool removed = str_equal(behavior, "Removed");
    if (!removed && !str_equal(behavior, "Isolated"))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: pre_tokenizer: Split: behavior '%.64s' is not supported (Isolated and "
                    "Removed are)",
                    tok->name, behavior);
    return pretok_add(tok->pretok, json_string_value(value), json_string_length(value), !regex,
                      removed && !invert, removed && invert, tok->name, err);
}

static enum status read_byte_level(struct tokenizer *tok, const json_t *step, bool *byte_level,
                                   struct error *err)
{
    bool prefix, regex;
    *byte_level = true;
    TRY(json_opt_bool(step, tok->name, "add_prefix_space", true, &prefix, err));
    TRY(json_opt_bool(step, tok->name, "use_regex", true, &regex, err));
    if (prefix && pretok_steps(tok->pretok))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: pre_tokenizer: add_prefix_space after another step is not supported",
                    tok->name);
    tok->prefix_space = prefix;
    return regex ? pretok_add(tok->pretok, pretok_gpt2, strlen(pretok_gpt2), false, false, false,
                              tok->name, err)
                 : OK;
}

static enum status read_pre_tokenizer(struct tokenizer *tok, const json_t *step, int depth,
                                      bool *byte_level, struct error *err)
{
    const char *type;
    size_t i;
    json_t *each;
    bool individual;
    if (!step || json_is_null(step))
        return OK;
    TRY(json_get_string(step, tok->name, "type", &type, err));
    if (*byte_level)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: pre_tokenizer: '%.64s' after ByteLevel is not supported", tok->name, type);
    if (str_equal(type, "Sequence") && depth < NESTING_MAX) {
        json_array_foreach(json_object_get(step, "pretokenizers"), i, each)
            TRY(read_pre_tokenizer(tok, each, depth + 1, byte_level, err));
        return OK;
    }
    if (str_equal(type, "Split"))
        return read_split(tok, step, err);
    if (str_equal(type, "ByteLevel"))
        return read_byte_level(tok, step, byte_level, err);
    if (str_equal(type, "Digits")) {
        TRY(json_opt_bool(step, tok->name, "individual_digits", false, &individual, err));
        const char *pattern = individual ? "\\p{N}" : "\\p{N}+";
        return pretok_add(tok->pretok, pattern, strlen(pattern), false, false, false, tok->name,
                          err);
    }
    return FAIL(
        err, ERR_UNSUPPORTED,
        "%s: pre_tokenizer: '%.64s' is not supported (Sequence, Split, Digits and ByteLevel are)",
        tok->name, type);
}

// ---- the file -------------------------------------------------------------------------------------

static enum status refuse_text(const json_t *model, const char *where, const char *key,
                               struct error *err)
{
    const char *text;
    TRY(json_opt_string(model, where, key, "", &text, err));
    if (*text)
        return FAIL(err, ERR_UNSUPPORTED, "%s: model.%s: '%.64s' is not supported", where, key,
                    text);
    return OK;
}

static enum status check_model(const json_t *model, const char *where, bool *ignore_merges,
                               struct error *err)
{
    const char *type;
    double dropout;
    if (!json_is_object(model))
        return FAIL(err, ERR_FORMAT, "%s: model: missing or not an object", where);
    TRY(json_opt_string(model, where, "type", "BPE", &type, err));
    if (!str_equal(type, "BPE"))
        return FAIL(err, ERR_UNSUPPORTED, "%s: model.type: '%.64s' is not supported (BPE is)",
                    where, type);
    TRY(refuse_text(model, where, "continuing_subword_prefix", err));
    TRY(refuse_text(model, where, "end_of_word_suffix", err));
    TRY(json_opt_f64(model, where, "dropout", 0, &dropout, err));
    if (dropout != 0)
        return FAIL(err, ERR_UNSUPPORTED, "%s: model.dropout: random merges are not supported",
                    where);
    return json_opt_bool(model, where, "ignore_merges", false, ignore_merges, err);
}

static enum status fill(struct tokenizer *tok, const json_t *root, const struct parts *parts,
                        struct error *err)
{
    bool byte_level = false;
    TRY(read_normalizer(tok, json_object_get(root, "normalizer"), 0, err));
    TRY(read_pre_tokenizer(tok, json_object_get(root, "pre_tokenizer"), 0, &byte_level, err));
    if (!byte_level)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: pre_tokenizer: not byte-level; other kinds of BPE are not supported",
                    tok->name);
    TRY(read_vocab(tok, parts->vocab, err));
    TRY(read_merges(tok, parts->merges, err));
    return read_added(tok, parts->added, err);
}

static enum status from_json(const char *name, const json_t *root, struct tokenizer **out,
                             struct error *err)
{
    const json_t *model = json_object_get(root, "model");
    struct parts parts = {json_object_get(model, "vocab"), json_object_get(model, "merges"),
                          json_object_get(root, "added_tokens")};
    bool ignore_merges;
    int64_t largest;
    TRY(check_model(model, name, &ignore_merges, err));
    if (!json_is_object(parts.vocab) || !json_is_array(parts.merges))
        return FAIL(err, ERR_FORMAT, "%s: model.vocab or model.merges: missing", name);
    TRY(largest_id(&parts, name, &largest, err));
    TRY(tokenizer_create(name, largest + 1, json_array_size(parts.merges), out, err));
    (*out)->ignore_merges = ignore_merges;
    return fill(*out, root, &parts, err);
}

enum status tokenizer_parse(const char *name, const char *text, size_t bytes,
                            struct tokenizer **out, struct error *err)
{
    json_t *root = NULL;
    *out = NULL;
    TRY(json_parse(name, text, bytes, &root, err));
    enum status status = from_json(name, root, out, err);
    json_decref(root);
    if (status != OK) {
        tokenizer_destroy(*out);
        *out = NULL;
    }
    return status;
}

enum status tokenizer_open(const char *tokenizer_json, struct tokenizer **out, struct error *err)
{
    char *text;
    size_t bytes;
    *out = NULL;
    TRY(file_read(tokenizer_json, FILE_MAX_BYTES, &text, &bytes, err));
    enum status status = tokenizer_parse(tokenizer_json, text, bytes, out, err);
    free(text);
    return status;
}
