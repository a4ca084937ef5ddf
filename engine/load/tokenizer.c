// tokenizer.c - the vocabulary, and text to ids and back.
#include "engine/load/tokenizer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/load/parse.h"

void id_append(struct id_list *list, int32_t id)
{
    if (list->failed)
        return;
    if (list->count == list->capacity) {
        size_t want = list->capacity ? list->capacity * 2 : 64;
        int32_t *grown = realloc(list->data, want * sizeof *grown);
        if (!grown) {
            list->failed = true;
            return;
        }
        list->data = grown;
        list->capacity = want;
    }
    list->data[list->count++] = id;
}

// ---- filling --------------------------------------------------------------------------------------

enum status tokenizer_create(const char *name, int64_t ids, size_t merges, struct tokenizer **out,
                             struct error *err)
{
    *out = NULL;
    if (ids < 1 || ids > TOKENIZER_IDS_MAX)
        return FAIL(err, ERR_FORMAT, "%s: a vocabulary of %lld ids", name, (long long)ids);
    struct tokenizer *tok = calloc(1, sizeof *tok);
    if (!tok)
        return FAIL(err, ERR_NOMEM, "%s: no memory", name);
    tok->name = strdup(name);
    tok->ids = (int32_t)ids;
    tok->entries = malloc((size_t)ids * sizeof *tok->entries);
    tok->bpe = bpe_create(merges);
    tok->pretok = pretok_create();
    if (!tok->name || !tok->entries || !tok->bpe || !tok->pretok) {
        tokenizer_destroy(tok);
        return FAIL(err, ERR_NOMEM, "%s: no memory for %lld ids and %zu merges", name,
                    (long long)ids, merges);
    }
    for (int64_t i = 0; i < ids; i++)
        tok->entries[i] = (struct vocab_entry){0, UINT32_MAX};
    *out = tok;
    return OK;
}

void tokenizer_destroy(struct tokenizer *tok)
{
    if (!tok)
        return;
    added_fini(&tok->added_raw);
    added_fini(&tok->added_normalized);
    pretok_destroy(tok->pretok);
    bpe_destroy(tok->bpe);
    free(tok->entries);
    free(tok->index);
    str_fini(&tok->blob);
    free(tok->name);
    free(tok);
}

enum status tokenizer_set(struct tokenizer *tok, int64_t id, const char *entry, size_t bytes,
                          struct error *err)
{
    if (id < 0 || id >= tok->ids)
        return FAIL(err, ERR_FORMAT, "%s: id %lld is outside 0..%d", tok->name, (long long)id,
                    tok->ids - 1);
    size_t at = tok->blob.length;
    byte_level_decode(entry, bytes, &tok->blob);
    if (tok->blob.failed || tok->blob.length > UINT32_MAX - 1)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its vocabulary", tok->name);
    tok->entries[id] = (struct vocab_entry){(uint32_t)at, (uint32_t)(tok->blob.length - at)};
    return OK;
}

static uint32_t entry_hash(const char *raw, size_t bytes)
{
    uint64_t hash = bytes;
    for (size_t i = 0; i < bytes; i++)
        hash = hash * 0x100000001b3u ^ (unsigned char)raw[i];
    return (uint32_t)(rng_hash(hash) >> 32);
}

// The slot that holds an entry of these bytes, or the empty one where it would stand.
static uint32_t *index_slot(const struct tokenizer *tok, const char *raw, size_t bytes)
{
    uint32_t at = entry_hash(raw, bytes) & tok->index_mask;
    for (; tok->index[at]; at = (at + 1) & tok->index_mask) {
        const struct vocab_entry *e = &tok->entries[tok->index[at] - 1];
        if (e->bytes == bytes && memcmp(tok->blob.data + e->offset, raw, bytes) == 0)
            break;
    }
    return &tok->index[at];
}

enum status tokenizer_index(struct tokenizer *tok, struct error *err)
{
    uint32_t slots = 16;
    while (slots < (uint32_t)tok->ids * 2)
        slots *= 2;
    free(tok->index);
    tok->index = calloc(slots, sizeof *tok->index);
    if (!tok->index)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its vocabulary", tok->name);
    tok->index_mask = slots - 1;
    for (int32_t id = 0; id < tok->ids; id++) {
        const struct vocab_entry *e = &tok->entries[id];
        if (e->bytes == UINT32_MAX || e->bytes == 0)
            continue;
        uint32_t *slot = index_slot(tok, tok->blob.data + e->offset, e->bytes);
        if (!*slot)
            *slot = (uint32_t)id + 1;
    }
    for (int byte = 0; byte < 256; byte++) {
        char raw = (char)byte;
        tok->byte_id[byte] = tokenizer_find(tok, &raw, 1);
    }
    return OK;
}

int32_t tokenizer_find(const struct tokenizer *tok, const char *raw, size_t bytes)
{
    return bytes ? (int32_t)*index_slot(tok, raw, bytes) - 1 : -1;
}

enum status tokenizer_merge(struct tokenizer *tok, const char *left, size_t left_bytes,
                            const char *right, size_t right_bytes, size_t rank, struct error *err)
{
    struct str raw = {0};
    byte_level_decode(left, left_bytes, &raw);
    size_t cut = raw.length;
    byte_level_decode(right, right_bytes, &raw);
    enum status status = OK;
    if (raw.failed || rank > INT32_MAX) {
        status = FAIL(err, ERR_NOMEM, "%s: no memory for its merges", tok->name);
    } else {
        int32_t a = tokenizer_find(tok, str_text(&raw), cut);
        int32_t b = tokenizer_find(tok, str_text(&raw) + cut, raw.length - cut);
        int32_t both = tokenizer_find(tok, str_text(&raw), raw.length);
        if (a < 0 || b < 0 || both < 0)
            status = FAIL(err, ERR_FORMAT, "%s: merge %zu ('%.*s' '%.*s') is not of the vocabulary",
                          tok->name, rank, (int)(left_bytes > 64 ? 64 : left_bytes), left,
                          (int)(right_bytes > 64 ? 64 : right_bytes), right);
        else
            bpe_add_merge(tok->bpe, a, b, (int32_t)rank, both);
    }
    str_fini(&raw);
    return status;
}

