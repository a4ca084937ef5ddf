// check_rows.c - compares norms, casts, activations, residuals, caps and embeddings on a GPU with kernels/ref.
//
// Two differences are allowed. One is f32 arithmetic in another order than ref's. The other is the rounding of the
// output type: half a step of a 16-bit type or of e4m3, or one code of int8. The exponential of an activation may be
// off by 2^-22 of its exponent.
#include "kernels/cuda/check.h"

#include <math.h>
#include <string.h>

#include "kernels/ref/element.h"

// Rows that an operation writes in an activation type, with their expected values.
struct rows {
    struct cuda_check *k;
    enum dtype type;
    enum cuda_order order;
    int rows, n, padded;
    size_t out_bytes, scale_bytes; // for whole groups of rows
    unsigned char *got, *plain;    // as stored, and as rows of `padded` elements
    float *scale, *expected;       // (rows), (rows, n)
    double *slack;                 // (rows, n) allowed errors before rounding; NULL: the default
    void *out, *out_scale;         // on the device
};

static void rows_make(struct rows *r, struct cuda_check *k, int most_rows)
{
    int index = k->c.index;
    *r = (struct rows){.k = k, .type = k->c.kernel->x};
    r->rows = kernel_check_between(&k->c, 1, most_rows);
    r->n = index < 4 ? 1 + 255 * index : kernel_check_between(&k->c, 1, 3000);
    r->padded = cuda_padded_cols(r->n);
    r->order = r->type == DT_F32 ? CUDA_ROWS
               : dtype_is_quantized(r->type)
                   ? CUDA_BYTES
                   : (enum cuda_order)kernel_check_between(&k->c, CUDA_HALVES, CUDA_NIBBLES);
    r->out_bytes = (size_t)cuda_padded_tokens(r->rows) * (size_t)r->padded * element_bytes(r->type);
    r->scale_bytes = (size_t)r->rows * sizeof(float);
    r->got = cuda_check_host(k, r->out_bytes);
    r->plain = cuda_check_host(k, r->out_bytes);
    r->scale = cuda_check_host(k, r->scale_bytes);
    r->expected = cuda_check_host(k, (size_t)r->rows * (size_t)r->n * sizeof(float));
}

static void rows_place(struct rows *r)
{
    r->out = cuda_check_out(r->k, NULL, r->out_bytes);
    r->out_scale = cuda_check_out(r->k, NULL, r->scale_bytes);
}

