// peak_avx2.c - the most f32 multiply-adds a core can do with 256-bit registers, without memory.
//
// Twelve independent sums cover a latency of 4 or 5 cycles at two instructions a cycle, and leave four of the
// 16 registers for the operands. Otherwise as peak_sums.h.
#include "kernels/variants.h"

#include <immintrin.h>

enum { SUMS = 12, LANES = 8 };

uint64_t k_peak_f32_f32_avx2(const void *seed, uint64_t rounds, float *sink)
{
    const float *values = seed;
    __m256 x[2], w[2], sum[SUMS], all = _mm256_setzero_ps();
    for (int i = 0; i < 2; i++) {
        x[i] = _mm256_loadu_ps(values + i * LANES);
        w[i] = _mm256_loadu_ps(values + (2 + i) * LANES);
    }
#pragma GCC unroll 12
    for (int i = 0; i < SUMS; i++)
        sum[i] = _mm256_setzero_ps();
    for (uint64_t r = 0; r < rounds; r++)
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++)
            __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum[i]) : "x"(x[i & 1]), "x"(w[i >> 1 & 1]));
#pragma GCC unroll 12
    for (int i = 0; i < SUMS; i++)
        all = _mm256_add_ps(all, sum[i]);
    float lanes[LANES];
    _mm256_storeu_ps(lanes, all);
    *sink = 0;
    for (int i = 0; i < LANES; i++)
        *sink += lanes[i];
    return rounds * SUMS * LANES * 2;
}
