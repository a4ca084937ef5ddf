// peak_avx512_vnni.c - the most int8 quad dot products (VPDPBUSD) a core can do, without memory.
//
// Sixteen independent sums cover a latency of 5 cycles at two instructions a cycle. Each instruction is
// written as such, so that no compiler merges sums or moves them through memory. The operands are
// random: power, and with it the clock, depends on the bits that toggle.
#include "kernels/variants.h"

#include <immintrin.h>

enum { SIDE = 4, LANES = 16 };

uint64_t k_peak_i8_f32_avx512_vnni(const void *seed, uint64_t rounds, float *sink)
{
    const char *values = seed;
    __m512i x[SIDE], w[SIDE], sum[SIDE][SIDE], all = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; i++) {
        x[i] = _mm512_loadu_si512(values + i * 64);
        w[i] = _mm512_loadu_si512(values + (SIDE + i) * 64);
#pragma GCC unroll 4
        for (int j = 0; j < SIDE; j++)
            sum[i][j] = _mm512_setzero_si512();
    }
    for (uint64_t r = 0; r < rounds; r++)
#pragma GCC unroll 4
        for (int i = 0; i < SIDE; i++)
#pragma GCC unroll 4
            for (int j = 0; j < SIDE; j++)
                __asm__("vpdpbusd %2, %1, %0" : "+v"(sum[i][j]) : "v"(x[i]), "v"(w[j]));
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; i++)
#pragma GCC unroll 4
        for (int j = 0; j < SIDE; j++)
            all = _mm512_add_epi32(all, sum[i][j]);
    uint32_t lane[LANES], total = 0; // unsigned: the sum wraps, as the instruction's do
    _mm512_storeu_si512((void *)lane, all);
    for (int i = 0; i < LANES; i++)
        total += lane[i];
    *sink = (float)total;
    return rounds * SIDE * SIDE * LANES * 8; // four multiplies and four adds a lane
}
