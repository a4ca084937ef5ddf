// peak_neon_bf16.c - the peak rate of bf16 pair dot products (BFDOT), without memory.
#include "kernels/variants.h"

#include <arm_neon.h>

#define PEAK_REGISTER float32x4_t
#define PEAK_DOT      "bfdot %0.4s, %1.8h, %2.8h"
#define PEAK_CLASS    "w"
#define PEAK_ADD      vaddq_f32
#include "kernels/peak_sums.h"

enum { LANES = 4 };

uint64_t k_peak_bf16_f32_neon_bf16(const void *seed, uint64_t rounds, float *sink)
{
    *sink = vaddvq_f32(peak_run(seed, rounds));
    return rounds * PEAK_SUMS * LANES * 4; // two multiplies and two adds per lane
}
