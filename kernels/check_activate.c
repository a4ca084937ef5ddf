// check_activate.c - compares activations and soft caps with ref.
//
// Allowed differences. Activation: 2^-19 of the element, plus the effect of an error of 2^-22 in the exponent, plus
// 2^-126 |x up| if the sigmoid itself is denormal. ReLU: none. Soft cap: 2^-20 of the cap.
#include "kernels/check.h"

#include <math.h>
#include <string.h>

// The largest exponent inside an activation: an absolute error there is a relative error of the result.
static double exponent(enum kernel_op op, double x)
{
    switch (op) {
    case KOP_GELU:
        return x * x / 2;
    case KOP_GELU_TANH:
        return fabs(1.6 * (x + 0.044715 * x * x * x));
    default:
        return fabs(x);
    }
}

static double allowed(enum kernel_op op, float x, const float *up, int i, float expected)
{
    double times = fabs((double)x * (up ? up[i] : 1));
    if (op == KOP_RELU || !isfinite(times))
        return 0;
    double inner = fmin(exponent(op, (double)x), 200);
    return fabs((double)expected) * (0x1p-19 + inner * 0x1p-22) + times * 0x1p-126 + ldexp(1, -148);
}

static void check_activation(struct check_case *c)
{
    int n = kernel_check_length(c);
    bool in_place = kernel_check_flip(c), plain = kernel_check_flip(c);
    kernel_check_shape(c, "n=%d%s%s", n, in_place ? " in place" : "", plain ? " plain" : "");
    float *x = kernel_check_input(c, (size_t)n * 4, 4),
          *up = kernel_check_input(c, (size_t)n * 4, 4);
    float *y = kernel_check_output(c, (size_t)n * 4, 4 * (size_t)kernel_check_between(c, 0, 15));
    float *expected = kernel_check_output(c, (size_t)n * 4, 0);
    if (c->failed)
        return;
    kernel_check_fill(c, x, (size_t)n);
    for (int i = 0; i < n; i += 3)
        x[i] *=
            i % 2 ? 100 : 8; // the whole range of exp, and the range in which the functions bend
    c->mode = CHECK_PLAIN;
    kernel_check_fill(c, up, (size_t)n);
    kernel_check_seal(c);
    const float *times = plain ? NULL : up;
    c->ref->fn.activate(expected, x, times, n);
    if (in_place)
        memcpy(y, x, (size_t)n * 4);
    c->kernel->fn.activate(y, in_place ? y : x, times, n);
    for (int i = 0; i < n; i++)
        kernel_check_close(c, "y", (size_t)i, y[i], expected[i],
                           allowed(c->kernel->op, x[i], times, i, expected[i]));
}

static void check_softcap(struct check_case *c)
{
    int n = kernel_check_length(c);
    float cap = kernel_check_flip(c) ? 30.0f : 0.5f + rng_f32(&c->rng);
    kernel_check_shape(c, "n=%d cap=%g", n, (double)cap);
    float *x = kernel_check_input(c, (size_t)n * 4, 4);
    float *y = kernel_check_output(c, (size_t)n * 4, 4 * (size_t)kernel_check_between(c, 0, 15));
    float *expected = kernel_check_output(c, (size_t)n * 4, 0);
    if (c->failed)
        return;
    kernel_check_fill(c, x, (size_t)n);
    for (int i = 0; i < n; i += 2)
        x[i] *= 100;
    kernel_check_seal(c);
    memcpy(y, x, (size_t)n * 4);
    memcpy(expected, x, (size_t)n * 4);
    c->ref->fn.softcap(expected, n, cap);
    c->kernel->fn.softcap(y, n, cap);
    for (int i = 0; i < n; i++)
        kernel_check_close(c, "y", (size_t)i, y[i], expected[i], (double)cap * 0x1p-20);
}

void kernel_check_activate(struct check_case *c)
{
    if (c->kernel->op == KOP_SOFTCAP)
        check_softcap(c);
    else
        check_activation(c);
}
