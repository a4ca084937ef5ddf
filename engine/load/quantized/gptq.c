// gptq.c - GPTQ's layout, versions 1 and 2, of 4 and 8 bits.
//
// qweight (inputs * bits / 32, outputs) I32: consecutive inputs in a word, the first in the lowest bits.
// qzeros (groups, outputs * bits / 32) I32: consecutive outputs in a word. Version 1 stores zero - 1, version 2
// (checkpoint_format gptq_v2) the zero. scales (groups, outputs). g_idx (inputs) I32: the group of each input, in any
// order with desc_act. w = (code - zero) * scale[g_idx].
// A stored 15 in version 1 (8 bits: 255) is a zero of 0 that wrapped when 1 was subtracted. It is read as 0, as in
// AutoGPTQ ((stored + 1) & mask).
// Source: AutoGPTQ, auto_gptq/nn_modules/qlinear/qlinear_cuda.py; GPTQModel, gptqmodel/utils/model.py
// (convert_gptq_v1_to_v2_format).
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "engine/load/quantized/layout.h"
#include "kernels/quant.h"

static enum status read_version(const json_t *q, const char *where, struct quant_config *config,
                                struct error *err)
{
    const char *format, *pack;
    TRY(json_opt_string(q, where, "checkpoint_format", "gptq", &format, err));
    if (!str_equal(format, "gptq") && !str_equal(format, "gptq_v2"))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: gptq checkpoint_format '%.64s' is not supported (gptq and gptq_v2 are)",
                    where, format);
    config->zero_offset = str_equal(format, "gptq");
    TRY(json_opt_string(q, where, "pack_dtype", "int32", &pack, err));
    if (!str_equal(pack, "int32"))
        return FAIL(err, ERR_UNSUPPORTED, "%s: gptq pack_dtype '%.64s' is not supported (int32 is)",
                    where, pack);
    if (json_object_size(json_object_get(q, "dynamic")) > 0)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: dynamic: a gptq checkpoint that mixes schemes by module is not supported",
                    where);
    return OK;
}

enum status quantized_gptq_configure(const json_t *q, const char *where,
                                     struct quant_config *config,
                                     struct checkpoint_quantization *info, struct error *err)
{
    int64_t bits;
    TRY(json_get_i64(q, where, "bits", 1, 32, &bits, err));
    if (bits != 4 && bits != 8)
        return FAIL(err, ERR_UNSUPPORTED, "%s: gptq of %lld bits is not supported (4 and 8 are)",
                    where, (long long)bits);
    TRY(read_version(q, where, config, err));
    TRY(json_opt_bool(q, where, "desc_act", false, &config->act_order, err));
    TRY(json_opt_bool(q, where, "sym", true, &config->symmetric, err));
    TRY(quantized_group_size(q, where, &config->group, err));
    config->layout = &quantized_gptq_layout;
    config->bits = (int)bits;
    config->strategy = QUANT_GROUP_OF;
    char group[32] = "one group per row";
    if (config->group > 0)
        snprintf(group, sizeof group, "groups of %d", config->group);
    snprintf(info->text, sizeof info->text, "GPTQ version %d, %d bits, %s, %s%s",
             config->zero_offset ? 1 : 2, config->bits, group,
             config->symmetric ? "symmetric" : "zero points",
             config->act_order ? ", activation order" : "");
    return OK;
}

static enum status bind(struct quant_linear *l, const char *where, struct error *err)
{
    uint64_t per_word = 32 / (uint64_t)l->config->bits, rows = (uint64_t)l->rows,
             cols = (uint64_t)l->cols;
    l->group = l->config->group > 0 && l->config->group < l->cols ? l->config->group : l->cols;
    uint64_t groups = ceil_div(cols, (uint64_t)l->group);
    l->scale_cols = (int)groups;
    bool runs, f16;
    if (rows % per_word || cols % per_word)
        return FAIL(err, ERR_FORMAT,
                    "%s: %s: (%d, %d) are no multiples of %llu, as gptq of %d bits needs", where,
                    l->name, l->rows, l->cols, (unsigned long long)per_word, l->config->bits);
    TRY(quantized_part_expect(l, PART_WEIGHT, 1 << PART_I32, cols / per_word, rows, where, err));
    TRY(quantized_part_expect(l, PART_ZERO, 1 << PART_I32, groups, rows / per_word, where, err));
    TRY(quantized_part_expect(l, PART_SCALE, PARTS_SCALE, groups, rows, where, err));
    TRY(quantized_part_finite(l, where, &f16, err));
    TRY(quantized_grouped_index(l, where, &runs, err));
    l->exact = l->config->bits == 4 && f16 && runs;
    return OK;
}

static uint32_t word_at(const struct quant_linear *l, int row, size_t i)
{
    return quantized_part_word(&l->part[PART_WEIGHT], i * (size_t)l->rows + (size_t)row);
}

static uint32_t zero_at(const struct quant_linear *l, int row, size_t group)
{
    unsigned bits = (unsigned)l->config->bits;
    int per_word = 32 / (int)bits;
    uint32_t word = quantized_part_word(&l->part[PART_ZERO], group * (size_t)(l->rows / per_word) +
                                                                 (size_t)(row / per_word));
    uint32_t stored = word >> bits * (unsigned)(row % per_word);
    return (stored + (uint32_t)l->config->zero_offset) & ((1u << bits) - 1);
}

static float scale_at(const struct quant_linear *l, int row, size_t group)
{
    return quantized_part_float(&l->part[PART_SCALE], group * (size_t)l->rows + (size_t)row);
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

const struct quant_layout quantized_gptq_layout = {
    .suffix = {[PART_WEIGHT] = ".qweight",
               [PART_SCALE] = ".scales",
               [PART_ZERO] = ".qzeros",
               [PART_INDEX] = ".g_idx",
               [PART_BIAS] = ".bias"},
    .bind = bind,
    .row = read_row,
    .codes = read_codes,
};
