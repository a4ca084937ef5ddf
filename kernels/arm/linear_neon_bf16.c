// linear_neon_bf16.c - y = W x, bf16 by bf16, with the pair dot product BFDOT.
//
// The tile of linear_neon.c; one lane of a register is one row's pair of inputs, which is what the
// instruction takes. It rounds to odd and takes denormals as zero (Arm ARM, BFDotAdd).
#include "kernels/linear.h"
#include "kernels/variants.h"

#include <arm_neon.h>

enum { MAX_TOKENS = 6, REGISTERS = 4, LANES = 4 };

#define INLINE static inline __attribute__((always_inline))

typedef float32x4_t sums[REGISTERS][MAX_TOKENS];

// y = sum (+ bias) (+ y) for the rows that exist.
INLINE void finish(const struct linear_tile *tile, int t, sums sum)
{
    float *y = tile->y + (size_t)t * tile->ldy, whole[PANEL_ROWS];
    for (int h = 0; h < REGISTERS; h++)
        vst1q_f32(whole + h * LANES, sum[h][t]);
    for (int r = 0; r < tile->last_rows; r++) {
        float value = tile->bias ? whole[r] + tile->bias[r] : whole[r];
        y[r] = tile->accumulate ? y[r] + value : value;
    }
}

INLINE void run_groups(const struct linear_tile *tile, sums sum, const int T)
{
    for (size_t g = 0; g < (size_t)tile->groups; g++) {
        const uint32_t *w = (const uint32_t *)(const void *)(tile->w + g * LINEAR_GROUP_BYTES);
        bfloat16x8_t weights[REGISTERS];
#pragma GCC unroll 4
        for (int h = 0; h < REGISTERS; h++)
            weights[h] = vreinterpretq_bf16_u32(vld1q_u32(w + h * LANES));
        if (tile->ahead)
            __builtin_prefetch(tile->ahead + g * LINEAR_GROUP_BYTES);
#pragma GCC unroll 6
        for (int t = 0; t < T; t++) {
            const char *x = tile->x + (size_t)t * tile->x_stride + g * sizeof(uint32_t);
            uint32x4_t pair = vld1q_dup_u32((const uint32_t *)(const void *)x);
#pragma GCC unroll 4
            for (int h = 0; h < REGISTERS; h++)
                sum[h][t] = vbfdotq_f32(sum[h][t], weights[h], vreinterpretq_bf16_u32(pair));
        }
    }
}

// T is a constant wherever this is used, so that the sums are registers.
INLINE void run_tile(const struct linear_tile *tile, const int T)
{
    sums sum;
#pragma GCC unroll 4
    for (int h = 0; h < REGISTERS; h++)
#pragma GCC unroll 6
        for (int t = 0; t < T; t++)
            sum[h][t] = vdupq_n_f32(0);
    run_groups(tile, sum, T);
#pragma GCC unroll 6
    for (int t = 0; t < T; t++)
        finish(tile, t, sum);
}

static void run_any(const struct linear_tile *tile)
{
    switch (tile->tokens) {
    case 1:
        run_tile(tile, 1);
        break;
    case 2:
        run_tile(tile, 2);
        break;
    case 3:
        run_tile(tile, 3);
        break;
    case 4:
        run_tile(tile, 4);
        break;
    case 5:
        run_tile(tile, 5);
        break;
    case 6:
        run_tile(tile, 6);
        break;
    }
}

static const struct linear_shape shape = {DT_BF16, DT_BF16, 1, MAX_TOKENS, 1, run_any};

void k_gemv_bf16_bf16_neon_bf16(const struct k_linear *job, int panel0, int panel1)
{
    linear_run(&shape, job, panel0, panel1);
}

void k_gemm_bf16_bf16_neon_bf16(const struct k_linear *job, int panel0, int panel1)
{
    linear_run(&shape, job, panel0, panel1);
}
