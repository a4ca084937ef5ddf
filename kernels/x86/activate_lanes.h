// activate_lanes.h - the activations of the feed-forward and the soft cap, one register per step.
#ifdef KERNELS_X86_LANES
#ifndef KERNELS_X86_ACTIVATE_LANES_H
#define KERNELS_X86_ACTIVATE_LANES_H

#include "kernels/x86/erfc_series.h"
#include "kernels/x86/exp_lanes.h"

// x / (1 + exp(-z))
INLINE f32s sigmoid_of(f32s x, f32s z)
{
    f32s e = exp_lanes(f32_sub(f32_zero(), z));
    return f32_div(x, f32_add(f32_all(1.0f), e));
}

INLINE f32s silu(f32s x)
{
    return sigmoid_of(x, x);
}

// 1 + tanh(z) = 2 / (1 + exp(-2 z)), so the approximation is x sigmoid(2 z).
INLINE f32s gelu_tanh(f32s x)
{
    f32s inner = f32_fma(f32_mul(x, x), f32_all(0.0713548163f), f32_all(1.59576912f));
    return sigmoid_of(x, f32_mul(x, inner));
}

// x Phi(x). tail = erfc(|x| / sqrt(2)) / 2 is Phi(x) for negative x and 1 - Phi(x) for positive x.
INLINE f32s gelu(f32s x)
{
    const f32s one = f32_all(1.0f);
    f32s z = f32_mul(f32_abs(x), f32_all(0.707106781f));
    f32s t = f32_div(one, f32_fma(z, f32_all(0.5f), one));
    f32s p = f32_all(erfc_series[ERFC_TERMS - 1]);
    for (int i = ERFC_TERMS - 2; i >= 0; i--)
        p = f32_fma(p, t, f32_all(erfc_series[i]));
    f32s tail = exp_lanes(f32_fnma(z, z, p));
    tail = f32_mul(f32_mul(tail, t), f32_all(0.5f));
    return f32_mul(x, f32_select(f32_positive(x), f32_sub(one, tail), tail));
}

// y = f(x), times up if there is one. f is a constant at each call, so it is inlined.
INLINE void activate(f32s (*f)(f32s), float *y, const float *x, const float *up, int n)
{
    for (int i = 0; i < n; i += LANES) {
        f32s value = f(f32_load(x + i, n - i));
        if (up)
            value = f32_mul(value, f32_load(up + i, n - i));
        f32_store(y + i, n - i, value);
    }
}

INLINE void softcap(float *y, int n, float cap)
{
    for (int i = 0; i < n; i += LANES)
        f32_store(y + i, n - i, softcap_lanes(f32_load(y + i, n - i), cap));
}

#endif
#endif
