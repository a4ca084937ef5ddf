// vector_avx2.c - the operations on one vector at a time, 8 f32 per step.
#include "kernels/variants.h"
#include "kernels/x86/lanes_avx2.h"
#include "kernels/x86/vector_lanes.h"

// ---- casts: bit for bit what kernels/ref does ----------------------------------------------------------

static inline __m128i bf16_bits(__m256 x)
{
    __m256i bits = _mm256_castps_si256(x), one = _mm256_set1_epi32(1);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
    __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    up = _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(up), _mm256_extracti128_si256(up, 1));
}

static inline __m128i f16_bits(__m256 x)
{
    return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
}

static void store_halves(uint16_t *dst, int left, __m128i halves)
{
    uint16_t lanes[LANES];
    _mm_storeu_si128((void *)lanes, halves);
    if (left >= LANES)
        _mm_storeu_si128((void *)dst, halves);
    else
        for (int i = 0; i < left; i++)
            dst[i] = lanes[i];
}

static void cast_bf16(uint16_t *dst, const float *src, int n, int padded)
{
    for (int i = 0; i < n; i += LANES)
        store_halves(dst + i, n - i, bf16_bits(f32_load(src + i, n - i)));
    for (int i = n; i < padded; i++)
        dst[i] = 0;
}

static void cast_f16(uint16_t *dst, const float *src, int n, int padded)
{
    for (int i = 0; i < n; i += LANES)
        store_halves(dst + i, n - i, f16_bits(f32_load(src + i, n - i)));
    for (int i = n; i < padded; i++)
        dst[i] = 0;
}

float k_cast_f32_f32_avx2(void *dst, const float *src, int n, int padded)
{
    cast_f32(dst, src, n, padded);
    return 1;
}

float k_cast_f32_bf16_avx2(void *dst, const float *src, int n, int padded)
{
    cast_bf16(dst, src, n, padded);
    return 1;
}

float k_cast_f32_f16_avx2(void *dst, const float *src, int n, int padded)
{
    cast_f16(dst, src, n, padded);
    return 1;
}

float k_kv_store_f32_f32_avx2(void *dst, const float *src, int n, int padded)
{
    cast_f32(dst, src, n, padded);
    return 1;
}

float k_kv_store_bf16_f32_avx2(void *dst, const float *src, int n, int padded)
{
    cast_bf16(dst, src, n, padded);
    return 1;
}

float k_kv_store_f16_f32_avx2(void *dst, const float *src, int n, int padded)
{
    cast_f16(dst, src, n, padded);
    return 1;
}

// ---- norms, rotation, residual -------------------------------------------------------------------------

void k_rmsnorm_f32_f32_avx2(float *y, const float *x, const float *w, int n, float eps)
{
    rmsnorm(y, x, w, n, eps);
}

void k_layernorm_f32_f32_avx2(float *y, const float *x, const float *w, const float *b, int n,
                              float eps)
{
    layernorm(y, x, w, b, n, eps);
}

void k_rope_f32_f32_avx2(const struct k_rope *job)
{
    rope(job);
}

void k_add_f32_f32_avx2(float *y, const float *x, int n)
{
    add(y, x, n);
}
