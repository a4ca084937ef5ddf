// launch.cu - keeps the first failed launch since the last query, and attributes of the device. Only one thread
// launches at a time: the engine's.
#include "kernels/cuda/launch.cuh"

#include "kernels/cuda/cuda.h"

static cudaError_t first_error = cudaSuccess;

void cuda_launched(void)
{
    cudaError_t error = cudaGetLastError();
    if (first_error == cudaSuccess)
        first_error = error;
}

void cuda_launch_refused(void)
{
    if (first_error == cudaSuccess)
        first_error = cudaErrorInvalidConfiguration;
}

int cuda_attribute(cudaDeviceAttr attribute)
{
    static int known_device = -1, values[256];
    static bool known[256];
    int device = 0;
    cudaGetDevice(&device);
    if (device != known_device)
        for (int i = 0; i < 256; i++)
            known[i] = false;
    known_device = device;
    if (!known[attribute])
        cudaDeviceGetAttribute(&values[attribute], attribute, device);
    known[attribute] = true;
    return values[attribute];
}

extern "C" const char *cuda_launch_error(int *code)
{
    cudaError_t error = first_error;
    first_error = cudaSuccess;
    if (code)
        *code = (int)error;
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}
