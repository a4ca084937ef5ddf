// tokenizer.h - the inside of BPE tokenizers, both byte-level and SentencePiece-like.
//
// Text becomes ids in six steps, one file each:
//   utf8.c       invalid UTF-8 becomes U+FFFD; normal forms (utf8proc)
//   added.c      added tokens (<|endoftext|>) are cut out of the text, longest first
//   normal.c     the text between them is rewritten: normal forms, " " to "▁"
//   pretok.c     it is split into words, usually by regular expressions (regex.c, PCRE2)
//   bpe.c        a word's symbols are merged in the order of the merges' ranks
//   encode.c     runs the steps
// decode.c turns ids into text. tokenizer.c holds the vocabulary; tokenizer_json.c, tokenizer_steps.c and
// load/gguf/tokenizer.c fill it from files; facts.c returns what a writer of such files needs.
//
// Byte-level: a vocabulary entry spells each byte as one printable character ("Ġ" is a space). Entries are
// turned into bytes when they are read, so text is never respelled. SentencePiece-like: an entry is
// text, "▁" for a space, and "<0x0A>" spells a byte that no entry covers.
#ifndef ENGINE_TEXT_TOKENIZER_H
#define ENGINE_TEXT_TOKENIZER_H

#include <jansson.h>

#include "base/str.h"
#include "engine/engine.h"

enum { TOKENIZER_IDS_MAX = 1 << 22, PRETOK_STEPS_MAX = 16, NORMAL_STEPS_MAX = 8 };

// ---- facts.c: what a tokenizer is, for those who write one into a file -------------------------------

enum tokenizer_kind {
    TOKENIZER_BYTE_LEVEL, // GGUF's tokenizer.ggml.model "gpt2"
    TOKENIZER_PIECES      // "llama"
};

// GGUF's numbers (tokenizer.ggml.token_type).
enum token_type {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN,
    TOKEN_CONTROL, // special added tokens
    TOKEN_USER,    // other added tokens
    TOKEN_UNUSED,  // a hole: no entry has this id
    TOKEN_BYTE
};

struct tokenizer_facts {
    enum tokenizer_kind kind;
    const char *pre; // GGUF's name for normal form and splitting; NULL: no name is known. Borrowed
    int32_t ids;     // 0 .. ids - 1, holes included
    size_t merges;
    int32_t bos, eos, unk; // -1: the file does not say
    bool add_bos, add_eos; // what transformers puts around a text; the engine itself adds nothing
    bool space_prefix;     // pieces: a space is put before text (GGUF's add_space_prefix)
};
struct tokenizer_facts tokenizer_facts(const struct tokenizer *tok);
enum token_type tokenizer_token_type(const struct tokenizer *tok, int32_t id);
// Appends an entry in the vocabulary's own spelling; nothing for a hole.
void tokenizer_spelling(const struct tokenizer *tok, int32_t id, struct str *out);
// Appends merge number `rank` as GGUF has it, "left right".
void tokenizer_merge_spelling(const struct tokenizer *tok, size_t rank, struct str *out);
// Scores by id that make pieces merge in the order of this tokenizer's merges. A tokenizer from a GGUF file returns
// the file's own. Errors: ERR_UNSUPPORTED when no scores give that order, or when the steps before the merges are not
// those of GGUF's "llama"; ERR_NOMEM.
enum status tokenizer_scores(const struct tokenizer *tok, float *scores, struct error *err);

// ---- ids that grow ----------------------------------------------------------------------------------

struct id_list {
    int32_t *data;
    size_t count, capacity;
    bool failed; // an allocation did; appends do nothing after
};
void tokenizer_id_append(struct id_list *list, int32_t id);

// ---- utf8.c -----------------------------------------------------------------------------------------

enum normal_form { NORMAL_NONE, NORMAL_NFC, NORMAL_NFD, NORMAL_NFKC, NORMAL_NFKD };

// Whether text is valid UTF-8.
bool utf8_valid(const char *text, size_t bytes);
// Text with every maximal invalid part replaced by U+FFFD, as Unicode recommends.
void utf8_repair(const char *text, size_t bytes, struct str *out);
// The character at the start of valid, non-empty text, and its length.
int32_t utf8_next(const char *text, size_t bytes, size_t *length);
// Appends the normal form of valid text.
enum status utf8_normalize(const char *text, size_t bytes, enum normal_form form, struct str *out,
                           struct error *err);

