// test_linear.c - products on a GPU against kernels/ref: every type, tails of rows, inputs and tokens, bias,
// accumulation; and that a token's bits depend neither on the other tokens nor on the kernel that ran.
#include "tests/cuda/gpu.h"

#include "base/fp.h"

enum { CASES = 40 };

struct shape {
    int rows, cols, tokens;
};
static const struct shape corners[] = {
    {1, 1, 1},      {16, 256, 8},    {17, 257, 9},   {15, 255, 7},     {128, 2048, 64},
    {129, 300, 65}, {300, 4101, 33}, {33, 11008, 1}, {256, 1024, 129}, {40, 8193, 17},
};
enum { CORNERS = sizeof corners / sizeof *corners };

// One product with its host side: weights as ref reads them and as the GPU does.
struct product {
    const struct cuda_kernel *kernel;
    struct shape s;
    int group, index;
    struct cuda_layout layout;
    void *panels, *packed;                                // host
    void *x;                                              // (tokens, ldx)
    float *x_scale, *bias, *start, *expected, *magnitude; // (tokens, rows) the last three
    size_t ldx, element;
};

static void quantize(struct product *p, const float *rows, int count, int row0)
{
    enum dtype type = p->kernel->w;
    size_t n = (size_t)p->s.cols, panel = quant_panel_bytes(type, p->s.cols, p->group);
    uint8_t *codes = malloc(32 * n);
    float *scales = malloc(16 * n * sizeof *scales);
    struct quant_row row[16];
    for (int r = 0; r < count; r++) {
        row[r] = (struct quant_row){codes + (size_t)r * n, scales + (size_t)r * n,
                                    codes + (size_t)(16 + r) * n};
        quant_row_rtn(type, rows + (size_t)r * n, p->s.cols, p->group, row[r]);
    }
    quant_pack_panel(type, row, count, p->s.cols, p->group,
                     (char *)p->panels + (size_t)(row0 / 16) * panel);
    cuda_pack_codes(&p->layout, row, count, p->group,
                    (char *)p->packed + (size_t)(row0 / 16) * p->layout.tile_bytes);
    free(codes);
    free(scales);
}

static void make_weights(struct product *p)
{
    enum dtype type = p->kernel->w;
    size_t panel = quant_panel_bytes(type, p->s.cols, p->group);
    assert_true(cuda_layout_plan(type, p->s.rows, p->s.cols, p->group, &p->layout));
    p->panels = calloc((size_t)kernel_panel_count(p->s.rows), panel);
    p->packed = malloc(cuda_layout_bytes(&p->layout));
    for (int row0 = 0; row0 < p->s.rows; row0 += 16) {
        int count = p->s.rows - row0 < 16 ? p->s.rows - row0 : 16;
        float *rows = values((size_t)count * (size_t)p->s.cols, p->index);
        if (dtype_is_quantized(type)) {
            quantize(p, rows, count, row0);
        } else {
            kernel_pack_panel(type, rows, count, p->s.cols, (size_t)p->s.cols,
                              (char *)p->panels + (size_t)(row0 / 16) * panel);
            cuda_pack_plain(&p->layout, rows, count, (size_t)p->s.cols,
                            (char *)p->packed + (size_t)(row0 / 16) * p->layout.tile_bytes);
        }
        free(rows);
    }
}

static float input_of(const struct product *p, int t, int c)
{
    const char *row = (const char *)p->x + (size_t)t * p->ldx * p->element;
    uint16_t half;
    float value;
    switch (p->kernel->x) {
    case DT_F32:
        memcpy(&value, row + (size_t)c * 4, 4);
        return value;
    case DT_I8:
        return (float)((const int8_t *)row)[c] * p->x_scale[t];
    default:
        memcpy(&half, row + (size_t)c * 2, 2);
        return p->kernel->x == DT_BF16 ? bf16_to_f32(half) : f16_to_f32(half);
    }
}

