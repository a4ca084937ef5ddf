// gguf.c - GGUF files (versions 2 and 3, little-endian): metadata, tensors, model description.
//
// A file is a head (magic, version, counts), typed key-value metadata, tensor descriptions, and aligned data. A cursor
// that knows the end of the file reads all of it. No allocation is larger than the file could need. llama.cpp
// interleaves the two halves of each Q and K head of the llama family. Rows are returned in Hugging Face's order, so
// rope stays ROPE_HALF, and a model has the same weights in either format.
// Source: the format's description in ggml's docs/gguf.md; llama.cpp's converter for names and order.
#include "engine/load/gguf/gguf.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "engine/model/arch.h"

enum { TENSORS_MAX = 1 << 17, PARTS_MAX = 4096 };

// ---- tensors --------------------------------------------------------------------------------------

static enum status read_info(struct gguf_cursor *c, struct gguf_info *t, struct error *err)
{
    struct gguf_text name;
    TRY(gguf_take_string(c, &name, err));
    if (name.bytes == 0 || name.bytes > NAME_MAX_BYTES || memchr(name.text, '\0', name.bytes))
        return FAIL(err, ERR_FORMAT, "%s: a tensor name of %zu bytes before byte %zu", c->file,
                    name.bytes, c->at);
    if (!(t->name = strndup(name.text, name.bytes)))
        return FAIL(err, ERR_NOMEM, "%s: no memory", c->file);
    TRY(gguf_take_u32(c, &t->dim_count, err));
    if (t->dim_count < 1 || t->dim_count > 4)
        return FAIL(err, ERR_FORMAT, "%s: tensor %.64s: %u dimensions", c->file, t->name,
                    t->dim_count);
    uint64_t elements = 1;
    for (uint32_t i = 0; i < t->dim_count; i++) {
        TRY(gguf_take_u64(c, &t->dims[i], err));
        if (__builtin_mul_overflow(elements, t->dims[i], &elements) || elements > UINT64_C(1) << 48)
            return FAIL(err, ERR_FORMAT, "%s: tensor %.64s: absurdly many elements", c->file,
                        t->name);
    }
    TRY(gguf_take_u32(c, &t->type_number, err));
    TRY(gguf_take_u64(c, &t->offset, err));
    t->type = stored_find_ggml(t->type_number);
    if (!t->type)
        return OK;
    if (t->dims[0] % (uint64_t)t->type->block)
        return FAIL(err, ERR_FORMAT,
                    "%s: tensor %.64s: rows of %llu are no multiple of %s's blocks of %d", c->file,
                    t->name, (unsigned long long)t->dims[0], t->type->ggml, t->type->block);
    t->bytes = elements / (uint64_t)t->type->block * (uint64_t)t->type->bytes;
    return OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct gguf_info *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return strcmp(x->name, y->name);
}

// Checks that data is in the order of offsets, aligned, without holes. For a type of unknown size it checks only that
// offsets rise.
static enum status check_layout(struct gguf *g, struct gguf_info *infos, size_t count,
                                struct error *err)
{
    uint64_t at = 0;
    qsort(infos, count, sizeof *infos, by_offset);
    for (size_t i = 0; i < count; i++) {
        const struct gguf_info *t = &infos[i];
        if (t->offset % g->alignment)
            return FAIL(err, ERR_FORMAT, "%s: tensor %.64s: offset %llu is not aligned to %u",
                        g->name, t->name, (unsigned long long)t->offset, g->alignment);
        if (t->offset > g->data_bytes || t->bytes > g->data_bytes - t->offset)
            return FAIL(err, ERR_FORMAT,
                        "%s: tensor %.64s: %llu bytes at %llu are outside the file's %zu bytes of "
                        "data" GGUF_CUT,
                        g->name, t->name, (unsigned long long)t->bytes,
                        (unsigned long long)t->offset, g->data_bytes);
        if (t->offset < at)
            return FAIL(err, ERR_FORMAT, "%s: tensor %.64s: its data overlaps that of %.64s",
                        g->name, t->name, infos[i - 1].name);
        if ((i == 0 || infos[i - 1].type) && t->offset - at >= g->alignment)
            return FAIL(err, ERR_FORMAT, "%s: tensor %.64s: a hole before its data", g->name,
                        t->name);
        at = t->offset + t->bytes;
    }
    return OK;
}

static int by_name(const void *a, const void *b)
{
    const struct gguf_info *x = a, *y = b;
    return strcmp(x->name, y->name);
}

