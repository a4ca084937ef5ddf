// activate_avx512.c - the activations of the feed-forward and the soft cap, 16 f32 per step.
#include "kernels/variants.h"
#include "kernels/x86/lanes_avx512.h"
#include "kernels/x86/activate_lanes.h"

void k_swiglu_f32_f32_avx512(float *y, const float *x, const float *up, int n)
{
    activate(silu, y, x, up, n);
}

void k_gelu_f32_f32_avx512(float *y, const float *x, const float *up, int n)
{
    activate(gelu, y, x, up, n);
}

void k_gelu_tanh_f32_f32_avx512(float *y, const float *x, const float *up, int n)
{
    activate(gelu_tanh, y, x, up, n);
}

void k_softcap_f32_f32_avx512(float *y, int n, float cap)
{
    softcap(y, n, cap);
}
