// tokenizer.c - the tokenizer inside a GGUF file.
//
// "gpt2" is byte-level: tokens, merges, and the name of a way to split text ("pre", rows of pre.c). "llama" is
// SentencePiece: tokens with scores. Its merges are derived from the scores as transformers does for the tokenizer.json
// of the same model, so ids agree with that file's, also in ties.
// Special tokens are recognized by their type; GGUF does not store their other options (lstrip, rstrip).
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/load/gguf/gguf.h"
#include "engine/text/tokenizer.h"

#define META "\xe2\x96\x81" // "▁"

struct lists {
    const struct gguf_entry *tokens, *types, *merges, *scores; // NULL: the file has none
};

static bool is_array_of(const struct gguf_entry *e, uint32_t element)
{
    return e && e->type == GGUF_ARRAY && e->element == element;
}

static int shown(struct gguf_text text)
{
    return (int)(text.bytes > 32 ? 32 : text.bytes);
}

// ---- scalars --------------------------------------------------------------------------------------

static enum status read_id(const struct gguf *g, const char *key, const struct tokenizer *tok,
                           int32_t *out, struct error *err)
{
    const struct gguf_entry *e = gguf_find(g, key);
    if (!e)
        return OK;
    int64_t id = gguf_is_integer(e->type) ? gguf_integer_at(g, e->type, e->first) : -1;
    if (id == UINT32_MAX) // some writers' "none"
        return OK;
    if (id < 0 || id >= tok->ids)
        return FAIL(err, ERR_FORMAT, "%s: %s: not an id", g->name, key);
    *out = (int32_t)id;
    return OK;
}

static enum status read_flag(const struct gguf *g, const char *key, bool fallback, bool *out,
                             struct error *err)
{
    const struct gguf_entry *e = gguf_find(g, key);
    *out = fallback;
    if (!e)
        return OK;
    if (e->type != GGUF_BOOL)
        return FAIL(err, ERR_FORMAT, "%s: %s: not true or false", g->name, key);
    *out = g->data[e->first] != 0;
    return OK;
}

static enum status read_ends(const struct gguf *g, struct tokenizer *tok, struct error *err)
{
    TRY(read_id(g, "tokenizer.ggml.bos_token_id", tok, &tok->bos, err));
    TRY(read_id(g, "tokenizer.ggml.eos_token_id", tok, &tok->eos, err));
    if (tok->kind == TOKENIZER_PIECES) // byte-level models leave out what they do not know
        TRY(read_id(g, "tokenizer.ggml.unknown_token_id", tok, &tok->unk, err));
    TRY(read_flag(g, "tokenizer.ggml.add_bos_token", tok->kind == TOKENIZER_PIECES, &tok->add_bos,
                  err));
    return read_flag(g, "tokenizer.ggml.add_eos_token", false, &tok->add_eos, err);
}

// ---- tokens ---------------------------------------------------------------------------------------

static enum status token_type(const struct gguf *g, const struct lists *lists, uint64_t id,
                              enum token_type *out, struct error *err)
{
    int64_t type = TOKEN_NORMAL;
    if (lists->types)
        type = gguf_integer_at(g, GGUF_I32, lists->types->first + (size_t)id * 4);
    if (type < TOKEN_NORMAL || type > TOKEN_BYTE)
        return FAIL(err, ERR_FORMAT, "%s: tokenizer.ggml.token_type: %llu: %lld is no type",
                    g->name, (unsigned long long)id, (long long)type);
    *out = (enum token_type)type;
    return OK;
}

// Phi-3's special tokens include the whitespace behind them, by its tokenizer.json.
static bool strips_right(const struct gguf *g, struct gguf_text text)
{
    static const char *const others[] = {"<unk>", "<s>", "<|endoftext|>"};
    struct gguf_text arch;
    if (!gguf_string(g, "general.architecture", &arch) || arch.bytes != 4 ||
        memcmp(arch.text, "phi3", 4) != 0)
        return false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strlen(others[i]) == text.bytes && memcmp(others[i], text.text, text.bytes) == 0)
            return false;
    return true;
}

