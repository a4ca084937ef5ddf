// stream_avx2.c - how fast memory and caches can be read, copied and combined with 256-bit registers.
#include "kernels/variants.h"
#include "kernels/x86/lanes_avx2.h"
#include "kernels/x86/stream_lanes.h"

uint64_t k_read_f32_f32_avx2(void *dst, const void *a, const void *b, size_t bytes)
{
    (void)dst, (void)b;
    return stream_read(a, bytes);
}

uint64_t k_copy_f32_f32_avx2(void *dst, const void *a, const void *b, size_t bytes)
{
    (void)b;
    return stream_copy(dst, a, bytes);
}

uint64_t k_triad_f32_f32_avx2(void *dst, const void *b, const void *c, size_t bytes)
{
    return stream_triad(dst, b, c, bytes);
}
