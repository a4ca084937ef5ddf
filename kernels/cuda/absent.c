// absent.c - what a build without nvcc answers: it has no rows and launches nothing.
#include "kernels/cuda/cuda.h"

#if !HAVE_CUDA
const char *cuda_launch_error(int *code)
{
    if (code)
        *code = -1;
    return "this build has no CUDA kernels";
}

cuda_step_fn *cuda_step_find(enum dtype w, enum dtype x)
{
    (void)w;
    (void)x;
    return NULL;
}
#endif
