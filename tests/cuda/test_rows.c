// test_rows.c - norms, casts, activations, residuals, caps, embeddings and gathers on a GPU against kernels/ref.
//
// Bounds: f32 arithmetic in another order than ref's, then the rounding of the output type: half a step of a
// 16-bit type, one code of int8.
#include "tests/cuda/gpu.h"

#include "base/fp.h"

enum { CASES = 30 };

static float element(enum dtype type, const void *row, size_t i, const float *scale)
{
    switch (type) {
    case DT_F32:
        return ((const float *)row)[i];
    case DT_BF16:
        return bf16_to_f32(((const uint16_t *)row)[i]);
    case DT_F16:
        return f16_to_f32(((const uint16_t *)row)[i]);
    default:
        return (float)((const int8_t *)row)[i] * *scale;
    }
}

// What an element of value v may be off by, in a row whose largest is `largest`.
static double step_of(enum dtype type, float v, float largest)
{
    double base = 0x1p-18 * fabs((double)v) + 0x1p-20 * (double)largest;
    switch (type) {
    case DT_F32:
        return base;
    case DT_BF16:
        return base + 0x1p-8 * fabs((double)v);
    case DT_F16:
        return base + 0x1p-11 * fabs((double)v) + 0x1p-24;
    default:
        return base + 1.01 * (double)largest / 127;
    }
}

static float largest_of(const float *x, int n)
{
    float largest = 0;
    for (int i = 0; i < n; i++)
        largest = fabsf(x[i]) > largest || isnan(x[i]) ? fabsf(x[i]) : largest;
    return largest;
}

// Rows of the type at `out` against f32 rows; elements from n to padded are zeros.
static void compare_rows(const struct cuda_kernel *k, int index, const unsigned char *out,
                         size_t ldo, const float *scale, float *expected, int rows, int n,
                         int padded)
{
    size_t bytes = (size_t)cuda_element_bytes(k->x);
    for (int r = 0; r < rows; r++) {
        const unsigned char *row = out + (size_t)r * ldo * bytes;
        float *want = expected + (size_t)r * (size_t)n;
        float largest = largest_of(want, n);
        for (int i = 0; k->x == DT_F16 && i < n; i++) // beyond 65504 is infinite
            if (fabsf(want[i]) >= 65520)
                want[i] = f16_to_f32(f16_from_f32(want[i]));
        for (int i = 0; i < padded; i++)
            close_to(k->name, index, "out", (size_t)r * (size_t)padded + (size_t)i,
                     element(k->x, row, (size_t)i, scale + r), i < n ? want[i] : 0,
                     i < n ? step_of(k->x, want[i], largest) : 0);
    }
}

static void check_norm(const struct cuda_kernel *k, int index)
{
    gpu_case(k->name, index);
    int rows = between(1, 9), n = index < 4 ? 1 + 255 * index : between(1, 3000), kind = index % 3;
    int padded = cuda_padded_cols(n);
    size_t ldx = (size_t)(n + index % 4), ldo = (size_t)padded,
           bytes = (size_t)cuda_element_bytes(k->x);
    float *x = values((size_t)rows * ldx, index), *w = values((size_t)n, 0),
          *b = values((size_t)n, 0);
    float *expected = malloc((size_t)rows * (size_t)n * sizeof *expected), *scale = calloc(16, 4);
    int32_t pick[16];
    for (int r = 0; r < rows; r++)
        pick[r] = rows - 1 - r;
    for (int r = 0; r < rows; r++) {
        const float *from = x + (size_t)(index % 2 ? pick[r] : r) * ldx;
        float *to = expected + (size_t)r * (size_t)n;
        if (kind == 0)
            kernel_reference(KOP_RMSNORM, DT_F32, DT_F32)->fn.rmsnorm(to, from, w, n, 1e-5f);
        else if (kind == 1)
            kernel_reference(KOP_LAYERNORM, DT_F32, DT_F32)->fn.layernorm(to, from, w, b, n, 1e-5f);
        else
            memcpy(to, from, (size_t)n * sizeof *to);
    }
    unsigned char *got = malloc((size_t)rows * ldo * bytes);
    struct cuda_norm job = {.x = up(x, (size_t)rows * ldx * 4),
                            .weight = up(w, (size_t)n * 4),
                            .bias = up(b, (size_t)n * 4),
                            .index = up(pick, sizeof pick),
                            .out = up(NULL, (size_t)rows * ldo * bytes),
                            .scale = up(NULL, 64),
                            .rows = rows,
                            .n = n,
                            .padded = padded,
                            .ldx = ldx,
                            .ldo = ldo,
                            .eps = 1e-5f,
                            .centered = kind == 1};
    struct cuda_norm used = job;
    used.bias = kind == 1 ? job.bias : NULL;
    used.weight = kind == 2 ? NULL : job.weight;
    used.index = index % 2 ? job.index : NULL;
    k->fn.norm(&used, stream());
    down(got, job.out, (size_t)rows * ldo * bytes);
    down(scale, job.scale, 64);
    compare_rows(k, index, got, ldo, scale, expected, rows, n, padded);
    void *all[] = {
        (void *)job.x, (void *)job.weight, (void *)job.bias, (void *)job.index, job.out, job.scale,
        NULL};
    for (int i = 0; i < 6; i++)
        drop(all[i]);
    free(x);
    free(w);
    free(b);
    free(expected);
    free(scale);
    free(got);
}