// Bytes of a vocabulary entry, each character being a byte's spelling. An entry with another character is kept as it
// is. Returns whether all characters were spellings.
bool byte_level_decode(const char *entry, size_t bytes, struct str *out);
// The inverse.
void byte_level_spell(const char *raw, size_t bytes, struct str *out);

// ---- unicode.c: kinds of characters, as tokenizers knows them ----------------------------------------

bool unicode_is_late(int32_t c);   // newer than the library's normal forms, which keep it unchanged
bool unicode_is_number(int32_t c); // Rust's char::is_numeric
bool unicode_is_punctuation(int32_t c); // the Punctuation pre-tokenizer's
bool unicode_is_space(int32_t c);
bool unicode_is_word(int32_t c); // \w of Rust's regex
// Appends, as members of a regular expression's class, characters of a general category ("L", "Nd") that the system's
// tables may lack.
void unicode_newer(const char *category, size_t length, struct str *out);

// ---- added.c ----------------------------------------------------------------------------------------

struct added_token {
    int32_t id;
    bool single_word, lstrip, rstrip;
    bool special;
};

// A trie over the contents of added tokens. Zero-initialised is empty.
struct added_set {
    struct added_node *nodes;
    uint32_t count, capacity;
    struct added_token *tokens;
    uint32_t token_count;
    bool first[256]; // bytes that begin a token
};
enum status added_insert(struct added_set *set, const char *content, size_t bytes,
                         const struct added_token *token, struct error *err);
void added_fini(struct added_set *set);

// Finds the next added token of text[from..bytes): leftmost, then longest. Returns its extent (with lstrip and rstrip,
// never before `floor`) and the position where the search continues. literal: special tokens are text.
struct added_match {
    size_t begin, end, resume;
    int32_t id;
};
bool added_find(const struct added_set *set, bool literal, const char *text, size_t bytes,
                size_t from, size_t floor, struct added_match *out);

// ---- regex.c ----------------------------------------------------------------------------------------

struct regex; // compiled, with the data for matching

// pattern: in Oniguruma's syntax, as in tokenizers; literal: plain text. Errors: ERR_FORMAT for a bad pattern,
// ERR_UNSUPPORTED for one that PCRE2 cannot express, ERR_NOMEM.
enum status regex_create(const char *pattern, size_t bytes, bool literal, const char *where,
                         struct regex **out, struct error *err);
void regex_destroy(struct regex *re);
// The first match at or after `from`: *found, [*begin, *end). Errors: ERR_UNSUPPORTED when PCRE2 gives up.
enum status regex_next(struct regex *re, const char *text, size_t bytes, size_t from, bool *found,
                       size_t *begin, size_t *end, struct error *err);

// ---- normal.c ---------------------------------------------------------------------------------------

enum normal_kind { NORMAL_FORM, NORMAL_PREPEND, NORMAL_REPLACE, NORMAL_STRIP };

struct normal_step {
    enum normal_kind kind;
    enum normal_form form;
    char *text;         // prepended, or the replacement of each match; owned
    struct regex *from; // the pattern replaced; owned
    bool left, right;   // ends from which whitespace is stripped
    char single;        // REPLACE: `from` is this one ASCII character; NUL: it is not
};

// Zero-initialised does nothing.
struct normalizer {
    struct normal_step steps[NORMAL_STEPS_MAX];
    int count;
};
// Takes step->text and step->from, also on failure.
enum status normalizer_add(struct normalizer *n, const struct normal_step *step, const char *where,
                           struct error *err);
void normalizer_fini(struct normalizer *n);
// Appends the normalized form of valid text.
enum status normalizer_run(const struct normalizer *n, const char *text, size_t bytes,
                           struct str *out, struct error *err);

// ---- pretok.c ---------------------------------------------------------------------------------------

enum pretok_kind {
    PRETOK_SPLIT, // at the matches of a pattern
    PRETOK_DIGITS,
    PRETOK_PUNCTUATION,
    PRETOK_METASPACE,
    PRETOK_BYTE_LEVEL // what follows works on spelled bytes, as in tokenizers
};
// A match becomes a word of its own, nothing, part of a neighbour, or part of a run of matches.
enum pretok_behavior {
    PRETOK_ISOLATED,
    PRETOK_REMOVED,
    PRETOK_WITH_PREVIOUS,
    PRETOK_WITH_NEXT,
    PRETOK_CONTIGUOUS
};
enum pretok_prefix { PREFIX_NEVER, PREFIX_FIRST, PREFIX_ALWAYS };

