// vector_avx512.c - the operations on one vector at a time, 16 f32 a step; tails are masked.
#include "kernels/variants.h"

#include <immintrin.h>
#include <math.h>

enum { LANES = 16 };

static inline __mmask16 lanes_left(int left)
{
    return (__mmask16)(left >= LANES ? 0xffff : (1u << left) - 1);
}

// ---- casts: bit for bit what kernels/ref does --------------------------------------------------------

// In integers, because the conversion instruction takes denormals as zero.
static inline __m256i bf16_bits(__m512 x)
{
    __m512i bits = _mm512_castps_si512(x), one = _mm512_set1_epi32(1);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
    __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    up = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
}

static inline void store_halves(uint16_t *dst, int i, int n, int padded, __m256i halves)
{
    __mmask16 there = lanes_left(n - i);
    _mm256_mask_storeu_epi16(dst + i, lanes_left(padded - i),
                             _mm256_maskz_mov_epi16(there, halves));
}

static void zero_halves(uint16_t *dst, int from, int padded)
{
    for (int i = from; i < padded; i++)
        dst[i] = 0;
}

static void cast_bf16(uint16_t *dst, const float *src, int n, int padded)
{
    int i = 0;
    for (; i < n; i += LANES)
        store_halves(dst, i, n, padded > n ? padded : n,
                     bf16_bits(_mm512_maskz_loadu_ps(lanes_left(n - i), src + i)));
    zero_halves(dst, i, padded);
}

static void cast_f16(uint16_t *dst, const float *src, int n, int padded)
{
    int i = 0;
    for (; i < n; i += LANES) {
        __m512 x = _mm512_maskz_loadu_ps(lanes_left(n - i), src + i);
        store_halves(dst, i, n, padded > n ? padded : n,
                     _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    }
    zero_halves(dst, i, padded);
}

static void cast_f32(float *dst, const float *src, int n, int padded)
{
    for (int i = 0; i < n; i += LANES) {
        __mmask16 there = lanes_left(n - i);
        _mm512_mask_storeu_ps(dst + i, there, _mm512_maskz_loadu_ps(there, src + i));
    }
    for (int i = n; i < padded; i++)
        dst[i] = 0;
}

float k_cast_f32_f32_avx512(void *dst, const float *src, int n, int padded)
{
    cast_f32(dst, src, n, padded);
    return 1;
}

float k_cast_f32_bf16_avx512(void *dst, const float *src, int n, int padded)
{
    cast_bf16(dst, src, n, padded);
    return 1;
}

float k_cast_f32_f16_avx512(void *dst, const float *src, int n, int padded)
{
    cast_f16(dst, src, n, padded);
    return 1;
}

float k_kv_store_f32_f32_avx512(void *dst, const float *src, int n, int padded)
{
    cast_f32(dst, src, n, padded);
    return 1;
}

float k_kv_store_bf16_f32_avx512(void *dst, const float *src, int n, int padded)
{
    cast_bf16(dst, src, n, padded);
    return 1;
}

float k_kv_store_f16_f32_avx512(void *dst, const float *src, int n, int padded)
{
    cast_f16(dst, src, n, padded);
    return 1;
}

// ---- norms, rotation, residual ---------------------------------------------------------------------------

static inline __mmask8 eight_left(int left)
{
    return (__mmask8)(left >= 8 ? 0xff : (1u << left) - 1);
}

// Squares are summed in double: f32 would overflow from 1e19 on.
static double sum_of_squares(const float *x, int n)
{
    __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
    for (int i = 0; i < n; i += LANES) {
        __m512 v = _mm512_maskz_loadu_ps(lanes_left(n - i), x + i);
        __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
        __m512d b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
        low = _mm512_fmadd_pd(a, a, low);
        high = _mm512_fmadd_pd(b, b, high);
    }
    return _mm512_reduce_add_pd(_mm512_add_pd(low, high));
}

void k_rmsnorm_f32_f32_avx512(float *y, const float *x, const float *w, int n, float eps)
{
    // In double up to the last product, so that a scale beyond f32 still gives a finite y.
    __m512d scale = _mm512_set1_pd(1 / sqrt(sum_of_squares(x, n) / n + eps));
    for (int i = 0; i < n; i += 8) {
        __mmask8 there = eight_left(n - i);
        __m512d value = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(there, x + i));
        __m512d weight = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(there, w + i));
        value = _mm512_mul_pd(_mm512_mul_pd(value, scale), weight);
        _mm256_mask_storeu_ps(y + i, there, _mm512_cvtpd_ps(value));
    }
}

