// check_vector.c - compares casts, norms, rotation and residual with ref.
//
// Allowed differences, with u = 2^-24. Casts and residual: none. Norms: (2 sqrt(n) + 8) u of the element, and for a
// LayerNorm also of the bias. Rotation: 4 u of |a c| + |b s|.
#include "kernels/check.h"

#include <math.h>
#include <string.h>

#include "kernels/quant.h"
#include "kernels/ref/element.h"

enum { TINY_EXPONENT = -148 }; // two units of the smallest denormal

static size_t odd_offset(struct check_case *c)
{
    return 4 * (size_t)kernel_check_between(c, 0, 15);
}

// Values half-way between two codes: multiples of half the scale, which is a power of two.
static void fill_ties(struct check_case *c, enum dtype type, float *src, int n)
{
    float scale = ldexpf(1, kernel_check_between(c, -20, 20));
    for (int i = 1; i < n; i++)
        src[i] = 0.5f * (float)kernel_check_between(c, -253, 253) * scale;
    src[0] = (type == DT_I8 ? 127.0f : 448.0f) * scale;
}

static void check_cast(struct check_case *c)
{
    enum dtype type = c->kernel->op == KOP_CAST ? c->kernel->x : c->kernel->w;
    int n = kernel_check_length(c),
        padded = n + (kernel_check_flip(c) ? kernel_check_between(c, 1, 40) : 0);
    size_t element = element_bytes(type), bytes = (size_t)padded * element;
    kernel_check_shape(c, "n=%d padded=%d", n, padded);
    float *src = kernel_check_input(c, (size_t)n * 4, 4);
    unsigned char *expected = kernel_check_output(c, bytes, 0);
    unsigned char *dst =
        kernel_check_output(c, bytes, element * (size_t)kernel_check_between(c, 0, 15));
    if (c->failed)
        return;
    kernel_check_fill(c, src, (size_t)n);
    if (dtype_is_quantized(type) && c->mode == CHECK_PLAIN && kernel_check_flip(c))
        fill_ties(c, type, src, n);
    if (c->mode == CHECK_INFINITE)
        src[kernel_check_between(c, 0, n - 1)] = NAN;
    // Random bits. One NaN makes a whole quantized row NaN, so most quantized rows get none.
    bool any = c->mode == CHECK_EXTREME &&
               (!dtype_is_quantized(type) || kernel_check_between(c, 0, 3) == 0);
    for (int i = 0; any && i < n; i += 7)
        src[i] = f32_from_bits((uint32_t)rng_u64(&c->rng));
    kernel_check_seal(c);
    float scale = c->ref->fn.cast(expected, src, n, padded);
    kernel_check_close(c, "scale", 0, c->kernel->fn.cast(dst, src, n, padded), scale, 0);
    for (size_t i = 0; i < (size_t)padded; i++) {
        float got = element_get(type, dst, i), want = element_get(type, expected, i);
        bool same = memcmp(dst + i * element, expected + i * element, element) == 0;
        if (!same && !(isnan(got) && isnan(want)))
            kernel_check_fail(c, "dst[%zu] is %.9g, ref %.9g, and must be equal", i, (double)got,
                              (double)want);
    }
}

static void check_rmsnorm(struct check_case *c)
{
    int n = kernel_check_length(c);
    bool in_place = kernel_check_flip(c);
    float eps = kernel_check_flip(c) ? 1e-5f : 1e-6f;
    kernel_check_shape(c, "n=%d eps=%g%s", n, (double)eps, in_place ? " in place" : "");
    float *x = kernel_check_input(c, (size_t)n * 4, 4),
          *w = kernel_check_input(c, (size_t)n * 4, 4);
    float *y = kernel_check_output(c, (size_t)n * 4, odd_offset(c));
    float *expected = kernel_check_output(c, (size_t)n * 4, 0);
    if (c->failed)
        return;
    c->mode = c->mode == CHECK_INFINITE ? CHECK_PLAIN : c->mode;
    kernel_check_fill(c, x, (size_t)n);
    kernel_check_fill(c, w, (size_t)n);
    kernel_check_seal(c);
    c->ref->fn.rmsnorm(expected, x, w, n, eps);
    if (in_place)
        memcpy(y, x, (size_t)n * 4);
    c->kernel->fn.rmsnorm(y, in_place ? y : x, w, n, eps);
    for (int i = 0; i < n; i++)
        kernel_check_close(c, "y", (size_t)i, y[i], expected[i],
                           (2 * sqrt(n) + 8) * 0x1p-24 * fabs(expected[i]) +
                               ldexp(1, TINY_EXPONENT));
}

