// lanes_avx2.h - AVX2 registers under the names that the shared bodies (*_lanes.h) use.
//
// lanes_avx512.h gives 512-bit registers the same names: a file includes one of the two, then the bodies
// it needs. `left` is the number of elements from the address to the end of the array; lanes past it load
// as zero and are not stored.
#ifndef KERNELS_X86_LANES_AVX2_H
#define KERNELS_X86_LANES_AVX2_H

#include <immintrin.h>
#include <stdint.h>

#define KERNELS_X86_LANES // the bodies are empty without it

enum { LANES = 8, WIDE_LANES = 4, REGISTER_BYTES = 32 };

#define INLINE static inline __attribute__((always_inline))

typedef __m256 f32s;      // LANES f32
typedef __m256d f64s;     // WIDE_LANES doubles
typedef __m256i ints;     // REGISTER_BYTES bytes
typedef __m256 lane_mask; // all ones or zeros in each f32 lane

// Lanes [0, left) all ones, for any left.
INLINE __m256i lanes_left(int left)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// Lanes [begin, end), for any begin and end.
INLINE lane_mask lanes_between(int begin, int end)
{
    return _mm256_castsi256_ps(_mm256_andnot_si256(lanes_left(begin), lanes_left(end)));
}

// ---- f32 -----------------------------------------------------------------------------------------------

INLINE f32s f32_zero(void)
{
    return _mm256_setzero_ps();
}

INLINE f32s f32_all(float x)
{
    return _mm256_set1_ps(x);
}

// A masked load or store is slower than a plain one on some processors, so only tails use it.
INLINE f32s f32_load(const float *from, int left)
{
    return left >= LANES ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, lanes_left(left));
}

INLINE void f32_store(float *to, int left, f32s x)
{
    if (left >= LANES)
        _mm256_storeu_ps(to, x);
    else
        _mm256_maskstore_ps(to, lanes_left(left), x);
}

// A whole register at an address aligned to it; f32_stream bypasses the caches.
INLINE f32s f32_load_whole(const float *from)
{
    return _mm256_load_ps(from);
}

INLINE void f32_store_whole(float *to, f32s x)
{
    _mm256_store_ps(to, x);
}

INLINE void f32_stream(float *to, f32s x)
{
    _mm256_stream_ps(to, x);
}

INLINE f32s f32_add(f32s a, f32s b)
{
    return _mm256_add_ps(a, b);
}

INLINE f32s f32_sub(f32s a, f32s b)
{
    return _mm256_sub_ps(a, b);
}

INLINE f32s f32_mul(f32s a, f32s b)
{
    return _mm256_mul_ps(a, b);
}

INLINE f32s f32_div(f32s a, f32s b)
{
    return _mm256_div_ps(a, b);
}

// Returns b if either is NaN.
INLINE f32s f32_min(f32s a, f32s b)
{
    return _mm256_min_ps(a, b);
}

INLINE f32s f32_max(f32s a, f32s b)
{
    return _mm256_max_ps(a, b);
}

