// linear_quant_avx512_vnni.c - y = W x with int8, int4 or grouped int8 weights and int8 inputs, by the quad dot product
// VPDPBUSD: four unsigned bytes times four signed ones, added to a 32-bit sum.
//
// int8: the instruction takes one side unsigned. So each code becomes code + 128 (one flipped bit), and 128 times the
// sum of the inputs is subtracted at the end. int4: codes are unsigned already. A mask and a shift make two quads of a
// register, and zero times the sum of the group's inputs is subtracted. int8 in groups: as int4, with a zero of 128 for
// the flipped codes. All of it is exact in integers that wrap: only the true sum must fit 32 bits (kernels.h,
// I8_COLS_MAX). Scaling is in f32.
#include <string.h>

#include "kernels/quant.h"
#include "kernels/variants.h"
#include "kernels/x86/tiles_avx512.h"

enum {
    I8_PANELS = 3,    // 3 x 8 sums, 3 weights and a broadcast
    GROUP_PANELS = 2, // 2 x 8 sums, 4 halves of weights and two broadcasts
};

typedef __m512i int_sums[GEMV_PANELS][MAX_TOKENS];
// Four inputs, broadcast to all 16 rows.
INLINE __m512i quad(const char *x)
{
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return _mm512_set1_epi32(bytes);
}

// Sum of n signed bytes.
static inline int input_sum(const char *x, int n)
{
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i sum = _mm512_setzero_si512();
    for (int i = 0; i < n; i += 64) {
        __mmask64 there = n - i >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (n - i)) - 1;
        sum = _mm512_dpbusd_epi32(sum, ones, _mm512_maskz_loadu_epi8(there, x + i));
    }
    return _mm512_reduce_add_epi32(sum);
}

INLINE void clear(int_sums sum, const int P, const int T)
{
#pragma GCC unroll 8
    for (int p = 0; p < P; p++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
            sum[p][t] = _mm512_setzero_si512();
}

// ---- int8 ------------------------------------------------------------------------------------------------

INLINE void run_i8(const struct linear_tile *tile, sums sum, const int P, const int T,
                   const bool AHEAD)
{
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    int_sums dot;
    clear(dot, P, T);
    for (size_t g = 0; g < (size_t)tile->groups; g++) {
        __m512i weights[GEMV_PANELS];
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) {
            size_t at = (size_t)p * tile->w_stride + g * LINEAR_GROUP_BYTES;
            weights[p] = _mm512_xor_si512(_mm512_load_si512(tile->w + at), flip);
            if (AHEAD)
                _mm_prefetch(tile->ahead + at, _MM_HINT_T0);
        }
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            __m512i inputs = quad(tile->x + (size_t)t * tile->x_stride + g * 4);
#pragma GCC unroll 8
            for (int p = 0; p < P; p++)
                dot[p][t] = _mm512_dpbusd_epi32(dot[p][t], weights[p], inputs);
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
        int excess = 128 * input_sum(tile->x + (size_t)t * tile->x_stride, tile->groups * 4);
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) {
            const char *header = tile->header + (size_t)p * tile->w_stride;
            __m512i exact = _mm512_sub_epi32(dot[p][t], _mm512_set1_epi32(excess));
            sum[p][t] = _mm512_mul_ps(_mm512_cvtepi32_ps(exact), _mm512_load_ps(header));
        }
    }
}

// ---- int4, and int8 in groups ----------------------------------------------------------------------------

// Multiplies the codes of groups [g0, g1) by the inputs.
INLINE void dot_groups(enum dtype type, const struct linear_tile *tile, int_sums dot, int g0,
                       int g1, const int P, const int T, const bool AHEAD)
{
    const __m512i mask = _mm512_set1_epi8(15), flip = _mm512_set1_epi8((char)0x80);
    const size_t group = type == DT_I4 ? 8 : 4; // inputs
    clear(dot, P, T);
    for (size_t g = (size_t)g0; g < (size_t)g1; g++) {
        __m512i low[GEMV_PANELS], high[GEMV_PANELS];
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) {
            size_t at = (size_t)p * tile->w_stride + g * LINEAR_GROUP_BYTES;
            __m512i codes = _mm512_load_si512(tile->w + at);
            if (AHEAD)
                _mm_prefetch(tile->ahead + at, _MM_HINT_T0);
            if (type == DT_I4) {
                low[p] = _mm512_and_si512(codes, mask);
                high[p] = _mm512_and_si512(_mm512_srli_epi16(codes, 4), mask);
            } else {
                low[p] = _mm512_xor_si512(codes, flip);
            }
        }
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            const char *x = tile->x + (size_t)t * tile->x_stride + g * group;
            __m512i first = quad(x), second = type == DT_I4 ? quad(x + 4) : first;
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) {
                dot[p][t] = _mm512_dpbusd_epi32(dot[p][t], low[p], first);
                if (type == DT_I4)
                    dot[p][t] = _mm512_dpbusd_epi32(dot[p][t], high[p], second);
            }
        }
    }
}

