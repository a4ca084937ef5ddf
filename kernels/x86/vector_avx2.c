// vector_avx2.c - the operations on one vector at a time, 8 f32 a step; tails go one by one through a
// masked load and store.
#include "kernels/variants.h"

#include <immintrin.h>
#include <math.h>

enum { LANES = 8 };

// Lanes [0, left) all ones: what the masked load and store take.
static inline __m256i lanes_left(int left)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline __m256 load(const float *from, int left)
{
    return left >= LANES ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, lanes_left(left));
}

static inline void store(float *to, int left, __m256 value)
{
    if (left >= LANES)
        _mm256_storeu_ps(to, value);
    else
        _mm256_maskstore_ps(to, lanes_left(left), value);
}

// ---- casts: bit for bit what kernels/ref does --------------------------------------------------------

static inline __m128i bf16_bits(__m256 x)
{
    __m256i bits = _mm256_castps_si256(x), one = _mm256_set1_epi32(1);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
    __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    up = _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(up), _mm256_extracti128_si256(up, 1));
}

static inline __m128i f16_bits(__m256 x)
{
    return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
}

static void store_halves(uint16_t *dst, int left, __m128i halves)
{
    uint16_t lanes[LANES];
    _mm_storeu_si128((void *)lanes, halves);
    if (left >= LANES)
        _mm_storeu_si128((void *)dst, halves);
    else
        for (int i = 0; i < left; i++)
            dst[i] = lanes[i];
}

static void cast_bf16(uint16_t *dst, const float *src, int n, int padded)
{
    for (int i = 0; i < n; i += LANES)
        store_halves(dst + i, n - i, bf16_bits(load(src + i, n - i)));
    for (int i = n; i < padded; i++)
        dst[i] = 0;
}

static void cast_f16(uint16_t *dst, const float *src, int n, int padded)
{
    for (int i = 0; i < n; i += LANES)
        store_halves(dst + i, n - i, f16_bits(load(src + i, n - i)));
    for (int i = n; i < padded; i++)
        dst[i] = 0;
}

static void cast_f32(float *dst, const float *src, int n, int padded)
{
    for (int i = 0; i < n; i += LANES)
        store(dst + i, n - i, load(src + i, n - i));
    for (int i = n; i < padded; i++)
        dst[i] = 0;
}

float k_cast_f32_f32_avx2(void *dst, const float *src, int n, int padded)
{
    cast_f32(dst, src, n, padded);
    return 1;
}

float k_cast_f32_bf16_avx2(void *dst, const float *src, int n, int padded)
{
    cast_bf16(dst, src, n, padded);
    return 1;
}

float k_cast_f32_f16_avx2(void *dst, const float *src, int n, int padded)
{
    cast_f16(dst, src, n, padded);
    return 1;
}

float k_kv_store_f32_f32_avx2(void *dst, const float *src, int n, int padded)
{
    cast_f32(dst, src, n, padded);
    return 1;
}

float k_kv_store_bf16_f32_avx2(void *dst, const float *src, int n, int padded)
{
    cast_bf16(dst, src, n, padded);
    return 1;
}

float k_kv_store_f16_f32_avx2(void *dst, const float *src, int n, int padded)
{
    cast_f16(dst, src, n, padded);
    return 1;
}

// ---- norms, rotation, residual ---------------------------------------------------------------------------

// Squares are summed in double: f32 would overflow from 1e19 on.
static double sum_of_squares(const float *x, int n)
{
    __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
    for (int i = 0; i < n; i += LANES) {
        __m256 v = load(x + i, n - i);
        __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
        __m256d b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
        low = _mm256_fmadd_pd(a, a, low);
        high = _mm256_fmadd_pd(b, b, high);
    }
    double lanes[4];
    _mm256_storeu_pd(lanes, _mm256_add_pd(low, high));
    return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

static inline __m128 scaled(__m128 x, __m128 w, __m256d scale)
{
    __m256d value = _mm256_mul_pd(_mm256_cvtps_pd(x), scale);
    return _mm256_cvtpd_ps(_mm256_mul_pd(value, _mm256_cvtps_pd(w)));
}

void k_rmsnorm_f32_f32_avx2(float *y, const float *x, const float *w, int n, float eps)
{
    // In double up to the last product, so that a scale beyond f32 still gives a finite y.
    __m256d scale = _mm256_set1_pd(1 / sqrt(sum_of_squares(x, n) / n + eps));
    for (int i = 0; i < n; i += LANES) {
        __m256 value = load(x + i, n - i), weight = load(w + i, n - i);
        __m128 low = scaled(_mm256_castps256_ps128(value), _mm256_castps256_ps128(weight), scale);
        __m128 high =
            scaled(_mm256_extractf128_ps(value, 1), _mm256_extractf128_ps(weight, 1), scale);
        store(y + i, n - i, _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1));
    }
}