static bool is_spaces(struct gguf_text text)
{
    for (size_t i = 0; i < text.bytes; i++)
        if (text.text[i] != ' ')
            return false;
    return text.bytes > 0;
}

// Writers turn "▁" in user-defined pieces into spaces, but merged text never has spaces. Gemma's runs of "▁" are
// matched as such before spaces become "▁"; runs of spaces reach them by merging.
static enum status set_piece(struct tokenizer *tok, enum token_type type, struct gguf_text text,
                             const struct added_token *added, struct error *err)
{
    struct str piece = {0};
    for (size_t i = 0; i < text.bytes; i++)
        if (text.text[i] == ' ')
            str_append(&piece, META);
        else
            str_append_bytes(&piece, text.text + i, 1);
    enum status status =
        piece.failed ? FAIL(err, ERR_NOMEM, "%s: no memory for its vocabulary", tok->name)
                     : tokenizer_set(tok, added->id, type, str_text(&piece), piece.length, err);
    if (status == OK && type != TOKEN_NORMAL && type != TOKEN_BYTE && type != TOKEN_UNUSED)
        status = is_spaces(text)
                     ? added_insert(&tok->added_raw, str_text(&piece), piece.length, added, err)
                     : added_insert(&tok->added_raw, text.text, text.bytes, added, err);
    str_fini(&piece);
    return status;
}

static enum status set_bytes(struct tokenizer *tok, enum token_type type, struct gguf_text text,
                             const struct added_token *added, struct error *err)
{
    TRY(tokenizer_set(tok, added->id, type, text.text, text.bytes, err));
    if (type != TOKEN_CONTROL && type != TOKEN_USER)
        return OK;
    return added_insert(&tok->added_raw, text.text, text.bytes, added, err);
}

static enum status read_tokens(const struct gguf *g, const struct lists *lists,
                               struct tokenizer *tok, struct error *err)
{
    struct gguf_text text;
    size_t at = lists->tokens->first;
    bool pieces = tok->kind == TOKENIZER_PIECES;
    for (uint64_t id = 0; id < lists->tokens->count; id++) {
        struct added_token added = {.id = (int32_t)id};
        enum token_type type = TOKEN_NORMAL;
        at = gguf_next_string(g, at, &text);
        TRY(token_type(g, lists, id, &type, err));
        added.special = type == TOKEN_CONTROL || type == TOKEN_UNKNOWN;
        added.rstrip = pieces && type != TOKEN_UNKNOWN && strips_right(g, text);
        if ((pieces ? set_piece : set_bytes)(tok, type, text, &added, err) != OK)
            return error_context(err, "%s: tokenizer.ggml.tokens: %llu", g->name,
                                 (unsigned long long)id);
    }
    return tokenizer_index(tok, err);
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
        TRY(tokenizer_merge(tok, text.text, left, space + 1, text.bytes - left - 1, err));
    }
    return OK;
}

// ---- byte-level -----------------------------------------------------------------------------------

static enum status refuse_pre(const struct gguf *g, const struct gguf_text *name, struct error *err)
{
    struct str known = {0};
    pre_names(&known);
    if (name)
        FAIL(err, ERR_UNSUPPORTED,
             "%s: tokenizer.ggml.pre: '%.*s' is not supported (these are: %s)", g->name,
             shown(*name), name->text, str_text(&known));
    else
        FAIL(err, ERR_UNSUPPORTED,
             "%s: tokenizer.ggml.pre: missing, so nothing says how text is split (known are: %s)",
             g->name, str_text(&known));
    str_fini(&known);
    return err->code;
}

