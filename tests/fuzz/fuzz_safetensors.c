// fuzz_safetensors.c - a safetensors file from any bytes; every tensor it is believed to hold is read.
#include <stdlib.h>

#include "engine/load/parse.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

// Small enough that a fuzzer finds whole files: a tied llama of one layer and width 2.
static const struct model_config config = {.layers = 1,
                                           .width = 2,
                                           .heads = 1,
                                           .kv_heads = 1,
                                           .head_dim = 2,
                                           .ff = 2,
                                           .vocab = 3,
                                           .tied = true};

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct tensor_map map;
    struct error err = {0};
    float row[6];
    if (tensor_map_init(&map, &config, &err) != OK)
        return 0;
    if (safetensors_parse("fuzz", data, size, &config, &map, NULL, &err) == OK)
        for (int i = 0; i < 2 * T_ROLE_COUNT; i++) {
            struct tensor_shape shape = tensor_shape(&config, (enum tensor_role)(i % T_ROLE_COUNT));
            if (map.at[i].data)
                convert_to_f32(row, map.at[i].data, map.at[i].type,
                               (size_t)shape.rows * (size_t)shape.cols);
        }
    tensor_map_fini(&map);
    return 0;
}