struct pretok_spec {
    enum pretok_kind kind;
    enum pretok_behavior behavior;
    const char *pattern; // SPLIT: NUL-terminated
    bool literal, invert;
    bool split;                // BYTE_LEVEL: by GPT-2's pattern; METASPACE: before each "▁"
    enum pretok_prefix prefix; // BYTE_LEVEL, METASPACE: adds a space before text that has none
};

struct pretok; // steps

struct pretok *pretok_create(void); // NULL when memory is exhausted
void pretok_destroy(struct pretok *p);
enum status pretok_add(struct pretok *p, const struct pretok_spec *spec, const char *where,
                       struct error *err);
int pretok_steps(const struct pretok *p);
bool pretok_is_byte_level(const struct pretok *p);
// Whether its steps are exactly these.
bool pretok_equals(const struct pretok *p, const struct pretok_spec *specs, int count);

// Calls word() for each word of valid UTF-8, in order, and stops at its first error. Words of a byte-level tokenizer
// are bytes, not spellings. at_start: the text begins the whole input.
typedef enum status pretok_word(void *user, const char *word, size_t bytes, struct error *err);
enum status pretok_run(struct pretok *p, const char *text, size_t bytes, bool at_start,
                       pretok_word *word, void *user, struct error *err);

// The pattern behind ByteLevel's use_regex.
#define PRETOK_GPT2                                                                                \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

// ---- pre.c: GGUF's names for ways to split ----------------------------------------------------------

struct pre {
    const char *name;
    struct pretok_spec steps[8];
    bool ignore_merges;
    enum normal_form form;
};
int pre_steps(const struct pre *pre);
const struct pre *pre_find(const char *name, size_t bytes); // NULL: not known
const struct pre *pre_of(const struct tokenizer *tok);      // the one it equals, or NULL
void pre_names(struct str *out);                            // all of them, for error messages

// ---- bpe.c ------------------------------------------------------------------------------------------

struct bpe; // merges, scratch and the cache of words

struct bpe *bpe_create(void); // NULL when memory is exhausted
void bpe_destroy(struct bpe *bpe);
// A repeated pair takes the later rank. False: memory is exhausted.
bool bpe_add_merge(struct bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t merged);
// Appends the ids of one word. alphabet() pushes the ids of its symbols, at most one per byte.
typedef void bpe_alphabet(const void *user, const char *word, size_t bytes, struct bpe *bpe);
void bpe_push(struct bpe *bpe, int32_t id);
enum status bpe_encode(struct bpe *bpe, bpe_alphabet *alphabet, const void *user, const char *word,
                       size_t bytes, struct id_list *out, struct error *err);

// ---- decode.c ---------------------------------------------------------------------------------------

enum { DECODER_TEXT_BYTES = 16, DECODER_REPLACES_MAX = 4 };

struct decoder {
    bool pieces; // else the bytes of the entries as they are
    struct decoder_replace {
        char from[DECODER_TEXT_BYTES], to[DECODER_TEXT_BYTES];
    } replace[DECODER_REPLACES_MAX];
    int replaces;
    bool byte_fallback;          // "<0x0A>" is a byte
    bool fused;                  // later steps see all pieces as one text
    char strip;                  // ASCII, stripped from the ends of the whole text
    int strip_left, strip_right; // at most this many
    bool metaspace, drop_first;  // "▁" is a space; in the first token it is nothing
};

// ---- tokenizer.c ------------------------------------------------------------------------------------

struct vocab_entry {
    uint32_t offset, bytes; // in the blob; bytes UINT32_MAX: no such id
    uint8_t type;           // enum token_type
    bool spelled;           // byte-level: the file has its spelling, the blob its bytes
};

// An added token that is matched in normalized text decodes to its normalized form.
struct decoded_entry {
    int32_t id;
    uint32_t offset, bytes; // in the blob
};

struct merge_pair {
    int32_t left, right, merged;
};

