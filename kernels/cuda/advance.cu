// advance.cu - the end of a step: hands its results to the host and makes the drawn ids the next step's input.
//
// The host polls the number of a slot. It is written last, behind a fence of system scope, so that the host sees the
// rest of the slot once it sees the number.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/variants.h"

namespace {

enum { THREADS = 128 };

__global__ void __launch_bounds__(THREADS) k_advance(const cuda_advance job)
{
    const uint64_t number = *job.number;
    const int slot = (int)(number % (uint64_t)job.slots);
    for (int i = threadIdx.x; i < job.rows; i += THREADS)
        job.ring_ids[(size_t)slot * job.ld + i] = job.drawn[i];
    for (int i = threadIdx.x; i < job.next; i += THREADS) {
        job.ids[i] = job.drawn[i] < 0 ? 0 : job.drawn[i];
        job.tokens[i].position++;
    }
    __threadfence_system();
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    uint64_t now; // the host has the ids: the step ends here
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    cuda_arrival *arrival = job.ring + slot;
    arrival->begin_ns = job.stamps[0];
    arrival->logits_ns = job.stamps[1];
    arrival->end_ns = now;
    arrival->nonfinite = *job.nonfinite;
    *job.nonfinite = 0;
    *job.number = number + 1;
    __threadfence_system();
    *(volatile uint64_t *)&arrival->number = number + 1;
}

} // namespace

extern "C" void k_advance_f32_f32_cuda(const struct cuda_advance *job, void *stream)
{
    k_advance<<<1, THREADS, 0, (cudaStream_t)stream>>>(*job);
    cuda_launched();
}
