// packed.c - compressed-tensors' pack-quantized layout, of 4 and 8 bits.
//
// weight_packed (outputs, inputs * bits / 32 rounded up) I32: consecutive inputs in a word, the first in the
// lowest bits, each as code + 2^(bits - 1). weight_scale (outputs, groups). weight_zero_point (outputs *
// bits / 32 rounded up, groups) I32, packed along the outputs with the same offset; absent when symmetric:
// the zero is the middle. weight_shape (2): outputs and inputs. weight_g_idx (inputs) I32 as in GPTQ.
// w = (code - zero) * scale.
// Source: compressed-tensors, compressors/pack_quantized.py.
#include <string.h>

#include "engine/load/quantized/layout.h"
#include "kernels/quant.h"

static enum status check_shape(const struct quant_linear *l, const char *where, struct error *err)
{
    const struct quant_part *shape = &l->part[PART_SHAPE];
    int64_t value[2];
    if (shape->type == PART_ABSENT)
        return OK;
    TRY(quantized_part_expect(l, PART_SHAPE, 1 << PART_I64 | 1 << PART_I32, 2, 1, where, err));
    for (size_t i = 0; i < 2; i++)
        if (shape->type == PART_I32)
            value[i] = (int32_t)quantized_part_word(shape, i);
        else
            memcpy(&value[i], shape->data + 8 * i, 8);
    if (value[0] != l->rows || value[1] != l->cols)
        return FAIL(err, ERR_FORMAT,
                    "%s: tensor %s.weight_shape says (%lld, %lld), but config.json (%d, %d)", where,
                    l->name, (long long)value[0], (long long)value[1], l->rows, l->cols);
    return OK;
}

// A weight_g_idx filled with -1 is unused.
static void drop_unused_index(struct quant_linear *l)
{
    struct quant_part *index = &l->part[PART_INDEX];
    bool unused =
        !l->config->act_order && index->type == PART_I32 && index->bytes == 4 * (uint64_t)l->cols;
    for (int i = 0; i < l->cols && unused; i++)
        unused = (int32_t)quantized_part_word(index, (size_t)i) == -1;
    if (unused)
        index->type = PART_ABSENT;
}

static enum status bind(struct quant_linear *l, const char *where, struct error *err)
{
    const struct quant_config *c = l->config;
    uint64_t per_word = 32 / (uint64_t)c->bits, rows = (uint64_t)l->rows, cols = (uint64_t)l->cols;
    bool runs, f16;
    l->group =
        c->strategy == QUANT_GROUP_OF && c->group > 0 && c->group < l->cols ? c->group : l->cols;
    uint64_t groups = ceil_div(cols, (uint64_t)l->group);
    l->scale_cols = (int)groups;
    TRY(quantized_part_expect(l, PART_WEIGHT, 1 << PART_I32, rows, ceil_div(cols, per_word), where,
                              err));
    TRY(quantized_part_expect(l, PART_SCALE, PARTS_SCALE, rows, groups, where, err));
    if (!c->symmetric)
        TRY(quantized_part_expect(l, PART_ZERO, 1 << PART_I32, ceil_div(rows, per_word), groups,
                                  where, err));
    TRY(check_shape(l, where, err));
    TRY(quantized_part_finite(l, where, &f16, err));
    drop_unused_index(l);
    TRY(quantized_grouped_index(l, where, &runs, err));
    l->exact = c->bits == 4 && f16 && runs;
    return OK;
}

static uint32_t word_at(const struct quant_linear *l, int row, size_t i)
{
    const struct quant_part *codes = &l->part[PART_WEIGHT];
    return quantized_part_word(codes, (size_t)row * (size_t)codes->shape[1] + i);
}

static uint32_t zero_at(const struct quant_linear *l, int row, size_t group)
{
    unsigned bits = (unsigned)l->config->bits;
    size_t per_word = 32 / bits;
    if (l->config->symmetric)
        return 1u << (bits - 1);
    uint32_t word = quantized_part_word(&l->part[PART_ZERO],
                                        (size_t)row / per_word * (size_t)l->scale_cols + group);
    return word >> bits * (unsigned)((size_t)row % per_word) & ((1u << bits) - 1);
}

static float scale_at(const struct quant_linear *l, int row, size_t group)
{
    return quantized_part_float(&l->part[PART_SCALE], (size_t)row * (size_t)l->scale_cols + group);
}

static const struct quant_grid grid = {.word = word_at, .scale = scale_at, .zero = zero_at};

static void read_row(const struct quant_linear *l, int row, float *out)
{
    quantized_grouped_row(l, &grid, row, out);
}

static void read_codes(const struct quant_linear *l, int row, struct quant_row out)
{
    quantized_grouped_codes(l, &grid, row, out);
}

const struct quant_layout quantized_packed_layout = {
    .suffix = {[PART_WEIGHT] = ".weight_packed",
               [PART_SCALE] = ".weight_scale",
               [PART_ZERO] = ".weight_zero_point",
               [PART_INDEX] = ".weight_g_idx",
               [PART_SHAPE] = ".weight_shape",
               [PART_INPUT] = ".input_scale",
               [PART_OUTPUT] = ".output_scale",
               PARTS_OF_ATTENTION,
               [PART_BIAS] = ".bias"},
    .by_rows = true,
    .bind = bind,
    .row = read_row,
    .codes = read_codes,
};
