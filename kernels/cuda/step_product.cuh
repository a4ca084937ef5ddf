// step_product.cuh - the products of the persistent kernel. For step_kernel.cuh only.
// A warp sums its parts of each tile. The block adds up the warps in order and posts the outputs.
#pragma once

#include "kernels/cuda/step_inputs.cuh"

// ---- sums ------------------------------------------------------------------------------------------------

// fp8 codes become f16, by the device's own conversion of two at a time, which is exact.
template <enum dtype T> struct step_weights : weights<T> {
};
template <> struct step_weights<DT_F8E4M3> : weights<DT_F8E4M3> {
    static __device__ __forceinline__ void convert(uint32_t codes, uint32_t &low, uint32_t &high)
    {
        asm("{\n.reg .b16 l, h;\nmov.b32 {l, h}, %2;\n"
            "cvt.rn.f16x2.e4m3x2 %0, l;\ncvt.rn.f16x2.e4m3x2 %1, h;\n}"
            : "=r"(low), "=r"(high)
            : "r"(codes));
    }
    static __device__ __forceinline__ void fragment(const uint4 *v, int m, uint32_t a[4])
    {
        convert(word_of(v[0], m), a[0], a[2]);
        convert(word_of(v[1], m), a[1], a[3]);
    }
    static __device__ __forceinline__ void multiply(sum c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
    {
        mma_f16(c, a, b0, b1);
    }
};

// Multiplies a part of a tile by the inputs of all tokens. Two sums take turns, so that a product seldom waits for the
// previous one.
template <enum dtype T>
static __device__ __forceinline__ void sum_part(const uint4 (&v)[STEP_VECTORS], const unsigned char *x, int t, bool any,
                                                typename weights<T>::sum (&acc)[2][4])
{
    typedef step_weights<T> W;
    typedef part_of<T> P;
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
            W::multiply(acc[step % 2], a, in[2 * step], in[2 * step + 1]);
        }
    }
}

// The same for fp8, times the scales of the part's inputs. scales: of the tokens of this lane's two columns.
static __device__ __forceinline__ void sum_scaled(const uint4 (&v)[STEP_VECTORS], const unsigned char *x, int t,
                                                  bool any, const float (&scales)[2], float (&acc)[4])
{
    float of[2][4] = {};
    sum_part<DT_F8E4M3>(v, x, t, any, of);
#pragma unroll
    for (int i = 0; i < 4; i++)
        acc[i] = fmaf(scales[i % 2], of[0][i] + of[1][i], acc[i]);
}

// Multiplies unsigned codes by signed inputs. Columns of b: the high bytes of token 0, its low bytes, those of token 1,
// ...
static __device__ __forceinline__ void mma_codes(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                                 uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9}, {%0,%1,%2,%3};"
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
                mma_codes(l, v[i].x & M, v[i].y & M, v[i].z & M, v[i].w & M, in[i].x, in[i].y);
                mma_codes(u, v[i].x & ~M, v[i].y & ~M, v[i].z & ~M, v[i].w & ~M, in[i].z, in[i].w);
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

// The stages of a tile that a chunk covers: parts [*first, *end) of its warps.
template <class state>
static __device__ __forceinline__ void chunk_parts(const state &, const step_matrix &m, int chunk, int *first, int *end)
{
    *first = 0, *end = m.parts;
    if (!state::WIDE)
        return;
    *first = chunk * m.chunk_stages * STEP_WARPS;
    *end = min(*first + m.chunk_stages * STEP_WARPS, m.parts);
}

// Loads this lane's vectors of a part.
static __device__ __forceinline__ void load_part(uint4 (&v)[STEP_VECTORS], const unsigned char *at, int lane)
{
#pragma unroll
    for (int i = 0; i < STEP_VECTORS; i++)
        v[i] = *reinterpret_cast<const uint4 *>(at + i * 512 + lane * 16);
}

// The same as sum_tile below, for int4 codes.
template <int GROUP, int TOK, class state>
static __device__ __forceinline__ void sum_code_tile(state &b, const step_matrix &m, float *part)
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
        if (first + b.warp < parts) {
            uint4 v[STEP_VECTORS];
            uint32_t pairs[CUDA_UNIT_COLS / GROUP][2];
            load_part(v, at, b.lane);
#pragma unroll
            for (int i = 0; i < CUDA_UNIT_COLS / GROUP * 2; i++)
                pairs[i / 2][i % 2] = *reinterpret_cast<const uint32_t *>(at + STEP_VECTORS * 512 + (i * 8 + g) * 4);
            sum_codes<GROUP>(v, pairs, x, reinterpret_cast<const float2 *>(of), acc);
        }
        b.release();
        x += STEP_WARPS * P::bytes;
        of += STEP_WARPS * P::bytes;
    }
    if (t < TOK) {
        part[t * CUDA_TILE_ROWS + g] = acc[0];
        part[t * CUDA_TILE_ROWS + g + 8] = acc[1];
    }
}

