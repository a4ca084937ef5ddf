// linear_avx512_bf16.c - y = W x, bf16 by bf16, with the pair dot product VDPBF16PS.
//
// One register holds a group of the panel: 16 output rows by 2 inputs, which is what the instruction
// takes; the token's two inputs are broadcast to it. A tile of P panels by T tokens keeps P * T sums in
// registers, so that each weight register serves T and each broadcast P products. The instruction
// adds both products of a pair to an f32 sum, rounds once to nearest even and takes denormals as zero
// (Intel SDM, VDPBF16PS).
//
// GEMV (few tokens) runs tiles of GEMV_PANELS panels: several streams of weights, each read once.
// GEMM takes GEMM_PANELS panels at a time and runs all tokens through them, GEMM_TOKENS a tile: the
// panels come from L2 after the first tile, and the last tile fetches the next panels ahead, so that
// the products never wait for memory when there are enough tokens to hide it behind.
#include "kernels/variants.h"

#include <immintrin.h>

enum {
    GEMV_PANELS = 4,
    GEMM_PANELS = 3,    // 3 x 8 sums, 3 weights and a broadcast: 28 of the 32 registers,
    GEMM_TOKENS = 8,    // and 11 loads for 24 products
    K_BLOCK = 2048,     // groups of inputs at a time: three panels of them are 384 KiB, within L2
    AHEAD_BYTES = 1024, // how far a tile fetches its own weights ahead
};

// What a tile works on: pointers to its first panel, first token, first output.
struct tile {
    const char *w, *ahead; // ahead: fetched while the tile runs
    size_t w_stride;       // bytes from panel to panel
    const uint16_t *x;
    size_t ldx, ldy;
    float *y;
    const float *bias; // of the first row, or NULL; not on later K blocks
    int groups;
    bool accumulate;
    __mmask16 last_rows; // of the tile's last panel
};

#define INLINE static inline __attribute__((always_inline))

INLINE __m512 start_sum(const struct tile *tile, const float *y, int p, __mmask16 rows)
{
    __m512 sum = tile->accumulate ? _mm512_maskz_loadu_ps(rows, y) : _mm512_setzero_ps();
    if (tile->bias)
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(rows, tile->bias + p * PANEL_ROWS));
    return sum;
}

// P and T are constants wherever this is used, so that the sums are registers.
INLINE void run_tile(const struct tile *tile, const int P, const int T)
{
    __m512 sum[GEMV_PANELS][GEMM_TOKENS];
#pragma GCC unroll 8
    for (int p = 0; p < P; p++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
            sum[p][t] = _mm512_setzero_ps();

    const char *w = tile->w, *ahead = tile->ahead, *end = w + (size_t)tile->groups * 64;
    const char *x = (const char *)tile->x;
    size_t w_stride = tile->w_stride, x_stride = tile->ldx * sizeof(uint16_t);
    for (; w < end; w += 64, ahead += 64, x += 4) {
        __m512bh weights[GEMV_PANELS];
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) {
            weights[p] = (__m512bh)_mm512_load_si512(w + (size_t)p * w_stride);
            _mm_prefetch(ahead + (size_t)p * w_stride, _MM_HINT_T0);
        }
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            const int *pair = (const int *)(x + (size_t)t * x_stride);
            __m512bh inputs = (__m512bh)_mm512_set1_epi32(*pair);
#pragma GCC unroll 8
            for (int p = 0; p < P; p++)
                sum[p][t] = _mm512_dpbf16_ps(sum[p][t], weights[p], inputs);
        }
    }

#pragma GCC unroll 8
    for (int p = 0; p < P; p++) {
        __mmask16 rows = p == P - 1 ? tile->last_rows : (__mmask16)0xffff;
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            float *y = tile->y + (size_t)t * tile->ldy + p * PANEL_ROWS;
            __m512 before = start_sum(tile, y, p, rows);
            _mm512_mask_storeu_ps(y, rows, _mm512_add_ps(before, sum[p][t]));
        }
    }
}

