// cuda_products.c - products by cuBLASLt for the engine: a plan for each shape, chosen once and kept.
//
// The library's columns are this program's rows: with A = w transposed and B = x, its D of (rows, tokens) in columns is
// d of (tokens, rows) in rows. Source: cuBLASLt API reference, 12 and 13.
#include "device/cuda_cublaslt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CANDIDATES = 8,
    TIMED = 3,        // products of a candidate, after one that loads its kernel
    SAMPLE_ROWS = 16, // at each end of d, compared between candidates
};

struct plan {
    struct cuda_product shape; // of its pointers only w_scale matters: NULL or not
    struct cublaslt_product product;
    struct cublaslt_algorithm algorithm;
    size_t workspace_bytes;
    int proposed, equal; // candidates, and those with the bits of the first
    bool used;           // since cuda_products_restart
};

struct cuda_products {
    struct cuda_device *cuda; // borrowed
    const struct cuda_cublaslt *library;
    void *handle;
    char version[32];
    struct plan plan[CUDA_PRODUCTS_PLANS];
    size_t made; // so far; the oldest plan is replaced
};

// Types of the library for each type of product.
static const struct {
    const char *name;
    int inputs, outputs, compute, scale;
    int bytes;
    uint32_t mask; // of random inputs
} types[] = {
    [CUDA_PRODUCT_BF16] = {"bf16", BLAS_R_16BF, BLAS_R_32F, BLAS_COMPUTE_32F, BLAS_R_32F, 2, ~0u},
    [CUDA_PRODUCT_F16] = {"f16", BLAS_R_16F, BLAS_R_32F, BLAS_COMPUTE_32F, BLAS_R_32F, 2, ~0u},
    [CUDA_PRODUCT_F8] = {"fp8", BLAS_R_8F_E4M3, BLAS_R_32F, BLAS_COMPUTE_32F, BLAS_R_32F, 1,
                         0xbfbfbfbfu}, // no NaN
    [CUDA_PRODUCT_I8] = {"int8", BLAS_R_8I, BLAS_R_32I, BLAS_COMPUTE_32I, BLAS_R_32I, 1, ~0u},
};

static enum status refused(const struct cuda_products *p, const struct cuda_product *job,
                           const char *what, int code, struct error *err)
{
    return FAIL(err, ERR_UNSUPPORTED,
                "device %s: %s: %s %s product of %d x %d by %d tokens (status %d)",
                p->cuda->device.info.name, p->version, what, types[job->type].name, job->rows,
                job->cols, job->tokens, code);
}

enum status cuda_products_create(struct device *device, struct cuda_products **out,
                                 struct error *err)
{
    char reason[128];
    const struct cuda_cublaslt *library = cuda_cublaslt_get(reason, sizeof reason);
    *out = NULL;
    if (!library)
        return FAIL(err, ERR_UNSUPPORTED, "%s", reason);
    struct cuda_products *p = calloc(1, sizeof *p);
    if (!p)
        return FAIL(err, ERR_NOMEM, "cuBLASLt: %zu bytes", sizeof *p);
    size_t version = library->GetVersion();
    p->cuda = cuda_of(device);
    p->library = library;
    snprintf(p->version, sizeof p->version, "cuBLASLt %zu.%zu.%zu", version / 10000,
             version / 100 % 100, version % 100);
    cuda_enter(p->cuda);
    int code = library->Create(&p->handle);
    if (code) {
        FAIL(err, ERR_UNSUPPORTED, "device %s: %s does not start (status %d)",
             device_info(device)->name, p->version, code);
        free(p);
        return err->code;
    }
    *out = p;
    return OK;
}

static void plan_fini(const struct cuda_cublaslt *library, struct plan *plan)
{
    cuda_cublaslt_product_fini(library, &plan->product);
    *plan = (struct plan){0};
}

void cuda_products_destroy(struct cuda_products *p)
{
    if (!p)
        return;
    cuda_enter(p->cuda);
    for (size_t i = 0; i < CUDA_PRODUCTS_PLANS; i++)
        plan_fini(p->library, &p->plan[i]);
    p->library->Destroy(p->handle);
    free(p);
}

// ---- plans ---------------------------------------------------------------------------------------------

static bool same_shape(const struct cuda_product *a, const struct cuda_product *b)
{
    return a->type == b->type && a->rows == b->rows && a->cols == b->cols &&
           a->tokens == b->tokens && a->ldw == b->ldw && a->ldx == b->ldx && a->ldd == b->ldd &&
           a->add == b->add && !a->w_scale == !b->w_scale;
}

