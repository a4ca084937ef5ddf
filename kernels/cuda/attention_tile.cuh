// attention_tile.cuh - shared by both kernels for chunks: the rows of a block, tiles in shared memory, and the softmax.
//
// Scores of 16 rows are in the register order of mma.sync and wgmma. Lane 4 g + t of a warp holds s[4 j + c], columns 8
// j + 2 t and the next. c = 0, 1 belong to row g, and c = 2, 3 to row g + 8.
#pragma once

#include "kernels/cuda/attention.cuh"

namespace {

enum { ROWS = 128, PANEL = 64 }; // PANEL: elements in a panel's row of 128 bytes

// ---- rows ------------------------------------------------------------------------------------------------

// How tokens and heads are cut into blocks: `heads` heads of a group and ROWS / heads tokens each.
struct attention_cut {
    int heads, cuts, tokens;
};

struct row_space {
    int token[ROWS], head[ROWS], position[ROWS]; // token -1: an unused row
    float factor[ROWS];                          // f16: the divisor of the queries
};

// Tokens [from, to) of a block, which belong to one sequence. They see positions up to `last`; tiles begin at `first`.
struct run_of {
    int sequence, head, first, last, least; // least: lowest position of a token; below 0: no sequence
    int token0, from, to;
};

// The next run of the block's tokens; false after the last. A block's tokens may belong to several sequences.
__device__ __forceinline__ bool next_run(const cuda_attention &job, const attention_cut &cut, int keys, run_of &run)
{
    run.token0 = (gridDim.x - 1 - blockIdx.x) * cut.tokens;
    run.head = blockIdx.y / cut.cuts;
    run.from = run.to;
    const int tokens = min(cut.tokens, job.rows - run.token0);
    const cuda_token *token = job.tokens + run.token0;
    if (run.from >= tokens)
        return false;
    run.sequence = token[run.from].sequence;
    run.least = token[run.from].position;
    // Positions of a sequence are consecutive. If the last token's distance is the same in rows and in positions, all
    // tokens between belong to its sequence or to none.
    const cuda_token end = token[tokens - 1];
    run.to = tokens;
    if (end.sequence != run.sequence || end.position - run.least != tokens - 1 - run.from)
        for (run.to = run.from + 1; run.to < tokens && token[run.to].sequence == run.sequence;)
            run.to++;
    run.last = token[run.to - 1].position; // tokens of a sequence are in rising order
    run.first = job.window ? max(0, run.least - job.window + 1) / keys * keys : 0;
    return true;
}

__device__ __forceinline__ void fill_rows(const cuda_attention &job, const attention_cut &cut, const run_of &run,
                                          row_space &rows, int thread, int threads)
{
    const int group = job.heads / job.kv.kv_heads, part = blockIdx.y % cut.cuts * cut.heads;
    for (int r = thread; r < ROWS; r += threads) {
        const int t = r / cut.heads, h = part + r % cut.heads;
        const bool own = t >= run.from && t < run.to && h < group;
        const int position = own ? job.tokens[run.token0 + t].position : -1; // also -1 for tokens of no sequence
        rows.token[r] = position < 0 ? -1 : run.token0 + t;
        rows.head[r] = run.head * group + (own ? h : 0);
        rows.position[r] = position;
    }
}

inline attention_cut cut_of(const cuda_attention *job)
{
    const int group = job->heads / job->kv.kv_heads, heads = group < ROWS ? group : (int)ROWS;
    return {heads, (group + heads - 1) / heads, ROWS / heads};
}

// ---- shared memory ---------------------------------------------------------------------------------------

// Byte offset of element c of row r in panels of `rows` rows. Under the 128-byte swizzle, eight rows of a column lie in
// different banks.
__device__ __forceinline__ int panel_at(int rows, int r, int c)
{
    return (c / PANEL * rows + r) * 128 + ((c % PANEL / 8) ^ (r & 7)) * 16 + c % 8 * 2;
}
// Copies 16 bytes, or writes zeros.
__device__ __forceinline__ void copy_vector(uint32_t to, const void *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}

// Casts 16 codes of a 1-byte cache to bf16 and stores them from element c of row r on.
template <enum dtype KV>
__device__ __forceinline__ void store_codes(unsigned char *to, int rows, int r, int c, const uint4 &codes)
{
    uint32_t w[8];
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const uint32_t four = word_of(codes, k);
        w[2 * k] = codes_to_bf16<KV>(__byte_perm(four, 0, KV == DT_I8 ? 0x4140 : 0x1404));
        w[2 * k + 1] = codes_to_bf16<KV>(__byte_perm(four, 0, KV == DT_I8 ? 0x4342 : 0x3424));
    }
    *(uint4 *)(to + panel_at(rows, r, c)) = make_uint4(w[0], w[1], w[2], w[3]);
    *(uint4 *)(to + panel_at(rows, r, c + 8)) = make_uint4(w[4], w[5], w[6], w[7]);
}

