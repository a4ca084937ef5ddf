// decode.c - ids to text.
//
// The tokenizers library decodes a whole list of ids, with steps that look at neighbours. Bytes that form no character
// become U+FFFD, and a space that encoding added before the text is dropped. The function tokenizer_text does the same.
// For streams, tokenizer_decode decodes one id at a time and omits the steps that need neighbours.
#include <string.h>

#include "engine/text/tokenizer.h"

static bool has_entry(const struct tokenizer *tok, int32_t id)
{
    return id >= 0 && id < tok->ids && tok->entries[id].bytes != UINT32_MAX;
}

struct piece {
    const char *text;
    size_t bytes;
};

static struct piece piece_of(const struct tokenizer *tok, int32_t id)
{
    const struct vocab_entry *e = &tok->entries[id];
    const char *blob = str_text(&tok->blob);
    bool added = e->type != TOKEN_NORMAL && e->type != TOKEN_BYTE;
    for (size_t i = 0; added && i < tok->decoded_count; i++)
        if (tok->decoded[i].id == id)
            return (struct piece){blob + tok->decoded[i].offset, tok->decoded[i].bytes};
    return (struct piece){blob + e->offset, e->bytes};
}

static int byte_of(const struct tokenizer *tok, int32_t id)
{
    struct piece p = piece_of(tok, id);
    return tok->decoder.pieces && tok->decoder.byte_fallback
               ? tokenizer_byte_of_entry(p.text, p.bytes)
               : -1;
}

// The replacement that begins at text, or NULL.
static const struct decoder_replace *replacement(const struct decoder *d, const char *text,
                                                 size_t bytes)
{
    for (int i = 0; i < d->replaces; i++) {
        size_t n = strlen(d->replace[i].from);
        if (n && n <= bytes && memcmp(text, d->replace[i].from, n) == 0)
            return &d->replace[i];
    }
    return NULL;
}

static void append_piece(const struct tokenizer *tok, int32_t id, bool first, struct str *out)
{
    const struct decoder *d = &tok->decoder;
    struct piece p = piece_of(tok, id);
    if (!d->pieces) {
        str_append_bytes(out, p.text, p.bytes);
        return;
    }
    for (size_t i = 0, n; i < p.bytes; i += n) {
        const struct decoder_replace *r = replacement(d, p.text + i, p.bytes - i);
        n = 1;
        if (r) {
            n = strlen(r->from);
            str_append(out, r->to);
        } else if (d->metaspace && p.bytes - i >= 3 && memcmp(p.text + i, "\xe2\x96\x81", 3) == 0) {
            n = 3;
            str_append(out, first && d->drop_first ? "" : " ");
        } else {
            str_append_bytes(out, p.text + i, 1);
        }
    }
}

void tokenizer_decode(const struct tokenizer *tok, int32_t id, struct str *out)
{
    if (!has_entry(tok, id))
        return;
    int byte = byte_of(tok, id);
    char raw = (char)byte;
    if (byte >= 0)
        str_append_bytes(out, &raw, 1);
    else
        append_piece(tok, id, false, out);
}

// A run of byte tokens: the characters they form, or U+FFFD for each byte.
static void append_bytes(const struct str *run, struct str *out)
{
    if (utf8_valid(str_text(run), run->length)) {
        str_append_bytes(out, str_text(run), run->length);
        return;
    }
    for (size_t i = 0; i < run->length; i++)
        str_append(out, "\xef\xbf\xbd");
}

static void strip_ends(const struct decoder *d, const struct str *text, struct str *out)
{
    size_t begin = 0, end = text->length;
    const char *t = str_text(text);
    for (int i = 0; i < d->strip_left && begin < end && t[begin] == d->strip; i++)
        begin++;
    for (int i = 0; i < d->strip_right && begin < end && t[end - 1] == d->strip; i++)
        end--;
    utf8_repair(t + begin, end - begin, out); // entries of a GGUF file may be any bytes
}

void tokenizer_text(const struct tokenizer *tok, const int32_t *ids, size_t count, struct str *out)
{
    struct str text = {0}, run = {0};
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        if (!has_entry(tok, ids[i]))
            continue;
        int byte = byte_of(tok, ids[i]);
        char raw = (char)byte;
        if (byte >= 0) {
            str_append_bytes(&run, &raw, 1);
        } else {
            append_bytes(&run, &text);
            run.length = 0;
            append_piece(tok, ids[i], first, &text);
        }
        first = false;
    }
    append_bytes(&run, &text);
    if (tok->decoder.pieces)
        strip_ends(&tok->decoder, &text, out);
    else
        utf8_repair(str_text(&text), text.length, out);
    out->failed = out->failed || text.failed || run.failed;
    str_fini(&text);
    str_fini(&run);
}
