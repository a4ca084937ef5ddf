// step_product.cuh - the products of the persistent kernel. For step.cu only.
// Inputs are gathered from the exchange, normed or merged, and rounded. A warp sums its parts of each tile. The block
// adds up the warps in order and posts the outputs.
#pragma once

#include "kernels/cuda/step_block.cuh"

// ---- inputs ----------------------------------------------------------------------------------------------

// The place of a lane's 8 inputs of round r: a part of its warp, and inputs from k on.
template <enum dtype T> struct lane_inputs {
    int part, k;
    bool any; // the part exists
    __device__ __forceinline__ lane_inputs(const step_matrix &m, int lane, int warp, int round)
    {
        typedef part_of<T> P;
        part = (round * (32 / P::lanes) + lane / P::lanes) * STEP_WARPS + warp;
        k = part * P::cols + lane % P::lanes * 8;
        any = part < m.parts;
    }
};

template <enum dtype T> static __device__ __forceinline__ int input_rounds(const step_matrix &m)
{
    enum { EACH = STEP_WARPS * (32 / part_of<T>::lanes) };
    return (m.parts + EACH - 1) / EACH;
}

template <enum dtype T>
static __device__ __forceinline__ unsigned char *input_row(const block_state &b, const step_matrix &m, int token)
{
    return b.inputs + token * m.parts * part_of<T>::bytes;
}

template <enum dtype T> static __device__ __forceinline__ void store_8(unsigned char *to, const float (&v)[8])
{
    if constexpr (T == DT_I8) {
        uint2 out = {0, 0};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            out.x |= ((uint32_t)(int)v[i] & 0xffu) << 8 * i;
            out.y |= ((uint32_t)(int)v[i + 4] & 0xffu) << 8 * i;
        }
        *reinterpret_cast<uint2 *>(to) = out;
    } else {
        uint32_t out[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if constexpr (T == DT_F16) {
                __half2 h = __floats2half2_rn(v[2 * i], v[2 * i + 1]);
                out[i] = *reinterpret_cast<uint32_t *>(&h);
            } else {
                out[i] = bf16x2_bits(__floats2bfloat162_rn(v[2 * i], v[2 * i + 1]));
            }
        }
        *reinterpret_cast<uint4 *>(to) = make_uint4(out[0], out[1], out[2], out[3]);
    }
}

// Byte `at` of each of four codes, after adding `add`.
static __device__ __forceinline__ uint32_t bytes_of(const int *code, int at, int add)
{
    const uint32_t pick = at | (4 + at) << 4;
    return __byte_perm(__byte_perm(code[0] + add, code[1] + add, pick), __byte_perm(code[2] + add, code[3] + add, pick),
                       0x5410);
}

// The larger of two magnitudes. A NaN stays a NaN.
static __device__ __forceinline__ float larger(float a, float b)
{
    float v;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(v) : "f"(a), "f"(b));
    return v;
}

// Stores inputs of int4 weights as codes of 16 bits, with one scale per part. A code is kept as two bytes, so that
// codes of weights and inputs multiply as integers. A block of 64 inputs is 4 runs of 16 high bytes, then 4 runs of 16
// low bytes. Run t holds inputs 8 t .. 8 t + 7 of both halves. Behind the part follow the scale and the scaled sum of
// the inputs of each group. All lanes of a warp call it.
template <int GROUP>
static __device__ __forceinline__ void keep_codes(unsigned char *part, int lane, bool there, const float (&v)[8])
{
    float largest = 0;
#pragma unroll
    for (int i = 0; i < 8; i++)
        largest = larger(fabsf(v[i]), largest);
    largest = __uint_as_float(__reduce_max_sync(~0u, __float_as_uint(largest))); // bits sort like magnitudes
    // Inputs that no f32 can scale become NaNs, and inputs below 2^-100 become zeros.
    const bool tiny = largest < 0x1p-100f, huge = !(largest < 0x1p120f);
    const float inverse = tiny ? 0.0f : __fdividef(32512.0f, largest);
    const float scale = tiny ? 0.0f : huge ? NAN : largest * (1.0f / 32512.0f);
    int code[8], sum = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        code[i] = __float2int_rn(v[i] * inverse);
        sum += code[i];
    }
    // code = 256 upper + lower, both signed: upper is byte 1 of code + 128.
    const uint2 low = make_uint2(bytes_of(code, 0, 0), bytes_of(code + 4, 0, 0));
    const uint2 high = make_uint2(bytes_of(code, 1, 128), bytes_of(code + 4, 1, 128));
