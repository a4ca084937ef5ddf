// meta.c - reads a GGUF file with a cursor that knows its end, and looks up its metadata.
//
// No allocation is larger than the file could need.
#include <stdlib.h>
#include <string.h>

#include "engine/load/gguf/gguf.h"

enum { ENTRIES_MAX = 4096, DEPTH_MAX = 4 };

// ---- the cursor -----------------------------------------------------------------------------------

enum status gguf_take(struct gguf_cursor *c, size_t bytes, const unsigned char **out,
                      struct error *err)
{
    if (bytes > c->end - c->at)
        return FAIL(err, ERR_FORMAT, "%s: truncated: %zu bytes are wanted at byte %zu of %zu",
                    c->file, bytes, c->at, c->end);
    *out = c->data + c->at;
    c->at += bytes;
    return OK;
}

static uint64_t little(const unsigned char *bytes, int count)
{
    uint64_t value = 0;
    for (int i = count - 1; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

enum status gguf_take_u32(struct gguf_cursor *c, uint32_t *out, struct error *err)
{
    const unsigned char *bytes = NULL;
    TRY(gguf_take(c, 4, &bytes, err));
    *out = (uint32_t)little(bytes, 4);
    return OK;
}

enum status gguf_take_u64(struct gguf_cursor *c, uint64_t *out, struct error *err)
{
    const unsigned char *bytes = NULL;
    TRY(gguf_take(c, 8, &bytes, err));
    *out = little(bytes, 8);
    return OK;
}

enum status gguf_take_string(struct gguf_cursor *c, struct gguf_text *out, struct error *err)
{
    uint64_t length;
    const unsigned char *bytes;
    size_t began = c->at;
    TRY(gguf_take_u64(c, &length, err));
    if (length > c->end - c->at)
        return FAIL(err, ERR_FORMAT,
                    "%s: a string of %llu bytes at byte %zu does not fit the file" GGUF_CUT,
                    c->file, (unsigned long long)length, began);
    TRY(gguf_take(c, (size_t)length, &bytes, err));
    *out = (struct gguf_text){(const char *)bytes, (size_t)length};
    return OK;
}

// ---- metadata -------------------------------------------------------------------------------------

static unsigned scalar_bytes(uint32_t type)
{
    static const unsigned char bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof bytes ? bytes[type] : 0;
}

static enum status skip_value(struct gguf_cursor *c, uint32_t type, int depth, struct error *err);

static enum status skip_array(struct gguf_cursor *c, int depth, uint32_t *type, uint64_t *count,
                              size_t *first, struct error *err)
{
    TRY(gguf_take_u32(c, type, err));
    TRY(gguf_take_u64(c, count, err));
    *first = c->at;
    unsigned each = scalar_bytes(*type), least = each ? each : 8;
    if (*count > (c->end - c->at) / least)
        return FAIL(err, ERR_FORMAT,
                    "%s: an array of %llu elements at byte %zu does not fit the file" GGUF_CUT,
                    c->file, (unsigned long long)*count, *first);
    if (each) {
        c->at += (size_t)*count * each;
        return OK;
    }
    for (uint64_t i = 0; i < *count; i++)
        TRY(skip_value(c, *type, depth + 1, err));
    return OK;
}

static enum status skip_value(struct gguf_cursor *c, uint32_t type, int depth, struct error *err)
{
    const unsigned char *bytes;
    struct gguf_text text;
    uint32_t element;
    uint64_t count;
    size_t first;
    if (scalar_bytes(type))
        return gguf_take(c, scalar_bytes(type), &bytes, err);
    if (type == GGUF_STRING)
        return gguf_take_string(c, &text, err);
    if (type != GGUF_ARRAY)
        return FAIL(err, ERR_FORMAT, "%s: value type %u at byte %zu is not known", c->file, type,
                    c->at);
    if (depth == DEPTH_MAX)
        return FAIL(err, ERR_FORMAT, "%s: arrays nested deeper than %d at byte %zu", c->file,
                    DEPTH_MAX, c->at);
    return skip_array(c, depth, &element, &count, &first, err);
}

static enum status read_entry(struct gguf_cursor *c, struct gguf_entry *e, struct error *err)
{
    TRY(gguf_take_string(c, &e->key, err));
    if (e->key.bytes == 0 || e->key.bytes > NAME_MAX_BYTES)
        return FAIL(err, ERR_FORMAT, "%s: a key of %zu bytes before byte %zu", c->file,
                    e->key.bytes, c->at);
    TRY(gguf_take_u32(c, &e->type, err));
    e->first = e->begin = c->at;
    enum status status = e->type == GGUF_ARRAY
                             ? skip_array(c, 0, &e->element, &e->count, &e->first, err)
                             : skip_value(c, e->type, 0, err);
    if (status != OK)
        return error_context(err, "%s: key %.*s", c->file,
                             (int)(e->key.bytes > 64 ? 64 : e->key.bytes), e->key.text);
    e->end = c->at;
    return OK;
}

enum status gguf_read_entries(struct gguf *g, struct gguf_cursor *c, uint64_t count,
                              struct error *err)
{
    if (count > ENTRIES_MAX)
        return FAIL(err, ERR_FORMAT, "%s: %llu metadata keys; at most %d are accepted", c->file,
                    (unsigned long long)count, ENTRIES_MAX);
    if (count > (c->end - c->at) / 13)
        return FAIL(err, ERR_FORMAT,
                    "%s: %llu metadata keys are more than the file can hold" GGUF_CUT, c->file,
                    (unsigned long long)count);
    g->entries = calloc((size_t)count + 1, sizeof *g->entries);
    if (!g->entries)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its metadata", c->file);
    for (g->entry_count = 0; g->entry_count < count; g->entry_count++) {
        struct gguf_entry *e = &g->entries[g->entry_count];
        TRY(read_entry(c, e, err));
        for (size_t i = 0; i < g->entry_count; i++)
            if (g->entries[i].key.bytes == e->key.bytes &&
                memcmp(g->entries[i].key.text, e->key.text, e->key.bytes) == 0)
                return FAIL(err, ERR_FORMAT, "%s: key %.*s occurs twice", c->file,
                            (int)(e->key.bytes > 64 ? 64 : e->key.bytes), e->key.text);
    }
    return OK;
}

const struct gguf_entry *gguf_find(const struct gguf *g, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < g->entry_count; i++)
        if (g->entries[i].key.bytes == n && memcmp(g->entries[i].key.text, key, n) == 0)
            return &g->entries[i];
    return NULL;
}

bool gguf_string(const struct gguf *g, const char *key, struct gguf_text *out)
{
    const struct gguf_entry *e = gguf_find(g, key);
    if (!e || e->type != GGUF_STRING)
        return false;
    out->bytes = (size_t)little(g->data + e->first, 8);
    out->text = (const char *)g->data + e->first + 8;
    return true;
}

size_t gguf_next_string(const struct gguf *g, size_t at, struct gguf_text *out)
{
    out->bytes = (size_t)little(g->data + at, 8);
    out->text = (const char *)g->data + at + 8;
    return at + 8 + out->bytes;
}

int64_t gguf_integer_at(const struct gguf *g, uint32_t type, size_t at)
{
    const unsigned char *p = g->data + at;
    uint64_t value = little(p, (int)scalar_bytes(type));
    switch (type) {
    case GGUF_I8:
        return (int8_t)value;
    case GGUF_I16:
        return (int16_t)value;
    case GGUF_I32:
        return (int32_t)value;
    case GGUF_U64:
        return value > INT64_MAX ? INT64_MAX : (int64_t)value;
    default:
        return (int64_t)value;
    }
}

bool gguf_is_integer(uint32_t type)
{
    return type <= GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}
