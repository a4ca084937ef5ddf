// step_attend.cuh - attention of the persistent kernel. For step_kernel.cuh only.
// A block takes one split of one head's positions. Their keys and values arrive through the ring. The block of the last
// split also rotates, appends and adds the new position.
#pragma once

#include "kernels/cuda/step_wide.cuh"

// ---- elements of the cache -------------------------------------------------------------------------------

// Loads 8 elements as f32. They have one byte each where KV is scaled.
template <enum dtype KV> static __device__ __forceinline__ void load_keys(const unsigned char *from, float (&v)[8])
{
    if constexpr (KV == DT_BF16 || KV == DT_F16) {
        const uint4 u = *reinterpret_cast<const uint4 *>(from);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint32_t word = word_of(u, i);
            const float2 f = KV == DT_BF16 ? __bfloat1622float2(bits_bf16x2(word))
                                           : __half22float2(*reinterpret_cast<const __half2 *>(&word));
            v[2 * i] = f.x;
            v[2 * i + 1] = f.y;
        }
    } else {
        const uint2 u = *reinterpret_cast<const uint2 *>(from);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const uint32_t code = (i < 4 ? u.x : u.y) >> i % 4 * 8 & 0xff;
            v[i] =
                KV == DT_I8 ? (float)(signed char)code : __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
        }
    }
}

// Rounds one element as the cache stores it, and stores its code in `to` unless that is NULL.
template <enum dtype KV> static __device__ __forceinline__ float store_key(void *to, size_t i, float v, float scale)
{
    if constexpr (KV == DT_I8) {
        const float code = coded<KV>(v, scale);
        if (to)
            store_element<KV>(to, i, code);
        return code * scale;
    } else if constexpr (KV == DT_F8E4M3) {
        const unsigned char code = __nv_cvt_float_to_fp8(coded<KV>(v, scale), __NV_SATFINITE, __NV_E4M3);
        if (to)
            static_cast<unsigned char *>(to)[i] = code;
        return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3))) * scale;
    } else {
        if (to)
            store_element<KV>(to, i, v);
        return KV == DT_BF16 ? __bfloat162float(__float2bfloat16_rn(v)) : __half2float(__float2half_rn(v));
    }
}

// ---- heads -----------------------------------------------------------------------------------------------

// A lane's part of a head of q, k or v: dimensions 32 apart. All but the values is known before the phase begins.
struct head_lane {
    enum { EACH = STEP_MOST_HEAD_DIM / 32 };
    const uint32_t *at[EACH]; // NULL: the head has fewer dimensions
    float cosine[EACH], sine[EACH], weight[EACH];
    int partner[EACH]; // the dimension it is rotated with

    template <class state>
    __device__ __forceinline__ head_lane(const state &b, int start, int token, int row0, const float *norm, bool turned)
    {
        const cuda_step &job = b.job;
        const int half = job.rotary / 2;
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            const int dim = b.lane + 32 * i;
            const bool first = job.interleaved ? dim % 2 == 0 : dim < half;
            const int pair = job.interleaved ? dim / 2 : first ? dim : dim - half;
            at[i] = dim >= job.head_dim ? NULL
                    : state::WIDE       ? wide_qkv(job, token, row0 + dim)
                                        : job.exchange + b.row_word(STEP_QKV, start, token, row0 + dim);
            weight[i] = norm && at[i] ? __ldg(norm + dim) : 1.0f;
            const bool turns = turned && dim < job.rotary;
            partner[i] = !turns ? dim : job.interleaved ? dim ^ 1 : first ? dim + half : pair;
            cosine[i] = turns ? b.s.turn[token][pair] : 1.0f;
            sine[i] = !turns ? 0.0f : first ? -b.s.turn[token][half + pair] : b.s.turn[token][half + pair];
        }
    }
};

