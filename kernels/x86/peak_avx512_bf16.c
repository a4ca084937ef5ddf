// peak_avx512_bf16.c - the most bf16 pair dot products (VDPBF16PS) a core can do, without memory.
#include "kernels/variants.h"

#include <immintrin.h>

#define PEAK_REGISTER __m512
#include "kernels/peak_sums.h"

enum { LANES = 16 };

PEAK_INLINE __m512 dot(__m512 sum, __m512 x, __m512 w)
{
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}

PEAK_INLINE __m512 add(__m512 a, __m512 b)
{
    return _mm512_add_ps(a, b);
}

uint64_t k_peak_bf16_f32_avx512_bf16(const void *seed, uint64_t rounds, float *sink)
{
    *sink = _mm512_reduce_add_ps(peak_run(dot, add, seed, rounds));
    return rounds * PEAK_SUMS * LANES * 4; // two multiplies and two adds a lane
}
