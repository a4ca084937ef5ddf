// library.h - what products by a library need of this program's kernels: plain rows, and the end of a sum.
#ifndef KERNELS_CUDA_LIBRARY_H
#define KERNELS_CUDA_LIBRARY_H

#include "kernels/cuda/pack.h"

#ifdef __cplusplus
extern "C" {
#endif

/* rows[r][c] = the element or code of a packed matrix of 16-bit or one-byte elements; scales[r] = the scale of its
 * codes.
 * w: as in cuda_linear; rows: (layout.rows, ld) elements, ld a multiple of 16; elements from cols to ld become zero;
 * scales: (layout.rows), or NULL for a type without scales */
struct cuda_unpack {
    struct cuda_layout layout;
    const void *w;
    void *rows;
    float *scales;
    size_t ld;
};

/* y[t][r] = sums[t][r] * w_scale[r] * x_scale[t] + bias[r] (+ y[t][r] where accumulate)
 * sums: (tokens, lds) int32 where whole, else f32; may be y itself. NULL: 0, so y becomes bias (+ y)
 * bias: (rows) or NULL; y: (tokens, ldy) f32 */
struct cuda_finish {
    const void *sums;
    const float *x_scale, *w_scale, *bias;
    float *y;
    int tokens, rows;
    size_t lds, ldy;
    bool whole, accumulate;
};

// They are no rows of the registry, because they compute no operation of a model. tests/cuda/test_library.c tests them.
struct cuda_library_kernels {
    void (*unpack)(const struct cuda_unpack *job, void *stream);
    void (*finish)(const struct cuda_finish *job, void *stream);
};
// NULL: this build has no CUDA kernels.
const struct cuda_library_kernels *cuda_library_kernels(void);

#ifdef __cplusplus
}
#endif

#endif