static void check_activate(const struct cuda_kernel *k, int index)
{
    static const enum kernel_op ops[] = {KOP_SWIGLU, KOP_GELU, KOP_GELU_TANH, KOP_RELU};
    gpu_case(k->name, index);
    enum kernel_op op = ops[index % 4];
    int rows = between(1, 5), n = index < 4 ? 1 + 255 * index : between(1, 3000);
    int padded = cuda_padded_cols(n);
    bool gated = index % 8 < 4;
    size_t ldx = 2 * (size_t)n, ldo = (size_t)padded, bytes = (size_t)cuda_element_bytes(k->x);
    float *x = values((size_t)rows * ldx, index), *scale = calloc(16, 4);
    float *expected = malloc((size_t)rows * (size_t)n * sizeof *expected);
    for (int r = 0; r < rows; r++) {
        float *gate = x + (size_t)r * ldx, *to = expected + (size_t)r * (size_t)n;
        for (int i = 0; i < n; i++) // where activations bend
            gate[i] *= 8;
        kernel_reference(op, DT_F32, DT_F32)->fn.activate(to, gate, gated ? gate + n : NULL, n);
    }
    unsigned char *got = malloc((size_t)rows * ldo * bytes);
    float *in = up(x, (size_t)rows * ldx * 4), *scales = up(NULL, 64);
    void *out = up(NULL, (size_t)rows * ldo * bytes);
    struct cuda_activate job = {.op = op,
                                .gate = gated ? in : NULL,
                                .up = gated ? in + n : in,
                                .out = out,
                                .scale = scales,
                                .rows = rows,
                                .n = n,
                                .padded = padded,
                                .ldx = ldx,
                                .ldo = ldo};
    k->fn.activate(&job, stream());
    down(got, out, (size_t)rows * ldo * bytes);
    down(scale, scales, 64);
    compare_rows(k, index, got, ldo, scale, expected, rows, n, padded);
    drop(in);
    drop(scales);
    drop(out);
    free(x);
    free(scale);
    free(expected);
    free(got);
}

static void test_norms_and_activations(void **state)
{
    (void)state;
    NEED_GPU();
    size_t count;
    const struct cuda_kernel *table = cuda_table(&count);
    for (size_t i = 0; i < count; i++)
        for (int index = 0; index < CASES; index++) {
            if (table[i].op == CUOP_NORM)
                check_norm(&table[i], index);
            if (table[i].op == CUOP_ACTIVATE)
                check_activate(&table[i], index);
        }
}

