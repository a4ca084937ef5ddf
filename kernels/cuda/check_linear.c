// check_linear.c - compares products on a GPU with kernels/ref: every type, tails of rows, inputs and tokens, bias,
// accumulation. Also checks that a token's bits depend neither on the other tokens nor on how blocks share the spans.
#include "kernels/cuda/check.h"

#include <math.h>
#include <string.h>

#include "base/fp.h"
#include "kernels/ref/element.h"

struct shape {
    int rows, cols, tokens;
};
static const struct shape corners[] = {
    {40, 700, 5},   {70, 300, 33},   {200, 14336, 32}, {700, 4096, 16},  {260, 2048, 300},
    {1, 1, 1},      {16, 256, 8},    {17, 257, 9},     {15, 255, 7},     {128, 2048, 64},
    {129, 300, 65}, {300, 4101, 33}, {33, 11008, 1},   {256, 1024, 129}, {40, 8193, 17},
};
enum { CORNERS = sizeof corners / sizeof *corners };

// One product with its data on the host: weights in the layout of ref and in that of the GPU.
struct product {
    struct cuda_check *k;
    enum dtype w, x_type;
    struct shape s;
    int group;
    bool exact; // all codes have the largest magnitude: the sum of their products is exact
    struct cuda_layout layout;
    unsigned char *panels, *packed, *x;                   // x: (tokens, ldx)
    float *x_scale, *bias, *start, *expected, *magnitude; // the last three: (tokens, rows)
    size_t ldx, element;
};

// Scratch for 16 rows as f32, and as codes, scales and zeros.
struct packing {
    float *rows, *scales;
    uint8_t *codes;
};

static void quantize(struct product *p, const struct packing *room, int count, int row0)
{
    size_t n = (size_t)p->s.cols, panel = quant_panel_bytes(p->w, p->s.cols, p->group);
    struct quant_row row[CUDA_TILE_ROWS];
    for (int r = 0; r < count; r++) {
        size_t at = (size_t)r * n;
        row[r] = (struct quant_row){room->codes + at, room->scales + at,
                                    room->codes + CUDA_TILE_ROWS * n + at};
        quant_row_rtn(p->w, room->rows + at, p->s.cols, p->group, row[r]);
    }
    quant_pack_panel(p->w, row, count, p->s.cols, p->group,
                     p->panels + (size_t)(row0 / 16) * panel);
    cuda_pack_codes(&p->layout, row, count, p->group,
                    p->packed + (size_t)(row0 / 16) * p->layout.tile_bytes);
}

// Makes all values of a row equal in magnitude. One in `negative` is below zero, none if that is 0: sums of many
// products of one sign need more bits than those that cancel.
static void level(float *row, size_t n, size_t negative)
{
    float magnitude = fabsf(row[0]) + 0x1p-20f;
    for (size_t i = 0; i < n; i++)
        row[i] = negative && i % negative == 2 ? -magnitude : magnitude;
}

// Infinities are drawn for inputs only, because an infinite weight times a padding zero is NaN.
static void make_weights(struct product *p)
{
    struct check_case *c = &p->k->c;
    enum check_mode mode = c->mode;
    size_t n = (size_t)p->s.cols, panel = quant_panel_bytes(p->w, p->s.cols, p->group);
    if (!cuda_layout_plan(p->w, p->s.rows, p->s.cols, p->group, &p->layout))
        kernel_check_fail(c, "no layout for groups of %d", p->group);
    p->panels = cuda_check_host(p->k, (size_t)kernel_panel_count(p->s.rows) * panel);
    p->packed = cuda_check_host(p->k, cuda_layout_bytes(&p->layout));
    struct packing room = {cuda_check_host(p->k, CUDA_TILE_ROWS * n * 4),
                           cuda_check_host(p->k, CUDA_TILE_ROWS * n * 4),
                           cuda_check_host(p->k, 2 * CUDA_TILE_ROWS * n)};
    if (c->failed)
        return;
    c->mode = mode == CHECK_INFINITE ? CHECK_PLAIN : mode;
    for (int row0 = 0; row0 < p->s.rows; row0 += CUDA_TILE_ROWS) {
        int left = p->s.rows - row0, count = left < CUDA_TILE_ROWS ? left : CUDA_TILE_ROWS;
        kernel_check_fill(c, room.rows, (size_t)count * n);
        for (int r = 0; p->exact && r < count; r++)
            level(room.rows + (size_t)r * n, n, 0);
        if (dtype_is_quantized(p->w)) {
            quantize(p, &room, count, row0);
        } else {
            kernel_pack_panel(p->w, room.rows, count, p->s.cols, n,
                              p->panels + (size_t)(row0 / 16) * panel);
            cuda_pack_plain(&p->layout, room.rows, count, n,
                            p->packed + (size_t)(row0 / 16) * p->layout.tile_bytes);
        }
    }
    c->mode = mode;
}

