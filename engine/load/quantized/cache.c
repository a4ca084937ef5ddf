// cache.c - folders that quantize only the KV cache: weights are plain, and nothing is bound.
//
// The cache's scales are removed from the list of tensors and not used: the engine computes its own.
#include <stdio.h>

#include "engine/load/quantized/layout.h"

static const struct quant_layout cache_layout = {
    .suffix = {PARTS_OF_ATTENTION},
};

void quantized_cache_alone(struct quant_config *config, struct checkpoint_quantization *info)
{
    config->layout = &cache_layout;
    config->symmetric = true;
    snprintf(info->text, sizeof info->text, "scales of the KV cache alone (not used)");
}
