// step_inputs.cuh - the inputs of the persistent kernel's products. For step_product.cuh only.
// A warp gathers the inputs that it multiplies: from the exchange, normed or merged, and rounded for the weights' type.
#pragma once

#include "kernels/cuda/step_wide.cuh"

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

template <enum dtype T, class state>
static __device__ __forceinline__ unsigned char *input_row(const state &b, const step_matrix &m, int token)
{
    return b.inputs + token * (state::WIDE ? step_wide_row_bytes(T) : m.parts * part_of<T>::bytes);
}

template <enum dtype T> static __device__ __forceinline__ void store_8(unsigned char *to, const float (&v)[8])
{
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

// Byte `at` of each of four codes, after adding `add`.
static __device__ __forceinline__ uint32_t bytes_of(const int *code, int at, int add)
{
    const uint32_t pick = at | (4 + at) << 4;
    return __byte_perm(__byte_perm(code[0] + add, code[1] + add, pick), __byte_perm(code[2] + add, code[3] + add, pick),
                       0x5410);
}

// Stores inputs of int4 weights as codes of 15 bits, with one scale per part, a power of 2. A code is kept as two
// bytes, so that codes of weights and inputs multiply as integers. A block of 64 inputs is 4 runs of 16 high bytes,
// then 4 runs of 16 low bytes. Run t holds inputs 8 t .. 8 t + 7 of both halves, in the order in which sum_codes takes
// them: for groups of 128, four inputs of each half in turn. Behind the part follow the scale and the scaled sum of the
// inputs of each group. code: in the low 16 bits. sum: of the lane's codes. All lanes of a warp call it.
template <int GROUP>
static __device__ __forceinline__ void keep_codes(unsigned char *part, int lane, bool there, const int (&code)[8],
                                                  int sum, float scale)
{
    // code = 256 upper + lower, both signed: upper is byte 1 of code + 128.
    const uint2 low = make_uint2(bytes_of(code, 0, 0), bytes_of(code + 4, 0, 0));
    const uint2 high = make_uint2(bytes_of(code, 1, 128), bytes_of(code + 4, 1, 128));
#pragma unroll
    for (int o = GROUP / 16; o; o >>= 1)
        sum += __shfl_xor_sync(~0u, sum, o);
    if (!there)
        return;
    const int half = lane % 8 / 4;
    unsigned char *to = part + lane / 8 * 128 + lane % 4 * 16;
    if (GROUP == 128) {
        uint32_t *words = reinterpret_cast<uint32_t *>(to) + half;
        words[0] = high.x, words[2] = high.y, words[16] = low.x, words[18] = low.y;
    } else {
        *reinterpret_cast<uint2 *>(to + half * 8) = high;
        *reinterpret_cast<uint2 *>(to + half * 8 + 64) = low;
    }
    if (lane % (GROUP / 8) == 0) // sum_codes counts in sixteenths for whole groups of 128
        *reinterpret_cast<float2 *>(part + CUDA_UNIT_COLS * 2 + lane / (GROUP / 8) * 8) =
            make_float2(GROUP == 128 ? scale * 0.0625f : scale, scale * (float)sum);
}

// The exponent of the largest input of a warp, 8 a lane. Bits sort like magnitudes.
static __device__ __forceinline__ int largest_exponent(const float (&v)[8])
{
    uint32_t largest = 0;
#pragma unroll
    for (int i = 0; i < 8; i++)
        largest = max(largest, __float_as_uint(v[i]) & 0x7fffffffu);
    return (int)(__reduce_max_sync(~0u, largest) >> 23);
}

// The sum of this and a value below 2^22 has the value, rounded to a whole number, in its low bits.
static constexpr float whole_bits = 12582912.0f;

template <int GROUP>
static __device__ __forceinline__ void keep_values(unsigned char *part, int lane, bool there, const float (&v)[8])
{
    const int exponent = largest_exponent(v);
    const float inverse = part_inverse(exponent);
    int code[8];
    uint32_t sum = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        code[i] = __float_as_int(fmaf(v[i], inverse, whole_bits));
        sum += (uint32_t)code[i] - 0x4b400000u;
    }
    keep_codes<GROUP>(part, lane, there, code, (int)sum, part_scale(exponent));
}