// The place of a shape's plan; CUDA_PRODUCTS_PLANS: there is none.
static size_t plan_find(const struct cuda_products *p, const struct cuda_product *job)
{
    size_t i = 0;
    while (i < CUDA_PRODUCTS_PLANS &&
           !(p->plan[i].product.desc && same_shape(&p->plan[i].shape, job)))
        i++;
    return i;
}

// Where a product's scales are. The library refuses to propose an algorithm without them.
static int set_scales(const struct cuda_cublaslt *b, const struct cuda_product *job, void *desc)
{
    if (!job->w_scale)
        return 0;
    int code =
        b->MatmulDescSetAttribute(desc, BLAS_DESC_A_SCALE, &job->w_scale, sizeof job->w_scale);
    return code ? code
                : b->MatmulDescSetAttribute(desc, BLAS_DESC_B_SCALE, &job->x_scale,
                                            sizeof job->x_scale);
}

static int describe(const struct cuda_cublaslt *b, const struct cuda_product *job,
                    struct plan *plan)
{
    const int vector = BLAS_SCALE_OUTER_VECTOR;
    const struct cublaslt_shape shape = {
        .inputs = types[job->type].inputs,
        .outputs = types[job->type].outputs,
        .compute = types[job->type].compute,
        .scale = types[job->type].scale,
        .m = (uint64_t)job->rows,
        .n = (uint64_t)job->tokens,
        .k = (uint64_t)job->cols,
        .lda = job->ldw,
        .ldb = job->ldx,
        .ldd = job->ldd,
    };
    int code = cuda_cublaslt_product_init(b, &shape, &plan->product);
    void *desc = plan->product.desc;
    if (!code && job->w_scale)
        code = b->MatmulDescSetAttribute(desc, BLAS_DESC_A_SCALE_MODE, &vector, sizeof(int));
    if (!code && job->w_scale)
        code = b->MatmulDescSetAttribute(desc, BLAS_DESC_B_SCALE_MODE, &vector, sizeof(int));
    return code ? code : set_scales(b, job, desc);
}

static int multiply(const struct cuda_products *p, const struct plan *plan,
                    const struct cublaslt_algorithm *algorithm, const struct cuda_product *job,
                    void *workspace, void *stream)
{
    const struct cublaslt_run run = {
        .product = &plan->product,
        .algorithm = algorithm,
        .a = job->w,
        .b = job->x,
        .d = job->d,
        .add = job->add,
        .workspace = workspace,
        .workspace_bytes = CUDA_PRODUCTS_WORKSPACE,
        .stream = stream,
    };
    int code = set_scales(p->library, job, plan->product.desc);
    return code ? code : cuda_cublaslt_multiply(p->library, p->handle, &run);
}

// The rows of d at both ends, as bytes.
struct sample {
    size_t end_bytes;
    unsigned char *bytes; // (2, end_bytes)
};

static enum status sample_read(const struct cuda_device *cuda, const struct cuda_product *job,
                               struct sample *s, struct error *err)
{
    size_t row = job->ldd * 4;
    cuda_address d = (uintptr_t)job->d, last = d + (size_t)(job->tokens - 1) * row;
    int rows = job->tokens < SAMPLE_ROWS ? job->tokens : SAMPLE_ROWS;
    size_t bytes = (size_t)(rows - 1) * row + (size_t)job->rows * 4;
    const struct cuda_driver *driver = cuda->driver;
    memset(s->bytes, 0, 2 * s->end_bytes);
    TRY(cuda_check(cuda, driver->StreamSynchronize(cuda->stream), "cuBLASLt's products", err));
    TRY(cuda_check(cuda, driver->MemcpyDtoH(s->bytes, d, bytes), "cuBLASLt's sums", err));
    return cuda_check(
        cuda, driver->MemcpyDtoH(s->bytes + s->end_bytes, last - (size_t)(rows - 1) * row, bytes),
        "cuBLASLt's sums", err);
}

// Runs one candidate on zeros in d and reads its sums. Its status in *code.
static enum status try_once(const struct cuda_products *p, const struct plan *plan,
                            const struct cublaslt_algorithm *algorithm,
                            const struct cuda_product *job, void *workspace, struct sample *sums,
                            int *code, struct error *err)
{
    const struct cuda_device *cuda = p->cuda;
    size_t bytes = ((size_t)(job->tokens - 1) * job->ldd + (size_t)job->rows) * 4;
    TRY(cuda_check(cuda, cuda->driver->MemsetD8Async((uintptr_t)job->d, 0, bytes, cuda->stream),
                   "cuBLASLt's sums", err));
    *code = multiply(p, plan, algorithm, job, workspace, cuda->stream);
    return *code ? OK : sample_read(cuda, job, sums, err);
}