static void test_int8_rows_that_are_not_finite(void **state)
{
    (void)state;
    NEED_GPU();
    float x[3][256] = {{0}}, scale[3];
    x[1][7] = NAN;
    x[2][9] = INFINITY;
    int8_t codes[3][256];
    float *in = up(x, sizeof x), *scales = up(NULL, sizeof scale);
    void *out = up(NULL, sizeof codes);
    struct cuda_norm job = {.x = in,
                            .out = out,
                            .scale = scales,
                            .rows = 3,
                            .n = 256,
                            .padded = 256,
                            .ldx = 256,
                            .ldo = 256};
    cuda_find(CUOP_NORM, DT_F32, DT_I8)->fn.norm(&job, stream());
    down(codes, out, sizeof codes);
    down(scale, scales, sizeof scale);
    assert_true(scale[0] == 0);
    assert_true(isnan(scale[1]) && isnan(scale[2]));
    for (int i = 0; i < 3 * 256; i++)
        assert_int_equal(codes[i / 256][i % 256], 0);
    drop(in);
    drop(scales);
    drop(out);
}

// Rows and their scales come in the order of `pick`. x, scales, index: on the GPU.
static void check_gather(void *dx, void *ds, void *di, int rows, int n, const int32_t *pick,
                         const float *share)
{
    size_t bytes = (size_t)rows * (size_t)n * 4;
    void *out = up(NULL, bytes), *os = up(NULL, 32);
    struct cuda_gather gather = {.out = out,
                                 .x = dx,
                                 .out_scale = os,
                                 .scale = ds,
                                 .index = di,
                                 .rows = rows,
                                 .bytes = (size_t)n * 4};
    float *from = malloc(bytes), *got = malloc(bytes), scales[8];
    cuda_find(CUOP_GATHER, DT_F32, DT_F32)->fn.gather(&gather, stream());
    down(from, dx, bytes);
    down(got, out, bytes);
    down(scales, os, (size_t)rows * 4);
    for (int r = 0; r < rows; r++) {
        assert_memory_equal(got + (size_t)r * (size_t)n, from + (size_t)pick[r] * (size_t)n,
                            (size_t)n * 4);
        assert_memory_equal(&scales[r], &share[pick[r]], 4);
    }
    drop(out);
    drop(os);
    free(from);
    free(got);
}

static void test_add_softcap_gather(void **state)
{
    (void)state;
    NEED_GPU();
    for (int index = 0; index < CASES; index++) {
        gpu_case("add", index);
        int rows = between(1, 7), n = between(1, 700);
        size_t floats = (size_t)rows * (size_t)n, bytes = floats * 4;
        float *x = values(floats, index), *y = values(floats, index), *share = values(8, 0);
        float *got = malloc(bytes);
        int32_t pick[8];
        for (int r = 0; r < rows; r++)
            pick[r] = (r + 1) % rows;
        void *dx = up(x, bytes), *dy = up(y, bytes), *ds = up(share, 32), *di = up(pick, 32);
        struct cuda_add add = {.x = dx,
                               .y = dy,
                               .share = index % 2 ? ds : NULL,
                               .index = index % 3 ? di : NULL,
                               .rows = rows,
                               .n = n,
                               .ldx = (size_t)n,
                               .ldy = (size_t)n};
        cuda_find(CUOP_ADD, DT_F32, DT_F32)->fn.add(&add, stream());
        down(got, dx, bytes);
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < n; i++) {
                size_t to = (size_t)(index % 3 ? pick[r] : r) * (size_t)n + (size_t)i;
                float v = y[(size_t)r * (size_t)n + (size_t)i] * (index % 2 ? share[r] : 1);
                close_to("add", index, "x", to, got[to], x[to] + v,
                         0x1p-22 * (fabs((double)x[to]) + fabs((double)v)));
            }
        struct cuda_softcap cap = {.y = dy, .n = floats, .cap = 3};
        cuda_find(CUOP_SOFTCAP, DT_F32, DT_F32)->fn.softcap(&cap, stream());
        down(got, dy, bytes);
        for (size_t i = 0; i < floats; i++)
            close_to("softcap", index, "y", i, got[i], (float)(3 * tanh((double)y[i] / 3)),
                     3 * 0x1p-20);
        check_gather(dx, ds, di, rows, n, pick, share);
        void *all[] = {dx, dy, ds, di};
        for (int i = 0; i < 4; i++)
            drop(all[i]);
        free(x);
        free(y);
        free(share);
        free(got);
    }
}

