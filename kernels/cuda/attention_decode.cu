// attention_decode.cu - attention of a decode step on the tensor cores: one token a sequence, 2- and 1-byte caches.
//
// A unit is one split of the positions of one sequence, for up to 8 query heads of one KV head. A block takes a run of
// units. Its warps take steps of some positions in turn, a round of all warps at a time. K and V are loaded from memory
// into registers as 16-byte vectors and used as operands without reordering. The products may run over positions and
// elements in any order, as long as both operands agree. Scores are Q K^T. Its upper 8 rows are the rounded heads, and
// its lower 8 rows are what rounding removed. So a score keeps at least 16 bits at the price of a rounded one. Outputs
// are V^T P^T, which takes the scores in the order in which they lie. P is a sum of two operands as well.
//
// While a step is computed, the next one is loaded into registers and the rounds after it into the L2, also across the
// ends of units. Warps are merged through shared memory. Where a sequence has several splits, the block that ends last
// merges them, in rising order and at its own end, and resets the counter.
// Source: Dao et al. 2023 (flash decoding), Milakov and Gimelshein 2018 (online softmax)
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"

namespace {

enum { WARPS = 6, THREADS = WARPS * 32, HEADS = 8 };
enum { AHEAD = 4 };                                           // rounds that are prefetched into the L2
enum { MOST_SPLITS = CUDA_DECODE_BLOCKS, LANE_SPLITS = MOST_SPLITS / 32 };

// Lane 4 g + t holds these parts of a key: vectors t, t + 4, ... of K, and chunks g, g + 8, ... of V.
template <enum dtype KV, int DIMS> struct shape {
    static constexpr int bytes = cache_bytes<KV>;
    static constexpr int keys = DIMS == 64 ? 32 : 16; // per step
    static constexpr int tiles = keys / 8;
    static constexpr int vectors = DIMS * bytes / 64; // of K, per lane and key
    static constexpr int words = DIMS * bytes / 32 < 4 ? DIMS * bytes / 32 : 4; // per chunk of V
    static constexpr int chunks = DIMS * bytes / 32 / words;
    static constexpr int elements = words * 4 / bytes; // per chunk
    static constexpr int round = WARPS * keys;                // positions of one step of every warp
    static constexpr int blocks = DIMS <= 128 ? 2 : 1; // per multiprocessor
};

// One lane's part of a step.
template <enum dtype KV, int DIMS> struct fragment {
    typedef shape<KV, DIMS> S;
    uint32_t k[S::tiles][S::vectors][4];
    uint32_t v[S::keys / 16][4][S::chunks][S::words];
    float k_scale[S::bytes == 1 ? S::tiles * 2 : 1], v_scale[S::bytes == 1 ? S::tiles * 2 : 1];
};

// Where the K of a unit lies; its V lies one block further.
struct source {
    const unsigned char *k;
    int last; // last position that may be read
};
template <enum dtype KV> __device__ __forceinline__ int row_bytes_of(const cuda_kv &kv)
{
    return kv.head_dim * cache_bytes<KV>;
}

template <int WORDS>
__device__ __forceinline__ void load_cache(uint32_t *to, const unsigned char *from, bool there)
{
    if constexpr (WORDS == 4)
        asm volatile("{.reg .pred p; setp.ne.u32 p, %5, 0; @p ld.global.cg.v4.u32 {%0,%1,%2,%3}, [%4];}"
                     : "+r"(to[0]), "+r"(to[1]), "+r"(to[2]), "+r"(to[3])
                     : "l"(from), "r"((int)there));
    else
        asm volatile("{.reg .pred p; setp.ne.u32 p, %3, 0; @p ld.global.cg.v2.u32 {%0,%1}, [%2];}"
                     : "+r"(to[0]), "+r"(to[1])
                     : "l"(from), "r"((int)there));
}

__device__ __forceinline__ float load_scale(const unsigned char *from)
{
    float v;
    asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(v) : "l"(from));
    return v;
}