// The 16 zeros of quantization group q: the low halves of 8 bytes are rows 0..7, the high ones rows 8..15.
INLINE __m512i zeros_i4(const char *header, int q, int groups)
{
    const char *at = header + (size_t)groups * PANEL_ROWS * 2 + (size_t)q * 8;
    __m128i bytes = _mm_loadl_epi64((const void *)at), mask = _mm_set1_epi8(15);
    __m128i low = _mm_and_si128(bytes, mask);
    __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
    return _mm512_cvtepu8_epi32(_mm_unpacklo_epi64(low, high));
}

INLINE void run_groups(enum dtype type, const struct linear_tile *tile, sums sum, const int P,
                       const int T, const bool AHEAD)
{
    const int group = type == DT_I4 ? 8 : 4;
    int a_group = tile->quant_group / group; // groups of inputs in a quantization group
    int scales_a_row = (tile->groups + a_group - 1) / a_group;
    tile_clear(sum, P, T);
    for (int q = 0; q < scales_a_row; q++) {
        int g0 = q * a_group, g1 = g0 + a_group < tile->groups ? g0 + a_group : tile->groups;
        int_sums dot;
        dot_groups(type, tile, dot, g0, g1, P, T, AHEAD);
        int inputs[MAX_TOKENS];
        for (int t = 0; t < T; t++)
            inputs[t] = input_sum(tile->x + (size_t)t * tile->x_stride + (size_t)(g0 * group),
                                  (g1 - g0) * group);
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) {
            const char *header = tile->header + (size_t)p * tile->w_stride;
            __m512i zeros =
                type == DT_I4 ? zeros_i4(header, q, scales_a_row) : _mm512_set1_epi32(128);
            __m512 scales = _mm512_cvtph_ps(
                _mm256_load_si256((const void *)(header + (size_t)q * PANEL_ROWS * 2)));
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) {
                __m512i off = _mm512_mullo_epi32(zeros, _mm512_set1_epi32(inputs[t]));
                __m512 exact = _mm512_cvtepi32_ps(_mm512_sub_epi32(dot[p][t], off));
                sum[p][t] = _mm512_fmadd_ps(exact, scales, sum[p][t]);
            }
        }
    }
}

// ---- tiles -----------------------------------------------------------------------------------------------

// type, P and T are constants at each call, so that the sums are registers.
INLINE void run_tile(enum dtype type, const struct linear_tile *tile, const int P, const int T,
                     const bool AHEAD)
{
    sums sum;
    if (type == DT_I8)
        run_i8(tile, sum, P, T, AHEAD);
    else
        run_groups(type, tile, sum, P, T, AHEAD);
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
        __m512 token = _mm512_set1_ps(tile->x_scale[t]);
#pragma GCC unroll 8
        for (int p = 0; p < P; p++)
            tile_finish(tile, p, t, _mm512_mul_ps(sum[p][t], token), tile_rows(tile, p, P));
    }
}

INLINE void tile_i8(const struct linear_tile *tile, const int P, const int T, const bool AHEAD)
{
    run_tile(DT_I8, tile, P, T, AHEAD);
}

INLINE void tile_i4(const struct linear_tile *tile, const int P, const int T, const bool AHEAD)
{
    run_tile(DT_I4, tile, P, T, AHEAD);
}

INLINE void tile_i8g(const struct linear_tile *tile, const int P, const int T, const bool AHEAD)
{
    run_tile(DT_I8G, tile, P, T, AHEAD);
}

static void gemv_i8(const struct linear_tile *tile)
{
    tile_gemv(tile_i8, tile);
}

static void gemm_i8(const struct linear_tile *tile)
{
    tile_gemm(tile_i8, tile, I8_PANELS);
}

static void gemv_i4(const struct linear_tile *tile)
{
    tile_gemv(tile_i4, tile);
}

static void gemm_i4(const struct linear_tile *tile)
{
    tile_gemm(tile_i4, tile, GROUP_PANELS);
}

static void gemv_i8g(const struct linear_tile *tile)
{
    tile_gemv(tile_i8g, tile);
}

static void gemm_i8g(const struct linear_tile *tile)
{
    tile_gemm(tile_i8g, tile, GROUP_PANELS);
}

void k_gemv_i8_i8_avx512_vnni(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_i8_i8_avx512_vnni, gemv_i8);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemm_i8_i8_avx512_vnni(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_i8_i8_avx512_vnni, gemm_i8);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemv_i4_i8_avx512_vnni(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_i4_i8_avx512_vnni, gemv_i4);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemm_i4_i8_avx512_vnni(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_i4_i8_avx512_vnni, gemm_i4);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemv_i8g_i8_avx512_vnni(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_i8g_i8_avx512_vnni, gemv_i8g);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemm_i8g_i8_avx512_vnni(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_i8g_i8_avx512_vnni, gemm_i8g);
    kernel_linear_run(&shape, job, panel0, panel1);
}
