// linear_quant_ref.c - y = W x with quantized weights in portable C: the reference.
//
// Codes are multiplied in double: sums of integers are exact, and the error of other sums is negligible.
// Scales come last: the group's (i4, i8g) or the row's, then the token's.
#include "kernels/variants.h"

#include "base/fp.h"
#include "kernels/quant.h"
#include "kernels/ref/element.h"

// The parts of a panel. `group`: inputs that share a scale; for types without groups the whole row.
struct panel {
    const unsigned char *header, *codes;
    int group, groups, cols;
};

static inline double code_value(enum dtype w, const struct panel *p, int r, int c)
{
    if (w == DT_I4)
        return p->codes[c / 8 * 64 + r * 4 + c % 4] >> c % 8 / 4 * 4 & 15;
    uint8_t code = p->codes[c / 4 * 64 + r * 4 + c % 4];
    return w == DT_F8E4M3 ? (double)f8e4m3_to_f32(code) : (double)(int8_t)code;
}

static inline double scale_of(enum dtype w, const struct panel *p, int r, int g)
{
    if (w == DT_I4 || w == DT_I8G)
        return f16_to_f32(((const uint16_t *)(const void *)p->header)[g * PANEL_ROWS + r]);
    return ((const float *)(const void *)p->header)[r];
}

static inline double zero_of(enum dtype w, const struct panel *p, int r, int g)
{
    if (w != DT_I4)
        return 0;
    const unsigned char *zeros = p->header + p->groups * PANEL_ROWS * 2;
    return zeros[g * PANEL_ROWS / 2 + r % 8] >> r / 8 * 4 & 15;
}

// One panel times one token.
static inline void panel_dot(enum dtype w, enum dtype x, const struct panel *p, const void *input,
                             double sum[PANEL_ROWS])
{
    for (int r = 0; r < PANEL_ROWS; r++)
        sum[r] = 0;
    for (int g = 0; g < p->groups; g++) {
        int begin = g * p->group, end = begin + p->group < p->cols ? begin + p->group : p->cols;
        double part[PANEL_ROWS] = {0}, zero[PANEL_ROWS];
        for (int r = 0; r < PANEL_ROWS; r++)
            zero[r] = zero_of(w, p, r, g);
        for (int c = begin; c < end; c++) {
            double value = element_get(x, input, (size_t)c);
            for (int r = 0; r < PANEL_ROWS; r++)
                part[r] += value * (code_value(w, p, r, c) - zero[r]);
        }
        for (int r = 0; r < PANEL_ROWS; r++)
            sum[r] += part[r] * scale_of(w, p, r, g);
    }
}

static inline void linear(enum dtype w, enum dtype x, const struct k_linear *job, int panel0,
                          int panel1)
{
    int group = !dtype_is_grouped(w) ? job->cols : job->group ? job->group : QUANT_GROUP;
    size_t stride = quant_panel_bytes(w, job->cols, group);
    for (int p = panel0; p < panel1; p++) {
        int row0 = p * PANEL_ROWS;
        int rows = job->rows - row0 < PANEL_ROWS ? job->rows - row0 : PANEL_ROWS;
        struct panel panel = {.header = (const unsigned char *)job->w + (size_t)p * stride,
                              .group = group,
                              .groups = quant_groups(w, job->cols, group),
                              .cols = job->cols};
        panel.codes = panel.header + quant_header_bytes(w, job->cols, group);
        for (int t = 0; t < job->tokens; t++) {
            double sum[PANEL_ROWS], token = job->x_scale ? job->x_scale[t] : 1;
            panel_dot(w, x, &panel, (const char *)job->x + (size_t)t * job->ldx * element_bytes(x),
                      sum);
            float *y = job->y + (size_t)t * job->ldy + row0;
            for (int r = 0; r < rows; r++) {
                double bias = job->bias ? job->bias[row0 + r] : 0;
                y[r] = (float)(sum[r] * token + bias + (job->accumulate ? y[r] : 0));
            }
        }
    }
}

void k_gemv_i8_i8_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_I8, DT_I8, job, panel0, panel1);
}

void k_gemv_i4_i8_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_I4, DT_I8, job, panel0, panel1);
}

void k_gemv_i4_bf16_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_I4, DT_BF16, job, panel0, panel1);
}

void k_gemv_i8g_i8_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_I8G, DT_I8, job, panel0, panel1);
}

void k_gemv_i8g_bf16_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_I8G, DT_BF16, job, panel0, panel1);
}

void k_gemv_f8e4m3_bf16_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_F8E4M3, DT_BF16, job, panel0, panel1);
}

void k_gemv_f8e4m3_f8e4m3_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_F8E4M3, DT_F8E4M3, job, panel0, panel1);
}

void k_gemm_i8_i8_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_I8, DT_I8, job, panel0, panel1);
}

void k_gemm_i4_i8_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_I4, DT_I8, job, panel0, panel1);
}

void k_gemm_i4_bf16_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_I4, DT_BF16, job, panel0, panel1);
}

void k_gemm_i8g_i8_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_I8G, DT_I8, job, panel0, panel1);
}

void k_gemm_i8g_bf16_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_I8G, DT_BF16, job, panel0, panel1);
}

void k_gemm_f8e4m3_bf16_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_F8E4M3, DT_BF16, job, panel0, panel1);
}

void k_gemm_f8e4m3_f8e4m3_ref(const struct k_linear *job, int panel0, int panel1)
{
    linear(DT_F8E4M3, DT_F8E4M3, job, panel0, panel1);
}