const struct gguf_info *gguf_find_info(const struct gguf *g, const char *name)
{
    size_t low = 0, high = g->all.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, g->all.at[middle].name);
        if (order == 0)
            return &g->all.at[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

// Experts in one tensor are a dimension of it.
static bool shape_matches(const struct gguf *g, const struct gguf_info *t,
                          const struct tensor_place *place, struct tensor_shape want)
{
    uint64_t experts = (uint64_t)g->config.experts;
    if (tensor_role_is_expert(place->roles[0]) && place->expert < 0)
        return t->dim_count == 3 && t->dims[0] == (uint64_t)want.cols && t->dims[2] == experts &&
               t->dims[1] * experts == (uint64_t)want.rows;
    uint64_t rows = t->dim_count > 1 ? t->dims[1] : 1;
    bool flat = t->dim_count < 3 || (t->dims[2] == 1 && (t->dim_count < 4 || t->dims[3] == 1));
    return flat && t->dims[0] == (uint64_t)want.cols && rows == (uint64_t)want.rows;
}

static enum status enter(struct gguf *g, const struct gguf_info *t, struct error *err)
{
    struct tensor_place place;
    char known[128];
    if (!tensor_names_find(&g->names, t->name, &g->config, &place)) {
        // An unknown tensor inside a layer means a computation that this engine would omit.
        if (str_starts(t->name, g->names.layer_prefix))
            return FAIL(err, ERR_UNSUPPORTED,
                        "%s: tensor %.64s is not part of a supported architecture", g->name,
                        t->name);
        if (!str_starts(t->name, "rope_f")) // factors of the description
            tensor_map_extra(&g->tensors, t->name, strlen(t->name), t->bytes);
        return OK;
    }
    struct tensor_shape want = tensor_names_shape(&g->names, &g->config, place.roles[0]);
    if (!shape_matches(g, t, &place, want))
        return FAIL(err, ERR_FORMAT,
                    "%s: tensor %s: shape (%llu, %llu), but the metadata makes it (%d, %d)",
                    g->name, t->name, (unsigned long long)(t->dim_count > 1 ? t->dims[1] : 1),
                    (unsigned long long)t->dims[0], want.rows, want.cols);
    if (!t->type || !t->type->expand)
        return FAIL(err, ERR_UNSUPPORTED, "%s: tensor %s: type %s (%u) is not supported (%s are)",
                    g->name, t->name, stored_ggml_name(t->type_number), t->type_number,
                    stored_ggml_names(known, sizeof known));
    if (want.rows == 1 && t->type->block != 1)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: tensor %s: a vector in blocks of %s is not supported (plain numbers are)",
                    g->name, t->name, t->type->ggml);
    for (int i = 0; i < place.count; i++) {
        struct stored_tensor *slot = tensor_map_expert(&g->tensors, place.roles[i], place.layer,
                                                       place.expert < 0 ? 0 : place.expert);
        if (slot->data)
            return FAIL(err, ERR_FORMAT, "%s: tensor %s occurs twice", g->name, t->name);
        *slot = (struct stored_tensor){t->data, t->type, NULL};
    }
    return OK;
}

static enum status read_alignment(struct gguf *g, struct error *err)
{
    const struct gguf_entry *e = gguf_find(g, "general.alignment");
    int64_t value = !e ? 32 : gguf_is_integer(e->type) ? gguf_integer_at(g, e->type, e->first) : 0;
    if (value < 1 || value > 1 << 20 || (value & (value - 1)))
        return FAIL(err, ERR_FORMAT, "%s: general.alignment: not a power of two", g->name);
    g->alignment = (uint32_t)value;
    return OK;
}

static enum status read_infos(struct gguf *g, struct gguf_cursor *c, size_t count,
                              struct error *err)
{
    while (g->all.count < count)
        TRY(read_info(c, &g->all.at[g->all.count++], err));
    TRY(read_alignment(g, err));
    size_t begin = (c->at + g->alignment - 1) / g->alignment * g->alignment;
    if (begin > c->end && count)
        return FAIL(err, ERR_FORMAT, "%s: truncated: the data should begin at byte %zu of %zu",
                    g->name, begin, c->end);
    g->data_bytes = begin > c->end ? 0 : c->end - begin;
    TRY(check_layout(g, g->all.at, count, err));
    for (size_t i = 0; i < count; i++)
        g->all.at[i].data = g->data + begin + g->all.at[i].offset;
    qsort(g->all.at, count, sizeof *g->all.at, by_name);
    return OK;
}

enum status gguf_read_head(struct gguf_cursor *c, uint64_t *tensors, uint64_t *entries,
                           struct error *err)
{
    const unsigned char *magic;
    uint32_t version;
    if (c->end < 4 || memcmp(c->data, "GGUF", 4) != 0)
        return FAIL(err, ERR_FORMAT, "%s: does not begin with GGUF", c->file);
    TRY(gguf_take(c, 4, &magic, err));
    TRY(gguf_take_u32(c, &version, err));
    if (version == 0x03000000 || version == 0x02000000)
        return FAIL(err, ERR_UNSUPPORTED, "%s: big-endian GGUF is not supported", c->file);
    if (version != 2 && version != 3)
        return FAIL(err, ERR_UNSUPPORTED, "%s: GGUF version %u is not supported (2 and 3 are)",
                    c->file, version);
    TRY(gguf_take_u64(c, tensors, err));
    return gguf_take_u64(c, entries, err);
}

