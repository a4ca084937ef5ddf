// linear_avx2.c - y = W x with 256-bit f32 multiply-adds: f32 by f32 and bf16 by bf16.
//
// Like linear_avx512.c, but a panel's 16 rows are in two registers of 8. A tile is one panel by 6 tokens or two panels
// by 2 tokens. The first takes 15 of the 16 registers: 12 sums, 2 weights and a broadcast.
#include "kernels/linear.h"
#include "kernels/variants.h"

#include <immintrin.h>

enum {
    GEMV_PANELS = 2,
    GEMM_PANELS = 1,
    MAX_TOKENS = 6,
    LANES = 8,
    WIDEN_INPUTS = 512, // for 6 tokens they take 12 KiB of L1 as f32
};

#define INLINE static inline __attribute__((always_inline))

typedef __m256 sums[2 * GEMV_PANELS][MAX_TOKENS];

// Masked stores are slow on some processors: partial panels go through the stack.
INLINE void finish(const struct linear_tile *tile, int p, int t, __m256 low, __m256 high)
{
    float *y = tile->y + (size_t)t * tile->ldy + p * PANEL_ROWS, whole[PANEL_ROWS];
    int rows = p == tile->panels - 1 ? tile->last_rows : PANEL_ROWS;
    _mm256_storeu_ps(whole, low);
    _mm256_storeu_ps(whole + LANES, high);
    for (int r = 0; r < rows; r++) {
        float value = whole[r];
        if (tile->bias)
            value += tile->bias[p * PANEL_ROWS + r];
        y[r] = tile->accumulate ? y[r] + value : value;
    }
}

// sum[h][t] += weights[h] * the tokens' inputs at x, `stride` floats apart; H half panels.
INLINE void step(sums sum, const __m256 *weights, const float *x, size_t stride, const int H,
                 const int T)
{
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
        __m256 input = _mm256_broadcast_ss(x + (size_t)t * stride);
#pragma GCC unroll 8
        for (int h = 0; h < H; h++)
            sum[h][t] = _mm256_fmadd_ps(weights[h], input, sum[h][t]);
    }
}

INLINE void run_f32(const struct linear_tile *tile, sums sum, const int P, const int T)
{
    const float *x = (const float *)(const void *)tile->x;
    size_t x_stride = tile->x_stride / sizeof(float);
    for (size_t g = 0; g < (size_t)tile->groups; g++) {
        __m256 weights[2 * GEMV_PANELS];
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) {
            size_t at = (size_t)p * tile->w_stride + g * LINEAR_GROUP_BYTES;
            const float *w = (const float *)(const void *)(tile->w + at);
            weights[2 * p] = _mm256_load_ps(w);
            weights[2 * p + 1] = _mm256_load_ps(w + LANES);
            if (tile->ahead)
                _mm_prefetch(tile->ahead + at, _MM_HINT_T0);
        }
        step(sum, weights, x + g, x_stride, 2 * P, T);
    }
}

// f32 copies of `count` (even) bf16 or f16 inputs of each token.
INLINE void widen(enum dtype type, const struct linear_tile *tile, int g0, int count,
                  float x[][WIDEN_INPUTS])
{
    for (int t = 0; t < tile->tokens; t++) {
        const uint16_t *from =
            (const uint16_t *)(const void *)(tile->x + (size_t)t * tile->x_stride) + g0 * 2;
        uint32_t *to = (uint32_t *)(void *)x[t];
        for (int i = 0; i < count; i++)
            if (type == DT_F16)
                x[t][i] = _cvtsh_ss(from[i]);
            else
                to[i] = (uint32_t)from[i] << 16;
    }
}

// The even, and the odd, halves of 8 pairs as f32.
INLINE __m256 even_halves(enum dtype type, __m256i pairs)
{
    if (type != DT_F16)
        return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
    __m256i low = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff));
    __m256i halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
}

INLINE __m256 odd_halves(enum dtype type, __m256i pairs)
{
    if (type == DT_F16)
        return even_halves(type, _mm256_srli_epi32(pairs, 16));
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000u)));
}