// The key, within a step, of a lane's column c (0 or 1) of tile j.
__device__ __forceinline__ int score_key(int j, int c, int t)
{
    return 8 * j + 2 * t + c;
}

// Positions beyond the last are read as the last, because their weights are zero. LATE: only the last one and those.
template <enum dtype KV, int DIMS, bool LATE = false>
__device__ __forceinline__ void load_keys(fragment<KV, DIMS> &f, const cuda_kv &kv, const source &from, int base, int g,
                                          int t)
{
    typedef shape<KV, DIMS> S;
    const int row_bytes = row_bytes_of<KV>(kv);
#pragma unroll
    for (int j = 0; j < S::tiles; j++) {
        const int key = base + 8 * j + g;
        const unsigned char *row = from.k + (unsigned)(min(key, from.last) * row_bytes + t * 16);
#pragma unroll
        for (int i = 0; i < S::vectors; i++)
            load_cache<4>(f.k[j][i], row + i * 64, i * 64 + t * 16 < row_bytes && (!LATE || key >= from.last));
    }
    if constexpr (S::bytes == 1)
#pragma unroll
        for (int i = 0; i < S::tiles * 2; i++)
            f.k_scale[i] =
                load_scale(from.k + kv.scales_offset + (unsigned)min(base + score_key(i / 2, i % 2, t), from.last) * 4);
}

template <enum dtype KV, int DIMS, bool LATE = false>
__device__ __forceinline__ void load_values(fragment<KV, DIMS> &f, const cuda_kv &kv, const source &from, int base,
                                            int g, int t)
{
    typedef shape<KV, DIMS> S;
    const int row_bytes = row_bytes_of<KV>(kv);
#pragma unroll
    for (int j = 0; j < S::keys / 16; j++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const int key = base + score_key(2 * j + r / 2, r % 2, t);
            const unsigned char *row =
                from.k + kv.block_bytes + (unsigned)(min(key, from.last) * row_bytes + g * S::words * 4);
#pragma unroll
            for (int i = 0; i < S::chunks; i++)
                load_cache<S::words>(f.v[j][r][i], row + i * S::words * 32,
                                     (g + 8 * i) * S::words * 4 < row_bytes && (!LATE || key >= from.last));
        }
    if constexpr (S::bytes == 1)
#pragma unroll
        for (int i = 0; i < S::tiles * 2; i++)
            f.v_scale[i] = load_scale(from.k + kv.block_bytes + kv.scales_offset +
                                      (unsigned)min(base + score_key(i / 2, i % 2, t), from.last) * 4);
}

// The lane's operand of tile j in step s of Q K^T, and the first of the four elements of a head that it holds.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void key_operand(const fragment<KV, DIMS> &f, int j, int s, uint32_t &b0, uint32_t &b1)
{
    if constexpr (cache_bytes<KV> == 2) {
        b0 = f.k[j][s / 2][s % 2 * 2];
        b1 = f.k[j][s / 2][s % 2 * 2 + 1];
    } else { // elements 0 and 2, 1 and 3
        const uint32_t w = f.k[j][s / 4][s % 4];
        b0 = codes_to_bf16<KV>(KV == DT_I8 ? w : w << 8);
        b1 = codes_to_bf16<KV>(KV == DT_I8 ? w >> 8 : w);
    }
}
template <enum dtype KV> __device__ __forceinline__ int key_element(int s, int t)
{
    return cache_bytes<KV> == 2 ? s / 2 * 32 + t * 8 + s % 2 * 4 : s / 4 * 64 + t * 16 + s % 4 * 4;
}

