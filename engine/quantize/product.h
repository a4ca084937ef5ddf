// product.h - what quantization makes of the products of one layer: scaled, cut, rounded.
//
// A row w of a product becomes Q(cut(w * s / t)): s scales its inputs, t its output where the next product's
// scale was folded in (fold.h), and cut() clamps each group to a share of its range, which trades the
// error of few large weights for a finer step of all others.
#ifndef ENGINE_QUANTIZE_PRODUCT_H
#define ENGINE_QUANTIZE_PRODUCT_H

#include "engine/quantize/fold.h"
#include "engine/quantize/moments.h"
#include "kernels/quant.h"

// Cut k leaves 1 - k * CUT_STEP of a group's least and of its largest weight; 0 cuts nothing.
enum { CUTS = 20 };
#define CUT_STEP 0.025f

struct layer_state {
    const struct model_config *config; // borrowed: of the model
    int group;
    struct fold_scales scales;
    bool quantized[T_ROLE_COUNT]; // the others stay as they are read
    uint8_t *cuts[T_ROLE_COUNT];  // (rows, groups); NULL: nothing is cut
    // Where set, cuts (not NULL then) are not read but written, as rows are made: for each group the one with
    // the least error of the group's output; and with room for changes, looked at again with what the
    // row's other groups do to the product's output. Of experts' down projections: moments of one expert's
    // input, and only that expert's rows may be made.
    const struct moments *search[T_ROLE_COUNT];
    float *changes[T_ROLE_COUNT]; // (rows alike, changes_ld(cols)), 64-byte aligned, or NULL
};

static inline size_t changes_ld(int cols)
{
    return ((size_t)cols + 15) / 16 * 16;
}

// Rows [row0, row0 + rows) of a role, in place, to what the quantized product multiplies its unscaled
// inputs with: rounded, expanded, and the scales taken out again. Thread-safe for disjoint rows.
void layer_state_apply(const struct layer_state *state, enum tensor_role role, int row0, int rows,
                       float *data, size_t ld);

// The same rows as codes: data is left folded and cut. out: one for each row.
void layer_state_codes(const struct layer_state *state, enum tensor_role role, int row0, int rows,
                       float *data, size_t ld, const struct quant_row *out);

#endif
