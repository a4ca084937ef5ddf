// linear_avx512_bf16.c - y = W x, bf16 by bf16, with the pair dot product VDPBF16PS.
//
// One register holds a group of the panel: 16 output rows by 2 inputs, in the order of the instruction. The token's two
// inputs are broadcast. A tile of P panels by T tokens keeps P * T sums in registers, so each register of weights
// serves T products and each broadcast P. The instruction adds both products of a pair to an f32 sum, rounds to nearest
// even and takes denormals as zero (Intel SDM, VDPBF16PS).
#include "kernels/variants.h"
#include "kernels/x86/tiles_avx512.h"

// 3 x 8 sums, 3 weights and a broadcast take 28 of the 32 registers, and 11 loads serve 24 products.
enum { GEMM_PANELS = 3 };

INLINE void run_tile(const struct linear_tile *tile, const int P, const int T, const bool AHEAD)
{
    sums sum;
    tile_clear(sum, P, T);

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

    tile_finish_all(tile, sum, P, T);
}

static void run_gemv(const struct linear_tile *tile)
{
    tile_gemv(run_tile, tile);
}

static void run_gemm(const struct linear_tile *tile)
{
    tile_gemm(run_tile, tile, GEMM_PANELS);
}

void k_gemv_bf16_bf16_avx512_bf16(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemv_bf16_bf16_avx512_bf16, run_gemv);
    kernel_linear_run(&shape, job, panel0, panel1);
}

void k_gemm_bf16_bf16_avx512_bf16(const struct k_linear *job, int panel0, int panel1)
{
    static const struct linear_shape shape = LINEAR_SHAPE(k_gemm_bf16_bf16_avx512_bf16, run_gemm);
    kernel_linear_run(&shape, job, panel0, panel1);
}