// Stores inputs of fp8 weights as f16, with one scale per part behind it. All lanes of a warp call it.
static __device__ __forceinline__ void keep_halves(unsigned char *part, int lane, bool there, const float (&v)[8])
{
    typedef part_of<DT_F8E4M3> P;
    const int exponent = largest_exponent(v);
    const float inverse = part_inverse(exponent);
    float scaled[8];
#pragma unroll
    for (int i = 0; i < 8; i++)
        scaled[i] = v[i] * inverse;
    if (!there)
        return;
    store_8<DT_F16>(part + lane % P::lanes * 16, scaled);
    if (lane % P::lanes == 0)
        *reinterpret_cast<float *>(part + P::cols * 2) = part_scale(exponent);
}

// Turns packed words of 12 bits, with one exponent for four values, into codes without floats.
template <int GROUP>
static __device__ __forceinline__ void keep_packed(unsigned char *part, int lane, bool there, const uint4 &word)
{
    const int largest = there ? max(word.y & 0xff, word.w & 0xff) : 0;
    const int exponent = __reduce_max_sync(~0u, largest);
    int code[8], sum = 0;
    step_codes(word.x, word.y, exponent, code);
    step_codes(word.z, word.w, exponent, code + 4);
#pragma unroll
    for (int i = 0; i < 8; i++)
        sum += code[i];
    keep_codes<GROUP>(part, lane, there, code, sum, part_scale(exponent));
}

// Stores 8 inputs: rounded, or as f32 until the whole row has arrived.
template <enum dtype T, int GROUP, class state>
static __device__ __forceinline__ void keep_8(const state &b, const step_matrix &m, const lane_inputs<T> &in, int token,
                                              const float (&v)[8], float &largest)
{
    typedef part_of<T> P;
    unsigned char *to = input_row<T>(b, m, token) + in.part * P::bytes;
    if constexpr (T == DT_I4)
        return keep_values<GROUP>(to, b.lane, in.any && token < b.job.tokens, v);
    if constexpr (T == DT_F8E4M3)
        return keep_halves(to, b.lane, in.any && token < b.job.tokens, v);
    to += b.lane % P::lanes * 16;
    if (!in.any || token >= b.job.tokens)
        return;
    if constexpr (P::whole) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            largest = larger(fabsf(v[i]), largest);
        *reinterpret_cast<float4 *>(to) = make_float4(v[0], v[1], v[2], v[3]);
        *reinterpret_cast<float4 *>(to + P::lanes * 16) = make_float4(v[4], v[5], v[6], v[7]);
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
    const float *plain; // (tokens, cols) f32: the embedding; NULL: words
    int which, start;   // the phase that posted the words
    uint32_t tag;
    const float *weight; // weights of the norm
};