static enum status fill_byte_level(const struct gguf *g, const struct lists *lists,
                                   struct tokenizer *tok, struct error *err)
{
    struct gguf_text name;
    bool named = gguf_string(g, "tokenizer.ggml.pre", &name);
    const struct pre *pre = named ? pre_find(name.text, name.bytes) : NULL;
    struct normal_step form = {.kind = NORMAL_FORM};
    if (!pre)
        return refuse_pre(g, named ? &name : NULL, err);
    if (!lists->merges)
        return FAIL(err, ERR_FORMAT, "%s: tokenizer.ggml.merges: missing", g->name);
    tok->ignore_merges = pre->ignore_merges;
    form.form = pre->form;
    if (pre->form != NORMAL_NONE)
        TRY(normalizer_add(&tok->normal, &form, g->name, err));
    for (int i = 0; i < pre_steps(pre); i++)
        TRY(pretok_add(tok->pretok, &pre->steps[i], g->name, err));
    TRY(read_tokens(g, lists, tok, err));
    TRY(read_merges(g, lists->merges, tok, err));
    return read_ends(g, tok, err);
}

// ---- pieces ---------------------------------------------------------------------------------------

static enum status read_scores(const struct gguf *g, const struct gguf_entry *scores,
                               struct tokenizer *tok, struct error *err)
{
    tok->scores = malloc((size_t)tok->ids * sizeof *tok->scores);
    if (!tok->scores)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its scores", g->name);
    memcpy(tok->scores, g->data + scores->first, (size_t)tok->ids * sizeof *tok->scores);
    for (int32_t id = 0; id < tok->ids; id++)
        if (!isfinite(tok->scores[id]))
            return FAIL(err, ERR_FORMAT, "%s: tokenizer.ggml.scores: %d: not a number", g->name,
                        id);
    return OK;
}

// Spaces become "▁"; the file decides whether one is added before the text.
static enum status add_meta(const struct gguf *g, struct tokenizer *tok, struct error *err)
{
    bool prefix;
    TRY(read_flag(g, "tokenizer.ggml.add_space_prefix", true, &prefix, err));
    struct normal_step prepend = {.kind = NORMAL_PREPEND, .text = prefix ? strdup(META) : NULL};
    struct normal_step replace = {.kind = NORMAL_REPLACE, .single = ' '};
    if (prefix && !prepend.text)
        return FAIL(err, ERR_NOMEM, "%s: no memory", g->name);
    if (prefix)
        TRY(normalizer_add(&tok->normal, &prepend, g->name, err));
    TRY(regex_create(" ", 1, true, g->name, &replace.from, err));
    replace.text = strdup(META);
    if (!replace.text) {
        regex_destroy(replace.from);
        return FAIL(err, ERR_NOMEM, "%s: no memory", g->name);
    }
    tok->decoder = (struct decoder){.pieces = true,
                                    .replace = {{META, " "}},
                                    .replaces = 1,
                                    .byte_fallback = true,
                                    .fused = true,
                                    .strip = prefix ? ' ' : '\0',
                                    .strip_left = prefix};
    return normalizer_add(&tok->normal, &replace, g->name, err);
}

static enum status fill_pieces(const struct gguf *g, const struct lists *lists,
                               struct tokenizer *tok, struct error *err)
{
    if (!lists->scores || !lists->types)
        return FAIL(err, ERR_FORMAT, "%s: tokenizer.ggml.%s: missing", g->name,
                    lists->scores ? "token_type" : "scores");
    tok->byte_fallback = tok->fuse_unk = true;
    TRY(add_meta(g, tok, err));
    TRY(read_tokens(g, lists, tok, err));
    TRY(read_scores(g, lists->scores, tok, err));
    for (int32_t id = 0; id < tok->ids && tok->unk < 0; id++)
        if (tok->entries[id].type == TOKEN_UNKNOWN)
            tok->unk = id;
    TRY(read_ends(g, tok, err));
    TRY(tokenizer_merge_by_scores(tok, err));
    return tokenizer_seal(tok, err);
}

// ---- the file -------------------------------------------------------------------------------------

