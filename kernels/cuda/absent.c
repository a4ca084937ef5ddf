// absent.c - stands in for the CUDA kernels in a build without nvcc: no rows, no launches.
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/library.h"

#if !HAVE_CUDA
const char *cuda_launch_error(int *code)
{
    if (code)
        *code = -1;
    return "this build has no CUDA kernels";
}

const struct cuda_library_kernels *cuda_library_kernels(void)
{
    return NULL;
}

cuda_step_fn *cuda_step_find(enum dtype w, enum dtype x)
{
    (void)w;
    (void)x;
    return NULL;
}

cuda_step_fn *cuda_step_find_stamped(enum dtype w, enum dtype x)
{
    return cuda_step_find(w, x);
}
#endif
