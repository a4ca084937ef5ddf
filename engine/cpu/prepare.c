// prepare.c - makes a model ready: chooses kernels for scheme and device, takes memory, packs weights.
#include "engine/cpu/cpu.h"

#include <stdlib.h>

#include "base/os.h"
#include "base/str.h"
#include "engine/load/source.h"
#include "engine/model/sizes.h"

// The row for an operation, in the layout that this backend packs; after an error a row without a function.
static const struct kernel *find_row(const struct cpu_model *m, enum kernel_op op, enum dtype w,
                                     enum dtype x, struct error *err)
{
    static const struct kernel none = {.most_tokens = 0};
    const struct kernel *kernel = kernel_find(op, w, x, device_target(m->device));
    if (kernel && (kernel->layout == LAYOUT_NONE || kernel->layout == LAYOUT_PANEL16))
        return kernel;
    FAIL(err, ERR_UNSUPPORTED, "no kernel for %s of %s weights and %s inputs", kernel_op_name(op),
         dtype_name(w), dtype_name(x));
    return &none;
}

static union kernel_fn find(const struct cpu_model *m, enum kernel_op op, enum dtype w,
                            enum dtype x, struct error *err)
{
    return find_row(m, op, w, x, err)->fn;
}

static enum status find_kernels(struct cpu_model *m, struct error *err)
{
    static const enum kernel_op activations[] = {[ACT_SILU] = KOP_SWIGLU,
                                                 [ACT_GELU] = KOP_GELU,
                                                 [ACT_GELU_TANH] = KOP_GELU_TANH,
                                                 [ACT_RELU] = KOP_RELU};
    enum dtype w = m->scheme->weights, x = m->scheme->activations;
    enum dtype head = m->scheme->head, head_x = m->scheme->head_activations;
    const struct kernel *gemv = find_row(m, KOP_GEMV, w, x, err);
    const struct kernel *head_gemv = find_row(m, KOP_GEMV, head, head_x, err);
    m->kernels = (struct cpu_kernels){
        .gemv = gemv->fn.linear,
        .gemv_tokens = gemv->most_tokens,
        .gemm = find(m, KOP_GEMM, w, x, err).linear,
        .router = find(m, KOP_GEMV, DT_F32, DT_F32, err).linear,
        .head_gemv = head_gemv->fn.linear,
        .head_gemv_tokens = head_gemv->most_tokens,
        .head_gemm = find(m, KOP_GEMM, head, head_x, err).linear,
        .cast = find(m, KOP_CAST, DT_F32, x, err).cast,
        .head_cast = find(m, KOP_CAST, DT_F32, head_x, err).cast,
        .stage = find(m, KOP_CAST, DT_F32, cpu_staged(m->scheme), err).cast,
        .embedding_cast = find(m, KOP_CAST, DT_F32, scheme_embedding(m->scheme), err).cast,
        .rmsnorm = find(m, KOP_RMSNORM, DT_F32, DT_F32, err).rmsnorm,
        .rope = find(m, KOP_ROPE, DT_F32, DT_F32, err).rope,
        .layernorm = find(m, KOP_LAYERNORM, DT_F32, DT_F32, err).layernorm,
        .activate = find(m, activations[m->config.activation], DT_F32, DT_F32, err).activate,
        .softcap = find(m, KOP_SOFTCAP, DT_F32, DT_F32, err).softcap,
        .add = find(m, KOP_ADD, DT_F32, DT_F32, err).add,
    };
    return err->code;
}

// int8 kernels sum a whole row in 32 bits. Rows that are too long for an exact sum are refused.
static enum status check_widths(const struct cpu_model *m, struct error *err)
{
    int layers = m->scheme->weights == DT_I8 ? tensor_widest_row(&m->config) : 0;
    int head = m->scheme->head == DT_I8 ? m->config.width : 0,
        widest = layers > head ? layers : head;
    if (widest > I8_COLS_MAX)
        return FAIL(err, ERR_UNSUPPORTED,
                    "products of %d int8 inputs are not supported (of up to %d are: their sums are "
                    "exact)",
                    widest, I8_COLS_MAX);
    return OK;
}

static enum status place_weights(struct cpu_model *m, struct error *err)
{
    struct cpu_cursor measured = {0};
    struct cpu_weights *w = &m->weights;
    cpu_weights_place(&measured, &m->config, m->scheme, w);
    m->memory = device_alloc(m->device, measured.used_bytes);
    w->layers = calloc((size_t)m->config.layers, sizeof *w->layers);
    w->experts =
        calloc((size_t)m->config.layers * (size_t)m->config.experts + 1, sizeof *w->experts);
    if (!m->memory || !w->layers || !w->experts) {
        char need[32], have[32];
        return FAIL(err, ERR_NOMEM, "weights need %s and do not fit: %s available",
                    format_bytes((double)measured.used_bytes, need, sizeof need),
                    format_bytes((double)os_memory_available_bytes(), have, sizeof have));
    }
    m->streamed = measured.used_bytes > pool_cache_bytes(m->pool);
    struct cpu_cursor placed = {.base = m->memory};
    cpu_weights_place(&placed, &m->config, m->scheme, w);
    return OK;
}

enum status cpu_prepare(struct checkpoint *ck, const struct engine_options *options,
                        engine_progress *progress, void *user, void **prepared, struct error *err)
{
    *prepared = NULL;
    struct cpu_model *m = calloc(1, sizeof *m);
    if (!m)
        return FAIL(err, ERR_NOMEM, "model: %zu bytes", sizeof *m);
    m->config = *checkpoint_config(ck);
    m->scheme = options->scheme;
    m->device = options->device;
    m->pool = device_pool(options->device);
    if (find_kernels(m, err) != OK || check_widths(m, err) != OK || place_weights(m, err) != OK ||
        cpu_pack(m, ck, progress, user, err) != OK) {
        cpu_prepared_destroy(m);
        return err->code;
    }
    *prepared = m;
    return OK;
}

void cpu_prepared_destroy(void *prepared)
{
    struct cpu_model *m = prepared;
    if (!m)
        return;
    free(m->weights.layers);
    free(m->weights.experts);
    device_free(m->device, m->memory);
    free(m);
}