INLINE void run_halves(enum dtype type, const struct linear_tile *tile, sums sum, const int P,
                       const int T)
{
    float x[MAX_TOKENS][WIDEN_INPUTS];
    for (int g0 = 0; g0 < tile->groups; g0 += WIDEN_INPUTS / 2) {
        int count = tile->groups - g0 < WIDEN_INPUTS / 2 ? tile->groups - g0 : WIDEN_INPUTS / 2;
        widen(type, tile, g0, count * 2, x);
        for (int g = 0; g < count; g++) {
            __m256 even[2 * GEMV_PANELS], odd[2 * GEMV_PANELS];
#pragma GCC unroll 8
            for (int h = 0; h < 2 * P; h++) {
                size_t at = (size_t)(h / 2) * tile->w_stride +
                            (size_t)(g0 + g) * LINEAR_GROUP_BYTES + (size_t)(h % 2) * 32;
                __m256i pairs = _mm256_load_si256((const void *)(tile->w + at));
                if (tile->ahead)
                    _mm_prefetch(tile->ahead + at, _MM_HINT_T0);
                even[h] = even_halves(type, pairs);
                odd[h] = odd_halves(type, pairs);
            }
            step(sum, even, &x[0][g * 2], WIDEN_INPUTS, 2 * P, T);
            step(sum, odd, &x[0][g * 2 + 1], WIDEN_INPUTS, 2 * P, T);
        }
    }
}

// type, P and T are constants at each call, so that the sums are registers.
INLINE void run_tile(enum dtype type, const struct linear_tile *tile, const int P, const int T)
{
    sums sum;
#pragma GCC unroll 8
    for (int h = 0; h < 2 * P; h++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
            sum[h][t] = _mm256_setzero_ps();
    if (type == DT_F32)
        run_f32(tile, sum, P, T);
    else
        run_halves(type, tile, sum, P, T);
#pragma GCC unroll 8
    for (int p = 0; p < P; p++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
            finish(tile, p, t, sum[2 * p][t], sum[2 * p + 1][t]);
}

INLINE void run_any(enum dtype type, const struct linear_tile *tile)
{
    if (tile->panels == 2) { // GEMV: at most two tokens
        if (tile->tokens == 1)
            run_tile(type, tile, 2, 1);
        else
            run_tile(type, tile, 2, 2);
        return;
    }
    switch (tile->tokens) {
    case 1:
        run_tile(type, tile, 1, 1);
        break;
    case 2:
        run_tile(type, tile, 1, 2);
        break;
    case 3:
        run_tile(type, tile, 1, 3);
        break;
    case 4:
        run_tile(type, tile, 1, 4);
        break;
    case 5:
        run_tile(type, tile, 1, 5);
        break;
    case 6:
        run_tile(type, tile, 1, 6);
        break;
    }
}

static void tile_f32(const struct linear_tile *tile)
{
    run_any(DT_F32, tile);
}

static void tile_bf16(const struct linear_tile *tile)
{
    run_any(DT_BF16, tile);
}

static void tile_f16(const struct linear_tile *tile)
{
    run_any(DT_F16, tile);
}

// Two panels at a time pay only for one or two tokens; more tokens use one panel.
static void gemv(const struct linear_shape *few, const struct k_linear *job, int panel0, int panel1)
{
    struct linear_shape shape = *few;
    if (job->tokens > few->tokens) {
        shape.panels = GEMM_PANELS;
        shape.tokens = MAX_TOKENS;
    }
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemv_f32_f32_avx2(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_f32_f32_avx2, tile_f32);
    gemv(&shape, job, panel0, panel1);
}

void k_gemm_f32_f32_avx2(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_f32_f32_avx2, tile_f32);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemv_bf16_bf16_avx2(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_bf16_bf16_avx2, tile_bf16);
    gemv(&shape, job, panel0, panel1);
}

void k_gemm_bf16_bf16_avx2(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_bf16_bf16_avx2, tile_bf16);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemv_f16_f16_avx2(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_f16_f16_avx2, tile_f16);
    gemv(&shape, job, panel0, panel1);
}

void k_gemm_f16_f16_avx2(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_f16_f16_avx2, tile_f16);
    kernel_linear_run(&shape, job, panel0, panel1);
}
