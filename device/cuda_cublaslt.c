// cuda_cublaslt.c - opens NVIDIA's cuBLASLt at run time. Building and starting need neither it nor its headers.
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
