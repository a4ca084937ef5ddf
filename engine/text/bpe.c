// bpe.c - merges the symbols of a word, lowest rank first.
//
// The symbols of a word are a linked list in an array. A heap holds the possible merges, ordered by rank and then by
// position. A merge that is stale when popped is dropped. The cost of n bytes is O(n log n), so a megabyte without a
// space costs no more than other text. Words repeat: those of up to 48 bytes are cached with their ids in a table that
// is emptied when it is full.
// Source: Sennrich et al. 2016; ties and stale merges as in the tokenizers library.
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/text/tokenizer.h"

enum { WORD_MAX_BYTES = 48, CACHE_SLOTS = 1 << 15, CACHE_WORDS = CACHE_SLOTS * 3 / 4 };

struct merge {
    uint64_t pair; // left << 32 | right; EMPTY: no entry
    int32_t rank, merged;
};
#define EMPTY UINT64_MAX

struct symbol {
    int32_t id; // -1: merged into the one before
    int32_t previous, next;
};

struct candidate {
    int32_t rank, place, merged;
};

struct cached {
    uint64_t hash; // 0: empty
    uint32_t ids_at;
    uint8_t bytes, ids;
    char word[WORD_MAX_BYTES];
};

struct bpe {
    struct merge *merges;
    size_t mask, merge_count;
    struct symbol *symbols;
    int32_t symbol_count;
    struct candidate *heap;
    size_t room; // symbols allocated; the heap has three times as many
    size_t heap_count;
    struct cached *cache;
    struct id_list cached_ids;
    size_t cached_words;
};

// ---- merges ---------------------------------------------------------------------------------------

void bpe_destroy(struct bpe *bpe)
{
    if (!bpe)
        return;
    free(bpe->merges);
    free(bpe->symbols);
    free(bpe->heap);
    free(bpe->cache);
    free(bpe->cached_ids.data);
    free(bpe);
}

static struct merge *slot_of(const struct bpe *bpe, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t at = rng_hash(pair) & bpe->mask;
    while (bpe->merges[at].pair != EMPTY && bpe->merges[at].pair != pair)
        at = (at + 1) & bpe->mask;
    return &bpe->merges[at];
}

// Twice the slots, at first 4096.
static bool grow_merges(struct bpe *bpe)
{
    size_t had = bpe->merges ? bpe->mask + 1 : 0, slots = had ? 2 * had : 4096;
    struct merge *old = bpe->merges, *grown = malloc(slots * sizeof *grown);
    if (!grown)
        return false;
    for (size_t i = 0; i < slots; i++)
        grown[i].pair = EMPTY;
    bpe->merges = grown;
    bpe->mask = slots - 1;
    for (size_t i = 0; i < had; i++)
        if (old[i].pair != EMPTY)
            *slot_of(bpe, (int32_t)(old[i].pair >> 32), (int32_t)old[i].pair) = old[i];
    free(old);
    return true;
}

struct bpe *bpe_create(void)
{
    struct bpe *bpe = calloc(1, sizeof *bpe);
    if (!bpe)
        return NULL;
    bpe->cache = calloc(CACHE_SLOTS, sizeof *bpe->cache);
    if (!bpe->cache || !grow_merges(bpe)) {
        bpe_destroy(bpe);
        return NULL;
    }
    return bpe;
}

bool bpe_add_merge(struct bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t merged)
{
    if (bpe->merge_count * 2 > bpe->mask && !grow_merges(bpe))
        return false;
    struct merge *slot = slot_of(bpe, left, right);
    bpe->merge_count += slot->pair == EMPTY;
    *slot = (struct merge){(uint64_t)(uint32_t)left << 32 | (uint32_t)right, rank, merged};
    return true;
}

// ---- the heap -------------------------------------------------------------------------------------

static bool before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->place < b->place;
}

static void heap_push(struct bpe *bpe, struct candidate c)
{
    size_t at = bpe->heap_count++;
    for (; at > 0 && before(&c, &bpe->heap[(at - 1) / 2]); at = (at - 1) / 2)
        bpe->heap[at] = bpe->heap[(at - 1) / 2];
    bpe->heap[at] = c;
}

static struct candidate heap_pop(struct bpe *bpe)
{
    struct candidate top = bpe->heap[0], last = bpe->heap[--bpe->heap_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < bpe->heap_count; at = child) {
        if (child + 1 < bpe->heap_count && before(&bpe->heap[child + 1], &bpe->heap[child]))
            child++;
        if (!before(&bpe->heap[child], &last))
            break;
        bpe->heap[at] = bpe->heap[child];
    }
    bpe->heap[at] = last;
    return top;
}

// ---- one word -------------------------------------------------------------------------------------

void tokenizer_id_append(struct id_list *list, int32_t id)
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

static enum status make_room(struct bpe *bpe, size_t symbols, struct error *err)
{
    if (symbols <= bpe->room)
        return OK;
    if (symbols > INT32_MAX / 4)
        return FAIL(err, ERR_UNSUPPORTED, "a word of %zu bytes", symbols);
    size_t want = symbols < 256 ? 256 : symbols + symbols / 2;
    struct symbol *grown = realloc(bpe->symbols, want * sizeof *grown);
    if (grown)
        bpe->symbols = grown;
    struct candidate *heap = realloc(bpe->heap, 3 * want * sizeof *heap);
    if (heap)
        bpe->heap = heap;
    if (!grown || !heap)
        return FAIL(err, ERR_NOMEM, "no memory for a word of %zu bytes", symbols);
    bpe->room = want;
    return OK;
}