static void check_layernorm(struct check_case *c)
{
    int n = kernel_check_length(c);
    bool in_place = kernel_check_flip(c), biased = kernel_check_flip(c);
    float eps = kernel_check_flip(c) ? 1e-5f : 1e-6f, shift = kernel_check_flip(c) ? 100.0f : 0.0f;
    kernel_check_shape(c, "n=%d eps=%g shift=%g%s%s", n, (double)eps, (double)shift,
                       in_place ? " in place" : "", biased ? " bias" : "");
    float *x = kernel_check_input(c, (size_t)n * 4, 4),
          *w = kernel_check_input(c, (size_t)n * 4, 4);
    float *b = kernel_check_input(c, (size_t)n * 4, 4),
          *y = kernel_check_output(c, (size_t)n * 4, odd_offset(c));
    float *expected = kernel_check_output(c, (size_t)n * 4, 0);
    if (c->failed)
        return;
    c->mode = c->mode == CHECK_INFINITE ? CHECK_PLAIN : c->mode;
    kernel_check_fill(c, x, (size_t)n);
    for (int i = 0; i < n; i++)
        x[i] += shift; // a mean far from zero
    kernel_check_fill(c, w, (size_t)n);
    kernel_check_fill(c, b, (size_t)n);
    kernel_check_seal(c);
    c->ref->fn.layernorm(expected, x, w, biased ? b : NULL, n, eps);
    if (in_place)
        memcpy(y, x, (size_t)n * 4);
    c->kernel->fn.layernorm(y, in_place ? y : x, w, biased ? b : NULL, n, eps);
    for (int i = 0; i < n; i++) {
        double terms = fabs((double)expected[i]) + (biased ? 2 * fabs((double)b[i]) : 0);
        kernel_check_close(c, "y", (size_t)i, y[i], expected[i],
                           (2 * sqrt(n) + 8) * 0x1p-24 * terms + ldexp(1, TINY_EXPONENT));
    }
}

static double rope_allowed(const struct k_rope *job, const float *before, int i)
{
    int half = job->rotary / 2, at = i % job->head_dim, head = i - at;
    if (at >= half * 2)
        return 0; // dims beyond the rotated ones do not change
    int pair = job->interleaved ? at / 2 : at % half;
    int a = job->interleaved ? at & ~1 : pair, b = job->interleaved ? a + 1 : pair + half;
    double x = fabs(before[head + a]), y = fabs(before[head + b]);
    double c = fabs(job->cos[pair]), s = fabs(job->sin[pair]);
    return 4 * 0x1p-24 * fmax(x * c + y * s, x * s + y * c) + ldexp(1, TINY_EXPONENT);
}

static void check_rope(struct check_case *c)
{
    struct k_rope job = {.heads = kernel_check_between(c, 1, 5),
                         .interleaved = kernel_check_flip(c)};
    job.head_dim = kernel_check_between(c, 1, 80) * 2;
    job.rotary =
        kernel_check_flip(c) ? job.head_dim : kernel_check_between(c, 1, job.head_dim / 2) * 2;
    size_t n = (size_t)(job.heads * job.head_dim), half = (size_t)job.rotary / 2;
    kernel_check_shape(c, "heads=%d head_dim=%d rotary=%d%s", job.heads, job.head_dim, job.rotary,
                       job.interleaved ? " interleaved" : "");
    float *cosine = kernel_check_input(c, half * 4, 4), *sine = kernel_check_input(c, half * 4, 4);
    float *before = kernel_check_input(c, n * 4, 4), *expected = kernel_check_output(c, n * 4, 0);
    float *x = kernel_check_output(c, n * 4, odd_offset(c));
    if (c->failed)
        return;
    c->mode = c->mode == CHECK_INFINITE ? CHECK_PLAIN : c->mode;
    kernel_check_fill(c, before, n);
    for (size_t i = 0; i < half; i++) {
        float angle = 7 * rng_f32(&c->rng);
        cosine[i] = cosf(angle);
        sine[i] = sinf(angle);
    }
    memcpy(expected, before, n * 4);
    memcpy(x, before, n * 4);
    kernel_check_seal(c);
    job.cos = cosine;
    job.sin = sine;
    job.x = expected;
    c->ref->fn.rope(&job);
    job.x = x;
    c->kernel->fn.rope(&job);
    for (size_t i = 0; i < n; i++)
        kernel_check_close(c, "x", i, x[i], expected[i], rope_allowed(&job, before, (int)i));
}

static void check_add(struct check_case *c)
{
    int n = kernel_check_length(c);
    kernel_check_shape(c, "n=%d", n);
    float *x = kernel_check_input(c, (size_t)n * 4, 4),
          *before = kernel_check_input(c, (size_t)n * 4, 4);
    float *y = kernel_check_output(c, (size_t)n * 4, odd_offset(c));
    float *expected = kernel_check_output(c, (size_t)n * 4, 0);
    if (c->failed)
        return;
    kernel_check_fill(c, x, (size_t)n);
    kernel_check_fill(c, before, (size_t)n);
    memcpy(y, before, (size_t)n * 4);
    memcpy(expected, before, (size_t)n * 4);
    kernel_check_seal(c);
    c->ref->fn.add(expected, x, n);
    c->kernel->fn.add(y, x, n);
    for (int i = 0; i < n; i++)
        kernel_check_close(c, "y", (size_t)i, y[i], expected[i], 0);
}

void kernel_check_vector(struct check_case *c)
{
    switch (c->kernel->op) {
    case KOP_CAST:
    case KOP_KV_STORE:
        check_cast(c);
        break;
    case KOP_RMSNORM:
        check_rmsnorm(c);
        break;
    case KOP_ROPE:
        check_rope(c);
        break;
    case KOP_LAYERNORM:
        check_layernorm(c);
        break;
    case KOP_ADD:
        check_add(c);
        break;
    default:
        kernel_check_fail(c, "no check is written for %s", kernel_op_name(c->kernel->op));
        break;
    }
}