static enum status read_kind(const struct gguf *g, enum tokenizer_kind *kind, struct error *err)
{
    struct gguf_text model;
    if (!gguf_string(g, "tokenizer.ggml.model", &model))
        return FAIL(err, ERR_UNSUPPORTED, "%s: the file holds no tokenizer", g->name);
    bool gpt2 = model.bytes == 4 && memcmp(model.text, "gpt2", 4) == 0;
    bool llama = model.bytes == 5 && memcmp(model.text, "llama", 5) == 0;
    *kind = gpt2 ? TOKENIZER_BYTE_LEVEL : TOKENIZER_PIECES;
    return gpt2 || llama ? OK
                         : FAIL(err, ERR_UNSUPPORTED,
                                "%s: tokenizer.ggml.model: '%.*s' is not supported (gpt2, "
                                "byte-level BPE, and llama, SentencePiece BPE, are)",
                                g->name, shown(model), model.text);
}

// Checks the lists' types, and that lists by id are as long as the vocabulary.
static enum status find_list(const struct gguf *g, const char *key, uint32_t element,
                             const struct gguf_entry *tokens, const struct gguf_entry **out,
                             struct error *err)
{
    const struct gguf_entry *e = *out = gguf_find(g, key);
    if (!e)
        return OK;
    if (!is_array_of(e, element))
        return FAIL(err, ERR_FORMAT, "%s: %s: not a list of the right type", g->name, key);
    if (tokens && e->count != tokens->count)
        return FAIL(err, ERR_FORMAT, "%s: %s: %llu of them for %llu tokens", g->name, key,
                    (unsigned long long)e->count, (unsigned long long)tokens->count);
    return OK;
}

enum status gguf_tokenizer(const struct gguf *g, struct tokenizer **out, struct error *err)
{
    struct lists lists;
    enum tokenizer_kind kind = TOKENIZER_BYTE_LEVEL;
    *out = NULL;
    TRY(read_kind(g, &kind, err));
    TRY(find_list(g, "tokenizer.ggml.tokens", GGUF_STRING, NULL, &lists.tokens, err));
    if (!lists.tokens)
        return FAIL(err, ERR_FORMAT, "%s: tokenizer.ggml.tokens: missing", g->name);
    TRY(find_list(g, "tokenizer.ggml.merges", GGUF_STRING, NULL, &lists.merges, err));
    TRY(find_list(g, "tokenizer.ggml.token_type", GGUF_I32, lists.tokens, &lists.types, err));
    TRY(find_list(g, "tokenizer.ggml.scores", GGUF_F32, lists.tokens, &lists.scores, err));
    if (lists.tokens->count > TOKENIZER_IDS_MAX)
        return FAIL(err, ERR_FORMAT, "%s: tokenizer.ggml.tokens: %llu of them", g->name,
                    (unsigned long long)lists.tokens->count);
    TRY(tokenizer_create(g->name, (int64_t)lists.tokens->count, out, err));
    (*out)->kind = kind;
    enum status status = kind == TOKENIZER_PIECES ? fill_pieces(g, &lists, *out, err)
                                                  : fill_byte_level(g, &lists, *out, err);
    if (status != OK) {
        tokenizer_destroy(*out);
        *out = NULL;
    }
    return status;
}

enum status gguf_tokenizer_parse(const char *name, const unsigned char *data, size_t bytes,
                                 struct tokenizer **out, struct error *err)
{
    struct gguf g = {.name = (char *)name, .data = data};
    struct gguf_cursor cursor = {name, data, 0, bytes};
    uint64_t tensors, entries;
    *out = NULL;
    enum status status = gguf_read_head(&cursor, &tensors, &entries, err);
    if (status == OK)
        status = gguf_read_entries(&g, &cursor, entries, err);
    if (status == OK)
        status = gguf_tokenizer(&g, out, err);
    free(g.entries);
    return status;
}

enum status gguf_tokenizer_open(const char *path, struct tokenizer **out, struct error *err)
{
    struct file_map map;
    *out = NULL;
    TRY(file_map(path, &map, err));
    enum status status = gguf_tokenizer_parse(path, map.data, map.size_bytes, out, err);
    file_unmap(&map);
    return status;
}
