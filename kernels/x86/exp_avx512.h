// exp_avx512.h - exp of 16 f32 at a time, relative error below 2^-22.
//
// x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts (Cody and Waite 1980); exp r by its series to
// r^6, whose rest is below 2^-22.9; then scaled by 2^n, which gives 0 and infinity at the ends.
// NaN stays NaN.
#ifndef KERNELS_X86_EXP_AVX512_H
#define KERNELS_X86_EXP_AVX512_H
#ifdef __AVX512F__

#include <immintrin.h>

static inline __m512 exp_avx512(__m512 x)
{
    const __m512 per_ln2 = _mm512_set1_ps(1.44269504f);
    const __m512 ln2_high = _mm512_set1_ps(0.693145752f), ln2_low = _mm512_set1_ps(1.42860677e-6f);
    // Beyond these the result is 0 or infinity, and the scaling must not see infinite n.
    x = _mm512_max_ps(_mm512_set1_ps(-200.0f), _mm512_min_ps(_mm512_set1_ps(200.0f), x));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, per_ln2), _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(n, ln2_low, _mm512_fnmadd_ps(n, ln2_high, x));
    __m512 p = _mm512_set1_ps(1.0f / 720);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

#endif
#endif
