// check_attention.c - compares attention with ref: groups, odd head sizes, earlier context, windows, caps, biases.
//
// Allowed difference of an output element: (4 d + 2^-18 + 4 sqrt(n) u) times the largest |v| seen. d is the
// error of a score, (4 sqrt(head_dim) + 8) u times the largest sum |q| |k| scale. It moves a weight by a factor
// of up to exp(2 d). The sum of n weighted values adds its own rounding.
#include "kernels/check.h"

#include <math.h>

#include "kernels/attention.h"
#include "kernels/quant.h"
#include "kernels/ref/element.h"

enum { MAX_HEAD_DIM = 256 };

// Keys or values of `positions` positions. *scales: one per position, or NULL for plain types.
static void *cache(struct check_case *c, size_t positions, int head_dim, const float **scales)
{
    enum dtype type = c->kernel->w;
    size_t n = (size_t)head_dim, element = element_bytes(type);
    bool quantized = dtype_is_quantized(type);
    unsigned char *rows = kernel_check_input(c, positions * n * element, element);
    float *scale =
        quantized ? kernel_check_input(c, positions * sizeof(float), sizeof(float)) : NULL;
    const struct kernel *store = kernel_reference(KOP_KV_STORE, type, DT_F32);
    *scales = scale;
    for (size_t p = 0; rows && (scale || !quantized) && p < positions; p++) {
        float row[MAX_HEAD_DIM];
        for (size_t i = 0; i < n;
             i++) // scores beyond a few thousand would only test overflow; f16 ends at 65504
            row[i] = fmaxf(-60, fminf(60, kernel_check_value(c)));
        float s = store->fn.cast(rows + p * n * element, row, head_dim, head_dim);
        if (scale)
            scale[p] = s;
    }
    return rows;
}

static void draw_job(struct check_case *c, struct k_attention *job)
{
    static const int head_dims[] = {64, 128, 80, 96, 20, 1, 33, 256};
    job->tokens = c->index % 3 == 0 ? 1 : kernel_check_between(c, 1, 40);
    job->group = kernel_check_between(c, 1, 8);
    job->head_dim = c->index % 2 ? head_dims[c->index / 2 % 8] : kernel_check_between(c, 1, 140);
    job->first = kernel_check_between(c, 0, 3) ? kernel_check_between(c, 0, 200) : 0;
    job->window = kernel_check_between(c, 0, 2) ? 0 : kernel_check_between(c, 1, 90);
    job->softcap = kernel_check_between(c, 0, 3) ? 0.0f : 30.0f;
    job->scale = 1.0f / sqrtf((float)job->head_dim);
    size_t width = (size_t)(job->group * job->head_dim);
    job->q_stride = width + (size_t)kernel_check_between(c, 0, 9);
    job->out_stride = width + (size_t)kernel_check_between(c, 0, 9);
    if (kernel_check_between(c, 0, 2) == 0)
        job->bias_stride = (size_t)(job->first + job->tokens + kernel_check_between(c, 0, 9));
    kernel_check_shape(c, "tokens=%d group=%d head_dim=%d first=%d window=%d softcap=%g%s",
                       job->tokens, job->group, job->head_dim, job->first, job->window,
                       (double)job->softcap, job->bias_stride ? " bias" : "");
}

// The largest |k| and |v| of the positions that token t sees, over all dims: cheap upper bounds.
static double allowed(const struct check_case *c, const struct k_attention *job, int t, int g)
{
    const float *q = job->q + (size_t)t * job->q_stride + (size_t)(g * job->head_dim);
    double score = 0, value = 0;
    int begin = attention_begin(job, t), end = job->first + t + 1;
    for (int p = begin; p < end; p++) {
        double sum = 0;
        for (int i = 0; i < job->head_dim; i++) {
            size_t at = (size_t)p * (size_t)job->head_dim + (size_t)i;
            sum += fabs((double)q[i] * element_get(c->kernel->w, job->k, at));
            value = fmax(value, fabs(element_get(c->kernel->w, job->v, at)) *
                                    (job->v_scale ? (double)job->v_scale[p] : 1));
        }
        sum *= job->scale * (job->k_scale ? (double)job->k_scale[p] : 1);
        if (job->bias)
            sum += 100; // biases are within -50 and 50
        score = fmax(score, sum);
    }
    double d = score * (4 * sqrt(job->head_dim) + 8) * 0x1p-24;
    d += job->softcap != 0 ? job->softcap * 0x1p-21 : 0; // tanh is computed from exp
    return value * (4 * d + 0x1p-18 + 4 * sqrt(end - begin) * 0x1p-24) + 0x1p-126;
}

void kernel_check_attention(struct check_case *c)
{
    struct k_attention job = {0};
    c->mode = c->mode == CHECK_INFINITE ? CHECK_PLAIN
                                        : c->mode; // the result of infinite scores is undefined
    draw_job(c, &job);
    size_t positions = (size_t)(job.first + job.tokens), tokens = (size_t)job.tokens;
    size_t out_bytes = ((tokens - 1) * job.out_stride + (size_t)(job.group * job.head_dim)) * 4;
    size_t scratch = kernel_attention_scratch(job.tokens, job.group, job.head_dim);
    size_t q_floats = (tokens - 1) * job.q_stride + (size_t)(job.group * job.head_dim);
    float *q = kernel_check_input(c, q_floats * 4, 4);
    float *expected = kernel_check_output(c, out_bytes, 0);
    float *out = kernel_check_output(c, out_bytes, 4 * (size_t)kernel_check_between(c, 0, 15));
    job.k = cache(c, positions, job.head_dim, &job.k_scale);
    job.v = cache(c, positions, job.head_dim, &job.v_scale);
    job.scratch = kernel_check_output(c, scratch, (size_t)kernel_check_between(c, 0, 63));
    float *bias =
        kernel_check_input(c, (job.bias_stride ? job.bias_stride : 1) * (size_t)job.group * 4, 4);
    if (c->failed)
        return;
    for (size_t i = 0; i < q_floats; i++)
        q[i] = fmaxf(-60, fminf(60, kernel_check_value(c)));
    job.q = q;
    for (size_t i = 0; i < job.bias_stride * (size_t)job.group; i++)
        bias[i] = 100 * rng_f32(&c->rng) - 50;
    job.bias = job.bias_stride ? bias : NULL;
    kernel_check_seal(c);

    job.out = expected;
    c->ref->fn.attention(&job);
    job.out = out;
    c->kernel->fn.attention(&job);
    for (int t = 0; t < job.tokens; t++)
        for (int g = 0; g < job.group; g++) {
            double within = allowed(c, &job, t, g);
            size_t at = (size_t)t * job.out_stride + (size_t)(g * job.head_dim);
            for (size_t i = at; i < at + (size_t)job.head_dim; i++)
                kernel_check_close(c, "out", i, out[i], expected[i], within);
        }
}