#pragma unroll
    for (int o = GROUP / 16; o; o >>= 1)
        sum += __shfl_xor_sync(~0u, sum, o);
    if (!there)
        return;
    unsigned char *to = part + lane / 8 * 128 + lane % 4 * 16 + lane % 8 / 4 * 8;
    *reinterpret_cast<uint2 *>(to) = high;
    *reinterpret_cast<uint2 *>(to + 64) = low;
    if (lane % (GROUP / 8) == 0) // sum_codes counts in sixteenths for whole groups of 128
        *reinterpret_cast<float2 *>(part + CUDA_UNIT_COLS * 2 + lane / (GROUP / 8) * 8) =
            make_float2(GROUP == 128 ? scale * 0.0625f : scale, scale * (float)sum);
}

// Stores 8 inputs: rounded, or as f32 until the whole row has arrived.
template <enum dtype T, int GROUP>
static __device__ __forceinline__ void keep_8(const block_state &b, const step_matrix &m, const lane_inputs<T> &in,
                                              int token, const float (&v)[8], float &largest)
{
    typedef part_of<T> P;
    unsigned char *to = input_row<T>(b, m, token) + in.part * P::bytes;
    if constexpr (T == DT_I4)
        return keep_codes<GROUP>(to, b.lane, in.any && token < b.job.tokens, v);
    to += b.lane % P::lanes * (P::whole ? 32 : 16);
    if (!in.any || token >= b.job.tokens)
        return;
    if constexpr (P::whole) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            largest = most()(fabsf(v[i]), largest);
        *reinterpret_cast<float4 *>(to) = make_float4(v[0], v[1], v[2], v[3]);
        *reinterpret_cast<float4 *>(to + 16) = make_float4(v[4], v[5], v[6], v[7]);
    } else {
        store_8<T>(to, v);
    }
}

static __device__ __forceinline__ void load_8(const float *from, float (&v)[8])
{
    const float4 a = __ldg(reinterpret_cast<const float4 *>(from)),
                 c = __ldg(reinterpret_cast<const float4 *>(from) + 1);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = c.x, v[5] = c.y, v[6] = c.z, v[7] = c.w;
}

static __device__ __forceinline__ void values_of(const uint4 &a, const uint4 &c, float (&v)[8])
{
    v[0] = step_value(a.x), v[1] = step_value(a.y), v[2] = step_value(a.z), v[3] = step_value(a.w);
    v[4] = step_value(c.x), v[5] = step_value(c.y), v[6] = step_value(c.z), v[7] = step_value(c.w);
}

// The source of a row of inputs.
struct input_source {
    const float *plain;  // (tokens, cols) f32: the embedding; NULL: words
    int which, start;    // the phase that posted the words
    uint32_t tag;
    const float *weight; // weights of the norm
};

// Gathers rows of words or of the embedding, times the norm's weight, and sums their squares. Addresses and factors are
// computed before the block enters the phase.
template <enum dtype T, int GROUP, int TOK>
static __device__ __forceinline__ void gather_rows(block_state &b, const step_matrix &m, const input_source &from,
                                            float (&squares)[TOK], float (&largest)[TOK])
{
    const int rounds = input_rounds<T>(m), tokens = b.job.tokens;
    for (int round = 0; round < rounds; round++) {
        const lane_inputs<T> in(m, b.lane, b.warp, round);
        const bool inside = in.any && in.k < m.cols;
        const uint32_t *at = b.job.exchange + (inside ? b.row_word(from.which, from.start, 0, in.k) : 0);
        float w[8];
        if (inside)
            load_8(from.weight + in.k, w);
        if (round == 0)
            b.enter_phase();
#pragma unroll
        for (int token = 0; token < TOK; token++) {
            const bool here = inside && token < tokens;
            eight_words word;
            float v[8];
            word.request(at + token * CUDA_TILE_ROWS, here && !from.plain);
            word.take(at + token * CUDA_TILE_ROWS, here && !from.plain, from.tag);
            values_of(word.v[0], word.v[1], v);
            if (from.plain && here)
                load_8(from.plain + (size_t)token * m.cols + in.k, v);
            if (here)
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    squares[token] = fmaf(v[i], v[i], squares[token]);
                    v[i] *= w[i];
                }
            keep_8<T, GROUP>(b, m, in, token, v, largest[token]);
        }
    }
}

