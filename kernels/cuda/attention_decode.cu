// attention_decode.cu - attention of a decode step on the tensor cores: one token per sequence, 2- and 1-byte caches.
//
// A block computes a run of units (attention_units.cuh). One warp copies tiles of K and V into a ring in shared memory,
// as far ahead as the ring holds and across the ends of units. Four warps compute, and a sixth counts finished units. A
// tile is stored as columns of 128 bytes of its positions. Their 16-byte vectors are permuted so that the eight rows of
// a matrix that ldmatrix reads lie in different banks.
//
// Scores are Q K^T. The upper 8 rows of Q are the rounded heads, and the lower 8 rows are what rounding removed. So a
// score keeps at least 16 bits at the price of a rounded one. Outputs are V^T P^T, which takes the scores in the order
// in which they lie. P is a sum of two operands as well. Codes of 1-byte caches become f16. The scales of V are added
// to the exponents of the weights, so that f16 holds their product. Warps are merged through shared memory.
// Source: Dao et al. 2023 (flash decoding), Milakov and Gimelshein 2018 (online softmax)
#include "kernels/cuda/attention_units.cuh"
#include "kernels/cuda/launch.cuh"

namespace {

enum { WARPS = 4, COMPUTING = WARPS * 32, THREADS = COMPUTING + 64, HEADS = UNIT_HEADS, COLUMN = 128 };
enum { MOST_SLOTS = 16 };

// The type of the operands. f16 holds the codes of 1-byte caches exactly.
template <enum dtype KV> static constexpr dtype operand = KV == DT_BF16 ? DT_BF16 : DT_F16;

template <enum dtype KV, int DIMS> struct shape {
    static constexpr int bytes = cache_bytes<KV>;
    static constexpr int columns = DIMS * bytes < COLUMN ? 1 : DIMS * bytes / COLUMN; // of a position
    static constexpr int positions = columns == 1 ? 128 : 64;                         // of a tile
    static constexpr int column_bytes = positions * COLUMN;
    static constexpr int tile_bytes = columns * column_bytes;
    static constexpr int scale_bytes = bytes == 1 ? positions * 4 : 0;
    static constexpr int tiles = positions / WARPS / 8; // of 8 positions, a warp
    static constexpr int blocks = DIMS <= 128 ? 2 : 1;  // a multiprocessor
};

// ---- the ring --------------------------------------------------------------------------------------------

struct __align__(128) decode_space
{
    uint64_t full[MOST_SLOTS], empty[MOST_SLOTS];
    // Barriers: the computing warps have stored a unit's partial result; the reporting warp has read it.
    uint64_t stored, taken;
    float max[2][WARPS][HEADS], sum[2][WARPS][HEADS]; // of even and odd units
    int last;                                         // this block was the last to finish a split of the token
};

// A place in the ring, and the parity of the barriers' phase there.
struct ring_at {
    int slot, parity;
    __device__ __forceinline__ void next(int slots)
    {
        if (++slot == slots) {
            slot = 0;
            parity ^= 1;
        }
    }
};

__device__ __forceinline__ void copy_or_clear(uint32_t to, const void *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}

// Copies a tile of K or V, zeros for rows beyond `position` and elements that a head lacks, and scales of its first
// `count` positions. `full` ends its phase when all have arrived. By a warp.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void copy_tile(const cuda_attention &job, int block, int base, int position, int count,
                                          uint32_t to, uint32_t scales, uint32_t full)
{
    typedef shape<KV, DIMS> S;
    enum { VECTORS = S::columns * 8, ROWS = 32 / VECTORS }; // of a row; that a warp copies at once
    const int lane = threadIdx.x % 32, row_bytes = job.kv.head_dim * S::bytes;
    const int row = lane / VECTORS, vector = lane % VECTORS;
    const unsigned char *from = job.kv.layer + (size_t)block * job.kv.block_bytes;
    const unsigned char *tile = from + (size_t)base * row_bytes;
    to += vector / 8 * S::column_bytes + row * COLUMN;
    if (row_bytes == VECTORS * 16 && base + S::positions <= position + 1) {
#pragma unroll 8
        for (int i = 0; i < S::positions; i += ROWS)
            copy_async(to + i * COLUMN + (vector % 8 ^ row ^ i % 8) * 16, tile + lane * 16 + i * VECTORS * 16);
    } else {
        for (int i = 0; i < S::positions; i += ROWS) {
            const bool there = base + i + row <= position && vector * 16 < row_bytes;
            copy_or_clear(to + i * COLUMN + (vector % 8 ^ row ^ i % 8) * 16,
                          there ? tile + (i + row) * row_bytes + vector * 16 : from, there);
        }
    }
    if (S::bytes == 1 && lane * 4 < count)
        copy_async(scales + lane * 16, from + job.kv.scales_offset + (size_t)base * 4 + lane * 16);
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(full) : "memory");
}

