// pretend_blas.h - a scripted cuBLASLt, and a scripted driver under it, whose device memory is the host's.
#ifndef TESTS_DEVICE_PRETEND_BLAS_H
#define TESTS_DEVICE_PRETEND_BLAS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "device/cuda_cublaslt.h"

enum { BLAS_MOST = 8 };

// What the library proposes. Algorithm i writes `bits` into sum `sum_at` and takes `ns` of the pretend clock.
static struct {
    struct {
        uint32_t bits;
        int ns, status, state;
    } algorithm[BLAS_MOST];
    int proposed, heuristic, create, layout; // the last three: statuses
    bool no_scales;                          // it proposes nothing for products that it is to scale
    size_t sum_at;
    int handles, descs, layouts, preferences; // alive
    int asked, products;                      // heuristics, products
    uint32_t reductions;
    uint64_t workspace;
    int scale_modes; // of the last product
    const void *a_scale, *b_scale;
    uint64_t last; // its algorithm
    float beta;
    uint64_t now_ns;
} script;

// A description of a product.
struct blas_desc {
    int scale_modes;
    const void *a_scale, *b_scale;
};

static size_t blas_version(void)
{
    return 130102;
}
static int blas_create(void **handle)
{
    script.handles += script.create == 0;
    *handle = &script;
    return script.create;
}
static int blas_destroy(void *handle)
{
    (void)handle;
    script.handles--;
    return 0;
}
static int blas_desc_create(void **desc, int compute, int scale)
{
    (void)compute;
    (void)scale;
    script.descs++;
    *desc = calloc(1, sizeof(struct blas_desc));
    return *desc ? 0 : 3;
}
static int blas_desc_destroy(void *desc)
{
    free(desc);
    script.descs--;
    return 0;
}
static int blas_desc_set(void *desc, int attribute, const void *value, size_t bytes)
{
    struct blas_desc *of = desc;
    if (attribute == BLAS_DESC_A_SCALE)
        memcpy(&of->a_scale, value, bytes);
    if (attribute == BLAS_DESC_B_SCALE)
        memcpy(&of->b_scale, value, bytes);
    of->scale_modes += attribute == BLAS_DESC_A_SCALE_MODE || attribute == BLAS_DESC_B_SCALE_MODE;
    return 0;
}
static int blas_layout_create(void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld)
{
    (void)type;
    assert_true(ld >= (int64_t)rows && cols > 0);
    if (script.layout)
        return script.layout;
    script.layouts++;
    *layout = &script.layouts;
    return 0;
}
static int blas_layout_destroy(void *layout)
{
    (void)layout;
    script.layouts--;
    return 0;
}
static int blas_preference_create(void **preference)
{
    script.preferences++;
    *preference = &script.preferences;
    return 0;
}
static int blas_preference_destroy(void *preference)
{
    (void)preference;
    script.preferences--;
    return 0;
}
static int blas_preference_set(void *preference, int attribute, const void *value, size_t bytes)
{
    (void)preference;
    if (attribute == BLAS_PREFER_REDUCTIONS)
        memcpy(&script.reductions, value, bytes);
    if (attribute == BLAS_PREFER_WORKSPACE)
        memcpy(&script.workspace, value, bytes);
    return 0;
}
static int blas_heuristic(void *handle, void *desc, void *a, void *b, void *c, void *d,
                          void *preference, int most, struct cublaslt_heuristic *out, int *count)
{
    (void)handle;
    assert_true(desc && a && b && c && d && preference && most == BLAS_MOST);
    const struct blas_desc *of = desc;
    const bool scaled = of->scale_modes == 2;
    if (scaled && (script.no_scales || !of->a_scale || !of->b_scale))
        return 7; // as the library does
    script.asked++;
    for (int i = 0; i < script.proposed; i++)
        out[i] = (struct cublaslt_heuristic){.algorithm.data[0] = (uint64_t)i,
                                             .workspace_bytes = 4096,
                                             .state = script.algorithm[i].state};
    *count = script.proposed;
    return script.heuristic;
}
static int blas_config(const struct cublaslt_algorithm *algorithm, int attribute, void *value,
                       size_t bytes, size_t *written)
{
    int32_t answer = attribute == BLAS_ALGORITHM_ID     ? 66
                     : attribute == BLAS_ALGORITHM_TILE ? 20
                                                        : (int32_t)algorithm->data[0];
    const uint16_t shape = 3;
    assert_int_equal(bytes, attribute == BLAS_ALGORITHM_CLUSTER ? sizeof shape : sizeof answer);
    memcpy(value, bytes == sizeof shape ? (const void *)&shape : &answer, bytes);
    *written = attribute == BLAS_ALGORITHM_SPLITS ? 0 : bytes; // it does not know that one
    return 0;
}
static int blas_matmul(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                       const void *b, void *b_layout, const void *beta, const void *c,
                       void *c_layout, void *d, void *d_layout,
                       const struct cublaslt_algorithm *algorithm, void *workspace,
                       size_t workspace_bytes, void *stream)
{
    (void)stream;
    uint64_t i = algorithm->data[0];
    assert_true(handle && desc && alpha && a && a_layout && b && b_layout && c == d && c_layout &&
                d_layout && workspace && workspace_bytes == CUDA_PRODUCTS_WORKSPACE);
    script.products++;
    script.last = i;
    script.scale_modes = ((const struct blas_desc *)desc)->scale_modes;
    script.a_scale = ((const struct blas_desc *)desc)->a_scale;
    script.b_scale = ((const struct blas_desc *)desc)->b_scale;
    memcpy(&script.beta, beta, sizeof script.beta);
    script.now_ns += (uint64_t)script.algorithm[i].ns;
    ((uint32_t *)d)[script.sum_at] = script.algorithm[i].bits;
    return script.algorithm[i].status;
}