void k_layernorm_f32_f32_avx512(float *y, const float *x, const float *w, const float *b, int n,
                                float eps)
{
    __m512d sum = _mm512_setzero_pd(), squares = sum;
    for (int i = 0; i < n; i += 8)
        sum = _mm512_add_pd(sum, _mm512_cvtps_pd(_mm256_maskz_loadu_ps(eight_left(n - i), x + i)));
    __m512d mean = _mm512_set1_pd(_mm512_reduce_add_pd(sum) / n);
    for (int i = 0; i < n; i += 8) {
        __mmask8 there = eight_left(n - i);
        __m512d v = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(there, x + i));
        v = _mm512_maskz_sub_pd(there, v, mean);
        squares = _mm512_fmadd_pd(v, v, squares);
    }
    __m512d scale = _mm512_set1_pd(1 / sqrt(_mm512_reduce_add_pd(squares) / n + eps));
    for (int i = 0; i < n; i += 8) {
        __mmask8 there = eight_left(n - i);
        __m512d v = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(there, x + i));
        __m512d weight = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(there, w + i));
        __m512d bias = _mm512_setzero_pd();
        if (b)
            bias = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(there, b + i));
        v = _mm512_mul_pd(_mm512_mul_pd(_mm512_sub_pd(v, mean), scale), weight);
        _mm256_mask_storeu_ps(y + i, there, _mm512_cvtpd_ps(_mm512_add_pd(v, bias)));
    }
}

static void rope_half_split(float *head, const float *cosine, const float *sine, int half)
{
    for (int i = 0; i < half; i += LANES) {
        __mmask16 there = lanes_left(half - i);
        __m512 c = _mm512_maskz_loadu_ps(there, cosine + i),
               s = _mm512_maskz_loadu_ps(there, sine + i);
        __m512 a = _mm512_maskz_loadu_ps(there, head + i);
        __m512 b = _mm512_maskz_loadu_ps(there, head + half + i);
        _mm512_mask_storeu_ps(head + i, there, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        _mm512_mask_storeu_ps(head + half + i, there, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
    }
}

// Eight pairs a step: (a, b) c + (-b, a) s.
static void rope_interleaved(float *head, const float *cosine, const float *sine, int half)
{
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    for (int i = 0; i < half; i += LANES / 2) {
        int left = half - i;
        __mmask16 there = lanes_left(2 * left);
        __mmask8 angles = (__mmask8)(left >= 8 ? 0xff : (1u << left) - 1);
        __m512 c = _mm512_castps256_ps512(_mm256_maskz_loadu_ps(angles, cosine + i));
        __m512 s = _mm512_castps256_ps512(_mm256_maskz_loadu_ps(angles, sine + i));
        __m512 x = _mm512_maskz_loadu_ps(there, head + 2 * i);
        __m512 swapped = _mm512_permute_ps(x, 0xb1);
        c = _mm512_permutexvar_ps(twice, c);
        s = _mm512_permutexvar_ps(twice, s);
        // Even lanes subtract, odd lanes add.
        _mm512_mask_storeu_ps(head + 2 * i, there,
                              _mm512_fmaddsub_ps(x, c, _mm512_mul_ps(swapped, s)));
    }
}

void k_rope_f32_f32_avx512(const struct k_rope *job)
{
    for (int h = 0; h < job->heads; h++) {
        float *head = job->x + (size_t)h * (size_t)job->head_dim;
        if (job->interleaved)
            rope_interleaved(head, job->cos, job->sin, job->rotary / 2);
        else
            rope_half_split(head, job->cos, job->sin, job->rotary / 2);
    }
}

void k_add_f32_f32_avx512(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i += LANES) {
        __mmask16 there = lanes_left(n - i);
        __m512 sum =
            _mm512_add_ps(_mm512_maskz_loadu_ps(there, y + i), _mm512_maskz_loadu_ps(there, x + i));
        _mm512_mask_storeu_ps(y + i, there, sum);
    }
}