// Tile m of V^T, for 16 positions of a step. Its rows are element value_element(m) and the next one.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void value_operand(const fragment<KV, DIMS> &f, int j, int m, uint32_t a[4])
{
    typedef shape<KV, DIMS> S;
    constexpr int each = S::elements / 2;
    const int i = m / each, e = m % each * 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const uint32_t x = f.v[j][2 * half][i][e * S::bytes / 4], y = f.v[j][2 * half + 1][i][e * S::bytes / 4];
        if constexpr (S::bytes == 2) {
            a[2 * half] = __byte_perm(x, y, 0x5410);
            a[2 * half + 1] = __byte_perm(x, y, 0x7632);
        } else {
            const int pick = (KV == DT_I8 ? 0x0400 : 0x4000) + e % 4 * (KV == DT_I8 ? 0x0101 : 0x1010);
            a[2 * half] = codes_to_bf16<KV>(__byte_perm(x, y, pick));
            a[2 * half + 1] = codes_to_bf16<KV>(__byte_perm(x, y, pick + (KV == DT_I8 ? 0x0101 : 0x1010)));
        }
    }
}
template <enum dtype KV, int DIMS> __device__ __forceinline__ int value_element(int m, int g)
{
    typedef shape<KV, DIMS> S;
    constexpr int each = S::elements / 2;
    return (m / each * 8 + g) * S::elements + m % each * 2;
}

// The heads, the token and the positions of a unit.
struct place {
    int token, sequence, position;
    int kv_head, head, heads; // head: the first one; heads: their number
    int begin, end;           // positions of the split
    int split, splits;
};

// What all blocks of a launch share.
struct decode_grid {
    const cuda_token *tokens;
    int rows, kv_heads, group, window;
    int parts;  // parts that a group of heads is cut into
    int splits; // largest number of splits of a token
};

// The number of a token's splits, the first position, and the length of a split.
__device__ __forceinline__ int splits_of(const decode_grid &grid, int position, int &first, int &length)
{
    first = grid.window ? max(0, position - grid.window + 1) : 0;
    const int seen = position + 1 - first;
    length = cuda_split_length(grid.kv_heads, seen);
    return (seen + length - 1) / length;
}

// Stores the place of unit `index`, in the order tokens, heads, splits, in *to. Returns the number of units. All lanes
// of a warp call it.
__device__ __noinline__ int find_unit(decode_grid grid, int index, place *to)
{
    const int lane = threadIdx.x % 32, columns = grid.kv_heads * grid.parts;
    int all = 0;
    for (int row = 0; row < grid.rows; row += 32) {
        const cuda_token token = row + lane < grid.rows ? grid.tokens[row + lane] : cuda_token{-1, -1};
        int first, length, splits = token.position < 0 ? 0 : splits_of(grid, token.position, first, length);
        int end = splits * columns;
#pragma unroll
        for (int o = 1; o < 32; o *= 2) {
            const int before = __shfl_up_sync(~0u, end, o);
            end += lane >= o ? before : 0;
        }
        const unsigned behind = __ballot_sync(~0u, all + end > index);
        if (index >= all && behind) {
            const int owner = __ffs(behind) - 1;
            place at;
            at.sequence = __shfl_sync(~0u, token.sequence, owner);
            at.position = __shfl_sync(~0u, token.position, owner);
            const int begin = all + __shfl_sync(~0u, end - splits * columns, owner);
            at.token = row + owner;
            at.splits = splits_of(grid, at.position, first, length);
            at.split = (index - begin) % at.splits;
            const int column = (index - begin) / at.splits;
            at.kv_head = column / grid.parts;
            at.head = at.kv_head * grid.group + column % grid.parts * HEADS;
            at.heads = min((int)HEADS, grid.group - column % grid.parts * HEADS);
            at.begin = first + at.split * length;
            at.end = min(at.begin + length, at.position + 1);
            if (lane == 0)
                *to = at;
            index = -1;
        }
        all += __shfl_sync(~0u, end, 31);
    }
    return all;
}

__device__ __forceinline__ source source_of(const cuda_attention &job, const place &at)
{
    return {head_block(job.kv, at.sequence, at.kv_head, 0), at.position};
}

