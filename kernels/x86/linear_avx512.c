// linear_avx512.c - y = W x with f32 multiply-adds: f32 by f32, f16 by f16, and bf16 by bf16 if the processor has no
// pair dot product.
//
// f32: one register holds 16 rows of one input, and the token's input is broadcast. bf16: a group is a pair of inputs
// in each 32-bit lane. A shift turns the even inputs into f32, a mask the odd ones. The tokens' inputs are widened to
// f32 on the stack, block by block, so that each is broadcast once.
#include "kernels/variants.h"
#include "kernels/x86/tiles_avx512.h"

enum {
    GEMM_PANELS = 3,    // 3 x 8 sums, 3 weights and a broadcast take 28 of the 32 registers
    WIDEN_INPUTS = 512, // for 8 tokens they take 16 KiB of the 32 KiB L1 as f32
};

// sum[p][t] += weights[p] * the tokens' inputs at x, `stride` floats apart.
INLINE void step(sums sum, const __m512 *weights, const float *x, size_t stride, const int P,
                 const int T)
{
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
        __m512 input = _mm512_set1_ps(x[(size_t)t * stride]);
#pragma GCC unroll 8
        for (int p = 0; p < P; p++)
            sum[p][t] = _mm512_fmadd_ps(weights[p], input, sum[p][t]);
    }
}

INLINE void run_f32(const struct linear_tile *tile, sums sum, const int P, const int T,
                    const bool AHEAD)
{
    const float *x = (const float *)(const void *)tile->x;
    size_t x_stride = tile->x_stride / sizeof(float);
    for (size_t g = 0; g < (size_t)tile->groups; g++) {
        __m512 weights[GEMV_PANELS];
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) {
            size_t at = (size_t)p * tile->w_stride + g * LINEAR_GROUP_BYTES;
            weights[p] = _mm512_load_ps((const void *)(tile->w + at));
            if (AHEAD)
                _mm_prefetch(tile->ahead + at, _MM_HINT_T0);
        }
        step(sum, weights, x + g, x_stride, P, T);
    }
}

// f32 copies of `count` (even) bf16 or f16 inputs of each token, in blocks of 16.
INLINE void widen(enum dtype type, const struct linear_tile *tile, int g0, int count,
                  float x[][WIDEN_INPUTS])
{
    for (int t = 0; t < tile->tokens; t++) {
        const uint16_t *from =
            (const uint16_t *)(const void *)(tile->x + (size_t)t * tile->x_stride) + g0 * 2;
        for (int i = 0; i < count; i += 16) {
            __mmask16 there = (__mmask16)(count - i >= 16 ? 0xffff : (1u << (count - i)) - 1);
            __m256i halves = _mm256_maskz_loadu_epi16(there, from + i);
            __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16);
            _mm512_storeu_ps(&x[t][i],
                             type == DT_F16 ? _mm512_cvtph_ps(halves) : _mm512_castsi512_ps(wide));
        }
    }
}

// The even, and the odd, halves of 16 pairs as f32.
INLINE __m512 even_halves(enum dtype type, __m512i pairs)
{
    if (type == DT_F16)
        return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(pairs));
    return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
}

INLINE __m512 odd_halves(enum dtype type, __m512i pairs)
{
    if (type == DT_F16)
        return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(pairs, 16)));
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000u)));
}

INLINE void run_halves(enum dtype type, const struct linear_tile *tile, sums sum, const int P,
                       const int T, const bool AHEAD)
{
    float x[MAX_TOKENS][WIDEN_INPUTS];
    for (int g0 = 0; g0 < tile->groups; g0 += WIDEN_INPUTS / 2) {
        int count = tile->groups - g0 < WIDEN_INPUTS / 2 ? tile->groups - g0 : WIDEN_INPUTS / 2;
        widen(type, tile, g0, count * 2, x);
        for (int g = 0; g < count; g++) {
            __m512 even[GEMV_PANELS], odd[GEMV_PANELS];
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) {
                size_t at = (size_t)p * tile->w_stride + (size_t)(g0 + g) * LINEAR_GROUP_BYTES;
                __m512i pairs = _mm512_load_si512(tile->w + at);
                if (AHEAD)
                    _mm_prefetch(tile->ahead + at, _MM_HINT_T0);
                even[p] = even_halves(type, pairs);
                odd[p] = odd_halves(type, pairs);
            }
            step(sum, even, &x[0][g * 2], WIDEN_INPUTS, P, T);
            step(sum, odd, &x[0][g * 2 + 1], WIDEN_INPUTS, P, T);
        }
    }
}

// type, P, T and AHEAD (whether to prefetch) are constants at each call, so that the sums are registers.
INLINE void run_tile(enum dtype type, const struct linear_tile *tile, const int P, const int T,
                     const bool AHEAD)
{
    sums sum;
    tile_clear(sum, P, T);
    if (type == DT_F32)
        run_f32(tile, sum, P, T, AHEAD);
    else
        run_halves(type, tile, sum, P, T, AHEAD);
    tile_finish_all(tile, sum, P, T);
}

INLINE void tile_f32(const struct linear_tile *tile, const int P, const int T, const bool AHEAD)
{
    run_tile(DT_F32, tile, P, T, AHEAD);
}

INLINE void tile_bf16(const struct linear_tile *tile, const int P, const int T, const bool AHEAD)
{
    run_tile(DT_BF16, tile, P, T, AHEAD);
}

INLINE void tile_f16(const struct linear_tile *tile, const int P, const int T, const bool AHEAD)
{
    run_tile(DT_F16, tile, P, T, AHEAD);
}

static void gemv_f32(const struct linear_tile *tile)
{
    tile_gemv(tile_f32, tile);
}

static void gemv_bf16(const struct linear_tile *tile)
{
    tile_gemv(tile_bf16, tile);
}

static void gemv_f16(const struct linear_tile *tile)
{
    tile_gemv(tile_f16, tile);
}

static void gemm_f32(const struct linear_tile *tile)
{
    tile_gemm(tile_f32, tile, GEMM_PANELS);
}

static void gemm_bf16(const struct linear_tile *tile)
{
    tile_gemm(tile_bf16, tile, GEMM_PANELS);
}

static void gemm_f16(const struct linear_tile *tile)
{
    tile_gemm(tile_f16, tile, GEMM_PANELS);
}

void k_gemv_f32_f32_avx512(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_f32_f32_avx512, gemv_f32);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemm_f32_f32_avx512(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_f32_f32_avx512, gemm_f32);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemv_bf16_bf16_avx512(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_bf16_bf16_avx512, gemv_bf16);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemm_bf16_bf16_avx512(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_bf16_bf16_avx512, gemm_bf16);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemv_f16_f16_avx512(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_f16_f16_avx512, gemv_f16);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemm_f16_f16_avx512(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_f16_f16_avx512, gemm_f16);
    kernel_linear_run(&shape, job, panel0, panel1);
}