static enum status read_file(struct gguf *g, size_t bytes, struct error *err)
{
    struct gguf_cursor c = {g->name, g->data, 0, bytes};
    uint64_t count, entries;
    TRY(gguf_read_head(&c, &count, &entries, err));
    TRY(gguf_read_entries(g, &c, entries, err));
    if (count > TENSORS_MAX || count > (c.end - c.at) / 32)
        return FAIL(err, ERR_FORMAT, "%s: %llu tensors are more than the file can hold" GGUF_CUT,
                    g->name, (unsigned long long)count);
    g->all.at = calloc((size_t)count + 1, sizeof *g->all.at);
    if (!g->all.at)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its tensors", g->name);
    return read_infos(g, &c, (size_t)count, err);
}

enum status gguf_begin(const char *name, const unsigned char *data, size_t bytes, struct gguf **out,
                       struct error *err)
{
    *out = NULL;
    struct gguf *g = calloc(1, sizeof *g);
    if (!g || !(g->name = strdup(name))) {
        free(g);
        return FAIL(err, ERR_NOMEM, "%s: no memory", name);
    }
    g->data = data;
    enum status status = read_file(g, bytes, err);
    if (status == OK)
        *out = g;
    else
        gguf_free(g);
    return status;
}

// ---- parts ------------------------------------------------------------------------------------------

static enum status split_number(const struct gguf *g, const char *key, int64_t least, int *out,
                                struct error *err)
{
    const struct gguf_entry *e = gguf_find(g, key);
    if (!e)
        return OK;
    int64_t value = gguf_is_integer(e->type) ? gguf_integer_at(g, e->type, e->first) : -1;
    if (value < least || value > PARTS_MAX)
        return FAIL(err, ERR_FORMAT, "%s: %s: not a number from %d to %d", g->name, key, (int)least,
                    PARTS_MAX);
    *out = (int)value;
    return OK;
}

enum status gguf_split(const struct gguf *g, int *part, int *parts, struct error *err)
{
    *part = 0;
    *parts = 1;
    TRY(split_number(g, "split.no", 0, part, err));
    TRY(split_number(g, "split.count", 0, parts, err));
    *parts = *parts ? *parts : 1; // a file that is not split has 0
    if (*part >= *parts)
        return FAIL(err, ERR_FORMAT, "%s: split.no: part %d of %d", g->name, *part, *parts);
    return OK;
}

enum status gguf_join(struct gguf *g, struct gguf *part, struct error *err)
{
    size_t count = g->all.count + part->all.count;
    part->parts = g->parts;
    g->parts = part;
    struct gguf_info *at = realloc(g->all.at, (count + 1) * sizeof *at);
    if (!at)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its tensors", part->name);
    g->all.at = at;
    memcpy(at + g->all.count, part->all.at, part->all.count * sizeof *at);
    g->all.count = count;
    part->all.count = 0; // their names are g's now
    qsort(at, count, sizeof *at, by_name);
    for (size_t i = 1; i < count; i++)
        if (strcmp(at[i - 1].name, at[i].name) == 0)
            return FAIL(err, ERR_FORMAT, "%s: tensor %.64s is in another part, too", part->name,
                        at[i].name);
    return OK;
}

// ---- the whole file ---------------------------------------------------------------------------------

enum status gguf_finish(struct gguf *g, struct error *err)
{
    TRY(gguf_read_config(g, err));
    TRY(tensor_map_init(&g->tensors, &g->config, err));
    for (size_t i = 0; i < g->all.count; i++)
        TRY(enter(g, &g->all.at[i], err));
    model_name_from_path(g->name, g->config.name);
    return tensor_map_complete(&g->tensors, &g->config, &g->names, g->name, err);
}

enum status gguf_parse(const char *name, const unsigned char *data, size_t bytes, struct gguf **out,
                       struct error *err)
{
    struct gguf *g;
    *out = NULL;
    int part, parts;
    TRY(gguf_begin(name, data, bytes, &g, err));
    enum status status = gguf_split(g, &part, &parts, err);
    if (status == OK && parts > 1)
        status =
            FAIL(err, ERR_UNSUPPORTED, "%s: is part %d of %d by itself", name, part + 1, parts);
    if (status == OK)
        status = gguf_finish(g, err);
    if (status == OK)
        *out = g;
    else
        gguf_free(g);
    return status;
}

void gguf_free(struct gguf *g)
{
    if (!g)
        return;
    tensor_map_fini(&g->tensors);
    for (size_t i = 0; i < g->all.count; i++)
        free(g->all.at[i].name);
    free(g->all.at);
    free(g->entries);
    free(g->name);
    gguf_free(g->parts);
    free(g);
}

const struct model_config *gguf_config(const struct gguf *g)
{
    return &g->config;
}

const struct tensor_map *gguf_tensors(const struct gguf *g)
{
    return &g->tensors;
}
