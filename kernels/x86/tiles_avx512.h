// tiles_avx512.h - shared by the products in 512-bit registers: sums, outputs, and the shape of a tile as constants.
//
// A file provides one function, always inlined, that runs a tile of P panels by T tokens. Each shape gets a copy of it
// in which both are constants, so that its sums are registers. AHEAD says whether it prefetches tile->ahead.
#ifndef KERNELS_X86_TILES_AVX512_H
#define KERNELS_X86_TILES_AVX512_H

#include <immintrin.h>

#include "kernels/linear.h"

#define INLINE static inline __attribute__((always_inline))

enum { GEMV_PANELS = 4, GEMV_TOKENS = 4, MAX_TOKENS = 8 };

typedef __m512 sums[GEMV_PANELS][MAX_TOKENS];
typedef void tile_run(const struct linear_tile *tile, const int P, const int T, const bool AHEAD);

// y = sum (+ bias) (+ y) for one panel and token, the first `rows` of 16.
INLINE void tile_finish(const struct linear_tile *tile, int p, int t, __m512 sum, __mmask16 rows)
{
    float *y = tile->y + (size_t)t * tile->ldy + p * PANEL_ROWS;
    if (tile->bias)
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(rows, tile->bias + p * PANEL_ROWS));
    if (tile->accumulate)
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(rows, y));
    _mm512_mask_storeu_ps(y, rows, sum);
}

// Rows of panel p of P that exist.
INLINE __mmask16 tile_rows(const struct linear_tile *tile, int p, const int P)
{
    return (__mmask16)(p == P - 1 ? (1u << tile->last_rows) - 1 : 0xffff);
}

INLINE void tile_clear(sums sum, const int P, const int T)
{
#pragma GCC unroll 8
    for (int p = 0; p < P; p++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
            sum[p][t] = _mm512_setzero_ps();
}

INLINE void tile_finish_all(const struct linear_tile *tile, sums sum, const int P, const int T)
{
#pragma GCC unroll 8
    for (int p = 0; p < P; p++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
            tile_finish(tile, p, t, sum[p][t], tile_rows(tile, p, P));
}

// At most GEMV_TOKENS tokens, with nothing fetched ahead.
INLINE void tile_few(tile_run *run, const struct linear_tile *tile, const int P)
{
    switch (tile->tokens) {
    case 1:
        run(tile, P, 1, false);
        break;
    case 2:
        run(tile, P, 2, false);
        break;
    case 3:
        run(tile, P, 3, false);
        break;
    case 4:
        run(tile, P, 4, false);
        break;
    }
}

// At most GEMV_PANELS panels by GEMV_TOKENS tokens.
INLINE void tile_gemv(tile_run *run, const struct linear_tile *tile)
{
    switch (tile->panels) {
    case 1:
        tile_few(run, tile, 1);
        break;
    case 2:
        tile_few(run, tile, 2);
        break;
    case 3:
        tile_few(run, tile, 3);
        break;
    case 4:
        tile_few(run, tile, 4);
        break;
    }
}

// At most MAX_TOKENS tokens.
INLINE void tile_tokens(tile_run *run, const struct linear_tile *tile, const int P,
                        const bool AHEAD)
{
    switch (tile->tokens) {
    case 1:
        run(tile, P, 1, AHEAD);
        break;
    case 2:
        run(tile, P, 2, AHEAD);
        break;
    case 3:
        run(tile, P, 3, AHEAD);
        break;
    case 4:
        run(tile, P, 4, AHEAD);
        break;
    case 5:
        run(tile, P, 5, AHEAD);
        break;
    case 6:
        run(tile, P, 6, AHEAD);
        break;
    case 7:
        run(tile, P, 7, AHEAD);
        break;
    case 8:
        run(tile, P, 8, AHEAD);
        break;
    }
}

// Runs `most` panels (2 or 3), which another group may follow, or the rest of the panels.
INLINE void tile_gemm(tile_run *run, const struct linear_tile *tile, const int most)
{
    if (tile->panels == most && tile->ahead)
        tile_tokens(run, tile, most, true);
    else if (tile->panels == most)
        tile_tokens(run, tile, most, false);
    else if (most == 3 && tile->panels == 2)
        tile_tokens(run, tile, 2, false);
    else
        tile_tokens(run, tile, 1, false);
}

#endif
