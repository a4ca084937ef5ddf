// encode.c - text to ids: runs the steps of a tokenizer.
//
// Many SentencePiece-like tokenizers split nothing: all text is one word. Merging it whole would be slow and bypass the
// cache of words. So it is cut where no merge can cross: between two characters that are neighbours in no merged entry.
// That changes no id, because a merge across the cut would create an entry that contains the pair. The pairs are bits,
// by hash; a collision only prevents one cut.
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer.h"

enum { JOIN_BITS = 1 << 21, WORD_CUT_BYTES = 24 };

// ---- where words of pieces may be cut -------------------------------------------------------------

static size_t join_bit(int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return (pair * 0x9e3779b97f4a7c15u) >> 43; // 21 bits
}

static bool may_join(const struct tokenizer *tok, int32_t left, int32_t right)
{
    size_t bit = join_bit(left, right);
    return tok->joins[bit / 8] >> (bit % 8) & 1;
}

// Cuts only where each character has its own ids, and no other character has them. Unknown characters would fuse with
// their neighbours, and a merge of byte tokens would join characters that no entry has as neighbours.
static bool may_cut(const struct tokenizer *tok)
{
    if (tok->kind != TOKENIZER_PIECES || !tok->byte_fallback)
        return false;
    for (int byte = 0; byte < 256; byte++) {
        char character = (char)byte;
        bool known = byte < 0x80 && tokenizer_find(tok, &character, 1) >= 0;
        if (tok->byte_id[byte] < 0 && !known)
            return false;
    }
    for (size_t i = 0; i < tok->pair_count; i++) {
        const struct merge_pair *pair = &tok->pairs[i];
        if (tok->entries[pair->left].type == TOKEN_BYTE ||
            tok->entries[pair->right].type == TOKEN_BYTE)
            return false;
    }
    return true;
}

enum status tokenizer_seal(struct tokenizer *tok, struct error *err)
{
    if (!may_cut(tok))
        return OK;
    tok->joins = calloc(1, JOIN_BITS / 8);
    if (!tok->joins)
        return FAIL(err, ERR_NOMEM, "%s: no memory", tok->name);
    for (size_t i = 0; i < tok->pair_count; i++) {
        const struct vocab_entry *e = &tok->entries[tok->pairs[i].merged];
        const char *text = tok->blob.data + e->offset;
        size_t n;
        if (!utf8_valid(text, e->bytes)) // no text can contain this entry
            continue;
        int32_t last = utf8_next(text, e->bytes, &n), next;
        for (size_t at = n; at < e->bytes; at += n, last = next) {
            next = utf8_next(text + at, e->bytes - at, &n);
            size_t bit = join_bit(last, next);
            tok->joins[bit / 8] |= (uint8_t)(1u << (bit % 8));
        }
    }
    return OK;
}

// ---- symbols of a word ----------------------------------------------------------------------------

// An unknown symbol is held back, because with fuse_unk its neighbours join it. As in tokenizers, the bytes of a
// character without an entry may overtake it.
struct unknown {
    const struct tokenizer *tok;
    struct bpe *bpe;
    bool waiting;
};

static void push_known(struct unknown *u, int32_t id)
{
    if (u->waiting)
        bpe_push(u->bpe, u->tok->unk);
    u->waiting = false;
    bpe_push(u->bpe, id);
}

static void push_unknown(struct unknown *u)
{
    if (u->waiting && !u->tok->fuse_unk)
        bpe_push(u->bpe, u->tok->unk);
    u->waiting = u->tok->unk >= 0;
}

static void push_bytes(const void *user, const char *word, size_t bytes, struct bpe *bpe)
{
    const struct tokenizer *tok = user;
    struct unknown u = {tok, bpe, false};
    for (size_t i = 0; i < bytes; i++) {
        int32_t id = tok->byte_id[(unsigned char)word[i]];
        if (id >= 0)
            push_known(&u, id);
        else
            push_unknown(&u);
    }
    if (u.waiting)
        bpe_push(bpe, tok->unk);
}

static bool push_fallback(const struct tokenizer *tok, const char *character, size_t bytes,
                          struct bpe *bpe)
{
    for (size_t i = 0; i < bytes; i++)
        if (!tok->byte_fallback || tok->byte_id[(unsigned char)character[i]] < 0)
            return false;
    for (size_t i = 0; i < bytes; i++)
        bpe_push(bpe, tok->byte_id[(unsigned char)character[i]]);
    return true;
}

static void push_characters(const void *user, const char *word, size_t bytes, struct bpe *bpe)
{
    const struct tokenizer *tok = user;
    struct unknown u = {tok, bpe, false};
    size_t n;
    for (size_t i = 0; i < bytes; i += n) {
        utf8_next(word + i, bytes - i, &n);
        int32_t id = tokenizer_find(tok, word + i, n);
        if (id >= 0)
            push_known(&u, id);
        else if (!push_fallback(tok, word + i, n, bpe))
            push_unknown(&u);
    }
    if (u.waiting)
        bpe_push(bpe, tok->unk);
}

// ---- words ----------------------------------------------------------------------------------------

struct encoding {
    const struct tokenizer *tok;
    struct id_list *ids;
    bool literal; // special tokens are text
};

