// safetensors.c - parses the header of one safetensors file and enters its tensors in the map.
//
// A file is an 8-byte little-endian header length, a JSON header naming each tensor's type, shape and
// byte range, and the data. The whole header is checked before any data is used: ranges lie inside the file,
// neither overlap nor leave holes, and are as long as type and shape say.
// Source: the format's description at github.com/huggingface/safetensors.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/load/hf/hf.h"
#include "engine/load/quantized/quantized.h"

enum {
    HEADER_MAX_BYTES = 100 << 20, // the limit of the safetensors library
    DIMS_MAX = 8,
};

// ---- one file -------------------------------------------------------------------------------------

struct entry {
    const char *name, *dtype;
    const struct stored_type *type; // NULL: unknown, so its size cannot be checked
    uint64_t begin, end, elements;
    int dims;
    uint64_t shape[DIMS_MAX];
};

static enum status read_shape(const json_t *shape, const char *where, struct entry *e,
                              struct error *err)
{
    size_t i;
    const json_t *dim;
    if (!json_is_array(shape) || json_array_size(shape) > DIMS_MAX)
        return FAIL(err, ERR_FORMAT, "%s: shape: not a list of at most %d numbers", where,
                    DIMS_MAX);
    e->dims = (int)json_array_size(shape);
    e->elements = 1;
    json_array_foreach(shape, i, dim)
    {
        json_int_t value = json_is_integer(dim) ? json_integer_value(dim) : -1;
        if (value < 0 || value > INT64_C(1) << 40)
            return FAIL(err, ERR_FORMAT, "%s: shape: not a list of sizes", where);
        e->shape[i] = (uint64_t)value;
        if (__builtin_mul_overflow(e->elements, (uint64_t)value, &e->elements))
            return FAIL(err, ERR_FORMAT, "%s: shape: more elements than can be counted", where);
    }
    return OK;
}

static enum status read_range(const json_t *offsets, const char *where, uint64_t data_bytes,
                              struct entry *e, struct error *err)
{
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return FAIL(err, ERR_FORMAT, "%s: data_offsets: not two numbers", where);
    json_int_t b = json_integer_value(begin), n = json_integer_value(end);
    if (b < 0 || n < b || (uint64_t)n > data_bytes)
        return FAIL(
            err, ERR_FORMAT,
            "%s: data_offsets: %lld..%lld is outside the file's %llu bytes of data (truncated, or "
            "damaged)",
            where, (long long)b, (long long)n, (unsigned long long)data_bytes);
    e->begin = (uint64_t)b;
    e->end = (uint64_t)n;
    return OK;
}

static enum status read_entry(const char *file, const char *name, const json_t *value,
                              uint64_t data_bytes, struct entry *e, struct error *err)
{
    char where[512];
    uint64_t want;
    snprintf(where, sizeof where, "%s: tensor %.128s", file, name);
    e->name = name;
    if (!json_is_object(value))
        return FAIL(err, ERR_FORMAT, "%s: not an object", where);
    TRY(json_get_string(value, where, "dtype", &e->dtype, err));
    e->type = stored_find_safetensors(e->dtype);
    TRY(read_shape(json_object_get(value, "shape"), where, e, err));
    TRY(read_range(json_object_get(value, "data_offsets"), where, data_bytes, e, err));
    if (e->type && (__builtin_mul_overflow(e->elements, (uint64_t)e->type->bytes, &want) ||
                    want != e->end - e->begin))
        return FAIL(err, ERR_FORMAT, "%s: %llu elements of %s do not take %llu bytes", where,
                    (unsigned long long)e->elements, e->dtype,
                    (unsigned long long)(e->end - e->begin));
    return OK;
}

static int by_begin(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static enum status check_layout(const char *file, struct entry *entries, size_t count,
                                uint64_t data_bytes, struct error *err)
{
    uint64_t at = 0;
    qsort(entries, count, sizeof *entries, by_begin);
    for (size_t i = 0; i < count; i++) {
        if (entries[i].begin < at)
            return FAIL(err, ERR_FORMAT, "%s: tensor %.128s: its data overlaps that of %.128s",
                        file, entries[i].name, entries[i - 1].name);
        if (entries[i].begin > at)
            return FAIL(err, ERR_FORMAT, "%s: tensor %.128s: a hole of %llu bytes before its data",
                        file, entries[i].name, (unsigned long long)(entries[i].begin - at));
        at = entries[i].end;
    }
    if (at != data_bytes)
        return FAIL(err, ERR_FORMAT, "%s: %llu bytes of data belong to no tensor", file,
                    (unsigned long long)(data_bytes - at));
    return OK;
}

static bool shape_matches(const struct entry *e, struct tensor_shape want, bool vector)
{
    if (vector)
        return e->dims == 1 && e->shape[0] == (uint64_t)want.cols;
    return e->dims == 2 && e->shape[0] == (uint64_t)want.rows && e->shape[1] == (uint64_t)want.cols;
}

static char *shape_text(const struct entry *e, char *out, size_t out_bytes)
{
    size_t used = (size_t)snprintf(out, out_bytes, "(");
    for (int i = 0; i < e->dims && used < out_bytes; i++)
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%llu", i ? ", " : "",
                                 (unsigned long long)e->shape[i]);
    if (used < out_bytes)
        snprintf(out + used, out_bytes - used, ")");
    return out;
}

