// utf8.c - repairs and normalizes text, and spells bytes as vocabularies do.
//
// Normal forms are utf8proc's, with one exception: characters that the tokenizers library's older tables lack neither
// move nor compose, as in the library.
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/text/tokenizer.h"

// Length of the well-formed character at p, or 0. *bad is then the number of bytes that one U+FFFD replaces: the
// longest prefix of a well-formed character (Unicode 15, section 3.9, maximal subparts).
static size_t character(const unsigned char *p, size_t left, size_t *bad)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t more;
    *bad = 1;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    more = p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : 3;
    if (p[0] == 0xe0)
        low = 0xa0; // overlong
    if (p[0] == 0xed)
        high = 0x9f; // surrogates
    if (p[0] == 0xf0)
        low = 0x90;
    if (p[0] == 0xf4)
        high = 0x8f; // beyond U+10FFFF
    for (size_t i = 1; i <= more; i++) {
        if (i >= left || p[i] < low || p[i] > high)
            return 0;
        *bad = i + 1;
        low = 0x80, high = 0xbf;
    }
    return more + 1;
}

bool utf8_valid(const char *text, size_t bytes)
{
    size_t bad;
    for (size_t i = 0; i < bytes;) {
        size_t n = character((const unsigned char *)text + i, bytes - i, &bad);
        if (!n)
            return false;
        i += n;
    }
    return true;
}

void utf8_repair(const char *text, size_t bytes, struct str *out)
{
    size_t bad;
    for (size_t i = 0; i < bytes;) {
        size_t n = character((const unsigned char *)text + i, bytes - i, &bad);
        if (n)
            str_append_bytes(out, text + i, n);
        else
            str_append(out, "\xef\xbf\xbd");
        i += n ? n : bad;
    }
}

int32_t utf8_next(const char *text, size_t bytes, size_t *length)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    int32_t c = n == 1 ? p[0] : p[0] & (0xff >> (n + 1));
    assert(n <= bytes);
    *length = n;
    for (size_t i = 1; i < n && i < bytes; i++)
        c = c << 6 | (p[i] & 0x3f);
    return c;
}

// ---- normal forms ---------------------------------------------------------------------------------

static int combining_class(utf8proc_int32_t c)
{
    int class = utf8proc_get_property(c)->combining_class;
    return class && unicode_is_late(c) ? 0 : class;
}

// Sorts the marks of each run by combining class; the sort is stable. utf8proc sorts by exchanges: a run of n marks in
// bad order would cost n squared.
static enum status order_marks(utf8proc_int32_t *text, size_t count, struct error *err)
{
    utf8proc_int32_t *run = malloc((count + 1) * sizeof *run);
    if (!run)
        return FAIL(err, ERR_NOMEM, "no memory to normalize %zu characters", count);
    for (size_t begin = 0; begin < count; begin++) {
        if (combining_class(text[begin]) == 0)
            continue;
        size_t at[257] = {0}, end = begin; // where each class begins in the run
        for (int class; end < count && (class = combining_class(text[end])) > 0; end++)
            at[class + 1]++;
        for (int class = 1; class < 256; class ++)
            at[class + 1] += at[class];
        for (size_t i = begin; i < end; i++)
            run[at[combining_class(text[i])]++] = text[i];
        memcpy(text + begin, run, (end - begin) * sizeof *run);
        begin = end - 1;
    }
    free(run);
    return OK;
}

static enum status decompose(const char *text, size_t bytes, utf8proc_option_t options,
                             utf8proc_int32_t **out, size_t *count, struct error *err)
{
    size_t room = bytes + 64;
    utf8proc_int32_t *all = malloc(room * sizeof *all), c;
    *count = 0;
    for (size_t i = 0; all && i < bytes;) {
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(bytes - i), &c);
        if (room - *count < 32) { // the longest decomposition has 18 characters
            utf8proc_int32_t *grown = realloc(all, 2 * room * sizeof *all);
            if (!grown)
                free(all);
            all = grown;
            room *= 2;
        }
        if (all && n > 0 && unicode_is_late(c))
            all[(*count)++] = c;
        else if (all && n > 0)
            *count += (size_t)utf8proc_decompose_char(c, all + *count, 32, options, NULL);
        i += n > 0 ? (size_t)n : 1;
    }
    *out = all;
    return all ? OK : FAIL(err, ERR_NOMEM, "no memory to normalize %zu bytes", bytes);
}

static void append_points(const utf8proc_int32_t *points, utf8proc_ssize_t count, struct str *out)
{
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t length = utf8proc_encode_char(points[i], bytes);
        str_append_bytes(out, bytes, (size_t)length);
    }
}

enum status utf8_normalize(const char *text, size_t bytes, enum normal_form form, struct str *out,
                           struct error *err)
{
    static const utf8proc_option_t options[] = {
        [NORMAL_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [NORMAL_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [NORMAL_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [NORMAL_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT};
    bool ascii = true;
    for (size_t i = 0; i < bytes && ascii; i++)
        ascii = (unsigned char)text[i] < 0x80;
    if (form == NORMAL_NONE || ascii) {
        str_append_bytes(out, text, bytes);
        return OK;
    }
    utf8proc_int32_t *points;
    size_t count;
    TRY(decompose(text, bytes, options[form], &points, &count, err));
    enum status status = order_marks(points, count, err);
    for (size_t begin = 0, end; begin < count && status == OK; begin = end + 1) {
        for (end = begin; end < count && !unicode_is_late(points[end]); end++)
            ;
        utf8proc_ssize_t n = utf8proc_normalize_utf32(
            points + begin, (utf8proc_ssize_t)(end - begin), options[form]);
        append_points(points + begin, n, out);
        append_points(points + end, end < count, out);
    }
    free(points);
    return status;
}

// The byte a character spells, or -1. Printable Latin-1 spells itself; the 68 others are U+0100 and up,
// in the order of their bytes.
static int spelled_byte(utf8proc_int32_t c)
{
    if ((c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff))
        return c;
    if (c < 0x100 || c > 0x143)
        return -1;
    int nth = c - 0x100;
    return nth <= 0x20 ? nth : nth <= 0x42 ? nth - 0x21 + 0x7f : 0xad;
}

bool byte_level_decode(const char *entry, size_t bytes, struct str *out)
{
    size_t began = out->length;
    for (size_t i = 0; i < bytes;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)entry + i,
                                              (utf8proc_ssize_t)(bytes - i), &c);
        int byte = n > 0 ? spelled_byte(c) : -1;
        if (byte < 0) {
            if (!out->failed)
                out->length = began;
            str_append_bytes(out, entry, bytes);
            return false;
        }
        char raw = (char)byte;
        str_append_bytes(out, &raw, 1);
        i += (size_t)n;
    }
    return true;
}

void byte_level_spell(const char *raw, size_t bytes, struct str *out)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char b = (unsigned char)raw[i], two[2];
        unsigned c = b;
        if (b <= 0x20)
            c = 0x100u + b;
        else if (b >= 0x7f && b <= 0xa0)
            c = 0x121u + b - 0x7f;
        else if (b == 0xad)
            c = 0x143;
        two[0] = (unsigned char)(c < 0x80 ? c : 0xc0 | c >> 6);
        two[1] = (unsigned char)(0x80 | (c & 0x3f));
        str_append_bytes(out, two, c < 0x80 ? 1 : 2);
    }
}
