// lanes_avx512.h - AVX-512 registers under the names that the shared bodies (*_lanes.h) use.
//
// lanes_avx2.h explains the names. Tails are masked: a masked load or store costs no more here.
#ifndef KERNELS_X86_LANES_AVX512_H
#define KERNELS_X86_LANES_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#define KERNELS_X86_LANES // the bodies are empty without it

enum { LANES = 16, WIDE_LANES = 8, REGISTER_BYTES = 64 };

#define INLINE static inline __attribute__((always_inline))

typedef __m512 f32s;         // LANES f32
typedef __m512d f64s;        // WIDE_LANES doubles
typedef __m512i ints;        // REGISTER_BYTES bytes
typedef __mmask16 lane_mask; // one bit per f32 lane

// Lanes [0, left), left >= 0.
INLINE __mmask16 lanes_left(int left)
{
    return (__mmask16)(left >= LANES ? 0xffff : (1u << left) - 1);
}

INLINE __mmask8 wide_left(int left)
{
    return (__mmask8)(left >= WIDE_LANES ? 0xff : (1u << left) - 1);
}

// Lanes [begin, end), for any begin and end.
INLINE lane_mask lanes_between(int begin, int end)
{
    return (__mmask16)(lanes_left(end > 0 ? end : 0) & ~lanes_left(begin > 0 ? begin : 0));
}

// ---- f32 -----------------------------------------------------------------------------------------------

INLINE f32s f32_zero(void)
{
    return _mm512_setzero_ps();
}

INLINE f32s f32_all(float x)
{
    return _mm512_set1_ps(x);
}

INLINE f32s f32_load(const float *from, int left)
{
    return _mm512_maskz_loadu_ps(lanes_left(left), from);
}

INLINE void f32_store(float *to, int left, f32s x)
{
    _mm512_mask_storeu_ps(to, lanes_left(left), x);
}

INLINE f32s f32_load_whole(const float *from)
{
    return _mm512_load_ps(from);
}

INLINE void f32_store_whole(float *to, f32s x)
{
    _mm512_store_ps(to, x);
}

INLINE void f32_stream(float *to, f32s x)
{
    _mm512_stream_ps(to, x);
}

INLINE f32s f32_add(f32s a, f32s b)
{
    return _mm512_add_ps(a, b);
}

INLINE f32s f32_sub(f32s a, f32s b)
{
    return _mm512_sub_ps(a, b);
}

INLINE f32s f32_mul(f32s a, f32s b)
{
    return _mm512_mul_ps(a, b);
}

INLINE f32s f32_div(f32s a, f32s b)
{
    return _mm512_div_ps(a, b);
}

INLINE f32s f32_min(f32s a, f32s b)
{
    return _mm512_min_ps(a, b);
}

INLINE f32s f32_max(f32s a, f32s b)
{
    return _mm512_max_ps(a, b);
}

INLINE f32s f32_abs(f32s x)
{
    return _mm512_abs_ps(x);
}

INLINE f32s f32_fma(f32s a, f32s b, f32s c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE f32s f32_fms(f32s a, f32s b, f32s c)
{
    return _mm512_fmsub_ps(a, b, c);
}

INLINE f32s f32_fnma(f32s a, f32s b, f32s c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

INLINE f32s f32_fmsa(f32s a, f32s b, f32s c)
{
    return _mm512_fmaddsub_ps(a, b, c);
}

INLINE f32s f32_round(f32s x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT);
}

INLINE f32s f32_scale(f32s x, f32s n)
{
    return _mm512_scalef_ps(x, n);
}

INLINE lane_mask f32_positive(f32s x)
{
    return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
}

INLINE f32s f32_select(lane_mask where, f32s yes, f32s no)
{
    return _mm512_mask_mov_ps(no, where, yes);
}

INLINE f32s f32_max_where(lane_mask where, f32s a, f32s b)
{
    return _mm512_mask_max_ps(a, where, a, b);
}

INLINE f32s f32_keep(lane_mask where, f32s x)
{
    return _mm512_maskz_mov_ps(where, x);
}

INLINE float f32_largest(f32s x)
{
    return _mm512_reduce_max_ps(x);
}

INLINE float f32_sum(f32s x)
{
    return _mm512_reduce_add_ps(x);
}

INLINE f32s f32_load_twice(const float *from, int left)
{
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    f32s once = _mm512_castps256_ps512(_mm256_maskz_loadu_ps(wide_left(left), from));
    return _mm512_permutexvar_ps(twice, once);
}

INLINE f32s f32_swap_pairs(f32s x)
{
    return _mm512_permute_ps(x, 0xb1);
}

// ---- doubles -------------------------------------------------------------------------------------------

INLINE f64s f64_zero(void)
{
    return _mm512_setzero_pd();
}

INLINE f64s f64_all(double x)
{
    return _mm512_set1_pd(x);
}

INLINE f64s f64_low(f32s x)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(x));
}

INLINE f64s f64_high(f32s x)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
}

INLINE f64s f64_load(const float *from, int left)
{
    return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(wide_left(left), from));
}

INLINE void f64_store(float *to, int left, f64s x)
{
    _mm256_mask_storeu_ps(to, wide_left(left), _mm512_cvtpd_ps(x));
}

INLINE f64s f64_add(f64s a, f64s b)
{
    return _mm512_add_pd(a, b);
}

INLINE f64s f64_sub(f64s a, f64s b)
{
    return _mm512_sub_pd(a, b);
}

INLINE f64s f64_mul(f64s a, f64s b)
{
    return _mm512_mul_pd(a, b);
}

INLINE f64s f64_fma(f64s a, f64s b, f64s c)
{
    return _mm512_fmadd_pd(a, b, c);
}

INLINE f64s f64_keep(int left, f64s x)
{
    return _mm512_maskz_mov_pd(wide_left(left), x);
}

INLINE double f64_sum(f64s x)
{
    return _mm512_reduce_add_pd(x);
}

// ---- bytes ---------------------------------------------------------------------------------------------

INLINE ints ints_zero(void)
{
    return _mm512_setzero_si512();
}

INLINE ints ints_load(const char *from)
{
    return _mm512_load_si512((const void *)from);
}

INLINE void ints_store(char *to, ints x)
{
    _mm512_store_si512((void *)to, x);
}

INLINE void ints_stream(char *to, ints x)
{
    _mm512_stream_si512((void *)to, x);
}

INLINE ints ints_xor(ints a, ints b)
{
    return _mm512_xor_si512(a, b);
}

#endif