// Gathers rows of packed words. Three rounds are in flight, in registers that rotate, so that there is one copy of the
// code.
template <enum dtype T, int GROUP, int TOK>
static __device__ __forceinline__ void gather_packed(block_state &b, const step_matrix &m, int which, int start,
                                              float (&largest)[TOK])
{
    const cuda_step &job = b.job;
    const int rounds = input_rounds<T>(m), all = rounds * job.tokens;
    const uint32_t *words = job.exchange + job.slots[which];
    auto place = [&](int step) { // steps run over rounds, then tokens
        const int round = TOK == 1 ? step : step / job.tokens;
        const lane_inputs<T> in(m, b.lane, b.warp, round);
        const int slot = step_slot(&job, start, in.k / CUDA_TILE_ROWS);
        return in.any && in.k < m.cols && step < all
                   ? words + step_packed_at(&job, slot, step - round * job.tokens, in.k % CUDA_TILE_ROWS)
                   : NULL;
    };
    const uint32_t *at[3] = {place(0), place(1), place(2)};
    uint4 word[3];
    b.enter_phase();
#pragma unroll
    for (int i = 0; i < 3; i++)
        word[i] = at[i] ? load_two_packed(at[i]) : make_uint4(0, 0, 0, 0);
#pragma unroll 1
    for (int step = 0; step < all; step++) {
        const int round = TOK == 1 ? step : step / job.tokens, token = TOK == 1 ? 0 : step - round * job.tokens;
        float v[8], unused = 0;
        if (at[0])
            await_packed(word[0], at[0], b.tag);
        __syncwarp();
        step_unpack(word[0].x, word[0].y, v);
        step_unpack(word[0].z, word[0].w, v + 4);
        keep_8<T, GROUP>(b, m, lane_inputs<T>(m, b.lane, b.warp, round), token, v, unused);
#pragma unroll
        for (int t = 0; t < TOK; t++)
            if (t == token)
                largest[t] = most()(unused, largest[t]);
        at[0] = at[1], at[1] = at[2], at[2] = place(step + 3);
        word[0] = word[1], word[1] = word[2];
        word[2] = at[2] ? load_two_packed(at[2]) : make_uint4(0, 0, 0, 0);
    }
}

// v += weight times four packed values.
static __device__ __forceinline__ void add_packed(float *v, uint32_t low, uint32_t high, float weight)
{
    const float unit = weight * step_unit(high);
    v[0] = fmaf(unit, (float)((int32_t)(low << 12) >> 20), v[0]);
    v[1] = fmaf(unit, (float)((int32_t)low >> 20), v[1]);
    v[2] = fmaf(unit, (float)((int32_t)(high << 12) >> 20), v[2]);
    v[3] = fmaf(unit, (float)((int32_t)high >> 20), v[3]);
}

