// added.c - added tokens: a trie finds them in text before any other step.
//
// The leftmost match wins, then the longest, as in tokenizers' Aho-Corasick. A single_word token that is part of a word
// is skipped whole. lstrip and rstrip include whitespace.
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/text/tokenizer.h"

enum { CONTENT_MAX_BYTES = 1024 }; // the longest known have 100

struct added_node {
    uint32_t child, sibling; // 0: none (node 0 is the root, which is no node's child)
    uint32_t token;          // index + 1, 0: no token ends here
    unsigned char byte;
};

static bool grow(struct added_set *set)
{
    if (set->count < set->capacity)
        return true;
    uint32_t want = set->capacity ? set->capacity * 2 : 64;
    struct added_node *nodes = realloc(set->nodes, want * sizeof *nodes);
    if (!nodes)
        return false;
    set->nodes = nodes;
    set->capacity = want;
    if (set->count == 0)
        memset(&set->nodes[set->count++], 0, sizeof *nodes);
    return true;
}

static uint32_t find_child(const struct added_set *set, uint32_t node, unsigned char byte)
{
    uint32_t child = set->nodes[node].child;
    while (child && set->nodes[child].byte != byte)
        child = set->nodes[child].sibling;
    return child;
}

enum status added_insert(struct added_set *set, const char *content, size_t bytes,
                         const struct added_token *token, struct error *err)
{
    uint32_t at = 0;
    if (bytes == 0 || bytes > CONTENT_MAX_BYTES)
        return bytes ? FAIL(err, ERR_FORMAT, "an added token of %zu bytes", bytes) : OK;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)content[i];
        if (!grow(set))
            return FAIL(err, ERR_NOMEM, "no memory for added tokens");
        uint32_t next = find_child(set, at, byte);
        if (!next) {
            next = set->count++;
            set->nodes[next] = (struct added_node){0, set->nodes[at].child, 0, byte};
            set->nodes[at].child = next;
        }
        at = next;
    }
    if (set->nodes[at].token) // two that are the same in normalized text: the first is found
        return OK;
    struct added_token *tokens = realloc(set->tokens, (set->token_count + 1) * sizeof *tokens);
    if (!tokens)
        return FAIL(err, ERR_NOMEM, "no memory for added tokens");
    set->tokens = tokens;
    set->tokens[set->token_count++] = *token;
    set->nodes[at].token = set->token_count;
    set->first[(unsigned char)content[0]] = true;
    return OK;
}

void added_fini(struct added_set *set)
{
    free(set->nodes);
    free(set->tokens);
    memset(set, 0, sizeof *set);
}

// ---- characters around a token --------------------------------------------------------------------

static utf8proc_int32_t character_at(const char *text, size_t bytes, size_t at, size_t *length)
{
    utf8proc_int32_t c = -1;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at), &c);
    *length = n > 0 ? (size_t)n : 1;
    return n > 0 ? c : -1;
}

static utf8proc_int32_t character_before(const char *text, size_t at, size_t *length)
{
    size_t begin = at - 1;
    while (begin > 0 && ((unsigned char)text[begin] & 0xc0) == 0x80)
        begin--;
    return character_at(text, at, begin, length);
}

static bool stands_alone(const char *text, size_t bytes, size_t begin, size_t end)
{
    size_t n;
    if (begin > 0 && unicode_is_word(character_before(text, begin, &n)))
        return false;
    return end == bytes || !unicode_is_word(character_at(text, bytes, end, &n));
}

// ---- finding --------------------------------------------------------------------------------------

// The longest token that begins at text[at], or NULL.
static const struct added_token *longest(const struct added_set *set, bool literal,
                                         const char *text, size_t bytes, size_t at, size_t *end)
{
    uint32_t node = 0, token = 0;
    for (size_t i = at; i < bytes; i++) {
        node = find_child(set, node, (unsigned char)text[i]);
        if (!node)
            break;
        uint32_t here = set->nodes[node].token;
        if (here && !(literal && set->tokens[here - 1].special)) {
            token = here;
            *end = i + 1;
        }
    }
    return token ? &set->tokens[token - 1] : NULL;
}

bool added_find(const struct added_set *set, bool literal, const char *text, size_t bytes,
                size_t from, size_t floor, struct added_match *out)
{
    if (set->token_count == 0)
        return false;
    for (size_t at = from; at < bytes;) {
        size_t end = at, n;
        if (!set->first[(unsigned char)text[at]]) {
            at++;
            continue;
        }
        const struct added_token *token = longest(set, literal, text, bytes, at, &end);
        if (!token) {
            at++;
            continue;
        }
        if (token->single_word && !stands_alone(text, bytes, at, end)) {
            at = end;
            continue;
        }
        *out = (struct added_match){at, end, end, token->id};
        while (token->lstrip && out->begin > floor &&
               unicode_is_space(character_before(text, out->begin, &n)))
            out->begin -= n;
        if (token->lstrip && out->begin < floor)
            out->begin = floor;
        while (token->rstrip && out->end < bytes &&
               unicode_is_space(character_at(text, bytes, out->end, &n)))
            out->end += n;
        return true;
    }
    return false;
}
