// peak_avx512.c - the most f32 multiply-adds in 512-bit registers a core can do, without memory.
#include "kernels/variants.h"

#include <immintrin.h>

#define PEAK_REGISTER __m512
#include "kernels/peak_sums.h"

enum { LANES = 16 };

PEAK_INLINE __m512 dot(__m512 sum, __m512 x, __m512 w)
{
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}

PEAK_INLINE __m512 add(__m512 a, __m512 b)
{
    return _mm512_add_ps(a, b);
}

uint64_t k_peak_f32_f32_avx512(const void *seed, uint64_t rounds, float *sink)
{
    *sink = _mm512_reduce_add_ps(peak_run(dot, add, seed, rounds));
    return rounds * PEAK_SUMS * LANES * 2; // a multiply and an add a lane
}