// Four elements of x from `i` on as doubles; 0 beyond n.
static inline __m256d four(const float *x, int i, int n)
{
    if (n - i >= 4)
        return _mm256_cvtps_pd(_mm_loadu_ps(x + i));
    return _mm256_cvtps_pd(_mm_maskload_ps(x + i, _mm256_castsi256_si128(lanes_left(n - i))));
}

static inline double sum_of(__m256d v)
{
    double lanes[4];
    _mm256_storeu_pd(lanes, v);
    return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

void k_layernorm_f32_f32_avx2(float *y, const float *x, const float *w, const float *b, int n,
                              float eps)
{
    __m256d sum = _mm256_setzero_pd(), squares = sum;
    for (int i = 0; i < n; i += 4)
        sum = _mm256_add_pd(sum, four(x, i, n));
    __m256d mean = _mm256_set1_pd(sum_of(sum) / n);
    for (int i = 0; i < n; i += 4) {
        __m256i there = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(lanes_left(n - i)));
        __m256d v = _mm256_sub_pd(four(x, i, n), mean);
        v = _mm256_and_pd(v, _mm256_castsi256_pd(there)); // nothing of the lanes past the end
        squares = _mm256_fmadd_pd(v, v, squares);
    }
    __m256d scale = _mm256_set1_pd(1 / sqrt(sum_of(squares) / n + eps));
    for (int i = 0; i < n; i += 4) {
        __m256d v = _mm256_mul_pd(_mm256_sub_pd(four(x, i, n), mean), scale);
        v = _mm256_mul_pd(v, four(w, i, n));
        if (b)
            v = _mm256_add_pd(v, four(b, i, n));
        __m128 out = _mm256_cvtpd_ps(v);
        if (n - i >= 4)
            _mm_storeu_ps(y + i, out);
        else
            _mm_maskstore_ps(y + i, _mm256_castsi256_si128(lanes_left(n - i)), out);
    }
}

static void rope_half_split(float *head, const float *cosine, const float *sine, int half)
{
    for (int i = 0; i < half; i += LANES) {
        int left = half - i;
        __m256 c = load(cosine + i, left), s = load(sine + i, left);
        __m256 a = load(head + i, left), b = load(head + half + i, left);
        store(head + i, left, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        store(head + half + i, left, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
    }
}

// Four pairs a step: (a, b) c + (-b, a) s.
static void rope_interleaved(float *head, const float *cosine, const float *sine, int half)
{
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    for (int i = 0; i < half; i += LANES / 2) {
        int left = half - i < LANES / 2 ? half - i : LANES / 2;
        __m256 c = _mm256_permutevar8x32_ps(load(cosine + i, left), twice);
        __m256 s = _mm256_permutevar8x32_ps(load(sine + i, left), twice);
        __m256 x = load(head + 2 * i, 2 * left), swapped = _mm256_permute_ps(x, 0xb1);
        // Even lanes subtract, odd lanes add.
        store(head + 2 * i, 2 * left, _mm256_fmaddsub_ps(x, c, _mm256_mul_ps(swapped, s)));
    }
}

void k_rope_f32_f32_avx2(const struct k_rope *job)
{
    for (int h = 0; h < job->heads; h++) {
        float *head = job->x + (size_t)h * (size_t)job->head_dim;
        if (job->interleaved)
            rope_interleaved(head, job->cos, job->sin, job->rotary / 2);
        else
            rope_half_split(head, job->cos, job->sin, job->rotary / 2);
    }
}

void k_add_f32_f32_avx2(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i += LANES)
        store(y + i, n - i, _mm256_add_ps(load(y + i, n - i), load(x + i, n - i)));
}