static const struct cuda_cublaslt blas_library = {
    blas_version,
    blas_create,
    blas_destroy,
    blas_desc_create,
    blas_desc_destroy,
    blas_desc_set,
    blas_layout_create,
    blas_layout_destroy,
    blas_preference_create,
    blas_preference_destroy,
    blas_preference_set,
    blas_heuristic,
    blas_config,
    blas_matmul,
};

static int blas_set_current(void *context)
{
    (void)context;
    return 0;
}
static int blas_copy_in(cuda_address to, const void *from, size_t bytes)
{
    memcpy((void *)(uintptr_t)to, from, bytes);
    return 0;
}
static int blas_copy_out(void *to, cuda_address from, size_t bytes)
{
    memcpy(to, (void *)(uintptr_t)from, bytes);
    return 0;
}
static int blas_set_bytes(cuda_address to, unsigned char value, size_t bytes, void *stream)
{
    (void)stream;
    memset((void *)(uintptr_t)to, value, bytes);
    return 0;
}
static int blas_synchronize(void *stream)
{
    (void)stream;
    return 0;
}
static int blas_launch(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                       unsigned by, unsigned bz, unsigned shared, void *stream, void **arguments,
                       void **extra)
{
    (void)function;
    (void)shared;
    (void)stream;
    (void)extra;
    assert_int_equal(gx * gy * gz * bx * by * bz, 1);
    **(uint64_t **)arguments[0] = script.now_ns;
    return 0;
}
static const struct cuda_driver blas_driver = {.CtxSetCurrent = blas_set_current,
                                               .MemcpyHtoD = blas_copy_in,
                                               .MemcpyDtoH = blas_copy_out,
                                               .MemsetD8Async = blas_set_bytes,
                                               .StreamSynchronize = blas_synchronize,
                                               .LaunchKernel = blas_launch};

static inline void blas_propose(int i, uint32_t bits, int ns)
{
    script.algorithm[i].bits = bits;
    script.algorithm[i].ns = ns;
    script.proposed = i + 1;
}

// Whether nothing of the library's is alive.
static inline bool blas_is_empty(void)
{
    return !script.handles && !script.descs && !script.layouts && !script.preferences;
}

#endif
