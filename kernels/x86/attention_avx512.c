// attention_avx512.c - the inner loops of attention with 512-bit f32 multiply-adds.
//
// A product holds 6 rows by 64 columns (24 sums) in registers. Queries and weights stay f32 for any type of cache; keys
// and values are widened to f32 on the way into the scratch.
#include "kernels/variants.h"
#include "kernels/x86/lanes_avx512.h"

enum { TILE_REGISTERS = 4 };
typedef __mmask16 row_tail;

#include "kernels/x86/attention_lanes.h"

// Casts 16 E4M3 codes to f32. Exponent and mantissa move to their places in f32, and 120 is added to the bias. Below
// 2^-6 a code is its mantissa times 2^-9.
INLINE __m512 widen_f8(__m128i codes)
{
    __m512i code = _mm512_cvtepu8_epi32(codes);
    __m512i magnitude = _mm512_and_si512(code, _mm512_set1_epi32(0x7f));
    __m512i bits = _mm512_add_epi32(_mm512_slli_epi32(magnitude, 20), _mm512_set1_epi32(120 << 23));
    __mmask16 small = _mm512_cmplt_epu32_mask(magnitude, _mm512_set1_epi32(8));
    __m512 value = _mm512_mask_mul_ps(_mm512_castsi512_ps(bits), small,
                                      _mm512_cvtepi32_ps(magnitude), _mm512_set1_ps(0x1p-9f));
    __m512i sign = _mm512_slli_epi32(_mm512_srli_epi32(code, 7), 31);
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(value), sign));
}

INLINE row_tail tail_of(int left)
{
    return lanes_left(left);
}

INLINE f32s widen(enum dtype type, const void *from, size_t at, row_tail there)
{
    if (type == DT_F32)
        return _mm512_maskz_loadu_ps(there, (const float *)from + at);
    if (type == DT_I8 || type == DT_F8E4M3) {
        __m128i codes = _mm_maskz_loadu_epi8(there, (const uint8_t *)from + at);
        return type == DT_I8 ? _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)) : widen_f8(codes);
    }
    __m256i halves = _mm256_maskz_loadu_epi16(there, (const uint16_t *)from + at);
    if (type == DT_F16)
        return _mm512_cvtph_ps(halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// Pairs of registers, 4 x 4 blocks of lanes, then blocks of blocks: 64 shuffles for 256 elements.
INLINE void transpose(f32s r[LANES])
{
    f32s t[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i += 4) {
        __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(r[i], r[i + 1]));
        __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(r[i], r[i + 1]));
        __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(r[i + 2], r[i + 3]));
        __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(r[i + 2], r[i + 3]));
        t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
        __m512 b = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
        __m512 c = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
        __m512 d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
        r[i] = _mm512_shuffle_f32x4(a, b, 0x88);
        r[i + 4] = _mm512_shuffle_f32x4(c, d, 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(a, b, 0xdd);
        r[i + 12] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
}

static void product_columns(const struct product *p, int rows, int registers)
{
    switch (registers) {
    case 1:
        product_rows(p, rows, 1);
        break;
    case 2:
        product_rows(p, rows, 2);
        break;
    case 3:
        product_rows(p, rows, 3);
        break;
    default:
        product_rows(p, rows, 4);
        break;
    }
}

ATTENTION_VARIANT(k_attention_f32_f32_avx512, DT_F32, 4)
ATTENTION_VARIANT(k_attention_bf16_f32_avx512, DT_BF16, 2)
ATTENTION_VARIANT(k_attention_f16_f32_avx512, DT_F16, 2)
ATTENTION_VARIANT(k_attention_i8_f32_avx512, DT_I8, 1)
ATTENTION_VARIANT(k_attention_f8e4m3_f32_avx512, DT_F8E4M3, 1)
