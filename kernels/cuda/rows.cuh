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

// One line of 16 bytes of a row in the order of a product's inputs (pack.h): line `line` of block `block`, of the
// elements that element(i) yields, zeros from n on.
template <enum dtype T, typename ELEMENT>
static __device__ __forceinline__ void store_line(void *out, enum cuda_order order, int tokens, int token, int block,
                                                  int line, int n, ELEMENT element)
{
    enum { EACH = T == DT_I8 ? 16 : 8 };
    __align__(16) unsigned char bytes[16];
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const int col = block * CUDA_BLOCK_COLS + cuda_line_col(order, line, i);
        store_element<T>(bytes, i, col < n ? element(col) : 0.0f);
    }
    *(uint4 *)((char *)out + cuda_line_at(order, tokens, token, block, line)) = *(const uint4 *)bytes;
}

// Where a row goes: row `row` of `rows`.
struct row_out {
    void *out;
    enum cuda_order order;
    int row, rows, n, padded;
    size_t ldo;
};

// Stores elements [begin, end) of a row that element(i) yields, zeros from n on; begin and end are multiples of
// 64 but in CUDA_ROWS. By all threads of the block.
template <enum dtype T, typename ELEMENT>
static __device__ __forceinline__ void store_run(const row_out &to, int begin, int end, ELEMENT element)
{
    if (T == DT_F32 || to.order == CUDA_ROWS) {
        for (int i = begin + threadIdx.x; i < end; i += blockDim.x)
            store_element<T>(to.out, (size_t)to.row * to.ldo + i, i < to.n ? element(i) : 0.0f);
        return;
    }
    if constexpr (T != DT_F32) {
        const int lines = T == DT_I8 ? 4 : 8, all = end / CUDA_BLOCK_COLS * lines;
        for (int i = begin / CUDA_BLOCK_COLS * lines + threadIdx.x; i < all; i += blockDim.x)
            store_line<T>(to.out, to.order, to.rows, to.row, i / lines, i % lines, to.n, element);
    }
}

// Stores a row whose elements element(i) yields, with its scale for int8, for which it is called twice an
// element. By all threads of the block.
template <enum dtype T, typename ELEMENT>
static __device__ __forceinline__ void store_row(const row_out &to, float *scale, float *space, ELEMENT element)
{
    if constexpr (T == DT_I8) {
        float largest = 0;
        for (int i = threadIdx.x; i < to.n; i += blockDim.x)
            largest = most()(fabsf(element(i)), largest);
        largest = block_reduce(largest, space, most());
        const float s = scale_of(largest, 127.0f);
        if (threadIdx.x == 0)
            *scale = s;
        store_run<T>(to, 0, to.padded, [&](int i) { return code_of(element(i), s, 127.0f); });
    } else {
        store_run<T>(to, 0, to.padded, element);
    }
}
