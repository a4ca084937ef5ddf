// peak_neon.c - the most f32 multiply-adds in NEON registers a core can do, without memory.
#include "kernels/variants.h"

#include <arm_neon.h>

#define PEAK_REGISTER float32x4_t
#include "kernels/peak_sums.h"

enum { LANES = 4 };

PEAK_INLINE float32x4_t dot(float32x4_t sum, float32x4_t x, float32x4_t w)
{
    __asm__("fmla %0.4s, %1.4s, %2.4s" : "+w"(sum) : "w"(x), "w"(w));
    return sum;
}

PEAK_INLINE float32x4_t add(float32x4_t a, float32x4_t b)
{
    return vaddq_f32(a, b);
}

uint64_t k_peak_f32_f32_neon(const void *seed, uint64_t rounds, float *sink)
{
    *sink = vaddvq_f32(peak_run(dot, add, seed, rounds));
    return rounds * PEAK_SUMS * LANES * 2; // a multiply and an add a lane
}
