// linear_f8_avx512_bf16.c - y = W x with fp8 weights and bf16 or fp8 inputs, by the pair dot product VDPBF16PS.
//
// Every E4M3 number is a bf16 number, so codes are widened without loss and multiplied as bf16. The row's scale comes
// last, then the token's. The even and the odd of a row's four codes are widened separately, so that each needs only
// shifts within 16-bit lanes. The inputs are copied to the stack in the same order, block by block, and fp8 inputs are
// widened on the way. NaN codes read as 480; packing refuses weights that hold them, and casts make none.
#include <string.h>

#include "kernels/variants.h"
#include "kernels/x86/tiles_avx512.h"

enum {
    GEMM_PANELS = 3,    // as in linear_avx512_bf16.c
    BLOCK_INPUTS = 512, // for 8 tokens they take 8 KiB of the 32 KiB L1
};

// Codes in the high bytes of 16-bit lanes as bf16. The four exponent and three mantissa bits move to their places in
// bf16, and 120 is added to the bias. Codes below 2^-6 have no exponent and are looked up.
INLINE __m512bh widen(__m512i codes)
{
    static const uint16_t tiny[32] = {0,      0x3b00, 0x3b80, 0x3bc0, // 0 to 7 times 2^-9
                                      0x3c00, 0x3c20, 0x3c40, 0x3c60};
    const __m512i magnitude = _mm512_set1_epi16(0x07f0), sign = _mm512_set1_epi16((short)0x8000);
    __m512i bits = _mm512_and_si512(_mm512_srli_epi16(codes, 4), magnitude);
    bits = _mm512_add_epi16(bits, _mm512_set1_epi16(120 << 7));
    __mmask32 small = _mm512_testn_epi16_mask(codes, _mm512_set1_epi16(0x7800));
    bits = _mm512_mask_permutexvar_epi16(bits, small, _mm512_srli_epi16(codes, 8),
                                         _mm512_loadu_si512(tiny));
    return (__m512bh)_mm512_ternarylogic_epi32(bits, codes, sign, 0xf8); // bits | (codes & sign)
}

// Loads the inputs of `there`, from input i on, as bf16. X: DT_BF16 or DT_F8E4M3.
INLINE __m512i load_inputs(const char *from, int i, __mmask32 there, const enum dtype X)
{
    if (X == DT_BF16)
        return _mm512_maskz_loadu_epi16(there, from + 2 * i);
    __m512i codes = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(there, from + i));
    return (__m512i)widen(_mm512_slli_epi16(codes, 8));
}

// Copies `count` inputs of each token, a multiple of 4, and swaps the middle two of each four.
INLINE void reorder(const struct linear_tile *tile, int first, int count,
                    uint16_t x[][BLOCK_INPUTS], const enum dtype X)
{
    for (int t = 0; t < tile->tokens; t++) {
        const char *from = tile->x + (size_t)t * tile->x_stride;
        for (int i = 0; i < count; i += 32) {
            __mmask32 there = count - i >= 32 ? ~(__mmask32)0 : ((__mmask32)1 << (count - i)) - 1;
            __m512i halves = load_inputs(from, first + i, there, X);
            halves = _mm512_shufflehi_epi16(_mm512_shufflelo_epi16(halves, 0xd8), 0xd8);
            _mm512_storeu_si512(&x[t][i], halves);
        }
    }
}

INLINE __m512bh pair(const uint16_t *x)
{
    int32_t both;
    memcpy(&both, x, sizeof both);
    return (__m512bh)_mm512_set1_epi32(both);
}

// P and T are constants at each call, so that the sums are registers.
INLINE void run_block(const struct linear_tile *tile, sums sum, int g0, int count,
                      uint16_t x[][BLOCK_INPUTS], const int P, const int T, const bool AHEAD)
{
    const __m512i odd_bytes = _mm512_set1_epi16((short)0xff00);
    for (int g = 0; g < count; g++) {
        __m512bh even[GEMV_PANELS], odd[GEMV_PANELS];
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) {
            size_t at = (size_t)p * tile->w_stride + (size_t)(g0 + g) * LINEAR_GROUP_BYTES;
            __m512i codes = _mm512_load_si512(tile->w + at);
            if (AHEAD)
                _mm_prefetch(tile->ahead + at, _MM_HINT_T0);
            even[p] = widen(_mm512_slli_epi16(codes, 8));
            odd[p] = widen(_mm512_and_si512(codes, odd_bytes));
        }
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            __m512bh first = pair(&x[t][g * 4]), second = pair(&x[t][g * 4 + 2]);
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) {
                sum[p][t] = _mm512_dpbf16_ps(sum[p][t], even[p], first);
                sum[p][t] = _mm512_dpbf16_ps(sum[p][t], odd[p], second);
            }
        }
    }
}

INLINE void run_tile(const struct linear_tile *tile, const int P, const int T, const bool AHEAD,
                     const enum dtype X)
{
    uint16_t x[MAX_TOKENS][BLOCK_INPUTS];
    sums sum;
    tile_clear(sum, P, T);
    for (int g0 = 0; g0 < tile->groups; g0 += BLOCK_INPUTS / 4) {
        int count = tile->groups - g0 < BLOCK_INPUTS / 4 ? tile->groups - g0 : BLOCK_INPUTS / 4;
        reorder(tile, g0 * 4, count * 4, x, X);
        run_block(tile, sum, g0, count, x, P, T, AHEAD);
    }
#pragma GCC unroll 8
    for (int p = 0; p < P; p++) {
        __m512 scales = _mm512_load_ps(tile->header + (size_t)p * tile->w_stride);
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            __m512 y = _mm512_mul_ps(sum[p][t], scales);
            if (X == DT_F8E4M3)
                y = _mm512_mul_ps(y, _mm512_set1_ps(tile->x_scale[t]));
            tile_finish(tile, p, t, y, tile_rows(tile, p, P));
        }
    }
}

INLINE void run_bf16(const struct linear_tile *tile, const int P, const int T, const bool AHEAD)
{
    run_tile(tile, P, T, AHEAD, DT_BF16);
}

INLINE void run_f8(const struct linear_tile *tile, const int P, const int T, const bool AHEAD)
{
    run_tile(tile, P, T, AHEAD, DT_F8E4M3);
}

static void gemv(const struct linear_tile *tile)
{
    tile_gemv(run_bf16, tile);
}

static void gemm(const struct linear_tile *tile)
{
    tile_gemm(run_bf16, tile, GEMM_PANELS);
}

static void gemv_f8(const struct linear_tile *tile)
{
    tile_gemv(run_f8, tile);
}

static void gemm_f8(const struct linear_tile *tile)
{
    tile_gemm(run_f8, tile, GEMM_PANELS);
}

void k_gemv_f8e4m3_bf16_avx512_bf16(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_f8e4m3_bf16_avx512_bf16, gemv);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemm_f8e4m3_bf16_avx512_bf16(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_f8e4m3_bf16_avx512_bf16, gemm);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemv_f8e4m3_f8e4m3_avx512_bf16(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape =
        LINEAR_SHAPE(k_gemv_f8e4m3_f8e4m3_avx512_bf16, gemv_f8);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemm_f8e4m3_f8e4m3_avx512_bf16(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape =
        LINEAR_SHAPE(k_gemm_f8e4m3_f8e4m3_avx512_bf16, gemm_f8);
    kernel_linear_run(&shape, job, panel0, panel1);
}
