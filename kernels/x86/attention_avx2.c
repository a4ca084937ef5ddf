// attention_avx2.c - the inner loops of attention with 256-bit f32 multiply-adds.
//
// A product holds 6 rows by 16 columns: 12 sums, 2 registers of columns and a broadcast take 15 of the 16
// registers.
#include "kernels/variants.h"
#include "kernels/x86/lanes_avx2.h"

enum { TILE_REGISTERS = 2 };
typedef int row_tail; // elements that are left

#include "kernels/x86/attention_lanes.h"

INLINE row_tail tail_of(int left)
{
    return left;
}

INLINE f32s widen(enum dtype type, const void *from, size_t at, row_tail left)
{
    if (type == DT_F32)
        return f32_load((const float *)from + at, left);
    uint16_t lanes[LANES] = {0};
    const uint16_t *h = (const uint16_t *)from + at;
    for (int i = 0; left < LANES && i < left; i++)
        lanes[i] = h[i];
    __m128i halves = _mm_loadu_si128((const void *)(left >= LANES ? h : lanes));
    if (type == DT_F16)
        return _mm256_cvtph_ps(halves);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

INLINE void transpose(f32s r[LANES])
{
    f32s t[LANES];
#pragma GCC unroll 2
    for (int i = 0; i < LANES; i += 4) {
        __m256 a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
        __m256 c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]),
               d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

// Columns come in multiples of 16, so every tile has both registers.
static void product_columns(const struct product *p, int rows, int registers)
{
    (void)registers;
    product_rows(p, rows, TILE_REGISTERS);
}

ATTENTION_VARIANT(k_attention_f32_f32_avx2, DT_F32, 4)
ATTENTION_VARIANT(k_attention_bf16_f32_avx2, DT_BF16, 2)
ATTENTION_VARIANT(k_attention_f16_f32_avx2, DT_F16, 2)