// Loads the queries as 16-bit operands. Warp `warp` of `warps` takes every warps-th row. Rows without a token become
// zeros.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void load_queries(const cuda_attention &job, row_space &rows, unsigned char *q, int warp,
                                             int warps)
{
    enum { VECTORS = (DIMS + 127) / 128, FLIGHT = 8 / VECTORS }; // FLIGHT: rows in flight at once
    const int lane = threadIdx.x % 32, n = job.kv.head_dim;
    for (int row0 = warp; row0 < ROWS; row0 += FLIGHT * warps) {
        float4 v[FLIGHT][VECTORS];
#pragma unroll
        for (int i = 0; i < FLIGHT; i++) {
            const int r = row0 + i * warps, token = rows.token[r];
            const float *from = job.qkv + (size_t)max(token, 0) * job.ld + (size_t)rows.head[r] * n;
#pragma unroll
            for (int j = 0; j < VECTORS; j++) {
                const int c = j * 128 + lane * 4;
                v[i][j] = token >= 0 && c < n ? *(const float4 *)(from + c) : make_float4(0, 0, 0, 0);
            }
        }
#pragma unroll
        for (int i = 0; i < FLIGHT; i++) {
            const int r = row0 + i * warps;
            float factor = 1;
            if (KV == DT_F16) {
                float largest = 0;
#pragma unroll
                for (int j = 0; j < VECTORS; j++)
                    largest = fmaxf(fmaxf(largest, fmaxf(fabsf(v[i][j].x), fabsf(v[i][j].y))),
                                    fmaxf(fabsf(v[i][j].z), fabsf(v[i][j].w)));
#pragma unroll
                for (int o = 16; o; o >>= 1)
                    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, o));
                factor = power_below(largest);
            }
            if (lane == 0)
                rows.factor[r] = factor;
            const float by = 1 / factor;
#pragma unroll
            for (int j = 0; j < VECTORS; j++) {
                const int c = j * 128 + lane * 4;
                if (c < DIMS)
                    *(uint2 *)(q + panel_at(ROWS, r, c)) = make_uint2(pair_of<KV>(v[i][j].x * by, v[i][j].y * by),
                                                                      pair_of<KV>(v[i][j].z * by, v[i][j].w * by));
            }
        }
    }
}

// ---- softmax of 16 rows ----------------------------------------------------------------------------------

// For rows g and g + 8. The sum is over the lane's own columns.
struct online {
    float max[2], sum[2];
};

// The factor of each row that turns scores into exponents of 2.
__device__ __forceinline__ void score_units(const cuda_attention &job, const row_space &rows, int row0, float unit[2])
{
    const bool special = job.bias || job.softcap != 0; // then adjust scales the scores
    for (int half = 0; half < 2; half++)
        unit[half] = special ? LOG2E : job.scale * LOG2E * rows.factor[row0 + half * 8 + threadIdx.x % 32 / 4];
}

// Applies scale, bias and cap to the scores, where a model has bias or cap. It is a separate pass, because inside other
// loops its code would overflow the instruction cache.
template <int KEYS>
__device__ __forceinline__ void bias_and_cap(const cuda_attention &job, const row_space &rows, const run_of &run,
                                             int row0, int first, float (&s)[KEYS / 2])
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < KEYS / 2; i++) {
        const int r = row0 + i / 2 % 2 * 8 + g, p = min(first + i / 4 * 8 + 2 * t + i % 2, run.last);
        float v = s[i] * (job.scale * rows.factor[r]);
        if (job.bias) {
            const float *bias = job.bias + (size_t)rows.head[r] * job.bias_stride;
            v += bias[p] - bias[max(rows.position[r], 0)];
        }
        s[i] = v;
    }
    if (job.softcap != 0)
