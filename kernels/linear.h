// linear.h - the loops that all fast products share: panels in groups, tokens in tiles, inputs in blocks.
//
// A variant provides a tile function (panels by tokens, with the sums in registers) and the shape of its tiles.
// kernel_linear_run cuts the job into tiles. For the files inside kernels/ only.
//
// All tokens go through one group of panels before the next. After the first tile the panels come from L2, and the last
// tile prefetches the next group. So with enough tokens the arithmetic never waits for memory. With few tokens there is
// one tile per group, and the weights stream through once. From a cache, several panels run at a time, to have more
// sums in flight. From memory, one panel runs at a time: the processor's own prefetcher follows one long stream best,
// and prefetch instructions disturb it (docs/measured). Quantized weights are not cut along the inputs, because a row's
// sum is scaled once, when it is complete.
#ifndef KERNELS_LINEAR_H
#define KERNELS_LINEAR_H

#include "kernels/kernels.h"

enum { LINEAR_GROUP_BYTES = 64 }; // 16 rows of one group of inputs

// The operands of a tile function: pointers to its first panel, first token, first output.
struct linear_tile {
    const char *w, *ahead; // ahead: the same number of panels to prefetch meanwhile; NULL: none
    const char *header; // of the first panel: its scales (quant.h); no more than w for plain types
    size_t w_stride;    // bytes from panel to panel, for w, ahead and header
    const char *x;
    size_t x_stride; // bytes from token to token
    float *y;
    size_t ldy;           // elements from token to token
    const float *bias;    // of the first row, or NULL
    const float *x_scale; // of the first token, or NULL
    int groups;           // of inputs
    int quant_group;      // grouped types: inputs that share a scale
    int panels, tokens;   // at most those of the shape
    int last_rows;        // rows of the last panel that exist, 1..16
    bool accumulate;      // add to the contents of y
};

typedef void linear_tile_fn(const struct linear_tile *tile);

struct linear_shape {
    enum dtype w, x;    // types of weights and inputs
    int panels, tokens; // size of the largest tile
    int streamed;       // panels per tile when the weights stream from memory
    linear_tile_fn *tile;
};

// The shape of a function's row in rows.def, with the function that runs one tile. Needs kernels/variants.h.
#define LINEAR_SHAPE(function, run_tile)                                                           \
    {                                                                                              \
        .w = (enum dtype)function##_w, .x = (enum dtype)function##_x, .panels = function##_panels, \
        .tokens = function##_tokens, .streamed = function##_streamed, .tile = (run_tile)           \
    }

void kernel_linear_run(const struct linear_shape *shape, const struct k_linear *job, int panel0,
                       int panel1);

#endif
