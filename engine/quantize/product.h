// product.h - quantizes the products of one layer: scales, cuts, rounds.
//
// A row w of a product becomes Q(cut(w * s / t)). Here s scales its inputs, and t scales its output where the next
// product's scale is folded in (fold.h). The cut clamps each group to a share of its range: few large weights lose
// accuracy, all others gain a finer step.
#ifndef ENGINE_QUANTIZE_PRODUCT_H
#define ENGINE_QUANTIZE_PRODUCT_H

#include "engine/quantize/fold.h"
#include "engine/quantize/moments.h"
#include "kernels/quant.h"

// Cut k clamps a group to 1 - k * CUT_STEP of its smallest and of its largest weight. Cut 0 clamps nothing.
enum { CUTS = 20 };
#define CUT_STEP 0.025f

struct layer_state {
    const struct model_config *config; // borrowed: of the model
    int group;
    struct fold_scales scales;
    bool quantized[T_ROLE_COUNT]; // the others stay unchanged
    uint8_t *cuts[T_ROLE_COUNT];  // (rows, groups); NULL: nothing is cut
    // Where set, cuts are not read but searched while rows are made, and written (they are not NULL then). Each group
    // gets the cut with the least error of its output. With a buffer for changes, the search then repeats with the
    // changes of the row's other groups included. For experts' down projections these are the moments of one expert's
    // input, and only that expert's rows may be made.
    const struct moments *search[T_ROLE_COUNT];
    float *changes[T_ROLE_COUNT]; // (rows alike, changes_ld(cols)), 64-byte aligned, or NULL
};

static inline size_t changes_ld(int cols)
{
    return ((size_t)cols + 15) / 16 * 16;
}

// Turns rows [row0, row0 + rows) of a role, in place, into the weights that the quantized product applies to unscaled
// inputs: rounded, expanded, scales removed. Thread-safe for disjoint rows.
void layer_state_apply(const struct layer_state *state, enum tensor_role role, int row0, int rows,
                       float *data, size_t ld);

// The same rows as codes; data is left folded and cut. out: one for each row.
void layer_state_codes(const struct layer_state *state, enum tensor_role role, int row0, int rows,
                       float *data, size_t ld, const struct quant_row *out);

#endif
