// awq.c - AutoAWQ's gemm layout.
//
// qweight (inputs, outputs / 8) I32: eight outputs per word; the nibbles from the lowest on are outputs
// 0, 2, 4, 6, 1, 3, 5, 7 of the eight. qzeros (groups, outputs / 8) alike, without an offset. scales (groups, outputs)
// F16. w = (code - zero) * scale. AutoAWQ rounds that product to f16; here it is exact in f32.
// Source: AutoAWQ, awq/modules/linear/gemm.py and awq/utils/packing_utils.py.
#include <stdio.h>

#include "base/json.h"
#include "engine/load/quantized/layout.h"
#include "kernels/quant.h"

enum status quantized_awq_configure(const json_t *q, const char *where, struct quant_config *config,
                                    struct checkpoint_quantization *info, struct error *err)
{
    const char *version;
    int64_t bits;
    bool zero_point;
    TRY(json_get_i64(q, where, "bits", 1, 32, &bits, err));
    if (bits != 4)
        return FAIL(err, ERR_UNSUPPORTED, "%s: awq of %lld bits is not supported (4 are)", where,
                    (long long)bits);
    TRY(json_opt_string(q, where, "version", "gemm", &version, err));
    if (!str_equal(version, "gemm") && !str_equal(version, "GEMM"))
        return FAIL(err, ERR_UNSUPPORTED, "%s: awq version '%.64s' is not supported (gemm is)",
                    where, version);
    TRY(json_opt_bool(q, where, "zero_point", true, &zero_point, err));
    if (!zero_point)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: awq without zero points is not supported (zero_point true is)", where);
    TRY(quantized_group_size(q, where, &config->group, err));
    config->layout = &quantized_awq_layout;
    config->bits = 4;
    config->strategy = QUANT_GROUP_OF;
    if (config->group > 0)
        snprintf(info->text, sizeof info->text, "AutoAWQ gemm, 4 bits, groups of %d, zero points",
                 config->group);
    else
        snprintf(info->text, sizeof info->text,
                 "AutoAWQ gemm, 4 bits, one group per row, zero points");
    return OK;
}

static enum status bind(struct quant_linear *l, const char *where, struct error *err)
{
    l->group = l->config->group > 0 && l->config->group < l->cols ? l->config->group : l->cols;
    uint64_t groups = ceil_div((uint64_t)l->cols, (uint64_t)l->group);
    uint64_t rows = (uint64_t)l->rows, words = rows / 8;
    if (l->rows % 8)
        return FAIL(err, ERR_FORMAT, "%s: %s: %d outputs are no multiple of 8, as awq needs", where,
                    l->name, l->rows);
    TRY(quantized_part_expect(l, PART_WEIGHT, 1 << PART_I32, (uint64_t)l->cols, words, where, err));
    TRY(quantized_part_expect(l, PART_ZERO, 1 << PART_I32, groups, words, where, err));
    TRY(quantized_part_expect(l, PART_SCALE, PARTS_SCALE, groups, rows, where, err));
    return quantized_part_finite(l, where, &l->exact, err);
}

// The place of output `row` in a word.
static unsigned shift_of(int row)
{
    static const unsigned char shift[8] = {0, 16, 4, 20, 8, 24, 12, 28};
    return shift[row % 8];
}

static void read_row(const struct quant_linear *l, int row, float *out)
{
    size_t words = (size_t)l->rows / 8, word = (size_t)row / 8;
    unsigned shift = shift_of(row);
    for (int begin = 0, g = 0; begin < l->cols; begin += l->group, g++) {
        int end = l->cols - begin < l->group ? l->cols : begin + l->group;
        int zero =
            (int)(quantized_part_word(&l->part[PART_ZERO], (size_t)g * words + word) >> shift & 15);
        float scale =
            quantized_part_float(&l->part[PART_SCALE], (size_t)g * (size_t)l->rows + (size_t)row);
        for (int i = begin; i < end; i++) {
            uint32_t packed = quantized_part_word(&l->part[PART_WEIGHT], (size_t)i * words + word);
            out[i] = (float)((int)(packed >> shift & 15) - zero) * scale;
        }
    }
}

static void read_codes(const struct quant_linear *l, int row, struct quant_row out)
{
    size_t words = (size_t)l->rows / 8, word = (size_t)row / 8;
    unsigned shift = shift_of(row);
    for (int i = 0; i < l->cols; i++)
        out.codes[i] =
            quantized_part_word(&l->part[PART_WEIGHT], (size_t)i * words + word) >> shift & 15;
    size_t groups = ceil_div((uint64_t)l->cols, (uint64_t)l->group);
    for (size_t g = 0; g < groups; g++) {
        out.scales[g] =
            quantized_part_float(&l->part[PART_SCALE], g * (size_t)l->rows + (size_t)row);
        out.zeros[g] = quantized_part_word(&l->part[PART_ZERO], g * words + word) >> shift & 15;
    }
}

const struct quant_layout quantized_awq_layout = {
    .suffix = {[PART_WEIGHT] = ".qweight",
               [PART_SCALE] = ".scales",
               [PART_ZERO] = ".qzeros",
               [PART_BIAS] = ".bias"},
    .bind = bind,
    .row = read_row,
    .codes = read_codes,
};
