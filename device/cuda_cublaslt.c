// cuda_cublaslt.c - opens NVIDIA's cuBLASLt at run time. Building and starting need neither it nor its headers.
#include "device/cuda_cublaslt.h"

#include <stdio.h>

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
static const struct cuda_cublaslt *replacement;

void cuda_cublaslt_use(const struct cuda_cublaslt *library)
{
    replacement = library;
}

const struct cuda_cublaslt *cuda_cublaslt_get(char *reason, size_t reason_bytes)
{
    static struct cuda_cublaslt opened;
    static enum { UNTRIED, ABSENT, PRESENT } state; // a failure is not retried
    static const char *missing;
    if (replacement)
        return replacement;
    for (size_t i = 0; state == UNTRIED && i < sizeof files / sizeof *files; i++) {
        const char *lacks = NULL;
        if (cuda_library_open(files[i], symbols, sizeof symbols / sizeof *symbols, &opened, &lacks))
            state = PRESENT;
        missing = missing ? missing : lacks;
    }
    if (state == PRESENT)
        return &opened;
    state = ABSENT;
    if (missing)
        snprintf(reason, reason_bytes, "the cuBLASLt found here lacks %s", missing);
    else
        snprintf(reason, reason_bytes, "cuBLASLt is not found (%s or %s)", files[0], files[1]);
    return NULL;
}