// A warp reads a head from the exchange, norms and rotates it, and stores it in shared memory as (head_dim) f32.
template <class state>
static __device__ __forceinline__ void take_head(const state &b, const head_lane &of, bool normed, float *head)
{
    enum { EACH = head_lane::EACH };
    uint32_t word[EACH];
    float v[EACH], squares = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++)
        word[i] = of.at[i] ? load_word(of.at[i]) : b.tag;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        while (!state::WIDE && !step_fresh(word[i], b.tag))
            word[i] = load_word(of.at[i]);
        v[i] = !state::WIDE ? step_value(word[i]) : of.at[i] ? __uint_as_float(word[i]) : 0.0f;
        squares = fmaf(v[i], v[i], squares);
    }
    __syncwarp();
    float factor = 1;
    if (normed) {
#pragma unroll
        for (int o = 16; o; o >>= 1)
            squares += __shfl_xor_sync(~0u, squares, o);
        factor = rsqrtf(__fdividef(squares, (float)b.job.head_dim) + b.job.eps);
    }
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        v[i] *= factor * of.weight[i];
        if (of.at[i])
            head[b.lane + 32 * i] = v[i];
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < EACH; i++)
        v[i] = v[i] * of.cosine[i] + (of.at[i] ? head[of.partner[i]] * of.sine[i] : 0.0f);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < EACH; i++)
        if (of.at[i])
            head[b.lane + 32 * i] = v[i];
    __syncwarp();
}

// A warp rounds a new row of k or v as the cache stores it, and appends it where `block` is not NULL.
template <enum dtype KV, class state>
static __device__ __forceinline__ void append_head(const state &b, unsigned char *block, int position, float *head)
{
    const int n = b.job.head_dim;
    float scale = 1;
    if (type_is_coded(KV)) {
        float largest = 0;
        for (int i = b.lane; i < n; i += 32)
            largest = most()(fabsf(head[i]), largest);
#pragma unroll
        for (int o = 16; o; o >>= 1)
            largest = most()(__shfl_xor_sync(~0u, largest, o), largest);
        scale = scale_of(largest, top_of(KV));
        if (block && b.lane == 0)
            reinterpret_cast<float *>(block + b.job.kv_scales_offset)[position] = scale;
    }
    for (int i = b.lane; i < n; i += 32)
        head[i] = store_key<KV>(block, (size_t)position * n + i, head[i], scale);
    __syncwarp();
}

// ---- scores ----------------------------------------------------------------------------------------------

// What a lane has accumulated over its rows: the largest score (base 2), the sum of weights, and its 8 dimensions.
struct attended {
    float max, sum, v[8];
};

static __device__ __forceinline__ void merge(attended &a, float max, float sum, const float (&v)[8])
{
    const float now = fmaxf(a.max, max);
    const float keep = a.max == -INFINITY ? 0.0f : power_of_2(a.max - now),
                take = max == -INFINITY ? 0.0f : power_of_2(max - now);
    a.sum = fmaf(take, sum, keep * a.sum);
#pragma unroll
    for (int i = 0; i < 8; i++)
        a.v[i] = fmaf(take, v[i], keep * a.v[i]);
    a.max = now;
}

// q k, summed over the lanes of a row.
static __device__ __forceinline__ float score(const float (&q)[8], const float (&k)[8], int lanes)
{
    float dot = 0;
#pragma unroll
    for (int i = 0; i < 8; i++)
        dot = fmaf(q[i], k[i], dot);
#pragma unroll
    for (int o = STEP_MOST_HEAD_DIM / 16; o; o >>= 1) {
        const float other = __shfl_xor_sync(~0u, dot, o);
        dot += o < lanes ? other : 0.0f;
    }
    return dot;
}

