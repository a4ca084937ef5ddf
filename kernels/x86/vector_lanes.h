// vector_lanes.h - norms, rotation and residual of one vector, one register per step.
#ifdef KERNELS_X86_LANES
#ifndef KERNELS_X86_VECTOR_LANES_H
#define KERNELS_X86_VECTOR_LANES_H

#include <math.h>

#include "kernels/kernels.h"

INLINE void cast_f32(float *dst, const float *src, int n, int padded)
{
    for (int i = 0; i < n; i += LANES)
        f32_store(dst + i, n - i, f32_load(src + i, n - i));
    for (int i = n; i < padded; i++)
        dst[i] = 0;
}

// Squares are summed in double: f32 would overflow from 1e19 on.
INLINE double sum_of_squares(const float *x, int n)
{
    f64s low = f64_zero(), high = f64_zero();
    for (int i = 0; i < n; i += LANES) {
        f32s v = f32_load(x + i, n - i);
        low = f64_fma(f64_low(v), f64_low(v), low);
        high = f64_fma(f64_high(v), f64_high(v), high);
    }
    return f64_sum(f64_add(low, high));
}

INLINE void rmsnorm(float *y, const float *x, const float *w, int n, float eps)
{
    // In double up to the last product, so that a scale beyond f32 still gives a finite y.
    f64s scale = f64_all(1 / sqrt(sum_of_squares(x, n) / n + eps));
    for (int i = 0; i < n; i += WIDE_LANES) {
        f64s value = f64_mul(f64_load(x + i, n - i), scale);
        f64_store(y + i, n - i, f64_mul(value, f64_load(w + i, n - i)));
    }
}

INLINE void layernorm(float *y, const float *x, const float *w, const float *b, int n, float eps)
{
    f64s sum = f64_zero(), squares = sum;
    for (int i = 0; i < n; i += WIDE_LANES)
        sum = f64_add(sum, f64_load(x + i, n - i));
    f64s mean = f64_all(f64_sum(sum) / n);
    for (int i = 0; i < n; i += WIDE_LANES) {
        f64s v = f64_keep(n - i, f64_sub(f64_load(x + i, n - i), mean));
        squares = f64_fma(v, v, squares);
    }
    f64s scale = f64_all(1 / sqrt(f64_sum(squares) / n + eps));
    for (int i = 0; i < n; i += WIDE_LANES) {
        f64s v = f64_mul(f64_sub(f64_load(x + i, n - i), mean), scale);
        f64s bias = b ? f64_load(b + i, n - i) : f64_zero();
        f64_store(y + i, n - i, f64_add(f64_mul(v, f64_load(w + i, n - i)), bias));
    }
}

INLINE void rope_half_split(float *head, const float *cosine, const float *sine, int half)
{
    for (int i = 0; i < half; i += LANES) {
        int left = half - i;
        f32s c = f32_load(cosine + i, left), s = f32_load(sine + i, left);
        f32s a = f32_load(head + i, left), b = f32_load(head + half + i, left);
        f32_store(head + i, left, f32_fms(a, c, f32_mul(b, s)));
        f32_store(head + half + i, left, f32_fma(a, s, f32_mul(b, c)));
    }
}

// LANES / 2 pairs per step: (a, b) c + (-b, a) s.
INLINE void rope_interleaved(float *head, const float *cosine, const float *sine, int half)
{
    for (int i = 0; i < half; i += LANES / 2) {
        int left = half - i;
        f32s c = f32_load_twice(cosine + i, left), s = f32_load_twice(sine + i, left);
        f32s x = f32_load(head + 2 * i, 2 * left);
        f32_store(head + 2 * i, 2 * left, f32_fmsa(x, c, f32_mul(f32_swap_pairs(x), s)));
    }
}

INLINE void rope(const struct k_rope *job)
{
    for (int h = 0; h < job->heads; h++) {
        float *head = job->x + (size_t)h * (size_t)job->head_dim;
        if (job->interleaved)
            rope_interleaved(head, job->cos, job->sin, job->rotary / 2);
        else
            rope_half_split(head, job->cos, job->sin, job->rotary / 2);
    }
}

INLINE void add(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i += LANES)
        f32_store(y + i, n - i, f32_add(f32_load(y + i, n - i), f32_load(x + i, n - i)));
}

#endif
#endif
