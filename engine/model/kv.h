// kv.h - the layout of the KV cache.
//
// Each layer, sequence and KV head has one contiguous (positions, head_dim) block of K and one of V. So attention of
// one head streams through memory, and one thread owns the block. A quantized block ends with its scales, one f32 per
// position. Blocks begin on 64-byte boundaries. The cache is part of the context's arena; nothing here allocates.
#ifndef ENGINE_MODEL_KV_H
#define ENGINE_MODEL_KV_H

#include "engine/engine.h"

struct kv_cache {
    unsigned char *memory; // borrowed; kv_bytes() bytes
    enum dtype type;
    int layers, batch, kv_heads, positions, head_dim;
    size_t scales_offset; // in a block; 0 for plain types
    size_t block_bytes;   // one head's K, or V
};

size_t kv_element_bytes(enum dtype type); // 4, 2 or 1; 0 for types that KV cannot have
// Bytes of one head's K, or V, at one position, with its scale.
size_t kv_row_bytes(enum dtype type, int head_dim);

// The layout without memory. A context needs kv_bytes() of it (SIZE_MAX if that overflows).
struct kv_cache kv_layout(const struct model_config *config, const struct context_options *options);
size_t kv_bytes(const struct kv_cache *kv);

// Element (position, 0) of a head's block.
void *kv_keys(const struct kv_cache *kv, int layer, int sequence, int head, int position);
void *kv_values(const struct kv_cache *kv, int layer, int sequence, int head, int position);
// The scale of that row; NULL for plain types.
float *kv_key_scale(const struct kv_cache *kv, int layer, int sequence, int head, int position);
float *kv_value_scale(const struct kv_cache *kv, int layer, int sequence, int head, int position);

#endif