// Attends to the positions of one stage, with `lanes` lanes per row. Each group of lanes takes two rows at a time.
template <enum dtype KV, class state>
static __device__ __forceinline__ void attend_stage(const state &b, const unsigned char *at, int count, int shift,
                                                    const float (&q)[8], attended &a)
{
    const cuda_step &job = b.job;
    const bool scaled = type_is_coded(KV);
    const int row_bytes = job.head_dim * (scaled ? 1 : 2), lanes = 1 << shift, pitch = STEP_WARPS * 32 >> shift;
    const int values = job.key_stage * row_bytes, of_row = b.lane >> shift;
    const float *scales = reinterpret_cast<const float *>(at + 2 * values);
    const int offset = (b.lane & (lanes - 1)) * 8 * (scaled ? 1 : 2);
    for (int row = (b.warp * 32 >> shift) + of_row; row - of_row < count; row += 2 * pitch) {
        float k[2][8], v[2][8], of[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int at_row = min(row + i * pitch, count - 1);
            load_keys<KV>(at + at_row * row_bytes + offset, k[i]);
            load_keys<KV>(at + values + at_row * row_bytes + offset, v[i]);
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            of[i] = score(q, k[i], lanes);
            if (scaled)
                of[i] *= scales[min(row + i * pitch, count - 1)];
            if (row + i * pitch >= count)
                of[i] = -INFINITY;
        }
        const float now = fmaxf(a.max, fmaxf(of[0], of[1]));
        if (now == -INFINITY)
            continue;
        const float keep = power_of_2(a.max - now);
        float weight[2];
        a.sum *= keep;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            weight[i] = power_of_2(of[i] - now);
            a.sum += weight[i];
            if (scaled && row + i * pitch < count)
                weight[i] *= scales[job.key_stage + row + i * pitch];
        }
#pragma unroll
        for (int i = 0; i < 8; i++)
            a.v[i] = fmaf(weight[1], v[1][i], fmaf(weight[0], v[0][i], keep * a.v[i]));
        a.max = now;
    }
}

// Merges the outcomes of the warps and posts the split's words: its outputs and the logarithm of their weight. Each
// lane computes the weight of one warp, and all lanes add the warps up in order.
template <class state> static __device__ __forceinline__ void post_split(const state &b, int slot, int token, int head)
{
    const cuda_step &job = b.job;
    const uint32_t words = job.slots[STEP_ATTEND] + slot * step_split_words(&job);
    const int i = b.thread, n = job.head_dim;
    if (b.warp * 32 >= n)
        return;
    const float of_warp = b.s.max[b.lane % STEP_WARPS];
    float max = of_warp, v = 0;
#pragma unroll
    for (int o = STEP_WARPS / 2; o; o >>= 1)
        max = fmaxf(max, __shfl_xor_sync(~0u, max, o));
    const float of = of_warp == -INFINITY ? 0.0f : power_of_2(of_warp - max);
    float sum = of * b.s.sum[b.lane % STEP_WARPS];
#pragma unroll
    for (int o = STEP_WARPS / 2; o; o >>= 1)
        sum += __shfl_xor_sync(~0u, sum, o);
#pragma unroll
    for (int w = 0; w < STEP_WARPS; w++)
        v = fmaf(__shfl_sync(~0u, of, w), i < n ? b.s.part[w * n + i] : 0.0f, v);
    if (i >= n)
        return;
    if constexpr (state::WIDE) {
        store_wide(job, STEP_ATTEND, token, head * n + i, job.heads * n, sum > 0 ? __fdividef(v, sum) : v + sum, 0);
        return;
    }
    b.post_packed(words + i / 2, sum > 0 ? __fdividef(v, sum) : v + sum);
    if (i == 0)
        store_packed(job.exchange + words + n / 2, b.tag, __float_as_uint(sum > 0 ? max + log2f(sum) : max + sum));
}