// Gathers the outputs of attention: merges the splits of each head in rising order, four at a time.
template <enum dtype T, int GROUP, int TOK>
static __device__ __forceinline__ void gather_splits(block_state &b, const step_matrix &m, int start,
                                                     float (&largest)[TOK])
{
    enum { FLIGHT = 4 };
    const cuda_step &job = b.job;
    const int rounds = input_rounds<T>(m), shift = 31 - __clz(job.head_dim), half = job.head_dim / 2; // power of 2
    const uint32_t *words = job.exchange + job.slots[STEP_ATTEND];
    bool entered = false;
#pragma unroll 1
    for (int step = 0; step < rounds * job.tokens; step++) {
        const int round = TOK == 1 ? step : step / job.tokens, token = TOK == 1 ? 0 : step - round * job.tokens;
        const lane_inputs<T> in(m, b.lane, b.warp, round);
        const bool here = in.any && in.k < m.cols;
        const int dim = in.k & (job.head_dim - 1), item = (token * job.heads + (in.k >> shift)) * job.splits;
        float v[8] = {}, max = -INFINITY, sum = 0;
#pragma unroll 1
        for (int split = 0; split < job.splits; split += FLIGHT) {
            const uint32_t *at[FLIGHT];
            uint4 word[FLIGHT];
            uint2 weight[FLIGHT];
#pragma unroll
            for (int i = 0; i < FLIGHT; i++)
                at[i] = here && split + i < job.splits
                            ? words + step_slot(&job, start, item + split + i) * step_split_words(&job)
                            : NULL;
            if (!entered)
                b.enter_phase();
            entered = true;
#pragma unroll
            for (int i = 0; i < FLIGHT; i++) {
                weight[i] = at[i] ? load_packed(at[i] + half) : make_uint2(b.tag, 0xff800000u);
                word[i] = at[i] ? load_two_packed(at[i] + dim / 2) : make_uint4(b.tag, 0, b.tag, 0);
            }
            float now = max;
#pragma unroll
            for (int i = 0; i < FLIGHT; i++) {
                await_packed(weight[i], at[i] + half, b.tag);
                now = fmaxf(now, __uint_as_float(weight[i].y));
            }
            const float from = now == -INFINITY ? 0.0f : now, keep = exp2f(max - from);
            sum *= keep;
#pragma unroll
            for (int e = 0; e < 8; e++)
                v[e] *= keep;
#pragma unroll
            for (int i = 0; i < FLIGHT; i++) {
                const float take = exp2f(__uint_as_float(weight[i].y) - from);
                await_packed(word[i], at[i] + dim / 2, b.tag);
                sum += take;
                add_packed(v, word[i].x, word[i].y, take);
                add_packed(v + 4, word[i].z, word[i].w, take);
            }
            max = now;
        }
        __syncwarp();
        const float factor = sum == 0 ? 0.0f : __fdividef(1.0f, sum);
#pragma unroll
        for (int e = 0; e < 8; e++)
            v[e] *= factor;
        float its = 0;
        keep_8<T, GROUP>(b, m, in, token, v, its);
#pragma unroll
        for (int t = 0; t < TOK; t++)
            if (t == token)
                largest[t] = most()(its, largest[t]);
    }
}

// The factor of the norm, from the sums of all warps in order.
static __device__ __forceinline__ float norm_factor(const block_state &b, int token)
{
    float sum = 0;
#pragma unroll
    for (int w = 0; w < STEP_WARPS; w++)
        sum += b.s.squares[w][token];
    return rsqrtf(__fdividef(sum, (float)b.job.width) + b.job.eps);
}

// The scale of int8 inputs, computed from the largest normed input, as the kernels of the graph form do.
static __device__ __forceinline__ float input_scale(const block_state &b, int token, float factor)
{
    float largest = 0;
#pragma unroll
    for (int w = 0; w < STEP_WARPS; w++)
        largest = most()(b.s.largest[w][token], largest);
    return scale_of(largest * factor, 127.0f);
}

// Rounds the f32 inputs of whole rows to int8 or f16, in place at the front of each part's space.
template <enum dtype T, int TOK>
static __device__ __forceinline__ void round_rows(block_state &b, const step_matrix &m, bool normed)
{
    typedef part_of<T> P;
    const int rounds = input_rounds<T>(m);
#pragma unroll
    for (int token = 0; token < TOK; token++) {
        if (token >= b.job.tokens)
            break;
        const float factor = normed ? norm_factor(b, token) : 1.0f;
        const float scale = T == DT_I8 ? input_scale(b, token, factor) : 1.0f;
        const float times = T == DT_I8 ? (scale > 0 ? factor / scale : 0.0f) : factor;
        for (int round = 0; round < rounds; round++) {
            const lane_inputs<T> in(m, b.lane, b.warp, round);
            unsigned char *part = input_row<T>(b, m, token) + in.part * P::bytes;
            float v[8] = {};
            if (in.any) {
                const float4 *from = reinterpret_cast<const float4 *>(part + b.lane % P::lanes * 32);
                const float4 x = from[0], y = from[1];
                v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w, v[4] = y.x, v[5] = y.y, v[6] = y.z, v[7] = y.w;
            }
#pragma unroll
            for (int i = 0; i < 8; i++)
                v[i] = T == DT_I8 ? fminf(fmaxf(rintf(v[i] * times), -127.0f), 127.0f) : v[i] * times;
            __syncwarp();
            if (in.any)
                store_8<T>(part + b.lane % P::lanes * 8 * P::element_bytes, v);
        }
    }
    __syncwarp();
}

// ---- sums ------------------------------------------------------------------------------------------------

