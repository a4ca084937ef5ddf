// kv.c - the arithmetic of the KV cache's layout.
#include "engine/model/kv.h"

#include "engine/model/sizes.h"
#include "kernels/quant.h"

size_t kv_element_bytes(enum dtype type)
{
    switch (type) {
    case DT_F32:
        return 4;
    case DT_F16:
    case DT_BF16:
        return 2;
    case DT_I8:
    case DT_F8E4M3:
        return 1;
    default:
        return 0;
    }
}

size_t kv_row_bytes(enum dtype type, int head_dim)
{
    return (size_t)head_dim * kv_element_bytes(type) +
           (dtype_is_quantized(type) ? sizeof(float) : 0);
}

struct kv_cache kv_layout(const struct model_config *config, const struct context_options *options)
{
    struct kv_cache kv = {
        .type = options->kv,
        .layers = config->layers,
        .batch = options->batch,
        .kv_heads = config->kv_heads,
        .positions = options->positions,
        .head_dim = config->head_dim,
    };
    size_t row = (size_t)kv.head_dim * kv_element_bytes(kv.type);
    kv.block_bytes = sat_align(sat_mul((size_t)kv.positions, row));
    if (dtype_is_quantized(kv.type)) {
        size_t scales = sat_align(sat_mul((size_t)kv.positions, sizeof(float)));
        kv.scales_offset = kv.block_bytes;
        kv.block_bytes = sat_add(kv.block_bytes, scales);
    }
    return kv;
}

size_t kv_bytes(const struct kv_cache *kv)
{
    size_t blocks = sat_mul(sat_mul((size_t)kv->layers, (size_t)kv->batch), (size_t)kv->kv_heads);
    return sat_mul(sat_mul(blocks, 2), kv->block_bytes);
}

static unsigned char *kv_block(const struct kv_cache *kv, int layer, int sequence, int head,
                               int values)
{
    size_t block = ((size_t)layer * (size_t)kv->batch + (size_t)sequence) * (size_t)kv->kv_heads +
                   (size_t)head;
    return kv->memory + (2 * block + (size_t)values) * kv->block_bytes;
}

static unsigned char *kv_row(const struct kv_cache *kv, int layer, int sequence, int head,
                             int position, int values)
{
    size_t row = (size_t)kv->head_dim * kv_element_bytes(kv->type);
    return kv_block(kv, layer, sequence, head, values) + (size_t)position * row;
}

static float *kv_scale(const struct kv_cache *kv, int layer, int sequence, int head, int position,
                       int values)
{
    if (!kv->scales_offset)
        return NULL;
    void *scales = kv_block(kv, layer, sequence, head, values) + kv->scales_offset;
    return (float *)scales + position;
}

void *kv_keys(const struct kv_cache *kv, int layer, int sequence, int head, int position)
{
    return kv_row(kv, layer, sequence, head, position, 0);
}

void *kv_values(const struct kv_cache *kv, int layer, int sequence, int head, int position)
{
    return kv_row(kv, layer, sequence, head, position, 1);
}

float *kv_key_scale(const struct kv_cache *kv, int layer, int sequence, int head, int position)
{
    return kv_scale(kv, layer, sequence, head, position, 0);
}

float *kv_value_scale(const struct kv_cache *kv, int layer, int sequence, int head, int position)
{
    return kv_scale(kv, layer, sequence, head, position, 1);
}
