// stream_avx512.c - how fast memory and caches can be read, copied and combined.
//
// COPY and TRIAD bypass the caches from STREAM_PAST on: a plain store first reads the line it is about
// to overwrite. Below, the arrays may stay in cache, where plain stores are four times as fast.
// READ is one sequential stream a thread, as a product reads its weights: two or more streams and
// software prefetch measured the same or worse on Zen 4 (docs/KERNELS.md).
#include "kernels/variants.h"

#include <immintrin.h>

enum { LANE_BYTES = 64, STREAM_PAST_BYTES = 8 << 20 };

uint64_t k_read_f32_f32_avx512(void *dst, const void *a, const void *b, size_t bytes)
{
    (void)dst, (void)b;
    const char *at = a, *end = at + bytes, *whole = at + bytes / (4 * LANE_BYTES) * 4 * LANE_BYTES;
    __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                      _mm512_setzero_si512()};
    for (; at < whole; at += 4 * LANE_BYTES)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            __m512i value = _mm512_load_si512((const void *)(at + i * LANE_BYTES));
            sum[i] = _mm512_xor_si512(sum[i], value);
        }
    for (; at < end; at += LANE_BYTES)
        sum[0] = _mm512_xor_si512(sum[0], _mm512_load_si512((const void *)at));
    uint64_t words[LANE_BYTES / 8], all = 0;
    sum[0] = _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3]));
    _mm512_storeu_si512((void *)words, sum[0]);
    for (size_t i = 0; i < LANE_BYTES / 8; i++)
        all ^= words[i];
    return all;
}

static void copy_plain(char *to, const char *from, size_t bytes)
{
#pragma GCC unroll 4
    for (size_t i = 0; i < bytes; i += LANE_BYTES)
        _mm512_store_si512((void *)(to + i), _mm512_load_si512((const void *)(from + i)));
}

static void copy_streaming(char *to, const char *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += LANE_BYTES)
        _mm512_stream_si512((void *)(to + i), _mm512_load_si512((const void *)(from + i)));
    _mm_sfence();
}

uint64_t k_copy_f32_f32_avx512(void *dst, const void *a, const void *b, size_t bytes)
{
    (void)b;
    if (bytes < STREAM_PAST_BYTES)
        copy_plain(dst, a, bytes);
    else
        copy_streaming(dst, a, bytes);
    return bytes ? ((const uint64_t *)a)[bytes / 8 - 1] : 0;
}

static __m512 triad(const float *b, const float *c, size_t i)
{
    return _mm512_fmadd_ps(_mm512_set1_ps(3.0f), _mm512_load_ps(c + i), _mm512_load_ps(b + i));
}

uint64_t k_triad_f32_f32_avx512(void *dst, const void *b, const void *c, size_t bytes)
{
    float *out = dst;
    size_t n = bytes / sizeof(float), step = LANE_BYTES / sizeof(float);
    if (bytes < STREAM_PAST_BYTES) {
#pragma GCC unroll 4
        for (size_t i = 0; i < n; i += step)
            _mm512_store_ps(out + i, triad(b, c, i));
    } else {
        for (size_t i = 0; i < n; i += step)
            _mm512_stream_ps(out + i, triad(b, c, i));
        _mm_sfence();
    }
    return n ? ((const uint32_t *)b)[n - 1] ^ ((const uint32_t *)c)[n - 1] : 0;
}