INLINE f32s f32_abs(f32s x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

// a b + c, rounded once; then a b - c, c - a b, and a b - c in even lanes, a b + c in odd ones.
INLINE f32s f32_fma(f32s a, f32s b, f32s c)
{
    return _mm256_fmadd_ps(a, b, c);
}

INLINE f32s f32_fms(f32s a, f32s b, f32s c)
{
    return _mm256_fmsub_ps(a, b, c);
}

INLINE f32s f32_fnma(f32s a, f32s b, f32s c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

INLINE f32s f32_fmsa(f32s a, f32s b, f32s c)
{
    return _mm256_fmaddsub_ps(a, b, c);
}

// To the nearest integer, ties to even.
INLINE f32s f32_round(f32s x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE f32s power_of_two(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

// x 2^n for integers n from -252 to 254, in two factors made from exponent bits.
INLINE f32s f32_scale(f32s x, f32s n)
{
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    f32s scaled = _mm256_mul_ps(x, power_of_two(half));
    return _mm256_mul_ps(scaled, power_of_two(_mm256_sub_epi32(whole, half)));
}

INLINE lane_mask f32_positive(f32s x)
{
    return _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ);
}

INLINE f32s f32_select(lane_mask where, f32s yes, f32s no)
{
    return _mm256_blendv_ps(no, yes, where);
}

// max(a, b) in the lanes of `where`, a elsewhere.
INLINE f32s f32_max_where(lane_mask where, f32s a, f32s b)
{
    return _mm256_max_ps(a, _mm256_blendv_ps(a, b, where));
}

// Zero outside `where`.
INLINE f32s f32_keep(lane_mask where, f32s x)
{
    return _mm256_and_ps(x, where);
}

// NaN lanes are skipped.
INLINE float f32_largest(f32s x)
{
    float lane[LANES], largest = -__builtin_inff();
    _mm256_storeu_ps(lane, x);
    for (int i = 0; i < LANES; i++)
        largest = lane[i] > largest ? lane[i] : largest;
    return largest;
}

INLINE float f32_sum(f32s x)
{
    float lane[LANES], sum = 0;
    _mm256_storeu_ps(lane, x);
    for (int i = 0; i < LANES; i++)
        sum += lane[i];
    return sum;
}

// Each of up to LANES / 2 elements twice: a, a, b, b, ...
INLINE f32s f32_load_twice(const float *from, int left)
{
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    left = left < LANES / 2 ? left : LANES / 2;
    return _mm256_permutevar8x32_ps(f32_load(from, left), twice);
}

INLINE f32s f32_swap_pairs(f32s x)
{
    return _mm256_permute_ps(x, 0xb1);
}

// ---- doubles -------------------------------------------------------------------------------------------

INLINE f64s f64_zero(void)
{
    return _mm256_setzero_pd();
}

INLINE f64s f64_all(double x)
{
    return _mm256_set1_pd(x);
}

// The lower and the upper half of the lanes as doubles.
INLINE f64s f64_low(f32s x)
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(x));
}

INLINE f64s f64_high(f32s x)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
}

// WIDE_LANES f32 as doubles, and doubles as f32.
INLINE f64s f64_load(const float *from, int left)
{
    if (left >= WIDE_LANES)
        return _mm256_cvtps_pd(_mm_loadu_ps(from));
    return _mm256_cvtps_pd(_mm_maskload_ps(from, _mm256_castsi256_si128(lanes_left(left))));
}

INLINE void f64_store(float *to, int left, f64s x)
{
    __m128 out = _mm256_cvtpd_ps(x);
    if (left >= WIDE_LANES)
        _mm_storeu_ps(to, out);
    else
        _mm_maskstore_ps(to, _mm256_castsi256_si128(lanes_left(left)), out);
}

INLINE f64s f64_add(f64s a, f64s b)
{
    return _mm256_add_pd(a, b);
}

INLINE f64s f64_sub(f64s a, f64s b)
{
    return _mm256_sub_pd(a, b);
}

INLINE f64s f64_mul(f64s a, f64s b)
{
    return _mm256_mul_pd(a, b);
}

INLINE f64s f64_fma(f64s a, f64s b, f64s c)
{
    return _mm256_fmadd_pd(a, b, c);
}

// Zero in the lanes past `left`.
INLINE f64s f64_keep(int left, f64s x)
{
    __m256i there = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(lanes_left(left)));
    return _mm256_and_pd(x, _mm256_castsi256_pd(there));
}

INLINE double f64_sum(f64s x)
{
    double lane[WIDE_LANES];
    _mm256_storeu_pd(lane, x);
    return lane[0] + lane[1] + lane[2] + lane[3];
}

// ---- bytes ---------------------------------------------------------------------------------------------

INLINE ints ints_zero(void)
{
    return _mm256_setzero_si256();
}

INLINE ints ints_load(const char *from)
{
    return _mm256_load_si256((const void *)from);
}

INLINE void ints_store(char *to, ints x)
{
    _mm256_store_si256((void *)to, x);
}

INLINE void ints_stream(char *to, ints x)
{
    _mm256_stream_si256((void *)to, x);
}

INLINE ints ints_xor(ints a, ints b)
{
    return _mm256_xor_si256(a, b);
}

#endif