// Multiplies a part of a tile by the inputs of all tokens.
template <enum dtype T>
static __device__ __forceinline__ void sum_part(const uint4 (&v)[STEP_VECTORS], const unsigned char *x, bool any,
                                         typename weights<T>::sum (&acc)[4])
{
    typedef weights<T> W;
    typedef part_of<T> P;
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int block = 0; block < P::blocks; block++) {
        uint32_t in[4 * P::vectors];
#pragma unroll
        for (int i = 0; i < P::vectors; i++) {
            uint4 u = make_uint4(0, 0, 0, 0);
            if (any) // the token exists
                u = *reinterpret_cast<const uint4 *>(x + (block * 4 + t) * 16 * P::vectors + i * 16);
            in[4 * i] = u.x, in[4 * i + 1] = u.y, in[4 * i + 2] = u.z, in[4 * i + 3] = u.w;
        }
#pragma unroll
        for (int step = 0; step < W::steps; step++) {
            uint32_t a[4];
            W::fragment(&v[block * W::words], step, a);
            W::multiply(acc, a, in[2 * step], in[2 * step + 1]);
        }
    }
}

// Multiplies unsigned codes by signed inputs. Columns of b: the high bytes of token 0, its low bytes, those of token 1,
// ...
static __device__ __forceinline__ void mma_codes(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                                 uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// sum += scale (x . codes - zero x . 1) for one group of rows g and g + 8. of: the inputs' scale, and their scaled sum.
static __device__ __forceinline__ void add_group(float (&acc)[2], int low, int high, const float2 of,
                                                 const uint32_t (&pair)[2])
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float2 weight = __half22float2(*reinterpret_cast<const __half2 *>(&pair[i])); // scale, zero
        acc[i] = fmaf(weight.x, fmaf(-weight.y, of.y, of.x * (float)(i ? high : low)), acc[i]);
    }
}

// Multiplies a part of int4 codes as integers. pairs: scale and zero of each group, for rows g and g + 8; x: this
// lane's run of the part; of: scale and scaled sum of this lane's token. Codes in the upper halves of bytes count 16
// times. In whole groups of 128 they have separate sums and are not shifted down.
template <int GROUP>
static __device__ __forceinline__ void sum_codes(const uint4 (&v)[STEP_VECTORS],
                                                 const uint32_t (&pairs)[CUDA_UNIT_COLS / GROUP][2],
                                                 const unsigned char *x, const float2 *of, float (&acc)[2])
{
    const uint32_t M = 0x0f0f0f0fu;
    uint4 in[STEP_VECTORS];
#pragma unroll
    for (int i = 0; i < STEP_VECTORS; i++)
        in[i] = *reinterpret_cast<const uint4 *>(x + i * 128);
    if constexpr (GROUP == 128) {
#pragma unroll
        for (int group = 0; group < 2; group++) {
            int l[4] = {0, 0, 0, 0}, u[4] = {0, 0, 0, 0};
#pragma unroll
            for (int i = 2 * group; i < 2 * group + 2; i++) {
                mma_codes(l, v[i].x & M, v[i].y & M, v[i].z & M, v[i].w & M, in[i].x, in[i].z);
                mma_codes(u, v[i].x & ~M, v[i].y & ~M, v[i].z & ~M, v[i].w & ~M, in[i].y, in[i].w);
            }
            add_group(acc, l[0] * 4096 + u[0] * 256 + l[1] * 16 + u[1], l[2] * 4096 + u[2] * 256 + l[3] * 16 + u[3],
                      of[group], pairs[group]);
        }
    } else {
#pragma unroll
        for (int i = 0; i < STEP_VECTORS; i++) {
            int c[4] = {0, 0, 0, 0}, d[4] = {0, 0, 0, 0};
            mma_codes(c, v[i].x & M, v[i].y & M, v[i].x >> 4 & M, v[i].y >> 4 & M, in[i].x, in[i].y);
            mma_codes(d, v[i].z & M, v[i].w & M, v[i].z >> 4 & M, v[i].w >> 4 & M, in[i].z, in[i].w);
            add_group(acc, c[0] * 256 + c[1], c[2] * 256 + c[3], of[2 * i], pairs[2 * i]);
            add_group(acc, d[0] * 256 + d[1], d[2] * 256 + d[3], of[2 * i + 1], pairs[2 * i + 1]);
        }
    }
}

// Loads this lane's vectors of a part.
static __device__ __forceinline__ void load_part(uint4 (&v)[STEP_VECTORS], const unsigned char *at, int lane)
{
#pragma unroll
    for (int i = 0; i < STEP_VECTORS; i++)
        v[i] = *reinterpret_cast<const uint4 *>(at + i * 512 + lane * 16);
}

