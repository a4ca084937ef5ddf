// variants.h - declares every NVIDIA launcher, from the same rows the table is made of. For kernels/cuda only.
#ifndef KERNELS_CUDA_VARIANTS_H
#define KERNELS_CUDA_VARIANTS_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CUDA(kind, op, w, x, function) cuda_##kind##_fn function;
#include "kernels/cuda/rows.def"
#undef CUDA

#ifdef __cplusplus
}
#endif

#endif
