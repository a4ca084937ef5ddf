// rows.cuh - what kernels that work row by row share: sums and maxima of a block, and storing a row's elements in
// the type the next product reads.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include "kernels/cuda/variants.h"

enum { ROW_THREADS = 256 };

// Of all threads of a block of at most 1024; every thread gets the result. The order is that of the lanes and
// warps, so it is the same every time. `space`: 32 floats of shared memory.
template <typename OP> static __device__ __forceinline__ float block_reduce(float v, float *space, OP op)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
#pragma unroll
    for (int o = 16; o; o >>= 1)
        v = op(v, __shfl_xor_sync(~0u, v, o));
    __syncthreads(); // the space may still be read
    if (lane == 0)
        space[warp] = v;
    __syncthreads();
    v = space[0];
    for (int i = 1; i < warps; i++)
        v = op(v, space[i]);
    return v;
}

struct plus {
    __device__ float operator()(float a, float b) const
    {
        return a + b;
    }
};
// Of magnitudes; a NaN stays.
struct most {
    __device__ float operator()(float a, float b) const
    {
        return a > b || a != a ? a : b;
    }
};

// One element in an activation type; int8 goes through quantize_row.
template <enum dtype T> static __device__ __forceinline__ void store_element(void *out, size_t i, float v)
{
    if constexpr (T == DT_F32)
        static_cast<float *>(out)[i] = v;
    else if constexpr (T == DT_BF16)
        static_cast<__nv_bfloat16 *>(out)[i] = __float2bfloat16_rn(v);
    else if constexpr (T == DT_F16)
        static_cast<__half *>(out)[i] = __float2half_rn(v);
    else if constexpr (T == DT_F8E4M3)
        static_cast<unsigned char *>(out)[i] = __nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3);
    else
        static_cast<signed char *>(out)[i] = (signed char)v;
}

// The rule of quant_row_rtn (kernels/quant.h): scale = max / top; 0 below 2^-100; NaN where a value is not finite.
static __device__ __forceinline__ float scale_of(float magnitude, float top)
{
    if (!(magnitude <= 3.4028235e38f))
        return __int_as_float(0x7fc00000);
    return magnitude < 0x1p-100f ? 0.0f : __fdiv_rn(magnitude, top);
}
static __device__ __forceinline__ float code_of(float v, float scale, float top)
{
    if (!(scale > 0))
        return 0;
    return fminf(fmaxf(rintf(__fdiv_rn(v, scale)), -top), top);
}

// Stores row `row` of n elements that value(i) yields, zeros up to padded; with its scale for int8, for which it
// is called twice an element. All threads of the block.
template <enum dtype T, typename VALUE>
static __device__ __forceinline__ void store_row(void *out, size_t at, float *scale, int n, int padded, float *space,
                                                 VALUE value)
{
    if constexpr (T == DT_I8) {
        float largest = 0;
        for (int i = threadIdx.x; i < n; i += blockDim.x)
            largest = most()(fabsf(value(i)), largest);
        largest = block_reduce(largest, space, most());
        const float s = scale_of(largest, 127.0f);
        if (threadIdx.x == 0)
            *scale = s;
        for (int i = threadIdx.x; i < padded; i += blockDim.x)
            store_element<T>(out, at + i, i < n ? code_of(value(i), s, 127.0f) : 0.0f);
    } else {
        for (int i = threadIdx.x; i < padded; i += blockDim.x)
            store_element<T>(out, at + i, i < n ? value(i) : 0.0f);
    }
}
