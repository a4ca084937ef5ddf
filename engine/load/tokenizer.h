// tokenizer.h - a byte-level BPE tokenizer, inside.
//
// Text becomes ids in five steps, one file each:
//   utf8.c       invalid UTF-8 becomes U+FFFD; normal forms (utf8proc)
//   added.c      added tokens (<|endoftext|>) are cut out of the text, longest first
//   pretok.c     what is left is split into words by regular expressions (PCRE2)
//   bpe.c        a word's bytes are merged in the order of the merges' ranks
//   tokenizer.c  the vocabulary, and the steps put together
// tokenizer_json.c and gguf_tokenizer.c fill it from files.
//
// Byte-level: a vocabulary entry spells each byte as one printable character ("Ġ" is a space). Entries are
// turned into bytes when they are read, so that text is never respelled.
#ifndef ENGINE_LOAD_TOKENIZER_H
#define ENGINE_LOAD_TOKENIZER_H

#include "base/str.h"
#include "engine/engine.h"

enum { TOKENIZER_IDS_MAX = 1 << 22, PRETOK_STEPS_MAX = 16 };

// ---- ids that grow ----------------------------------------------------------------------------------

struct id_list {
    int32_t *data;
    size_t count, capacity;
    bool failed; // an allocation did; appends do nothing after
};
void id_append(struct id_list *list, int32_t id);

// ---- utf8.c -----------------------------------------------------------------------------------------

enum normal_form { NORMAL_NONE, NORMAL_NFC, NORMAL_NFD, NORMAL_NFKC, NORMAL_NFKD };

// True when text is valid UTF-8 as it stands.
bool utf8_valid(const char *text, size_t bytes);
// Text with every maximal invalid part replaced by U+FFFD, as Unicode recommends.
void utf8_repair(const char *text, size_t bytes, struct str *out);
// Appends the normal form of valid text.
enum status utf8_normalize(const char *text, size_t bytes, enum normal_form form, struct str *out,
                           struct error *err);

// Bytes of a vocabulary entry: each character is a byte's spelling; where one is not, the entry is taken
// as it stands. Returns whether all were.
bool byte_level_decode(const char *entry, size_t bytes, struct str *out);

// ---- added.c ----------------------------------------------------------------------------------------

struct added_token {
    int32_t id;
    bool single_word, lstrip, rstrip;
};

// A trie over the contents of added tokens. Zero-initialised is empty.
struct added_set {
    struct added_node *nodes;
    uint32_t count, capacity;
    struct added_token *tokens;
    uint32_t token_count;
};
enum status added_insert(struct added_set *set, const char *content, size_t bytes,
                         const struct added_token *token, struct error *err);
void added_fini(struct added_set *set);

// The next added token of text[from..bytes): true, with its extent (lstrip and rstrip included, never
// before `floor`) and where the search goes on. Leftmost, then longest.
struct added_match {
    size_t begin, end, resume;
    int32_t id;
};
bool added_find(const struct added_set *set, const char *text, size_t bytes, size_t from,
                size_t floor, struct added_match *out);

// ---- pretok.c ---------------------------------------------------------------------------------------

struct pretok; // steps, each a compiled regular expression

struct pretok *pretok_create(void); // NULL when memory is exhausted
void pretok_destroy(struct pretok *p);
// Cuts at every match of the pattern (Oniguruma's spelling, as tokenizers has it; literal: plain text).
// drop_matches, drop_rest: leave those parts out. Errors: ERR_FORMAT for a bad pattern.
enum status pretok_add(struct pretok *p, const char *pattern, size_t bytes, bool literal,
                       bool drop_matches, bool drop_rest, const char *where, struct error *err);
int pretok_steps(const struct pretok *p);

// Calls word() for each word of valid UTF-8, in order; stops at its first error.
typedef enum status pretok_word(void *user, const char *word, size_t bytes, struct error *err);
enum status pretok_run(struct pretok *p, const char *text, size_t bytes, pretok_word *word,
                       void *user, struct error *err);

extern const char pretok_gpt2[]; // the pattern behind ByteLevel's use_regex

// ---- bpe.c ------------------------------------------------------------------------------------------

struct bpe; // merges, scratch and the cache of words

struct bpe *bpe_create(size_t merges); // NULL when memory is exhausted
void bpe_destroy(struct bpe *bpe);
void bpe_add_merge(struct bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t merged);
// Appends the ids of one word. byte_id: id of each single byte, -1 for none (the byte is left out, as
// tokenizers does without an unknown token).
enum status bpe_encode(struct bpe *bpe, const int32_t byte_id[256], const char *word, size_t bytes,
                       struct id_list *out, struct error *err);

// ---- tokenizer.c ------------------------------------------------------------------------------------

struct vocab_entry {
    uint32_t offset, bytes; // in the blob; bytes UINT32_MAX: no such id
};

struct tokenizer {
    char *name;
    struct str blob;
    struct vocab_entry *entries; // by id
    int32_t ids;                 // ids are 0 .. ids - 1
    uint32_t *index;             // open addressing over entries' bytes: id + 1, 0: empty
    uint32_t index_mask;
    int32_t byte_id[256];
    bool ignore_merges; // a word that is an entry is one token
    bool prefix_space;  // each part of text begins with a space
    enum normal_form form;
    struct added_set added_raw, added_normalized;
    struct pretok *pretok;
    struct bpe *bpe;
};

// Filling: create for ids 0 .. ids - 1; then set each entry; then index; then merges, added tokens, steps.
enum status tokenizer_create(const char *name, int64_t ids, size_t merges, struct tokenizer **out,
                             struct error *err);
enum status tokenizer_set(struct tokenizer *tok, int64_t id, const char *entry, size_t bytes,
                          struct error *err);
enum status tokenizer_index(struct tokenizer *tok, struct error *err);
int32_t tokenizer_find(const struct tokenizer *tok, const char *raw, size_t bytes); // -1: none
// left and right in the vocabulary's spelling.
enum status tokenizer_merge(struct tokenizer *tok, const char *left, size_t left_bytes,
                            const char *right, size_t right_bytes, size_t rank, struct error *err);

#endif
