// tokenizer.c - fills and looks up the vocabulary and the merges.
#include "engine/text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum { ENTRY_CUT_MAX_BYTES = 1024, SHOWN_BYTES = 64 };

static int shown(size_t bytes)
{
    return (int)(bytes > SHOWN_BYTES ? SHOWN_BYTES : bytes);
}

enum status tokenizer_create(const char *name, int64_t ids, struct tokenizer **out,
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
    tok->unk = tok->bos = tok->eos = -1;
    tok->entries = malloc((size_t)ids * sizeof *tok->entries);
    tok->bpe = bpe_create();
    tok->pretok = pretok_create();
    if (!tok->name || !tok->entries || !tok->bpe || !tok->pretok) {
        tokenizer_destroy(tok);
        return FAIL(err, ERR_NOMEM, "%s: no memory for %lld ids", name, (long long)ids);
    }
    for (int64_t i = 0; i < ids; i++)
        tok->entries[i] = (struct vocab_entry){0, UINT32_MAX, TOKEN_UNUSED, false};
    *out = tok;
    return OK;
}

void tokenizer_destroy(struct tokenizer *tok)
{
    if (!tok)
        return;
    added_fini(&tok->added_raw);
    added_fini(&tok->added_normalized);
    normalizer_fini(&tok->normal);
    pretok_destroy(tok->pretok);
    bpe_destroy(tok->bpe);
    free(tok->entries);
    free(tok->index);
    free(tok->pairs);
    free(tok->joins);
    free(tok->scores);
    free(tok->decoded);
    str_fini(&tok->blob);
    free(tok->name);
    free(tok);
}

int tokenizer_vocab(const struct tokenizer *tok)
{
    return tok->ids;
}

// ---- the vocabulary -------------------------------------------------------------------------------

enum status tokenizer_set(struct tokenizer *tok, int64_t id, enum token_type type,
                          const char *entry, size_t bytes, struct error *err)
{
    if (id < 0 || id >= tok->ids)
        return FAIL(err, ERR_FORMAT, "%s: id %lld is outside 0..%d", tok->name, (long long)id,
                    tok->ids - 1);
    if (tok->entries[id].bytes != UINT32_MAX)
        return FAIL(err, ERR_FORMAT, "%s: id %lld stands for two entries, '%.*s' one of them",
                    tok->name, (long long)id, shown(bytes), entry);
    size_t at = tok->blob.length;
    bool spelled = tok->kind == TOKENIZER_BYTE_LEVEL && byte_level_decode(entry, bytes, &tok->blob);
    if (tok->kind != TOKENIZER_BYTE_LEVEL)
        str_append_bytes(&tok->blob, entry, bytes);
    if (tok->blob.failed || tok->blob.length > UINT32_MAX - 1)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its vocabulary", tok->name);
    tok->entries[id] = (struct vocab_entry){(uint32_t)at, (uint32_t)(tok->blob.length - at),
                                            (uint8_t)type, spelled};
    return OK;
}

enum status tokenizer_decode_as(struct tokenizer *tok, int32_t id, const char *entry, size_t bytes,
                                struct error *err)
{
    size_t at = tok->blob.length, count = tok->decoded_count;
    struct decoded_entry *grown = realloc(tok->decoded, (count + 1) * sizeof *grown);
    if (grown)
        tok->decoded = grown;
    if (tok->kind == TOKENIZER_BYTE_LEVEL)
        byte_level_decode(entry, bytes, &tok->blob);
    else
        str_append_bytes(&tok->blob, entry, bytes);
    if (!grown || tok->blob.failed || tok->blob.length > UINT32_MAX - 1)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its vocabulary", tok->name);
    grown[tok->decoded_count++] =
        (struct decoded_entry){id, (uint32_t)at, (uint32_t)(tok->blob.length - at)};
    return OK;
}

static uint32_t entry_hash(const char *raw, size_t bytes)
{
    uint64_t hash = bytes;
    for (size_t i = 0; i < bytes; i++)
        hash = hash * 0x100000001b3u ^ (unsigned char)raw[i];
    return (uint32_t)(rng_hash(hash) >> 32);
}

// The slot of the entry with these bytes, or the empty slot for it. A spelled entry differs from an unspelled one with
// the same bytes.
static uint32_t *index_slot(const struct tokenizer *tok, const char *raw, size_t bytes,
                            bool spelled)
{
    uint32_t at = entry_hash(raw, bytes) & tok->index_mask;
    for (; tok->index[at]; at = (at + 1) & tok->index_mask) {
        const struct vocab_entry *e = &tok->entries[tok->index[at] - 1];
        if (e->bytes == bytes && e->spelled == spelled &&
            memcmp(tok->blob.data + e->offset, raw, bytes) == 0)
            break;
    }
    return &tok->index[at];
}

