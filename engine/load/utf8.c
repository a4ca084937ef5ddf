// utf8.c - repairing and normalizing text, and the spelling of bytes in vocabularies.
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/load/tokenizer.h"

// Length of the well-formed character at p, or 0; *bad is then how many bytes one U+FFFD stands for: the
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
    if (form == NORMAL_NONE || ascii || bytes == 0) {
        str_append_bytes(out, text, bytes);
        return OK;
    }
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes,
                                      &mapped, options[form]);
    if (n < 0)
        return FAIL(err, n == UTF8PROC_ERROR_NOMEM ? ERR_NOMEM : ERR_FORMAT, "normalizing text: %s",
                    utf8proc_errmsg(n));
    str_append_bytes(out, mapped, (size_t)n);
    free(mapped);
    return OK;
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
