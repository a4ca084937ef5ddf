// variants.h - declares every kernel function, from the rows that also make up the registry.
//
// For the files inside kernels/ only; all other code uses kernel_find(). A row is one line of a rows.def file. In
// KERNEL(kind, op, w, x, isa, function), `kind` names the member of kernel_fn. PRODUCT has the columns of a linear
// layer: layout of the weights, tile, and the most tokens it is used for. The columns are also constants in the
// function's own file (LINEAR_SHAPE), so that a tile is written only once.
#ifndef KERNELS_VARIANTS_H
#define KERNELS_VARIANTS_H

#include "kernels/kernels.h"

#define PRODUCT(op, w, x, layout, panels, tokens, streamed, most, isa, function)                   \
    k_linear_fn function;                                                                          \
    enum {                                                                                         \
        function##_w = (w),                                                                        \
        function##_x = (x),                                                                        \
        function##_panels = (panels),                                                              \
        function##_tokens = (tokens),                                                              \
        function##_streamed = (streamed),                                                          \
    };
#define KERNEL(kind, op, w, x, isa, function) k_##kind##_fn function;
#include "kernels/ref/rows.def"
#include "kernels/x86/rows.def"
#include "kernels/arm/rows.def"
#undef PRODUCT
#undef KERNEL

#endif