static enum status time_it(const struct cuda_products *p, const struct plan *plan,
                           const struct cublaslt_algorithm *algorithm,
                           const struct cuda_product *job, void *workspace, double *ns,
                           struct error *err)
{
    struct cuda_device *cuda = p->cuda;
    TRY(cuda_clock_read(cuda, &cuda->clock[1], err));
    for (int i = 0; i < TIMED; i++) {
        int code = multiply(p, plan, algorithm, job, workspace, cuda->stream);
        if (code)
            return refused(p, job, "it refused the", code, err);
    }
    TRY(cuda_clock_read(cuda, &cuda->clock[2], err));
    TRY(cuda_check(cuda, cuda->driver->StreamSynchronize(cuda->stream), "cuBLASLt's products",
                   err));
    *ns = (double)(cuda->clock[2] - cuda->clock[1]) / TIMED;
    return OK;
}

// Keeps the fastest of the candidates that have the bits of the first that runs, as far as the samples show.
static enum status choose(const struct cuda_products *p, struct plan *plan,
                          const struct cuda_product *job, void *workspace, struct sample *first,
                          struct sample *other, struct error *err)
{
    struct cublaslt_heuristic found[CANDIDATES];
    int count = 0;
    double best_ns = 0;
    // Only algorithms whose results are the same on every run.
    int code = cuda_cublaslt_propose(p->library, p->handle, &plan->product, CUDA_PRODUCTS_WORKSPACE,
                                     BLAS_REDUCTION_STORED, found, CANDIDATES, &count);
    if (code || count == 0)
        return refused(p, job, "it has no algorithm for the", code, err);
    plan->proposed = count;
    for (int i = 0; i < count; i++) {
        double ns = 0;
        struct sample *sums = plan->equal ? other : first;
        if (found[i].state != 0 || found[i].workspace_bytes > CUDA_PRODUCTS_WORKSPACE)
            continue;
        TRY(try_once(p, plan, &found[i].algorithm, job, workspace, sums, &code, err));
        if (code || (plan->equal && memcmp(first->bytes, other->bytes, 2 * first->end_bytes) != 0))
            continue;
        TRY(time_it(p, plan, &found[i].algorithm, job, workspace, &ns, err));
        if (plan->equal++ > 0 && ns >= best_ns)
            continue;
        best_ns = ns;
        plan->algorithm = found[i].algorithm;
        plan->workspace_bytes = found[i].workspace_bytes;
    }
    return plan->equal ? OK : refused(p, job, "no algorithm runs for the", code, err);
}

bool cuda_products_planned(const struct cuda_products *p, const struct cuda_product *job)
{
    return plan_find(p, job) < CUDA_PRODUCTS_PLANS;
}

// Random inputs, and random scales of them.
static enum status fill_inputs(const struct cuda_products *p, const struct cuda_product *job,
                               struct error *err)
{
    size_t bytes = (size_t)job->tokens * job->ldx * (size_t)types[job->type].bytes;
    TRY(cuda_probe_fill(p->cuda, (uintptr_t)job->x, bytes, types[job->type].mask, err));
    if (!job->x_scale)
        return OK;
    return cuda_probe_fill(p->cuda, (uintptr_t)job->x_scale, (size_t)job->tokens * 4, ~0u, err);
}

enum status cuda_products_plan(struct cuda_products *p, const struct cuda_product *job,
                               void *workspace, struct error *err)
{
    struct plan *plan = &p->plan[p->made % CUDA_PRODUCTS_PLANS];
    if (cuda_products_planned(p, job))
        return OK;
    size_t end = (size_t)SAMPLE_ROWS * job->ldd * 4;
    struct sample first = {end, malloc(2 * end)}, other = {end, malloc(2 * end)};
    cuda_enter(p->cuda);
    plan_fini(p->library, plan);
    if (!first.bytes || !other.bytes) {
        FAIL(err, ERR_NOMEM, "cuBLASLt: %zu bytes to compare sums", 2 * end);
    } else {
        int code = describe(p->library, job, plan);
        if (code)
            refused(p, job, "it refused the", code, err);
        else if (fill_inputs(p, job, err) == OK)
            choose(p, plan, job, workspace, &first, &other, err);
    }
    free(first.bytes);
    free(other.bytes);
    if (err->code) {
        plan_fini(p->library, plan);
        return err->code;
    }
    plan->shape = *job;
    p->made++;
    return OK;
}

