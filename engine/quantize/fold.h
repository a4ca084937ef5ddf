// fold.h - which products of a layer read the same input, and into which tensor their scale can be folded.
//
// AWQ multiplies the columns of a product by s and divides its input by s. The division is free where it can be folded
// into the tensor that produces the input. That is a norm's weights and bias, or the rows of the previous product when
// all operations between are linear. All readers of an input then share one scale, including unquantized ones
// (routers).
// Source: Lin et al. 2023, section 3.2.
#ifndef ENGINE_QUANTIZE_FOLD_H
#define ENGINE_QUANTIZE_FOLD_H

#include "engine/backend.h"
#include "engine/load/source.h"

enum { FOLD_SITES_MAX = 6, FOLD_READERS_MAX = 8 };

// One input of a layer. Experts' down projections have one for each expert.
struct fold_site {
    enum engine_point point; // the tap point that shows it
    enum tensor_role readers[FOLD_READERS_MAX];
    int count;
    // The tensor that a scale is folded into, and its bias; T_ROLE_COUNT: no scale can be folded; no bias
    enum tensor_role target, target_bias;
};

// Writes the inputs of the quantized products of one layer, in the order of computation. Returns their number.
int fold_sites(const struct model_config *config, struct fold_site out[FOLD_SITES_MAX]);

// The number of successive rows of a role that read the same input: all, or one expert's for experts' down projections.
int fold_rows_alike(const struct model_config *config, enum tensor_role role);

// The scales of a layer's inputs. columns[role] (inputs, cols) multiplies the columns of a reader; inputs is 1, or the
// number of experts. rows[role] (rows, or elements of a vector) divides the rows of a tensor that a scale is folded
// into. NULL: ones. Borrowed.
struct fold_scales {
    const float *columns[T_ROLE_COUNT], *rows[T_ROLE_COUNT];
};
// Length of a site's scale. fold_enter sets it for the readers and for the tensor that it is folded into.
size_t fold_scale_length(const struct model_config *config, const struct fold_site *site);
void fold_enter(const struct fold_site *site, const float *scale, struct fold_scales *scales);

// The scales (cols) of the input that one row of a role reads, or NULL.
const float *fold_columns(const struct fold_scales *scales, const struct model_config *config,
                          enum tensor_role role, int row);

// Folds the scales into rows [row0, row0 + rows) of a role, in place. Row stride ld.
void fold_rows(const struct fold_scales *scales, const struct model_config *config,
               enum tensor_role role, int row0, int rows, float *data, size_t ld);

#endif
