// attention_units.cuh - how the attention of a decode step is cut into units, and how the splits of a token are merged.
// For attention_decode.cu alone.
//
// A unit is one split of the positions of one sequence, for up to 8 query heads of one KV head. Where a sequence has
// several splits, their partial results are stored. The block that finishes last merges them in rising order and resets
// the counter.
#pragma once

#include "kernels/cuda/attention.cuh"

enum { UNIT_HEADS = 8 }; // query heads of a unit, at most
enum { MOST_SPLITS = CUDA_DECODE_BLOCKS, LANE_SPLITS = MOST_SPLITS / 32 };

// ---- units -----------------------------------------------------------------------------------------------

// What all blocks of a launch share.
struct decode_grid {
    const cuda_token *tokens;
    int rows, kv_heads, group, window;
    int parts;  // units that share the heads of a group
    int heads;  // of a unit, at most
    int splits; // of a token, at most
    int slots;  // of the ring
};

// The heads, the token and the positions of a unit.
struct place {
    int token, sequence, position;
    int column; // KV head and part of its group
    int first;  // the first position that the token sees
    int begin;  // of the first split: `first` rounded down, because scales are copied 16 bytes at a time
    int split, splits, length;
};

static __device__ __forceinline__ int first_head(const decode_grid &grid, const place &at)
{
    return at.column / grid.parts * grid.group + at.column % grid.parts * UNIT_HEADS;
}
static __device__ __forceinline__ int heads_of(const decode_grid &grid, const place &at)
{
    return min((int)UNIT_HEADS, grid.group - at.column % grid.parts * UNIT_HEADS);
}
static __device__ __forceinline__ int begin_of(const place &at)
{
    return at.begin + at.split * at.length;
}
static __device__ __forceinline__ int end_of(const place &at)
{
    return min(begin_of(at) + at.length, at.position + 1);
}

static __device__ __forceinline__ void see_token(const decode_grid &grid, const cuda_token &token, place &at)
{
    at.sequence = token.sequence;
    at.position = token.position;
    at.first = grid.window ? max(0, token.position - grid.window + 1) : 0;
    at.begin = at.first & ~3;
    const int seen = at.position + 1 - at.begin;
    at.length = cuda_split_length(grid.kv_heads, seen);
    at.splits = token.position < 0 ? 0 : (seen + at.length - 1) / at.length;
}

// Finds unit `index` of all, in the order tokens, heads, splits. Returns the number of units. Called by a whole warp.
static __device__ __forceinline__ int find_unit(const decode_grid &grid, int index, place &at)
{
    const int lane = threadIdx.x % 32, columns = grid.kv_heads * grid.parts;
    int all = 0;
    for (int row = 0; row < grid.rows; row += 32) {
        const cuda_token token = row + lane < grid.rows ? grid.tokens[row + lane] : cuda_token{-1, -1};
        place mine;
        see_token(grid, token, mine);
        int end = mine.splits * columns;
#pragma unroll
        for (int o = 1; o < 32; o *= 2) {
            const int before = __shfl_up_sync(~0u, end, o);
            end += lane >= o ? before : 0;
        }
        const unsigned behind = __ballot_sync(~0u, all + end > index);
        if (index >= all && behind) {
            const int owner = __ffs(behind) - 1;
            const int begin = all + __shfl_sync(~0u, end - mine.splits * columns, owner);
            const cuda_token found = {__shfl_sync(~0u, token.sequence, owner), __shfl_sync(~0u, token.position, owner)};
            see_token(grid, found, at);
            at.token = row + owner;
            at.split = (index - begin) % at.splits;
            at.column = (index - begin) / at.splits;
            index = -1;
        }
        all += __shfl_sync(~0u, end, 31);
    }
    return all;
}

// The unit after `at`, if there is one.
static __device__ __forceinline__ void next_unit(const decode_grid &grid, place &at)
{
    if (++at.split < at.splits)
        return;
    at.split = 0;
    if (++at.column < grid.kv_heads * grid.parts)
        return;
    at.column = 0;
    while (++at.token < grid.rows) {
        const cuda_token token = grid.tokens[at.token];
        if (token.position >= 0) {
            see_token(grid, token, at);
            return;
        }
    }
}

