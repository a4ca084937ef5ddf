// kv.c - the arithmetic of the KV cache's layout.
#include "engine/model/kv.h"

#include "engine/model/sizes.h"

size_t kv_element_bytes(enum dtype type)
{
    switch (type) {
    case DT_F32:
        return 4;
    case DT_F16:
    case DT_BF16:
        return 2;
    default:
        return 0;
    }
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
    return kv;
}

size_t kv_bytes(const struct kv_cache *kv)
{
    size_t blocks = sat_mul(sat_mul((size_t)kv->layers, (size_t)kv->batch), (size_t)kv->kv_heads);
    return sat_mul(sat_mul(blocks, 2), kv->block_bytes);
}

static unsigned char *kv_row(const struct kv_cache *kv, int layer, int sequence, int head,
                             int position, int values)
{
    size_t block = ((size_t)layer * (size_t)kv->batch + (size_t)sequence) * (size_t)kv->kv_heads +
                   (size_t)head;
    size_t row = (size_t)kv->head_dim * kv_element_bytes(kv->type);
    return kv->memory + (2 * block + (size_t)values) * kv->block_bytes + (size_t)position * row;
}

void *kv_keys(const struct kv_cache *kv, int layer, int sequence, int head, int position)
{
    return kv_row(kv, layer, sequence, head, position, 0);
}

void *kv_values(const struct kv_cache *kv, int layer, int sequence, int head, int position)
{
    return kv_row(kv, layer, sequence, head, position, 1);
}
