// folder.h - the quantized products of one folder; private to engine/load/quantized.
#ifndef ENGINE_LOAD_QUANTIZED_FOLDER_H
#define ENGINE_LOAD_QUANTIZED_FOLDER_H

#include "engine/load/quantized/layout.h"

struct quantized {
    struct quant_config config;
    struct checkpoint_quantization info;
    struct str plain; // modules that are not quantized, one per line
    struct quant_linear **linears;
    size_t count, capacity;
    json_t *index; // name of a product -> its number
};

// Bytes of the product's name in a part's name, and the part's role; 0: not a part of this layout.
size_t quantized_layout_part(const struct quant_layout *layout, const char *name,
                             enum part_role *role);

#endif
