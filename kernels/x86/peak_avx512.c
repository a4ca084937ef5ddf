// peak_avx512.c - the peak rate of f32 multiply-adds in 512-bit registers, without memory.
#include "kernels/variants.h"

#include <immintrin.h>

#define PEAK_REGISTER __m512
#define PEAK_DOT      "vfmadd231ps %2, %1, %0"
#define PEAK_CLASS    "v"
#define PEAK_ADD      _mm512_add_ps
#include "kernels/peak_sums.h"

enum { LANES = 16 };

uint64_t k_peak_f32_f32_avx512(const void *seed, uint64_t rounds, float *sink)
{
    *sink = _mm512_reduce_add_ps(peak_run(seed, rounds));
    return rounds * PEAK_SUMS * LANES * 2; // a multiply and an add per lane
}
