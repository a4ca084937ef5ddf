// activate_avx512.c - activations of the feed-forward and the soft cap, 16 f32 a step; tails are masked.
#include "kernels/variants.h"

#include <immintrin.h>

#include "kernels/x86/erfc_series.h"
#include "kernels/x86/exp_avx512.h"

enum { LANES = 16 };

#define INLINE static inline __attribute__((always_inline))

INLINE __mmask16 lanes_left(int left)
{
    return (__mmask16)(left >= LANES ? 0xffff : (1u << left) - 1);
}

// x / (1 + exp(-z))
INLINE __m512 sigmoid_of(__m512 x, __m512 z)
{
    __m512 below = exp_avx512(_mm512_sub_ps(_mm512_setzero_ps(), z));
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), below));
}

INLINE __m512 silu(__m512 x)
{
    return sigmoid_of(x, x);
}

// 1 + tanh(z) = 2 / (1 + exp(-2 z)), so the approximation is x sigmoid(2 z).
INLINE __m512 gelu_tanh(__m512 x)
{
    __m512 square = _mm512_mul_ps(x, x);
    __m512 inner =
        _mm512_fmadd_ps(square, _mm512_set1_ps(0.0713548163f), _mm512_set1_ps(1.59576912f));
    return sigmoid_of(x, _mm512_mul_ps(x, inner));
}

// x Phi(x): half of erfc(|x| / sqrt(2)) is what Phi lacks to 1, or is below 0.
INLINE __m512 gelu(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.707106781f));
    __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(z, _mm512_set1_ps(0.5f), one));
    __m512 p = _mm512_set1_ps(erfc_series[ERFC_TERMS - 1]);
    for (int i = ERFC_TERMS - 2; i >= 0; i--)
        p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(erfc_series[i]));
    __m512 tail = exp_avx512(_mm512_fnmadd_ps(z, z, p));
    tail = _mm512_mul_ps(_mm512_mul_ps(tail, t), _mm512_set1_ps(0.5f));
    __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
    return _mm512_mul_ps(x, _mm512_mask_sub_ps(tail, positive, one, tail));
}

// f is a constant wherever this is used.
INLINE void activate(__m512 (*f)(__m512), float *y, const float *x, const float *up, int n)
{
    for (int i = 0; i < n; i += LANES) {
        __mmask16 there = lanes_left(n - i);
        __m512 value = f(_mm512_maskz_loadu_ps(there, x + i));
        if (up)
            value = _mm512_mul_ps(value, _mm512_maskz_loadu_ps(there, up + i));
        _mm512_mask_storeu_ps(y + i, there, value);
    }
}

void k_swiglu_f32_f32_avx512(float *y, const float *x, const float *up, int n)
{
    activate(silu, y, x, up, n);
}

void k_gelu_f32_f32_avx512(float *y, const float *x, const float *up, int n)
{
    activate(gelu, y, x, up, n);
}

void k_gelu_tanh_f32_f32_avx512(float *y, const float *x, const float *up, int n)
{
    activate(gelu_tanh, y, x, up, n);
}

void k_softcap_f32_f32_avx512(float *y, int n, float cap)
{
    const __m512 two_per_cap = _mm512_set1_ps(2 / cap), two = _mm512_set1_ps(2.0f);
    const __m512 one = _mm512_set1_ps(1.0f);
    for (int i = 0; i < n; i += LANES) {
        __mmask16 there = lanes_left(n - i);
        __m512 e = exp_avx512(_mm512_mul_ps(_mm512_maskz_loadu_ps(there, y + i), two_per_cap));
        __m512 tanh = _mm512_sub_ps(one, _mm512_div_ps(two, _mm512_add_ps(e, one)));
        _mm512_mask_storeu_ps(y + i, there, _mm512_mul_ps(tanh, _mm512_set1_ps(cap)));
    }
}
