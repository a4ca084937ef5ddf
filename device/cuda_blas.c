// cuda_blas.c - measures the tensor cores with NVIDIA's own products: cuBLASLt, opened at run time.
//
// Building and starting need neither the library nor its headers. It is opened when the first of its probes runs, and
// stays open. Each algorithm that it proposes for a product is tried once, and the fastest is kept.
// Source: cuBLASLt API reference, 12 and 13.
#include "device/cuda_driver.h"

#include <stdio.h>
#include <stdlib.h>

enum { ALGORITHMS = 8, WORKSPACE_BYTES = 32 << 20 };
// Offsets of operands and results in the memory of the probes.
enum {
    HALF = 128 << 20, // one operand of 8192 x 8192 in bf16
    WIDE = 0,
    FP8 = 2 * HALF,
    RESULT = 3 * HALF,
    WORKSPACE = 4 * HALF,
    ALL_BYTES = WORKSPACE + WORKSPACE_BYTES,
};

// Values of the library's enumerations.
enum { OPERATION_T = 1, DESC_TRANSA = 3, PREFERENCE_WORKSPACE = 1 };
enum { COMPUTE_32F = 68, COMPUTE_32I = 72, COMPUTE_TF32 = 77 };
enum { R_32F = 0, R_8I = 3, R_32I = 10, R_16BF = 14, R_8F_E4M3 = 28 };

struct algorithm {
    uint64_t data[8];
};
struct heuristic {
    struct algorithm algorithm;
    size_t workspace_bytes;
    int state;
    float waves;
    int reserved[4];
};

static struct blas {
    int (*Create)(void **handle);
    int (*Destroy)(void *handle);
    int (*MatmulDescCreate)(void **desc, int compute, int scale_type);
    int (*MatmulDescDestroy)(void *desc);
    int (*MatmulDescSetAttribute)(void *desc, int attribute, const void *value, size_t bytes);
    int (*MatrixLayoutCreate)(void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld);
    int (*MatrixLayoutDestroy)(void *layout);
    int (*PreferenceCreate)(void **preference);
    int (*PreferenceDestroy)(void *preference);
    int (*PreferenceSetAttribute)(void *preference, int attribute, const void *value, size_t bytes);
    int (*AlgoGetHeuristic)(void *handle, void *desc, void *a, void *b, void *c, void *d,
                            void *preference, int asked, struct heuristic *results, int *returned);
    int (*Matmul)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                  const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                  void *d, void *d_layout, const struct algorithm *algorithm, void *workspace,
                  size_t workspace_bytes, void *stream);
} blas;

static const struct cuda_symbol symbols[] = {
    {"cublasLtCreate", offsetof(struct blas, Create)},
    {"cublasLtDestroy", offsetof(struct blas, Destroy)},
    {"cublasLtMatmulDescCreate", offsetof(struct blas, MatmulDescCreate)},
    {"cublasLtMatmulDescDestroy", offsetof(struct blas, MatmulDescDestroy)},
    {"cublasLtMatmulDescSetAttribute", offsetof(struct blas, MatmulDescSetAttribute)},
    {"cublasLtMatrixLayoutCreate", offsetof(struct blas, MatrixLayoutCreate)},
    {"cublasLtMatrixLayoutDestroy", offsetof(struct blas, MatrixLayoutDestroy)},
    {"cublasLtMatmulPreferenceCreate", offsetof(struct blas, PreferenceCreate)},
    {"cublasLtMatmulPreferenceDestroy", offsetof(struct blas, PreferenceDestroy)},
    {"cublasLtMatmulPreferenceSetAttribute", offsetof(struct blas, PreferenceSetAttribute)},
    {"cublasLtMatmulAlgoGetHeuristic", offsetof(struct blas, AlgoGetHeuristic)},
    {"cublasLtMatmul", offsetof(struct blas, Matmul)},
};

