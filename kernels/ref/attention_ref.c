// attention_ref.c - attention in portable C, in two passes: the largest score, then the weighted sum.
//
// Two passes with sums in double define the right result. The fast variants keep a running maximum instead (Milakov and
// Gimelshein 2018).
#include "kernels/variants.h"

#include <math.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/ref/element.h"

static inline double score(enum dtype type, const struct k_attention *job, int t, int g,
                           const float *q, int position)
{
    double sum = 0;
    size_t row = (size_t)position * (size_t)job->head_dim;
    for (int i = 0; i < job->head_dim; i++)
        sum += (double)q[i] * element_get(type, job->k, row + (size_t)i);
    sum *= job->k_scale ? (double)job->scale * job->k_scale[position] : job->scale;
    if (job->bias) {
        const float *bias = job->bias + (size_t)g * job->bias_stride;
        sum += (double)bias[position] - bias[job->first + t];
    }
    return job->softcap != 0 ? job->softcap * tanh(sum / job->softcap) : sum;
}

static inline void attend(enum dtype type, const struct k_attention *job, int t, int g, double *sum)
{
    size_t head = (size_t)g * (size_t)job->head_dim;
    const float *q = job->q + (size_t)t * job->q_stride + head;
    float *out = job->out + (size_t)t * job->out_stride + head;
    int begin = attention_begin(job, t), end = job->first + t + 1;
    double max = -INFINITY, weights = 0;

    for (int p = begin; p < end; p++)
        max = fmax(max, score(type, job, t, g, q, p));
    memset(sum, 0, (size_t)job->head_dim * sizeof *sum);
    for (int p = begin; p < end; p++) {
        double weight = exp(score(type, job, t, g, q, p) - max);
        size_t row = (size_t)p * (size_t)job->head_dim;
        weights += weight;
        weight *= job->v_scale ? job->v_scale[p] : 1;
        for (int i = 0; i < job->head_dim; i++)
            sum[i] += weight * element_get(type, job->v, row + (size_t)i);
    }
    for (int i = 0; i < job->head_dim; i++)
        out[i] = (float)(sum[i] / weights);
}

static inline void attention(enum dtype type, const struct k_attention *job)
{
    double *sum = (double *)attention_align(job->scratch);
    for (int t = 0; t < job->tokens; t++)
        for (int g = 0; g < job->group; g++)
            attend(type, job, t, g, sum);
}

void k_attention_f32_f32_ref(const struct k_attention *job)
{
    attention(DT_F32, job);
}

void k_attention_bf16_f32_ref(const struct k_attention *job)
{
    attention(DT_BF16, job);
}

void k_attention_f16_f32_ref(const struct k_attention *job)
{
    attention(DT_F16, job);
}

void k_attention_i8_f32_ref(const struct k_attention *job)
{
    attention(DT_I8, job);
}

void k_attention_f8e4m3_f32_ref(const struct k_attention *job)
{
    attention(DT_F8E4M3, job);
}
