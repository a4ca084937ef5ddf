// check_linear.c - compares GEMV and GEMM with ref: any shape, any part of the panels, bias, accumulation.
#include "kernels/check.h"

#include <math.h>
#include <string.h>

#include "kernels/quant.h"
#include "kernels/ref/element.h"

// Shapes that random draws rarely produce: single elements, whole tiles, more inputs than a block.
struct shape {
    int rows, cols, tokens;
};
static const struct shape corners[] = {
    {1, 1, 1},     {16, 2, 8},    {48, 64, 8},    {64, 33, 4},    {49, 31, 9},
    {17, 4101, 3}, {33, 8193, 2}, {40, 4099, 11}, {100, 128, 25}, {15, 2049, 6},
};
enum { CORNERS = sizeof corners / sizeof corners[0] };

static struct shape draw_shape(struct check_case *c)
{
    if (c->index % 2 == 0 && c->index / 2 < CORNERS)
        return corners[c->index / 2];
    struct shape s = {kernel_check_between(c, 1, 130), kernel_check_between(c, 1, 300),
                      kernel_check_between(c, 1, 20)};
    return s;
}

// Rounds up to 16 rows to codes and packs them. `space` holds codes, zeros and scales, cols of each per row.
static void quantize_panel(enum dtype type, const float *rows, int count, int cols, int group,
                           float *space, void *panel)
{
    struct quant_row row[PANEL_ROWS];
    size_t n = (size_t)cols;
    unsigned char *bytes = (unsigned char *)(space + PANEL_ROWS * n);
    for (int r = 0; r < count; r++) {
        size_t at = (size_t)r * n;
        row[r] = (struct quant_row){bytes + at, space + at, bytes + PANEL_ROWS * n + at};
        quant_row_rtn(type, rows + at, cols, group, row[r]);
    }
    quant_pack_panel(type, row, count, cols, group, panel);
}

static void *packed_weights(struct check_case *c, const struct shape *s, int group)
{
    enum dtype type = c->kernel->w;
    size_t panel = quant_panel_bytes(type, s->cols, group), row_floats = (size_t)s->cols;
    unsigned char *w = kernel_check_input(c, quant_packed_bytes(type, s->rows, s->cols, group), 64);
    float *rows = kernel_check_input(c, PANEL_ROWS * row_floats * sizeof(float), sizeof(float));
    float *space =
        kernel_check_input(c, 2 * PANEL_ROWS * row_floats * sizeof(float), sizeof(float));
    if (!w || !rows || !space)
        return NULL;
    enum check_mode mode = c->mode; // only inputs: an infinite weight times a zero input is NaN
    c->mode = mode == CHECK_INFINITE ? CHECK_PLAIN : mode;
    for (int p = 0; p < kernel_panel_count(s->rows); p++) {
        int left = s->rows - p * PANEL_ROWS < PANEL_ROWS ? s->rows - p * PANEL_ROWS : PANEL_ROWS;
        kernel_check_fill(c, rows, (size_t)left * row_floats);
        if (dtype_is_quantized(type))
            quantize_panel(type, rows, left, s->cols, group, space, w + (size_t)p * panel);
        else
            kernel_pack_panel(type, rows, left, s->cols, row_floats, w + (size_t)p * panel);
    }
    c->mode = mode;
    return w;
}

// *scales: one per token, or NULL for plain types.
static void *inputs(struct check_case *c, const struct shape *s, size_t ldx, const float **scales)
{
    enum dtype type = c->kernel->x;
    size_t element = element_bytes(type), n = (size_t)s->cols;
    bool quantized = dtype_is_quantized(type);
    char *x = kernel_check_input(c, (size_t)s->tokens * ldx * element, 64);
    float *row = kernel_check_input(c, n * sizeof(float), sizeof(float));
    float *scale = quantized ? kernel_check_input(c, (size_t)s->tokens * sizeof(float), 4) : NULL;
    const struct kernel *cast = kernel_reference(KOP_CAST, DT_F32, type);
    *scales = scale;
    if (!x || !row || (quantized && !scale))
        return NULL;
    for (int t = 0; t < s->tokens; t++) {
        kernel_check_fill(c, row, n);
        float of_token = cast->fn.cast(x + (size_t)t * ldx * element, row, s->cols, s->cols);
        if (scale)
            scale[t] = of_token;
    }
    return x;
}

// Whether a value is denormal. Some dot products take denormals as zero.
static bool denormal(double v)
{
    return v != 0 && fabs(v) < 0x1p-126;
}

// fp8 products multiply codes: the loss of a denormal code is scaled afterwards.
static double code_scale(const struct check_case *c, const struct k_linear *job, int r)
{
    if (c->kernel->w != DT_F8E4M3)
        return 1;
    size_t panel = (size_t)(r / PANEL_ROWS) * quant_panel_bytes(DT_F8E4M3, job->cols, 0);
    const float *scales = (const float *)(const void *)((const char *)job->w + panel);
    return scales[r % PANEL_ROWS] > 0 ? (double)scales[r % PANEL_ROWS] : 1;
}

// The number of terms whose rounding adds up. Integer sums are exact, those of grouped types within a group.
static double rounded_terms(const struct check_case *c, const struct k_linear *job)
{
    if (c->kernel->x != DT_I8)
        return job->cols;
    return quant_groups(c->kernel->w, job->cols, job->group);
}