__device__ __forceinline__ void prefetch_bytes(const unsigned char *from, const unsigned char *to)
{
#if __CUDA_ARCH__ >= 900
    from -= (size_t)from % 16;
    const uint32_t bytes = (uint32_t)(to - from + 15) / 16 * 16;
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
#endif
}

// Prefetches positions [begin, end) of a head into the L2. Called by one thread.
template <enum dtype KV>
__device__ __forceinline__ void prefetch(const cuda_kv &kv, const unsigned char *k, int begin, int end)
{
    if (begin >= end)
        return;
    for (int values = 0; values < 2; values++, k += kv.block_bytes) {
        prefetch_bytes(k + (size_t)begin * row_bytes_of<KV>(kv), k + (size_t)end * row_bytes_of<KV>(kv));
        if (cache_bytes<KV> == 1)
            prefetch_bytes(k + kv.scales_offset + (size_t)begin * 4, k + kv.scales_offset + (size_t)end * 4);
    }
}

// Prefetches the round that is AHEAD rounds after the one at `base`, in this unit or the next.
template <enum dtype KV, int ROUND>
__device__ __forceinline__ void prefetch_ahead(const cuda_attention &job, const place &at, const place &then, bool more,
                                               int base)
{
    const int begin = base + AHEAD * ROUND, beyond = begin - (at.end - at.begin + ROUND - 1) / ROUND * ROUND - at.begin;
    if (begin < at.end)
        prefetch<KV>(job.kv, source_of(job, at).k, begin, min(begin + ROUND, at.end));
    else if (more && then.begin + beyond < then.end)
        prefetch<KV>(job.kv, source_of(job, then).k, then.begin + beyond, min(then.begin + beyond + ROUND, then.end));
}

struct running {
    float max, sum; // of head g; the sum is over the lane's own keys
};

// Applies bias and cap to the scores of a step, where a model has them. It is a separate pass, because inside other
// loops its code would overflow the instruction cache.
template <int TILES>
__device__ __forceinline__ void bias_and_cap(const cuda_attention &job, const place &at, int base, int head, int t,
                                             float (&s)[TILES][4])
{
    const float *bias = job.bias + (size_t)head * job.bias_stride;
    if (job.bias)
#pragma unroll
        for (int i = 0; i < TILES * 2; i++)
            s[i / 2][i % 2] += bias[min(base + score_key(i / 2, i % 2, t), at.position)] - bias[at.position];
    if (job.softcap != 0)
#pragma unroll
        for (int i = 0; i < TILES * 2; i++)
            s[i / 2][i % 2] = job.softcap * tanhf(s[i / 2][i % 2] / job.softcap);
}

