// attention_decode.cu - attention of a decode step on the tensor cores: one token a sequence, 2- and 1-byte caches.
//
// A unit is one split of the positions of one sequence, for up to 8 query heads of one KV head. A block takes a run of
// units, and its warps take steps of KEYS positions in turn. K and V go from memory to registers in 16-byte vectors and
// are operands as they lie: both products run over positions and elements in any order, as long as both operands agree.
// Scores are Q K^T with the 8 heads as rows and, as the 8 rows below, what rounding took from them; so a score has 16
// bits and more at the price of a rounded one. Outputs are V^T P^T, for which scores lie right; P is a sum of two
// operands as well.
//
// While a step is computed the next one is on its way, over the ends of units too. Warps are merged through shared
// memory. Where a sequence has several splits the block that ends last merges them, all in rising order, and sets the
// counter back.
// Source: Dao et al. 2023 (flash decoding), Milakov and Gimelshein 2018 (online softmax)
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"

namespace {

enum { WARPS = 4, THREADS = WARPS * 32, HEADS = 8 };

// Lane 4 g + t holds of a key: K elements of vectors t, t + 4, ..., V elements of chunks g, g + 8, ...
template <enum dtype KV, int DIMS> struct shape {
    static constexpr int bytes = cache_bytes<KV>;
    static constexpr int keys = DIMS == 64 ? 32 : 16; // a step
    static constexpr int tiles = keys / 8;
    static constexpr int vectors = DIMS * bytes / 64; // of K, a lane and key
    static constexpr int words = DIMS * bytes / 32 < 4 ? DIMS * bytes / 32 : 4; // of a chunk of V
    static constexpr int chunks = DIMS * bytes / 32 / words;
    static constexpr int elements = words * 4 / bytes; // of a chunk
    static constexpr int blocks = DIMS <= 128 ? 3 : 2; // a multiprocessor
};

// What one lane has of a step.
template <enum dtype KV, int DIMS> struct fragment {
    typedef shape<KV, DIMS> S;
    uint32_t k[S::tiles][S::vectors][4];
    uint32_t v[S::keys / 16][4][S::chunks][S::words];
    float k_scale[S::bytes == 1 ? S::tiles * 2 : 1], v_scale[S::bytes == 1 ? S::tiles * 2 : 1];
};

struct source {
    const unsigned char *k, *v;
    size_t scales;
    int row_bytes, last; // last: position that may be read
};

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

// Key of a lane's column c (0 or 1) of tile j, among a step's.
__device__ __forceinline__ int score_key(int j, int c, int t)
{
    return 8 * j + 2 * t + c;
}

// Positions beyond the last are read as the last: their weights are zero. LATE: only the last and those are read.
template <enum dtype KV, int DIMS, bool LATE = false>
__device__ __forceinline__ void load_keys(fragment<KV, DIMS> &f, const source &from, int base, int g, int t)
{
    typedef shape<KV, DIMS> S;
#pragma unroll
    for (int j = 0; j < S::tiles; j++) {
        const int key = base + 8 * j + g;
        const unsigned char *row = from.k + (size_t)min(key, from.last) * from.row_bytes + t * 16;
#pragma unroll
        for (int i = 0; i < S::vectors; i++)
            load_cache<4>(f.k[j][i], row + i * 64, i * 64 + t * 16 < from.row_bytes && (!LATE || key >= from.last));
    }
    if constexpr (S::bytes == 1)
#pragma unroll
        for (int i = 0; i < S::tiles * 2; i++)
            f.k_scale[i] = load_scale(from.k + from.scales + (size_t)min(base + score_key(i / 2, i % 2, t), from.last) * 4);
}

template <enum dtype KV, int DIMS, bool LATE = false>
__device__ __forceinline__ void load_values(fragment<KV, DIMS> &f, const source &from, int base, int g, int t)
{
    typedef shape<KV, DIMS> S;
#pragma unroll
    for (int j = 0; j < S::keys / 16; j++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const int key = base + score_key(2 * j + r / 2, r % 2, t);
            const unsigned char *row = from.v + (size_t)min(key, from.last) * from.row_bytes + g * S::words * 4;
#pragma unroll
            for (int i = 0; i < S::chunks; i++)
                load_cache<S::words>(f.v[j][r][i], row + i * S::words * 32,
                                     (g + 8 * i) * S::words * 4 < from.row_bytes && (!LATE || key >= from.last));
        }
    if constexpr (S::bytes == 1)
#pragma unroll
        for (int i = 0; i < S::tiles * 2; i++)
            f.v_scale[i] = load_scale(from.v + from.scales + (size_t)min(base + score_key(i / 2, i % 2, t), from.last) * 4);
}

// Of step s of Q K^T: the lane's operand of tile j, and the first of the four elements of a head that it stands for.
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

// Tile m of V^T, 16 positions of a step: rows are elements value_element(m) and the one after it.
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

// A unit: which heads of which token, and which of its positions.
struct place {
    int token, sequence, position;
    int kv_head, head, heads; // head: the first; heads: how many
    int begin, end;           // positions of the split
    int split, splits;
};

// What is the same in a launch.
struct decode_grid {
    int parts;  // of a group of heads
    int splits; // the most of a token
};

// Splits of a token, and their length.
__device__ __forceinline__ int splits_of(const cuda_attention &job, int position, int &first, int &length)
{
    first = job.window ? max(0, position - job.window + 1) : 0;
    const int seen = position + 1 - first;
    length = cuda_split_length(job.kv.kv_heads, seen);
    return (seen + length - 1) / length;
}

// Unit `index` of all, in the order tokens, heads, splits; returns the number of units. A warp does it together.
__device__ __forceinline__ int find_unit(const cuda_attention &job, const decode_grid &grid, int index, place &at)
{
    const int lane = threadIdx.x % 32, columns = job.kv.kv_heads * grid.parts;
    int all = 0;
    for (int row = 0; row < job.rows; row += 32) {
        const cuda_token token = row + lane < job.rows ? job.tokens[row + lane] : cuda_token{-1, -1};
        int first, length, splits = token.position < 0 ? 0 : splits_of(job, token.position, first, length);
        int end = splits * columns;
#pragma unroll
        for (int o = 1; o < 32; o *= 2) {
            const int before = __shfl_up_sync(~0u, end, o);
            end += lane >= o ? before : 0;
        }
        const unsigned behind = __ballot_sync(~0u, all + end > index);
        if (index >= all && behind) {
            const int owner = __ffs(behind) - 1;
            at.sequence = __shfl_sync(~0u, token.sequence, owner);
            at.position = __shfl_sync(~0u, token.position, owner);
            const int begin = all + __shfl_sync(~0u, end - splits * columns, owner);
            at.token = row + owner;
            at.splits = splits_of(job, at.position, first, length);
            at.split = (index - begin) % at.splits;
            const int column = (index - begin) / at.splits, group = job.heads / job.kv.kv_heads;
            at.kv_head = column / grid.parts;
            at.head = at.kv_head * group + column % grid.parts * HEADS;
            at.heads = min((int)HEADS, group - column % grid.parts * HEADS);
            at.begin = first + at.split * length;
            at.end = min(at.begin + length, at.position + 1);
            index = -1;
        }
        all += __shfl_sync(~0u, end, 31);
    }
    return all;
}

template <enum dtype KV> __device__ __forceinline__ source source_of(const cuda_attention &job, const place &at)
{
    return {head_block(job.kv, at.sequence, at.kv_head, 0), head_block(job.kv, at.sequence, at.kv_head, 1),
            job.kv.scales_offset, job.kv.head_dim * cache_bytes<KV>, at.position};
}

struct running {
    float max, sum; // of head g: sum of the lane's own keys
};

// Bias and cap of the scores of a step, where a model has them. A pass of its own: within other loops its code is more
// than the instruction cache holds.
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

// One step: scores from K, the next K on its way, weights, outputs from V, the next V on its way: `next` of `from`, if
// that is not below 0.
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
        load_keys<KV, DIMS>(f, from, next, g, t);
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
        load_values<KV, DIMS>(f, from, next, g, t);
}