// ---- splits ----------------------------------------------------------------------------------------------

// Weights of a head's splits, split i * 32 + lane in a lane's element i, and their sum over all. Splits that are not
// there weigh nothing.
static __device__ __forceinline__ void weigh_splits(const float2 (&outcome)[LANE_SPLITS], float (&weight)[LANE_SPLITS],
                                                    float &sum)
{
    float max = -INFINITY;
#pragma unroll
    for (int i = 0; i < LANE_SPLITS; i++)
        max = fmaxf(max, outcome[i].x);
#pragma unroll
    for (int o = 16; o; o >>= 1)
        max = fmaxf(max, __shfl_xor_sync(~0u, max, o));
    sum = 0;
#pragma unroll
    for (int i = 0; i < LANE_SPLITS; i++) {
        weight[i] = outcome[i].x == -INFINITY ? 0.0f : exp2_of(outcome[i].x - max);
        sum = fmaf(outcome[i].y, weight[i], sum);
    }
#pragma unroll
    for (int o = 16; o; o >>= 1)
        sum += __shfl_xor_sync(~0u, sum, o);
}

// Merges all splits of a token's heads in rising order, called by the block that ends last. Warp `warp` of `warps`
// takes every warps-th head. Its lanes hold the weights of the splits and 4 elements each.
static __device__ __noinline__ void merge_splits(const cuda_attention &job, int token, int head0, int heads, int splits,
                                                 int room, int warp, int warps)
{
    enum { FLIGHT = 16 }; // partial results in flight, the first of them before the weights are known
    const int lane = threadIdx.x % 32, n = job.kv.head_dim, pitch = n + 4;
    for (int head = warp; head < heads; head += warps) {
        const float *of = partial_of(job, room, 0, token, head0 + head);
        float weight[LANE_SPLITS], sum = 0;
        float2 outcome[LANE_SPLITS];
#pragma unroll
        for (int i = 0; i < LANE_SPLITS; i++) {
            outcome[i] = make_float2(-INFINITY, 0);
            if (i * 32 + lane < splits)
                outcome[i] = __ldcg((const float2 *)(of + (size_t)(i * 32 + lane) * pitch + n));
        }
        for (int e = lane * 4; e - lane * 4 < n; e += 128) {
            float4 all = make_float4(0, 0, 0, 0);
#pragma unroll
            for (int part = 0; part < MOST_SPLITS; part += FLIGHT) {
                if (part >= splits)
                    break;
                float4 v[FLIGHT];
#pragma unroll
                for (int i = 0; i < FLIGHT; i++)
                    v[i] = part + i < splits && e < n ? __ldcg((const float4 *)(of + (size_t)(part + i) * pitch + e))
                                                      : make_float4(0, 0, 0, 0);
                if (part == 0 && e == lane * 4)
                    weigh_splits(outcome, weight, sum);
#pragma unroll
                for (int i = 0; i < FLIGHT; i++) {
                    const float w = __shfl_sync(~0u, weight[part / 32], part % 32 + i);
                    all = make_float4(fmaf(v[i].x, w, all.x), fmaf(v[i].y, w, all.y), fmaf(v[i].z, w, all.z),
                                      fmaf(v[i].w, w, all.w));
                }
            }
            if (e < n) {
                const int to = (head0 + head) * n + e;
                put_pair(job, token, to, all.x / sum, all.y / sum);
                put_pair(job, token, to + 2, all.z / sum, all.w / sum);
            }
        }
    }
}

// One thread adds the units that this block has finished, up to `at` (number n of the block), to the counter of their
// token and heads. Their partial results must already be stored. Returns true if the block finished last: all partial
// results can be read, and the counter is zero again.
static __device__ __forceinline__ bool ends_last(const cuda_attention &job, const decode_grid &grid, const place &at,
                                                 int n)
{
    unsigned *counter = (unsigned *)job.partial + (size_t)at.token * job.heads + first_head(grid, at), before;
    const unsigned units = min(n, at.split) + 1;
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;" : "=r"(before) : "l"(counter), "r"(units) : "memory");
    if (before + units != (unsigned)at.splits)
        return false;
    *counter = 0;
    return true;
}
