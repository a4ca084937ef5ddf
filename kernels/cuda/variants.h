// variants.h - declares every NVIDIA launcher, from the rows that also make up the registry. For kernels/cuda and the
// registry only.
#ifndef KERNELS_CUDA_VARIANTS_H
#define KERNELS_CUDA_VARIANTS_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CUDA(kind, op, w, x, isa, function) cuda_##kind##_fn function;
#include "kernels/cuda/rows.def"
#undef CUDA

#ifdef __cplusplus
}
#endif

#endif
