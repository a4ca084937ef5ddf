// tiles_neon.h - shared by the products in NEON registers: sums, outputs, and the tokens of a tile as constants.
//
// A panel's 16 rows are four registers. A tile is one panel by at most 6 tokens: 24 sums, 4 registers of weights and a
// broadcast take 29 of the 32 registers. A file provides one function, always inlined, that adds a tile's products to
// its sums. Each number of tokens gets a copy of it in which T is a constant.
#ifndef KERNELS_ARM_TILES_NEON_H
#define KERNELS_ARM_TILES_NEON_H

#include <arm_neon.h>

#include "kernels/linear.h"

#define INLINE static inline __attribute__((always_inline))

enum { MAX_TOKENS = 6, REGISTERS = 4, LANES = 4 };

typedef float32x4_t sums[REGISTERS][MAX_TOKENS];
typedef void tile_groups(const struct linear_tile *tile, sums sum, const int T);

// y = sum (+ bias) (+ y) for the rows that exist.
INLINE void tile_finish(const struct linear_tile *tile, int t, sums sum)
{
    float *y = tile->y + (size_t)t * tile->ldy, whole[PANEL_ROWS];
    for (int h = 0; h < REGISTERS; h++)
        vst1q_f32(whole + h * LANES, sum[h][t]);
    for (int r = 0; r < tile->last_rows; r++) {
        float value = tile->bias ? whole[r] + tile->bias[r] : whole[r];
        y[r] = tile->accumulate ? y[r] + value : value;
    }
}

INLINE void tile_run(tile_groups *run, const struct linear_tile *tile, const int T)
{
    sums sum;
#pragma GCC unroll 4
    for (int h = 0; h < REGISTERS; h++)
#pragma GCC unroll 6
        for (int t = 0; t < T; t++)
            sum[h][t] = vdupq_n_f32(0);
    run(tile, sum, T);
#pragma GCC unroll 6
    for (int t = 0; t < T; t++)
        tile_finish(tile, t, sum);
}

INLINE void tile_any(tile_groups *run, const struct linear_tile *tile)
{
    switch (tile->tokens) {
    case 1:
        tile_run(run, tile, 1);
        break;
    case 2:
        tile_run(run, tile, 2);
        break;
    case 3:
        tile_run(run, tile, 3);
        break;
    case 4:
        tile_run(run, tile, 4);
        break;
    case 5:
        tile_run(run, tile, 5);
        break;
    case 6:
        tile_run(run, tile, 6);
        break;
    }
}

#endif