// The copying warp copies all tiles of `count` units from `at` on.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void copy_units(const cuda_attention &job, const decode_grid &grid, decode_space &s,
                                           uint32_t ring_from, place at, int count)
{
    typedef shape<KV, DIMS> S;
    const uint32_t full = shared_address(s.full), empty = shared_address(s.empty);
    const uint32_t scales = ring_from + grid.slots * S::tile_bytes;
    ring_at ring = {0, 1};
    bool waited = false;
    for (int n = 0; n < count; n++) {
        const int block = (at.sequence * grid.kv_heads + at.column / grid.parts) * 2, end = end_of(at);
        for (int base = begin_of(at); base < end; base += S::positions) {
            if (!waited && base + S::positions > at.position) { // only rows of earlier steps may be read early
                previous_wait();
                waited = true;
            }
#pragma unroll
            for (int values = 0; values < 2; values++) {
                barrier_wait(empty + ring.slot * 8, ring.parity);
                copy_tile<KV, DIMS>(job, block + values, base, at.position, min((int)S::positions, end - base),
                                    ring_from + ring.slot * S::tile_bytes, scales + ring.slot * S::scale_bytes,
                                    full + ring.slot * 8);
                ring.next(grid.slots);
            }
        }
        next_unit(grid, at);
    }
    if (!waited)
        previous_wait();
}

// ---- computing -------------------------------------------------------------------------------------------

__device__ __forceinline__ void meet()
{
    asm volatile("bar.sync 1, %0;" ::"n"((int)COMPUTING) : "memory");
}

__device__ __forceinline__ void load_matrices(uint32_t (&v)[4], uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                 : "r"(at)
                 : "memory");
}
__device__ __forceinline__ void load_transposed(uint32_t (&v)[4], uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                 : "r"(at)
                 : "memory");
}

// Two int8 codes in the low bytes of the halves as f16: 1024 + 128 + code, less 1152. Exact.
__device__ __forceinline__ uint32_t i8_to_f16(uint32_t codes)
{
    uint32_t moved; // (codes & 0x00ff00ff) ^ 0x64806480
    asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(moved) : "r"(codes), "r"(0x00ff00ffu), "r"(0x64806480u));
    const __half2 v = __hsub2(*reinterpret_cast<const __half2 *>(&moved), __half2half2(__ushort_as_half(0x6480)));
    return *reinterpret_cast<const uint32_t *>(&v);
}
// Two e4m3 codes in the low bytes of a word as f16. Exact.
__device__ __forceinline__ uint32_t e4m3_to_f16(uint32_t codes)
{
    const __half2_raw v = __nv_cvt_fp8x2_to_halfraw2((__nv_fp8x2_storage_t)codes, __NV_E4M3);
    return v.x | (uint32_t)v.y << 16;
}
// Four codes of a key: elements 0 and 2, 1 and 3 of int8, 0 and 1, 2 and 3 of e4m3.
template <enum dtype KV> __device__ __forceinline__ void key_operand(uint32_t w, uint32_t &b0, uint32_t &b1)
{
    b0 = KV == DT_I8 ? i8_to_f16(w) : e4m3_to_f16(w);
    b1 = KV == DT_I8 ? i8_to_f16(w >> 8) : e4m3_to_f16(w >> 16);
}
// Two codes of one position, then two of the next: the first of both, the second of both.
template <enum dtype KV> __device__ __forceinline__ void value_operand(uint32_t w, uint32_t &a0, uint32_t &a1)
{
    if (KV == DT_F8E4M3)
        w = __byte_perm(w, 0, 0x3120);
    a0 = KV == DT_I8 ? i8_to_f16(w) : e4m3_to_f16(w);
    a1 = KV == DT_I8 ? i8_to_f16(w >> 8) : e4m3_to_f16(w >> 16);
}

