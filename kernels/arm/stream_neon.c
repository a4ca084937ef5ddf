// stream_neon.c - reads memory and caches as fast as possible: one sequential stream per thread, as a product reads its
// weights. COPY and TRIAD run in portable C, which the compiler vectorizes.
#include "kernels/variants.h"

#include <arm_neon.h>

uint64_t k_read_f32_f32_neon(void *dst, const void *a, const void *b, size_t bytes)
{
    (void)dst, (void)b;
    const uint64_t *words = a;
    uint64x2_t sum[4] = {vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0)};
    for (size_t i = 0; i < bytes / 8; i += 8)
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++)
            sum[j] = veorq_u64(sum[j], vld1q_u64(words + i + 2 * j));
    sum[0] = veorq_u64(veorq_u64(sum[0], sum[1]), veorq_u64(sum[2], sum[3]));
    return vgetq_lane_u64(sum[0], 0) ^ vgetq_lane_u64(sum[0], 1);
}
