// linear_neon.c - y = W x with NEON f32 multiply-adds: f32 by f32 and bf16 by bf16.
//
// bf16: a group is a pair of inputs in each 32-bit lane. A shift turns the even inputs into f32, a mask the odd ones.
#include "kernels/arm/tiles_neon.h"
#include "kernels/variants.h"

INLINE void run_f32(const struct linear_tile *tile, sums sum, const int T)
{
    for (size_t g = 0; g < (size_t)tile->groups; g++) {
        const float *w = (const float *)(const void *)(tile->w + g * LINEAR_GROUP_BYTES);
        float32x4_t weights[REGISTERS];
#pragma GCC unroll 4
        for (int h = 0; h < REGISTERS; h++)
            weights[h] = vld1q_f32(w + h * LANES);
        if (tile->ahead)
            __builtin_prefetch(tile->ahead + g * LINEAR_GROUP_BYTES);
#pragma GCC unroll 6
        for (int t = 0; t < T; t++) {
            const char *x = tile->x + (size_t)t * tile->x_stride + g * sizeof(float);
            float32x4_t input = vld1q_dup_f32((const float *)(const void *)x);
#pragma GCC unroll 4
            for (int h = 0; h < REGISTERS; h++)
                sum[h][t] = vfmaq_f32(sum[h][t], weights[h], input);
        }
    }
}

INLINE float32x4_t even(uint32x4_t pairs)
{
    return vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
}

INLINE float32x4_t odd(uint32x4_t pairs)
{
    return vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000u)));
}

INLINE void run_bf16(const struct linear_tile *tile, sums sum, const int T)
{
    for (size_t g = 0; g < (size_t)tile->groups; g++) {
        const uint32_t *w = (const uint32_t *)(const void *)(tile->w + g * LINEAR_GROUP_BYTES);
        uint32x4_t weights[REGISTERS];
#pragma GCC unroll 4
        for (int h = 0; h < REGISTERS; h++)
            weights[h] = vld1q_u32(w + h * LANES);
        if (tile->ahead)
            __builtin_prefetch(tile->ahead + g * LINEAR_GROUP_BYTES);
#pragma GCC unroll 6
        for (int t = 0; t < T; t++) {
            const char *x = tile->x + (size_t)t * tile->x_stride + g * sizeof(uint32_t);
            uint32x4_t pair = vld1q_dup_u32((const uint32_t *)(const void *)x);
            float32x4_t first = even(pair), second = odd(pair);
#pragma GCC unroll 4
            for (int h = 0; h < REGISTERS; h++) {
                sum[h][t] = vfmaq_f32(sum[h][t], even(weights[h]), first);
                sum[h][t] = vfmaq_f32(sum[h][t], odd(weights[h]), second);
            }
        }
    }
}

static void tile_f32(const struct linear_tile *tile)
{
    tile_any(run_f32, tile);
}

static void tile_bf16(const struct linear_tile *tile)
{
    tile_any(run_bf16, tile);
}

void k_gemv_f32_f32_neon(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_f32_f32_neon, tile_f32);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemm_f32_f32_neon(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_f32_f32_neon, tile_f32);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemv_bf16_bf16_neon(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_bf16_bf16_neon, tile_bf16);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemm_bf16_bf16_neon(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_bf16_bf16_neon, tile_bf16);
    kernel_linear_run(&shape, job, panel0, panel1);
}
