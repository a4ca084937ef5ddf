// fuzz_safetensors.c - a safetensors file from any bytes; every tensor it is believed to hold is read.
#include <stdlib.h>

#include "engine/load/hf/hf.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

// Small enough that a fuzzer finds whole files: one layer of width 2, tied. Plain, with a tensor for each
// expert, with fused tensors, and with transposed ones.
#define TINY                                                                                       \
    .layers = 1, .width = 2, .heads = 1, .kv_heads = 1, .head_dim = 2, .vocab = 3, .tied = true
static const struct model_config configs[] = {
    {TINY, .ff = 2},
    {TINY, .ff = 2, .arch = "mixtral", .experts = 2, .experts_used = 1},
    {TINY, .ff = 2, .arch = "phi3"},
    {TINY, .ff = 8, .arch = "gpt2", .learned_positions = 2, .norm_bias = true, .qkv_bias = true,
     .o_bias = true, .ff_bias = true, .plain_ff = true},
};
enum { CONFIGS = sizeof configs / sizeof *configs, WIDEST = 8 };

static void read_all(const struct model_config *config, const struct tensor_map *map)
{
    const struct tensor_names *names = hf_names(config);
    struct error err = {0};
    float row[WIDEST];
    if (tensor_map_complete(map, config, names, "fuzz", &err) != OK)
        return;
    for (int i = 0; i < 2 * T_ROLE_COUNT; i++) {
        enum tensor_role role = (enum tensor_role)(i % T_ROLE_COUNT);
        int layer = i / T_ROLE_COUNT - 1;
        struct tensor_shape shape = tensor_shape(config, role);
        for (int r = 0; r < shape.rows && (role <= T_FINAL_NORM) == (layer < 0); r++)
            tensor_map_read(map, config, names, role, layer, r, 1, row, WIDEST);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    for (int i = 0; i < CONFIGS; i++) {
        struct tensor_map map;
        struct error err = {0};
        if (tensor_map_init(&map, &configs[i], &err) != OK)
            return 0;
        if (safetensors_parse("fuzz", data, size, &configs[i], &map, NULL, &err) == OK)
            read_all(&configs[i], &map);
        tensor_map_fini(&map);
    }
    return 0;
}