// One step: scores from K, request the next K, weights, outputs from V, request the next V. `next`: the step of `from`
// to request, or a negative number.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void take_step(const cuda_attention &job, const place &at, const uint4 *q, float factor,
                                          fragment<KV, DIMS> &f, int base, const source &from, int next, running &row,
                                          float (&out)[DIMS / 16][4])
{
    typedef shape<KV, DIMS> S;
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float s[S::tiles][4] = {};
#pragma unroll
    for (int k = 0; k < DIMS / 16; k++) {
        const uint4 v = q[k * 32 + lane];
        const uint32_t a[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < S::tiles; j++) {
            uint32_t b0, b1;
            key_operand<KV, DIMS>(f, j, k, b0, b1);
            mma_of<KV>(s[j], a, b0, b1);
        }
    }
#pragma unroll
    for (int i = 0; i < S::tiles * 2; i++) {
        const float k_scale = S::bytes == 1 ? f.k_scale[i] : 1.0f;
        s[i / 2][i % 2] = (s[i / 2][i % 2] + s[i / 2][i % 2 + 2]) * factor * (job.scale * k_scale);
    }
    if (job.bias || job.softcap != 0)
        bias_and_cap<S::tiles>(job, at, base, at.head + min(g, at.heads - 1), t, s);
    float max = row.max;
#pragma unroll
    for (int i = 0; i < S::tiles * 2; i++) {
        float &v = s[i / 2][i % 2];
        v = base + score_key(i / 2, i % 2, t) < at.end ? v * LOG2E : -INFINITY;
        max = fmaxf(max, v);
    }
    if (next >= 0)
        load_keys<KV, DIMS>(f, job.kv, from, next, g, t);
    max = fmaxf(max, __shfl_xor_sync(~0u, max, 1));
    max = fmaxf(max, __shfl_xor_sync(~0u, max, 2));
    const float base_of = max == -INFINITY ? 0.0f : max, keep = exp2_of(row.max - base_of);
    if (__any_sync(~0u, max > row.max)) { // else every factor is 1
        const float k0 = __shfl_sync(~0u, keep, t * 8), k1 = __shfl_sync(~0u, keep, t * 8 + 4);
#pragma unroll
        for (int m = 0; m < DIMS / 16; m++) {
            out[m][0] *= k0;
            out[m][1] *= k1;
            out[m][2] *= k0;
            out[m][3] *= k1;
        }
        row.sum *= keep;
        row.max = max;
    }
    uint32_t high[S::tiles], low[S::tiles];
#pragma unroll
    for (int j = 0; j < S::tiles; j++) {
        float w[2];
#pragma unroll
        for (int c = 0; c < 2; c++) {
            w[c] = exp2_of(s[j][c] - base_of + weight_lift<KV>);
            row.sum += w[c];
            if (S::bytes == 1)
                w[c] *= f.v_scale[2 * j + c];
        }
        high[j] = pair_of<KV>(w[0], w[1]);
        low[j] = rest_of<KV>(w[0], w[1], high[j]);
    }
#pragma unroll
    for (int j = 0; j < S::keys / 16; j++)
#pragma unroll
        for (int m = 0; m < DIMS / 16; m++) {
            uint32_t a[4];
            value_operand<KV, DIMS>(f, j, m, a);
            mma_of<KV>(out[m], a, high[2 * j], high[2 * j + 1]);
            mma_of<KV>(out[m], a, low[2 * j], low[2 * j + 1]);
        }
    if (next >= 0)
        load_values<KV, DIMS>(f, job.kv, from, next, g, t);
}

template <int DIMS> struct decode_space {
    uint4 q[DIMS / 16 * 32];
    float max[2][WARPS][HEADS], sum[2][WARPS][HEADS]; // for even and odd units
    float factor[HEADS];
    float out[WARPS][HEADS][DIMS + 4];
    place places[4]; // of consecutive units
};

// Powers of two that scale each head's largest query to near 1, so that f16 can hold it.
template <int DIMS>
__device__ void find_factors(const cuda_attention &job, const place &at, decode_space<DIMS> &s)
{
    const int lane = threadIdx.x % 32, n = job.kv.head_dim;
    for (int head = threadIdx.x / 32; head < HEADS; head += WARPS) {
        const float *q = job.qkv + (size_t)at.token * job.ld + (size_t)(at.head + min(head, at.heads - 1)) * n;
        float largest = 0;
        for (int i = lane; i < n; i += 32)
            largest = fmaxf(largest, fabsf(q[i]));
#pragma unroll
        for (int o = 16; o; o >>= 1)
            largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, o));
        if (lane == 0)
            s.factor[head] = power_below(largest);
    }
    __syncthreads();
}

