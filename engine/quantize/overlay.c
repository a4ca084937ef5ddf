// overlay.c - a source that reads layers from a folder written by role, and the rest from another source.
#include "engine/quantize/overlay.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/fp.h"
#include "kernels/quant.h"

struct overlay {
    struct targets plan;
};

// A row of a target's part, row_bytes long.
static const uint8_t *part_row(const struct overlay *o, const struct target *t, enum part part,
                               int row, size_t row_bytes)
{
    const uint8_t *data = shards_data(o->plan.shards, t->tensor[part]);
    return data + (size_t)row * row_bytes;
}

static void get_nibbles(const uint8_t *in, uint8_t *out, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = in[i / 2] >> 4 * (i % 2) & 15;
}

static void overlay_read_codes(const void *self, enum tensor_role role, int layer, int row,
                               struct quant_row out)
{
    const struct overlay *o = self;
    int stored;
    const struct target *t = targets_find(&o->plan, role, layer, row, &stored);
    int groups = quant_groups(DT_I4, t->cols, o->plan.output.group);
    const uint8_t *scales = part_row(o, t, PART_SCALES, stored, (size_t)groups * 2);
    get_nibbles(part_row(o, t, PART_CODES, stored, nibble_bytes(t->cols)), out.codes, t->cols);
    get_nibbles(part_row(o, t, PART_ZEROS, stored, nibble_bytes(groups)), out.zeros, groups);
    for (int g = 0; g < groups; g++)
        out.scales[g] = f16_to_f32((uint16_t)(scales[2 * g] | scales[2 * g + 1] << 8));
}

// (code - zero) scale, straight from the file.
static void read_product_row(const struct overlay *o, const struct target *t, int row, float *out)
{
    int group = o->plan.output.group, groups = quant_groups(DT_I4, t->cols, group);
    const uint8_t *codes = part_row(o, t, PART_CODES, row, nibble_bytes(t->cols));
    const uint8_t *zeros = part_row(o, t, PART_ZEROS, row, nibble_bytes(groups));
    const uint8_t *scales = part_row(o, t, PART_SCALES, row, (size_t)groups * 2);
    for (int i = 0; i < t->cols; i++) {
        int g = i / group;
        int zero = zeros[g / 2] >> 4 * (g % 2) & 15, code = codes[i / 2] >> 4 * (i % 2) & 15;
        float scale = f16_to_f32((uint16_t)(scales[2 * g] | scales[2 * g + 1] << 8));
        out[i] = (float)(code - zero) * scale;
    }
}

static void overlay_read_rows(const void *self, enum tensor_role role, int layer, int row0,
                              int rows, float *out, size_t ld)
{
    const struct overlay *o = self;
    const struct checkpoint *source = o->plan.source;
    int stored;
    if (layer < 0) {
        source->ops->read_rows(source->self, role, layer, row0, rows, out, ld);
        return;
    }
    for (int r = 0; r < rows; r++) {
        const struct target *t = targets_find(&o->plan, role, layer, row0 + r, &stored);
        size_t row_bytes = (size_t)t->cols * sizeof(float);
        if (t->quantized)
            read_product_row(o, t, stored, out + (size_t)r * ld);
        else
            memcpy(out + (size_t)r * ld, part_row(o, t, PART_CODES, stored, row_bytes), row_bytes);
    }
}

static void overlay_release(const void *self, enum tensor_role role, int layer, int row0, int rows)
{
    const struct overlay *o = self;
    const struct checkpoint *source = o->plan.source;
    int stored;
    if (layer < 0) {
        if (source->ops->release)
            source->ops->release(source->self, role, layer, row0, rows);
        return;
    }
    const struct target *t = targets_find(&o->plan, role, layer, row0, &stored);
    if (t->quantized) {
        size_t row_bytes = nibble_bytes(t->cols);
        file_map_release(part_row(o, t, PART_CODES, stored, row_bytes),
                         part_row(o, t, PART_CODES, stored + rows, row_bytes));
    }
}

static enum dtype overlay_stored_type(const void *self, enum tensor_role role, int layer)
{
    const struct checkpoint *source = ((const struct overlay *)self)->plan.source;
    return layer < 0 ? source->ops->stored_type(source->self, role, layer) : DT_F32;
}

static bool overlay_stored_form(const void *self, enum tensor_role role, int layer,
                                struct stored_form *out)
{
    const struct overlay *o = self;
    const struct checkpoint *source = o->plan.source;
    if (layer < 0)
        return source->ops->stored_form && source->ops->stored_form(source->self, role, layer, out);
    if (!tensor_role_is_product(role))
        return false;
    struct tensor_shape shape = tensor_shape(&source->config, role);
    int groups = quant_groups(DT_I4, shape.cols, o->plan.output.group);
    size_t row_bytes = nibble_bytes(shape.cols) + nibble_bytes(groups) + 2 * (size_t)groups;
    *out = (struct stored_form){"awq int4", (uint64_t)shape.rows * row_bytes};
    return true;
}

static bool overlay_quantization(const void *self, enum tensor_role role, int layer,
                                 struct stored_quant *out)
{
    const struct overlay *o = self;
    *out = (struct stored_quant){.type = DT_I4, .group = o->plan.output.group};
    return layer >= 0 && tensor_role_is_product(role);
}

static enum status overlay_content_hash(const void *self, char hex[65], struct error *err)
{
    (void)self, (void)hex;
    return FAIL(err, ERR_INTERNAL, "a calibrated model has the hash of its source");
}

static enum status overlay_tokenizer(const void *self, struct tokenizer **out, struct error *err)
{
    return checkpoint_tokenizer(((const struct overlay *)self)->plan.source, out, err);
}

static void overlay_destroy(void *self)
{
    struct overlay *o = self;
    targets_fini(&o->plan);
    free(o);
}

static const struct source_ops overlay_ops = {
    .format = "calibrated",
    .read_rows = overlay_read_rows,
    .release = overlay_release,
    .stored_type = overlay_stored_type,
    .stored_form = overlay_stored_form,
    .quantization = overlay_quantization,
    .read_codes = overlay_read_codes,
    .content_hash = overlay_content_hash,
    .tokenizer = overlay_tokenizer,
    .destroy = overlay_destroy,
};

enum status overlay_open(const struct checkpoint *source, const struct quant_output *output,
                         const char *dir, struct checkpoint **out, struct error *err)
{
    assert(output->by_role && output->type == DT_I4 && output->plain == DT_F32);
    struct checkpoint *ck = calloc(1, sizeof *ck);
    struct overlay *o = calloc(1, sizeof *o);
    *out = NULL;
    if (!ck || !o || !(ck->path = strdup(source->path))) {
        free(ck);
        free(o);
        return FAIL(err, ERR_NOMEM, "%s: no memory", dir);
    }
    ck->config = source->config;
    ck->ops = &overlay_ops;
    ck->self = o;
    if (targets_init(&o->plan, source, output, err) == OK &&
        shards_find(o->plan.shards, dir, targets_shard_bytes(&o->plan), output->made_by, err) == OK)
        *out = ck;
    else
        checkpoint_destroy(ck);
    return err->code;
}