// The same as sum_tile below, for int4 codes.
template <int GROUP, int TOK>
static __device__ __forceinline__ void sum_code_tile(block_state &b, const step_matrix &m, float *part)
{
    typedef part_of<DT_I4> P;
    const int g = b.lane / 4, t = b.lane % 4, parts = m.parts, part_bytes = m.part_bytes, tokens = b.job.tokens;
    // Columns without a token multiply the inputs of another token; nothing reads their sums.
    const unsigned char *x =
        input_row<DT_I4>(b, m, g / 2 < tokens ? g / 2 : 0) + b.warp * P::bytes + g % 2 * 64 + t * 16;
    const unsigned char *of = input_row<DT_I4>(b, m, t < tokens ? t : 0) + b.warp * P::bytes + CUDA_UNIT_COLS * 2;
    float acc[2] = {0, 0};
    for (int first = 0; first < parts; first += STEP_WARPS) {
        const unsigned char *at = b.wait() + b.warp * part_bytes;
        const bool mine = first + b.warp < parts;
        uint4 v[STEP_VECTORS];
        uint32_t pairs[CUDA_UNIT_COLS / GROUP][2];
        if (mine) {
            load_part(v, at, b.lane);
#pragma unroll
            for (int i = 0; i < CUDA_UNIT_COLS / GROUP * 2; i++)
                pairs[i / 2][i % 2] =
                    *reinterpret_cast<const uint32_t *>(at + STEP_VECTORS * 512 + (i * 8 + g) * 4);
        }
        b.release();
        if (mine)
            sum_codes<GROUP>(v, pairs, x, reinterpret_cast<const float2 *>(of), acc);
        x += STEP_WARPS * P::bytes;
        of += STEP_WARPS * P::bytes;
    }
    if (t < TOK) {
        part[t * CUDA_TILE_ROWS + g] = acc[0];
        part[t * CUDA_TILE_ROWS + g + 8] = acc[1];
    }
}

