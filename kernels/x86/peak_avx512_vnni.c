// peak_avx512_vnni.c - the peak rate of int8 quad dot products (VPDPBUSD), without memory.
#include "kernels/variants.h"

#include <immintrin.h>

#define PEAK_REGISTER __m512i
#define PEAK_DOT      "vpdpbusd %2, %1, %0"
#define PEAK_CLASS    "v"
#define PEAK_ADD      _mm512_add_epi32
#include "kernels/peak_sums.h"

enum { LANES = 16 };

uint64_t k_peak_i8_f32_avx512_vnni(const void *seed, uint64_t rounds, float *sink)
{
    uint32_t lane[LANES], total = 0; // unsigned: the sum wraps, as the instruction's sums do
    _mm512_storeu_si512((void *)lane, peak_run(seed, rounds));
    for (int i = 0; i < LANES; i++)
        total += lane[i];
    *sink = (float)total;
    return rounds * PEAK_SUMS * LANES * 8; // four multiplies and four adds per lane
}