enum status cuda_products_run(struct cuda_products *p, struct device_queue *queue,
                              const struct cuda_product *job, void *workspace, struct error *err)
{
    const size_t place = plan_find(p, job);
    if (place == CUDA_PRODUCTS_PLANS)
        return FAIL(err, ERR_INTERNAL, "cuBLASLt: a product of %d x %d by %d tokens has no plan",
                    job->rows, job->cols, job->tokens);
    struct plan *plan = &p->plan[place];
    int code = multiply(p, plan, &plan->algorithm, job, workspace, device_queue_native(queue));
    plan->used = true;
    return code ? refused(p, job, "it refused the", code, err) : OK;
}

// ---- the picks as text -----------------------------------------------------------------------------------

const char *cuda_products_version(const struct cuda_products *p)
{
    return p->version;
}

void cuda_products_restart(struct cuda_products *p)
{
    for (size_t i = 0; i < CUDA_PRODUCTS_PLANS; i++)
        p->plan[i].used = false;
}

// One setting of an algorithm, of `bytes` bytes; -1: the library does not say.
static int setting(const struct cuda_products *p, const struct plan *plan, int which, size_t bytes)
{
    uint16_t half = 0;
    int32_t whole = 0;
    size_t written = 0;
    void *to = bytes == sizeof half ? (void *)&half : &whole;
    int code = p->library->AlgoConfigGetAttribute(&plan->algorithm, which, to, bytes, &written);
    return code || written < bytes ? -1 : bytes == sizeof half ? half : whole;
}

// The library's names of some settings, by number from `first` on. Others are named by the number.
static const struct names {
    int first, count;
    const char *name[19];
} tiles = {15,
           19,
           {"64x64", "128x32", "64x128", "128x64", "64x256", "128x128", "256x64", "64x512",
            "128x256", "256x128", "512x64", "64x96", "96x64", "96x128", "128x160", "160x128",
            "192x128", "128x192", "128x96"}},
  stages = {32, 7, {"8xauto", "16xauto", "32xauto", "64xauto", "128xauto", "256xauto", "768xauto"}},
  clusters = {2, 9, {"1x1", "2x1", "4x1", "1x2", "2x2", "4x2", "1x4", "2x4", "4x4"}};

static const char *setting_name(const struct names *names, int number, char space[16])
{
    if (number >= names->first && number < names->first + names->count)
        return names->name[number - names->first];
    snprintf(space, 16, number < 0 ? "unknown" : "number %d", number);
    return space;
}

static int pick_text(const struct cuda_products *p, const struct plan *plan, char *out,
                     size_t bytes)
{
    char tile[16], stage[16], cluster[16];
    const bool unscaled = plan->shape.type == CUDA_PRODUCT_F8 && !plan->shape.w_scale;
    return snprintf(
        out, bytes,
        "%s %d x %d by %d tokens: algorithm %d, tile %s, stages %s, cluster %s, split-k %d, "
        "workspace %zu bytes, %d of %d proposed have equal bits%s",
        types[plan->shape.type].name, plan->shape.rows, plan->shape.cols, plan->shape.tokens,
        setting(p, plan, BLAS_ALGORITHM_ID, 4),
        setting_name(&tiles, setting(p, plan, BLAS_ALGORITHM_TILE, 4), tile),
        setting_name(&stages, setting(p, plan, BLAS_ALGORITHM_STAGES, 4), stage),
        setting_name(&clusters, setting(p, plan, BLAS_ALGORITHM_CLUSTER, 2), cluster),
        setting(p, plan, BLAS_ALGORITHM_SPLITS, 4), plan->workspace_bytes, plan->equal,
        plan->proposed, unscaled ? ", sums are scaled by this program" : "");
}

void cuda_products_picks(const struct cuda_products *p, char *out, size_t bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < CUDA_PRODUCTS_PLANS && used < bytes; i++) {
        if (!p->plan[i].used)
            continue;
        used += (size_t)snprintf(out + used, bytes - used, "%s", used ? "; " : "");
        if (used < bytes)
            used += (size_t)pick_text(p, &p->plan[i], out + used, bytes - used);
    }
}