// Short neighbours stay together: cached words are more useful than cached letters.
static enum status encode_cut(const struct tokenizer *tok, const char *word, size_t bytes,
                              struct id_list *ids, struct error *err)
{
    size_t begin = 0, n;
    int32_t last = utf8_next(word, bytes, &n), next;
    for (size_t at = n; at < bytes; at += n, last = next) {
        next = utf8_next(word + at, bytes - at, &n);
        bool worth = next == 0x2581 || at - begin >= WORD_CUT_BYTES; // "▁" begins a word
        if (!worth || may_join(tok, last, next))
            continue;
        TRY(bpe_encode(tok->bpe, push_characters, tok, word + begin, at - begin, ids, err));
        begin = at;
    }
    return bpe_encode(tok->bpe, push_characters, tok, word + begin, bytes - begin, ids, err);
}

static enum status encode_word(void *user, const char *word, size_t bytes, struct error *err)
{
    const struct encoding *e = user;
    int32_t whole = e->tok->ignore_merges ? tokenizer_find(e->tok, word, bytes) : -1;
    if (whole >= 0) {
        tokenizer_id_append(e->ids, whole);
        return OK;
    }
    if (e->tok->joins)
        return encode_cut(e->tok, word, bytes, e->ids, err);
    return bpe_encode(e->tok->bpe, e->tok->kind == TOKENIZER_PIECES ? push_characters : push_bytes,
                      e->tok, word, bytes, e->ids, err);
}

// ---- text -----------------------------------------------------------------------------------------

// Text between added tokens; at_start: there is none before it.
typedef enum status encode_part(struct encoding *e, const char *text, size_t bytes, bool at_start,
                                struct error *err);

static enum status encode_plain(struct encoding *e, const char *text, size_t bytes, bool at_start,
                                struct error *err)
{
    return pretok_run(e->tok->pretok, text, bytes, at_start, encode_word, e, err);
}

// Cuts the tokens of a set out of text, and passes the text between them to `rest`. As in tokenizers, a token inside
// whitespace that the previous token's rstrip included still counts, and text continues behind it, unless lstrip leaves
// nothing of it.
static enum status encode_around(struct encoding *e, const struct added_set *set, const char *text,
                                 size_t bytes, bool at_start, encode_part *rest, struct error *err)
{
    struct added_match m;
    size_t done = 0, from = 0;
    while (added_find(set, e->literal, text, bytes, from, done, &m)) {
        if (m.begin > done)
            TRY(rest(e, text + done, m.begin - done, at_start && done == 0, err));
        if (m.begin < m.end)
            tokenizer_id_append(e->ids, m.id);
        done = m.begin <= m.end ? m.end : done;
        from = m.resume;
    }
    return done < bytes ? rest(e, text + done, bytes - done, at_start && done == 0, err) : OK;
}

static enum status encode_normalized(struct encoding *e, const char *text, size_t bytes,
                                     bool at_start, struct error *err)
{
    const struct tokenizer *tok = e->tok;
    struct str normal = {0};
    if (tok->normal.count == 0)
        return encode_around(e, &tok->added_normalized, text, bytes, at_start, encode_plain, err);
    enum status status = normalizer_run(&tok->normal, text, bytes, &normal, err);
    if (status == OK)
        status = encode_around(e, &tok->added_normalized, str_text(&normal), normal.length,
                               at_start, encode_plain, err);
    str_fini(&normal);
    return status;
}

// An added token beyond the model's vocabulary has no row of the embedding.
static enum status check_ids(const struct tokenizer *tok, const struct id_list *list,
                             struct error *err)
{
    for (size_t i = 0; tok->model_ids && i < list->count; i++) {
        struct str spelling = {0};
        if (list->data[i] < tok->model_ids)
            continue;
        tokenizer_spelling(tok, list->data[i], &spelling);
        FAIL(err, ERR_FORMAT,
             "the text holds '%.64s', which is id %d of the tokenizer, but the model's vocabulary "
             "ends at %d",
             str_text(&spelling), (int)list->data[i], (int)tok->model_ids - 1);
        str_fini(&spelling);
        return err->code;
    }
    return OK;
}

static enum status encode(const struct tokenizer *tok, const char *text, size_t bytes, bool literal,
                          int32_t **ids, size_t *count, struct error *err)
{
    struct str repaired = {0};
    struct id_list list = {0};
    struct encoding e = {tok, &list, literal};
    *ids = NULL;
    *count = 0;
    if (!utf8_valid(text, bytes)) {
        utf8_repair(text, bytes, &repaired);
        text = str_text(&repaired);
        bytes = repaired.length;
    }
    enum status status = repaired.failed ? FAIL(err, ERR_NOMEM, "no memory for the text")
                                         : encode_around(&e, &tok->added_raw, text, bytes, true,
                                                         encode_normalized, err);
    str_fini(&repaired);
    if (status == OK && list.count == 0)
        tokenizer_id_append(&list, 0), list.count = 0; // the caller frees an empty array too
    if (status == OK && list.failed)
        status = FAIL(err, ERR_NOMEM, "no memory for the ids of %zu bytes of text", bytes);
    if (status == OK)
        status = check_ids(tok, &list, err);
    if (status != OK) {
        free(list.data);
        return error_context(err, "%s", tok->name);
    }
    *ids = list.data;
    *count = list.count;
    return OK;
}

enum status tokenizer_encode(const struct tokenizer *tok, const char *text, size_t bytes,
                             int32_t **ids, size_t *count, struct error *err)
{
    return encode(tok, text, bytes, false, ids, count, err);
}

enum status tokenizer_encode_literal(const struct tokenizer *tok, const char *text, size_t bytes,
                                     int32_t **ids, size_t *count, struct error *err)
{
    return encode(tok, text, bytes, true, ids, count, err);
}