// Multiplies a part of int4 codes by bf16 inputs. x: the inputs of this lane's token. Each group has sums of its own,
// two that take turns.
template <int GROUP>
static __device__ __forceinline__ void sum_nibbles(const uint4 (&v)[STEP_VECTORS], const unsigned char *groups,
                                                   const unsigned char *x, int g, int t, float (&acc)[4])
{
    typedef weights<DT_I4> W;
    group_scales s;
    float c[2][4];
#pragma unroll
    for (int i = 0; i < 2 * STEP_VECTORS; i++) {
        const int block = i / 2, half = i % 2;
        if (group_begins<GROUP>(block, half)) {
            s = load_group<DT_I4>(groups, group_of<GROUP>(block, half), g);
#pragma unroll
            for (int k = 0; k < 8; k++)
                c[k / 4][k % 4] = 0;
        }
        const uint4 in = *reinterpret_cast<const uint4 *>(x + i * 64 + t * 16);
        uint32_t a[4];
        W::fragment(&v[block], 2 * half, a, s);
        W::multiply(c[0], a, in.x, in.y);
        W::fragment(&v[block], 2 * half + 1, a, s);
        W::multiply(c[1], a, in.z, in.w);
        if (group_ends<GROUP>(block, half)) {
#pragma unroll
            for (int k = 0; k < 4; k++)
                acc[k] = fmaf(s.scale[k / 2], c[0][k] + c[1][k], acc[k]);
        }
    }
}

