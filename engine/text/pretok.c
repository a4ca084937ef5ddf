// pretok.c - splitting text into words, step after step.
//
// A step cuts each part that the previous step made, and passes its own parts on at once. So the parts of all steps
// nest. Only texts that a step rewrites (a space before, "▁" for spaces, spelled bytes) are stored, one buffer each.
//
// ByteLevel is usually the last step, and its words are bytes. Steps after it see each byte as its printable character,
// as in tokenizers: Falcon's Digits finds digits in "²" and in bytes spelled "¼". Such words are turned back into
// bytes at the end.
// Source: the pre-tokenizers of the tokenizers library; matches and behaviors follow its rules.
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer.h"

#define META "\xe2\x96\x81" // "▁"

struct step {
    struct pretok_spec spec; // pattern: owned
    struct regex *regex;
    struct str rewritten, spelled;
};

struct pretok {
    struct step steps[PRETOK_STEPS_MAX];
    int count;
    int byte_level;  // the step, -1: none
    struct str word; // bytes of a spelled word
};

struct pretok *pretok_create(void)
{
    struct pretok *p = calloc(1, sizeof *p);
    if (p)
        p->byte_level = -1;
    return p;
}

void pretok_destroy(struct pretok *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->count; i++) {
        free((char *)p->steps[i].spec.pattern);
        regex_destroy(p->steps[i].regex);
        str_fini(&p->steps[i].rewritten);
        str_fini(&p->steps[i].spelled);
    }
    str_fini(&p->word);
    free(p);
}

int pretok_steps(const struct pretok *p)
{
    return p->count;
}

bool pretok_is_byte_level(const struct pretok *p)
{
    return p->byte_level >= 0;
}

