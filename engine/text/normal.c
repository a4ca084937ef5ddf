// normal.c - the rewriting before the split: normal forms, "▁" for spaces, a prefix.
//
// Source: the normalizers of the tokenizers library. Each in turn rewrites a whole piece of text between added tokens.
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer.h"

// The limit of growth: normal forms make at most 18 bytes of one, "▁" makes three of a space. The limit keeps a
// hostile file from exhausting memory.
enum { GROWTH_MAX = 64, SMALL_BYTES = 1 << 20 };

static void step_fini(struct normal_step *step)
{
    free(step->text);
    regex_destroy(step->from);
}

enum status normalizer_add(struct normalizer *n, const struct normal_step *step, const char *where,
                           struct error *err)
{
    if (n->count == NORMAL_STEPS_MAX) {
        struct normal_step owned = *step;
        step_fini(&owned);
        return FAIL(err, ERR_UNSUPPORTED, "%s: normalizer: more than %d steps", where,
                    NORMAL_STEPS_MAX);
    }
    n->steps[n->count++] = *step;
    return OK;
}

void normalizer_fini(struct normalizer *n)
{
    for (int i = 0; i < n->count; i++)
        step_fini(&n->steps[i]);
    n->count = 0;
}

// ---- the steps ------------------------------------------------------------------------------------

static enum status grown(size_t bytes, struct error *err)
{
    return FAIL(err, ERR_UNSUPPORTED, "normalizing text: it grows to more than %zu bytes", bytes);
}

// `most`: bytes that `out` may have.
static enum status replace(const struct normal_step *step, const char *text, size_t bytes,
                           size_t most, struct str *out, struct error *err)
{
    size_t done = 0, begin = 0, end = 0, put = strlen(step->text);
    for (size_t from = 0; from <= bytes;) {
        bool found;
        TRY(regex_next(step->from, text, bytes, from, &found, &begin, &end, err));
        if (!found)
            break;
        if (begin < done || end < begin) // \K in a lookaround can turn a match around
            return FAIL(err, ERR_UNSUPPORTED, "normalizing text: matches overlap");
        if (out->length > most)
            return grown(most, err);
        str_append_bytes(out, text + done, begin - done);
        str_append_bytes(out, step->text, put);
        done = end;
        size_t skip = 0;
        if (end == begin && end < bytes)
            utf8_next(text + end, bytes - end, &skip);
        from = end > begin ? end : end + (skip ? skip : 1);
    }
    str_append_bytes(out, text + done, bytes - done);
    return OK;
}

static enum status replace_single(const struct normal_step *step, const char *text, size_t bytes,
                                  size_t most, struct str *out, struct error *err)
{
    size_t put = strlen(step->text);
    for (const char *end = text + bytes; text < end;) {
        const char *found = memchr(text, step->single, (size_t)(end - text));
        size_t plain = (size_t)((found ? found : end) - text);
        str_append_bytes(out, text, plain);
        if (found)
            str_append_bytes(out, step->text, put);
        text += plain + (found != NULL);
        if (out->length > most)
            return grown(most, err);
    }
    return OK;
}

static void strip(const struct normal_step *step, const char *text, size_t bytes, struct str *out)
{
    size_t begin = 0, end = bytes, n;
    while (step->left && begin < end && unicode_is_space(utf8_next(text + begin, end - begin, &n)))
        begin += n;
    while (step->right && end > begin) {
        size_t last = end - 1;
        while (last > begin && ((unsigned char)text[last] & 0xc0) == 0x80)
            last--;
        if (!unicode_is_space(utf8_next(text + last, end - last, &n)))
            break;
        end = last;
    }
    str_append_bytes(out, text + begin, end - begin);
}

static enum status run_step(const struct normal_step *step, const char *text, size_t bytes,
                            size_t most, struct str *out, struct error *err)
{
    switch (step->kind) {
    case NORMAL_FORM:
        return utf8_normalize(text, bytes, step->form, out, err);
    case NORMAL_PREPEND:
        if (bytes)
            str_append(out, step->text);
        str_append_bytes(out, text, bytes);
        return OK;
    case NORMAL_REPLACE:
        return (step->single ? replace_single : replace)(step, text, bytes, most, out, err);
    case NORMAL_STRIP:
        strip(step, text, bytes, out);
        return OK;
    }
    return OK;
}

enum status normalizer_run(const struct normalizer *n, const char *text, size_t bytes,
                           struct str *out, struct error *err)
{
    struct str turn[2] = {{0}, {0}};
    enum status status = OK;
    size_t may =
        bytes < SIZE_MAX / GROWTH_MAX - SMALL_BYTES ? bytes * GROWTH_MAX + SMALL_BYTES : bytes;
    if (n->count == 0)
        str_append_bytes(out, text, bytes);
    for (int i = 0; i < n->count && status == OK; i++) {
        struct str *to = i + 1 == n->count ? out : &turn[i % 2];
        to->length = i + 1 == n->count ? to->length : 0;
        size_t most = to->length + may;
        status = run_step(&n->steps[i], text, bytes, most, to, err);
        if (status == OK && to->length > most)
            status = grown(most, err);
        if (status == OK && to->failed)
            status = FAIL(err, ERR_NOMEM, "no memory for %zu bytes of text", bytes);
        text = str_text(to);
        bytes = to->length;
    }
    str_fini(&turn[0]);
    str_fini(&turn[1]);
    return status;
}
