// gptq.c - GPTQ's layout, versions 1 and 2, of 4 and 8 bits.
//
// qweight (inputs * bits / 32, outputs) I32: consecutive inputs in a word, the first in the lowest bits.
// qzeros (groups, outputs * bits / 32) I32: consecutive outputs in a word; version 1 stores zero - 1,
// version 2 (checkpoint_format gptq_v2) the zero. scales (groups, outputs). g_idx (inputs) I32: the group
// of each input, in any order when desc_act. w = (code - zero) * scale[g_idx].
// Version 1's stored 15 (of 8 bits: 255) is a zero of 0 that wrapped when 1 was taken off, and is read so, as
// AutoGPTQ does ((stored + 1) & mask). Source: AutoGPTQ, auto_gptq/nn_modules/qlinear/qlinear_cuda.py;
// GPTQModel, gptqmodel/utils/model.py (convert_gptq_v1_to_v2_format).
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

enum status gptq_configure(const json_t *q, const char *where, struct quant_config *config,
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
    TRY(read_group_size(q, where, &config->group, err));
    config->layout = &gptq_layout;
    config->bits = (int)bits;
    config->strategy = QUANT_GROUP_OF;
    char group[32] = "one group a row";
    if (config->group > 0)
        snprintf(group, sizeof group, "groups of %d", config->group);
    snprintf(info->text, sizeof info->text, "GPTQ version %d, %d bits, %s, %s%s",
             config->zero_offset ? 1 : 2, config->bits, group,
             config->symmetric ? "symmetric" : "zero points",
             config->act_order ? ", activation order" : "");
    return OK;
}

// Group of input i. Without g_idx groups are runs of inputs.
static size_t group_of(const struct quant_linear *l, int i)
{
    const struct quant_part *index = &l->part[PART_INDEX];
    return index->type == PART_ABSENT ? (size_t)(i / l->group) : part_word(index, (size_t)i);
}

// Every index is a group; *runs: they say what one would without them.
static enum status check_index(const struct quant_linear *l, uint64_t groups, const char *where,
                               bool *runs, struct error *err)
{
    const struct quant_part *index = &l->part[PART_INDEX];
    *runs = true;
    if (index->type == PART_ABSENT && !l->config->act_order)
        return OK;
    TRY(part_expect(l, PART_INDEX, 1 << PART_I32, (uint64_t)l->cols, 1, where, err));
    for (int i = 0; i < l->cols; i++) {
        uint32_t group = part_word(index, (size_t)i);
        if (group >= groups)
            return FAIL(err, ERR_FORMAT,
                        "%s: tensor %s.g_idx: input %d is of group %d, but there "
                        "are %llu",
                        where, l->name, i, (int)group, (unsigned long long)groups);
        *runs = *runs && group == (uint32_t)(i / l->group);
    }
    return OK;
}

static enum status bind(struct quant_linear *l, const char *where, struct error *err)
{
    uint64_t per_word = 32 / (uint64_t)l->config->bits, rows = (uint64_t)l->rows,
             cols = (uint64_t)l->cols;
    l->group = l->config->group > 0 && l->config->group < l->cols ? l->config->group : l->cols;
    uint64_t groups = ceil_div(cols, (uint64_t)l->group);
    bool runs, f16;
    if (rows % per_word || cols % per_word)
        return FAIL(err, ERR_FORMAT,
                    "%s: %s: (%d, %d) are no multiples of %llu, as gptq of %d bits needs", where,
                    l->name, l->rows, l->cols, (unsigned long long)per_word, l->config->bits);
    TRY(part_expect(l, PART_WEIGHT, 1 << PART_I32, cols / per_word, rows, where, err));
    TRY(part_expect(l, PART_ZERO, 1 << PART_I32, groups, rows / per_word, where, err));
    TRY(part_expect(l, PART_SCALE, PARTS_SCALE, groups, rows, where, err));
    TRY(part_finite(l, where, &f16, err));
    TRY(check_index(l, groups, where, &runs, err));
    l->exact = l->config->bits == 4 && f16 && runs;
    return OK;
}

// Codes of one word after another: bits and words are loop constants, which a division an input is not.
static void read_words(const struct quant_linear *l, int row, uint8_t *codes, float *as_f32)
{
    unsigned bits = (unsigned)l->config->bits, mask = (1u << bits) - 1;
    int per_word = 32 / (int)bits;
    for (int word = 0, i = 0; i < l->cols; word++) {
        uint32_t packed =
            part_word(&l->part[PART_WEIGHT], (size_t)word * (size_t)l->rows + (size_t)row);
        for (int k = 0; k < per_word; k++, i++, packed >>= bits)
            if (codes)
                codes[i] = (uint8_t)(packed & mask);
            else
                as_f32[i] = (float)(int)(packed & mask);
    }
}

static uint32_t zero_at(const struct quant_linear *l, int row, size_t group)
{
    unsigned bits = (unsigned)l->config->bits;
    int per_word = 32 / (int)bits;
    uint32_t word = part_word(&l->part[PART_ZERO],
                              group * (size_t)(l->rows / per_word) + (size_t)(row / per_word));
    uint32_t stored = word >> bits * (unsigned)(row % per_word);
    return (stored + (uint32_t)l->config->zero_offset) & ((1u << bits) - 1);
}

static float scale_at(const struct quant_linear *l, int row, size_t group)
{
    return part_float(&l->part[PART_SCALE], group * (size_t)l->rows + (size_t)row);
}

static void read_row(const struct quant_linear *l, int row, float *out)
{
    size_t last = SIZE_MAX;
    float scale = 0, zero = 0;
    read_words(l, row, NULL, out);
    for (int i = 0; i < l->cols; i++) {
        size_t group = group_of(l, i);
        if (group != last) {
            scale = scale_at(l, row, group);
            zero = (float)zero_at(l, row, group);
            last = group;
        }
        out[i] = (out[i] - zero) * scale; // the difference of two small integers is exact
    }
}

static void read_codes(const struct quant_linear *l, int row, struct quant_row out)
{
    read_words(l, row, out.codes, NULL);
    size_t groups = ceil_div((uint64_t)l->cols, (uint64_t)l->group);
    for (size_t g = 0; g < groups; g++) {
        out.scales[g] = scale_at(l, row, g);
        out.zeros[g] = (uint8_t)zero_at(l, row, g);
    }
}

const struct quant_layout gptq_layout = {
    .suffix = {[PART_WEIGHT] = ".qweight",
               [PART_SCALE] = ".scales",
               [PART_ZERO] = ".qzeros",
               [PART_INDEX] = ".g_idx",
               [PART_BIAS] = ".bias"},
    .bind = bind,
    .row = read_row,
    .codes = read_codes,
};