template <int DIMS> struct decode_space {
    uint4 q[DIMS / 16 * 32];
    float max[2][WARPS][HEADS], sum[2][WARPS][HEADS]; // of even and odd units
    float factor[HEADS], total[HEADS];
    union {
        float out[WARPS][HEADS][DIMS + 4];
        float weight[HEADS][CUDA_DECODE_BLOCKS];
    };
    bool last;
};

// Powers of two that bring each head's largest query near 1, so that f16 has it whole.
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

// Queries as operands of every step.
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

// Outputs of all warps, scaled to a common maximum, into shared memory; then value(head, element, sum of warps) once
// for each.
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

// By the block that ends last of a token's and head's: all splits in rising order.
template <int DIMS>
__device__ void merge_splits(const cuda_attention &job, const place &at, int most, decode_space<DIMS> &s)
{
    enum { FLIGHT = 4 }; // outcomes requested before their weights are there
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n = job.kv.head_dim;
    const int each = THREADS / (n / 4), e = threadIdx.x % (n / 4) * 4; // each: heads at a time
    const int own = (int)threadIdx.x / (n / 4) < each ? (int)threadIdx.x / (n / 4) : (int)HEADS;
    float4 v[FLIGHT];
#pragma unroll
    for (int i = 0; i < FLIGHT; i++)
        v[i] = own < at.heads && i < at.splits
                   ? __ldcg((const float4 *)(partial_of(job, most, i, at.token, at.head + own) + e))
                   : make_float4(0, 0, 0, 0);
    for (int head = warp; head < at.heads; head += WARPS) {
        const float *of = partial_of(job, most, 0, at.token, at.head + head) + n;
        float max = -INFINITY, sum = 0;
        for (int i = lane; i < at.splits; i += 32)
            max = fmaxf(max, __ldcg(of + (size_t)i * (n + 4)));
#pragma unroll
        for (int o = 16; o; o >>= 1)
            max = fmaxf(max, __shfl_xor_sync(~0u, max, o));
        for (int i = lane; i < at.splits; i += 32) {
            const float2 outcome = __ldcg((const float2 *)(of + (size_t)i * (n + 4)));
            const float weight = max == -INFINITY ? 1.0f : exp2_of(outcome.x - max);
            s.weight[head][i] = weight;
            sum = fmaf(outcome.y, weight, sum);
        }
#pragma unroll
        for (int o = 16; o; o >>= 1)
            sum += __shfl_xor_sync(~0u, sum, o);
        if (lane == 0)
            s.total[head] = sum;
    }
    __syncthreads();
    for (int head = own; head < at.heads; head += each) {
        const float *of = partial_of(job, most, 0, at.token, at.head + head) + e, *weight = s.weight[head];
        float4 sum = make_float4(0, 0, 0, 0);
        auto add = [&](const float4 &x, float w) {
            sum = make_float4(fmaf(x.x, w, sum.x), fmaf(x.y, w, sum.y), fmaf(x.z, w, sum.z), fmaf(x.w, w, sum.w));
        };
#pragma unroll
        for (int i = 0; i < FLIGHT; i++)
            if (i < at.splits)
                add(head == own ? v[i] : __ldcg((const float4 *)(of + (size_t)i * (n + 4))), weight[i]);
#pragma unroll 8
        for (int i = FLIGHT; i < at.splits; i++)
            add(__ldcg((const float4 *)(of + (size_t)i * (n + 4))), weight[i]);
        const float total = s.total[head];
        const int to = (at.head + head) * n + e;
        put_pair(job, at.token, to, sum.x / total, sum.y / total);
        put_pair(job, at.token, to + 2, sum.z / total, sum.w / total);
    }
}

