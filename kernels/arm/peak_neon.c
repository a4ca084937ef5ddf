// peak_neon.c - the peak rate of f32 multiply-adds in NEON registers, without memory.
#include "kernels/variants.h"

#include <arm_neon.h>

#define PEAK_REGISTER float32x4_t
#define PEAK_DOT      "fmla %0.4s, %1.4s, %2.4s"
#define PEAK_CLASS    "w"
#define PEAK_ADD      vaddq_f32
#include "kernels/peak_sums.h"

enum { LANES = 4 };

uint64_t k_peak_f32_f32_neon(const void *seed, uint64_t rounds, float *sink)
{
    *sink = vaddvq_f32(peak_run(seed, rounds));
    return rounds * PEAK_SUMS * LANES * 2; // a multiply and an add per lane
}
