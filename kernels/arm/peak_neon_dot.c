// peak_neon_dot.c - the peak rate of int8 quad dot products (SDOT), without memory.
#include "kernels/variants.h"

#include <arm_neon.h>

#define PEAK_REGISTER int32x4_t
#define PEAK_DOT      "sdot %0.4s, %1.16b, %2.16b"
#define PEAK_CLASS    "w"
#define PEAK_ADD      vaddq_s32
#include "kernels/peak_sums.h"

enum { LANES = 4 };

uint64_t k_peak_i8_f32_neon_dot(const void *seed, uint64_t rounds, float *sink)
{
    *sink = (float)vaddvq_s32(peak_run(seed, rounds));
    return rounds * PEAK_SUMS * LANES * 8; // four multiplies and four adds per lane
}
