// test_library.c - products by cuBLASLt on a GPU, alone and in whole models.
//
// Random data at tail shapes are compared with sums in double. Logits are compared with the golden data and with those
// of this program's own products. Every run must have the same bits.
// The test is skipped where there is no GPU or no cuBLASLt.
#include "tests/cuda/gpu.h"

#include "base/fp.h"
#include "engine/model/model.h"
#include "kernels/cuda/library.h"
#include "kernels/quant.h"
#include "tests/engine/golden.h"

static struct cuda_products *library;
static void *workspace;

static int library_setup(void **state)
{
    struct error err = {0};
    if (gpu_setup(state) != 0)
        return -1;
    if (gpu && cuda_products_create(gpu, &library, &err) != OK)
        print_message("skipped: %s\n", err.message);
    if (library) {
        print_message("%s\n", cuda_products_version(library));
        workspace = device_alloc(gpu, CUDA_PRODUCTS_WORKSPACE);
    }
    return 0;
}

static int library_teardown(void **state)
{
    if (gpu)
        device_free(gpu, workspace);
    cuda_products_destroy(library);
    return gpu_teardown(state);
}

#define NEED_LIBRARY()                                                                             \
    do {                                                                                           \
        if (!library)                                                                              \
            skip();                                                                                \
    } while (0)

// ---- products alone --------------------------------------------------------------------------------------

static const struct {
    const char *name;
    enum dtype type;
    enum cuda_product_type product;
    bool scaled; // by the library
} kinds[] = {
    {"bf16", DT_BF16, CUDA_PRODUCT_BF16, false}, {"f16", DT_F16, CUDA_PRODUCT_F16, false},
    {"fp8", DT_F8E4M3, CUDA_PRODUCT_F8, false},  {"fp8 scaled", DT_F8E4M3, CUDA_PRODUCT_F8, true},
    {"int8", DT_I8, CUDA_PRODUCT_I8, false},
};

// A matrix on the host and on the device: packed, unpacked into plain rows, and its values as f32.
struct matrix {
    struct cuda_layout layout;
    float *values, *scales; // (rows, cols), (rows)
    void *packed, *plain, *plain_scale;
};

static struct matrix matrix_make(enum dtype type, int rows, int cols)
{
    struct matrix m = {0};
    size_t n = (size_t)cols;
    float *from = values((size_t)rows * n, 0);
    assert_true(cuda_layout_plan(type, rows, cols, 0, &m.layout));
    unsigned char *packed = malloc(cuda_layout_bytes(&m.layout));
    uint8_t *codes = malloc(CUDA_TILE_ROWS * n);
    m.values = malloc((size_t)rows * n * sizeof(float));
    m.scales = calloc((size_t)rows, sizeof(float));
    for (int row0 = 0; row0 < rows; row0 += CUDA_TILE_ROWS) {
        int count = rows - row0 < CUDA_TILE_ROWS ? rows - row0 : CUDA_TILE_ROWS;
        unsigned char *tile = packed + (size_t)(row0 / CUDA_TILE_ROWS) * m.layout.tile_bytes;
        struct quant_row row[CUDA_TILE_ROWS];
        for (int r = 0; r < count && dtype_is_quantized(type); r++) {
            row[r] = (struct quant_row){codes + (size_t)r * n, m.scales + row0 + r, NULL};
            quant_row_rtn(type, from + (size_t)(row0 + r) * n, cols, 0, row[r]);
        }
        if (dtype_is_quantized(type))
            cuda_pack_codes(&m.layout, row, count, 0, tile);
        else
            cuda_pack_plain(&m.layout, from + (size_t)row0 * n, count, n, tile);
    }
    float *line = malloc((size_t)m.layout.units * CUDA_UNIT_COLS * sizeof *line);
    for (int r = 0; r < rows; r++) {
        cuda_unpack_row(&m.layout, packed, r, line);
        memcpy(m.values + (size_t)r * n, line, n * sizeof *line);
    }
    m.packed = up(packed, cuda_layout_bytes(&m.layout));
    m.plain = up(NULL, (size_t)rows * n * (size_t)cuda_element_bytes(type));
    m.plain_scale = up(NULL, (size_t)rows * sizeof(float));
    struct cuda_unpack job = {.layout = m.layout,
                              .w = m.packed,
                              .rows = m.plain,
                              .scales = dtype_is_quantized(type) ? m.plain_scale : NULL,
                              .ld = n};
    cuda_library_kernels()->unpack(&job, stream());
    free(line);
    free(from);
    free(packed);
    free(codes);
    return m;
}

