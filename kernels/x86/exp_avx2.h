// exp_avx2.h - exp of 8 f32 at a time, relative error below 2^-22 where the result is normal.
//
// As exp_avx512.h, with the scaling by 2^n in two halves made from exponent bits, so that n from -252 to
// 254 is reached: 0 below and infinity above.
#ifndef KERNELS_X86_EXP_AVX2_H
#define KERNELS_X86_EXP_AVX2_H
#ifdef __AVX2__

#include <immintrin.h>

static inline __m256 power_of_two_avx2(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

static inline __m256 exp_avx2(__m256 x)
{
    const __m256 per_ln2 = _mm256_set1_ps(1.44269504f);
    const __m256 ln2_high = _mm256_set1_ps(0.693145752f), ln2_low = _mm256_set1_ps(1.42860677e-6f);
    x = _mm256_max_ps(_mm256_set1_ps(-150.0f), _mm256_min_ps(_mm256_set1_ps(150.0f), x));
    __m256 n =
        _mm256_round_ps(_mm256_mul_ps(x, per_ln2), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, ln2_low, _mm256_fnmadd_ps(n, ln2_high, x));
    __m256 p = _mm256_set1_ps(1.0f / 720);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256 scaled = _mm256_mul_ps(p, power_of_two_avx2(half));
    return _mm256_mul_ps(scaled, power_of_two_avx2(_mm256_sub_epi32(whole, half)));
}

#endif
#endif
