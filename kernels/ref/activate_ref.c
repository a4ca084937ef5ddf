// activate_ref.c - the activations of the feed-forward and the soft cap of logits, in portable C.
#include "kernels/variants.h"

#include <math.h>

static inline float times(double value, const float *up, int i)
{
    return (float)(up ? value * up[i] : value);
}

void k_swiglu_f32_f32_ref(float *y, const float *x, const float *up, int n)
{
    for (int i = 0; i < n; i++) {
        double g = x[i];
        y[i] = times(g / (1 + exp(-g)), up, i);
    }
}

void k_gelu_f32_f32_ref(float *y, const float *x, const float *up, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = times(0.5 * x[i] * erfc(-x[i] * 0.70710678118654752), up, i);
}

void k_gelu_tanh_f32_f32_ref(float *y, const float *x, const float *up, int n)
{
    for (int i = 0; i < n; i++) {
        double v = x[i], inner = 0.79788456080286536 * (v + 0.044715 * v * v * v);
        y[i] = times(v / (1 + exp(-2 * inner)), up, i); // 1 + tanh(z) = 2 / (1 + exp(-2 z))
    }
}

void k_relu_f32_f32_ref(float *y, const float *x, const float *up, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = times(x[i] <= 0 ? 0.0 : x[i], up, i); // NaN stays
}

void k_softcap_f32_f32_ref(float *y, int n, float cap)
{
    for (int i = 0; i < n; i++)
        y[i] = (float)(cap * tanh((double)y[i] / cap));
}
