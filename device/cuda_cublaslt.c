// cuda_cublaslt.c - opens NVIDIA's cuBLASLt at run time, and describes and runs its products.
//
// Building and starting need neither the library nor its headers.
#include "device/cuda_cublaslt.h"

static const struct cuda_symbol symbols[] = {
    {"cublasLtGetVersion", offsetof(struct cuda_cublaslt, GetVersion)},
    {"cublasLtCreate", offsetof(struct cuda_cublaslt, Create)},
    {"cublasLtDestroy", offsetof(struct cuda_cublaslt, Destroy)},
    {"cublasLtMatmulDescCreate", offsetof(struct cuda_cublaslt, MatmulDescCreate)},
    {"cublasLtMatmulDescDestroy", offsetof(struct cuda_cublaslt, MatmulDescDestroy)},
    {"cublasLtMatmulDescSetAttribute", offsetof(struct cuda_cublaslt, MatmulDescSetAttribute)},
    {"cublasLtMatrixLayoutCreate", offsetof(struct cuda_cublaslt, MatrixLayoutCreate)},
    {"cublasLtMatrixLayoutDestroy", offsetof(struct cuda_cublaslt, MatrixLayoutDestroy)},
    {"cublasLtMatmulPreferenceCreate", offsetof(struct cuda_cublaslt, PreferenceCreate)},
    {"cublasLtMatmulPreferenceDestroy", offsetof(struct cuda_cublaslt, PreferenceDestroy)},
    {"cublasLtMatmulPreferenceSetAttribute",
     offsetof(struct cuda_cublaslt, PreferenceSetAttribute)},
    {"cublasLtMatmulAlgoGetHeuristic", offsetof(struct cuda_cublaslt, AlgoGetHeuristic)},
    {"cublasLtMatmulAlgoConfigGetAttribute",
     offsetof(struct cuda_cublaslt, AlgoConfigGetAttribute)},
    {"cublasLtMatmul", offsetof(struct cuda_cublaslt, Matmul)},
};

static const char *const files[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
enum { FILES = sizeof files / sizeof *files };
static struct cuda_library place = {
    "cuBLASLt", files, FILES,
    "install cuBLAS of CUDA 12 or 13, or name its folder in LD_LIBRARY_PATH"};

static const struct cuda_cublaslt *scripted; // a test's

void cuda_cublaslt_use(const struct cuda_cublaslt *library)
{
    scripted = library;
}

void cuda_cublaslt_look_in(const char *const *other, size_t count)
{
    place.files = other ? other : files;
    place.file_count = other ? count : FILES;
}

const struct cuda_cublaslt *cuda_cublaslt_get(char *reason, size_t reason_bytes)
{
    static struct cuda_cublaslt library;
    static const char *const *opened; // the files that it is from
    if (scripted)
        return scripted;
    if (opened != place.files &&
        cuda_library_open_first(&place, symbols, sizeof symbols / sizeof *symbols, &library, reason,
                                reason_bytes))
        opened = place.files;
    return opened == place.files ? &library : NULL;
}

// ---- products ------------------------------------------------------------------------------------------

int cuda_cublaslt_product_init(const struct cuda_cublaslt *library,
                               const struct cublaslt_shape *shape, struct cublaslt_product *out)
{
    const int transposed = BLAS_OPERATION_T;
    *out = (struct cublaslt_product){.whole = shape->scale == BLAS_R_32I};
    int code = library->MatmulDescCreate(&out->desc, shape->compute, shape->scale);
    if (!code)
        code = library->MatmulDescSetAttribute(out->desc, BLAS_DESC_TRANSA, &transposed,
                                               sizeof transposed);
    if (!code)
        code = library->MatrixLayoutCreate(&out->a, shape->inputs, shape->k, shape->m,
                                           (int64_t)shape->lda);
    if (!code)
        code = library->MatrixLayoutCreate(&out->b, shape->inputs, shape->k, shape->n,
                                           (int64_t)shape->ldb);
    if (!code)
        code = library->MatrixLayoutCreate(&out->d, shape->outputs, shape->m, shape->n,
                                           (int64_t)shape->ldd);
    return code;
}

void cuda_cublaslt_product_fini(const struct cuda_cublaslt *library,
                                struct cublaslt_product *product)
{
    void *layouts[] = {product->a, product->b, product->d};
    for (int i = 0; i < 3; i++)
        if (layouts[i])
            library->MatrixLayoutDestroy(layouts[i]);
    if (product->desc)
        library->MatmulDescDestroy(product->desc);
    *product = (struct cublaslt_product){0};
}

int cuda_cublaslt_propose(const struct cuda_cublaslt *library, void *handle,
                          const struct cublaslt_product *product, size_t workspace_bytes,
                          uint32_t reductions, struct cublaslt_heuristic *found, int most,
                          int *count)
{
    void *preference = NULL;
    *count = 0;
    int code = library->PreferenceCreate(&preference);
    if (!code)
        code = library->PreferenceSetAttribute(preference, BLAS_PREFER_WORKSPACE, &workspace_bytes,
                                               sizeof workspace_bytes);
    if (!code && reductions)
        code = library->PreferenceSetAttribute(preference, BLAS_PREFER_REDUCTIONS, &reductions,
                                               sizeof reductions);
    if (!code)
        code = library->AlgoGetHeuristic(handle, product->desc, product->a, product->b, product->d,
                                         product->d, preference, most, found, count);
    if (preference)
        library->PreferenceDestroy(preference);
    return code;
}

int cuda_cublaslt_multiply(const struct cuda_cublaslt *library, void *handle,
                           const struct cublaslt_run *run)
{
    const struct cublaslt_product *p = run->product;
    const float one = 1, beta = run->add ? 1 : 0;
    const int32_t whole_one = 1, whole_beta = run->add ? 1 : 0;
    return library->Matmul(handle, p->desc, p->whole ? (const void *)&whole_one : &one, run->a,
                           p->a, run->b, p->b, p->whole ? (const void *)&whole_beta : &beta, run->d,
                           p->d, run->d, p->d, run->algorithm, run->workspace, run->workspace_bytes,
                           run->stream);
}
