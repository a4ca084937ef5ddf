// probe_ref.c - the ceilings in portable C: streams over memory, and arithmetic without memory.
//
// These loops define what is read, written and counted. Their speed depends on the compiler; the vector
// variants give the ceilings.
#include "kernels/variants.h"

#include <string.h>

#include "base/fp.h"

uint64_t k_read_f32_f32_ref(void *dst, const void *a, const void *b, size_t bytes)
{
    (void)dst, (void)b;
    const uint64_t *words = a;
    uint64_t sum[8] = {0}; // independent, so that no operation waits for another
    for (size_t i = 0; i < bytes / 8; i += 8)
        for (size_t j = 0; j < 8; j++)
            sum[j] ^= words[i + j];
    return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}

uint64_t k_copy_f32_f32_ref(void *dst, const void *a, const void *b, size_t bytes)
{
    (void)b;
    memcpy(dst, a, bytes);
    return bytes ? ((const uint64_t *)dst)[bytes / 8 - 1] : 0;
}

uint64_t k_triad_f32_f32_ref(void *dst, const void *b, const void *c, size_t bytes)
{
    float *out = dst;
    const float *x = b, *y = c;
    for (size_t i = 0; i < bytes / 4; i++)
        out[i] = x[i] + 3.0f * y[i];
    return bytes ? f32_bits(out[bytes / 4 - 1]) : 0;
}

enum { CHAINS = 16 }; // enough to cover the latency of an add on any core this runs on

uint64_t k_peak_f32_f32_ref(const void *seed, uint64_t rounds, float *sink)
{
    const float *values = seed;
    float sum[CHAINS] = {0};
    for (uint64_t i = 0; i < rounds; i++)
        for (int j = 0; j < CHAINS; j++)
            sum[j] = sum[j] * values[j] + values[CHAINS + j];
    *sink = 0;
    for (int j = 0; j < CHAINS; j++)
        *sink += sum[j];
    return rounds * CHAINS * 2;
}

uint64_t k_peak_bf16_f32_ref(const void *seed, uint64_t rounds, float *sink)
{
    const uint16_t *values = seed;
    float sum[CHAINS] = {0};
    for (uint64_t i = 0; i < rounds; i++) {
        float x = bf16_to_f32(values[i % 64]);
        for (int j = 0; j < CHAINS; j++)
            sum[j] += x * bf16_to_f32(values[64 + j]);
    }
    *sink = 0;
    for (int j = 0; j < CHAINS; j++)
        *sink += sum[j];
    return rounds * CHAINS * 2;
}

uint64_t k_peak_i8_f32_ref(const void *seed, uint64_t rounds, float *sink)
{
    const int8_t *values = seed;
    uint32_t sum[CHAINS] = {0}; // wraps, as the instruction's sums do
    for (uint64_t i = 0; i < rounds; i++) {
        int x = values[i % 64];
        for (int j = 0; j < CHAINS; j++)
            sum[j] += (uint32_t)(x * values[64 + j]);
    }
    *sink = 0;
    for (int j = 0; j < CHAINS; j++)
        *sink += (float)sum[j];
    return rounds * CHAINS * 2;
}