// The elements of an output that rows g (half 0) and g + 8 (half 1) of tile m hold.
template <enum dtype KV> __device__ __forceinline__ int value_element(int m, int g, int half)
{
    return cache_bytes<KV> == 2 ? 16 * m + g + 8 * half : 16 * m + 2 * g + half;
}

struct running {
    float max, sum; // of head g; the sum is over the lane's own positions
};

// The positions of a tile and their scales.
struct tile_at {
    int base;       // the first position
    int begin, end; // of the positions that the unit counts
    const float *k_scale, *v_scale;
};

// The position, within a tile, of a lane's column c (0 or 1) of the warp's matrix j.
template <enum dtype KV, int DIMS> __device__ __forceinline__ int key_of(int warp, int j, int c, int t)
{
    return (warp * shape<KV, DIMS>::tiles + j) * 8 + 2 * t + c;
}

// Q K^T of a warp's positions.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void score_tile(const uint32_t (&q)[DIMS / 16][4], uint32_t slot,
                                           float (&s)[shape<KV, DIMS>::tiles][4])
{
    typedef shape<KV, DIMS> S;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t row = (warp * S::tiles * 8 + lane % 8) * COLUMN, vector = (lane / 8 ^ lane % 8) * 16;
    const uint32_t at[2] = {slot + row + vector, slot + row + (vector ^ 64)}; // vectors 0 and on, 4 and on of a column
#pragma unroll
    for (int c = 0; c < DIMS * S::bytes / 16; c += 4) {
#pragma unroll
        for (int j = 0; j < S::tiles; j++) {
            uint32_t v[4];
            load_matrices(v, at[c / 4 % 2] + c / 8 * S::column_bytes + j * 8 * COLUMN);
            if constexpr (S::bytes == 2) {
                mma_of<KV>(s[j], q[c / 2], v[0], v[1]);
                mma_of<KV>(s[j], q[c / 2 + 1], v[2], v[3]);
            } else {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    uint32_t b0, b1;
                    key_operand<KV>(v[i], b0, b1);
                    mma_f16(s[j], q[c + i], b0, b1);
                }
            }
        }
    }
}

// Adds V^T P^T of a warp's positions.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void add_values(const uint32_t (&high)[shape<KV, DIMS>::tiles],
                                           const uint32_t (&low)[shape<KV, DIMS>::tiles], uint32_t slot,
                                           float (&out)[DIMS / 16][4])
{
    typedef shape<KV, DIMS> S;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, of = lane / 8;
    const int chunk = S::bytes == 2 ? of % 2 : of / 2, half = S::bytes == 2 ? of / 2 : of % 2;
    const uint32_t row = slot + ((warp * S::tiles + half) * 8 + lane % 8) * COLUMN, vector = (chunk ^ lane % 8) * 16;
#pragma unroll
    for (int c = 0; c < DIMS * S::bytes / 16; c += 2) {
        const uint32_t at = row + (vector ^ c % 8 * 16) + c / 8 * S::column_bytes;
#pragma unroll
        for (int j = 0; j < S::tiles; j += 2) {
            uint32_t v[4];
            load_transposed(v, at + j * 8 * COLUMN);
            if constexpr (S::bytes == 2) {
                mma_of<KV>(out[c / 2], v, high[j], high[j + 1]);
                mma_of<KV>(out[c / 2], v, low[j], low[j + 1]);
            } else {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    uint32_t a[4];
                    value_operand<KV>(v[2 * i], a[0], a[1]);
                    value_operand<KV>(v[2 * i + 1], a[2], a[3]);
                    mma_f16(out[c + i], a, high[j], high[j + 1]);
                    mma_f16(out[c + i], a, low[j], low[j + 1]);
                }
            }
        }
    }
}

// Bias and cap of the scores of a tile, where a model has them.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void bias_and_cap(const cuda_attention &job, int position, int base, int head,
                                             float (&s)[shape<KV, DIMS>::tiles][4])
{
    typedef shape<KV, DIMS> S;
    const int t = threadIdx.x % 4, warp = threadIdx.x / 32;
    const float *bias = job.bias + (size_t)head * job.bias_stride;
    if (job.bias)
#pragma unroll
        for (int i = 0; i < S::tiles * 2; i++)
            s[i / 2][i % 2] += bias[min(base + key_of<KV, DIMS>(warp, i / 2, i % 2, t), position)] - bias[position];
    if (job.softcap != 0)
#pragma unroll
        for (int i = 0; i < S::tiles * 2; i++)
            s[i / 2][i % 2] = job.softcap * tanhf(s[i / 2][i % 2] / job.softcap);
}

