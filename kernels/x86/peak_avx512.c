// peak_avx512.c - the most f32 multiply-adds a core can do with 512-bit registers, without memory.
//
// Sixteen independent sums cover a latency of 4 cycles at two instructions a cycle. Each instruction is
// written as such, so that no compiler merges sums or moves them through memory. The operands are
// random: power, and with it the clock, depends on the bits that toggle.
#include "kernels/variants.h"

#include <immintrin.h>

enum { SIDE = 4, LANES = 16 };

uint64_t k_peak_f32_f32_avx512(const void *seed, uint64_t rounds, float *sink)
{
    const float *values = seed;
    __m512 x[SIDE], w[SIDE], sum[SIDE][SIDE], all = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; i++) {
        x[i] = _mm512_loadu_ps(values + i * 16);
        w[i] = _mm512_loadu_ps(values + (SIDE + i) * 16);
#pragma GCC unroll 4
        for (int j = 0; j < SIDE; j++)
            sum[i][j] = _mm512_setzero_ps();
    }
    for (uint64_t r = 0; r < rounds; r++)
#pragma GCC unroll 4
        for (int i = 0; i < SIDE; i++)
#pragma GCC unroll 4
            for (int j = 0; j < SIDE; j++)
                __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum[i][j]) : "v"(x[i]), "v"(w[j]));
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; i++)
#pragma GCC unroll 4
        for (int j = 0; j < SIDE; j++)
            all = _mm512_add_ps(all, sum[i][j]);
    *sink = _mm512_reduce_add_ps(all);
    return rounds * SIDE * SIDE * LANES * 2; // a multiply and an add a lane
}