static void make_inputs(struct product *p)
{
    const struct kernel *cast = kernel_reference(KOP_CAST, DT_F32, p->x_type);
    size_t tokens = (size_t)p->s.tokens, n = (size_t)p->s.cols;
    p->element = element_bytes(p->x_type);
    p->ldx =
        (size_t)cuda_padded_cols(p->s.cols) + (size_t)kernel_check_between(&p->k->c, 0, 2) * 64;
    p->x = cuda_check_host(p->k, tokens * p->ldx * p->element);
    p->x_scale = cuda_check_host(p->k, tokens * sizeof(float));
    float *row = cuda_check_host(p->k, n * sizeof *row);
    for (size_t t = 0; t < tokens && !p->k->c.failed; t++) {
        kernel_check_fill(&p->k->c, row, n);
        if (p->exact)
            level(row, n, 5);
        p->x_scale[t] = cast->fn.cast(p->x + t * p->ldx * p->element, row, p->s.cols, p->s.cols);
    }
}

static void product_make(struct product *p, struct cuda_check *k, struct shape shape)
{
    static const int groups[] = {128, 32, 64, 128};
    struct check_case *c = &k->c;
    *p = (struct product){.k = k, .w = c->kernel->w, .x_type = c->kernel->x, .s = shape};
    p->group = groups[c->index % 4];
    p->exact = p->x_type == DT_F8E4M3 && c->mode == CHECK_PLAIN && kernel_check_flip(c);
    size_t n = (size_t)p->s.tokens * (size_t)p->s.rows;
    make_weights(p);
    make_inputs(p);
    p->bias = kernel_check_flip(c) ? cuda_check_plain(k, (size_t)p->s.rows) : NULL;
    p->start = kernel_check_between(c, 0, 2) == 0 ? cuda_check_plain(k, n) : NULL;
    p->expected = cuda_check_host(k, n * sizeof(float));
    p->magnitude = cuda_check_host(k, n * sizeof(float));
    kernel_check_shape(c, "rows=%d cols=%d tokens=%d group=%d%s%s%s", p->s.rows, p->s.cols,
                       p->s.tokens, p->group, p->bias ? " bias" : "", p->start ? " accumulate" : "",
                       p->exact ? " exact" : "");
}

// The sums of magnitudes that bound the rounding errors. Takes one row of weights and one of inputs at a time.
static void sum_magnitudes(struct product *p)
{
    size_t rows = (size_t)p->s.rows, cols = (size_t)p->s.cols, tokens = (size_t)p->s.tokens;
    float *row = cuda_check_host(p->k, cols * sizeof *row);
    float *x = cuda_check_host(p->k, tokens * cols * sizeof *x);
    if (p->k->c.failed)
        return;
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < cols; i++)
            x[t * cols + i] =
                fabsf((float)element_get(p->x_type, p->x + t * p->ldx * p->element, i) *
                      (dtype_is_quantized(p->x_type) ? p->x_scale[t] : 1));
    for (size_t r = 0; r < rows; r++) {
        cuda_unpack_row(&p->layout, p->packed, (int)r, row);
        for (size_t t = 0; t < tokens; t++) {
            size_t at = t * rows + r;
            float sum = (p->start ? fabsf(p->start[at]) : 0) + (p->bias ? fabsf(p->bias[r]) : 0);
            for (size_t i = 0; i < cols; i++)
                sum += fabsf(row[i]) * x[t * cols + i];
            p->magnitude[at] = sum;
        }
    }
}

static void expect(struct product *p)
{
    size_t rows = (size_t)p->s.rows, tokens = (size_t)p->s.tokens;
    struct k_linear job = {.w = p->panels,
                           .x = p->x,
                           .bias = p->bias,
                           .x_scale = dtype_is_quantized(p->x_type) ? p->x_scale : NULL,
                           .y = p->expected,
                           .tokens = p->s.tokens,
                           .rows = p->s.rows,
                           .cols = p->s.cols,
                           .group = p->group,
                           .ldx = p->ldx,
                           .ldy = rows,
                           .accumulate = p->start != NULL};
    if (p->start)
        memcpy(p->expected, p->start, tokens * rows * sizeof(float));
    kernel_reference(KOP_GEMV, p->w, p->x_type)->fn.linear(&job, 0, kernel_panel_count(p->s.rows));
    sum_magnitudes(p);
}