// Expected values by ref, and the sum of magnitudes that rounding is relative to.
static void expect(struct product *p, bool accumulate)
{
    size_t rows = (size_t)p->s.rows, tokens = (size_t)p->s.tokens;
    struct k_linear job = {.w = p->panels,
                           .x = p->x,
                           .bias = p->bias,
                           .x_scale = p->kernel->x == DT_I8 ? p->x_scale : NULL,
                           .y = p->expected,
                           .tokens = p->s.tokens,
                           .rows = p->s.rows,
                           .cols = p->s.cols,
                           .group = p->group,
                           .ldx = p->ldx,
                           .ldy = rows,
                           .accumulate = accumulate};
    memcpy(p->expected, p->start, tokens * rows * sizeof(float));
    kernel_reference(KOP_GEMV, p->kernel->w, p->kernel->x)
        ->fn.linear(&job, 0, kernel_panel_count(p->s.rows));
    float *row = malloc((size_t)p->s.cols * sizeof *row);
    for (size_t r = 0; r < rows; r++) {
        cuda_unpack_row(&p->layout, p->packed, (int)r, row);
        for (size_t t = 0; t < tokens; t++) {
            double sum =
                fabs((double)p->start[t * rows + r]) + (p->bias ? fabs((double)p->bias[r]) : 0);
            for (int c = 0; c < p->s.cols; c++)
                sum += fabs((double)row[c] * (double)input_of(p, (int)t, c));
            p->magnitude[t * rows + r] = (float)sum;
        }
    }
    free(row);
}

static void product_make(struct product *p, const struct cuda_kernel *kernel, int index)
{
    static const int groups[] = {128, 32, 64, 128};
    *p = (struct product){.kernel = kernel, .index = index, .group = groups[index % 4]};
    gpu_case(kernel->name, index);
    p->s = index < CORNERS ? corners[index]
                           : (struct shape){between(1, 200), between(1, 900), between(1, 140)};
    p->element = (size_t)cuda_element_bytes(kernel->x);
    p->ldx = (size_t)cuda_padded_cols(p->s.cols) + (size_t)(index % 3) * 64;
    size_t tokens = (size_t)p->s.tokens, rows = (size_t)p->s.rows;
    p->x = calloc(tokens * p->ldx, p->element);
    p->x_scale = calloc(tokens, sizeof(float));
    k_cast_fn *cast = kernel_reference(KOP_CAST, DT_F32, kernel->x)->fn.cast;
    for (size_t t = 0; t < tokens; t++) {
        float *row = values((size_t)p->s.cols, index);
        p->x_scale[t] = cast((char *)p->x + t * p->ldx * p->element, row, p->s.cols, p->s.cols);
        free(row);
    }
    make_weights(p);
    p->bias = index % 2 ? values(rows, index) : NULL;
    p->start = values(tokens * rows, index);
    p->expected = malloc(tokens * rows * sizeof(float));
    p->magnitude = malloc(tokens * rows * sizeof(float));
}

static void product_free(struct product *p)
{
    free(p->panels);
    free(p->packed);
    free(p->x);
    free(p->x_scale);
    free(p->bias);
    free(p->start);
    free(p->expected);
    free(p->magnitude);
}

// Tokens [token, token + tokens) alone; y (tokens, rows). multiprocessors: 1 makes blocks add the spans up.
static void run(const struct product *p, int token, int tokens, bool accumulate,
                int multiprocessors, float *y)
{
    size_t rows = (size_t)p->s.rows, bytes = (size_t)tokens * rows * sizeof(float);
    size_t row_bytes = p->ldx * p->element;
    const float *start = p->start + (size_t)token * rows;
    void *w = up(p->packed, cuda_layout_bytes(&p->layout));
    void *x = up((const char *)p->x + (size_t)token * row_bytes, (size_t)tokens * row_bytes);
    float *bias = p->bias ? up(p->bias, rows * sizeof(float)) : NULL;
    float *scale = up(p->x_scale + token, (size_t)tokens * sizeof(float));
    float *out = up(accumulate ? start : NULL, bytes);
    void *partial = up(NULL, cuda_partial_bytes(&p->layout, tokens));
    struct cuda_linear job = {.layout = p->layout,
                              .w = w,
                              .x = x,
                              .bias = bias,
                              .x_scale = scale,
                              .y = out,
                              .partial = partial,
                              .tokens = tokens,
                              .multiprocessors = multiprocessors,
                              .ldx = p->ldx,
                              .ldy = rows,
                              .accumulate = accumulate};
    p->kernel->fn.linear(&job, stream());
    down(y, out, bytes);
    drop(w);
    drop(x);
    drop(bias);
    drop(scale);
    drop(out);
    drop(partial);
}

