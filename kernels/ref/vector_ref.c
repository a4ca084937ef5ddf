// vector_ref.c - the operations on one vector at a time, in portable C: casts, norms, rotation.
#include "kernels/variants.h"

#include <math.h>

#include "kernels/quant.h"
#include "kernels/ref/element.h"

static inline void cast(enum dtype type, void *dst, const float *src, int n, int padded)
{
    for (int i = 0; i < n; i++)
        element_set(type, dst, (size_t)i, src[i]);
    for (int i = n; i < padded; i++)
        element_set(type, dst, (size_t)i, 0);
}

float k_cast_f32_f32_ref(void *dst, const float *src, int n, int padded)
{
    cast(DT_F32, dst, src, n, padded);
    return 1;
}

float k_cast_f32_bf16_ref(void *dst, const float *src, int n, int padded)
{
    cast(DT_BF16, dst, src, n, padded);
    return 1;
}

float k_cast_f32_f16_ref(void *dst, const float *src, int n, int padded)
{
    cast(DT_F16, dst, src, n, padded);
    return 1;
}

float k_kv_store_f32_f32_ref(void *dst, const float *src, int n, int padded)
{
    cast(DT_F32, dst, src, n, padded);
    return 1;
}

float k_kv_store_bf16_f32_ref(void *dst, const float *src, int n, int padded)
{
    cast(DT_BF16, dst, src, n, padded);
    return 1;
}

float k_kv_store_f16_f32_ref(void *dst, const float *src, int n, int padded)
{
    cast(DT_F16, dst, src, n, padded);
    return 1;
}

static inline float quantize(enum dtype type, void *dst, const float *src, int n, int padded)
{
    float scale;
    quant_row_rtn(type, src, n, 0, (struct quant_row){.codes = dst, .scales = &scale});
    for (int i = n; i < padded; i++)
        ((uint8_t *)dst)[i] = 0;
    return scale;
}

float k_cast_f32_i8_ref(void *dst, const float *src, int n, int padded)
{
    return quantize(DT_I8, dst, src, n, padded);
}

float k_cast_f32_f8e4m3_ref(void *dst, const float *src, int n, int padded)
{
    return quantize(DT_F8E4M3, dst, src, n, padded);
}

float k_kv_store_i8_f32_ref(void *dst, const float *src, int n, int padded)
{
    return quantize(DT_I8, dst, src, n, padded);
}

float k_kv_store_f8e4m3_f32_ref(void *dst, const float *src, int n, int padded)
{
    return quantize(DT_F8E4M3, dst, src, n, padded);
}

void k_rmsnorm_f32_f32_ref(float *y, const float *x, const float *w, int n, float eps)
{
    double squares = 0;
    for (int i = 0; i < n; i++)
        squares += (double)x[i] * x[i];
    double scale = 1 / sqrt(squares / n + eps);
    for (int i = 0; i < n; i++)
        y[i] = (float)(x[i] * scale * w[i]);
}

void k_layernorm_f32_f32_ref(float *y, const float *x, const float *w, const float *b, int n,
                             float eps)
{
    double mean = 0, squares = 0;
    for (int i = 0; i < n; i++)
        mean += (double)x[i] / n;
    for (int i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    double scale = 1 / sqrt(squares / n + eps);
    for (int i = 0; i < n; i++)
        y[i] = (float)((x[i] - mean) * scale * w[i] + (b ? b[i] : 0));
}

void k_rope_f32_f32_ref(const struct k_rope *job)
{
    int half = job->rotary / 2;
    int step = job->interleaved ? 2 : 1, gap = job->interleaved ? 1 : half;
    for (int h = 0; h < job->heads; h++) {
        float *head = job->x + (size_t)h * (size_t)job->head_dim;
        for (int i = 0; i < half; i++) {
            float *a = head + i * step, *b = a + gap;
            double x = *a, y = *b, c = job->cos[i], s = job->sin[i];
            *a = (float)(x * c - y * s);
            *b = (float)(x * s + y * c);
        }
    }
}

void k_add_f32_f32_ref(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i++)
        y[i] += x[i];
}