// Scales of a warp's positions.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void load_scales(const float *from, float (&scale)[shape<KV, DIMS>::tiles][2])
{
    typedef shape<KV, DIMS> S;
    const int t = threadIdx.x % 4, warp = threadIdx.x / 32;
#pragma unroll
    for (int j = 0; j < S::tiles; j++)
#pragma unroll
        for (int c = 0; c < 2; c++)
            scale[j][c] = from[key_of<KV, DIMS>(warp, j, c, t)];
}

// log2 of a scale of V. Scales below 2^-90 count as 2^-90, so that the sum of the unscaled weights stays finite.
__device__ __forceinline__ float log2_of(float scale)
{
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(fmaxf(scale, 0x1p-90f)));
    return y;
}

// Turns scores into weights: s[j][0] and s[j][1] are those that are summed, s[j][2] and s[j][3] those that multiply V,
// which include its scales. The running maximum is that of the latter, so that f16 holds them.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void weigh_tile(const cuda_attention &job, int position, const tile_at &tile, int head,
                                           float factor, float (&s)[shape<KV, DIMS>::tiles][4], running &row,
                                           float (&out)[DIMS / 16][4])
{
    typedef shape<KV, DIMS> S;
    const int t = threadIdx.x % 4, warp = threadIdx.x / 32;
    float scale[S::tiles][2];
    if (S::bytes == 1)
        load_scales<KV, DIMS>(tile.k_scale, scale);
#pragma unroll
    for (int i = 0; i < S::tiles * 2; i++) {
        const float by = S::bytes == 1 ? job.scale * scale[i / 2][i % 2] : job.scale;
        s[i / 2][i % 2] = (s[i / 2][i % 2] + s[i / 2][i % 2 + 2]) * factor * by;
    }
    if (job.bias || job.softcap != 0)
        bias_and_cap<KV, DIMS>(job, position, tile.base, head, s);
    if (S::bytes == 1)
        load_scales<KV, DIMS>(tile.v_scale, scale);
    float max = row.max;
#pragma unroll
    for (int i = 0; i < S::tiles * 2; i++) {
        const int p = tile.base + key_of<KV, DIMS>(warp, i / 2, i % 2, t);
        float &v = s[i / 2][i % 2], &lifted = s[i / 2][i % 2 + 2];
        const bool seen = p >= tile.begin && p < tile.end;
        v = seen ? v * LOG2E : -INFINITY;
        lifted = S::bytes == 1 && seen ? v + log2_of(scale[i / 2][i % 2]) : v;
        max = fmaxf(max, lifted);
    }
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
#pragma unroll
    for (int i = 0; i < S::tiles * 2; i++) {
        float &v = s[i / 2][i % 2], &lifted = s[i / 2][i % 2 + 2];
        v = exp2_of(v - base_of + weight_lift<operand<KV>>);
        lifted = S::bytes == 1 ? exp2_of(lifted - base_of + weight_lift<operand<KV>>) : v;
        row.sum += v;
    }
}

// Weights as two operands: the higher bits and the rest.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void split_weights(const float (&s)[shape<KV, DIMS>::tiles][4],
                                              uint32_t (&high)[shape<KV, DIMS>::tiles],
                                              uint32_t (&low)[shape<KV, DIMS>::tiles])
{
    typedef shape<KV, DIMS> S;
#pragma unroll
    for (int j = 0; j < S::tiles; j++) {
        high[j] = pair_of<operand<KV>>(s[j][2], s[j][3]);
        low[j] = rest_of<operand<KV>>(s[j][2], s[j][3], high[j]);
    }
}