// Loads the queries as operands for every step.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void load_queries(const cuda_attention &job, const place &at, decode_space<DIMS> &s)
{
    const int n = job.kv.head_dim;
    if (KV == DT_F16)
        find_factors<DIMS>(job, at, s);
    for (int i = threadIdx.x; i < DIMS / 16 * 32; i += THREADS) {
        const int g = i % 32 / 4, e = key_element<KV>(i / 32, i % 4);
        float4 v = make_float4(0, 0, 0, 0);
        if (g < at.heads && e < n)
            v = *(const float4 *)(job.qkv + (size_t)at.token * job.ld + (size_t)(at.head + g) * n + e);
        if (KV == DT_F16) {
            const float by = 1 / s.factor[g];
            v = make_float4(v.x * by, v.y * by, v.z * by, v.w * by);
        }
        if (cache_bytes<KV> == 1) {
            const float y = v.y;
            v.y = v.z;
            v.z = y;
        }
        const uint32_t a = pair_of<KV>(v.x, v.y), b = pair_of<KV>(v.z, v.w);
        s.q[i] = make_uint4(a, rest_of<KV>(v.x, v.y, a), b, rest_of<KV>(v.z, v.w, b));
    }
    __syncthreads();
}

// Stores the outputs of all warps, scaled to a common maximum, in shared memory. Then calls value(head, element, sum
// over warps) once for each element.
template <enum dtype KV, int DIMS, typename PUT>
__device__ __forceinline__ void merge_warps(const place &at, int n, int odd, decode_space<DIMS> &s, running row,
                                            float (&out)[DIMS / 16][4], PUT put)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    row.sum += __shfl_xor_sync(~0u, row.sum, 1);
    row.sum += __shfl_xor_sync(~0u, row.sum, 2);
    if (t == 0) {
        s.max[odd][warp][g] = row.max;
        s.sum[odd][warp][g] = row.sum;
    }
    __syncthreads();
    float scale[2];
#pragma unroll
    for (int c = 0; c < 2; c++) {
        float max = s.max[odd][0][2 * t + c];
#pragma unroll
        for (int w = 1; w < WARPS; w++)
            max = fmaxf(max, s.max[odd][w][2 * t + c]);
        scale[c] = max == -INFINITY ? 1.0f : exp2_of(s.max[odd][warp][2 * t + c] - max);
    }
#pragma unroll
    for (int m = 0; m < DIMS / 16; m++) {
        const int e = value_element<KV, DIMS>(m, g);
#pragma unroll
        for (int c = 0; c < 2; c++)
            if (2 * t + c < at.heads)
                *(float2 *)&s.out[warp][2 * t + c][e] = make_float2(out[m][c] * scale[c], out[m][c + 2] * scale[c]);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < at.heads * n; i += THREADS) {
        const int head = i / n, e = i % n;
        float max = s.max[odd][0][head], v = s.out[0][head][e], sum = 0;
#pragma unroll
        for (int w = 1; w < WARPS; w++) {
            max = fmaxf(max, s.max[odd][w][head]);
            v += s.out[w][head][e];
        }
#pragma unroll
        for (int w = 0; w < WARPS; w++)
            sum = fmaf(s.sum[odd][w][head], max == -INFINITY ? 1.0f : exp2_of(s.max[odd][w][head] - max), sum);
        put(head, e, max, sum, v);
    }
}

