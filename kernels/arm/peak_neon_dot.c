// peak_neon_dot.c - the most int8 quad dot products (SDOT) a core can do, without memory.
#include "kernels/variants.h"

#include <arm_neon.h>

#define PEAK_REGISTER int32x4_t
#include "kernels/peak_sums.h"

enum { LANES = 4 };

PEAK_INLINE int32x4_t dot(int32x4_t sum, int32x4_t x, int32x4_t w)
{
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(x), "w"(w));
    return sum;
}

PEAK_INLINE int32x4_t add(int32x4_t a, int32x4_t b)
{
    return vaddq_s32(a, b);
}

uint64_t k_peak_i8_f32_neon_dot(const void *seed, uint64_t rounds, float *sink)
{
    *sink = (float)vaddvq_s32(peak_run(dot, add, seed, rounds));
    return rounds * PEAK_SUMS * LANES * 8; // four multiplies and four adds a lane
}
