// linear_avx512_bf16.c - y = W x, bf16 by bf16, with the pair dot product VDPBF16PS.
//
// One register holds a group of the panel: 16 output rows by 2 inputs, which is what the instruction
// takes; the token's two inputs are broadcast to it. A tile of P panels by T tokens keeps P * T sums in
// registers, so that each weight register serves T and each broadcast P products. The instruction
// adds both products of a pair to an f32 sum, rounds to nearest even and takes denormals as zero
// (Intel SDM, VDPBF16PS).
#include "kernels/linear.h"
#include "kernels/variants.h"

#include <immintrin.h>

enum {
    GEMV_PANELS = 4, // streams out of a cache: enough sums in flight for one token
    GEMV_TOKENS = 4, // 4 x 4 sums, 4 weights and a broadcast
    GEMM_PANELS = 3, // 3 x 8 sums, 3 weights and a broadcast take 28 of the 32 registers,
    MAX_TOKENS = 8,  // and 11 loads serve 24 products
};

#define INLINE static inline __attribute__((always_inline))

// y = sum (+ bias) (+ y), for the first `rows` of 16.
INLINE void finish(const struct linear_tile *tile, int p, int t, __m512 sum, __mmask16 rows)
{
    float *y = tile->y + (size_t)t * tile->ldy + p * PANEL_ROWS;
    if (tile->bias)
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(rows, tile->bias + p * PANEL_ROWS));
    if (tile->accumulate)
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(rows, y));
    _mm512_mask_storeu_ps(y, rows, sum);
}

// P, T and AHEAD (whether to fetch ahead) are constants wherever this is used, so that the sums are
// registers.
INLINE void run_tile(const struct linear_tile *tile, const int P, const int T, const bool AHEAD)
{
    __m512 sum[GEMV_PANELS][MAX_TOKENS];
#pragma GCC unroll 8
    for (int p = 0; p < P; p++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
            sum[p][t] = _mm512_setzero_ps();

    const char *w = tile->w, *end = w + (size_t)tile->groups * LINEAR_GROUP_BYTES;
    const char *ahead = tile->ahead, *x = tile->x;
    size_t w_stride = tile->w_stride, x_stride = tile->x_stride;
    for (; w < end; w += LINEAR_GROUP_BYTES, x += 4) {
        __m512bh weights[GEMV_PANELS];
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) {
            weights[p] = (__m512bh)_mm512_load_si512(w + (size_t)p * w_stride);
            if (AHEAD)
                _mm_prefetch(ahead + (size_t)p * w_stride, _MM_HINT_T0);
        }
        if (AHEAD)
            ahead += LINEAR_GROUP_BYTES;
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            const int *pair = (const int *)(const void *)(x + (size_t)t * x_stride);
            __m512bh inputs = (__m512bh)_mm512_set1_epi32(*pair);
#pragma GCC unroll 8
            for (int p = 0; p < P; p++)
                sum[p][t] = _mm512_dpbf16_ps(sum[p][t], weights[p], inputs);
        }
    }

    __mmask16 last = (__mmask16)((1u << tile->last_rows) - 1);
#pragma GCC unroll 8
    for (int p = 0; p < P; p++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
            finish(tile, p, t, sum[p][t], p == P - 1 ? last : (__mmask16)0xffff);
}

// At most MAX_TOKENS tokens.
INLINE void run_tokens(const struct linear_tile *tile, const int P, const bool AHEAD)
{
    switch (tile->tokens) {
    case 1:
        run_tile(tile, P, 1, AHEAD);
        break;
    case 2:
        run_tile(tile, P, 2, AHEAD);
        break;
    case 3:
        run_tile(tile, P, 3, AHEAD);
        break;
    case 4:
        run_tile(tile, P, 4, AHEAD);
        break;
    case 5:
        run_tile(tile, P, 5, AHEAD);
        break;
    case 6:
        run_tile(tile, P, 6, AHEAD);
        break;
    case 7:
        run_tile(tile, P, 7, AHEAD);
        break;
    case 8:
        run_tile(tile, P, 8, AHEAD);
        break;
    }
}

// One to three panels, of which another group may follow.
static void run_gemm(const struct linear_tile *tile)
{
    if (tile->panels == 3 && tile->ahead)
        run_tokens(tile, 3, true);
    else if (tile->panels == 3)
        run_tokens(tile, 3, false);
    else if (tile->panels == 2)
        run_tokens(tile, 2, false);
    else
        run_tokens(tile, 1, false);
}
// At most GEMV_TOKENS tokens, with nothing fetched ahead.
INLINE void run_few(const struct linear_tile *tile, const int P)
{
    switch (tile->tokens) {
    case 1:
        run_tile(tile, P, 1, false);
        break;
    case 2:
        run_tile(tile, P, 2, false);
        break;
    case 3:
        run_tile(tile, P, 3, false);
        break;
    case 4:
        run_tile(tile, P, 4, false);
        break;
    }
}

static void run_gemv(const struct linear_tile *tile)
{
    switch (tile->panels) {
    case 1:
        run_few(tile, 1);
        break;
    case 2:
        run_few(tile, 2);
        break;
    case 3:
        run_few(tile, 3);
        break;
    case 4:
        run_few(tile, 4);
        break;
    }
}

void k_gemv_bf16_bf16_avx512_bf16(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = {DT_BF16,     DT_BF16, GEMV_PANELS,
                                              GEMV_TOKENS, 1,       run_gemv};
    linear_run(&shape, job, panel0, panel1);
}

void k_gemm_bf16_bf16_avx512_bf16(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = {DT_BF16,    DT_BF16,     GEMM_PANELS,
                                              MAX_TOKENS, GEMM_PANELS, run_gemm};
    linear_run(&shape, job, panel0, panel1);
}