// The weights of a head's splits, where element i of a lane is split i * 32 + lane, and their sum. Splits that do not
// exist have weight 0.
__device__ __forceinline__ void weigh_splits(const float2 (&outcome)[LANE_SPLITS], float (&weight)[LANE_SPLITS],
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

// Merges all splits of a token's heads in rising order, in the block that ends last. A warp merges one head; its lanes
// hold the weights of the splits and 4 elements each.
__device__ __forceinline__ void merge_splits(const cuda_attention &job, const place &at, int room)
{
    enum { FLIGHT = 16 }; // outcomes in flight at once; the first are requested before the weights are known
    const int lane = threadIdx.x % 32, n = job.kv.head_dim, pitch = n + 4;
    for (int head = threadIdx.x / 32; head < at.heads; head += WARPS) {
        const float *of = partial_of(job, room, 0, at.token, at.head + head);
        float weight[LANE_SPLITS], sum = 0;
        float2 outcome[LANE_SPLITS];
#pragma unroll
        for (int i = 0; i < LANE_SPLITS; i++) {
            outcome[i] = make_float2(-INFINITY, 0);
            if (i * 32 + lane < at.splits)
                outcome[i] = __ldcg((const float2 *)(of + (size_t)(i * 32 + lane) * pitch + n));
        }
        for (int e = lane * 4; e - lane * 4 < n; e += 128) {
            float4 all = make_float4(0, 0, 0, 0);
#pragma unroll
            for (int part = 0; part < MOST_SPLITS; part += FLIGHT) {
                if (part >= at.splits)
                    break;
                float4 v[FLIGHT];
#pragma unroll
                for (int i = 0; i < FLIGHT; i++)
                    v[i] = part + i < at.splits && e < n ? __ldcg((const float4 *)(of + (size_t)(part + i) * pitch + e))
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
                const int to = (at.head + head) * n + e;
                put_pair(job, at.token, to, all.x / sum, all.y / sum);
                put_pair(job, at.token, to + 2, all.z / sum, all.w / sum);
            }
        }
    }
}

// Called by one thread once the block has stored its outcome. Returns true for the last of `splits`, and resets the
// counter to zero then.
__device__ __forceinline__ bool ends_last(unsigned *counter, int splits)
{
    __threadfence();
    if (atomicAdd(counter, 1u) != (unsigned)splits - 1)
        return false;
    *counter = 0;
    __threadfence();
    return true;
}

// Stores a unit's outcome: the output itself where it is the only split, else a partial outcome. Sets bit n of `due`
// where it was the last split of its token and head.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void end_unit(const cuda_attention &job, const place &at, int most, int index,
                                         decode_space<DIMS> &s, unsigned *due, const running &row,
                                         float (&out)[DIMS / 16][4])
{
    const int n = job.kv.head_dim;
    merge_warps<KV, DIMS>(at, n, index % 2, s, row, out, [&](int head, int e, float max, float sum, float v) {
        if (at.splits == 1) {
            job.out[(size_t)at.token * job.ldo + (at.head + head) * n + e] = v / sum;
            return;
        }
        float *partial = partial_of(job, most, at.split, at.token, at.head + head);
        partial[e] = v;
        if (e == 0)
            *(float2 *)(partial + n) = make_float2(max, sum);
    });
    if (at.splits == 1)
        return;
    __syncthreads();
    if (threadIdx.x == 0 &&
        ends_last((unsigned *)job.partial + (size_t)at.token * job.heads + at.head, at.splits))
        due[index / 32] |= 1u << index % 32;
}

