// grouped.c - rows of integer codes, several per word, with a scale and a zero for each group of inputs. GPTQ and
// pack-quantized share it; they differ in the places of words, scales and zeros.
#include "engine/load/quantized/layout.h"
#include "kernels/quant.h"

enum status quantized_grouped_index(const struct quant_linear *l, const char *where, bool *runs,
                                    struct error *err)
{
    const struct quant_part *index = &l->part[PART_INDEX];
    *runs = true;
    if (index->type == PART_ABSENT && !l->config->act_order)
        return OK;
    TRY(quantized_part_expect(l, PART_INDEX, 1 << PART_I32, (uint64_t)l->cols, 1, where, err));
    for (int i = 0; i < l->cols; i++) {
        uint32_t group = quantized_part_word(index, (size_t)i);
        if (group >= (uint32_t)l->scale_cols)
            return FAIL(err, ERR_FORMAT,
                        "%s: tensor %s%s: input %d is of group %d, but there are %d", where,
                        l->name, index->suffix, i, (int)group, l->scale_cols);
        *runs = *runs && group == (uint32_t)(i / l->group);
    }
    return OK;
}

// Unpacks word by word, the first code in the lowest bits; this avoids a division for each input. The last word of a
// row may hold fewer codes.
static void read_words(const struct quant_linear *l, const struct quant_grid *grid, int row,
                       uint8_t *codes, float *as_f32)
{
    unsigned bits = (unsigned)l->config->bits, mask = (1u << bits) - 1;
    int per_word = 32 / (int)bits;
    for (int word = 0, i = 0; i < l->cols; word++) {
        uint32_t packed = grid->word(l, row, (size_t)word);
        for (int k = 0; k < per_word && i < l->cols; k++, i++, packed >>= bits)
            if (codes)
                codes[i] = (uint8_t)(packed & mask);
            else
                as_f32[i] = (float)(int)(packed & mask);
    }
}

// The group of input i. Without an index, groups are runs of consecutive inputs.
static size_t group_of(const struct quant_linear *l, int i)
{
    const struct quant_part *index = &l->part[PART_INDEX];
    return index->type == PART_ABSENT ? (size_t)(i / l->group)
                                      : quantized_part_word(index, (size_t)i);
}

void quantized_grouped_row(const struct quant_linear *l, const struct quant_grid *grid, int row,
                           float *out)
{
    size_t last = SIZE_MAX;
    float scale = 0, zero = 0;
    read_words(l, grid, row, NULL, out);
    for (int i = 0; i < l->cols; i++) {
        size_t group = group_of(l, i);
        if (group != last) {
            scale = grid->scale(l, row, group);
            zero = (float)grid->zero(l, row, group);
            last = group;
        }
        out[i] = (out[i] - zero) * scale; // the difference of two small integers is exact
    }
}

void quantized_grouped_codes(const struct quant_linear *l, const struct quant_grid *grid, int row,
                             struct quant_row out)
{
    read_words(l, grid, row, out.codes, NULL);
    for (size_t g = 0; g < (size_t)l->scale_cols; g++) {
        out.scales[g] = grid->scale(l, row, g);
        out.zeros[g] = (uint8_t)grid->zero(l, row, g);
    }
}
