// activate_avx2.c - activations of the feed-forward and the soft cap, 8 f32 a step; tails go through a masked
// load and store.
#include "kernels/variants.h"

#include <immintrin.h>

#include "kernels/x86/erfc_series.h"
#include "kernels/x86/exp_avx2.h"

enum { LANES = 8 };

#define INLINE static inline __attribute__((always_inline))

// Lanes [0, left) all ones.
INLINE __m256i lanes_left(int left)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE __m256 load(const float *from, int left)
{
    return left >= LANES ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, lanes_left(left));
}

INLINE void store(float *to, int left, __m256 value)
{
    if (left >= LANES)
        _mm256_storeu_ps(to, value);
    else
        _mm256_maskstore_ps(to, lanes_left(left), value);
}

// x / (1 + exp(-z))
INLINE __m256 sigmoid_of(__m256 x, __m256 z)
{
    __m256 below = exp_avx2(_mm256_sub_ps(_mm256_setzero_ps(), z));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), below));
}

INLINE __m256 silu(__m256 x)
{
    return sigmoid_of(x, x);
}

// 1 + tanh(z) = 2 / (1 + exp(-2 z)), so the approximation is x sigmoid(2 z).
INLINE __m256 gelu_tanh(__m256 x)
{
    __m256 square = _mm256_mul_ps(x, x);
    __m256 inner =
        _mm256_fmadd_ps(square, _mm256_set1_ps(0.0713548163f), _mm256_set1_ps(1.59576912f));
    return sigmoid_of(x, _mm256_mul_ps(x, inner));
}

// x Phi(x): half of erfc(|x| / sqrt(2)) is what Phi lacks to 1, or is below 0.
INLINE __m256 gelu(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f), zero = _mm256_setzero_ps();
    __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    __m256 z = _mm256_mul_ps(magnitude, _mm256_set1_ps(0.707106781f));
    __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(z, _mm256_set1_ps(0.5f), one));
    __m256 p = _mm256_set1_ps(erfc_series[ERFC_TERMS - 1]);
    for (int i = ERFC_TERMS - 2; i >= 0; i--)
        p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(erfc_series[i]));
    __m256 tail = exp_avx2(_mm256_fnmadd_ps(z, z, p));
    tail = _mm256_mul_ps(_mm256_mul_ps(tail, t), _mm256_set1_ps(0.5f));
    __m256 positive = _mm256_cmp_ps(x, zero, _CMP_GT_OQ);
    return _mm256_mul_ps(x, _mm256_blendv_ps(tail, _mm256_sub_ps(one, tail), positive));
}

// f is a constant wherever this is used.
INLINE void activate(__m256 (*f)(__m256), float *y, const float *x, const float *up, int n)
{
    for (int i = 0; i < n; i += LANES) {
        __m256 value = f(load(x + i, n - i));
        if (up)
            value = _mm256_mul_ps(value, load(up + i, n - i));
        store(y + i, n - i, value);
    }
}

void k_swiglu_f32_f32_avx2(float *y, const float *x, const float *up, int n)
{
    activate(silu, y, x, up, n);
}

void k_gelu_f32_f32_avx2(float *y, const float *x, const float *up, int n)
{
    activate(gelu, y, x, up, n);
}

void k_gelu_tanh_f32_f32_avx2(float *y, const float *x, const float *up, int n)
{
    activate(gelu_tanh, y, x, up, n);
}

void k_softcap_f32_f32_avx2(float *y, int n, float cap)
{
    const __m256 two_per_cap = _mm256_set1_ps(2 / cap), two = _mm256_set1_ps(2.0f);
    const __m256 one = _mm256_set1_ps(1.0f);
    for (int i = 0; i < n; i += LANES) {
        __m256 e = exp_avx2(_mm256_mul_ps(load(y + i, n - i), two_per_cap));
        __m256 tanh = _mm256_sub_ps(one, _mm256_div_ps(two, _mm256_add_ps(e, one)));
        store(y + i, n - i, _mm256_mul_ps(tanh, _mm256_set1_ps(cap)));
    }
}