template <enum dtype KV, int DIMS>
__global__ void __launch_bounds__(THREADS, shape<KV, DIMS>::blocks)
    k_decode(const cuda_attention job, const decode_grid grid)
{
    typedef shape<KV, DIMS> S;
    extern __shared__ __align__(16) unsigned char memory[];
    decode_space<DIMS> &s = *(decode_space<DIMS> *)memory;
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    next_may_start();
    const int units = find_unit(grid, -1, NULL);
    const int unit = (int)((long long)units * blockIdx.x / gridDim.x);
    const int count = (int)((long long)units * (blockIdx.x + 1) / gridDim.x) - unit;
    if (!count) {
        previous_wait();
        return;
    }
    unsigned *due = (unsigned *)(memory + sizeof(decode_space<DIMS>)); // one bit per unit of the block
    for (int i = threadIdx.x; i * 32 < count; i += THREADS)
        due[i] = 0;
    if (warp < 2)
        find_unit(grid, unit + warp, s.places + warp);
    __syncthreads();
    fragment<KV, DIMS> f = {};
    source from = source_of(job, s.places[0]);
    int base = s.places[0].begin + warp * S::keys;
    from.last = max(from.last - 1, 0); // this step's own position is not in the cache yet
    load_keys<KV, DIMS>(f, job.kv, from, base, g, t);
    load_values<KV, DIMS>(f, job.kv, from, base, g, t);
    if (threadIdx.x == 0)
        prefetch<KV>(job.kv, from.k, base + S::round, min(base + AHEAD * S::round, s.places[0].end));
    previous_wait();
    from.last = s.places[0].position;
    if (base + S::keys > from.last) {
        load_keys<KV, DIMS, true>(f, job.kv, from, base, g, t);
        load_values<KV, DIMS, true>(f, job.kv, from, base, g, t);
    }
    load_queries<KV, DIMS>(job, s.places[0], s);
    for (int n = 0;; n++) {
        const place &at = s.places[n % 4], &then = s.places[(n + 1) % 4];
        const bool more = n + 1 < count;
        if (warp == WARPS - 1 && n + 2 < count)
            find_unit(grid, unit + n + 2, s.places + (n + 2) % 4);
        running row = {-INFINITY, 0};
        float out[DIMS / 16][4] = {};
        const float factor = KV == DT_F16 ? s.factor[g] : 1.0f;
        for (bool last = false; !last;) {
            int next = base + S::round;
            last = next >= at.end;
            if (threadIdx.x == 0)
                prefetch_ahead<KV, S::round>(job, at, then, more, base);
            if (last) {
                next = more ? then.begin + warp * S::keys : -1;
                if (more)
                    from = source_of(job, then);
            }
            take_step<KV, DIMS>(job, at, s.q, factor, f, base, from, next, row, out);
            base = next;
        }
        end_unit<KV, DIMS>(job, at, grid.splits, n, s, due, row, out);
        if (!more)
            break;
        if (then.token != at.token || then.head != at.head) // end_unit waited for their last reader
            load_queries<KV, DIMS>(job, then, s);
    }
    __syncthreads();
    for (int n = 0; n < count; n++) {
        if (!(due[n / 32] >> n % 32 & 1))
            continue;
        const bool known = n + 1 == count;
        if (!known) {
            __syncthreads(); // the previous place is free
            if (warp == 0)
                find_unit(grid, unit + n, s.places + count % 4);
            __syncthreads();
        }
        merge_splits(job, s.places[(known ? n : count) % 4], grid.splits);
    }
}

template <enum dtype KV, int DIMS> void launch_decode(const cuda_attention *job, cudaStream_t stream)
{
    const int group = job->heads / job->kv.kv_heads, parts = ceil_div(group, HEADS);
    const decode_grid grid = {
        job->tokens, job->rows, job->kv.kv_heads, group, job->window, parts,
        min(ceil_div(job->most_positions, (int)CUDA_LEAST_SPLIT), ceil_div(CUDA_DECODE_BLOCKS, job->kv.kv_heads))};
    const long long most = (long long)job->rows * job->kv.kv_heads * grid.parts * grid.splits;
    const int blocks = (int)min(most, (long long)shape<KV, DIMS>::blocks * job->multiprocessors);
    const int bytes = sizeof(decode_space<DIMS>) + ceil_div((int)((most + blocks - 1) / blocks), 32) * 4;
    if (bytes > 40 * 1024)
        cudaFuncSetAttribute(k_decode<KV, DIMS>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    launch_early(k_decode<KV, DIMS>, dim3(blocks), THREADS, bytes, stream, *job, grid);
}

} // namespace

template <enum dtype KV> void cuda_attend_decode(const struct cuda_attention *job, cudaStream_t stream)
{
    if (job->kv.head_dim <= 64)
        launch_decode<KV, 64>(job, stream);
    else if (job->kv.head_dim <= 128)
        launch_decode<KV, 128>(job, stream);
    else
        launch_decode<KV, 256>(job, stream);
}

template void cuda_attend_decode<DT_BF16>(const struct cuda_attention *, cudaStream_t);
template void cuda_attend_decode<DT_F16>(const struct cuda_attention *, cudaStream_t);
template void cuda_attend_decode<DT_I8>(const struct cuda_attention *, cudaStream_t);
template void cuda_attend_decode<DT_F8E4M3>(const struct cuda_attention *, cudaStream_t);
