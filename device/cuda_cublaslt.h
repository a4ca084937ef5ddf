// cuda_cublaslt.h - NVIDIA's cuBLASLt below device/cuda_blas.c and device/cuda_products.c. For device/cuda*.c only.
#ifndef DEVICE_CUDA_CUBLASLT_H
#define DEVICE_CUDA_CUBLASLT_H

#include "device/cuda_driver.h"

// Values of the library's enumerations. Source: cublasLt.h of CUDA 12 and 13.
enum { BLAS_OPERATION_T = 1 };
enum { BLAS_COMPUTE_32F = 68, BLAS_COMPUTE_32I = 72, BLAS_COMPUTE_TF32 = 77 };
enum {
    BLAS_R_32F = 0,
    BLAS_R_16F = 2,
    BLAS_R_8I = 3,
    BLAS_R_32I = 10,
    BLAS_R_16BF = 14,
    BLAS_R_8F_E4M3 = 28
};
enum {
    BLAS_DESC_TRANSA = 3,
    BLAS_DESC_A_SCALE = 17,
    BLAS_DESC_B_SCALE = 18,
    BLAS_DESC_A_SCALE_MODE = 31,
    BLAS_DESC_B_SCALE_MODE = 32,
};
enum { BLAS_SCALE_OUTER_VECTOR = 3 }; // one f32 for each row of A, and for each column of B
enum { BLAS_PREFER_WORKSPACE = 1, BLAS_PREFER_REDUCTIONS = 3 };
// Partial sums of a split product are stored in the compute type and added up in order. The other reductions add in
// place, or round the partial sums.
enum { BLAS_REDUCTION_STORED = 2 };
enum {
    BLAS_ALGORITHM_ID = 0,
    BLAS_ALGORITHM_TILE = 1,
    BLAS_ALGORITHM_SPLITS = 2,
    BLAS_ALGORITHM_REDUCTION = 3,
    BLAS_ALGORITHM_STAGES = 6,
    BLAS_ALGORITHM_CLUSTER = 8,
};

struct cublaslt_algorithm {
    uint64_t data[8];
};
struct cublaslt_heuristic {
    struct cublaslt_algorithm algorithm;
    size_t workspace_bytes;
    int state;
    float waves;
    int reserved[4];
};

// Functions of the library, without their prefix cublasLt. A result of 0 is success.
// Source: cuBLASLt API reference, 12 and 13.
struct cuda_cublaslt {
    size_t (*GetVersion)(void); // 130100: 13.1.0
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
                            void *preference, int asked, struct cublaslt_heuristic *results,
                            int *returned);
    int (*AlgoConfigGetAttribute)(const struct cublaslt_algorithm *algorithm, int attribute,
                                  void *value, size_t bytes, size_t *written);
    int (*Matmul)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                  const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                  void *d, void *d_layout, const struct cublaslt_algorithm *algorithm,
                  void *workspace, size_t workspace_bytes, void *stream);
};

// Tests only: replaces the system's library with a scripted one; NULL restores it. Not while a device is open.
void cuda_cublaslt_use(const struct cuda_cublaslt *library);
// Tests only: opens the library from one of these files; NULL restores the system's. Not while a device is open.
void cuda_cublaslt_look_in(const char *const *files, size_t count);
// The library, opened by the first call; it stays open. NULL, with the reason as text, if it cannot be used.
const struct cuda_cublaslt *cuda_cublaslt_get(char *reason, size_t reason_bytes);

// ---- products ------------------------------------------------------------------------------------------

// D (m, n) = A^T B, all stored by columns: A (k, m), B (k, n). The functions return the library's status.
struct cublaslt_shape {
    int inputs, outputs, compute, scale; // types; scale: of the factors of A^T B and of D
    uint64_t m, n, k;
    size_t lda, ldb, ldd; // in elements
};
struct cublaslt_product {
    void *desc, *a, *b, *d; // the library's description and layouts
    bool whole;             // factors are int32, not f32
};
int cuda_cublaslt_product_init(const struct cuda_cublaslt *library,
                               const struct cublaslt_shape *shape, struct cublaslt_product *out);
// Legal after an init that failed, and on zeros. Leaves zeros.
void cuda_cublaslt_product_fini(const struct cuda_cublaslt *library,
                                struct cublaslt_product *product);
// Asks for up to `most` algorithms. reductions: BLAS_REDUCTION_STORED; 0: any.
int cuda_cublaslt_propose(const struct cuda_cublaslt *library, void *handle,
                          const struct cublaslt_product *product, size_t workspace_bytes,
                          uint32_t reductions, struct cublaslt_heuristic *found, int most,
                          int *count);

struct cublaslt_run {
    const struct cublaslt_product *product;
    const struct cublaslt_algorithm *algorithm;
    const void *a, *b;
    void *d;
    bool add; // to D
    void *workspace;
    size_t workspace_bytes;
    void *stream;
};
// Enqueues the product.
int cuda_cublaslt_multiply(const struct cuda_cublaslt *library, void *handle,
                           const struct cublaslt_run *run);

#endif