static void matrix_drop(struct matrix *m)
{
    drop(m->packed);
    drop(m->plain);
    drop(m->plain_scale);
    free(m->values);
    free(m->scales);
}

// Inputs in plain rows on the device, and as f32.
struct inputs {
    float *values, *scales;
    void *x, *x_scale;
};

// The norm kernel casts rows, as it does for the engine: weight NULL, order of plain rows.
static struct inputs inputs_make(enum dtype type, int tokens, int cols, void *x, void *x_scale)
{
    size_t n = (size_t)tokens * (size_t)cols, element = (size_t)cuda_element_bytes(type);
    struct inputs in = {values(n, 0), calloc((size_t)tokens, sizeof(float)), x, x_scale};
    float *from = up(in.values, n * sizeof(float));
    struct cuda_norm job = {.x = from,
                            .out = x,
                            .scale = x_scale,
                            .order = CUDA_ROWS,
                            .rows = tokens,
                            .n = cols,
                            .padded = cols,
                            .ldx = (size_t)cols,
                            .ldo = (size_t)cols};
    gpu_launcher(KOP_NORM, DT_F32, type).norm(&job, stream());
    unsigned char *codes = malloc(n * element);
    down(codes, x, n * element);
    if (dtype_is_quantized(type))
        down(in.scales, x_scale, (size_t)tokens * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, codes + i * element, element == 2 ? 2 : 0);
        in.values[i] = type == DT_BF16  ? bf16_to_f32(half)
                       : type == DT_F16 ? f16_to_f32(half)
                       : type == DT_I8  ? (float)(int8_t)codes[i] * in.scales[i / (size_t)cols]
                                        : f8e4m3_to_f32(codes[i]) * in.scales[i / (size_t)cols];
    }
    free(codes);
    drop(from);
    return in;
}

struct shape {
    int rows, cols, tokens;
};

// One product y = W x + bias (+ y), with its arrays on both sides.
struct product {
    size_t kind;
    struct shape s;
    int index;
    bool accumulate, raw; // raw: the library does not scale the sums of codes
    size_t n;             // sums
    struct matrix w;
    float *bias, *before, *y, *again;          // (rows); the others (tokens, rows)
    void *x, *x_scale, *y_at, *sums, *bias_at; // on the device
    struct cuda_product job;
};

static int refused; // shapes for which the library has no algorithm

static struct product product_make(size_t kind, struct shape s, int index)
{
    const enum dtype type = kinds[kind].type;
    size_t rows = (size_t)s.rows, cols = (size_t)s.cols, n = rows * (size_t)s.tokens;
    gpu_case(kinds[kind].name, index);
    struct product p = {.kind = kind,
                        .s = s,
                        .index = index,
                        .accumulate = index % 2,
                        .raw = dtype_is_quantized(type) && !kinds[kind].scaled,
                        .n = n,
                        .w = matrix_make(type, s.rows, s.cols),
                        .bias = values(rows, 0),
                        .before = values(n, 0),
                        .y = malloc(n * sizeof(float)),
                        .again = malloc(n * sizeof(float)),
                        .x = up(NULL, (size_t)s.tokens * cols * (size_t)cuda_element_bytes(type)),
                        .x_scale = up(NULL, (size_t)s.tokens * sizeof(float)),
                        .y_at = up(NULL, n * sizeof(float)),
                        .sums = up(NULL, n * sizeof(float))};
    p.bias_at = up(p.bias, rows * sizeof *p.bias);
    p.job = (struct cuda_product){.type = kinds[kind].product,
                                  .rows = s.rows,
                                  .cols = s.cols,
                                  .tokens = s.tokens,
                                  .ldw = cols,
                                  .ldx = cols,
                                  .ldd = rows,
                                  .add = !p.raw,
                                  .w = p.w.plain,
                                  .x = p.x,
                                  .w_scale = kinds[kind].scaled ? p.w.plain_scale : NULL,
                                  .x_scale = kinds[kind].scaled ? p.x_scale : NULL,
                                  .d = p.raw ? p.sums : p.y_at};
    return p;
}

static void product_drop(struct product *p)
{
    void *memory[] = {p->x, p->x_scale, p->y_at, p->sums, p->bias_at};
    float *host[] = {p->bias, p->before, p->y, p->again};
    matrix_drop(&p->w);
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        drop(memory[i]);
    for (size_t i = 0; i < sizeof host / sizeof *host; i++)
        free(host[i]);
}

