// launch.cu - the first launch that failed since it was asked last. Launches of one thread at a time: the engine's.
#include "kernels/cuda/launch.cuh"

#include "kernels/cuda/cuda.h"

static cudaError_t first_error = cudaSuccess;

void cuda_launched(void)
{
    cudaError_t error = cudaGetLastError();
    if (first_error == cudaSuccess)
        first_error = error;
}

extern "C" const char *cuda_launch_error(void)
{
    cudaError_t error = first_error;
    first_error = cudaSuccess;
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}
