// vector_avx512.c - the operations on one vector at a time, 16 f32 per step.
#include "kernels/variants.h"
#include "kernels/x86/lanes_avx512.h"
#include "kernels/x86/vector_lanes.h"

// ---- casts: bit for bit what kernels/ref does ----------------------------------------------------------

// In integers: the conversion instruction takes denormals as zero.
static inline __m256i bf16_bits(__m512 x)
{
    __m512i bits = _mm512_castps_si512(x), one = _mm512_set1_epi32(1);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
    __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    up = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
}

static inline void store_halves(uint16_t *dst, int i, int n, int padded, __m256i halves)
{
    __mmask16 there = lanes_left(n - i);
    _mm256_mask_storeu_epi16(dst + i, lanes_left(padded - i),
                             _mm256_maskz_mov_epi16(there, halves));
}

static void zero_halves(uint16_t *dst, int from, int padded)
{
    for (int i = from; i < padded; i++)
        dst[i] = 0;
}

static void cast_bf16(uint16_t *dst, const float *src, int n, int padded)
{
    int i = 0;
    for (; i < n; i += LANES)
        store_halves(dst, i, n, padded > n ? padded : n, bf16_bits(f32_load(src + i, n - i)));
    zero_halves(dst, i, padded);
}

static void cast_f16(uint16_t *dst, const float *src, int n, int padded)
{
    int i = 0;
    for (; i < n; i += LANES) {
        __m512 x = f32_load(src + i, n - i);
        store_halves(dst, i, n, padded > n ? padded : n,
                     _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    }
    zero_halves(dst, i, padded);
}

float k_cast_f32_f32_avx512(void *dst, const float *src, int n, int padded)
{
    cast_f32(dst, src, n, padded);
    return 1;
}

float k_cast_f32_bf16_avx512(void *dst, const float *src, int n, int padded)
{
    cast_bf16(dst, src, n, padded);
    return 1;
}

float k_cast_f32_f16_avx512(void *dst, const float *src, int n, int padded)
{
    cast_f16(dst, src, n, padded);
    return 1;
}

float k_kv_store_f32_f32_avx512(void *dst, const float *src, int n, int padded)
{
    cast_f32(dst, src, n, padded);
    return 1;
}

float k_kv_store_bf16_f32_avx512(void *dst, const float *src, int n, int padded)
{
    cast_bf16(dst, src, n, padded);
    return 1;
}

float k_kv_store_f16_f32_avx512(void *dst, const float *src, int n, int padded)
{
    cast_f16(dst, src, n, padded);
    return 1;
}

// ---- norms, rotation, residual -------------------------------------------------------------------------

void k_rmsnorm_f32_f32_avx512(float *y, const float *x, const float *w, int n, float eps)
{
    rmsnorm(y, x, w, n, eps);
}

void k_layernorm_f32_f32_avx512(float *y, const float *x, const float *w, const float *b, int n,
                                float eps)
{
    layernorm(y, x, w, b, n, eps);
}

void k_rope_f32_f32_avx512(const struct k_rope *job)
{
    rope(job);
}

void k_add_f32_f32_avx512(float *y, const float *x, int n)
{
    add(y, x, n);
}