static bool same_text(const char *a, const char *b)
{
    return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

bool pretok_equals(const struct pretok *p, const struct pretok_spec *specs, int count)
{
    bool equal = p->count == count;
    for (int i = 0; i < count && equal; i++) {
        const struct pretok_spec *a = &p->steps[i].spec, *b = &specs[i];
        equal = a->kind == b->kind && a->behavior == b->behavior && a->literal == b->literal &&
                a->invert == b->invert && a->split == b->split && a->prefix == b->prefix &&
                same_text(a->pattern, b->pattern);
    }
    return equal;
}

enum status pretok_add(struct pretok *p, const struct pretok_spec *spec, const char *where,
                       struct error *err)
{
    const char *pattern = spec->kind == PRETOK_BYTE_LEVEL && spec->split  ? PRETOK_GPT2
                          : spec->kind == PRETOK_METASPACE && spec->split ? META
                                                                          : spec->pattern;
    if (p->count == PRETOK_STEPS_MAX)
        return FAIL(err, ERR_UNSUPPORTED, "%s: more than %d steps of splitting", where,
                    PRETOK_STEPS_MAX);
    if (spec->kind == PRETOK_BYTE_LEVEL && p->byte_level >= 0)
        return FAIL(err, ERR_UNSUPPORTED, "%s: pre_tokenizer: ByteLevel twice", where);
    struct step step = {.spec = *spec};
    if (pattern)
        TRY(regex_create(pattern, strlen(pattern), spec->literal || spec->kind == PRETOK_METASPACE,
                         where, &step.regex, err));
    step.spec.pattern = spec->pattern ? strdup(spec->pattern) : NULL;
    if (spec->pattern && !step.spec.pattern) {
        regex_destroy(step.regex);
        return FAIL(err, ERR_NOMEM, "%s: no memory for a pattern", where);
    }
    if (spec->kind == PRETOK_BYTE_LEVEL)
        p->byte_level = p->count;
    p->steps[p->count++] = step;
    return OK;
}

// ---- running --------------------------------------------------------------------------------------

struct run {
    struct pretok *p;
    pretok_word *word;
    void *user;
};

static enum status run_step(const struct run *run, int nth, const char *text, size_t bytes,
                            bool at_start, struct error *err);

// Passes a part of step `nth` to the next step; after the last step it is a word.
static enum status part(const struct run *run, int nth, const char *text, size_t bytes,
                        bool at_start, struct error *err)
{
    struct pretok *p = run->p;
    if (bytes == 0)
        return OK;
    if (nth + 1 < p->count && nth == p->byte_level) {
        struct str *spelled = &p->steps[nth].spelled;
        spelled->length = 0;
        byte_level_spell(text, bytes, spelled);
        text = str_text(spelled);
        bytes = spelled->length;
        if (spelled->failed)
            return FAIL(err, ERR_NOMEM, "no memory for a word of %zu bytes", bytes);
    }
    if (nth + 1 < p->count)
        return run_step(run, nth + 1, text, bytes, at_start, err);
    if (p->byte_level < 0 || nth == p->byte_level)
        return run->word(run->user, text, bytes, err);
    p->word.length = 0;
    byte_level_decode(text, bytes, &p->word);
    if (p->word.failed)
        return FAIL(err, ERR_NOMEM, "no memory for a word of %zu bytes", bytes);
    return run->word(run->user, str_text(&p->word), p->word.length, err);
}

// Takes matches and the texts between them in order; behaviors join neighbours.
struct cutter {
    const struct run *run;
    int nth;
    const char *text;
    bool at_start;
    size_t begin, end; // the part that may still grow
    bool open;         // there is such a part
    bool matched;      // the last text was a match
};

static enum status flush(struct cutter *c, struct error *err)
{
    bool open = c->open;
    c->open = false;
    return open ? part(c->run, c->nth, c->text + c->begin, c->end - c->begin,
                       c->at_start && c->begin == 0, err)
                : OK;
}

static enum status give(struct cutter *c, size_t begin, size_t end, bool is_match,
                        struct error *err)
{
    const struct pretok_spec *spec = &c->run->p->steps[c->nth].spec;
    bool match = is_match != spec->invert, join = false;
    switch (spec->behavior) {
    case PRETOK_ISOLATED:
        break;
    case PRETOK_REMOVED:
        if (match)
            return OK;
        break;
    case PRETOK_WITH_PREVIOUS:
        join = match && !c->matched;
        break;
    case PRETOK_WITH_NEXT:
        join = !match && c->matched;
        break;
    case PRETOK_CONTIGUOUS:
        join = match == c->matched;
        break;
    }
    c->matched = match;
    if (join && c->open) {
        c->end = end;
        return OK;
    }
    TRY(flush(c, err));
    c->begin = begin;
    c->end = end;
    c->open = true;
    return OK;
}

static enum status cut_by_regex(struct cutter *c, size_t bytes, struct error *err)
{
    struct regex *regex = c->run->p->steps[c->nth].regex;
    size_t done = 0, begin = 0, end = 0, n = 0; // text before `done` has been given
    for (size_t from = 0; from <= bytes;) {
        bool found;
        TRY(regex_next(regex, c->text, bytes, from, &found, &begin, &end, err));
        if (!found)
            break;
        if (begin < done || end < begin) // \K in a lookaround can turn a match around
            return FAIL(err, ERR_UNSUPPORTED, "splitting text: step %d: matches overlap", c->nth);
        if (begin > done)
            TRY(give(c, done, begin, false, err));
        TRY(give(c, begin, end, true, err));
        done = end;
        if (end == begin && end < bytes)
            utf8_next(c->text + end, bytes - end, &n);
        from = end > begin ? end : end < bytes ? end + n : end + 1;
    }
    return done < bytes ? give(c, done, bytes, false, err) : OK;
}

// Each character of a kind is a match of its own.
static enum status cut_by_kind(struct cutter *c, size_t bytes, bool (*of_kind)(int32_t),
                               struct error *err)
{
    size_t done = 0, n = 1;
    for (size_t at = 0; at < bytes; at += n) {
        if (!of_kind(utf8_next(c->text + at, bytes - at, &n)))
            continue;
        if (at > done)
            TRY(give(c, done, at, false, err));
        TRY(give(c, at, at + n, true, err));
        done = at + n;
    }
    return done < bytes ? give(c, done, bytes, false, err) : OK;
}

static enum status cut(const struct run *run, int nth, const char *text, size_t bytes,
                       bool at_start, struct error *err)
{
    const struct step *step = &run->p->steps[nth];
    struct cutter c = {.run = run, .nth = nth, .text = text, .at_start = at_start};
    if (step->spec.kind == PRETOK_DIGITS)
        TRY(cut_by_kind(&c, bytes, unicode_is_number, err));
    else if (step->spec.kind == PRETOK_PUNCTUATION)
        TRY(cut_by_kind(&c, bytes, unicode_is_punctuation, err));
    else if (step->regex)
        TRY(cut_by_regex(&c, bytes, err));
    else
        return part(run, nth, text, bytes, at_start, err);
    return flush(&c, err);
}

// "▁" for spaces, and one before the text.
static void write_meta(struct str *out, const char *text, size_t bytes, bool prefix)
{
    out->length = 0;
    if (prefix && text[0] != ' ' && (bytes < 3 || memcmp(text, META, 3) != 0))
        str_append(out, META);
    for (const char *end = text + bytes; text < end;) {
        const char *space = memchr(text, ' ', (size_t)(end - text));
        str_append_bytes(out, text, (size_t)((space ? space : end) - text));
        if (space)
            str_append(out, META);
        text = space ? space + 1 : end;
    }
}

static enum status run_step(const struct run *run, int nth, const char *text, size_t bytes,
                            bool at_start, struct error *err)
{
    struct step *step = &run->p->steps[nth];
    struct str *rewritten = &step->rewritten;
    bool prefix =
        step->spec.prefix == PREFIX_ALWAYS || (step->spec.prefix == PREFIX_FIRST && at_start);
    if (step->spec.kind == PRETOK_METASPACE) {
        write_meta(rewritten, text, bytes, prefix);
    } else if (step->spec.kind == PRETOK_BYTE_LEVEL && prefix && text[0] != ' ') {
        rewritten->length = 0;
        str_append(rewritten, " ");
        str_append_bytes(rewritten, text, bytes);
    } else {
        return cut(run, nth, text, bytes, at_start, err);
    }
    if (rewritten->failed)
        return FAIL(err, ERR_NOMEM, "no memory for %zu bytes of text", bytes);
    return cut(run, nth, str_text(rewritten), rewritten->length, at_start, err);
}

enum status pretok_run(struct pretok *p, const char *text, size_t bytes, bool at_start,
                       pretok_word *word, void *user, struct error *err)
{
    struct run run = {p, word, user};
    if (bytes == 0)
        return OK;
    if (p->count == 0)
        return word(user, text, bytes, err);
    return run_step(&run, 0, text, bytes, at_start, err);
}
