// sizes.h - sums and products of sizes that saturate at SIZE_MAX.
// A plan too large for size_t does not fit. The later allocation detects that, so the intermediate terms need no check.
#ifndef ENGINE_MODEL_SIZES_H
#define ENGINE_MODEL_SIZES_H

#include <stddef.h>
#include <stdint.h>

static inline size_t sat_mul(size_t a, size_t b)
{
    return b && a > SIZE_MAX / b ? SIZE_MAX : a * b;
}

static inline size_t sat_add(size_t a, size_t b)
{
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}

// a rounded up to whole cache lines.
static inline size_t sat_align(size_t a)
{
    return a > SIZE_MAX - 63 ? SIZE_MAX : (a + 63) / 64 * 64;
}

#endif