// Runs the product as the engine does, and reads y.
static void product_run(const struct product *p, float *y)
{
    struct error err = {0};
    struct cuda_finish finish = {.bias = p->bias_at,
                                 .y = p->y_at,
                                 .tokens = p->s.tokens,
                                 .rows = p->s.rows,
                                 .lds = (size_t)p->s.rows,
                                 .ldy = (size_t)p->s.rows,
                                 .accumulate = p->accumulate};
    gpu_ok(device_copy_in(gpu, p->y_at, p->before, p->n * sizeof *y, &err), &err);
    if (!p->raw)
        cuda_library_kernels()->finish(&finish, stream());
    gpu_ok(cuda_products_run(library, queue, &p->job, workspace, &err), &err);
    if (p->raw) {
        finish.sums = p->sums;
        finish.x_scale = p->x_scale;
        finish.w_scale = p->w.plain_scale;
        finish.whole = kinds[p->kind].type == DT_I8;
        cuda_library_kernels()->finish(&finish, stream());
    }
    down(y, p->y_at, p->n * sizeof *y);
}

static void check_sums(const struct product *p, const float *inputs)
{
    // fp8 sums of the tensor cores keep about 14 bits within 128 inputs
    const double unit = kinds[p->kind].type == DT_F8E4M3 ? 0x1p-12 : 0x1p-20;
    const size_t rows = (size_t)p->s.rows, cols = (size_t)p->s.cols;
    for (size_t i = 0; i < p->n; i++) {
        const float *a = p->w.values + i % rows * cols, *b = inputs + i / rows * cols;
        double sum = p->bias[i % rows] + (p->accumulate ? (double)p->before[i] : 0);
        double all = fabs(sum);
        for (size_t c = 0; c < cols; c++) {
            sum += (double)a[c] * b[c];
            all += fabs((double)a[c] * b[c]);
        }
        close_to(kinds[p->kind].name, p->index, "y", i, p->y[i], (float)sum, all * unit + 1e-30);
    }
}

static void check_product(size_t kind, struct shape s, int index)
{
    struct error err = {0};
    struct product p = product_make(kind, s, index);
    gpu_ok(device_queue_wait(queue, &err), &err);
    if (cuda_products_plan(library, &p.job, workspace, &err) != OK) {
        refused += !kinds[kind].scaled; // a product that it does not scale is scaled here
        print_message("%s\n", err.message);
        product_drop(&p);
        return;
    }
    struct inputs in = inputs_make(kinds[kind].type, s.tokens, s.cols, p.x, p.x_scale);
    product_run(&p, p.y);
    product_run(&p, p.again);
    assert_memory_equal(p.y, p.again, p.n * sizeof *p.y);
    check_sums(&p, in.values);
    free(in.values);
    free(in.scales);
    product_drop(&p);
}

static void test_products(void **state)
{
    (void)state;
    NEED_LIBRARY();
    static const struct shape shapes[] = {
        {16, 16, 17}, {48, 272, 33}, {272, 1040, 129}, {1040, 336, 77}, {528, 4096, 250}};
    char picks[4096];
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            check_product(kind, shapes[i], (int)i);
    cuda_products_picks(library, picks, sizeof picks);
    print_message("%s\n", picks);
    assert_int_equal(refused, 0);
}

// ---- whole models ----------------------------------------------------------------------------------------

static bool model_served(const char *path, const char *scheme)
{
    struct error err = {0};
    struct checkpoint *ck = NULL;
    struct scheme row = *scheme_find(scheme);
    row.products = PRODUCTS_CUBLASLT;
    expect_ok(checkpoint_open(path, &ck, &err), &err, path);
    bool served = !scheme_products_refused(&row, checkpoint_config(ck));
    checkpoint_destroy(ck);
    return served;
}