// Loads the queries of head g as operands. Returns the power of two that they are divided by, so that f16 holds them.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ float load_queries(const cuda_attention &job, const float *from, bool there,
                                              uint32_t (&q)[DIMS / 16][4])
{
    const int t = threadIdx.x % 4, n = job.kv.head_dim;
    float v[DIMS / 16][4], largest = 0, by = 1, factor = 1;
#pragma unroll
    for (int s = 0; s < DIMS / 16; s++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int e = cache_bytes<KV> == 2 ? 16 * s + 8 * i + 2 * t : 16 * s + 4 * t + 2 * i;
            const float2 f = there && e < n ? *(const float2 *)(from + e) : make_float2(0, 0);
            v[s][2 * i] = f.x;
            v[s][2 * i + 1] = f.y;
            largest = fmaxf(largest, fmaxf(fabsf(f.x), fabsf(f.y)));
        }
    if (operand<KV> == DT_F16) {
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
        factor = power_below(largest);
        by = 1 / factor;
    }
#pragma unroll
    for (int s = 0; s < DIMS / 16; s++) {
        const bool codes = KV == DT_I8; // operands are elements 0 and 2, 1 and 3
        const float a = v[s][0] * by, b = v[s][codes ? 2 : 1] * by, c = v[s][codes ? 1 : 2] * by, d = v[s][3] * by;
        q[s][0] = pair_of<operand<KV>>(a, b);
        q[s][1] = rest_of<operand<KV>>(a, b, q[s][0]);
        q[s][2] = pair_of<operand<KV>>(c, d);
        q[s][3] = rest_of<operand<KV>>(c, d, q[s][2]);
    }
    return factor;
}

// ---- merges ----------------------------------------------------------------------------------------------

// Stores the outputs of all warps in shared memory, scaled to a common maximum. Then calls put once for each four
// elements of a head: put(head, first element, maximum, sum of weights, sums of elements).
template <enum dtype KV, int DIMS, typename PUT>
__device__ __forceinline__ void merge_warps(int heads, int n, int odd, decode_space &s, float *space, int space_heads,
                                            running row, float (&out)[DIMS / 16][4], PUT put)
{
    enum { PITCH = DIMS + 4 };
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    row.sum += __shfl_xor_sync(~0u, row.sum, 1);
    row.sum += __shfl_xor_sync(~0u, row.sum, 2);
    if (t == 0) {
        s.max[odd][warp][g] = row.max;
        s.sum[odd][warp][g] = row.sum;
    }
    meet();
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
    for (int c = 0; c < 2; c++)
        if (2 * t + c < heads) {
            float *to = space + (size_t)(warp * space_heads + 2 * t + c) * PITCH;
#pragma unroll
            for (int m = 0; m < DIMS / 16; m++) {
                if (cache_bytes<KV> == 1) {
                    *(float2 *)(to + value_element<KV>(m, g, 0)) =
                        make_float2(out[m][c] * scale[c], out[m][c + 2] * scale[c]);
                } else {
                    to[value_element<KV>(m, g, 0)] = out[m][c] * scale[c];
                    to[value_element<KV>(m, g, 1)] = out[m][c + 2] * scale[c];
                }
            }
        }
    meet();
    for (int i = threadIdx.x * 4; i < heads * n; i += COMPUTING * 4) {
        const int head = i / n, e = i % n;
        float max = s.max[odd][0][head], sum = 0;
        float4 v = *(const float4 *)(space + (size_t)head * PITCH + e);
#pragma unroll
        for (int w = 1; w < WARPS; w++) {
            const float4 u = *(const float4 *)(space + (size_t)(w * space_heads + head) * PITCH + e);
            max = fmaxf(max, s.max[odd][w][head]);
            v = make_float4(v.x + u.x, v.y + u.y, v.z + u.z, v.w + u.w);
        }
#pragma unroll
        for (int w = 0; w < WARPS; w++)
            sum = fmaf(s.sum[odd][w][head], max == -INFINITY ? 1.0f : exp2_of(s.max[odd][w][head] - max), sum);
        put(head, e, max, sum, v);
    }
}

// Stores a unit's result: the output itself if it is the only split, else a partial result.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void put_unit(const cuda_attention &job, const decode_grid &grid, const place &at, int odd,
                                         decode_space &s, float *space, const running &row, float (&out)[DIMS / 16][4])
{
    const int n = job.kv.head_dim, head0 = first_head(grid, at), heads = heads_of(grid, at);
    merge_warps<KV, DIMS>(heads, n, odd, s, space, grid.heads, row, out,
                          [&](int head, int e, float max, float sum, const float4 &v) {
                              if (at.splits == 1) {
                                  const int to = (head0 + head) * n + e;
                                  put_pair(job, at.token, to, v.x / sum, v.y / sum);
                                  put_pair(job, at.token, to + 2, v.z / sum, v.w / sum);
                                  return;
                              }
                              float *partial = partial_of(job, grid.splits, at.split, at.token, head0 + head);
                              *(float4 *)(partial + e) = v;
                              if (e == 0)
                                  *(float2 *)(partial + n) = make_float2(max, sum);
                          });
}