static void offer(struct bpe *bpe, int32_t place)
{
    const struct symbol *left = &bpe->symbols[place];
    if (left->next < 0)
        return;
    const struct merge *m = slot_of(bpe, left->id, bpe->symbols[left->next].id);
    if (m->pair != EMPTY)
        heap_push(bpe, (struct candidate){m->rank, place, m->merged});
}

static void apply(struct bpe *bpe, struct candidate c)
{
    struct symbol *left = &bpe->symbols[c.place];
    if (left->id < 0 || left->next < 0)
        return;
    struct symbol *right = &bpe->symbols[left->next];
    const struct merge *m = slot_of(bpe, left->id, right->id);
    if (m->pair == EMPTY || m->merged != c.merged) // stale
        return;
    left->id = c.merged;
    left->next = right->next;
    right->id = -1;
    if (left->next >= 0)
        bpe->symbols[left->next].previous = c.place;
    if (left->previous >= 0)
        offer(bpe, left->previous);
    offer(bpe, c.place);
}

void bpe_push(struct bpe *bpe, int32_t id)
{
    int32_t at = bpe->symbol_count++;
    bpe->symbols[at] = (struct symbol){id, at - 1, at + 1};
}

static enum status merge_word(struct bpe *bpe, bpe_alphabet *alphabet, const void *user,
                              const char *word, size_t bytes, struct id_list *out,
                              struct error *err)
{
    TRY(make_room(bpe, bytes, err));
    bpe->symbol_count = 0;
    alphabet(user, word, bytes, bpe);
    int32_t count = bpe->symbol_count;
    if (count == 0)
        return OK;
    bpe->symbols[count - 1].next = -1;
    bpe->heap_count = 0;
    for (int32_t i = 0; i + 1 < count; i++)
        offer(bpe, i);
    while (bpe->heap_count)
        apply(bpe, heap_pop(bpe));
    for (int32_t i = 0; i >= 0; i = bpe->symbols[i].next)
        tokenizer_id_append(out, bpe->symbols[i].id);
    return OK;
}

// ---- the cache ------------------------------------------------------------------------------------

static uint64_t word_hash(const char *word, size_t bytes)
{
    uint64_t hash = bytes, chunk;
    for (; bytes >= 8; word += 8, bytes -= 8) {
        memcpy(&chunk, word, 8);
        hash = rng_hash(hash ^ chunk);
    }
    chunk = 0;
    memcpy(&chunk, word, bytes);
    return rng_hash(hash ^ chunk) | 1;
}

static struct cached *cache_slot(struct bpe *bpe, uint64_t hash, const char *word, size_t bytes)
{
    size_t at = (hash >> 8) & (CACHE_SLOTS - 1);
    for (; bpe->cache[at].hash; at = (at + 1) & (CACHE_SLOTS - 1)) {
        const struct cached *c = &bpe->cache[at];
        if (c->hash == hash && c->bytes == bytes && memcmp(c->word, word, bytes) == 0)
            break;
    }
    return &bpe->cache[at];
}

static void cache_keep(struct bpe *bpe, uint64_t hash, const char *word, size_t bytes,
                       const int32_t *ids, size_t count)
{
    if (bpe->cached_words >= CACHE_WORDS) {
        memset(bpe->cache, 0, CACHE_SLOTS * sizeof *bpe->cache);
        bpe->cached_words = bpe->cached_ids.count = 0;
    }
    size_t at = bpe->cached_ids.count;
    for (size_t i = 0; i < count; i++)
        tokenizer_id_append(&bpe->cached_ids, ids[i]);
    if (bpe->cached_ids.failed)
        return;
    struct cached *c = cache_slot(bpe, hash, word, bytes);
    c->hash = hash;
    c->bytes = (uint8_t)bytes;
    c->ids_at = (uint32_t)at;
    c->ids = (uint8_t)count;
    memcpy(c->word, word, bytes);
    bpe->cached_words++;
}

enum status bpe_encode(struct bpe *bpe, bpe_alphabet *alphabet, const void *user, const char *word,
                       size_t bytes, struct id_list *out, struct error *err)
{
    if (bytes > WORD_MAX_BYTES)
        return merge_word(bpe, alphabet, user, word, bytes, out, err);
    uint64_t hash = word_hash(word, bytes);
    const struct cached *c = cache_slot(bpe, hash, word, bytes);
    if (c->hash) {
        for (size_t i = 0; i < c->ids; i++)
            tokenizer_id_append(out, bpe->cached_ids.data[c->ids_at + i]);
        return OK;
    }
    size_t began = out->count;
    TRY(merge_word(bpe, alphabet, user, word, bytes, out, err));
    if (!out->failed && out->count > began)
        cache_keep(bpe, hash, word, bytes, out->data + began, out->count - began);
    return OK;
}