// Sums all parts of this warp in one tile. The sums go to `part`, (token, row), and the scales of the rows to `scales`.
template <enum dtype T, int TOK>
static __device__ __forceinline__ void sum_tile(block_state &b, const step_matrix &m, typename weights<T>::sum *part,
                                         float *scales)
{
    typedef weights<T> W;
    const int lane = b.lane, g = lane / 4, t = lane % 4;
    const int parts = m.parts, part_bytes = m.part_bytes;
    const bool any = g < b.job.tokens;
    const unsigned char *x = input_row<T>(b, m, any ? g : 0) + b.warp * part_of<T>::bytes;
    typename W::sum acc[4] = {0, 0, 0, 0};
    for (int first = 0; first < parts; first += STEP_WARPS) {
        const unsigned char *at = b.wait();
        const bool mine = first + b.warp < parts;
        uint4 v[STEP_VECTORS];
        if (T == DT_I8 || T == DT_F8E4M3) {
            if (first == 0) {
                if (b.warp == 0 && lane < CUDA_TILE_ROWS)
                    scales[lane] = reinterpret_cast<const float *>(at)[lane];
                at += CUDA_HEADER_BYTES;
            }
        }
        at += b.warp * part_bytes;
        if (mine) {
            load_part(v, at, lane);
        }
        b.release();
        if (mine)
            sum_part<T>(v, x, any, acc);
        x += STEP_WARPS * part_of<T>::bytes;
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (2 * t + i % 2 < TOK)
            part[(2 * t + i % 2) * CUDA_TILE_ROWS + g + i / 2 * 8] = acc[i];
}

// ---- outputs ---------------------------------------------------------------------------------------------

static __device__ __forceinline__ float gated(enum kernel_op op, float x)
{
    switch (op) {
    case KOP_GELU:
        return x * normcdff(x);
    case KOP_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
    case KOP_RELU:
        return fmaxf(x, 0.0f);
    default:
        return __fdividef(x, 1.0f + expf(-x));
    }
}

// The output row of a thread, among the tiles that a block sums at a time.
template <int TOK> struct output_row {
    int tile, token, row; // tile: within the batch
    __device__ __forceinline__ output_row()
    {
        row = threadIdx.x % CUDA_TILE_ROWS;
        token = threadIdx.x / CUDA_TILE_ROWS % TOK;
        tile = threadIdx.x / (CUDA_TILE_ROWS * TOK);
    }
};

template <enum dtype T, int TOK>
static __device__ __forceinline__ float output_of(const block_state &b, const step_matrix &m, int tile, int token,
                                                  int row, int matrix_row, size_t layer_bytes, float factor)
{
    typedef typename weights<T>::sum sum;
    const sum *part =
        reinterpret_cast<const sum *>(b.s.part) + (tile * STEP_WARPS * TOK + token) * CUDA_TILE_ROWS + row;
    sum total = part[0];
#pragma unroll
    for (int w = 1; w < STEP_WARPS; w++)
        total += part[w * TOK * CUDA_TILE_ROWS];
    float v = (float)total;
    if (T == DT_I8 || T == DT_F8E4M3)
        v *= b.s.scales[tile * CUDA_TILE_ROWS + row];
    v *= factor;
    if (m.bias)
        v += __ldg(reinterpret_cast<const float *>(reinterpret_cast<const unsigned char *>(m.bias) + layer_bytes) +
                   matrix_row);
    return v;
}

// A row of the residual stream before this half of the layer, as requested: its words, or the bits of the embedding
// without a tag.
struct residual_words {
    uint32_t high, rest;
};

template <int phase>
static __device__ __forceinline__ const uint32_t *residual_at(const block_state &b, int token, int row)
{
    constexpr int which = phase == STEP_OUT ? STEP_DOWN : STEP_OUT;
    const int start = step_start(&b.job, which, phase == STEP_OUT ? b.layer - 1 : b.layer);
    return b.job.exchange + b.row_word(which, start, token, row);
}

template <int phase>
static __device__ __forceinline__ residual_words residual_ask(const block_state &b, int token, int row)
{
    constexpr int which = phase == STEP_OUT ? STEP_DOWN : STEP_OUT;
    if (phase == STEP_OUT && b.layer == 0)
        return {__float_as_uint(b.job.x[(size_t)token * b.job.width + row]), 0};
    const uint32_t *at = residual_at<phase>(b, token, row);
    return {load_word(at), load_word(at + (b.job.rests[which] - b.job.slots[which]))};
}

// Reloads words that had not arrived.
template <int phase>
static __device__ __forceinline__ float residual_take(const block_state &b, residual_words words, int token, int row)
{
    const uint32_t tag = phase == STEP_OUT ? b.tag - 1 : b.tag;
    if (phase == STEP_OUT && b.layer == 0)
        return __uint_as_float(words.high);
    while (!step_fresh(words.high, tag) || !step_fresh(words.rest, tag))
        words = residual_ask<phase>(b, token, row);
    return step_value(words.high) + step_value(words.rest);
}

// Turns the sums of the block's items [batch, batch + count), which are in shared memory, into outputs.
template <enum dtype T, int TOK, int phase>
static __device__ __forceinline__ void finish(const block_state &b, int first, int batch, int count, int start,
                                       residual_words before, bool normed)
{
    const cuda_step &job = b.job;
    const step_matrix &m = job.m[phase];
    const output_row<TOK> o;
    const int item = first + (batch + o.tile) * job.blocks, row = item * CUDA_TILE_ROWS + o.row;
    const size_t layer_bytes = phase == STEP_HEAD ? 0 : b.layer * job.layer_stride;
    if (o.tile >= count || o.token >= job.tokens)
        return;
    const int slot = step_slot(&job, start, item);
    const size_t at = step_row_at(&job, slot, o.token, o.row);
    float factor = normed && T != DT_F16 ? norm_factor(b, o.token) : 1.0f; // f16 inputs are already normed
    if (T == DT_I8)
        factor = input_scale(b, o.token, factor);
    if constexpr (phase == STEP_GATE_UP) {
        const float gate = output_of<T, TOK>(b, m, 2 * o.tile, o.token, o.row, row, layer_bytes, factor);
        const float up = output_of<T, TOK>(b, m, 2 * o.tile + 1, o.token, o.row, row + job.ff, layer_bytes, factor);
        b.post_packed(job.slots[phase] + step_packed_at(&job, slot, o.token, o.row), gated(job.activation, gate) * up);
        return;
    }
    if (row >= m.rows)
        return;
    const float v = output_of<T, TOK>(b, m, o.tile, o.token, o.row, row, layer_bytes, factor);
    if constexpr (phase == STEP_HEAD) {
        job.logits[(size_t)o.token * job.vocab + row] = v;
    } else if constexpr (phase == STEP_QKV) {
        b.post(job.slots[phase] + at, v);
    } else {
        if (batch)
            before = residual_ask<phase>(b, o.token, row);
        const float x = residual_take<phase>(b, before, o.token, row) + v;
        b.post(job.slots[phase] + at, x);
        b.post(job.rests[phase] + at, x - step_value(step_word(x, 0)));
    }
}

// ---- a phase ---------------------------------------------------------------------------------------------

template <enum dtype T, int GROUP, int TOK, int phase>
static __device__ __forceinline__ void gather(block_state &b, bool normed)
{
    const cuda_step &job = b.job;
    const step_matrix &m = job.m[phase];
    float squares[TOK] = {}, largest[TOK] = {};
    if constexpr (phase == STEP_OUT) {
        gather_splits<T, GROUP, TOK>(b, m, step_start(&job, STEP_ATTEND, b.layer), largest);
    } else if constexpr (phase == STEP_DOWN) {
        gather_packed<T, GROUP, TOK>(b, m, STEP_GATE_UP, step_start(&job, STEP_GATE_UP, b.layer), largest);
    } else {
        const bool behind = phase != STEP_GATE_UP; // the starts of the previous layer
        const int which = behind ? STEP_DOWN : STEP_OUT, layer = behind ? b.layer - 1 : b.layer;
        const float *norm = phase == STEP_HEAD ? job.final_norm : phase == STEP_QKV ? job.attn_norm : job.ff_norm;
        const size_t bytes = phase == STEP_HEAD ? 0 : b.layer * job.layer_stride;
        const input_source from = {
            layer < 0 ? job.x : NULL, which, layer < 0 ? 0 : step_start(&job, which, layer),
            behind ? (b.tag - 1) : b.tag,
            reinterpret_cast<const float *>(reinterpret_cast<const unsigned char *>(norm) + bytes)};
        gather_rows<T, GROUP, TOK>(b, m, from, squares, largest);
    }
#pragma unroll
    for (int token = 0; token < TOK; token++) {
        if (normed) {
#pragma unroll
            for (int o = 16; o; o >>= 1)
                squares[token] += __shfl_xor_sync(~0u, squares[token], o);
            if (b.lane == 0)
                b.s.squares[b.warp][token] = squares[token];
        }
        if (part_of<T>::whole) {
#pragma unroll
            for (int o = 16; o; o >>= 1)
                largest[token] = most()(__shfl_xor_sync(~0u, largest[token], o), largest[token]);
            if (b.lane == 0)
                b.s.largest[b.warp][token] = largest[token];
        }
    }
    __syncwarp();
    if (part_of<T>::whole) {
        b.sync();
        round_rows<T, TOK>(b, m, normed);
    }
}

template <enum dtype T, int GROUP, int TOK, int phase>
static __device__ __forceinline__ void run_product(block_state &b)
{
    typedef typename weights<T>::sum sum;
    const cuda_step &job = b.job;
    const step_matrix &m = job.m[phase];
    const int start = step_start(&job, phase, b.layer), first = step_first(&job, start, blockIdx.x);
    const int tiles = phase == STEP_GATE_UP ? 2 : 1, batch = 16 / TOK / tiles;
    const int items = first < m.items ? step_rounds(&job, m.items - first + job.blocks - 1) : 0;
    const bool normed = phase == STEP_QKV || phase == STEP_GATE_UP || phase == STEP_HEAD;
    if (!items)
        return b.enter_phase();
    const output_row<TOK> o;
    const int row = (first + o.tile * job.blocks) * CUDA_TILE_ROWS + o.row;
    residual_words before = {0, 0};
    if constexpr (phase == STEP_OUT || phase == STEP_DOWN)
        if (o.tile < items && o.tile < batch && o.token < job.tokens)
            before = residual_ask<phase>(b, o.token, row);
    gather<T, GROUP, TOK, phase>(b, normed);
    __syncwarp();
    for (int done = 0; done < items; done += batch) {
        const int count = min(batch, items - done);
        if (done)
            b.sync();
        for (int i = 0; i < count * tiles; i++) {
            sum *part = reinterpret_cast<sum *>(b.s.part) + (i * STEP_WARPS + b.warp) * TOK * CUDA_TILE_ROWS;
            if constexpr (T == DT_I4)
                sum_code_tile<GROUP, TOK>(b, m, part);
            else
                sum_tile<T, TOK>(b, m, part, b.s.scales + i * CUDA_TILE_ROWS);
        }
        b.sync();
        finish<T, TOK, phase>(b, first, done, count, start, before, normed);
    }
}
