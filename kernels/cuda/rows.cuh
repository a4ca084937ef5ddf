// rows.cuh - shared by kernels that work row by row: sums and maxima over a block, and stores of a row in the type that
// the next product reads.
#pragma once

#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include "kernels/cuda/variants.h"

enum { ROW_THREADS = 256 };

// Reduces over all threads of a block, at most 1024; every thread gets the result. Lanes, then warps, are combined as a
// tree, so the result is always the same. op(v, 0) must be v. `space`: 32 floats of shared memory.
template <typename OP> static __device__ __forceinline__ float block_reduce(float v, float *space, OP op)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
#pragma unroll
    for (int o = 16; o; o >>= 1)
        v = op(v, __shfl_xor_sync(~0u, v, o));
    __syncthreads(); // other threads may still read the space
    if (lane == 0)
        space[warp] = v;
    __syncthreads();
    v = lane < warps ? space[lane] : 0;
#pragma unroll
    for (int o = 16; o; o >>= 1)
        v = op(v, __shfl_xor_sync(~0u, v, o));
    return v;
}

struct plus {
    __device__ float operator()(float a, float b) const
    {
        return a + b;
    }
};
// The maximum of magnitudes. A NaN stays a NaN.
struct most {
    __device__ float operator()(float a, float b) const
    {
        return a > b || a != a ? a : b;
    }
};

// Stores one element in an activation type. Values of codes have been divided by their scale.
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

// The rule of quant_row_rtn (kernels/quant.h): scale = max / top, 0 below 2^-100, NaN where a value is not finite.
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

// Whether a type's rows are codes with a scale, and the largest code.
static constexpr CUDA_BOTH bool type_is_coded(enum dtype type)
{
    return type == DT_I8 || type == DT_F8E4M3;
}
static constexpr CUDA_BOTH float top_of(enum dtype type)
{
    return type == DT_I8 ? 127.0f : 448.0f;
}
// The value to store for v: a code of int8, or a number that store_element rounds to e4m3.
template <enum dtype T> static __device__ __forceinline__ float coded(float v, float scale)
{
    if constexpr (T == DT_I8)
        return code_of(v, scale, top_of(T));
    return scale > 0 ? __fdiv_rn(v, scale) : 0.0f;
}

