// peak_neon_bf16.c - the most bf16 pair dot products (BFDOT) a core can do, without memory.
//
// Sixteen independent sums cover a latency of 4 cycles at four instructions a cycle. Each instruction is
// written as such, so that no compiler merges sums. The operands are random: power, and with it the
// clock, depends on the bits that toggle.
#include "kernels/variants.h"

#include <arm_neon.h>

enum { SIDE = 4, LANES = 4 };

uint64_t k_peak_bf16_f32_neon_bf16(const void *seed, uint64_t rounds, float *sink)
{
    const uint8_t *values = seed;
    uint8x16_t x[SIDE], w[SIDE];
    float32x4_t sum[SIDE][SIDE], all = vdupq_n_f32(0);
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; i++) {
        x[i] = vld1q_u8(values + i * 16);
        w[i] = vld1q_u8(values + (SIDE + i) * 16);
#pragma GCC unroll 4
        for (int j = 0; j < SIDE; j++)
            sum[i][j] = vdupq_n_f32(0);
    }
    for (uint64_t r = 0; r < rounds; r++)
#pragma GCC unroll 4
        for (int i = 0; i < SIDE; i++)
#pragma GCC unroll 4
            for (int j = 0; j < SIDE; j++)
                __asm__("bfdot %0.4s, %1.8h, %2.8h" : "+w"(sum[i][j]) : "w"(x[i]), "w"(w[j]));
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; i++)
#pragma GCC unroll 4
        for (int j = 0; j < SIDE; j++)
            all = vaddq_f32(all, sum[i][j]);
    *sink = vaddvq_f32(all);
    return rounds * SIDE * SIDE * LANES * 4; // two multiplies and two adds a lane
}