// Sums all parts of this warp in one tile. The sums go to `part`, (token, row), and the scales of the rows to `scales`.
template <enum dtype T, int GROUP, int TOK, class state>
static __device__ __forceinline__ void sum_tile(state &b, const step_matrix &m, typename weights<T>::sum *part,
                                                float *scales, int chunk)
{
    typedef weights<T> W;
    typedef part_of<T, state::WIDE> P;
    const int lane = b.lane, g = lane / 4, t = lane % 4;
    const int part_bytes = m.part_bytes;
    const bool any = g < b.job.tokens;
    const unsigned char *x = input_row<T>(b, m, any ? g : 0) + b.warp * P::bytes;
    // The scales of fp8 inputs of this lane's two columns. Columns without a token take those of token 0.
    const unsigned char *of[2];
#pragma unroll
    for (int i = 0; i < 2; i++)
        of[i] =
            input_row<T>(b, m, TOK > 1 && 2 * t + i < b.job.tokens ? 2 * t + i : 0) + b.warp * P::bytes + P::cols * 2;
    typename W::sum acc[2][4] = {};
    int first, parts;
    chunk_parts(b, m, chunk, &first, &parts);
    for (; first < parts; first += STEP_WARPS) {
        const unsigned char *at = b.wait();
        const bool mine = first + b.warp < parts;
        uint4 v[STEP_VECTORS];
        if (scales_rows(T) && first == 0) {
            if (b.warp == 0 && lane < CUDA_TILE_ROWS)
                scales[lane] = reinterpret_cast<const float *>(at)[lane];
            at += CUDA_HEADER_BYTES;
        }
        at += b.warp * part_bytes;
        if (mine) {
            load_part(v, at, lane);
            if constexpr (T == DT_I4) {
                sum_nibbles<GROUP>(v, at + STEP_VECTORS * 512, x, g, t, acc[0]);
            } else if constexpr (T == DT_F8E4M3 && !state::WIDE) {
                const float of_inputs[2] = {*reinterpret_cast<const float *>(of[0]),
                                            *reinterpret_cast<const float *>(of[1])};
                sum_scaled(v, x, t, any, of_inputs, acc[0]);
            } else {
                sum_part<T>(v, x, t, any, acc);
            }
        }
        b.release();
        x += STEP_WARPS * P::bytes;
        of[0] += STEP_WARPS * P::bytes, of[1] += STEP_WARPS * P::bytes;
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (2 * t + i % 2 < TOK) {
            typename W::sum *to = part + (2 * t + i % 2) * CUDA_TILE_ROWS + g + i / 2 * 8;
            *to = chunk ? *to + (acc[0][i] + acc[1][i]) : acc[0][i] + acc[1][i];
        }
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
    __device__ __forceinline__ output_row(int thread)
    {
        row = thread % CUDA_TILE_ROWS;
        token = thread / CUDA_TILE_ROWS % TOK;
        tile = thread / (CUDA_TILE_ROWS * TOK);
    }
};

template <enum dtype T, int TOK, class state>
static __device__ __forceinline__ float output_of(const state &b, const step_matrix &m, int buffer, int tile, int token,
                                                  int row, int matrix_row, size_t layer_bytes, float factor)
{
    typedef typename weights<T>::sum sum;
    const sum *part = reinterpret_cast<const sum *>(b.s.part) + buffer * 4096 +
                      (tile * STEP_WARPS * TOK + token) * CUDA_TILE_ROWS + row;
    sum total = part[0];
#pragma unroll
    for (int w = 1; w < STEP_WARPS; w++)
        total += part[w * TOK * CUDA_TILE_ROWS];
    float v = (float)total;
    if (scales_rows(T))
        v *= b.s.scales[(buffer * 8 + tile) * CUDA_TILE_ROWS + row];
    v *= factor;
    if (m.bias)
        v += __ldg(reinterpret_cast<const float *>(reinterpret_cast<const unsigned char *>(m.bias) + layer_bytes) +
                   matrix_row);
    return v;
}

// A row of the residual stream before this half of the layer, as requested: its words, or the bits of the embedding
// without a tag. Wide: its bits, and those of the weight of the norm that follows.
struct residual_words {
    uint32_t high, rest;
};

template <class state>
static __device__ __forceinline__ const uint32_t *residual_at(const state &b, int phase, int token, int row)
{
    const int which = phase == STEP_OUT ? STEP_DOWN : STEP_OUT;
    const int start = step_start(&b.job, which, phase == STEP_OUT ? b.layer - 1 : b.layer);
    return b.job.exchange + b.row_word(which, start, token, row);
}

template <class state>
static __device__ __forceinline__ residual_words residual_ask(const state &b, int phase, int token, int row)
{
    if constexpr (state::WIDE) {
        const cuda_step &job = b.job;
        const bool last = phase == STEP_DOWN && b.layer + 1 == job.layers;
        const float *norm = phase == STEP_OUT ? job.ff_norm : last ? job.final_norm : job.attn_norm;
        const size_t bytes = last ? 0 : (b.layer + (phase == STEP_DOWN)) * job.layer_stride;
        norm = reinterpret_cast<const float *>(reinterpret_cast<const unsigned char *>(norm) + bytes);
        return {load_word(wide_residual(job, token, row)), __float_as_uint(__ldg(norm + row))};
    }
    const int which = phase == STEP_OUT ? STEP_DOWN : STEP_OUT;
    if (phase == STEP_OUT && b.layer == 0)
        return {__float_as_uint(b.job.x[(size_t)token * b.job.width + row]), 0};
    const uint32_t *at = residual_at(b, phase, token, row);
    return {load_word(at), load_word(at + (b.job.rests[which] - b.job.slots[which]))};
}

// Reloads words that had not arrived.
template <class state>
static __device__ __forceinline__ float residual_take(const state &b, int phase, residual_words words, int token,
                                                      int row)
{
    const uint32_t tag = phase == STEP_OUT ? b.tag - 1 : b.tag;
    if (phase == STEP_OUT && b.layer == 0)
        return __uint_as_float(words.high);
    while (!step_fresh(words.high, tag) || !step_fresh(words.rest, tag))
        words = residual_ask(b, phase, token, row);
    return step_value(words.high) + step_value(words.rest);
}

// Turns the sums of the block's items [batch, batch + count), which are in shared memory, into outputs.
template <enum dtype T, int TOK, class state>
static __device__ __forceinline__ void finish(const state &b, int phase, int first, int batch, int count, int start,
                                              residual_words before, bool normed, int buffer)
{
    const cuda_step &job = b.job;
    const step_matrix &m = job.m[phase];
    const output_row<TOK> o(b.thread);
    const int item = first + (batch + o.tile) * job.blocks, row = item * CUDA_TILE_ROWS + o.row;
    const size_t layer_bytes = phase == STEP_HEAD ? 0 : b.layer * job.layer_stride;
    float factor = 1;
    if constexpr (state::WIDE) {
        if (normed || wide_scales<T>())
            factor = b.s.factor[o.token];
    } else {
        if (normed && T != DT_F16) // f16 inputs are already normed
            factor = norm_factor(b, o.token);
        if (T == DT_I8)
            factor = input_scale(b, o.token, factor);
    }
    if (o.tile >= count || o.token >= job.tokens)
        return;
    const int slot = step_slot(&job, start, item);
    const size_t at = step_row_at(&job, slot, o.token, o.row);
    if (phase == STEP_GATE_UP) {
        const float gate = output_of<T, TOK>(b, m, buffer, 2 * o.tile, o.token, o.row, row, layer_bytes, factor);
        const float up =
            output_of<T, TOK>(b, m, buffer, 2 * o.tile + 1, o.token, o.row, row + job.ff, layer_bytes, factor);
        if constexpr (state::WIDE) {
            store_wide(job, STEP_GATE_UP, o.token, row, job.ff, gated(job.activation, gate) * up, 0);
            return;
        }
        b.post_packed(job.slots[phase] + step_packed_at(&job, slot, o.token, o.row), gated(job.activation, gate) * up);
        return;
    }
    if (row >= m.rows)
        return;
    const float v = output_of<T, TOK>(b, m, buffer, o.tile, o.token, o.row, row, layer_bytes, factor);
    if (phase == STEP_HEAD) {
        job.logits[(size_t)o.token * job.vocab + row] = v;
    } else if (state::WIDE && phase == STEP_QKV) {
        *wide_qkv(job, o.token, row) = __float_as_uint(v);
    } else if (state::WIDE) {
        if (batch)
            before = residual_ask(b, phase, o.token, row);
        store_residual(job, phase, o.token, row, __uint_as_float(before.high) + v, __uint_as_float(before.rest));
    } else if (phase == STEP_QKV) {
        b.post(job.slots[phase] + at, v);
    } else {
        if (batch)
            before = residual_ask(b, phase, o.token, row);
        const float x = residual_take(b, phase, before, o.token, row) + v;
        b.post(job.slots[phase] + at, x);
        b.post(job.rests[phase] + at, x - step_value(step_word(x, 0)));
    }
}

// ---- a phase ---------------------------------------------------------------------------------------------

template <enum dtype T, int GROUP, int TOK, class state>
static __device__ __forceinline__ void run_product(state &b, int phase)
{
    typedef typename weights<T>::sum sum;
    b.locate();
    const cuda_step &job = b.job;
    const step_matrix &m = job.m[phase];
    const int start = step_start(&job, phase, b.layer), first = step_first(&job, start, blockIdx.x);
    const int tiles = phase == STEP_GATE_UP ? 2 : 1, batch = 16 / TOK / tiles;
    const int items = first < m.items ? step_rounds(&job, m.items - first + job.blocks - 1) : 0;
    const bool normed = phase == STEP_QKV || phase == STEP_GATE_UP || phase == STEP_HEAD;
    if (!items) {
        b.enter_phase();
        if (phase != STEP_HEAD) {
            b.announce();
            b.leave_phase();
        }
        return;
    }
    const output_row<TOK> o(b.thread);
    const int row = (first + o.tile * job.blocks) * CUDA_TILE_ROWS + o.row;
    residual_words before = {0, 0};
    if (phase == STEP_OUT || phase == STEP_DOWN)
        if (o.tile < items && o.tile < batch && o.token < job.tokens)
            before = residual_ask(b, phase, o.token, row);
    if constexpr (!state::WIDE) {
        gather<T, GROUP, TOK>(b, phase, normed);
        __syncwarp();
        b.mark(STEP_MARK_GATHERED);
    }
    int buffer = 0;
    for (int done = 0; done < items; done += batch) {
        const int count = min(batch, items - done), chunks = state::WIDE ? m.chunks : 1;
        if (!state::WIDE && done)
            b.sync();
        for (int chunk = 0; chunk < chunks; chunk++) {
            if constexpr (state::WIDE)
                if (!done) { // a block with several chunks has one batch
                    gather_wide<T, GROUP, TOK>(b, phase, normed, chunk);
                    if (!chunk)
                        b.mark(STEP_MARK_GATHERED);
                }
            for (int i = 0; i < count * tiles; i++) {
                sum *part = reinterpret_cast<sum *>(b.s.part) + buffer * 4096 +
                            (i * STEP_WARPS + b.warp) * TOK * CUDA_TILE_ROWS;
                if constexpr (T == DT_I4 && !state::WIDE)
                    sum_code_tile<GROUP, TOK>(b, m, part);
                else
                    sum_tile<T, GROUP, TOK>(b, m, part, b.s.scales + (buffer * 8 + i) * CUDA_TILE_ROWS, chunk);
            }
        }
        if (phase != STEP_HEAD && done + count == items)
            b.announce();
        b.mark(STEP_MARK_SUMMED);
        b.sync();
        finish<T, TOK>(b, phase, first, done, count, start, before, normed, buffer);
        b.mark(STEP_MARK_POSTED);
        if (state::WIDE) // a warp sums into the other buffer while others finish this one
            buffer ^= 1;
    }
    if (phase != STEP_HEAD)
        b.leave_phase();
}