// ---- encoding -------------------------------------------------------------------------------------

struct encoding {
    const struct tokenizer *tok;
    struct id_list *ids;
};

static enum status encode_word(void *user, const char *word, size_t bytes, struct error *err)
{
    const struct encoding *e = user;
    int32_t whole = e->tok->ignore_merges ? tokenizer_find(e->tok, word, bytes) : -1;
    if (whole >= 0) {
        id_append(e->ids, whole);
        return OK;
    }
    return bpe_encode(e->tok->bpe, e->tok->byte_id, word, bytes, e->ids, err);
}

// Text between added tokens.
static enum status encode_plain(const struct tokenizer *tok, const char *text, size_t bytes,
                                struct id_list *ids, struct error *err)
{
    struct encoding e = {tok, ids};
    if (bytes == 0)
        return OK;
    if (!tok->prefix_space || text[0] == ' ')
        return pretok_run(tok->pretok, text, bytes, encode_word, &e, err);
    struct str spaced = {0};
    str_append(&spaced, " ");
    str_append_bytes(&spaced, text, bytes);
    enum status status =
        spaced.failed
            ? FAIL(err, ERR_NOMEM, "no memory for %zu bytes of text", bytes)
            : pretok_run(tok->pretok, str_text(&spaced), spaced.length, encode_word, &e, err);
    str_fini(&spaced);
    return status;
}

typedef enum status encode_part(const struct tokenizer *tok, const char *text, size_t bytes,
                                struct id_list *ids, struct error *err);

// Cuts the tokens of a set out of text; what lies between goes to `rest`.
static enum status encode_around(const struct tokenizer *tok, const struct added_set *set,
                                 const char *text, size_t bytes, encode_part *rest,
                                 struct id_list *ids, struct error *err)
{
    struct added_match m;
    size_t done = 0, from = 0;
    while (added_find(set, text, bytes, from, done, &m)) {
        if (m.begin > done)
            TRY(rest(tok, text + done, m.begin - done, ids, err));
        id_append(ids, m.id);
        done = m.end > done ? m.end : done;
        from = m.resume;
    }
    return rest(tok, text + done, bytes - done, ids, err);
}

static enum status encode_normalized(const struct tokenizer *tok, const char *text, size_t bytes,
                                     struct id_list *ids, struct error *err)
{
    struct str normal = {0};
    if (tok->form == NORMAL_NONE)
        return encode_around(tok, &tok->added_normalized, text, bytes, encode_plain, ids, err);
    enum status status = utf8_normalize(text, bytes, tok->form, &normal, err);
    if (status == OK && normal.failed)
        status = FAIL(err, ERR_NOMEM, "no memory for %zu bytes of text", bytes);
    if (status == OK)
        status = encode_around(tok, &tok->added_normalized, str_text(&normal), normal.length,
                               encode_plain, ids, err);
    str_fini(&normal);
    return status;
}

enum status tokenizer_encode(const struct tokenizer *tok, const char *text, size_t bytes,
                             int32_t **ids, size_t *count, struct error *err)
{
    struct str repaired = {0};
    struct id_list list = {0};
    *ids = NULL;
    *count = 0;
    if (!utf8_valid(text, bytes)) {
        utf8_repair(text, bytes, &repaired);
        text = str_text(&repaired);
        bytes = repaired.length;
    }
    enum status status = repaired.failed ? FAIL(err, ERR_NOMEM, "no memory for the text")
                                         : encode_around(tok, &tok->added_raw, text, bytes,
                                                         encode_normalized, &list, err);
    str_fini(&repaired);
    if (status == OK && list.count == 0)
        id_append(&list, 0), list.count = 0; // an empty array is still one to free
    if (status == OK && list.failed)
        status = FAIL(err, ERR_NOMEM, "no memory for the ids of %zu bytes of text", bytes);
    if (status != OK) {
        free(list.data);
        return error_context(err, "%s", tok->name);
    }
    *ids = list.data;
    *count = list.count;
    return OK;
}

// ---- the rest -------------------------------------------------------------------------------------

int tokenizer_vocab(const struct tokenizer *tok)
{
    return tok->ids;
}

void tokenizer_decode(const struct tokenizer *tok, int32_t id, struct str *out)
{
    if (id < 0 || id >= tok->ids || tok->entries[id].bytes == UINT32_MAX)
        return;
    str_append_bytes(out, str_text(&tok->blob) + tok->entries[id].offset, tok->entries[id].bytes);
}

enum status tokenizer_check(const struct tokenizer *tok, const struct model_config *config,
                            const char *where, struct error *err)
{
    if (tok->ids > config->vocab)
        return FAIL(
            err, ERR_FORMAT,
            "%s: its largest id, %d, is outside the model's vocabulary of %d: the tokenizer of "
            "another model",
            where, tok->ids - 1, config->vocab);
    int32_t special = config->bos > config->eos ? config->bos : config->eos;
    if (special >= tok->ids)
        return FAIL(
            err, ERR_FORMAT,
            "%s: the model's bos or eos, %d, is none of its %d ids: the tokenizer of another "
            "model",
            where, special, tok->ids);
    return OK;
}
