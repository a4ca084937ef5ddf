// step.cu - the launchers of the persistent decode step.
#include "kernels/cuda/step_kernel.cuh"

extern "C" cuda_step_fn *cuda_step_find(enum dtype w, enum dtype x)
{
    return find_step<false>(w, x);
}
