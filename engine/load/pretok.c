// pretok.c - splitting text into words by regular expressions.
//
// A step cuts each part of the text at the matches of one expression; steps follow each other. tokenizers
// runs them with Oniguruma. PCRE2 with Unicode properties gives the same cuts except for \s, which in PCRE2
// takes in U+180E (no whitespace since Unicode 6.3): it is spelled out before compiling.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "engine/load/tokenizer.h"

const char pretok_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

enum { PATTERN_MAX_BYTES = 1 << 16, JIT_STACK_BYTES = 1 << 20 };
static const uint32_t match_limit = 20000000; // far above what these expressions need of a megabyte

struct step {
    pcre2_code *code;
    bool drop_matches, drop_rest;
};

struct pretok {
    struct step steps[PRETOK_STEPS_MAX];
    int count;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

struct pretok *pretok_create(void)
{
    struct pretok *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->match = pcre2_match_data_create(1, NULL);
    p->context = pcre2_match_context_create(NULL);
    p->stack =
        pcre2_jit_stack_create(1 << 15, JIT_STACK_BYTES, NULL); // NULL without JIT: never used
    if (!p->match || !p->context) {
        pretok_destroy(p);
        return NULL;
    }
    if (p->stack)
        pcre2_jit_stack_assign(p->context, NULL, p->stack);
    pcre2_set_match_limit(p->context, match_limit);
    return p;
}

void pretok_destroy(struct pretok *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->count; i++)
        pcre2_code_free(p->steps[i].code);
    pcre2_match_data_free(p->match);
    pcre2_match_context_free(p->context);
    pcre2_jit_stack_free(p->stack);
    free(p);
}

int pretok_steps(const struct pretok *p)
{
    return p->count;
}

// ---- compiling ------------------------------------------------------------------------------------

#define SPACES                                                                                     \
    "\\t-\\r "                                                                                     \
    "\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

// Spells out \s and \S. Inside a class \S cannot be, and stays PCRE2's.
static void spell_spaces(const char *pattern, size_t bytes, struct str *out)
{
    bool in_class = false;
    for (size_t i = 0; i < bytes; i++) {
        char c = pattern[i], next = i + 1 < bytes ? pattern[i + 1] : '\0';
        if (c == '\\' && (next == 's' || (next == 'S' && !in_class))) {
            str_append(out, in_class ? SPACES : next == 's' ? "[" SPACES "]" : "[^" SPACES "]");
            i++;
        } else if (c == '\\' && i + 1 < bytes) {
            str_append_bytes(out, pattern + i, 2);
            i++;
        } else {
            if (c == '[' && !in_class) {
                in_class = true;
                size_t skip = next == '^' ? 1 : 0; // a ] that stands first is a member
                if (i + 1 + skip < bytes && pattern[i + 1 + skip] == ']')
                    skip++;
                str_append_bytes(out, pattern + i, 1 + skip);
                i += skip;
                continue;
            }
            if (c == ']')
                in_class = false;
            str_append_bytes(out, &c, 1);
        }
    }
}

enum status pretok_add(struct pretok *p, const char *pattern, size_t bytes, bool literal,
                       bool drop_matches, bool drop_rest, const char *where, struct error *err)
{
    struct str text = {0};
    int code;
    PCRE2_SIZE at;
    PCRE2_UCHAR reason[128];
    if (p->count == PRETOK_STEPS_MAX)
        return FAIL(err, ERR_UNSUPPORTED, "%s: more than %d steps of splitting", where,
                    PRETOK_STEPS_MAX);
    if (bytes > PATTERN_MAX_BYTES)
        return FAIL(err, ERR_FORMAT, "%s: a pattern of %zu bytes", where, bytes);
    if (literal)
        str_append_bytes(&text, pattern, bytes);
    else
        spell_spaces(pattern, bytes, &text);
    if (text.failed) {
        str_fini(&text);
        return FAIL(err, ERR_NOMEM, "%s: no memory for a pattern", where);
    }
    uint32_t options =
        PCRE2_UTF |
        (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)str_text(&text), text.length, options, &code, &at, NULL);
    str_fini(&text);
    if (!compiled) {
        pcre2_get_error_message(code, reason, sizeof reason);
        return FAIL(err, ERR_FORMAT, "%s: pattern: %s", where, (char *)reason);
    }
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); // without JIT, pcre2_match interprets
    p->steps[p->count++] = (struct step){compiled, drop_matches, drop_rest};
    return OK;
}

// ---- splitting ------------------------------------------------------------------------------------

struct run {
    struct pretok *p;
    pretok_word *word;
    void *user;
};

static enum status split(const struct run *run, int at_step, const char *text, size_t bytes,
                         struct error *err);

static enum status part(const struct run *run, int at_step, const char *text, size_t bytes,
                        bool drop, struct error *err)
{
    if (bytes == 0 || drop)
        return OK;
    if (at_step + 1 == run->p->count)
        return run->word(run->user, text, bytes, err);
    return split(run, at_step + 1, text, bytes, err);
}

static size_t character_bytes(const char *text, size_t bytes)
{
    size_t n = 1;
    while (n < bytes && ((unsigned char)text[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static enum status split(const struct run *run, int at_step, const char *text, size_t bytes,
                         struct error *err)
{
    const struct step *step = &run->p->steps[at_step];
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(run->p->match);
    size_t done = 0; // text before this has been handed on
    for (size_t from = 0; from <= bytes;) {
        int count = pcre2_match(step->code, (PCRE2_SPTR)text, bytes, from, PCRE2_NO_UTF_CHECK,
                                run->p->match, run->p->context);
        if (count == PCRE2_ERROR_NOMATCH)
            break;
        if (count < 0) {
            PCRE2_UCHAR reason[128];
            pcre2_get_error_message(count, reason, sizeof reason);
            return FAIL(err, ERR_UNSUPPORTED, "splitting text: step %d: %s", at_step,
                        (char *)reason);
        }
        size_t begin = found[0], end = found[1]; // copied: later steps use the same match data
        if (begin < done || end < begin)         // \K in a lookaround can turn a match around
            return FAIL(err, ERR_UNSUPPORTED, "splitting text: step %d: matches overlap", at_step);
        TRY(part(run, at_step, text + done, begin - done, step->drop_rest, err));
        TRY(part(run, at_step, text + begin, end - begin, step->drop_matches, err));
        done = end;
        from = end > begin   ? end
               : end < bytes ? end + character_bytes(text + end, bytes - end)
                             : end + 1;
    }
    return part(run, at_step, text + done, bytes - done, step->drop_rest, err);
}

enum status pretok_run(struct pretok *p, const char *text, size_t bytes, pretok_word *word,
                       void *user, struct error *err)
{
    struct run run = {p, word, user};
    if (bytes == 0)
        return OK;
    if (p->count == 0)
        return word(user, text, bytes, err);
    return split(&run, 0, text, bytes, err);
}