// All computing warps count and merge the last unit of a block, because nothing else is left to do.
__device__ __forceinline__ void end_block(const cuda_attention &job, const decode_grid &grid, const place &at, int n,
                                          decode_space &s)
{
    meet();
    if (threadIdx.x == 0)
        s.last = ends_last(job, grid, at, n);
    meet();
    if (s.last)
        merge_splits(job, at.token, first_head(grid, at), heads_of(grid, at), at.splits, grid.splits, threadIdx.x / 32,
                     WARPS);
}

// Whether the reporting warp counts unit n of a block: the last split of its token and heads.
__device__ __forceinline__ bool is_reported(const place &at, int n, int count)
{
    return at.splits > 1 && at.split + 1 == at.splits && n + 1 < count;
}

// The reporting warp. It merges the splits of a token where this block ended last.
__device__ __forceinline__ void report_units(const cuda_attention &job, const decode_grid &grid, decode_space &s,
                                             place at, int count)
{
    int parity = 0;
    previous_wait();
    for (int n = 0; n + 1 < count; n++, next_unit(grid, at)) {
        if (!is_reported(at, n, count))
            continue;
        barrier_wait(shared_address(&s.stored), parity);
        barrier_arrive(shared_address(&s.taken));
        parity ^= 1;
        int last = 0;
        if (threadIdx.x % 32 == 0)
            last = ends_last(job, grid, at, n);
        if (__shfl_sync(~0u, last, 0)) {
            __syncwarp();
            merge_splits(job, at.token, first_head(grid, at), heads_of(grid, at), at.splits, grid.splits, 0, 1);
        }
    }
}

// The computing warps compute `count` units from `at` on.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void compute_units(const cuda_attention &job, const decode_grid &grid, decode_space &s,
                                              float *space, unsigned char *slots, place at, int count)
{
    typedef shape<KV, DIMS> S;
    const uint32_t full = shared_address(s.full), empty = shared_address(s.empty), ring_from = shared_address(slots);
    const int g = threadIdx.x % 32 / 4;
    const float *scales = (const float *)(slots + grid.slots * S::tile_bytes);
    ring_at ring = {0, 0};
    uint32_t q[DIMS / 16][4];
    float factor = 1;
    int parity = 0, held = -1; // the slot of V that is given back next, or -1
    previous_wait();
    for (int n = 0, token = -1, column = -1; n < count; n++) {
        const int head = first_head(grid, at) + min(g, heads_of(grid, at) - 1);
        if (at.token != token || at.column != column)
            factor = load_queries<KV, DIMS>(job, job.qkv + (size_t)at.token * job.ld + (size_t)head * job.kv.head_dim,
                                            g < heads_of(grid, at), q);
        token = at.token;
        column = at.column;
        running row = {-INFINITY, 0};
        float out[DIMS / 16][4] = {};
        tile_at tile = {begin_of(at), at.first, end_of(at), NULL, NULL};
        for (; tile.base < tile.end; tile.base += S::positions) {
            float v[S::tiles][4] = {};
            uint32_t high[S::tiles], low[S::tiles];
            const int keys = ring.slot;
            barrier_wait(full + keys * 8, ring.parity);
            score_tile<KV, DIMS>(q, ring_from + keys * S::tile_bytes, v);
            // A slot is released once the products have consumed the registers that ldmatrix loaded. An arrive issued
            // right after ldmatrix could become visible first, and the next tile would overwrite rows that are still to
            // be read.
            if (held >= 0)
                barrier_arrive(empty + held * 8);
            ring.next(grid.slots);
            if (S::bytes == 1) {
                barrier_wait(full + ring.slot * 8, ring.parity);
                tile.k_scale = scales + keys * S::positions;
                tile.v_scale = scales + ring.slot * S::positions;
            }
            weigh_tile<KV, DIMS>(job, at.position, tile, head, factor, v, row, out);
            split_weights<KV, DIMS>(v, high, low);
            if (S::bytes == 2)
                barrier_wait(full + ring.slot * 8, ring.parity);
            barrier_arrive(empty + keys * 8);
            add_values<KV, DIMS>(high, low, ring_from + ring.slot * S::tile_bytes, out);
            held = ring.slot;
            ring.next(grid.slots);
        }
        put_unit<KV, DIMS>(job, grid, at, n % 2, s, space, row, out);
        if (at.splits > 1 && n + 1 == count)
            end_block(job, grid, at, n, s);
        if (is_reported(at, n, count)) {
            barrier_wait(shared_address(&s.taken), parity ^ 1); // of the unit before
            barrier_arrive(shared_address(&s.stored));
            parity ^= 1;
        }
        next_unit(grid, at);
    }
}

