// step_wide.cuh - the exchange of the persistent kernel's wide form: plain rows in global memory. For step_kernel.cuh
// only. step.h says why it is correct.
#pragma once

#include "kernels/cuda/step_block.cuh"

// A value of q, k or v: (tokens, rows) f32.
static __device__ __forceinline__ uint32_t *wide_qkv(const cuda_step &job, int token, int row)
{
    return job.exchange + job.slots[STEP_QKV] + (size_t)token * job.m[STEP_QKV].rows + row;
}

// A value of the residual stream.
static __device__ __forceinline__ uint32_t *wide_residual(const cuda_step &job, int token, int row)
{
    return job.exchange + job.residual + (size_t)token * job.width + row;
}

// A row of a phase's outputs: (tokens, cols) bf16.
static __device__ __forceinline__ __nv_bfloat16 *wide_row(const cuda_step &job, int phase, int token, int cols)
{
    return reinterpret_cast<__nv_bfloat16 *>(job.exchange + job.slots[phase]) + (size_t)token * cols;
}

// The sums of a token's tiles: (tokens, tiles).
static __device__ __forceinline__ step_tile_sums *wide_sums(const cuda_step &job, int phase, int token, int cols)
{
    return reinterpret_cast<step_tile_sums *>(job.exchange + job.rests[phase]) +
           (size_t)token * (cols / CUDA_TILE_ROWS);
}

// Stores element `col` of a row, and the sums of its tile. The 16 lanes of a half warp call it for a tile's elements.
// square: of the element before the norm's weight.
static __device__ __forceinline__ void store_wide(const cuda_step &job, int phase, int token, int col, int cols,
                                                  float v, float square)
{
    const uint32_t lanes = threadIdx.x & 16 ? 0xffff0000u : 0xffffu;
    const __nv_bfloat16 rounded = __float2bfloat16_rn(v);
    float largest = fabsf(__bfloat162float(rounded));
#pragma unroll
    for (int o = CUDA_TILE_ROWS / 2; o; o >>= 1) {
        square += __shfl_xor_sync(lanes, square, o);
        largest = larger(__shfl_xor_sync(lanes, largest, o), largest);
    }
    wide_row(job, phase, token, cols)[col] = rounded;
    if (col % CUDA_TILE_ROWS == 0)
        wide_sums(job, phase, token, cols)[col / CUDA_TILE_ROWS] = {square, largest};
}

// Stores an element of the residual stream, and its product with the weight of the norm that follows. The same lanes.
static __device__ __forceinline__ void store_residual(const cuda_step &job, int phase, int token, int row, float x,
                                                      float weight)
{
    *wide_residual(job, token, row) = __float_as_uint(x);
    store_wide(job, phase, token, row, job.width, x * weight, x * x);
}

// The embedding becomes the residual stream, as if a down phase had written it. The tiles go to the blocks in turn.
template <class state> static __device__ __forceinline__ void embed_wide(state &b)
{
    const cuda_step &job = b.job;
    const int all = job.width / CUDA_TILE_ROWS * job.tokens, halves = STEP_WARPS * 2;
    for (int i = blockIdx.x + b.thread / CUDA_TILE_ROWS * job.blocks; i < all; i += job.blocks * halves) {
        const int token = i % job.tokens, row = i / job.tokens * CUDA_TILE_ROWS + b.thread % CUDA_TILE_ROWS;
        store_residual(job, STEP_DOWN, token, row, job.x[(size_t)token * job.width + row], __ldg(job.attn_norm + row));
    }
    b.leave_phase();
    b.arrivals += job.blocks;
}

// Computes a row's factors from the sums of its tiles, one warp a token. Inputs are multiplied by `times` before they
// are rounded, and outputs by `factor`. The block meets before anything reads them.
template <enum dtype T, class state>
static __device__ __forceinline__ void gather_sums(const state &b, int phase, int cols, bool normed)
{
    enum { FLIGHT = 8 };
    const int token = b.warp, tiles = cols / CUDA_TILE_ROWS;
    if (token >= b.job.tokens)
        return;
    const uint32_t *sums = reinterpret_cast<const uint32_t *>(wide_sums(b.job, phase, token, cols));
    float squares = 0, largest = 0;
    for (int first = b.lane; first < tiles; first += 32 * FLIGHT) {
        uint2 of[FLIGHT];
#pragma unroll
        for (int i = 0; i < FLIGHT; i++)
            of[i] = first + 32 * i < tiles ? load_packed(sums + (first + 32 * i) * 2) : make_uint2(0, 0);
#pragma unroll
        for (int i = 0; i < FLIGHT; i++) {
            squares += __uint_as_float(of[i].x);
            largest = larger(__uint_as_float(of[i].y), largest);
        }
    }
    __syncwarp();
#pragma unroll
    for (int o = 16; o; o >>= 1) {
        squares += __shfl_xor_sync(~0u, squares, o);
        largest = larger(__shfl_xor_sync(~0u, largest, o), largest);
    }
    float factor = normed ? rsqrtf(__fdividef(squares, (float)b.job.width) + b.job.eps) : 1.0f, times = 1;
    if (T == DT_I8) {
        const float scale = scale_of(largest * factor, top_of(DT_I8));
        times = scale > 0 ? __fdividef(factor, scale) : 0.0f;
        factor = scale;
    } else if (T == DT_F8E4M3) { // f16 of less than 2^14
        const int exponent = (int)(__float_as_uint(largest) >> 23);
        times = part_inverse(exponent);
        factor *= part_scale(exponent);
    }
    if (b.lane == 0) {
        b.s.times[token] = times;
        b.s.factor[token] = factor;
    }
}