// True in every thread of the block that is the last of `splits` to come here; the counter is zero again then.
__device__ bool ends_last(unsigned *counter, int splits, bool *space)
{
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        const bool last = atomicAdd(counter, 1u) == (unsigned)splits - 1;
        if (last)
            *counter = 0;
        *space = last;
        __threadfence();
    }
    __syncthreads();
    return *space;
}

// A unit's outcome: the output itself where it is the only split, else a partial one, and the output of all by whoever
// comes last.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void end_unit(const cuda_attention &job, const place &at, int most, int odd,
                                         decode_space<DIMS> &s, const running &row, float (&out)[DIMS / 16][4])
{
    const int n = job.kv.head_dim;
    merge_warps<KV, DIMS>(at, n, odd, s, row, out, [&](int head, int e, float max, float sum, float v) {
        if (at.splits == 1) {
            job.out[(size_t)at.token * job.ldo + (at.head + head) * n + e] = v / sum;
            return;
        }
        float *partial = partial_of(job, most, at.split, at.token, at.head + head);
        partial[e] = v;
        if (e == 0)
            *(float2 *)(partial + n) = make_float2(max, sum);
    });
    if (at.splits > 1 &&
        ends_last((unsigned *)job.partial + (size_t)at.token * job.heads + at.head, at.splits, &s.last))
        merge_splits<DIMS>(job, at, most, s);
}