template <enum dtype KV, int DIMS>
__global__ void __launch_bounds__(THREADS, shape<KV, DIMS>::blocks)
    k_decode(const __grid_constant__ cuda_attention job, const __grid_constant__ decode_grid grid)
{
    typedef shape<KV, DIMS> S;
    extern __shared__ __align__(1024) unsigned char memory[]; // slots, their scales, the rest
    decode_space &s = *(decode_space *)(memory + grid.slots * (S::tile_bytes + S::scale_bytes));
    float *space = (float *)(&s + 1);
    const int warp = threadIdx.x / 32;
    next_may_start();
    if (threadIdx.x == 0) {
        for (int i = 0; i < grid.slots; i++) {
            barrier_init(shared_address(s.full + i), 32);
            barrier_init(shared_address(s.empty + i), COMPUTING);
        }
        barrier_init(shared_address(&s.stored), COMPUTING);
        barrier_init(shared_address(&s.taken), 32);
    }
    place at = {};
    const int units = find_unit(grid, -1, at);
    const int unit = (int)((long long)units * blockIdx.x / gridDim.x);
    const int count = (int)((long long)units * (blockIdx.x + 1) / gridDim.x) - unit;
    find_unit(grid, unit, at);
    __syncthreads();
    if (warp < WARPS)
        compute_units<KV, DIMS>(job, grid, s, space, memory, at, count);
    else if (warp > WARPS)
        report_units(job, grid, s, at, count);
    else
        copy_units<KV, DIMS>(job, grid, s, shared_address(memory), at, count);
}

// Slots of a ring where a multiprocessor has `blocks` blocks, each with `fixed` bytes for the rest.
int slots_for(int blocks, int fixed, int slot_bytes)
{
    const int most = min(cuda_attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) / blocks - 1024,
                         cuda_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
    return min((int)MOST_SLOTS, (most - fixed) / slot_bytes);
}

template <enum dtype KV, int DIMS> void launch_decode(const cuda_attention *job, cudaStream_t stream)
{
    typedef shape<KV, DIMS> S;
    const int group = job->heads / job->kv.kv_heads, parts = ceil_div(group, (int)HEADS);
    decode_grid grid = {};
    grid.tokens = job->tokens;
    grid.rows = job->rows;
    grid.kv_heads = job->kv.kv_heads;
    grid.group = group;
    grid.window = job->window;
    grid.parts = parts;
    grid.heads = min(group, (int)HEADS);
    grid.splits =
        min(ceil_div(job->most_positions, (int)CUDA_LEAST_SPLIT), ceil_div(CUDA_DECODE_BLOCKS, job->kv.kv_heads));
    const int fixed = sizeof(decode_space) + WARPS * grid.heads * (DIMS + 4) * 4;
    const int slot = S::tile_bytes + S::scale_bytes;
    int each = S::blocks; // blocks of a multiprocessor: one where two would have no room for a tile of K and of V
    grid.slots = slots_for(each, fixed, slot);
    if (grid.slots < 2)
        grid.slots = slots_for(each = 1, fixed, slot);
    if (grid.slots < 2) {
        cuda_launch_refused();
        return;
    }
    const int bytes = fixed + grid.slots * slot;
    const long long units = (long long)job->rows * job->kv.kv_heads * parts * grid.splits;
    const int blocks = (int)min(units, (long long)each * job->multiprocessors);
    cudaFuncSetAttribute(k_decode<KV, DIMS>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    cudaFuncSetAttribute(k_decode<KV, DIMS>, cudaFuncAttributePreferredSharedMemoryCarveout, 100);
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
