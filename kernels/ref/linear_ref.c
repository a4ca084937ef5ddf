// linear_ref.c - y = W x in portable C, with sums in double. GEMV and GEMM are one loop here.
#include "kernels/variants.h"

#include "kernels/ref/element.h"

// One panel times one token.
static inline void panel_dot(enum dtype type, const void *panel, const void *x, int cols,
                             double sum[PANEL_ROWS])
{
    int group = type == DT_F32 ? 1 : 2; // kernel_panel_group(type), as a constant
    for (int r = 0; r < PANEL_ROWS; r++)
        sum[r] = 0;
    for (int c = 0; c < cols; c++) {
        double input = element_get(type, x, (size_t)c);
        size_t at = (size_t)(c / group) * PANEL_ROWS * (size_t)group + (size_t)(c % group);
        for (int r = 0; r < PANEL_ROWS; r++)
            sum[r] += input * element_get(type, panel, at + (size_t)(r * group));
    }
}

static inline void linear(enum dtype type, const struct k_linear *job, int panel0, int panel1)
{
    size_t stride = kernel_panel_bytes(type, job->cols);
    for (int p = panel0; p < panel1; p++) {
        int row0 = p * PANEL_ROWS;
        int rows = job->rows - row0 < PANEL_ROWS ? job->rows - row0 : PANEL_ROWS;
        for (int t = 0; t < job->tokens; t++) {
            double sum[PANEL_ROWS];
            panel_dot(type, (const char *)job->w + (size_t)p * stride,
                      (const char *)job->x + (size_t)t * job->ldx * element_bytes(type), job->cols,
                      sum);
            float *y = job->y + (size_t)t * job->ldy + row0;
            for (int r = 0; r < rows; r++) {
                double bias = job->bias ? job->bias[row0 + r] : 0;
                y[r] = (float)(sum[r] + bias + (job->accumulate ? y[r] : 0));
            }
        }
    }
}

void k_gemv_f32_f32_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_F32, job, panel0, panel1);
}

void k_gemv_bf16_bf16_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_BF16, job, panel0, panel1);
}

void k_gemv_f16_f16_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_F16, job, panel0, panel1);
}

void k_gemm_f32_f32_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_F32, job, panel0, panel1);
}

void k_gemm_bf16_bf16_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_BF16, job, panel0, panel1);
}

void k_gemm_f16_f16_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_F16, job, panel0, panel1);
}
