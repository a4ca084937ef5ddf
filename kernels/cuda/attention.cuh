// attention.cuh - shared by the attention kernels: addresses in the cache and of partial results, scores, outputs.
#pragma once

#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/rows.cuh"

// The kernels by cache type. plain: any size of head. decode and prefill: on the tensor cores, for 2- and 1-byte types
// and sizes that pass attention_fits.
template <enum dtype KV> void cuda_attend_plain(const struct cuda_attention *job, cudaStream_t stream);
template <enum dtype KV> void cuda_attend_decode(const struct cuda_attention *job, cudaStream_t stream);
template <enum dtype KV> void cuda_attend_prefill(const struct cuda_attention *job, cudaStream_t stream);
// The same for chunks, by wgmma, for heads of up to 128 elements. Does nothing and returns false for larger heads and
// on devices other than sm_90.
template <enum dtype KV> bool cuda_attend_wgmma(const struct cuda_attention *job, cudaStream_t stream);

static const float LOG2E = 1.44269504f;

template <enum dtype KV> static constexpr int cache_bytes = KV == DT_F32 ? 4 : type_is_coded(KV) ? 1 : 2;

static __device__ __forceinline__ unsigned char *head_block(const cuda_kv &kv, int sequence, int head, int values)
{
    return kv.layer + ((size_t)(sequence * kv.kv_heads + head) * 2 + values) * kv.block_bytes;
}

// The partial result of a split in memory, (token, head, split): head_dim outputs, maximum and sum.
static __device__ __forceinline__ float *partial_of(const cuda_attention &job, int splits, int split, int token,
                                                    int head)
{
    const size_t row = (size_t)token * job.heads + head;
    return (float *)((char *)job.partial + cuda_attention_counters(job.rows, job.heads)) +
           (row * splits + split) * (job.kv.head_dim + 4);
}

static __device__ __forceinline__ float exp2_of(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Casts two floats to the type in which the tensor cores read a cache: f16 for f16, else bf16. `a` is the low half.
template <enum dtype KV> static __device__ __forceinline__ uint32_t pair_of(float a, float b)
{
    if constexpr (KV == DT_F16) {
        __half2 v = __floats2half2_rn(a, b);
        return *reinterpret_cast<uint32_t *>(&v);
    } else {
        return bf16x2_bits(__floats2bfloat162_rn(a, b));
    }
}
template <enum dtype KV> static __device__ __forceinline__ float2 pair_values(uint32_t v)
{
    if constexpr (KV == DT_F16)
        return __half22float2(*reinterpret_cast<__half2 *>(&v));
    else
        return __bfloat1622float2(bits_bf16x2(v));
}
// What pair_of rounds away of a and b, as a pair. The two pairs together hold at least 16 significant bits of each.
template <enum dtype KV> static __device__ __forceinline__ uint32_t rest_of(float a, float b, uint32_t pair)
{
    const float2 v = pair_values<KV>(pair);
    return pair_of<KV>(a - v.x, b - v.y);
}

template <enum dtype KV>
static __device__ __forceinline__ void mma_of(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    if constexpr (KV == DT_F16)
        mma_f16(c, a, b0, b1);
    else
        mma_bf16(c, a, b0, b1);
}

// Casts two codes of a 1-byte cache to bf16, exactly. int8 codes are in the low bytes of both halves, e4m3 in the high
// ones.
template <enum dtype KV> static __device__ __forceinline__ uint32_t codes_to_bf16(uint32_t codes)
{
    if constexpr (KV == DT_I8) // 128 + the low seven bits, less 128 or 256 by the sign
        return bf16x2_bits(__hsub2(bits_bf16x2((codes & 0x007f007fu) | 0x43004300u),
                                   bits_bf16x2((codes & 0x00800080u) | 0x43004300u)));
    else
        return e4m3_to_bf16(codes);
}

// log2 of the factor of weights, so that f16 can hold small ones.
template <enum dtype KV> static constexpr float weight_lift = KV == DT_F16 ? 14.0f : 0.0f;

// The power of two at or below the largest query of a row. Divided by it, the row fits f16.
static __device__ __forceinline__ float power_below(float largest)
{
    return largest > 0x1p-100f && largest < 0x1p100f ? exp2f((float)ilogbf(largest)) : 1.0f;
}

// Elements i and i + 1 of row `token` of the output, i even.
static __device__ __forceinline__ void put_pair(const cuda_attention &job, int token, int i, float a, float b)
{
    float *out = job.out + (size_t)token * job.ldo + i;
    if (job.ldo % 2 == 0) {
        *(float2 *)out = make_float2(a, b);
    } else {
        out[0] = a;
        out[1] = b;
    }
}
