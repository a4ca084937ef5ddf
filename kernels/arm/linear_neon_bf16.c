// linear_neon_bf16.c - y = W x, bf16 by bf16, with the pair dot product BFDOT.
//
// One lane of a register is one row's pair of inputs, as the instruction takes it. BFDOT rounds to odd and
// takes denormals as zero (Arm ARM, BFDotAdd).
#include "kernels/arm/tiles_neon.h"
#include "kernels/variants.h"

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

static void tile_bf16(const struct linear_tile *tile)
{
    tile_any(run_groups, tile);
}

void k_gemv_bf16_bf16_neon_bf16(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_bf16_bf16_neon_bf16, tile_bf16);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemm_bf16_bf16_neon_bf16(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_bf16_bf16_neon_bf16, tile_bf16);
    kernel_linear_run(&shape, job, panel0, panel1);
}
