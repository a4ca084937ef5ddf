// peak_neon_bf16.c - the most bf16 pair dot products (BFDOT) a core can do, without memory.
#include "kernels/variants.h"

#include <arm_neon.h>

#define PEAK_REGISTER float32x4_t
#include "kernels/peak_sums.h"

enum { LANES = 4 };

PEAK_INLINE float32x4_t dot(float32x4_t sum, float32x4_t x, float32x4_t w)
{
    __asm__("bfdot %0.4s, %1.8h, %2.8h" : "+w"(sum) : "w"(x), "w"(w));
    return sum;
}

PEAK_INLINE float32x4_t add(float32x4_t a, float32x4_t b)
{
    return vaddq_f32(a, b);
}

uint64_t k_peak_bf16_f32_neon_bf16(const void *seed, uint64_t rounds, float *sink)
{
    *sink = vaddvq_f32(peak_run(dot, add, seed, rounds));
    return rounds * PEAK_SUMS * LANES * 4; // two multiplies and two adds a lane
}