// Computes only tokens [token, token + tokens); y (tokens, rows). multiprocessors: how many blocks share the work.
static void run(const struct product *p, int token, int tokens, int multiprocessors, float *y)
{
    struct cuda_check *k = p->k;
    size_t rows = (size_t)p->s.rows, bytes = (size_t)tokens * rows * sizeof(float);
    size_t row_bytes = p->ldx * p->element;
    enum cuda_order order = cuda_order_of(p->w, p->x_type);
    size_t x_bytes = (size_t)cuda_padded_tokens(tokens) * p->ldx * p->element;
    size_t scratch = cuda_partial_bytes(&p->layout, tokens);
    unsigned char *x = p->x + (size_t)token * row_bytes, *ordered = cuda_check_host(k, x_bytes);
    void *zeros = cuda_check_host(k, scratch);
    if (k->c.failed)
        return;
    cuda_order_inputs(order, x, tokens, (int)p->ldx, p->ldx, ordered);
    void *out = cuda_check_out(k, p->start ? p->start + (size_t)token * rows : NULL, bytes);
    struct cuda_linear job = {
        .layout = p->layout,
        .w = cuda_check_in(k, p->packed, cuda_layout_bytes(&p->layout)),
        .x = cuda_check_in(k, ordered, order == CUDA_ROWS ? (size_t)tokens * row_bytes : x_bytes),
        .bias = p->bias ? cuda_check_in(k, p->bias, rows * sizeof(float)) : NULL,
        .x_scale = cuda_check_in(k, p->x_scale + token, (size_t)tokens * sizeof(float)),
        .y = out,
        .partial = cuda_check_out(k, zeros, scratch),
        .tokens = tokens,
        .multiprocessors = multiprocessors,
        .ldx = p->ldx,
        .ldy = rows,
        .accumulate = p->start != NULL};
    if (!k->c.failed)
        k->c.kernel->fn.cuda.linear(&job, cuda_check_stream(k));
    cuda_check_back(k, y, out, bytes);
    cuda_check_release(k);
    cuda_check_host_drop(k); // drops the zeros, then the ordered inputs
    cuda_check_host_drop(k);
}

// The allowed error of a sum of n terms in f32. Tensor cores add at least 16 terms at a time and truncate the low bits.
// Hopper's products of e4m3 by e4m3 truncate terms to 14 bits of the largest, and serve more than CUDA_FEW_TOKENS
// tokens. In exact cases no bit is lost in 128 inputs.
static double allowed(const struct product *p, size_t i)
{
    double terms = p->w == DT_I8 || p->exact ? 4 : p->s.cols / 8.0 + 32;
    double cut = p->x_type == DT_F8E4M3 && !p->exact && p->s.tokens > CUDA_FEW_TOKENS ? 0x1p-10 : 0;
    return (terms * 0x1p-23 + cut) * (double)p->magnitude[i] + 0x1p-110;
}

// A NaN among the inputs of token 1, or as the scale of its codes, must affect that token alone.
static void check_neighbours(const struct product *p, const float *clean, float *y)
{
    size_t rows = (size_t)p->s.rows, n = (size_t)p->s.tokens * rows;
    uint16_t not_a_number = 0x7fc0;
    if (dtype_is_quantized(p->x_type))
        p->x_scale[1] = NAN;
    else
        memcpy(p->x + p->ldx * p->element, &not_a_number, sizeof not_a_number);
    run(p, 0, p->s.tokens, device_info(p->k->device)->units, y);
    for (size_t i = 0; i < n && !p->k->c.failed; i++)
        if (i / rows == 1 ? !isnan(y[i]) : memcmp(&y[i], &clean[i], sizeof *y) != 0)
            kernel_check_fail(&p->k->c,
                              "y[%zu] is %g where token 1 has a NaN, %g where it has none", i,
                              (double)y[i], (double)clean[i]);
}

// ---- products with a fused norm ----------------------------------------------------------------------------

// A product with a fused norm, and its outputs row by row.
struct carrier {
    const struct product *p;
    struct cuda_carry carry; // without pointers
    const float *weight, *from;
    float *y, *squares;
    uint16_t *out; // (tokens, out_cols)
    int out_cols, multiprocessors;
};