int32_t tokenizer_find(const struct tokenizer *tok, const char *raw, size_t bytes)
{
    if (bytes == 0)
        return -1;
    return (int32_t)*index_slot(tok, raw, bytes, tok->kind == TOKENIZER_BYTE_LEVEL) - 1;
}

int32_t tokenizer_find_spelled(const struct tokenizer *tok, const char *entry, size_t bytes)
{
    struct str raw = {0};
    if (tok->kind != TOKENIZER_BYTE_LEVEL)
        return tokenizer_find(tok, entry, bytes);
    bool spelled = byte_level_decode(entry, bytes, &raw);
    int32_t id = raw.length ? (int32_t)*index_slot(tok, raw.data, raw.length, spelled) - 1 : -1;
    str_fini(&raw);
    return id;
}

int tokenizer_byte_of_entry(const char *entry, size_t bytes)
{
    static const char digits[] = "0123456789ABCDEF";
    if (bytes != 6 || memcmp(entry, "<0x", 3) != 0 || entry[5] != '>' || !entry[3] || !entry[4])
        return -1;
    const char *high = strchr(digits, entry[3]), *low = strchr(digits, entry[4]);
    return high && low ? (int)(high - digits) * 16 + (int)(low - digits) : -1;
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
    for (int32_t i = 0; i < 2 * tok->ids; i++) { // added tokens last: others go before them
        int32_t id = i % tok->ids;
        const struct vocab_entry *e = &tok->entries[id];
        bool added = e->type == TOKEN_CONTROL || e->type == TOKEN_USER;
        if (e->bytes == UINT32_MAX || e->bytes == 0 || added != (i >= tok->ids))
            continue;
        uint32_t *slot = index_slot(tok, tok->blob.data + e->offset, e->bytes, e->spelled);
        if (!*slot)
            *slot = (uint32_t)id + 1;
    }
    for (int byte = 0; byte < 256; byte++) {
        char raw = (char)byte, code[8];
        snprintf(code, sizeof code, "<0x%02X>", byte);
        tok->byte_id[byte] = tok->kind == TOKENIZER_BYTE_LEVEL ? tokenizer_find(tok, &raw, 1)
                                                               : tokenizer_find(tok, code, 6);
    }
    return OK;
}

// ---- merges ---------------------------------------------------------------------------------------

enum status tokenizer_merge_ids(struct tokenizer *tok, int32_t left, int32_t right, int32_t merged,
                                struct error *err)
{
    size_t rank = tok->pair_count;
    if (rank >= INT32_MAX / 8)
        return FAIL(err, ERR_FORMAT, "%s: more than %zu merges", tok->name, rank);
    if ((rank & (rank - 1)) == 0) { // full at every power of two
        struct merge_pair *grown = realloc(tok->pairs, (rank ? 2 * rank : 1) * sizeof *grown);
        if (!grown)
            return FAIL(err, ERR_NOMEM, "%s: no memory for its merges", tok->name);
        tok->pairs = grown;
    }
    tok->pairs[tok->pair_count++] = (struct merge_pair){left, right, merged};
    if (!bpe_add_merge(tok->bpe, left, right, (int32_t)rank, merged))
        return FAIL(err, ERR_NOMEM, "%s: no memory for its merges", tok->name);
    return OK;
}

enum status tokenizer_merge(struct tokenizer *tok, const char *left, size_t left_bytes,
                            const char *right, size_t right_bytes, struct error *err)
{
    struct str both = {0};
    str_append_bytes(&both, left, left_bytes);
    str_append_bytes(&both, right, right_bytes);
    if (both.failed)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its merges", tok->name);
    int32_t a = tokenizer_find_spelled(tok, left, left_bytes);
    int32_t b = tokenizer_find_spelled(tok, right, right_bytes);
    int32_t merged = tokenizer_find_spelled(tok, str_text(&both), both.length);
    str_fini(&both);
    if (a >= 0 && b >= 0 && merged >= 0)
        return tokenizer_merge_ids(tok, a, b, merged, err);
    return FAIL(err, ERR_FORMAT, "%s: merge %zu ('%.*s' '%.*s') is not of the vocabulary",
                tok->name, tok->pair_count, shown(left_bytes), left, shown(right_bytes), right);
}

// ---- merges from scores ---------------------------------------------------------------------------

struct scored_merge {
    struct merge_pair pair;
    float score;
    int32_t left_length, right_length; // characters
};

struct scored_list {
    struct scored_merge *data;
    size_t count, capacity;
};

// transformers' order: by score, then the longer left part, then the longer right part, then the order of the
// vocabulary.
static int by_score(const void *a, const void *b)
{
    const struct scored_merge *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->left_length != y->left_length)
        return y->left_length - x->left_length;
    if (x->right_length != y->right_length)
        return y->right_length - x->right_length;
    return x->pair.merged < y->pair.merged ? -1 : x->pair.merged > y->pair.merged;
}