template <enum dtype KV, class state> static __device__ __forceinline__ void run_attention(state &b)
{
    b.locate();
    const cuda_step &job = b.job;
    const int start = step_start(&job, STEP_ATTEND, b.layer), from = step_start(&job, STEP_QKV, b.layer);
    const int n = job.head_dim, shift = 28 - __clz(n),
              lanes = 1 << shift; // lanes per row, 8 dimensions each
    const size_t layer_bytes = b.layer * job.layer_stride;
    const int first = step_first(&job, start, blockIdx.x);
    if (first >= job.m[STEP_ATTEND].items) {
        b.enter_phase();
        b.announce();
    }
    for (int item = first; item < job.m[STEP_ATTEND].items; item += job.blocks) {
        int token, head, split, begin, end;
        const int cached = step_attend_item(&job, item, b.s.position, &token, &head, &split);
        const int kv = step_quotient(head, job.per_group), position = b.s.position[token];
        const bool newest = split == job.splits - 1 && position >= 0;
        step_split(&job, cached, split, &begin, &end);
        // Warp 0 takes q, and where the newest position is the split's, warps 1 and 2 take k and v.
        if (b.warp == 0 || (newest && b.warp < 3)) {
            const float *norm = b.warp == 0 ? job.q_norm : b.warp == 1 ? job.k_norm : NULL;
            float *row = b.warp == 0 ? b.s.q : b.warp == 1 ? b.s.k : b.s.v;
            if (norm)
                norm = reinterpret_cast<const float *>(reinterpret_cast<const unsigned char *>(norm) + layer_bytes);
            const int row0 = b.warp == 0 ? head : job.heads + (b.warp == 1 ? 0 : job.kv_heads) + kv;
            const head_lane lane(b, from, token, row0 * n, norm, b.warp < 2);
            if (item == first)
                b.enter_phase();
            else
                b.sync();
            take_head(b, lane, norm, row);
            if (b.warp) {
                unsigned char *block =
                    job.kv + (size_t)b.layer * job.kv_layer_bytes +
                    (((size_t)b.s.sequence[token] * job.kv_heads + kv) * 2 + (b.warp - 1)) * job.kv_block_bytes;
                const bool stores = head == 0 || step_quotient(head - 1, job.per_group) != kv; // the group's first head
                append_head<KV>(b, stores ? block : NULL, position, row);
            }
        } else if (item == first) {
            b.enter_phase();
        } else {
            b.sync();
        }
        b.sync();
        float q[8];
#pragma unroll
        for (int i = 0; i < 8; i++)
            q[i] = b.s.q[(b.lane & (lanes - 1)) * 8 + i] * (job.scale * 1.4426950408889634f);
        b.mark(STEP_MARK_GATHERED);
        attended a = {-INFINITY, 0, {}};
        for (int at = begin; at < end; at += job.key_stage) {
            const unsigned char *stage = b.wait();
            attend_stage<KV>(b, stage, min(job.key_stage, end - at), shift, q, a);
            b.release();
        }
        if (item + job.blocks >= job.m[STEP_ATTEND].items)
            b.announce();
        b.mark(STEP_MARK_SUMMED);
        if (newest && b.warp == 0) {
            float k[8], v[8];
#pragma unroll
            for (int i = 0; i < 8; i++) {
                k[i] = b.s.k[(b.lane & (lanes - 1)) * 8 + i];
                v[i] = b.s.v[(b.lane & (lanes - 1)) * 8 + i];
            }
            const float its = score(q, k, lanes);
            if (b.lane < lanes)
                merge(a, its, 1.0f, v);
        }
#pragma unroll 1
        for (int o = lanes; o < 32; o <<= 1) {
            float v[8];
            const float max = __shfl_xor_sync(~0u, a.max, o), sum = __shfl_xor_sync(~0u, a.sum, o);
#pragma unroll
            for (int i = 0; i < 8; i++)
                v[i] = __shfl_xor_sync(~0u, a.v[i], o);
            merge(a, max, sum, v);
        }
        if (b.lane < lanes)
#pragma unroll
            for (int i = 0; i < 8; i++)
                b.s.part[b.warp * n + b.lane * 8 + i] = a.v[i];
        if (b.lane == 0) {
            b.s.max[b.warp] = a.max;
            b.s.sum[b.warp] = a.sum;
        }
        b.sync();
        post_split(b, step_slot(&job, start, item), token, head);
        b.mark(STEP_MARK_POSTED);
    }
    b.leave_phase();
}
