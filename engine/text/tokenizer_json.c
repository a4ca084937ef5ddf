// tokenizer_json.c - parses tokenizer.json of the tokenizers library into struct tokenizer.
//
// It reads BPE models, byte-level (GPT-2, Llama 3, Qwen2, StarCoder, Falcon, Bloom) or of pieces (Llama 2, Mistral,
// Gemma, Phi-3), with their added tokens. tokenizer_steps.c reads the steps around the model. A feature that would give
// other ids than the library is refused by name.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/text/tokenizer.h"

enum { FILE_MAX_BYTES = 256 << 20 };

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
    {
        size_t bytes = strlen(token);
        bool byte = tok->byte_fallback && tokenizer_byte_of_entry(token, bytes) >= 0;
        TRY(tokenizer_set(tok, json_integer_value(id), byte ? TOKEN_BYTE : TOKEN_NORMAL, token,
                          bytes, err));
    }
    return tokenizer_index(tok, err);
}

// ["a", "b"] or "a b".
static enum status read_merge(struct tokenizer *tok, const json_t *merge, size_t rank,
                              struct error *err)
{
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    if (json_array_size(merge) == 2 && json_is_string(left) && json_is_string(right))
        return tokenizer_merge(tok, json_string_value(left), json_string_length(left),
                               json_string_value(right), json_string_length(right), err);
    const char *text = json_string_value(merge), *space = text ? strchr(text, ' ') : NULL;
    if (!space || strchr(space + 1, ' '))
        return FAIL(err, ERR_FORMAT, "%s: model.merges: %zu: not a pair", tok->name, rank);
    return tokenizer_merge(tok, text, (size_t)(space - text), space + 1, strlen(space + 1), err);
}

static enum status read_merges(struct tokenizer *tok, const json_t *merges, struct error *err)
{
    size_t i;
    json_t *merge;
    json_array_foreach(merges, i, merge) TRY(read_merge(tok, merge, i, err));
    return OK;
}

// An added token may be an entry of the vocabulary too; then both must have the same id.
static enum status enter_added(struct tokenizer *tok, int64_t id, const char *content, bool special,
                               struct error *err)
{
    int32_t known = tokenizer_find_spelled(tok, content, strlen(content));
    enum token_type type = special ? TOKEN_CONTROL : TOKEN_USER;
    if (known < 0)
        return tokenizer_set(tok, id, type, content, strlen(content), err);
    if (known != id)
        return FAIL(err, ERR_FORMAT, "%s: '%.64s' has id %d in the vocabulary and %lld here",
                    tok->name, content, known, (long long)id);
    if (known != tok->unk)
        tok->entries[known].type = (uint8_t)type;
    return OK;
}

static enum status read_added_token(struct tokenizer *tok, const json_t *token, struct error *err)
{
    struct added_token added = {0};
    int64_t id;
    const char *content;
    bool normalized, special;
    struct str text = {0};
    TRY(json_get_i64(token, tok->name, "id", 0, tok->ids - 1, &id, err));
    TRY(json_get_string(token, tok->name, "content", &content, err));
    TRY(json_opt_bool(token, tok->name, "single_word", false, &added.single_word, err));
    TRY(json_opt_bool(token, tok->name, "lstrip", false, &added.lstrip, err));
    TRY(json_opt_bool(token, tok->name, "rstrip", false, &added.rstrip, err));
    TRY(json_opt_bool(token, tok->name, "normalized", false, &normalized, err));
    TRY(json_opt_bool(token, tok->name, "special", false, &special, err));
    added.id = (int32_t)id;
    added.special = special;
    TRY(enter_added(tok, id, content, special, err));
    if (!normalized) {
        added_insert(&tok->added_raw, content, strlen(content), &added, err);
        return error_context(err, "%s", tok->name); // does nothing when nothing failed
    }
    enum status status = normalizer_run(&tok->normal, content, strlen(content), &text, err);
    if (status == OK && !str_equal(str_text(&text), content))
        status = tokenizer_decode_as(tok, added.id, str_text(&text), text.length, err);
    if (status == OK)
        status = text.failed ? FAIL(err, ERR_NOMEM, "%s: no memory", tok->name)
                             : added_insert(&tok->added_normalized, str_text(&text), text.length,
                                            &added, err);
    str_fini(&text);
    return error_context(err, "%s", tok->name);
}

static enum status read_added(struct tokenizer *tok, const json_t *added, struct error *err)
{
    size_t i;
    json_t *token;
    json_array_foreach(added, i, token) if (read_added_token(tok, token, err) !=
                                            OK) return error_context(err, "added_tokens: %zu", i);
    return OK;
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

static enum status check_model(const json_t *model, const char *where, struct error *err)
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
    return OK;
}

static enum status read_options(struct tokenizer *tok, const json_t *model, struct error *err)
{
    TRY(json_opt_bool(model, tok->name, "ignore_merges", false, &tok->ignore_merges, err));
    TRY(json_opt_bool(model, tok->name, "fuse_unk", false, &tok->fuse_unk, err));
    TRY(json_opt_bool(model, tok->name, "byte_fallback", false, &tok->byte_fallback, err));
    if (tok->kind == TOKENIZER_BYTE_LEVEL)
        tok->byte_fallback = false; // every byte is a symbol of its own
    return OK;
}

static enum status read_unknown(struct tokenizer *tok, const json_t *model, struct error *err)
{
    const char *unknown;
    TRY(json_opt_string(model, tok->name, "unk_token", "", &unknown, err));
    if (!*unknown)
        return OK;
    tok->unk = tokenizer_find_spelled(tok, unknown, strlen(unknown));
    if (tok->unk < 0 && tok->kind == TOKENIZER_PIECES)
        return FAIL(err, ERR_FORMAT, "%s: model.unk_token: '%.64s' is not in the vocabulary",
                    tok->name, unknown);
    if (tok->unk >= 0)
        tok->entries[tok->unk].type = TOKEN_UNKNOWN;
    return OK;
}

static enum status fill(struct tokenizer *tok, const json_t *root, const struct parts *parts,
                        struct error *err)
{
    const json_t *model = json_object_get(root, "model");
    TRY(tokenizer_read_steps(tok, root, err));
    TRY(read_options(tok, model, err));
    TRY(read_vocab(tok, parts->vocab, err));
    TRY(read_unknown(tok, model, err));
    TRY(read_merges(tok, parts->merges, err));
    TRY(read_added(tok, parts->added, err));
    TRY(tokenizer_read_ends(tok, root, err));
    return tokenizer_seal(tok, err);
}

static enum status from_json(const char *name, const json_t *root, struct tokenizer **out,
                             struct error *err)
{
    const json_t *model = json_object_get(root, "model");
    struct parts parts = {json_object_get(model, "vocab"), json_object_get(model, "merges"),
                          json_object_get(root, "added_tokens")};
    int64_t largest;
    TRY(check_model(model, name, err));
    if (!json_is_object(parts.vocab) || !json_is_array(parts.merges))
        return FAIL(err, ERR_FORMAT, "%s: model.vocab or model.merges: missing", name);
    TRY(largest_id(&parts, name, &largest, err));
    TRY(tokenizer_create(name, largest + 1, out, err));
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

enum status tokenizer_json_open(const char *path, struct tokenizer **out, struct error *err)
{
    char *text;
    size_t bytes;
    *out = NULL;
    TRY(file_read(path, FILE_MAX_BYTES, &text, &bytes, err));
    enum status status = tokenizer_parse(path, text, bytes, out, err);
    free(text);
    return status;
}
