// parts.c - collects the parts of products from the files, and checks them.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fp.h"
#include "engine/load/quantized/folder.h"

// ---- collecting ---------------------------------------------------------------------------------------

static const char *const type_names[] = {
    [PART_F32] = "F32",      [PART_F16] = "F16",      [PART_BF16] = "BF16",
    [PART_E8M0] = "F8_E8M0", [PART_E4M3] = "F8_E4M3", [PART_I8] = "I8",
    [PART_I32] = "I32",      [PART_I64] = "I64",      [PART_OTHER] = "another type"};

static enum part_type type_of(const char *name)
{
    for (int i = PART_F32; i < PART_OTHER; i++)
        if (str_equal(type_names[i], name))
            return (enum part_type)i;
    return PART_OTHER;
}

static enum status add_linear(struct quantized *q, const char *name, size_t bytes,
                              struct quant_linear **out, struct error *err)
{
    if (q->count == q->capacity) {
        size_t capacity = q->capacity ? 2 * q->capacity : 256;
        void *grown = realloc(q->linears, capacity * sizeof *q->linears);
        if (!grown)
            return FAIL(err, ERR_NOMEM, "no memory for the parts of %s", name);
        q->linears = grown;
        q->capacity = capacity;
    }
    struct quant_linear *l = calloc(1, sizeof *l);
    if (l)
        l->name = strndup(name, bytes);
    if (!l || !l->name ||
        json_object_set_new(q->index, l->name, json_integer((json_int_t)q->count)) != 0) {
        if (l)
            free(l->name);
        free(l);
        return FAIL(err, ERR_NOMEM, "no memory for the parts of %s", name);
    }
    l->config = &q->config;
    q->linears[q->count++] = l;
    *out = l;
    return OK;
}

static struct quant_linear *find(const struct quantized *q, const char *name)
{
    const json_t *at = json_object_get(q->index, name);
    return at ? q->linears[json_integer_value(at)] : NULL;
}

static bool all_zero(const unsigned char *data, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        if (data[i])
            return false;
    return true;
}

// Codes under the plain name are recognized by their type. A bias of zeros is accepted: some writers add one to each
// product.
static bool is_part(const struct quant_header *t, enum part_role role)
{
    if (role == PART_BIAS)
        return !t->named && all_zero(t->data, t->bytes);
    bool plain_name = role == PART_WEIGHT && str_equal(strrchr(t->name, '.'), ".weight");
    return !plain_name || str_equal(t->type, "I8") || str_equal(t->type, "F8_E4M3");
}

enum status quantized_take(struct quantized *q, const char *file, const struct quant_header *t,
                           bool *taken, struct error *err)
{
    enum part_role role;
    size_t stem = quantized_layout_part(q->config.layout, t->name, &role);
    *taken = stem && is_part(t, role);
    if (!stem && quantized_name(t->name))
        return FAIL(
            err, ERR_FORMAT,
            "%s: tensor %.200s is no part of %s: the checkpoint mixes schemes, which is not "
            "supported",
            file, t->name, q->info.text);
    if (!*taken)
        return OK;
    char name[256];
    if (stem >= sizeof name)
        return FAIL(err, ERR_FORMAT, "%s: tensor %.200s...: a name of %zu bytes", file, t->name,
                    strlen(t->name));
    snprintf(name, sizeof name, "%.*s", (int)stem, t->name);
    struct quant_linear *l = find(q, name);
    if (!l)
        TRY(add_linear(q, name, stem, &l, err));
    struct quant_part *part = &l->part[role];
    if (part->type != PART_ABSENT)
        return FAIL(err, ERR_FORMAT, "%s: tensor %s: is in another file too", file, t->name);
    *part = (struct quant_part){type_of(t->type), t->dims,  {1, 1},
                                t->data,          t->bytes, q->config.layout->suffix[role]};
    if (t->dims > 2)
        part->type = PART_OTHER;
    for (int i = 0; i < t->dims && i < 2; i++)
        part->shape[i] = t->shape[i];
    return OK;
}

// ---- checking -----------------------------------------------------------------------------------------

// The name of a part, for messages.
static const char *part_name(const struct quant_linear *l, enum part_role role, char out[300])
{
    const char *found = l->part[role].suffix;
    snprintf(out, 300, "%s%s", l->name, found ? found : l->config->layout->suffix[role]);
    return out;
}

enum status quantized_part_expect(const struct quant_linear *l, enum part_role role, unsigned types,
                                  uint64_t rows, uint64_t cols, const char *where,
                                  struct error *err)
{
    const struct quant_part *p = &l->part[role];
    char name[300], shape[48] = "()";
    part_name(l, role, name);
    if (p->type == PART_ABSENT)
        return FAIL(err, ERR_FORMAT, "%s: tensor %s is missing", where, name);
    if (!(types >> p->type & 1)) {
        int wanted = PART_F32;
        while (!(types >> wanted & 1))
            wanted++;
        return FAIL(err, ERR_FORMAT, "%s: tensor %s: dtype %s (%d dimensions), but %s makes it %s",
                    where, name, type_names[p->type], p->dims, "quantization_config",
                    type_names[wanted]);
    }
    if (p->shape[0] == rows && p->shape[1] == cols)
        return OK;
    if (p->dims == 1)
        snprintf(shape, sizeof shape, "(%llu)", (unsigned long long)p->shape[0]);
    else if (p->dims == 2)
        snprintf(shape, sizeof shape, "(%llu, %llu)", (unsigned long long)p->shape[0],
                 (unsigned long long)p->shape[1]);
    return FAIL(err, ERR_FORMAT,
                "%s: tensor %s: shape %s, but config.json makes it (%llu, %llu), for a product of "
                "(%d, %d)",
                where, name, shape, (unsigned long long)rows, (unsigned long long)cols, l->rows,
                l->cols);
}

float quantized_part_float(const struct quant_part *p, size_t i)
{
    uint16_t half;
    float value;
    switch (p->type) {
    case PART_F32:
        memcpy(&value, p->data + 4 * i, 4);
        return value;
    case PART_E8M0: // 2^(e - 127); 0 is 2^-127, a subnormal; 255 is NaN
        if (p->data[i] == 0xff)
            return NAN;
        return p->data[i] ? f32_from_bits((uint32_t)p->data[i] << 23) : 0x1p-127f;
    default:
        memcpy(&half, p->data + 2 * i, 2);
        return p->type == PART_F16 ? f16_to_f32(half) : bf16_to_f32(half);
    }
}

uint32_t quantized_part_word(const struct quant_part *p, size_t i)
{
    uint32_t word;
    memcpy(&word, p->data + 4 * i, 4);
    return word;
}

enum status quantized_part_finite(const struct quant_linear *l, const char *where, bool *exact_f16,
                                  struct error *err)
{
    const struct quant_part *p = &l->part[PART_SCALE];
    uint64_t count = p->shape[0] * p->shape[1];
    char name[300];
    *exact_f16 = true;
    for (uint64_t i = 0; i < count; i++) {
        float scale = quantized_part_float(p, i);
        if (!isfinite(scale))
            return FAIL(err, ERR_FORMAT, "%s: tensor %s: scale %llu of %llu is %s", where,
                        part_name(l, PART_SCALE, name), (unsigned long long)i,
                        (unsigned long long)count, isnan(scale) ? "NaN" : "infinite");
        if (p->type != PART_F16 && f16_to_f32(f16_from_f32(scale)) != scale)
            *exact_f16 = false;
    }
    return OK;
}