// Gathers rows of words or of the embedding, times the norm's weight, and sums their squares. Addresses are computed
// before the block enters the phase.
template <enum dtype T, int GROUP, int TOK, class state>
static __device__ __forceinline__ void gather_rows(state &b, const step_matrix &m, const input_source &from,
                                                   float (&squares)[TOK], float (&largest)[TOK])
{
    const int rounds = input_rounds<T>(m), tokens = b.job.tokens;
    for (int round = 0; round < rounds; round++) {
        const lane_inputs<T> in(m, b.lane, b.warp, round);
        const bool inside = in.any && in.k < m.cols;
        const uint32_t *at = b.job.exchange + (inside ? b.row_word(from.which, from.start, 0, in.k) : 0);
        if (round == 0)
            b.enter_phase();
        float w[8] = {};
        if (inside)
            load_8(from.weight + in.k, w);
#pragma unroll
        for (int token = 0; token < TOK; token++) {
            const bool here = inside && token < tokens;
            float v[8] = {};
            if (from.plain) {
                if (here)
                    load_8(from.plain + (size_t)token * m.cols + in.k, v);
            } else {
                eight_words word;
                word.take(at + token * CUDA_TILE_ROWS, b.lane, here, from.tag);
                values_of(word.v[0], word.v[1], v);
            }
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
template <enum dtype T, int GROUP, int TOK, class state>
static __device__ __forceinline__ void gather_packed(state &b, const step_matrix &m, int which, int start,
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
        const lane_inputs<T> in(m, b.lane, b.warp, round);
        if (at[0])
            await_packed(word[0], at[0], b.tag);
        __syncwarp();
        if constexpr (T == DT_I4) {
            keep_packed<GROUP>(input_row<T>(b, m, token) + in.part * part_of<T>::bytes, b.lane, in.any, word[0]);
        } else {
            float v[8], unused = 0;
            step_unpack(word[0].x, word[0].y, v);
            step_unpack(word[0].z, word[0].w, v + 4);
            keep_8<T, GROUP>(b, m, in, token, v, unused);
#pragma unroll
            for (int t = 0; t < TOK; t++)
                if (t == token)
                    largest[t] = larger(unused, largest[t]);
        }
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
template <enum dtype T, int GROUP, int TOK, class state>
static __device__ __forceinline__ void gather_splits(state &b, const step_matrix &m, int start, float (&largest)[TOK])
{
    enum { FLIGHT = 4 };
    const cuda_step &job = b.job;
    const int rounds = input_rounds<T>(m), shift = 31 - __clz(job.head_dim),
              half = job.head_dim / 2; // power of 2
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
            const float from = now == -INFINITY ? 0.0f : now, keep = power_of_2(max - from);
            sum *= keep;
#pragma unroll
            for (int e = 0; e < 8; e++)
                v[e] *= keep;
#pragma unroll
            for (int i = 0; i < FLIGHT; i++) {
                const float take = power_of_2(__uint_as_float(weight[i].y) - from);
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
                largest[t] = larger(its, largest[t]);
    }
}

// The factor of the norm, from the sums of all warps. The 16 lanes of a half warp ask for the same token.
template <class state> static __device__ __forceinline__ float norm_factor(const state &b, int token)
{
    float sum = b.s.squares[b.lane % STEP_WARPS][token];
#pragma unroll
    for (int o = STEP_WARPS / 2; o; o >>= 1)
        sum += __shfl_xor_sync(~0u, sum, o);
    return rsqrtf(__fdividef(sum, (float)b.job.width) + b.job.eps);
}

// The scale of int8 inputs, computed from the largest normed input, as the kernels of the graph form do. The same lanes
// call it.
template <class state> static __device__ __forceinline__ float input_scale(const state &b, int token, float factor)
{
    float largest = b.s.largest[b.lane % STEP_WARPS][token];
#pragma unroll
    for (int o = STEP_WARPS / 2; o; o >>= 1)
        largest = larger(__shfl_xor_sync(~0u, largest, o), largest);
    return scale_of(largest * factor, top_of(DT_I8));
}

// Rounds 8 values of at most 127 to int8.
static __device__ __forceinline__ uint2 round_8(const float (&v)[8], float times)
{
    uint32_t code[8];
#pragma unroll
    for (int i = 0; i < 8; i++)
        code[i] = __float_as_uint(fmaf(v[i], times, whole_bits));
    return make_uint2(__byte_perm(__byte_perm(code[0], code[1], 0x40), __byte_perm(code[2], code[3], 0x40), 0x5410),
                      __byte_perm(__byte_perm(code[4], code[5], 0x40), __byte_perm(code[6], code[7], 0x40), 0x5410));
}

// Rounds the f32 inputs of whole rows to int8 or f16, in place at the front of each part's space.
template <enum dtype T, int TOK, class state>
static __device__ __forceinline__ void round_rows(state &b, const step_matrix &m, bool normed)
{
    typedef part_of<T> P;
    const int rounds = input_rounds<T>(m);
#pragma unroll
    for (int token = 0; token < TOK; token++) {
        if (token >= b.job.tokens)
            break;
        const float factor = normed ? norm_factor(b, token) : 1.0f;
        const float scale = T == DT_I8 ? input_scale(b, token, factor) : 1.0f;
        const float times = T == DT_I8 ? (scale > 0 ? __fdividef(factor, scale) : 0.0f) : factor;
        for (int round = 0; round < rounds; round++) {
            const lane_inputs<T> in(m, b.lane, b.warp, round);
            unsigned char *part = input_row<T>(b, m, token) + in.part * P::bytes;
            float v[8] = {};
            if (in.any) {
                const float4 *from = reinterpret_cast<const float4 *>(part) + b.lane % P::lanes;
                const float4 x = from[0], y = from[P::lanes];
                v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w, v[4] = y.x, v[5] = y.y, v[6] = y.z, v[7] = y.w;
            }
            __syncwarp();
            if (!in.any)
                continue;
            if constexpr (T == DT_I8) {
                *reinterpret_cast<uint2 *>(part + b.lane % P::lanes * 8) = round_8(v, times);
            } else {
#pragma unroll
                for (int i = 0; i < 8; i++)
                    v[i] *= times;
                store_8<T>(part + b.lane % P::lanes * 16, v);
            }
        }
    }
    __syncwarp();
}

// ---- the inputs of a phase ------------------------------------------------------------------------------

// Whether the wide form scales the inputs of a row before it rounds them.
template <enum dtype T> static constexpr __device__ bool wide_scales()
{
    return T == DT_I8 || T == DT_F8E4M3;
}

// Gathers the inputs of a chunk in the wide form, 8 of each token for each lane. All loads are in flight before the
// first is used. A warp stores what it alone multiplies.
template <enum dtype T, int GROUP, int TOK, class state>
static __device__ __forceinline__ void gather_wide(state &b, int phase, bool normed, int chunk)
{
    typedef part_of<T, true> P;
    const cuda_step &job = b.job;
    const step_matrix &m = job.m[phase];
    const int which = phase == STEP_OUT       ? STEP_ATTEND
                      : phase == STEP_GATE_UP ? STEP_OUT
                      : phase == STEP_DOWN    ? STEP_GATE_UP
                                              : STEP_DOWN;
    const lane_inputs<T> in(m, b.lane, b.warp, chunk);
    const uint32_t *from =
        in.any && in.k < m.cols ? reinterpret_cast<const uint32_t *>(wide_row(job, which, 0, m.cols) + in.k) : NULL;
    unsigned char *to = b.inputs + (b.lane / P::lanes * STEP_WARPS + b.warp) * P::bytes;
    if (chunk == 0)
        b.enter_phase();
    uint4 word[TOK];
#pragma unroll
    for (int token = 0; token < TOK; token++)
        word[token] = from && token < job.tokens ? load_words(from + token * (m.cols / 2)) : make_uint4(0, 0, 0, 0);
    if (chunk == 0 && (normed || wide_scales<T>())) {
        gather_sums<T>(b, which, m.cols, normed);
        if (wide_scales<T>())
            b.sync();
    }
    __syncwarp(); // the previous chunk has been read
#pragma unroll
    for (int token = 0; token < TOK && in.any; token++) { // places of missing tokens take zeros
        unsigned char *row = to + token * step_wide_row_bytes(T);
        const uint4 w = word[token];
        if constexpr (wide_scales<T>()) {
            const float times = b.s.times[token < job.tokens ? token : 0];
            float v[8];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float2 f = __bfloat1622float2(bits_bf16x2(word_of(w, i)));
                v[2 * i] = f.x, v[2 * i + 1] = f.y;
            }
            if constexpr (T == DT_I8) {
                *reinterpret_cast<uint2 *>(row + b.lane % P::lanes * 8) = round_8(v, times);
            } else {
#pragma unroll
                for (int i = 0; i < 8; i++)
                    v[i] *= times;
                store_8<DT_F16>(row + b.lane % P::lanes * 16, v);
            }
        } else if constexpr (T == DT_I4) { // inputs 0 and 2, 1 and 3, .. : as int4 codes leave their words
            *reinterpret_cast<uint4 *>(row + b.lane % P::lanes * 16) =
                make_uint4(__byte_perm(w.x, w.y, 0x5410), __byte_perm(w.x, w.y, 0x7632), __byte_perm(w.z, w.w, 0x5410),
                           __byte_perm(w.z, w.w, 0x7632));
        } else {
            *reinterpret_cast<uint4 *>(row + b.lane % P::lanes * 16) = w;
        }
    }
    __syncwarp();
}

template <enum dtype T, int GROUP, int TOK, class state>
static __device__ __forceinline__ void gather(state &b, int phase, bool normed)
{
    const cuda_step &job = b.job;
    const step_matrix &m = job.m[phase];
    float squares[TOK] = {}, largest[TOK] = {};
    if (phase == STEP_OUT) {
        gather_splits<T, GROUP, TOK>(b, m, step_start(&job, STEP_ATTEND, b.layer), largest);
    } else if (phase == STEP_DOWN) {
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
                largest[token] = larger(__shfl_xor_sync(~0u, largest[token], o), largest[token]);
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