// Rows of a packed matrix come back as the host unpacks them.
static void test_embedding_of_a_packed_head(void **state)
{
    (void)state;
    NEED_GPU();
    static const enum dtype types[] = {DT_F32, DT_BF16, DT_F16, DT_I8, DT_F8E4M3, DT_I4};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        gpu_case("embed", (int)i);
        enum { ROWS = 37, COLS = 300, TOKENS = 5 };
        struct cuda_layout layout;
        assert_true(cuda_layout_plan(types[i], ROWS, COLS, 32, &layout));
        unsigned char *packed = calloc(1, cuda_layout_bytes(&layout));
        float row[COLS], got[TOKENS][COLS];
        for (size_t j = 0; j < cuda_layout_bytes(&layout); j++)
            packed[j] =
                (unsigned char)(rng_u64(&gpu_rng) & 0x3b); // any bits that are finite in every type
        int32_t ids[TOKENS] = {0, 36, 15, 16, 7};
        struct cuda_token tokens[TOKENS] = {{0, 0}};
        void *table = up(packed, cuda_layout_bytes(&layout)), *out = up(NULL, sizeof got);
        void *di = up(ids, sizeof ids), *dt = up(tokens, sizeof tokens);
        struct cuda_embed job = {.x = out,
                                 .table = table,
                                 .ids = di,
                                 .tokens = dt,
                                 .layout = layout,
                                 .packed = true,
                                 .type = types[i],
                                 .rows = TOKENS,
                                 .n = COLS,
                                 .ldx = COLS,
                                 .scale = 2};
        cuda_find(CUOP_EMBED, DT_F32, DT_F32)->fn.embed(&job, stream());
        down(got, out, sizeof got);
        for (int t = 0; t < TOKENS; t++) {
            cuda_unpack_row(&layout, packed, ids[t], row);
            for (int c = 0; c < COLS; c++)
                close_to("embed", (int)i, "x", (size_t)c, got[t][c], 2 * row[c],
                         0x1p-22 * fabs((double)row[c]));
        }
        drop(table);
        drop(out);
        drop(di);
        drop(dt);
        free(packed);
    }
}

static void test_streams(void **state)
{
    (void)state;
    NEED_GPU();
    size_t bytes = (1 << 22) + 16 * 37;
    uint32_t *a = malloc(bytes), *got = malloc(bytes), sink = 0, all = 0;
    gpu_case("stream", 0);
    for (size_t i = 0; i < bytes / 4; i++)
        all ^= a[i] = (uint32_t)rng_u64(&gpu_rng) & 0xbfffffffu;
    void *da = up(a, bytes), *dd = up(NULL, bytes), *ds = up(&sink, 4);
    struct cuda_stream job = {.dst = dd,
                              .a = da,
                              .b = da,
                              .bytes = bytes,
                              .sink = ds,
                              .multiprocessors = device_info(gpu)->units};
    cuda_find(CUOP_READ, DT_F32, DT_F32)->fn.stream(&job, stream());
    down(&sink, ds, 4);
    assert_int_equal(sink, all);
    cuda_find(CUOP_COPY, DT_F32, DT_F32)->fn.stream(&job, stream());
    down(got, dd, bytes);
    assert_memory_equal(got, a, bytes);
    cuda_find(CUOP_TRIAD, DT_F32, DT_F32)->fn.stream(&job, stream());
    down(got, dd, bytes);
    for (size_t i = 0; i < bytes / 4; i++)
        close_to("triad", 0, "dst", i, ((float *)got)[i], 4 * ((float *)a)[i],
                 0x1p-22 * fabs((double)((float *)a)[i]));
    drop(da);
    drop(dd);
    drop(ds);
    free(a);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms_and_activations),
        cmocka_unit_test(test_int8_rows_that_are_not_finite),
        cmocka_unit_test(test_add_softcap_gather),
        cmocka_unit_test(test_embedding_of_a_packed_head),
        cmocka_unit_test(test_streams),
    };
    return cmocka_run_group_tests(tests, gpu_setup, gpu_teardown);
}