// Offers a tensor to the quantized products. Codes without a quantization_config are refused.
static enum status take_part(const char *file, const struct entry *e, const unsigned char *data,
                             bool named, const struct tensor_map *map, bool *taken,
                             struct error *err)
{
    struct quant_header header = {.name = e->name,
                                  .type = e->dtype,
                                  .dims = e->dims,
                                  .shape = e->shape,
                                  .data = data + e->begin,
                                  .bytes = e->end - e->begin,
                                  .named = named};
    *taken = false;
    if (map->quantized)
        return quantized_take(map->quantized, file, &header, taken, err);
    if (!named && quantized_name(e->name))
        return FAIL(err, ERR_FORMAT,
                    "%s: tensor %.200s is part of a quantized product, but config.json has no "
                    "quantization_config",
                    file, e->name);
    return OK;
}

static enum status enter(const char *file, const struct entry *e, const unsigned char *data,
                         const struct model_config *config, struct tensor_map *map,
                         struct error *err)
{
    const struct tensor_names *names = hf_names(config);
    struct tensor_place place;
    char text[160];
    bool named = tensor_names_find(names, e->name, config, &place), taken;
    TRY(take_part(file, e, data, named, map, &taken, err));
    if (taken)
        return OK;
    if (!named) {
        if (tensor_names_stray(names, e->name, config))
            return FAIL(err, ERR_UNSUPPORTED,
                        "%s: tensor %.128s: no part of a layer as config.json describes it (%s)",
                        file, e->name, config->arch);
        tensor_map_extra(map, e->name, strlen(e->name), e->end - e->begin);
        return OK;
    }
    struct tensor_shape want = tensor_names_shape(names, config, place.roles[0]);
    if (!shape_matches(e, want, tensor_role_is_vector(place.roles[0])))
        return FAIL(err, ERR_FORMAT, "%s: tensor %s: shape %s, but config.json makes it (%d, %d)",
                    file, e->name, shape_text(e, text, sizeof text), want.rows, want.cols);
    if (!e->type || !e->type->expand)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: tensor %s: dtype %.32s %s (F32, F16, BF16 and F8_E4M3 are read)", file,
                    e->name, e->dtype, e->type ? "holds no weights by itself" : "is not known");
    for (int i = 0; i < place.count; i++) {
        int expert = place.expert > 0 ? place.expert : 0;
        struct stored_tensor *slot = tensor_map_expert(map, place.roles[i], place.layer, expert);
        if (slot->data)
            return FAIL(err, ERR_FORMAT, "%s: tensor %s: is in another file too", file, e->name);
        *slot = (struct stored_tensor){data + e->begin, e->type, NULL};
    }
    return OK;
}

static enum status enter_all(const char *name, const json_t *header, const unsigned char *data,
                             uint64_t data_bytes, struct entry *entries,
                             const struct model_config *config, struct tensor_map *map,
                             json_t *seen, struct error *err)
{
    size_t count = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)header, key, value)
    {
        if (str_equal(key, "__metadata__"))
            continue;
        TRY(read_entry(name, key, value, data_bytes, &entries[count++], err));
        if (seen && json_object_set_new(seen, key, json_string(name)) != 0)
            return FAIL(err, ERR_NOMEM, "%s: no memory for its header", name);
    }
    TRY(check_layout(name, entries, count, data_bytes, err));
    for (size_t i = 0; i < count; i++)
        TRY(enter(name, &entries[i], data, config, map, err));
    return OK;
}

enum status safetensors_header(const char *name, const unsigned char *data, size_t bytes,
                               json_t **out, size_t *header_bytes, struct error *err)
{
    uint64_t length = 0;
    *out = NULL;
    if (bytes < 8)
        return FAIL(err, ERR_FORMAT, "%s: %zu bytes are too few for a safetensors file", name,
                    bytes);
    for (int i = 7; i >= 0; i--)
        length = length << 8 | data[i];
    if (length > HEADER_MAX_BYTES || length > bytes - 8)
        return FAIL(err, ERR_FORMAT,
                    "%s: a header of %llu bytes does not fit the file's %zu (truncated, or not "
                    "safetensors)",
                    name, (unsigned long long)length, bytes);
    if (length == 0 || data[8] != '{')
        return FAIL(err, ERR_FORMAT, "%s: the header is not a JSON object: not safetensors", name);
    TRY(json_parse(name, (const char *)data + 8, (size_t)length, out, err));
    *header_bytes = (size_t)length;
    return OK;
}

enum status safetensors_parse(const char *name, const unsigned char *data, size_t bytes,
                              const struct model_config *config, struct tensor_map *map,
                              json_t *seen, struct error *err)
{
    size_t header_bytes = 0;
    json_t *header = NULL;
    TRY(safetensors_header(name, data, bytes, &header, &header_bytes, err));
    enum status status;
    struct entry *entries = calloc(json_object_size(header) + 1, sizeof *entries);
    if (entries)
        status = enter_all(name, header, data + 8 + header_bytes, bytes - 8 - header_bytes, entries,
                           config, map, seen, err);
    else
        status = FAIL(err, ERR_NOMEM, "%s: no memory for its header", name);
    free(entries);
    json_decref(header);
    return status;
}
