// text.c - reads and tokenizes calibration text, and cuts it into windows.
#include "engine/quantize/text.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"

struct ids {
    int32_t *at;
    size_t count, capacity;
};

static enum status ids_append(struct ids *ids, const int32_t *more, size_t count, struct error *err)
{
    if (count > ids->capacity - ids->count) {
        size_t capacity = 2 * (ids->count + count) + 1024;
        int32_t *at =
            capacity > SIZE_MAX / sizeof *at ? NULL : realloc(ids->at, capacity * sizeof *at);
        if (!at)
            return FAIL(err, ERR_NOMEM, "%zu token ids", capacity);
        ids->at = at;
        ids->capacity = capacity;
    }
    memcpy(ids->at + ids->count, more, count * sizeof *more);
    ids->count += count;
    return OK;
}

// ---- documents -------------------------------------------------------------------------------------------

static bool blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (!strchr(" \t\r\n\f\v", text[i]) || text[i] == '\0')
            return false;
    return true;
}

static enum status add_document(const struct checkpoint *ck, const struct tokenizer *tok,
                                const char *text, size_t bytes, struct ids *ids, struct error *err)
{
    int32_t bos = checkpoint_config(ck)->bos, *encoded = NULL;
    size_t count = 0;
    if (blank(text, bytes))
        return OK;
    TRY(tokenizer_encode(tok, text, bytes, &encoded, &count, err));
    enum status status = bos >= 0 ? ids_append(ids, &bos, 1, err) : OK;
    if (status == OK)
        status = ids_append(ids, encoded, count, err);
    free(encoded);
    return status;
}

// Where the document that begins at `from` ends: at the form feed that is a line of its own, or at `end`.
static const char *document_end(const char *from, const char *end)
{
    for (const char *at = from; (at = memchr(at, '\f', (size_t)(end - at))) != NULL; at++)
        if ((at == from || at[-1] == '\n') && (at + 1 == end || at[1] == '\n'))
            return at;
    return end;
}

static enum status encode_all(const struct checkpoint *ck, const char *text, size_t bytes,
                              struct ids *ids, struct error *err)
{
    struct tokenizer *tok = NULL;
    const char *end = text + bytes;
    TRY(checkpoint_tokenizer(ck, &tok, err));
    enum status status = OK;
    for (const char *at = text; at < end && status == OK;) {
        const char *stop = document_end(at, end);
        status = add_document(ck, tok, at, (size_t)(stop - at), ids, err);
        at = end - stop > 2 ? stop + 2 : end;
    }
    tokenizer_destroy(tok);
    return status;
}

// ---- windows ---------------------------------------------------------------------------------------------

static enum status check_ids(const struct ids *ids, int vocab, struct error *err)
{
    for (size_t i = 0; i < ids->count; i++)
        if (ids->at[i] < 0 || ids->at[i] >= vocab)
            return FAIL(err, ERR_FORMAT, "id %d of the tokenizer is outside the model's %d",
                        (int)ids->at[i], vocab);
    if (ids->count < CALIB_MIN_TOKENS)
        return FAIL(err, ERR_FORMAT, "%zu tokens of text: at least %d are needed to calibrate on",
                    ids->count, CALIB_MIN_TOKENS);
    return OK;
}

static enum status cut(const struct ids *ids, int windows, int length, struct calib_text *out,
                       struct error *err)
{
    if (ids->count < (size_t)length)
        length = (int)ids->count;
    size_t there = ids->count / (size_t)length;
    size_t kept = there < (size_t)windows ? there : (size_t)windows;
    out->windows = (int)kept;
    out->length = length;
    out->ids = calloc(kept * (size_t)length, sizeof *out->ids);
    if (!out->ids)
        return FAIL(err, ERR_NOMEM, "%zu windows of %d tokens", kept, length);
    for (size_t i = 0; i < kept; i++)
        memcpy(out->ids + i * (size_t)length, ids->at + there * i / kept * (size_t)length,
               (size_t)length * sizeof *out->ids);
    return OK;
}

enum status calib_text_read(const char *path, const struct checkpoint *ck, int windows, int length,
                            struct calib_text *out, struct error *err)
{
    struct file_map map = {0};
    struct ids ids = {0};
    memset(out, 0, sizeof *out);
    TRY(file_map(path, &map, err));
    if (map.size_bytes > CALIB_TEXT_MAX)
        FAIL(err, ERR_FORMAT, "%zu bytes, at most %d are accepted", map.size_bytes, CALIB_TEXT_MAX);
    if (err->code == OK && hash_bytes(map.data, map.size_bytes, out->hash, err) == OK &&
        encode_all(ck, (const char *)map.data, map.size_bytes, &ids, err) == OK &&
        check_ids(&ids, checkpoint_config(ck)->vocab, err) == OK)
        cut(&ids, windows, length, out, err);
    free(ids.at);
    file_unmap(&map);
    return error_context(err, "calibration text %s", path);
}

enum status calib_text_hash(const char *path, char hex[65], struct error *err)
{
    struct file_map map = {0};
    TRY(file_map(path, &map, err));
    enum status status = hash_bytes(map.data, map.size_bytes, hex, err);
    file_unmap(&map);
    return status;
}

void calib_text_fini(struct calib_text *text)
{
    free(text->ids);
    memset(text, 0, sizeof *text);
}