static void run_carrier(struct carrier *c)
{
    const struct product *p = c->p;
    struct cuda_check *k = p->k;
    size_t rows = (size_t)p->s.rows, tokens = (size_t)p->s.tokens;
    size_t bytes = tokens * rows * sizeof(float);
    size_t x_bytes = (size_t)cuda_padded_tokens(p->s.tokens) * p->ldx * p->element;
    size_t out_bytes = (size_t)cuda_padded_tokens(p->s.tokens) * (size_t)c->out_cols * 2;
    size_t squares = tokens * rows / CUDA_TILE_ROWS * sizeof(float);
    size_t from = tokens * (size_t)p->s.cols / CUDA_TILE_ROWS * sizeof(float);
    size_t scratch = cuda_partial_bytes(&p->layout, p->s.tokens);
    enum cuda_order order = cuda_order_of(p->w, p->x_type);
    void *ordered = cuda_check_host(k, x_bytes), *out = cuda_check_host(k, out_bytes);
    void *zeros = cuda_check_host(k, scratch);
    if (k->c.failed)
        return;
    cuda_order_inputs(order, p->x, p->s.tokens, (int)p->ldx, p->ldx, ordered);
    void *y_at = cuda_check_out(k, p->start, bytes), *out_at = cuda_check_out(k, out, out_bytes);
    void *squares_at = cuda_check_out(k, NULL, squares);
    struct cuda_linear job = {.layout = p->layout,
                              .w = cuda_check_in(k, p->packed, cuda_layout_bytes(&p->layout)),
                              .x = cuda_check_in(k, ordered, x_bytes),
                              .bias =
                                  p->bias ? cuda_check_in(k, p->bias, rows * sizeof(float)) : NULL,
                              .y = y_at,
                              .partial = cuda_check_out(k, zeros, scratch),
                              .tokens = p->s.tokens,
                              .multiprocessors = c->multiprocessors,
                              .ldx = p->ldx,
                              .ldy = rows,
                              .accumulate = p->start != NULL,
                              .carry = c->carry};
    job.carry.out = out_at;
    job.carry.squares = squares_at;
    job.carry.weight = c->weight ? cuda_check_in(k, c->weight, rows * sizeof(float)) : NULL;
    job.carry.from = c->from ? cuda_check_in(k, c->from, from) : NULL;
    if (!k->c.failed)
        k->c.kernel->fn.cuda.linear(&job, cuda_check_stream(k));
    cuda_check_back(k, c->y, y_at, bytes);
    cuda_check_back(k, c->squares, squares_at, squares);
    cuda_check_back(k, out, out_at, out_bytes);
    cuda_plain_inputs(order, out, p->s.tokens, c->out_cols, (size_t)c->out_cols, c->out);
    cuda_check_release(k);
    for (int i = 0; i < 3; i++)
        cuda_check_host_drop(k);
}

static struct carrier carrier_make(const struct product *p, int out_cols)
{
    struct cuda_check *k = p->k;
    size_t rows = (size_t)p->s.rows, tokens = (size_t)p->s.tokens;
    return (struct carrier){.p = p,
                            .carry = {.order = cuda_order_of(p->w, p->x_type),
                                      .from_tiles = p->s.cols / CUDA_TILE_ROWS,
                                      .eps = 1e-5f},
                            .y = cuda_check_host(k, tokens * rows * sizeof(float)),
                            .squares =
                                cuda_check_host(k, tokens * rows / CUDA_TILE_ROWS * sizeof(float)),
                            .out = cuda_check_host(k, tokens * (size_t)out_cols * sizeof(uint16_t)),
                            .out_cols = out_cols,
                            .multiprocessors = device_info(k->device)->units};
}

// y * weight in bf16, and each tile's sum of squares, in addition to the y of the plain product.
static void check_norm_to(const struct product *p, const float *clean)
{
    struct cuda_check *k = p->k;
    size_t rows = (size_t)p->s.rows, n = (size_t)p->s.tokens * rows;
    struct carrier c = carrier_make(p, p->s.rows);
    c.weight = cuda_check_plain(k, rows);
    c.multiprocessors = kernel_check_flip(&k->c) ? c.multiprocessors : 5;
    if (k->c.failed)
        return;
    run_carrier(&c);
    cuda_check_same(k, clean, c.y, n * sizeof *clean, "other bits where the norm is carried");
    for (size_t i = 0; i < n && !k->c.failed; i++)
        if (c.out[i] != bf16_from_f32(c.y[i] * c.weight[i % rows]))
            kernel_check_fail(&k->c, "carried[%zu] is not %g * %g", i, (double)c.y[i],
                              (double)c.weight[i % rows]);
    for (size_t tile = 0; tile < n / CUDA_TILE_ROWS && !k->c.failed; tile++) {
        double sum = 0;
        for (size_t i = tile * CUDA_TILE_ROWS; i < (tile + 1) * CUDA_TILE_ROWS; i++)
            sum += (double)c.y[i] * (double)c.y[i];
        kernel_check_close(&k->c, "squares", tile, c.squares[tile], (float)sum, 1e-6 * sum);
    }
}