static bool scored_append(struct scored_list *list, struct scored_merge merge)
{
    if (list->count == list->capacity) {
        size_t want = list->capacity ? 2 * list->capacity : 1024;
        struct scored_merge *grown = realloc(list->data, want * sizeof *grown);
        if (!grown)
            return false;
        list->data = grown;
        list->capacity = want;
    }
    list->data[list->count++] = merge;
    return true;
}

static int32_t characters(const char *text, size_t bytes)
{
    int32_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static bool cut_entry(const struct tokenizer *tok, int32_t id, float score,
                      struct scored_list *list)
{
    const struct vocab_entry *e = &tok->entries[id];
    const char *text = tok->blob.data + e->offset;
    int32_t length = characters(text, e->bytes), before = 1;
    for (size_t cut = 1; cut < e->bytes; cut++) {
        if (((unsigned char)text[cut] & 0xc0) == 0x80)
            continue;
        int32_t left = tokenizer_find(tok, text, cut);
        int32_t right = left >= 0 ? tokenizer_find(tok, text + cut, e->bytes - cut) : -1;
        struct scored_merge merge = {{left, right, id}, score, before, length - before};
        if (right >= 0 && !scored_append(list, merge))
            return false;
        before++;
    }
    return true;
}

// Control tokens are cut out of the text before anything is merged, so nothing merges into them.
// SentencePiece takes user-defined pieces before all others: no score is above 0.
static enum status scored_merges(const struct tokenizer *tok, const float *scores,
                                 struct scored_list *list, struct error *err)
{
    for (int32_t id = 0; id < tok->ids; id++) {
        const struct vocab_entry *e = &tok->entries[id];
        bool user = e->type == TOKEN_USER;
        if (e->bytes == UINT32_MAX || e->bytes > ENTRY_CUT_MAX_BYTES ||
            (e->type != TOKEN_NORMAL && !user) ||
            tokenizer_find(tok, tok->blob.data + e->offset, e->bytes) != id)
            continue;
        if (!cut_entry(tok, id, user ? 0 : scores[id], list))
            return FAIL(err, ERR_NOMEM, "%s: no memory for its merges", tok->name);
    }
    if (list->count)
        qsort(list->data, list->count, sizeof *list->data, by_score);
    return OK;
}

enum status tokenizer_merge_by_scores(struct tokenizer *tok, struct error *err)
{
    struct scored_list list = {0};
    enum status status = scored_merges(tok, tok->scores, &list, err);
    for (size_t i = 0; i < list.count && status == OK; i++) {
        struct merge_pair pair = list.data[i].pair;
        status = tokenizer_merge_ids(tok, pair.left, pair.right, pair.merged, err);
    }
    free(list.data);
    return status;
}

enum status tokenizer_scores_check(const struct tokenizer *tok, const float *scores, bool *same,
                                   struct error *err)
{
    struct scored_list list = {0};
    enum status status = scored_merges(tok, scores, &list, err);
    *same = status == OK && list.count == tok->pair_count;
    for (size_t i = 0; i < list.count && *same; i++)
        *same = list.data[i].pair.left == tok->pairs[i].left &&
                list.data[i].pair.right == tok->pairs[i].right;
    free(list.data);
    return status;
}

// ---- against the model ------------------------------------------------------------------------------

// The largest id of the vocabulary itself; added tokens may be larger.
static int32_t last_ordinary(const struct tokenizer *tok)
{
    int32_t id = tok->ids - 1;
    while (id >= 0 &&
           (tok->entries[id].bytes == UINT32_MAX || tok->entries[id].type == TOKEN_CONTROL ||
            tok->entries[id].type == TOKEN_USER))
        id--;
    return id;
}

enum status tokenizer_check(struct tokenizer *tok, const struct model_config *config,
                            const char *where, struct error *err)
{
    int32_t last = last_ordinary(tok);
    if (last >= config->vocab)
        return FAIL(
            err, ERR_FORMAT,
            "%s: its largest id, %d, is outside the model's vocabulary of %d: the tokenizer of "
            "another model",
            where, last, config->vocab);
    int32_t special = config->bos > config->eos ? config->bos : config->eos;
    if (special >= tok->ids)
        return FAIL(
            err, ERR_FORMAT,
            "%s: the model's bos or eos, %d, is none of its %d ids: the tokenizer of another "
            "model",
            where, special, tok->ids);
    tok->model_ids = config->vocab;
    return OK;
}

void tokenizer_beyond(const struct tokenizer *tok, struct str *out)
{
    const char *between = "";
    for (int32_t id = tok->model_ids; tok->model_ids && id < tok->ids; id++) {
        if (tok->entries[id].bytes == UINT32_MAX)
            continue;
        str_printf(out, "%s'", between);
        tokenizer_spelling(tok, id, out);
        str_printf(out, "' (id %d)", (int)id);
        between = ", ";
    }
}

struct tokenizer_ends tokenizer_ends(const struct tokenizer *tok)
{
    return (struct tokenizer_ends){tok->add_bos ? tok->bos : -1, tok->add_eos ? tok->eos : -1};
}
