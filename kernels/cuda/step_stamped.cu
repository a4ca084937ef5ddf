// step_stamped.cu - the launchers of the persistent decode step whose blocks stamp their phases.
#include "kernels/cuda/step_kernel.cuh"

extern "C" cuda_step_fn *cuda_step_find_stamped(enum dtype w, enum dtype x)
{
    return find_step<true>(w, x);
}