// Sums are scaled by 1 / rms of the squares before bias.
static void check_norm_from(const struct product *p)
{
    struct cuda_check *k = p->k;
    struct product bare = *p;
    size_t rows = (size_t)p->s.rows, tokens = (size_t)p->s.tokens, n = tokens * rows;
    size_t tiles = (size_t)p->s.cols / CUDA_TILE_ROWS;
    struct carrier c = carrier_make(p, p->s.rows);
    float *from = cuda_check_plain(k, tokens * tiles), *sums = cuda_check_host(k, n * sizeof *sums);
    if (k->c.failed)
        return;
    for (size_t i = 0; i < tokens * tiles; i++)
        from[i] = 16 * from[i] * from[i];
    c.from = from;
    bare.bias = bare.start = NULL;
    run(&bare, 0, p->s.tokens, c.multiprocessors, sums);
    run_carrier(&c);
    for (size_t i = 0; i < n && !k->c.failed; i++) {
        double squares = 0, bias = p->bias ? (double)p->bias[i % rows] : 0;
        double start = p->start ? (double)p->start[i] : 0;
        for (size_t t = 0; t < tiles; t++)
            squares += (double)from[i / rows * tiles + t];
        double v = (double)sums[i] / sqrt(squares / p->s.cols + 1e-5);
        kernel_check_close(&k->c, "y of carried inputs", i, c.y[i], (float)(v + bias + start),
                           2e-6 * (fabs(v) + fabs(bias) + fabs(start)));
    }
}

static void check_carry(struct cuda_check *k)
{
    struct product p;
    struct check_case *c = &k->c;
    enum check_mode mode = c->mode;
    c->mode = CHECK_PLAIN;
    product_make(&p, k,
                 (struct shape){512, 256 * kernel_check_between(c, 1, 12),
                                kernel_check_between(c, 1, c->index % 16 ? 8 : CUDA_FEW_TOKENS)});
    size_t n = (size_t)p.s.tokens * (size_t)p.s.rows;
    float *clean = cuda_check_host(k, n * sizeof *clean);
    if (!k->c.failed)
        run(&p, 0, p.s.tokens, device_info(k->device)->units, clean);
    if (!k->c.failed)
        check_norm_to(&p, clean);
    if (!k->c.failed)
        check_norm_from(&p);
    c->mode = mode;
}

void cuda_check_linear(struct cuda_check *k)
{
    struct product p;
    struct check_case *c = &k->c;
    struct shape drawn = {kernel_check_between(c, 1, 200), kernel_check_between(c, 1, 900),
                          kernel_check_between(c, 1, 140)};
    product_make(&p, k, c->index < CORNERS ? corners[c->index] : drawn);
    int units = device_info(k->device)->units, tokens = p.s.tokens;
    size_t rows = (size_t)p.s.rows, n = (size_t)tokens * rows;
    float *y = cuda_check_host(k, n * sizeof *y), *again = cuda_check_host(k, n * sizeof *again);
    if (k->c.failed)
        return;
    expect(&p);
    run(&p, 0, tokens, units, y);
    for (size_t i = 0; i < n && !k->c.failed; i++)
        kernel_check_close(&k->c, "y", i, y[i], p.expected[i], allowed(&p, i));
    // The bits are the same however many blocks share the spans, and for the last token alone. With many tokens, the
    // order of a sum depends on their number.
    for (int shares = 1; tokens <= CUDA_FEW_TOKENS && shares <= 49; shares *= 7) {
        run(&p, 0, tokens, shares, again);
        cuda_check_same(k, y, again, n * sizeof *y, "other bits on fewer multiprocessors");
    }
    if (tokens <= CUDA_FEW_TOKENS) {
        run(&p, tokens - 1, 1, units, again);
        cuda_check_same(k, y + n - rows, again, rows * sizeof *y,
                        "the last token has other bits than it gets alone");
    }
    if ((p.x_type == DT_BF16 || dtype_is_quantized(p.x_type)) && tokens > 1)
        check_neighbours(&p, y, again);
    if (p.x_type == DT_BF16 && k->c.index % 8 == 0 && !k->c.failed)
        check_carry(k);
}
