// stream.cu - bandwidth probes and the device's own clock.
//
// Reading has eight independent 16-byte loads in flight a thread; the grid is a few blocks a multiprocessor that
// walk the array together, so that neighbours read neighbouring lines.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/variants.h"

namespace {

enum { THREADS = 512, BLOCKS_EACH = 4, FLIGHT = 8 };

__global__ void __launch_bounds__(THREADS) k_read(const uint4 *a, size_t n, uint32_t *sink)
{
    const size_t step = (size_t)gridDim.x * THREADS;
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    uint32_t all = 0;
    for (; i + (FLIGHT - 1) * step < n; i += FLIGHT * step) {
        uint4 v[FLIGHT];
#pragma unroll
        for (int j = 0; j < FLIGHT; j++)
            v[j] = __ldcs(a + i + j * step);
#pragma unroll
        for (int j = 0; j < FLIGHT; j++)
            all ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    for (; i < n; i += step) {
        const uint4 v = __ldcs(a + i);
        all ^= v.x ^ v.y ^ v.z ^ v.w;
    }
    all = __reduce_xor_sync(~0u, all);
    if (threadIdx.x % 32 == 0)
        atomicXor(sink, all);
}

__global__ void __launch_bounds__(THREADS) k_copy(uint4 *dst, const uint4 *a, size_t n)
{
    const size_t step = (size_t)gridDim.x * THREADS;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += 4 * step) {
        uint4 v[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (i + j * step < n)
                v[j] = __ldcs(a + i + j * step);
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (i + j * step < n)
                __stcs(dst + i + j * step, v[j]);
    }
}

__global__ void __launch_bounds__(THREADS) k_triad(float4 *dst, const float4 *a, const float4 *b, size_t n)
{
    const size_t step = (size_t)gridDim.x * THREADS;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
        const float4 x = __ldcs(a + i), y = __ldcs(b + i);
        __stcs(dst + i, make_float4(fmaf(3.0f, y.x, x.x), fmaf(3.0f, y.y, x.y), fmaf(3.0f, y.z, x.z),
                                    fmaf(3.0f, y.w, x.w)));
    }
}

__global__ void k_stamp(uint64_t *out)
{
    uint64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    *out = now;
}

} // namespace

extern "C" void k_read_f32_f32_cuda(const struct cuda_stream *job, void *stream)
{
    k_read<<<BLOCKS_EACH * job->multiprocessors, THREADS, 0, (cudaStream_t)stream>>>((const uint4 *)job->a,
                                                                                   job->bytes / 16, job->sink);
    cuda_launched();
}

extern "C" void k_copy_f32_f32_cuda(const struct cuda_stream *job, void *stream)
{
    k_copy<<<BLOCKS_EACH * job->multiprocessors, THREADS, 0, (cudaStream_t)stream>>>((uint4 *)job->dst,
                                                                                   (const uint4 *)job->a,
                                                                                   job->bytes / 16);
    cuda_launched();
}

extern "C" void k_triad_f32_f32_cuda(const struct cuda_stream *job, void *stream)
{
    k_triad<<<BLOCKS_EACH * job->multiprocessors, THREADS, 0, (cudaStream_t)stream>>>(
        (float4 *)job->dst, (const float4 *)job->a, (const float4 *)job->b, job->bytes / 16);
    cuda_launched();
}

extern "C" void k_stamp_f32_f32_cuda(uint64_t *out, void *stream)
{
    k_stamp<<<1, 1, 0, (cudaStream_t)stream>>>(out);
    cuda_launched();
}
