// fold.h - which products of a layer read the same input, and what can take their scales.
//
// AWQ multiplies the columns of a product by s and divides its input by s. The division costs nothing
// where what makes the input can do it: a norm's weights and bias; the rows of the product before, where only
// linear things lie between. All readers of an input then share one scale, those that stay unquantized
// (routers) too. Source: Lin et al. 2023, section 3.2.
#ifndef ENGINE_QUANTIZE_FOLD_H
#define ENGINE_QUANTIZE_FOLD_H

#include "engine/backend.h"
#include "engine/load/source.h"

enum { FOLD_SITES_MAX = 6, FOLD_READERS_MAX = 8 };

// One input of a layer; of experts' down projections, one for each expert.
struct fold_site {
    enum engine_point point; // where a run shows it
    enum tensor_role readers[FOLD_READERS_MAX];
    int count;
    enum tensor_role giver, giver_bias; // T_ROLE_COUNT: nothing can take a scale; no bias
};

// The inputs of the quantized products of one layer, in the order in which they are computed; returns how
// many.
int fold_sites(const struct model_config *config, struct fold_site out[FOLD_SITES_MAX]);

// How many rows of a role, one after another, read the same input: all of them, or of experts' down
// projections those of one expert.
int fold_rows_alike(const struct model_config *config, enum tensor_role role);

// The scales of a layer's inputs: s[role] of readers (inputs, cols) multiplies columns, inputs being 1, or one
// for each expert; of givers (rows, or elements of a vector) divides rows. NULL: ones. Borrowed.
struct fold_scales {
    const float *columns[T_ROLE_COUNT], *rows[T_ROLE_COUNT];
};
// Length of a site's scale; entering it for readers and giver.
size_t fold_scale_length(const struct model_config *config, const struct fold_site *site);
void fold_enter(const struct fold_site *site, const float *scale, struct fold_scales *scales);

// The scales (cols) of what one row of a role reads, or NULL.
const float *fold_columns(const struct fold_scales *scales, const struct model_config *config,
                          enum tensor_role role, int row);

// Rows [row0, row0 + rows) of a role with its scales folded in, in place; row stride ld.
void fold_rows(const struct fold_scales *scales, const struct model_config *config,
               enum tensor_role role, int row0, int rows, float *data, size_t ld);

#endif