INLINE void run_tokens(const struct tile *tile, const int P, int tokens)
{
    switch (tokens) {
    case 1:
        run_tile(tile, P, 1);
        break;
    case 2:
        run_tile(tile, P, 2);
        break;
    case 3:
        run_tile(tile, P, 3);
        break;
    case 4:
        run_tile(tile, P, 4);
        break;
    case 5:
        run_tile(tile, P, 5);
        break;
    case 6:
        run_tile(tile, P, 6);
        break;
    case 7:
        run_tile(tile, P, 7);
        break;
    case 8:
        run_tile(tile, P, 8);
        break;
    }
}

static void run_any(const struct tile *tile, int panels, int tokens)
{
    switch (panels) {
    case 1:
        run_tokens(tile, 1, tokens);
        break;
    case 2:
        run_tokens(tile, 2, tokens);
        break;
    case 3:
        run_tokens(tile, 3, tokens);
        break;
    case 4:
        run_tokens(tile, 4, tokens);
        break;
    }
}

static __mmask16 rows_of(const struct k_linear *job, int panel)
{
    int rows = job->rows - panel * PANEL_ROWS;
    return rows >= PANEL_ROWS ? (__mmask16)0xffff : (__mmask16)((1u << rows) - 1);
}

// All tokens through the panels [p, p + panels) and the inputs of groups [g0, g0 + groups).
static void run_panels(const struct k_linear *job, int p, int panels, int next, int g0, int groups,
                       int tile_tokens)
{
    size_t stride = panel_bytes(DT_BF16, job->cols);
    struct tile tile = {
        .w = (const char *)job->w + (size_t)p * stride + (size_t)g0 * 64,
        .w_stride = stride,
        .ldx = job->ldx,
        .ldy = job->ldy,
        .bias = job->bias && g0 == 0 ? job->bias + p * PANEL_ROWS : NULL,
        .groups = groups,
        .accumulate = job->accumulate || g0 > 0,
        .last_rows = rows_of(job, p + panels - 1),
    };
    const char *next_w = (const char *)job->w + (size_t)next * stride + (size_t)g0 * 64;
    int tiles = (job->tokens + tile_tokens - 1) / tile_tokens;
    for (int i = 0; i < tiles; i++) { // tiles of even size: 9 tokens are 5 and 4, not 8 and 1
        int t0 = (int)((int64_t)job->tokens * i / tiles);
        int t1 = (int)((int64_t)job->tokens * (i + 1) / tiles);
        tile.x = (const uint16_t *)job->x + (size_t)t0 * job->ldx + (size_t)g0 * 2;
        tile.y = job->y + (size_t)t0 * job->ldy + p * PANEL_ROWS;
        tile.ahead = i == tiles - 1 ? next_w : tile.w + AHEAD_BYTES;
        run_any(&tile, panels, t1 - t0);
    }
}

static void run(const struct k_linear *job, int panel0, int panel1, int tile_panels,
                int tile_tokens)
{
    int groups = packed_cols(DT_BF16, job->cols) / 2;
    for (int g0 = 0; g0 < groups || g0 == 0; g0 += K_BLOCK) {
        int count = groups - g0 < K_BLOCK ? groups - g0 : K_BLOCK;
        for (int p = panel0; p < panel1; p += tile_panels) {
            int panels = panel1 - p < tile_panels ? panel1 - p : tile_panels;
            int next = p + 2 * tile_panels <= panel1 ? p + tile_panels : p;
            run_panels(job, p, panels, next, g0, count, tile_tokens);
        }
    }
}

void k_gemv_bf16_bf16_avx512_bf16(const struct k_linear *job, int panel0, int panel1)
{
    run(job, panel0, panel1, GEMV_PANELS, GEMM_TOKENS);
}

void k_gemm_bf16_bf16_avx512_bf16(const struct k_linear *job, int panel0, int panel1)
{
    run(job, panel0, panel1, GEMM_PANELS, GEMM_TOKENS);
}
