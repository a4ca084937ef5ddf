// peak_avx512_bf16.c - the peak rate of bf16 pair dot products (VDPBF16PS), without memory.
#include "kernels/variants.h"

#include <immintrin.h>

#define PEAK_REGISTER __m512
#define PEAK_DOT      "vdpbf16ps %2, %1, %0"
#define PEAK_CLASS    "v"
#define PEAK_ADD      _mm512_add_ps
#include "kernels/peak_sums.h"

enum { LANES = 16 };

uint64_t k_peak_bf16_f32_avx512_bf16(const void *seed, uint64_t rounds, float *sink)
{
    *sink = _mm512_reduce_add_ps(peak_run(seed, rounds));
    return rounds * PEAK_SUMS * LANES * 4; // two multiplies and two adds per lane
}
