// check_linear.c - GEMV and GEMM against ref: any shape, any part of the panels, bias, accumulation.
#include "kernels/check.h"

#include <math.h>
#include <string.h>

#include "kernels/ref/element.h"

// Shapes that random ones would seldom meet: single elements, whole tiles, more inputs than a block.
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
    struct shape s = {check_between(c, 1, 130), check_between(c, 1, 300), check_between(c, 1, 20)};
    return s;
}

static float *packed_weights(struct check_case *c, const struct shape *s)
{
    enum dtype type = c->kernel->w;
    size_t panel = panel_bytes(type, s->cols), row_floats = (size_t)s->cols;
    unsigned char *w = check_input(c, packed_bytes(type, s->rows, s->cols), 64);
    float *rows = check_input(c, PANEL_ROWS * row_floats * sizeof(float), sizeof(float));
    if (!w || !rows)
        return NULL;
    enum check_mode mode = c->mode; // an infinite weight times a zero input is NaN: inputs only
    c->mode = mode == CHECK_INFINITE ? CHECK_PLAIN : mode;
    for (int p = 0; p < panel_count(s->rows); p++) {
        int left = s->rows - p * PANEL_ROWS < PANEL_ROWS ? s->rows - p * PANEL_ROWS : PANEL_ROWS;
        check_fill(c, rows, (size_t)left * row_floats);
        pack_panel(type, rows, left, s->cols, row_floats, w + (size_t)p * panel);
    }
    c->mode = mode;
    return (float *)(void *)w;
}

static void *inputs(struct check_case *c, const struct shape *s, size_t ldx)
{
    enum dtype type = c->kernel->x;
    size_t element = type == DT_F32 ? 4 : 2;
    void *x = check_input(c, (size_t)s->tokens * ldx * element, 64);
    if (!x)
        return NULL;
    for (int t = 0; t < s->tokens; t++) {
        char *row = (char *)x + (size_t)t * ldx * element;
        for (int i = 0; i < s->cols; i++)
            element_set(type, row, (size_t)i, check_value(c));
    }
    return x;
}

// Smaller than any normal number: some dot products take it as zero.
static bool denormal(double v)
{
    return v != 0 && fabs(v) < 0x1p-126;
}

// What y[t][r] may differ by: rounding, and everything that takes denormals as zero may lose.
static double allowed(const struct k_linear *job, enum dtype type, const float *w, int t,
                      double start)
{
    size_t element = type == DT_F32 ? 4 : 2;
    const char *x = (const char *)job->x + (size_t)t * job->ldx * element;
    double sum = fabs(start), lost = 0;
    for (int i = 0; i < job->cols; i++) {
        double a = element_get(type, x, (size_t)i), b = w[i], product = fabs(a * b);
        if (isinf(a) || isinf(b))
            continue; // the outcome is infinite or NaN, and compared as such
        sum += product;
        lost += denormal(a) || denormal(b) || denormal(product) ? product : 0;
    }
    return (4 * sqrt(job->cols) + 8) * 0x1p-24 * sum + lost + job->cols * 0x1p-126;
}

static bool poisoned(float value)
{
    unsigned char bytes[sizeof value], poison[sizeof value];
    memcpy(bytes, &value, sizeof value);
    memset(poison, CHECK_POISON, sizeof poison);
    return memcmp(bytes, poison, sizeof poison) == 0;
}

// Rows of the job's panels agree; the rest of each row of y is as it was.
static void compare(struct check_case *c, const struct k_linear *job, const float *expected,
                    int row0, int row1, const float *start, float *row)
{
    for (int r = 0; r < job->rows; r++) {
        unpack_row(c->kernel->w, job->w, r, job->cols, row);
        for (int t = 0; t < job->tokens; t++) {
            size_t i = (size_t)t * job->ldy + (size_t)r;
            double add =
                (job->bias ? fabs(job->bias[r]) : 0) + (job->accumulate ? fabs(start[i]) : 0);
            if (r >= row0 && r < row1)
                check_close(c, "y", i, job->y[i], expected[i],
                            allowed(job, c->kernel->w, row, t, add));
            else if (!job->accumulate && !poisoned(job->y[i]))
                check_fail(c, "y[%zu] was written: row %d is not of its panels", i, r);
        }
    }
    for (int t = 0; t < job->tokens; t++)
        for (size_t r = (size_t)job->rows; r < job->ldy; r++)
            if (!poisoned(job->y[(size_t)t * job->ldy + r]))
                check_fail(c, "y[%zu] was written: between two rows", (size_t)t * job->ldy + r);
}

void check_linear(struct check_case *c)
{
    struct shape s = draw_shape(c);
    int panels = panel_count(s.rows), panel0 = 0, panel1 = panels;
    size_t unit = c->kernel->x == DT_F32 ? 16 : 32; // elements in 64 bytes
    struct k_linear job = {.tokens = s.tokens, .rows = s.rows, .cols = s.cols};
    job.ldx = ((size_t)s.cols + unit - 1) / unit * unit + unit * (size_t)check_between(c, 0, 1);
    job.ldy = (size_t)(s.rows + check_between(c, 0, 5));
    job.accumulate = check_flip(c);
    job.streamed = check_flip(c);
    if (check_flip(c)) {
        panel0 = check_between(c, 0, panels - 1);
        panel1 = check_between(c, panel0, panels);
    }
    bool with_bias = check_flip(c);
    check_shape(c, "rows=%d cols=%d tokens=%d panels=%d..%d%s%s%s", s.rows, s.cols, s.tokens,
                panel0, panel1, with_bias ? " bias" : "", job.accumulate ? " accumulate" : "",
                job.streamed ? " streamed" : "");

    size_t y_floats = (size_t)s.tokens * job.ldy, y_bytes = y_floats * sizeof(float);
    float *bias = with_bias ? check_input(c, (size_t)s.rows * sizeof(float), 4) : NULL;
    float *start = check_input(c, y_bytes, 4),
          *row = check_output(c, (size_t)s.cols * sizeof(float), 0);
    float *expected = check_output(c, y_bytes, 0);
    float *y = check_output(c, y_bytes, 4 * (size_t)check_between(c, 0, 15));
    job.w = packed_weights(c, &s);
    job.x = inputs(c, &s, job.ldx);
    job.bias = bias;
    if (c->failed)
        return;
    if (bias)
        check_fill(c, bias, (size_t)s.rows);
    check_fill(c, start, y_floats);
    for (size_t i = 0; job.accumulate && i < y_floats; i++)
        if (i % job.ldy < (size_t)s.rows)
            expected[i] = y[i] = start[i];
    check_seal(c);

    job.y = expected;
    c->ref->fn.linear(&job, panel0, panel1);
    job.y = y;
    c->kernel->fn.linear(&job, panel0, panel1);
    int row1 = panel1 * PANEL_ROWS < s.rows ? panel1 * PANEL_ROWS : s.rows;
    compare(c, &job, expected, panel0 * PANEL_ROWS, row1, start, row);
}