#pragma unroll
        for (int i = 0; i < KEYS / 2; i++)
            s[i] = job.softcap * tanhf(s[i] / job.softcap);
}

// Applies the scales of keys, bias, cap and mask, where there are any. k_scale: (KEYS), for 1-byte caches.
template <enum dtype KV, int KEYS>
__device__ __forceinline__ void adjust(const cuda_attention &job, const row_space &rows, const run_of &run, int row0,
                                       int first, const float *k_scale, float (&s)[KEYS / 2])
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    if (cache_bytes<KV> == 1)
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++) {
            const float2 scale = *(const float2 *)(k_scale + j * 8 + 2 * t);
            s[4 * j] *= scale.x;
            s[4 * j + 1] *= scale.y;
            s[4 * j + 2] *= scale.x;
            s[4 * j + 3] *= scale.y;
        }
    if (job.bias || job.softcap != 0)
        bias_and_cap<KEYS>(job, rows, run, row0, first, s);
    if (first + KEYS - 1 <= run.least && !job.window)
        return;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int position = rows.position[row0 + half * 8 + g];
        const int begin = job.window ? position - job.window + 1 : 0;
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int c = 0; c < 2; c++) {
                const int p = first + j * 8 + 2 * t + c;
                if (p > position || p < begin)
                    s[4 * j + 2 * half + c] = -INFINITY;
            }
    }
}

// Turns scores into weights times 2^lift and updates maxima and sums. keep: the factor of the outputs so far. Returns
// false where it is 1 in all rows of the warp.
template <enum dtype KV, int KEYS>
__device__ __forceinline__ bool weigh(const float unit[2], online &state, float (&s)[KEYS / 2], float keep[2])
{
    bool grown = false;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float before = state.max[half];
        float max = before, sum = 0;
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
            max = fmaxf(max, fmaxf(s[4 * j + 2 * half], s[4 * j + 2 * half + 1]));
        max = fmaxf(max, __shfl_xor_sync(~0u, max, 1));
        max = fmaxf(max, __shfl_xor_sync(~0u, max, 2));
        const float base = max == -INFINITY ? 0.0f : max * unit[half], below = base - weight_lift<KV>;
        keep[half] = max == before ? 1.0f : exp2_of(fmaf(before, unit[half], -base));
        grown |= max > before;
        state.max[half] = max;
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int c = 0; c < 2; c++) {
                const float v = exp2_of(fmaf(s[4 * j + 2 * half + c], unit[half], -below));
                s[4 * j + 2 * half + c] = v;
                sum += v;
            }
        state.sum[half] = fmaf(state.sum[half], keep[half], sum);
    }
    return __any_sync(~0u, grown);
}

// Packs the weights as the left operand of KEYS / 16 products. v_scale: (KEYS), for 1-byte caches.
template <enum dtype KV, int KEYS>
__device__ __forceinline__ void pack_weights(const float *v_scale, const float (&s)[KEYS / 2], uint32_t (&p)[KEYS / 4])
{
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < KEYS / 4; i++) {
        float x = s[2 * i], y = s[2 * i + 1];
        if (cache_bytes<KV> == 1) {
            x *= v_scale[i / 2 * 8 + 2 * t];
            y *= v_scale[i / 2 * 8 + 2 * t + 1];
        }
        p[i] = pair_of<KV>(x, y);
    }
}

template <int DIMS>
__device__ __forceinline__ void store_rows(const cuda_attention &job, const row_space &rows, int row0,
                                           const online &state, const float (&out)[DIMS / 2])
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int r = row0 + half * 8 + g;
        float sum = state.sum[half];
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        if (rows.token[r] < 0)
            continue;
#pragma unroll
        for (int d = 0; d < DIMS / 8; d++)
            if (d * 8 < job.kv.head_dim)
                put_pair(job, rows.token[r], rows.head[r] * job.kv.head_dim + d * 8 + 2 * t,
                         out[4 * d + 2 * half] / sum, out[4 * d + 2 * half + 1] / sum);
    }
}

} // namespace