static float largest_of(const float *x, int n)
{
    float largest = 0;
    for (int i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    return largest;
}

// The rounding error of the output type for an element of value v, in a row whose largest element is `largest`.
static double step_of(enum dtype type, float v, float largest)
{
    switch (type) {
    case DT_F32:
        return 0x1p-140;
    case DT_BF16:
        return 0x1p-8 * fabs((double)v) + 0x1p-133;
    case DT_F16:
        return 0x1p-11 * fabs((double)v) + 0x1p-24;
    default: // all codes of a row this small are zero (quant.h)
        if (largest < 0x1p-99f)
            return (double)largest;
        return type == DT_I8 ? 1.01 * (double)largest / 127
                             : 1.01 * (0x1p-4 * fabs((double)v) + 0x1p-10 * (double)largest / 448);
    }
}

// Compares rows of the output type with f32 rows. Elements from n to padded must be zeros.
static void rows_compare(struct rows *r)
{
    cuda_check_back(r->k, r->got, r->out, r->out_bytes);
    if (!r->k->c.failed)
        cuda_plain_inputs(r->order, r->got, r->rows, r->padded, (size_t)r->padded, r->plain);
    if (dtype_is_quantized(r->type))
        cuda_check_back(r->k, r->scale, r->out_scale, r->scale_bytes);
    for (int row = 0; row < r->rows && !r->k->c.failed; row++) {
        float *want = r->expected + (size_t)row * (size_t)r->n, largest = largest_of(want, r->n);
        for (int i = 0; i < r->padded; i++) {
            size_t at = (size_t)row * (size_t)r->padded + (size_t)i;
            float got = element_get(r->type, r->plain, at);
            if (dtype_is_quantized(r->type))
                got *= r->scale[row];
            if (i >= r->n) {
                kernel_check_close(&r->k->c, "padding", at, got, 0, 0);
                continue;
            }
            size_t own = (size_t)row * (size_t)r->n + (size_t)i;
            double slack = r->slack ? r->slack[own] : 0x1p-18 * fabs((double)want[i]);
            if (r->type == DT_F16 && fabsf(want[i]) >= 65504) // larger values become infinite
                want[i] = f16_to_f32(f16_from_f32(want[i]));
            kernel_check_close(&r->k->c, "out", at, got, want[i],
                               slack + 0x1p-20 * (double)largest +
                                   step_of(r->type, want[i], largest));
        }
    }
}

// ---- norms ---------------------------------------------------------------------------------------------

enum norm_kind { RMS, LAYER, CAST, NORM_KINDS };

static void expect_norm(const struct rows *r, enum norm_kind kind, const float *from,
                        const float *w, const float *b, float *to)
{
    if (kind == RMS)
        kernel_reference(KOP_RMSNORM, DT_F32, DT_F32)->fn.rmsnorm(to, from, w, r->n, 1e-5f);
    else if (kind == LAYER)
        kernel_reference(KOP_LAYERNORM, DT_F32, DT_F32)->fn.layernorm(to, from, w, b, r->n, 1e-5f);
    else
        memcpy(to, from, (size_t)r->n * sizeof *to);
}

// Checks a row of zeros, one with a NaN, and one with an infinity. All codes must be zero; the scales are 0, NaN and
// NaN.
static void check_codes_not_finite(struct cuda_check *k)
{
    enum { ROWS = 3, N = 256 };
    float *x = cuda_check_host(k, ROWS * N * sizeof *x), scale[ROWS];
    int8_t *codes = cuda_check_host(k, ROWS * N);
    kernel_check_shape(&k->c, "rows that are not finite");
    if (k->c.failed)
        return;
    x[N + 7] = NAN;
    x[2 * N + 9] = INFINITY;
    void *out = cuda_check_out(k, NULL, ROWS * N), *scales = cuda_check_out(k, NULL, sizeof scale);
    struct cuda_norm job = {.x = cuda_check_in(k, x, ROWS * N * sizeof *x),
                            .out = out,
                            .scale = scales,
                            .rows = ROWS,
                            .n = N,
                            .padded = N,
                            .ldx = N,
                            .ldo = N};
    if (!k->c.failed)
        k->c.kernel->fn.cuda.norm(&job, cuda_check_stream(k));
    cuda_check_back(k, codes, out, ROWS * N);
    cuda_check_back(k, scale, scales, sizeof scale);
    if (k->c.failed)
        return;
    for (int row = 0; row < ROWS; row++)
        kernel_check_close(&k->c, "scale", (size_t)row, scale[row], row ? NAN : 0, 0);
    for (int i = 0; i < ROWS * N; i++)
        kernel_check_close(&k->c, "code", (size_t)i, codes[i], 0, 0);
}

static void check_norm(struct cuda_check *k)
{
    struct check_case *c = &k->c;
    struct rows r;
    int32_t pick[16];
    c->mode = c->mode == CHECK_INFINITE ? CHECK_PLAIN : c->mode;
    rows_make(&r, k, 9);
    enum norm_kind kind = (enum norm_kind)kernel_check_between(c, 0, NORM_KINDS - 1);
    bool picked = kernel_check_flip(c);
    size_t ldx = (size_t)(r.n + kernel_check_between(c, 0, 3)), x_floats = (size_t)r.rows * ldx;
    float *x = cuda_check_values(k, x_floats), *w = cuda_check_plain(k, (size_t)r.n),
          *b = cuda_check_plain(k, (size_t)r.n);
    kernel_check_shape(c, "rows=%d n=%d%s%s", r.rows, r.n,
                       kind == RMS     ? " rms"
                       : kind == LAYER ? " layer"
                                       : " cast",
                       picked ? " picked" : "");
    if (c->failed)
        return;
    for (int i = 0; i < r.rows; i++) {
        pick[i] = r.rows - 1 - i;
        expect_norm(&r, kind, x + (size_t)(picked ? pick[i] : i) * ldx, w, b,
                    r.expected + (size_t)i * (size_t)r.n);
    }
    rows_place(&r);
    struct cuda_norm job = {.x = cuda_check_in(k, x, x_floats * 4),
                            .weight = kind == CAST ? NULL : cuda_check_in(k, w, (size_t)r.n * 4),
                            .bias = kind == LAYER ? cuda_check_in(k, b, (size_t)r.n * 4) : NULL,
                            .index = picked ? cuda_check_in(k, pick, (size_t)r.rows * sizeof *pick)
                                            : NULL,
                            .out = r.out,
                            .scale = r.out_scale,
                            .order = r.order,
                            .rows = r.rows,
                            .n = r.n,
                            .padded = r.padded,
                            .ldx = ldx,
                            .ldo = (size_t)r.padded,
                            .eps = 1e-5f,
                            .centered = kind == LAYER};
    if (!c->failed)
        c->kernel->fn.cuda.norm(&job, cuda_check_stream(k));
    rows_compare(&r);
    cuda_check_release(k); // before `pick`, which it compares with, is freed
}

void cuda_check_norm(struct cuda_check *k)
{
    if (k->c.mode == CHECK_INFINITE && dtype_is_quantized(k->c.kernel->x))
        check_codes_not_finite(k);
    else
        check_norm(k);
}

// ---- activations ---------------------------------------------------------------------------------------

// The allowed error of the exponential, times its factor.
static double activation_slack(enum kernel_op op, double x, double up, double result)
{
    double inner = op == KOP_GELU        ? x * x / 2
                   : op == KOP_GELU_TANH ? fabs(1.6 * (x + 0.044715 * x * x * x))
                                         : fabs(x);
    return fabs(result) * (0x1p-18 + fmin(inner, 200) * 0x1p-22) + fabs(x * up) * 0x1p-126;
}

void cuda_check_activate(struct cuda_check *k)
{
    static const enum kernel_op ops[] = {KOP_SWIGLU, KOP_GELU, KOP_GELU_TANH, KOP_RELU};
    struct check_case *c = &k->c;
    struct rows r;
    c->mode = c->mode == CHECK_INFINITE ? CHECK_PLAIN : c->mode;
    rows_make(&r, k, 5);
    enum kernel_op op = ops[kernel_check_between(c, 0, 3)];
    bool gated = kernel_check_flip(c);
    size_t n = (size_t)r.n, ldx = 2 * n, x_floats = (size_t)r.rows * ldx;
    float *x = cuda_check_values(k, x_floats);
    r.slack = cuda_check_host(k, (size_t)r.rows * n * sizeof *r.slack);
    kernel_check_shape(c, "%s rows=%d n=%d%s", kernel_op_name(op), r.rows, r.n,
                       gated ? " gated" : "");
    if (c->failed)
        return;
    for (int row = 0; row < r.rows; row++) {
        float *gate = x + (size_t)row * ldx, *to = r.expected + (size_t)row * n;
        for (size_t i = 0; i < n; i++) // where activations are most curved
            gate[i] *= 8;
        kernel_reference(op, DT_F32, DT_F32)->fn.activate(to, gate, gated ? gate + n : NULL, r.n);
        for (size_t i = 0; i < n; i++)
            r.slack[(size_t)row * n + i] = activation_slack(
                op, (double)gate[i], gated ? (double)gate[n + i] : 1, (double)to[i]);
    }
    const float *in = cuda_check_in(k, x, x_floats * 4);
    rows_place(&r);
    struct cuda_activate job = {.op = op,
                                .gate = gated ? in : NULL,
                                .up = gated ? in + n : in,
                                .out = r.out,
                                .scale = r.out_scale,
                                .order = r.order,
                                .rows = r.rows,
                                .n = r.n,
                                .padded = r.padded,
                                .ldx = ldx,
                                .ldo = (size_t)r.padded};
    if (!c->failed)
        c->kernel->fn.cuda.activate(&job, cuda_check_stream(k));
    rows_compare(&r);
}

// ---- residuals and caps -----------------------------------------------------------------------------------

enum { MOST_ROWS = 8 };

// Draws an index for each row: row r goes to, or comes from, row pick[r]. No index occurs twice.
static void draw_picks(struct cuda_check *k, int rows, int32_t pick[MOST_ROWS])
{
    int shift = kernel_check_between(&k->c, 0, rows - 1);
    for (int r = 0; r < rows; r++)
        pick[r] = (r + shift) % rows;
}

void cuda_check_add(struct cuda_check *k)
{
    struct check_case *c = &k->c;
    int rows = kernel_check_between(c, 1, MOST_ROWS), n = kernel_check_between(c, 1, 700);
    size_t ldx = (size_t)(n + kernel_check_between(c, 0, 3)),
           ldy = (size_t)(n + kernel_check_between(c, 0, 3));
    size_t x_bytes = (size_t)rows * ldx * 4, y_bytes = (size_t)rows * ldy * 4;
    bool shared = kernel_check_flip(c), picked = kernel_check_flip(c);
    int32_t pick[MOST_ROWS];
    float *x = cuda_check_values(k, (size_t)rows * ldx),
          *y = cuda_check_values(k, (size_t)rows * ldy);
    float *share = cuda_check_plain(k, (size_t)rows), *got = cuda_check_host(k, x_bytes);
    draw_picks(k, rows, pick);
    kernel_check_shape(c, "rows=%d n=%d%s%s", rows, n, shared ? " share" : "",
                       picked ? " picked" : "");
    if (c->failed)
        return;
    void *out = cuda_check_out(k, x, x_bytes);
    struct cuda_add job = {.x = out,
                           .y = cuda_check_in(k, y, y_bytes),
                           .share = shared ? cuda_check_in(k, share, (size_t)rows * 4) : NULL,
                           .index =
                               picked ? cuda_check_in(k, pick, (size_t)rows * sizeof *pick) : NULL,
                           .rows = rows,
                           .n = n,
                           .ldx = ldx,
                           .ldy = ldy};
    if (!c->failed)
        c->kernel->fn.cuda.add(&job, cuda_check_stream(k));
    cuda_check_back(k, got, out, x_bytes);
    for (int r = 0; r < rows && !c->failed; r++)
        for (size_t i = 0; i < ldx; i++) {
            size_t to = (size_t)(picked ? pick[r] : r) * ldx + i;
            float v = i < (size_t)n ? y[(size_t)r * ldy + i] * (shared ? share[r] : 1) : 0;
            kernel_check_close(
                c, "x", to, got[to], i < (size_t)n ? x[to] + v : x[to],
                i < (size_t)n ? 0x1p-22 * (fabs((double)x[to]) + fabs((double)v)) + 0x1p-140 : 0);
        }
    cuda_check_release(k); // before `pick`, which it compares with, is freed
}

void cuda_check_softcap(struct cuda_check *k)
{
    struct check_case *c = &k->c;
    size_t n = (size_t)kernel_check_between(c, 1, 5000);
    float cap = kernel_check_flip(c) ? 30.0f : 0.5f + rng_f32(&c->rng);
    float *y = cuda_check_values(k, n), *got = cuda_check_host(k, n * 4);
    kernel_check_shape(c, "n=%zu cap=%g", n, (double)cap);
    if (c->failed)
        return;
    for (size_t i = 0; i < n; i += 2)
        y[i] *= 100;
    void *out = cuda_check_out(k, y, n * 4);
    struct cuda_softcap job = {.y = out, .n = n, .cap = cap};
    if (!c->failed)
        c->kernel->fn.cuda.softcap(&job, cuda_check_stream(k));
    cuda_check_back(k, got, out, n * 4);
    kernel_reference(KOP_SOFTCAP, DT_F32, DT_F32)->fn.softcap(y, (int)n, cap);
    for (size_t i = 0; i < n && !c->failed; i++)
        kernel_check_close(c, "y", i, got[i], y[i], (double)cap * 0x1p-20);
}

// ---- embeddings ------------------------------------------------------------------------------------------

enum { EMBED_TOKENS = 5, EMBED_POSITIONS = 9 };

// A table of plain rows or a packed matrix (a tied head), with or without learned positions.
struct embedding {
    struct cuda_layout layout;
    int rows, cols;
    bool packed;
    enum dtype type;
    unsigned char *table, *positions;
    size_t table_bytes, positions_bytes;
    float *row; // (cols) scratch
};

// Random bits that are finite in every type.
static unsigned char *random_bits(struct cuda_check *k, size_t bytes)
{
    unsigned char *to = cuda_check_host(k, bytes);
    for (size_t i = 0; to && i < bytes; i++)
        to[i] = (unsigned char)(rng_u64(&k->c.rng) & 0x3b);
    return to;
}

static void embedding_make(struct embedding *e, struct cuda_check *k)
{
    static const enum dtype types[] = {DT_F32, DT_BF16, DT_F16, DT_I8, DT_F8E4M3, DT_I4};
    struct check_case *c = &k->c;
    *e = (struct embedding){.packed = kernel_check_flip(c), .rows = kernel_check_between(c, 1, 60)};
    e->cols = kernel_check_between(c, 1, 400);
    e->type = types[c->index % (e->packed ? 6 : 3)];
    size_t bytes = e->packed ? 0 : (size_t)e->cols * element_bytes(e->type);
    if (e->packed && !cuda_layout_plan(e->type, e->rows, e->cols, 32, &e->layout))
        kernel_check_fail(c, "no layout");
    e->table_bytes = e->packed ? cuda_layout_bytes(&e->layout) : (size_t)e->rows * bytes;
    e->table = random_bits(k, e->table_bytes);
    e->positions_bytes = !e->packed && kernel_check_flip(c) ? EMBED_POSITIONS * bytes : 0;
    e->positions = e->positions_bytes ? random_bits(k, e->positions_bytes) : NULL;
    e->row = cuda_check_host(k, (size_t)e->cols * sizeof *e->row);
    kernel_check_shape(c, "%s %s rows=%d cols=%d%s", e->packed ? "packed" : "plain",
                       dtype_name(e->type), e->rows, e->cols, e->positions ? " positions" : "");
}

static void expect_embedding(const struct embedding *e, int32_t id, int position, float scale)
{
    size_t n = (size_t)e->cols;
    if (e->packed)
        cuda_unpack_row(&e->layout, e->table, id, e->row);
    for (size_t i = 0; i < n; i++) {
        float v = e->packed ? e->row[i] : element_get(e->type, e->table, (size_t)id * n + i);
        float add = e->positions ? element_get(e->type, e->positions, (size_t)position * n + i) : 0;
        e->row[i] = (scale != 0 ? scale : 1) * v + add;
    }
}

void cuda_check_embed(struct cuda_check *k)
{
    struct check_case *c = &k->c;
    struct embedding e;
    embedding_make(&e, k);
    int32_t ids[EMBED_TOKENS];
    struct cuda_token tokens[EMBED_TOKENS];
    size_t ldx = (size_t)(e.cols + kernel_check_between(c, 0, 3)), bytes = EMBED_TOKENS * ldx * 4;
    float scale = kernel_check_flip(c) ? 2 : 0, *got = cuda_check_host(k, bytes);
    for (int t = 0; t < EMBED_TOKENS; t++) {
        ids[t] = kernel_check_between(c, 0, e.rows - 1);
        tokens[t] = (struct cuda_token){0, kernel_check_between(c, 0, EMBED_POSITIONS - 1)};
    }
    void *out = cuda_check_out(k, NULL, bytes);
    struct cuda_embed job = {
        .x = out,
        .table = cuda_check_in(k, e.table, e.table_bytes),
        .positions = e.positions ? cuda_check_in(k, e.positions, e.positions_bytes) : NULL,
        .ids = cuda_check_in(k, ids, sizeof ids),
        .tokens = cuda_check_in(k, tokens, sizeof tokens),
        .layout = e.layout,
        .packed = e.packed,
        .type = e.type,
        .rows = EMBED_TOKENS,
        .n = e.cols,
        .ldx = ldx,
        .scale = scale};
    if (!c->failed)
        c->kernel->fn.cuda.embed(&job, cuda_check_stream(k));
    cuda_check_back(k, got, out, bytes);
    for (int t = 0; t < EMBED_TOKENS && !c->failed; t++) {
        expect_embedding(&e, ids[t], tokens[t].position, scale);
        for (int i = 0; i < e.cols; i++)
            kernel_check_close(c, "x", (size_t)i, got[(size_t)t * ldx + (size_t)i], e.row[i],
                               0x1p-21 * fabs((double)e.row[i]) + 0x1p-30);
    }
    cuda_check_release(k); // before ids and tokens, which it compares with, are freed
}
