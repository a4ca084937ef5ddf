// scaled.c - codes of one byte under the plain name, with a grid of scales.
//
// weight (outputs, inputs) F8_E4M3 or I8. weight_scale or weight_scale_inv (multiplied too, despite its name) has one
// scale per tensor, per row (outputs, 1), per group of inputs (outputs, groups), or per block of outputs and inputs.
// The last blocks of both directions may be short. weight_zero_point I8, shaped like the scale. w = (code - zero)
// * scale, in f32 with one rounding, as PyTorch's float32. Scales of the inputs (input_scale, activation_scale) are not
// used: this engine scales inputs by their values.
// Source: DeepSeek-V3, inference/kernel.py (weight_dequant); compressed-tensors, quantization/lifecycle.
#include <stdio.h>
#include <string.h>

#include "base/fp.h"
#include "base/json.h"
#include "engine/load/quantized/layout.h"
#include "kernels/quant.h"

static enum status read_block(const json_t *q, const char *where, struct quant_config *config,
                              struct error *err)
{
    const json_t *block = json_object_get(q, "weight_block_size");
    config->strategy = QUANT_TENSOR;
    if (!block || json_is_null(block))
        return OK;
    json_int_t rows = json_integer_value(json_array_get(block, 0)),
               cols = json_integer_value(json_array_get(block, 1));
    if (json_array_size(block) != 2 || rows < 1 || rows > 1 << 20 || cols < 1 || cols > 1 << 20)
        return FAIL(err, ERR_FORMAT, "%s: weight_block_size: not two sizes", where);
    config->strategy = QUANT_BLOCK;
    config->block_rows = (int)rows;
    config->group = (int)cols;
    return OK;
}

enum status quantized_fp8_configure(const json_t *q, const char *where, struct quant_config *config,
                                    struct checkpoint_quantization *info, struct error *err)
{
    const char *format, *inputs;
    char scales[64] = "one scale per tensor";
    TRY(json_opt_string(q, where, "fmt", "e4m3", &format, err));
    if (!str_equal(format, "e4m3") && !str_equal(format, "float8_e4m3fn"))
        return FAIL(err, ERR_UNSUPPORTED, "%s: fp8 fmt '%.64s' is not supported (e4m3 is)", where,
                    format);
    TRY(json_opt_string(q, where, "activation_scheme", "dynamic", &inputs, err));
    if (!str_equal(inputs, "dynamic") && !str_equal(inputs, "static"))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: activation_scheme '%.64s' is not supported (static and dynamic are)",
                    where, inputs);
    TRY(read_block(q, where, config, err));
    if (config->strategy == QUANT_BLOCK)
        snprintf(scales, sizeof scales, "a scale for each block of %dx%d", config->block_rows,
                 config->group);
    config->layout = &quantized_scaled_layout;
    config->bits = 8;
    config->is_float = config->symmetric = true;
    snprintf(info->text, sizeof info->text, "FP8 E4M3, %s, %s", scales,
             str_equal(inputs, "static") ? "static input scales (not used)" : "dynamic inputs");
    return OK;
}

static bool all_zero(const struct quant_part *p)
{
    for (uint64_t i = 0; i < p->bytes; i++)
        if (p->data[i])
            return false;
    return true;
}

// The shape of the grid of scales, and the extent of each.
static void grid(struct quant_linear *l, uint64_t *rows, uint64_t *cols)
{
    const struct quant_config *c = l->config;
    l->group_rows = c->strategy == QUANT_TENSOR ? l->rows : 1;
    l->group = l->cols;
    if (c->strategy == QUANT_BLOCK)
        l->group_rows = c->block_rows;
    if ((c->strategy == QUANT_BLOCK || c->strategy == QUANT_GROUP_OF) && c->group > 0 &&
        c->group < l->cols)
        l->group = c->group;
    *rows = ceil_div((uint64_t)l->rows, (uint64_t)l->group_rows);
    *cols = ceil_div((uint64_t)l->cols, (uint64_t)l->group);
    l->scale_cols = (int)*cols;
}

static enum status bind(struct quant_linear *l, const char *where, struct error *err)
{
    struct quant_part *scale = &l->part[PART_SCALE], *zero = &l->part[PART_ZERO];
    uint64_t rows, cols;
    bool f16;
    if (scale->type == PART_ABSENT) {
        *scale = l->part[PART_SCALE_INV];
        memset(&l->part[PART_SCALE_INV], 0, sizeof *scale);
    }
    grid(l, &rows, &cols);
    TRY(quantized_part_expect(l, PART_WEIGHT, 1 << (l->config->is_float ? PART_E4M3 : PART_I8),
                              (uint64_t)l->rows, (uint64_t)l->cols, where, err));
    TRY(quantized_part_expect(l, PART_SCALE, PARTS_SCALE | 1 << PART_E8M0, rows, cols, where, err));
    TRY(quantized_part_finite(l, where, &f16, err));
    if (zero->type != PART_ABSENT && all_zero(zero))
        zero->type = PART_ABSENT;
    else if (zero->type != PART_ABSENT || !l->config->symmetric)
        TRY(quantized_part_expect(l, PART_ZERO, 1 << PART_I8, rows, cols, where, err));
    l->exact = cols == 1 && zero->type == PART_ABSENT;
    return OK;
}

static void read_row(const struct quant_linear *l, int row, float *out)
{
    const unsigned char *codes = l->part[PART_WEIGHT].data + (size_t)row * (size_t)l->cols;
    const struct quant_part *zeros = &l->part[PART_ZERO];
    size_t at = (size_t)(row / l->group_rows) * (size_t)l->scale_cols;
    for (int begin = 0; begin < l->cols; begin += l->group, at++) {
        int end = l->cols - begin < l->group ? l->cols : begin + l->group;
        float scale = quantized_part_float(&l->part[PART_SCALE], at);
        int zero = zeros->type == PART_ABSENT ? 0 : (int8_t)zeros->data[at];
        if (l->config->is_float)
            for (int i = begin; i < end; i++)
                out[i] = f8e4m3_to_f32(codes[i]) * scale;
        else
            for (int i = begin; i < end; i++)
                out[i] = (float)((int8_t)codes[i] - zero) * scale;
    }
}

static void read_codes(const struct quant_linear *l, int row, struct quant_row out)
{
    memcpy(out.codes, l->part[PART_WEIGHT].data + (size_t)row * (size_t)l->cols, (size_t)l->cols);
    out.scales[0] = quantized_part_float(&l->part[PART_SCALE], (size_t)(row / l->group_rows));
}

const struct quant_layout quantized_scaled_layout = {
    .suffix = {[PART_WEIGHT] = ".weight",
               [PART_SCALE] = ".weight_scale",
               [PART_SCALE_INV] = ".weight_scale_inv",
               [PART_ZERO] = ".weight_zero_point",
               [PART_INPUT] = ".input_scale",
               [PART_INPUT_OTHER] = ".activation_scale",
               [PART_OUTPUT] = ".output_scale",
               PARTS_OF_ATTENTION,
               [PART_BIAS] = ".bias"},
    .by_rows = true,
    .bind = bind,
    .row = read_row,
    .codes = read_codes,
};
