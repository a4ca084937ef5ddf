// stream_lanes.h - reads, copies and combines arrays as fast as possible, in memory and caches.
//
// COPY and TRIAD bypass the caches from STREAM_PAST_BYTES on: a plain store first reads the line it is about to
// overwrite. Smaller arrays may stay in cache, where plain stores are four times as fast. READ is one sequential stream
// per thread, as a product reads its weights. Two or more streams and software prefetch measured the same or worse on
// Zen 4 (docs/measured). A file defines its variants with STREAM_VARIANT.
#ifdef KERNELS_X86_LANES
#ifndef KERNELS_X86_STREAM_LANES_H
#define KERNELS_X86_STREAM_LANES_H

#include <stddef.h>

enum { STREAM_PAST_BYTES = 8 << 20, READ_SUMS = 4 };

INLINE uint64_t stream_read(void *dst, const void *a, const void *b, size_t bytes)
{
    (void)dst, (void)b;
    const size_t step = READ_SUMS * REGISTER_BYTES;
    const char *at = a, *end = at + bytes, *whole = at + bytes / step * step;
    ints sum[READ_SUMS] = {ints_zero(), ints_zero(), ints_zero(), ints_zero()};
    for (; at < whole; at += step)
#pragma GCC unroll 4
        for (int i = 0; i < READ_SUMS; i++)
            sum[i] = ints_xor(sum[i], ints_load(at + i * REGISTER_BYTES));
    for (; at < end; at += REGISTER_BYTES)
        sum[0] = ints_xor(sum[0], ints_load(at));
    _Alignas(REGISTER_BYTES) uint64_t words[REGISTER_BYTES / 8];
    uint64_t all = 0;
    ints_store((char *)words, ints_xor(ints_xor(sum[0], sum[1]), ints_xor(sum[2], sum[3])));
    for (size_t i = 0; i < REGISTER_BYTES / 8; i++)
        all ^= words[i];
    return all;
}

INLINE uint64_t stream_copy(void *dst, const void *a, const void *b, size_t bytes)
{
    (void)b;
    char *to = dst;
    const char *from = a;
    if (bytes < STREAM_PAST_BYTES) {
#pragma GCC unroll 4
        for (size_t i = 0; i < bytes; i += REGISTER_BYTES)
            ints_store(to + i, ints_load(from + i));
    } else {
        for (size_t i = 0; i < bytes; i += REGISTER_BYTES)
            ints_stream(to + i, ints_load(from + i));
        _mm_sfence();
    }
    return bytes ? ((const uint64_t *)a)[bytes / 8 - 1] : 0;
}

INLINE f32s triad(const float *b, const float *c, size_t i)
{
    return f32_fma(f32_all(3.0f), f32_load_whole(c + i), f32_load_whole(b + i));
}

INLINE uint64_t stream_triad(void *dst, const void *b, const void *c, size_t bytes)
{
    float *to = dst;
    size_t n = bytes / sizeof(float);
    if (bytes < STREAM_PAST_BYTES) {
#pragma GCC unroll 4
        for (size_t i = 0; i < n; i += LANES)
            f32_store_whole(to + i, triad(b, c, i));
    } else {
        for (size_t i = 0; i < n; i += LANES)
            f32_stream(to + i, triad(b, c, i));
        _mm_sfence();
    }
    return n ? ((const uint32_t *)b)[n - 1] ^ ((const uint32_t *)c)[n - 1] : 0;
}

#define STREAM_VARIANT(function, run)                                                              \
    uint64_t function(void *dst, const void *a, const void *b, size_t bytes)                       \
    {                                                                                              \
        return run(dst, a, b, bytes);                                                              \
    }

#endif
#endif
