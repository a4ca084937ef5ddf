// peak_avx2.c - the peak rate of f32 multiply-adds in 256-bit registers, without memory.
//
// Twelve independent sums cover a latency of 4 or 5 cycles at two instructions per cycle, and leave four of the 16
// registers for the operands.
#include "kernels/variants.h"

#include <immintrin.h>

#define PEAK_REGISTER __m256
#define PEAK_DOT      "vfmadd231ps %2, %1, %0"
#define PEAK_CLASS    "x"
#define PEAK_ADD      _mm256_add_ps
#define PEAK_SIDE     2
#define PEAK_SUMS     12
#include "kernels/peak_sums.h"

enum { LANES = 8 };

uint64_t k_peak_f32_f32_avx2(const void *seed, uint64_t rounds, float *sink)
{
    float lanes[LANES];
    _mm256_storeu_ps(lanes, peak_run(seed, rounds));
    *sink = 0;
    for (int i = 0; i < LANES; i++)
        *sink += lanes[i];
    return rounds * PEAK_SUMS * LANES * 2; // a multiply and an add per lane
}
