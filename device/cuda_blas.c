// cuda_blas.c - measures the tensor cores with NVIDIA's own products: cuBLASLt, opened at run time.
//
// The library is opened when the first of its probes runs. Each algorithm that it proposes for a product is tried once,
// and the fastest is kept.
#include "device/cuda_cublaslt.h"

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

static const struct product {
    const char *name;
    struct cublaslt_shape shape; // of dense arrays: without lda, ldb and ldd
    size_t a, b;                 // offsets of the operands
} products[CUDA_BLAS_TYPES] = {
    [CUDA_BLAS_BF16] = {"bf16",
                        {BLAS_R_16BF, BLAS_R_16BF, BLAS_COMPUTE_32F, BLAS_R_32F, 8192, 8192, 8192},
                        WIDE,
                        WIDE + HALF},
    [CUDA_BLAS_FP8] = {"fp8",
                       {BLAS_R_8F_E4M3, BLAS_R_16BF, BLAS_COMPUTE_32F, BLAS_R_32F, 8192, 8192,
                        8192},
                       FP8,
                       FP8 + HALF / 2},
    [CUDA_BLAS_INT8] = {"int8",
                        {BLAS_R_8I, BLAS_R_32I, BLAS_COMPUTE_32I, BLAS_R_32I, 8192, 4096, 8192},
                        WIDE,
                        WIDE + HALF},
    [CUDA_BLAS_TF32] = {"tf32",
                        {BLAS_R_32F, BLAS_R_32F, BLAS_COMPUTE_TF32, BLAS_R_32F, 4096, 4096, 8192},
                        WIDE,
                        WIDE + HALF},
};

struct plan {
    const struct product *product; // NULL: not chosen yet
    struct cublaslt_product of_library;
    struct cublaslt_algorithm algorithm;
};

struct cuda_blas {
    const struct cuda_cublaslt *library;
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
                    const struct cublaslt_algorithm *algorithm)
{
    char *memory = (char *)(uintptr_t)cuda->blas->memory;
    const struct cublaslt_run run = {
        .product = &plan->of_library,
        .algorithm = algorithm,
        .a = memory + plan->product->a,
        .b = memory + plan->product->b,
        .d = memory + RESULT,
        .workspace = memory + WORKSPACE,
        .workspace_bytes = WORKSPACE_BYTES,
        .stream = cuda->stream,
    };
    return cuda_cublaslt_multiply(cuda->blas->library, cuda->blas->handle, &run);
}

// Measures the ns of one product.
static enum status timed(struct cuda_device *cuda, const struct plan *plan,
                         const struct cublaslt_algorithm *algorithm, int times, double *ns,
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

// Keeps the fastest of the algorithms that the library proposes. An algorithm that it then refuses is skipped.
static enum status choose(struct cuda_device *cuda, struct plan *plan, struct error *err)
{
    struct cublaslt_heuristic found[ALGORITHMS];
    int count = 0, usable = 0;
    double best_ns = 0;
    const struct cuda_blas *b = cuda->blas;
    struct cublaslt_shape shape = plan->product->shape;
    shape.lda = shape.ldb = shape.k;
    shape.ldd = shape.m;
    int code = cuda_cublaslt_product_init(b->library, &shape, &plan->of_library);
    if (!code)
        code = cuda_cublaslt_propose(b->library, b->handle, &plan->of_library, WORKSPACE_BYTES, 0,
                                     found, ALGORITHMS, &count);
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

static void plan_fini(const struct cuda_cublaslt *library, struct plan *plan)
{
    cuda_cublaslt_product_fini(library, &plan->of_library);
    *plan = (struct plan){0};
}

void cuda_blas_fini(struct cuda_device *cuda)
{
    struct cuda_blas *b = cuda->blas;
    if (!b)
        return;
    for (int i = 0; i < CUDA_BLAS_TYPES; i++)
        plan_fini(b->library, &b->plan[i]);
    if (b->handle)
        b->library->Destroy(b->handle);
    if (b->memory)
        cuda->driver->MemFree(b->memory);
    free(b);
    cuda->blas = NULL;
}

static enum status blas_init(struct cuda_device *cuda, struct error *err)
{
    const char *name = cuda->device.info.name;
    char reason[128];
    if (cuda->blas)
        return OK;
    const struct cuda_cublaslt *library = cuda_cublaslt_get(reason, sizeof reason);
    if (!library)
        return FAIL(err, ERR_UNSUPPORTED, "peaks are those of this program's own loops: %s",
                    reason);
    cuda->blas = calloc(1, sizeof *cuda->blas);
    if (!cuda->blas)
        return FAIL(err, ERR_NOMEM, "device %s: no memory for its probes", name);
    cuda->blas->library = library;
    if (library->Create(&cuda->blas->handle) != 0) {
        cuda->blas->handle = NULL;
        FAIL(err, ERR_UNSUPPORTED, "device %s: cuBLASLt does not start", name);
    } else if (cuda_check(cuda, cuda->driver->MemAlloc(&cuda->blas->memory, ALL_BYTES),
                          "memory for its probes", err) != OK) {
        cuda->blas->memory = 0;
        if (err->code == ERR_NOMEM) { // the ceilings go on without them
            error_clear(err);
            FAIL(err, ERR_UNSUPPORTED,
                 "peaks are those of this program's own loops: device %s has no %d MiB free for "
                 "cuBLASLt's products",
                 name, ALL_BYTES >> 20);
        }
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
            plan_fini(cuda->blas->library, plan);
            return err->code;
        }
    }
    TRY(timed(cuda, plan, &plan->algorithm, 2, &ns, err));
    *rate = 2.0 * (double)p->shape.m * (double)p->shape.n * (double)p->shape.k / ns * 1e9;
    return OK;
}