// Opens the library on the first call; whether it is open. A failure is not retried.
static bool opened(void)
{
    static const char *const files[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
    static enum { UNTRIED, ABSENT, PRESENT } state;
    const char *missing;
    if (state != UNTRIED)
        return state == PRESENT;
    state = ABSENT;
    for (size_t i = 0; state == ABSENT && i < sizeof files / sizeof *files; i++)
        if (cuda_library_open(files[i], symbols, sizeof symbols / sizeof *symbols, &blas, &missing))
            state = PRESENT;
    return state == PRESENT;
}

// d (m, n) = a^T b, all stored by columns: a (k, m), b (k, n).
static const struct product {
    const char *name;
    int inputs, outputs, compute, scale;
    uint64_t m, n, k;
    size_t a, b; // offsets of the operands
} products[CUDA_BLAS_TYPES] = {
    [CUDA_BLAS_BF16] = {"bf16", R_16BF, R_16BF, COMPUTE_32F, R_32F, 8192, 8192, 8192, WIDE,
                        WIDE + HALF},
    [CUDA_BLAS_FP8] = {"fp8", R_8F_E4M3, R_16BF, COMPUTE_32F, R_32F, 8192, 8192, 8192, FP8,
                       FP8 + HALF / 2},
    [CUDA_BLAS_INT8] = {"int8", R_8I, R_32I, COMPUTE_32I, R_32I, 8192, 4096, 8192, WIDE,
                        WIDE + HALF},
    [CUDA_BLAS_TF32] = {"tf32", R_32F, R_32F, COMPUTE_TF32, R_32F, 4096, 4096, 8192, WIDE,
                        WIDE + HALF},
};

struct plan {
    const struct product *product; // NULL: not chosen yet
    void *desc, *a, *b, *d, *preference;
    struct algorithm algorithm;
};

struct cuda_blas {
    void *handle;
    cuda_address memory;
    struct plan plan[CUDA_BLAS_TYPES];
};

static enum status refused(const struct cuda_device *cuda, const struct plan *plan, int code,
                           struct error *err)
{
    return FAIL(err, ERR_UNSUPPORTED, "device %s: cuBLASLt refused the %s product with status %d",
                cuda->device.info.name, plan->product->name, code);
}

static int multiply(const struct cuda_device *cuda, const struct plan *plan,
                    const struct algorithm *algorithm)
{
    const struct product *p = plan->product;
    const float one = 1, zero = 0;
    const int32_t whole_one = 1, whole_zero = 0;
    const bool whole = p->scale == R_32I;
    char *memory = (char *)(uintptr_t)cuda->blas->memory;
    return blas.Matmul(cuda->blas->handle, plan->desc, whole ? (const void *)&whole_one : &one,
                       memory + p->a, plan->a, memory + p->b, plan->b,
                       whole ? (const void *)&whole_zero : &zero, memory + RESULT, plan->d,
                       memory + RESULT, plan->d, algorithm, memory + WORKSPACE, WORKSPACE_BYTES,
                       cuda->stream);
}

// Measures the ns of one product.
static enum status timed(struct cuda_device *cuda, const struct plan *plan,
                         const struct algorithm *algorithm, int times, double *ns,
                         struct error *err)
{
    for (int i = 0; i <= times; i++) { // the first run loads the kernel
        if (i == 1)
            TRY(cuda_clock_read(cuda, &cuda->clock[1], err));
        int code = multiply(cuda, plan, algorithm);
        if (code)
            return refused(cuda, plan, code, err);
    }
    TRY(cuda_clock_read(cuda, &cuda->clock[2], err));
    TRY(cuda_check(cuda, cuda->driver->StreamSynchronize(cuda->stream), "cuBLASLt's products",
                   err));
    *ns = (double)(cuda->clock[2] - cuda->clock[1]) / times;
    return OK;
}

static enum status describe(const struct cuda_device *cuda, struct plan *plan, struct error *err)
{
    const struct product *p = plan->product;
    const int transposed = OPERATION_T;
    const size_t workspace = WORKSPACE_BYTES;
    int code = blas.MatmulDescCreate(&plan->desc, p->compute, p->scale);
    if (!code)
        code = blas.MatmulDescSetAttribute(plan->desc, DESC_TRANSA, &transposed, sizeof transposed);
    if (!code)
        code = blas.MatrixLayoutCreate(&plan->a, p->inputs, p->k, p->m, (int64_t)p->k);
    if (!code)
        code = blas.MatrixLayoutCreate(&plan->b, p->inputs, p->k, p->n, (int64_t)p->k);
    if (!code)
        code = blas.MatrixLayoutCreate(&plan->d, p->outputs, p->m, p->n, (int64_t)p->m);
    if (!code)
        code = blas.PreferenceCreate(&plan->preference);
    if (!code)
        code = blas.PreferenceSetAttribute(plan->preference, PREFERENCE_WORKSPACE, &workspace,
                                           sizeof workspace);
    return code ? refused(cuda, plan, code, err) : OK;
}

// Keeps the fastest of the algorithms that the library proposes. An algorithm that it then refuses is skipped.
static enum status choose(struct cuda_device *cuda, struct plan *plan, struct error *err)
{
    struct heuristic found[ALGORITHMS];
    int count = 0, usable = 0;
    double best_ns = 0;
    TRY(describe(cuda, plan, err));
    int code = blas.AlgoGetHeuristic(cuda->blas->handle, plan->desc, plan->a, plan->b, plan->d,
                                     plan->d, plan->preference, ALGORITHMS, found, &count);
    for (int i = 0; !code && i < count; i++) {
        double ns = 0;
        if (found[i].state != 0)
            continue;
        enum status status = timed(cuda, plan, &found[i].algorithm, 1, &ns, err);
        if (status == ERR_UNSUPPORTED) {
            error_clear(err);
            continue;
        }
        TRY(status);
        if (usable++ > 0 && ns >= best_ns)
            continue;
        best_ns = ns;
        plan->algorithm = found[i].algorithm;
    }
    if (code)
        return refused(cuda, plan, code, err);
    if (usable == 0)
        return FAIL(err, ERR_UNSUPPORTED, "device %s: cuBLASLt has no algorithm for the %s product",
                    cuda->device.info.name, plan->product->name);
    return OK;
}

static void plan_fini(struct plan *plan)
{
    if (plan->preference)
        blas.PreferenceDestroy(plan->preference);
    if (plan->desc)
        blas.MatmulDescDestroy(plan->desc);
    void *layouts[] = {plan->a, plan->b, plan->d};
    for (int i = 0; i < 3; i++)
        if (layouts[i])
            blas.MatrixLayoutDestroy(layouts[i]);
    *plan = (struct plan){0};
}

void cuda_blas_fini(struct cuda_device *cuda)
{
    struct cuda_blas *b = cuda->blas;
    if (!b)
        return;
    for (int i = 0; i < CUDA_BLAS_TYPES; i++)
        plan_fini(&b->plan[i]);
    if (b->handle)
        blas.Destroy(b->handle);
    if (b->memory)
        cuda->driver->MemFree(b->memory);
    free(b);
    cuda->blas = NULL;
}

static enum status blas_init(struct cuda_device *cuda, struct error *err)
{
    const char *name = cuda->device.info.name;
    if (cuda->blas)
        return OK;
    if (!opened())
        return FAIL(err, ERR_UNSUPPORTED,
                    "cuBLASLt is not found: peaks are those of this program's own loops");
    cuda->blas = calloc(1, sizeof *cuda->blas);
    if (!cuda->blas)
        return FAIL(err, ERR_NOMEM, "device %s: no memory for its probes", name);
    if (blas.Create(&cuda->blas->handle) != 0) {
        cuda->blas->handle = NULL;
        FAIL(err, ERR_UNSUPPORTED, "device %s: cuBLASLt does not start", name);
    } else if (cuda_check(cuda, cuda->driver->MemAlloc(&cuda->blas->memory, ALL_BYTES),
                          "memory for its probes", err) != OK) {
        cuda->blas->memory = 0;
        if (err->code == ERR_NOMEM)
            FAIL(err, ERR_UNSUPPORTED,
                 "device %s: no %d MiB are free for cuBLASLt's products: peaks are those of this "
                 "program's own loops",
                 name, ALL_BYTES >> 20);
    } else if (cuda_probe_fill(cuda, cuda->blas->memory + WIDE, 2 * HALF, 0xffffffffu, err) == OK) {
        cuda_probe_fill(cuda, cuda->blas->memory + FP8, HALF, 0xbfbfbfbfu, err); // no NaN
    }
    if (err->code)
        cuda_blas_fini(cuda);
    return err->code;
}

enum status cuda_blas_run(struct cuda_device *cuda, enum cuda_blas_type type, double *rate,
                          struct error *err)
{
    const struct product *p = &products[type];
    double ns = 0;
    TRY(blas_init(cuda, err));
    struct plan *plan = &cuda->blas->plan[type];
    if (!plan->product) {
        plan->product = p;
        if (choose(cuda, plan, err) != OK) {
            plan_fini(plan);
            return err->code;
        }
    }
    TRY(timed(cuda, plan, &plan->algorithm, 2, &ns, err));
    *rate = 2.0 * (double)p->m * (double)p->n * (double)p->k / ns * 1e9;
    return OK;
}