// The bound of bf16 in tests/engine/test_golden.c.
static void test_golden_logits(void **state)
{
    (void)state;
    NEED_LIBRARY();
    int served = 0;
    for (size_t m = 0; m < sizeof golden_models / sizeof *golden_models; m++) {
        char path[256];
        double worst = 0;
        snprintf(path, sizeof path, MODELS "%s/config.json", golden_models[m]);
        snprintf(path, sizeof path, file_exists(path) ? MODELS "%s" : MODELS "%s/model.gguf",
                 golden_models[m]);
        if (!model_served(path, "bf16"))
            continue;
        struct golden g = golden_open(golden_models[m]);
        fixture_products = PRODUCTS_CUBLASLT;
        struct model *model = load(path, "bf16", gpu);
        fixture_products = PRODUCTS_OWN;
        for (uint32_t i = 0; i < g.count; i++) {
            double d = case_difference(model, &g.cases[i], g.vocab, 1000);
            worst = isnan(d) ? INFINITY : fmax(worst, d);
            served += g.cases[i].prompt > CUDA_FEW_TOKENS;
        }
        print_message("%-18s bf16 by the library %.2e\n", golden_models[m], worst);
        model_destroy(model);
        file_unmap(&g.map);
        if (!(worst <= 0.04))
            fail_msg("%s: %g of the largest logit, bound 0.04", path, worst);
    }
    print_message("%d prompts were multiplied by the library\n", served);
    assert_true(served > 0);
}

enum { PROMPT = 150 };

// The logits of every token of a prompt, in chunks.
static float *prompt_logits(struct model *model, int chunk)
{
    const int vocab = model_config(model)->vocab;
    int32_t tokens[PROMPT];
    float *all = malloc((size_t)PROMPT * (size_t)vocab * sizeof *all);
    struct context *ctx = context_of(
        model,
        (struct context_options){
            .batch = 1, .positions = PROMPT, .chunk = chunk, .kv = DT_BF16, .logit_rows = chunk});
    for (int i = 0; i < PROMPT; i++)
        tokens[i] = (int32_t)(rng_hash((uint64_t)i) % (uint64_t)vocab);
    for (int at = 0; at < PROMPT; at += chunk) {
        int count = PROMPT - at < chunk ? PROMPT - at : chunk;
        memcpy(all + (size_t)at * (size_t)vocab, step(ctx, 0, tokens + at, count, LOGITS_ALL),
               (size_t)count * (size_t)vocab * sizeof *all);
    }
    const char *products = context_products(ctx);
    if (chunk == PROMPT && products)
        print_message("%s\n", products);
    context_destroy(ctx);
    return all;
}

static double rms_difference(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum / (double)n);
}

// Against this program's own products: no further from the f32 model than they are. int8 has their bits, whatever the
// cut.
static void test_own_and_library(void **state)
{
    (void)state;
    NEED_LIBRARY();
    static const char *const schemes[] = {"bf16", "f16", "fp8-w8a8", "int8"};
    struct model *f32 = load("models/reference", "f32", gpu);
    float *exact = prompt_logits(f32, PROMPT);
    model_destroy(f32);
    for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++) {
        struct model *own = load("models/reference", schemes[s], gpu);
        fixture_products = PRODUCTS_CUBLASLT;
        struct model *other = load("models/reference", schemes[s], gpu);
        fixture_products = PRODUCTS_OWN;
        size_t n = (size_t)PROMPT * (size_t)model_config(own)->vocab;
        float *a = prompt_logits(own, PROMPT), *b = prompt_logits(other, PROMPT);
        float *again = prompt_logits(other, PROMPT), *cut = prompt_logits(other, 64);
        double d = largest_difference(a, b, n) / largest_magnitude(a, n);
        double rms[] = {rms_difference(exact, a, n), rms_difference(exact, b, n)};
        double of_cut = largest_difference(b, cut, n) / largest_magnitude(a, n);
        print_message("%-9s %.2e of the largest logit between own and library, %.2e between two "
                      "cuts; rms from f32 %.2e and %.2e%s\n",
                      schemes[s], d, of_cut, rms[0], rms[1],
                      memcmp(b, cut, n * sizeof *a) ? "" : " (same bits)");
        assert_memory_equal(b, again, n * sizeof *a);
        assert_true(rms[1] <= 1.2 * rms[0]);
        if (strcmp(schemes[s], "int8") == 0) {
            assert_memory_equal(a, b, n * sizeof *a);
            assert_memory_equal(a, cut, n * sizeof *a);
        }
        float *sets[] = {a, b, again, cut};
        for (int i = 0; i < 4; i++)
            free(sets[i]);
        model_destroy(own);
        model_destroy(other);
    }
    free(exact);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_golden_logits),
        cmocka_unit_test(test_own_and_library),
    };
    return cmocka_run_group_tests(tests, library_setup, library_teardown);
}