static __device__ __forceinline__ float activated(enum kernel_op op, float x)
{
    switch (op) {
    case KOP_GELU:
        return x * normcdff(x);
    case KOP_GELU_TANH:
        // x (1 + tanh(z)) / 2 = x / (1 + exp(-2 z)): 1 + tanh(z) would lose all digits far below zero.
        return x / (1.0f + expf(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
    case KOP_RELU:
        return fmaxf(x, 0.0f);
    default:
        return x / (1.0f + expf(-x));
    }
}

// The largest of a cluster's magnitudes, one of each block, which all its threads have; from sm_90 on.
static __device__ __forceinline__ float cluster_most(float v)
{
#if __CUDA_ARCH__ >= 900
    __shared__ float of_block;
    const cooperative_groups::cluster_group cluster = cooperative_groups::this_cluster();
    if (threadIdx.x == 0)
        of_block = v;
    cluster.sync();
    for (unsigned r = 0; r < cluster.num_blocks(); r++)
        v = most()(*cluster.map_shared_rank(&of_block, r), v);
    cluster.sync(); // no block ends while its value is read
#endif
    return v;
}

// ---- quads: four elements of a row, the unit in which a thread reads and writes ----------------------------

// Loads elements 4 q .. 4 q + 3 of a row of n, with zeros from n on. aligned: the row begins at a multiple of 16 bytes.
static __device__ __forceinline__ float4 load_quad(const float *row, int q, int n, bool aligned)
{
    const int i = 4 * q;
    if (aligned && i + 4 <= n)
        return __ldcg(reinterpret_cast<const float4 *>(row + i));
    return make_float4(i < n ? __ldcg(row + i) : 0, i + 1 < n ? __ldcg(row + i + 1) : 0,
                       i + 2 < n ? __ldcg(row + i + 2) : 0, i + 3 < n ? __ldcg(row + i + 3) : 0);
}
static __device__ __forceinline__ bool quads_aligned(const float *row)
{
    return reinterpret_cast<size_t>(row) % 16 == 0;
}

// The destination of a row: row `row` of `rows`.
struct row_out {
    void *out;
    enum cuda_order order;
    int row, rows, n, padded;
    size_t ldo;
};
static __device__ __forceinline__ int row_quads(const row_out &to)
{
    return (to.padded + 3) / 4;
}

// Packs two 16-bit elements into one word.
template <enum dtype T> static __device__ __forceinline__ uint32_t pack_pair(float a, float b)
{
    __align__(4) unsigned char bytes[4];
    store_element<T>(bytes, 0, a);
    store_element<T>(bytes, 1, b);
    return *(const uint32_t *)bytes;
}

// Stores elements 4 q .. 4 q + 3 in the row's order (pack.h): one word in a line of codes, or one word in each of two
// neighbouring lines of 16-bit elements. Elements from n on become zero.
template <enum dtype T> static __device__ __forceinline__ void store_quad(const row_out &to, int q, const float4 &v)
{
    const int i = 4 * q;
    const float of[4] = {i < to.n ? v.x : 0, i + 1 < to.n ? v.y : 0, i + 2 < to.n ? v.z : 0, i + 3 < to.n ? v.w : 0};
    if (T == DT_F32 || to.order == CUDA_ROWS) {
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (i + j < to.padded)
                store_element<T>(to.out, (size_t)to.row * to.ldo + i + j, of[j]);
        return;
    }
    const bool nibbles = to.order == CUDA_NIBBLES;
    const int line = type_is_coded(T) ? q % 4 : nibbles ? q / 8 % 2 * 4 + q % 2 * 2 : q % 4 * 2;
    const int word = nibbles ? q / 2 % 4 : q / 4 % 4;
    char *at = (char *)to.out + cuda_line_at(to.order, to.rows, to.row, i / CUDA_BLOCK_COLS, line) + word * 4;
    if constexpr (type_is_coded(T)) {
        __align__(4) unsigned char bytes[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            store_element<T>(bytes, j, of[j]);
        *(uint32_t *)at = *(const uint32_t *)bytes;
    } else if constexpr (T != DT_F32) {
        *(uint32_t *)at = pack_pair<T>(of[0], of[nibbles ? 2 : 1]);
        *(uint32_t *)(at + CUDA_GROUP_TOKENS * 16) = pack_pair<T>(of[nibbles ? 1 : 2], of[3]);
    }
}

// The quads of a row that belong to one thread of its block, or of its blocks along y. KEPT of them stay in registers;
// others are loaded each time.
template <int KEPT, typename LOAD> struct thread_quads {
    LOAD load;
    float4 v[KEPT];
    int count, first, step;

    __device__ __forceinline__ thread_quads(int count, LOAD load) : load(load), count(count)
    {
        first = blockIdx.y * blockDim.x + threadIdx.x;
        step = gridDim.y * blockDim.x;
#pragma unroll
        for (int k = 0; k < KEPT; k++)
            v[k] = first + k * step < count ? load(first + k * step) : make_float4(0, 0, 0, 0);
    }
    // Calls use(q, k, v) for each quad. k is the number of a kept quad, KEPT for others.
    template <typename USE> __device__ __forceinline__ void each(USE use)
    {
#pragma unroll
        for (int k = 0; k < KEPT; k++) {
            const int q = first + k * step;
            if (q < count)
                use(q, k, v[k]);
        }
        for (int q = first + KEPT * step; q < count; q += step)
            use(q, KEPT, load(q));
    }
};

// Stores a row in its type, with the scale of codes. value(q, k, v) returns the elements to store for a quad of `row`;
// its values from n on do not matter. Called by all threads of the block, or of the cluster of blocks along y.
template <enum dtype T, int KEPT, typename LOAD, typename VALUE>
static __device__ __forceinline__ void store_row(const row_out &to, float *scale, float *space,
                                                 thread_quads<KEPT, LOAD> &row, VALUE value)
{
    if constexpr (type_is_coded(T)) {
        float largest = 0;
        row.each([&](int q, int k, const float4 &v) {
            const float4 of = value(q, k, v);
            const int left = to.n - 4 * q;
            largest = left > 0 ? most()(fabsf(of.x), largest) : largest;
            largest = left > 1 ? most()(fabsf(of.y), largest) : largest;
            largest = left > 2 ? most()(fabsf(of.z), largest) : largest;
            largest = left > 3 ? most()(fabsf(of.w), largest) : largest;
        });
        largest = block_reduce(largest, space, most());
        if (gridDim.y > 1)
            largest = cluster_most(largest);
        const float s = scale_of(largest, top_of(T));
        if (threadIdx.x == 0 && blockIdx.y == 0)
            *scale = s;
        row.each([&](int q, int k, const float4 &v) {
            const float4 of = value(q, k, v);
            store_quad<T>(to, q,
                          make_float4(coded<T>(of.x, s), coded<T>(of.y, s), coded<T>(of.z, s), coded<T>(of.w, s)));
        });
    } else {
        row.each([&](int q, int k, const float4 &v) { store_quad<T>(to, q, value(q, k, v)); });
    }
}