struct tokenizer {
    char *name;
    enum tokenizer_kind kind;
    struct str blob;
    struct vocab_entry *entries; // by id
    int32_t ids;                 // ids are 0 .. ids - 1
    int32_t model_ids;           // the model's number of ids, after tokenizer_check; 0: not known
    uint32_t *index;             // open addressing over entries' bytes: id + 1, 0: empty
    uint32_t index_mask;
    int32_t byte_id[256]; // byte-level: of each byte; pieces: of "<0x00>" ..; -1: none
    bool ignore_merges;   // a word that is an entry is one token
    bool byte_fallback, fuse_unk;
    int32_t unk; // -1: symbols without an id are dropped
    struct normalizer normal;
    struct added_set added_raw, added_normalized;
    struct pretok *pretok;
    struct bpe *bpe;
    struct merge_pair *pairs; // by rank
    size_t pair_count;
    // pieces: pairs of characters that are neighbours in a merged entry; NULL: unknown.
    uint8_t *joins;
    struct decoder decoder;
    struct decoded_entry *decoded;
    size_t decoded_count;
    float *scores; // by id, of a GGUF file; NULL: none
    int32_t bos, eos;
    bool add_bos, add_eos;
};

// To fill one: create for ids 0 .. ids - 1, set each entry, index, add merges, seal.
enum status tokenizer_create(const char *name, int64_t ids, struct tokenizer **out,
                             struct error *err);
// Errors: ERR_FORMAT for an id out of bounds or taken by another entry.
enum status tokenizer_set(struct tokenizer *tok, int64_t id, enum token_type type,
                          const char *entry, size_t bytes, struct error *err);
enum status tokenizer_index(struct tokenizer *tok, struct error *err);
// Makes `id` decode to another entry than its own.
enum status tokenizer_decode_as(struct tokenizer *tok, int32_t id, const char *entry, size_t bytes,
                                struct error *err);
// The entry of these bytes (byte-level: not of its spelling) that existed at tokenizer_index; -1: none.
int32_t tokenizer_find(const struct tokenizer *tok, const char *raw, size_t bytes);
// The same, by the vocabulary's spelling.
int32_t tokenizer_find_spelled(const struct tokenizer *tok, const char *entry, size_t bytes);
// left and right in the vocabulary's spelling. Merges come in the order of their ranks.
enum status tokenizer_merge(struct tokenizer *tok, const char *left, size_t left_bytes,
                            const char *right, size_t right_bytes, struct error *err);
enum status tokenizer_merge_ids(struct tokenizer *tok, int32_t left, int32_t right, int32_t merged,
                                struct error *err);
// Pieces: adds the merges that transformers derives from scores, one for each way to cut an entry into two.
enum status tokenizer_merge_by_scores(struct tokenizer *tok, struct error *err);
// Whether these scores would make the tokenizer's merges, in their order.
enum status tokenizer_scores_check(const struct tokenizer *tok, const float *scores, bool *same,
                                   struct error *err);
// Computes what depends on the whole vocabulary.
enum status tokenizer_seal(struct tokenizer *tok, struct error *err);

// "<0x41>" is 0x41; -1: not the spelling of a byte.
int tokenizer_byte_of_entry(const char *entry, size_t bytes);

// tokenizer_json.c: a tokenizer.json by its path, or in memory; `name` begins error messages.
enum status tokenizer_json_open(const char *path, struct tokenizer **out, struct error *err);
enum status tokenizer_parse(const char *name, const char *text, size_t bytes,
                            struct tokenizer **out, struct error *err);

// ERR_FORMAT when the vocabulary has ids that the model lacks, or the model has ids that the tokenizer lacks. Added
// tokens may lie beyond the model, since fine-tuning often leaves a [PAD]; text that contains one is refused.
enum status tokenizer_check(struct tokenizer *tok, const struct model_config *config,
                            const char *where, struct error *err);
// Appends the added tokens that lie beyond the model: "'[PAD]' (id 100), ..."; nothing when there are none.
void tokenizer_beyond(const struct tokenizer *tok, struct str *out);

// tokenizer_steps.c: reads normalizer, pre_tokenizer and decoder of a tokenizer.json, which decide its kind. Once all
// entries are set, reads post_processor.
enum status tokenizer_read_steps(struct tokenizer *tok, const json_t *root, struct error *err);
enum status tokenizer_read_ends(struct tokenizer *tok, const json_t *root, struct error *err);

#endif
