// quantize_avx512.c - f32 rows to int8 and fp8 codes with one scale: inputs of products, and KV rows.
//
// The steps and results are those of quant_row_rtn, bit for bit: the largest magnitude by its bits, the scale, a
// division, and rounding to nearest even.
#include "kernels/variants.h"

#include <math.h>
#include <string.h>

#include "kernels/x86/lanes_avx512.h"

// The largest |x| as the bits of an f32. A NaN is larger than any number.
static uint32_t largest_bits(const float *x, int n)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i largest = _mm512_setzero_si512();
    for (int i = 0; i < n; i += LANES) {
        __m512i bits = _mm512_castps_si512(f32_load(x + i, n - i));
        largest = _mm512_max_epu32(largest, _mm512_and_si512(bits, magnitude));
    }
    return _mm512_reduce_max_epu32(largest);
}

// The scale; 0 for a row of zeros or tiny values, NaN for a row with an infinity or a NaN.
static float scale_of(const float *x, int n, float largest_code)
{
    uint32_t bits = largest_bits(x, n);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    if (bits >= 0x7f800000u)
        return NAN;
    return largest < 0x1p-100f ? 0 : largest / largest_code;
}

static inline __m128i i8_codes(__m512 x)
{
    return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x));
}

// As f8e4m3_from_f32, for numbers only. Codes saturate at 448; below 2^-6 they are steps of 2^-9.
static inline __m128i f8_codes(__m512 x)
{
    __m512i bits = _mm512_castps_si512(x);
    __m512i sign = _mm512_and_si512(_mm512_srli_epi32(bits, 24), _mm512_set1_epi32(0x80));
    __m512i m = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
    m = _mm512_min_epu32(m, _mm512_set1_epi32(0x43e00000));
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(m, 20), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(_mm512_add_epi32(m, _mm512_set1_epi32(0x7ffff)), odd);
    __m512i code = _mm512_srli_epi32(_mm512_sub_epi32(up, _mm512_set1_epi32(120 << 23)), 20);
    __m512 shifted = _mm512_add_ps(_mm512_castsi512_ps(m), _mm512_set1_ps(0x1p14f));
    __m512i low = _mm512_sub_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(0x46800000));
    __mmask16 small = _mm512_cmplt_epu32_mask(m, _mm512_set1_epi32(0x3c800000));
    return _mm512_cvtepi32_epi8(_mm512_or_si512(_mm512_mask_mov_epi32(code, small, low), sign));
}

static inline float quantize(enum dtype type, uint8_t *dst, const float *src, int n, int padded)
{
    float scale = scale_of(src, n, type == DT_I8 ? 127.0f : 448.0f);
    if (!(scale > 0)) {
        memset(dst, 0, (size_t)(padded > n ? padded : n));
        return scale;
    }
    const __m512 by = _mm512_set1_ps(scale);
    for (int i = 0; i < n; i += LANES) {
        __mmask16 there = lanes_left(n - i);
        __m512 x = _mm512_div_ps(_mm512_maskz_loadu_ps(there, src + i), by);
        _mm_mask_storeu_epi8(dst + i, there, type == DT_I8 ? i8_codes(x) : f8_codes(x));
    }
    if (padded > n)
        memset(dst + n, 0, (size_t)(padded - n));
    return scale;
}

float k_cast_f32_i8_avx512(void *dst, const float *src, int n, int padded)
{
    return quantize(DT_I8, dst, src, n, padded);
}

float k_cast_f32_f8e4m3_avx512(void *dst, const float *src, int n, int padded)
{
    return quantize(DT_F8E4M3, dst, src, n, padded);
}

float k_kv_store_i8_f32_avx512(void *dst, const float *src, int n, int padded)
{
    return quantize(DT_I8, dst, src, n, padded);
}

float k_kv_store_f8e4m3_f32_avx512(void *dst, const float *src, int n, int padded)
{
    return quantize(DT_F8E4M3, dst, src, n, padded);
}
