// prepare.c - makes a model ready on the GPU: finds kernels; places, packs and uploads weights. Also the backend's
// table.
#include "engine/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "engine/load/source.h"

static union cuda_fn find(const struct gpu_model *m, enum kernel_op op, enum dtype w, enum dtype x,
                          struct error *err)
{
    const struct kernel *kernel = kernel_find(op, w, x, device_target(m->device));
    if (kernel)
        return kernel->fn.cuda;
    FAIL(err, ERR_UNSUPPORTED, "no CUDA kernel for %s weights and %s inputs", dtype_name(w),
         dtype_name(x));
    return (union cuda_fn){0};
}

static enum status find_kernels(struct gpu_model *m, struct error *err)
{
    enum dtype x = m->scheme->activations, head_x = m->scheme->head_activations;
    m->kernels = (struct gpu_kernels){
        .linear = find(m, KOP_LINEAR, m->scheme->weights, x, err).linear,
        .head = find(m, KOP_LINEAR, m->scheme->head, head_x, err).linear,
        .router = find(m, KOP_LINEAR, DT_F32, DT_F32, err).linear,
        .norm = find(m, KOP_NORM, DT_F32, x, err).norm,
        .head_norm = find(m, KOP_NORM, DT_F32, head_x, err).norm,
        .plain_norm = find(m, KOP_NORM, DT_F32, DT_F32, err).norm,
        .activate = find(m, KOP_ACTIVATE, DT_F32, x, err).activate,
        .add = find(m, KOP_ADD, DT_F32, DT_F32, err).add,
        .softcap = find(m, KOP_SOFTCAP, DT_F32, DT_F32, err).softcap,
        .embed = find(m, KOP_EMBED, DT_F32, DT_F32, err).embed,
        .rotate = find(m, KOP_ROTATE, DT_F32, DT_F32, err).rotate,
        .sample = find(m, KOP_SAMPLE, DT_F32, DT_F32, err).sample,
        .advance = find(m, KOP_ADVANCE, DT_F32, DT_F32, err).advance,
        .stamp = find(m, KOP_STAMP, DT_F32, DT_F32, err).stamp,
    };
    return err->code;
}

// Checks that the longest product of int8 inputs cannot overflow its exact sum.
static void check_width(void *arg, const struct weight *item)
{
    struct error *err = arg;
    if (weight_is_matrix(item->kind) && item->type == DT_I8 && item->cols > I8_COLS_MAX)
        FAIL(err, ERR_UNSUPPORTED,
             "products of %d int8 inputs are not supported (of up to %d are: their sums are exact)",
             item->cols, I8_COLS_MAX);
}

static enum status place_weights(struct gpu_model *m, struct error *err)
{
    struct gpu_cursor measured = {0};
    struct gpu_weights *w = &m->weights;
    char need[32], have[32], copy[32], of_copy[64] = "";
    size_t copy_bytes = 0;
    w->layers = calloc((size_t)m->config.layers, sizeof *w->layers);
    w->experts =
        calloc((size_t)m->config.layers * (size_t)m->config.experts + 1, sizeof *w->experts);
    if (!w->layers || !w->experts)
        return FAIL(err, ERR_NOMEM, "%d layers: out of memory", m->config.layers);
    gpu_weights_walk(&m->config, m->scheme, w, check_width, err);
    if (err->code)
        return err->code;
    if (!gpu_weights_place(&measured, &m->config, m->scheme, w, &copy_bytes))
        return FAIL(err, ERR_UNSUPPORTED,
                    "codes in groups of %d inputs are not supported on a GPU (multiples of 32 are)",
                    m->scheme->group);
    m->weights_bytes = measured.used_bytes;
    m->memory = device_alloc(m->device, measured.used_bytes);
    if (copy_bytes)
        snprintf(of_copy, sizeof of_copy, " (%s of it a second copy for cuBLASLt)",
                 format_bytes((double)copy_bytes, copy, sizeof copy));
    if (!m->memory)
        return FAIL(
            err, ERR_NOMEM, "weights need %s%s and do not fit: %s available on %s",
            format_bytes((double)measured.used_bytes, need, sizeof need), of_copy,
            format_bytes((double)device_memory(m->device).available_bytes, have, sizeof have),
            device_info(m->device)->name);
    struct gpu_cursor placed = {.base = m->memory};
    gpu_weights_place(&placed, &m->config, m->scheme, w, &copy_bytes);
    return OK;
}

static void gpu_prepared_destroy(void *prepared)
{
    struct gpu_model *m = prepared;
    if (!m)
        return;
    cuda_products_destroy(m->library);
    free(m->weights.layers);
    free(m->weights.experts);
    device_free(m->device, m->memory);
    free(m);
}

static enum status gpu_prepare(struct checkpoint *ck, const struct engine_options *options,
                               engine_progress *progress, void *user, void **prepared,
                               struct error *err)
{
    *prepared = NULL;
    struct gpu_model *m = calloc(1, sizeof *m);
    if (!m)
        return FAIL(err, ERR_NOMEM, "model: %zu bytes", sizeof *m);
    m->config = *checkpoint_config(ck);
    m->scheme = options->scheme;
    m->device = options->device;
    if (find_kernels(m, err) != OK || gpu_library_open(m, err) != OK ||
        place_weights(m, err) != OK || gpu_pack(m, ck, progress, user, err) != OK ||
        gpu_library_unpack(m, err) != OK) {
        gpu_prepared_destroy(m);
        return err->code;
    }
    *prepared = m;
    return OK;
}

const struct backend cuda_backend = {
    .kind = DEVICE_CUDA,
    .pass_tokens = 1024,
    .prepare = gpu_prepare,
    .prepared_destroy = gpu_prepared_destroy,
    .memory_plan = gpu_memory_plan,
    .context = gpu_context_create,
    .context_destroy = gpu_context_destroy,
    .sample = gpu_context_sample,
    .step = gpu_step,
    .ahead = gpu_ahead,
    .decode = gpu_decode,
    .decode_choice = gpu_decode_choice,
    .products = gpu_context_products,
};