// The allowed difference of y[t][r]: rounding, plus the loss of dot products that take denormals as zero. w: row r
static double allowed(const struct check_case *c, const struct k_linear *job, const float *w, int r,
                      int t, double expected, double start)
{
    enum dtype type = c->kernel->x;
    const char *x = (const char *)job->x + (size_t)t * job->ldx * element_bytes(type);
    double sum = fabs(start), lost = 0, scale = code_scale(c, job, r);
    double token = job->x_scale ? job->x_scale[t] : 1;
    if (c->kernel->w == DT_I8) // an exact integer, scaled
        return 8 * 0x1p-24 * (fabs(expected) + sum) + 0x1p-126;
    for (int i = 0; i < job->cols; i++) {
        double a = element_get(type, x, (size_t)i) * token, b = w[i], product = fabs(a * b);
        if (isinf(a) || isinf(b))
            continue; // the expected value is infinite or NaN, and compared as such
        sum += product;
        lost += denormal(a) || denormal(b / scale) || denormal(product / scale) ? product : 0;
    }
    return (4 * sqrt(rounded_terms(c, job)) + 8) * 0x1p-24 * sum + lost +
           job->cols * 0x1p-126 * fmax(scale, 1);
}

static bool poisoned(float value)
{
    unsigned char bytes[sizeof value], poison[sizeof value];
    memcpy(bytes, &value, sizeof value);
    memset(poison, CHECK_POISON, sizeof poison);
    return memcmp(bytes, poison, sizeof poison) == 0;
}

// Rows of the job's panels must agree; the rest of each row of y must be unchanged.
static void compare(struct check_case *c, const struct k_linear *job, const float *expected,
                    int row0, int row1, const float *start, float *row)
{
    for (int r = 0; r < job->rows; r++) {
        if (dtype_is_quantized(c->kernel->w))
            quant_unpack_f32(c->kernel->w, job->w, r, job->cols, job->group, row);
        else
            kernel_unpack_row(c->kernel->w, job->w, r, job->cols, row);
        for (int t = 0; t < job->tokens; t++) {
            size_t i = (size_t)t * job->ldy + (size_t)r;
            double add =
                (job->bias ? fabs(job->bias[r]) : 0) + (job->accumulate ? fabs(start[i]) : 0);
            if (r >= row0 && r < row1)
                kernel_check_close(c, "y", i, job->y[i], expected[i],
                                   allowed(c, job, row, r, t, expected[i], add));
            else if (!job->accumulate && !poisoned(job->y[i]))
                kernel_check_fail(c, "y[%zu] was written: row %d is not of its panels", i, r);
        }
    }
    for (int t = 0; t < job->tokens; t++)
        for (size_t r = (size_t)job->rows; r < job->ldy; r++)
            if (!poisoned(job->y[(size_t)t * job->ldy + r]))
                kernel_check_fail(c, "y[%zu] was written: between two rows",
                                  (size_t)t * job->ldy + r);
}

void kernel_check_linear(struct check_case *c)
{
    struct shape s = draw_shape(c);
    int panels = kernel_panel_count(s.rows), panel0 = 0, panel1 = panels;
    static const int groups[] = {QUANT_GROUP, QUANT_GROUP, 64, 32, 8};
    size_t unit = 64 / element_bytes(c->kernel->x); // elements in 64 bytes
    struct k_linear job = {.tokens = s.tokens, .rows = s.rows, .cols = s.cols};
    job.group = groups[kernel_check_between(c, 0, 4)];
    job.ldx =
        ((size_t)s.cols + unit - 1) / unit * unit + unit * (size_t)kernel_check_between(c, 0, 1);
    job.ldy = (size_t)(s.rows + kernel_check_between(c, 0, 5));
    job.accumulate = kernel_check_flip(c);
    job.streamed = kernel_check_flip(c);
    if (kernel_check_flip(c)) {
        panel0 = kernel_check_between(c, 0, panels - 1);
        panel1 = kernel_check_between(c, panel0, panels);
    }
    bool with_bias = kernel_check_flip(c);
    kernel_check_shape(c, "rows=%d cols=%d tokens=%d group=%d panels=%d..%d%s%s%s", s.rows, s.cols,
                       s.tokens, job.group, panel0, panel1, with_bias ? " bias" : "",
                       job.accumulate ? " accumulate" : "", job.streamed ? " streamed" : "");

    size_t y_floats = (size_t)s.tokens * job.ldy, y_bytes = y_floats * sizeof(float);
    float *bias = with_bias ? kernel_check_input(c, (size_t)s.rows * sizeof(float), 4) : NULL;
    float *start = kernel_check_input(c, y_bytes, 4),
          *row = kernel_check_output(c, (size_t)s.cols * sizeof(float), 0);
    float *expected = kernel_check_output(c, y_bytes, 0);
    float *y = kernel_check_output(c, y_bytes, 4 * (size_t)kernel_check_between(c, 0, 15));
    job.w = packed_weights(c, &s, job.group);
    job.x = inputs(c, &s, job.ldx, &job.x_scale);
    job.bias = bias;
    if (c->failed)
        return;
    if (bias)
        kernel_check_fill(c, bias, (size_t)s.rows);
    kernel_check_fill(c, start, y_floats);
    for (size_t i = 0; job.accumulate && i < y_floats; i++)
        if (i % job.ldy < (size_t)s.rows)
            expected[i] = y[i] = start[i];
    kernel_check_seal(c);

    job.y = expected;
    c->ref->fn.linear(&job, panel0, panel1);
    job.y = y;
    c->kernel->fn.linear(&job, panel0, panel1);
    int row1 = panel1 * PANEL_ROWS < s.rows ? panel1 * PANEL_ROWS : s.rows;
    compare(c, &job, expected, panel0 * PANEL_ROWS, row1, start, row);
}