// A sum of n terms in f32, of which the tensor cores add 16 or more at a time and cut what falls below.
static double allowed(const struct product *p, size_t i)
{
    double terms = p->kernel->w == DT_I8 ? 4 : p->s.cols / 8.0 + 32;
    return terms * 0x1p-23 * (double)p->magnitude[i] + 0x1p-120;
}

static void check_product(const struct cuda_kernel *kernel, int index)
{
    struct product p;
    product_make(&p, kernel, index);
    bool accumulate = index % 3 == 1;
    size_t rows = (size_t)p.s.rows, n = (size_t)p.s.tokens * rows;
    float *y = malloc(n * sizeof *y), *again = malloc(n * sizeof *again);
    if (!accumulate)
        memset(p.start, 0, n * sizeof *p.start);
    expect(&p, accumulate);
    run(&p, 0, p.s.tokens, accumulate, device_info(gpu)->units, y);
    for (size_t i = 0; i < n; i++)
        close_to(kernel->name, index, "y", i, y[i], p.expected[i], allowed(&p, i));
    // The same bits: once more, with spans added up by blocks, and for the last token alone.
    run(&p, 0, p.s.tokens, accumulate, 0, again);
    if (memcmp(y, again, n * sizeof *y) != 0)
        fail_msg("%s, case %d: other bits when blocks add the spans up", kernel->name, index);
    run(&p, p.s.tokens - 1, 1, accumulate, device_info(gpu)->units, again);
    if (memcmp(y + n - rows, again, rows * sizeof *y) != 0)
        fail_msg("%s, case %d: %d tokens give the last other bits than it gets alone", kernel->name,
                 index, p.s.tokens);
    free(y);
    free(again);
    product_free(&p);
}

static void test_products(void **state)
{
    (void)state;
    NEED_GPU();
    size_t count;
    const struct cuda_kernel *table = cuda_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].op != CUOP_LINEAR)
            continue;
        for (int index = 0; index < CASES; index++)
            check_product(&table[i], index);
        print_message("%-28s %d cases\n", table[i].name, CASES);
    }
}

// A NaN among a token's inputs is that token's own.
static void test_neighbours_keep_their_numbers(void **state)
{
    (void)state;
    NEED_GPU();
    const struct cuda_kernel *kernel = cuda_find(CUOP_LINEAR, DT_BF16, DT_BF16);
    const int counts[] = {5, 70};
    for (int i = 0; i < 2; i++) {
        struct product p;
        product_make(&p, kernel, CORNERS + 10);
        product_free(&p);
        product_make(&p, kernel, CORNERS + 10);
        p.s.tokens = p.s.tokens < counts[i] ? p.s.tokens : counts[i];
        size_t rows = (size_t)p.s.rows, n = (size_t)p.s.tokens * rows;
        float *clean = malloc(n * sizeof *clean), *y = malloc(n * sizeof *y);
        run(&p, 0, p.s.tokens, false, 132, clean);
        ((uint16_t *)p.x)[p.ldx + 3] = 0x7fc0; // of token 1
        run(&p, 0, p.s.tokens, false, 132, y);
        for (size_t j = 0; j < n; j++)
            if (j / rows == 1 ? !isnan(y[j]) : memcmp(&y[j], &clean[j], sizeof *y) != 0)
                fail_msg("token %zu, row %zu: %g", j / rows, j % rows, (double)y[j]);
        free(clean);
        free(y);
        product_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_neighbours_keep_their_numbers),
    };
    return cmocka_run_group_tests(tests, gpu_setup, gpu_teardown);
}
