// peak_neon_dot.c - the most int8 quad dot products (SDOT) a core can do, without memory.
//
// Sixteen independent sums cover a latency of 4 cycles at four instructions a cycle. Each instruction is
// written as such, so that no compiler merges sums. The operands are random: power, and with it the
// clock, depends on the bits that toggle.
#include "kernels/variants.h"

#include <arm_neon.h>

enum { SIDE = 4, LANES = 4 };

uint64_t k_peak_i8_f32_neon_dot(const void *seed, uint64_t rounds, float *sink)
{
    const uint8_t *values = seed;
    uint8x16_t x[SIDE], w[SIDE];
    int32x4_t sum[SIDE][SIDE], all = vdupq_n_s32(0);
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; i++) {
        x[i] = vld1q_u8(values + i * 16);
        w[i] = vld1q_u8(values + (SIDE + i) * 16);
#pragma GCC unroll 4
        for (int j = 0; j < SIDE; j++)
            sum[i][j] = vdupq_n_s32(0);
    }
    for (uint64_t r = 0; r < rounds; r++)
#pragma GCC unroll 4
        for (int i = 0; i < SIDE; i++)
#pragma GCC unroll 4
            for (int j = 0; j < SIDE; j++)
                __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum[i][j]) : "w"(x[i]), "w"(w[j]));
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; i++)
#pragma GCC unroll 4
        for (int j = 0; j < SIDE; j++)
            all = vaddq_s32(all, sum[i][j]);
    *sink = (float)vaddvq_s32(all);
    return rounds * SIDE * SIDE * LANES * 8; // four multiplies and four adds a lane
}