template <enum dtype KV, int DIMS>
__global__ void __launch_bounds__(THREADS, shape<KV, DIMS>::blocks)
    k_decode(const cuda_attention job, const decode_grid grid)
{
    typedef shape<KV, DIMS> S;
    extern __shared__ __align__(16) unsigned char memory[];
    decode_space<DIMS> &s = *(decode_space<DIMS> *)memory;
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    place at = {}, then = {};
    const int units = find_unit(job, grid, -1, at);
    int unit = (int)((long long)units * blockIdx.x / gridDim.x);
    const int end = (int)((long long)units * (blockIdx.x + 1) / gridDim.x);
    if (unit == end) {
        previous_wait();
        return;
    }
    find_unit(job, grid, unit, at);
    fragment<KV, DIMS> f = {};
    source from = source_of<KV>(job, at);
    int base = at.begin + warp * S::keys;
    from.last = max(at.position - 1, 0); // these are of steps before
    load_keys<KV, DIMS>(f, from, base, g, t);
    load_values<KV, DIMS>(f, from, base, g, t);
    previous_wait();
    next_may_start();
    from.last = at.position;
    if (base + S::keys > at.position) {
        load_keys<KV, DIMS, true>(f, from, base, g, t);
        load_values<KV, DIMS, true>(f, from, base, g, t);
    }
    load_queries<KV, DIMS>(job, at, s);
    for (int odd = 0;; odd ^= 1) {
        const bool more = unit + 1 < end;
        if (more)
            find_unit(job, grid, unit + 1, then);
        running row = {-INFINITY, 0};
        float out[DIMS / 16][4] = {};
        const float factor = KV == DT_F16 ? s.factor[g] : 1.0f;
        for (bool last = false; !last;) {
            int next = base + WARPS * S::keys;
            last = next >= at.end;
            if (last) {
                next = more ? then.begin + warp * S::keys : -1;
                if (more)
                    from = source_of<KV>(job, then);
            }
            take_step<KV, DIMS>(job, at, s.q, factor, f, base, from, next, row, out);
            base = next;
        }
        end_unit<KV, DIMS>(job, at, grid.splits, odd, s, row, out);
        if (!more)
            return;
        if (then.token != at.token || then.head != at.head) // all warps have left the queries: end_unit waits for them
            load_queries<KV, DIMS>(job, then, s);
        at = then;
        unit++;
    }
}

template <enum dtype KV, int DIMS> void launch_decode(const cuda_attention *job, cudaStream_t stream)
{
    decode_grid grid;
    grid.parts = ceil_div(job->heads / job->kv.kv_heads, HEADS);
    grid.splits = min(ceil_div(job->most_positions, (int)CUDA_LEAST_SPLIT), ceil_div(CUDA_DECODE_BLOCKS, job->kv.kv_heads));
    const long long most = (long long)job->rows * job->kv.kv_heads * grid.parts * grid.splits;
    const int blocks = (int)min(most, (long long)shape<KV, DIMS>::blocks * job->multiprocessors);
    const int bytes = sizeof(decode_space<DIMS>);
    if (bytes > 40 * 1024)
        cudaFuncSetAttribute(k_decode<KV, DIMS>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    launch_early(k_decode<KV, DIMS>, dim3(blocks), THREADS, bytes, stream, *job, grid);
}

} // namespace

template <enum dtype KV> void attention_decode(const struct cuda_attention *job, cudaStream_t stream)
{
    if (job->kv.head_dim <= 64)
        launch_decode<KV, 64>(job, stream);
    else if (job->kv.head_dim <= 128)
        launch_decode<KV, 128>(job, stream);
    else
        launch_decode<KV, 256>(job, stream);
}

template void attention_decode<DT_BF16>(const struct cuda_attention *, cudaStream_t);
template void attention_decode<DT_F16>(const struct cuda_attention *, cudaStream_t);
template void attention_decode<DT_I8>(const struct cuda_attention *, cudaStream_t);
template void attention_decode<DT_F8E4M3>(const struct cuda_attention *, cudaStream_t);
