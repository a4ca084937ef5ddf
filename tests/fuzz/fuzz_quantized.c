// fuzz_quantized.c - a quantized folder from any bytes: quantization_config as JSON, a NUL, one safetensors file.
//
// Every product that is believed is read, as weights and as codes.
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/load/hf/hf.h"
#include "engine/load/quantized/quantized.h"
#include "kernels/quant.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

enum { COLS = 16 };

// The smallest model whose products all layouts can hold.
static const struct model_config config = {.arch = "llama",
                                           .layers = 1,
                                           .width = 8,
                                           .heads = 1,
                                           .kv_heads = 1,
                                           .head_dim = 8,
                                           .ff = COLS,
                                           .vocab = 3,
                                           .tied = true};

static void read_all(const struct tensor_map *map)
{
    uint8_t codes[COLS], zeros[COLS];
    float scales[COLS], row[COLS];
    struct stored_quant stored;
    for (int role = T_FINAL_NORM + 1; role < T_ROLE_COUNT; role++) {
        int rows = tensor_shape(&config, (enum tensor_role)role).rows;
        const struct quant_linear *linear =
            rows ? tensor_map_at(map, (enum tensor_role)role, 0)->quant : NULL;
        for (int r = 0; linear && r < rows; r++) {
            quantized_linear_row(linear, r, row);
            if (quantized_linear_stored(linear, &stored))
                quantized_linear_codes(linear, r, (struct quant_row){codes, scales, zeros});
        }
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    const unsigned char *end = memchr(data, 0, size);
    struct tensor_map map = {0};
    struct error err = {0};
    json_t *json = NULL;
    if (!end || json_parse("fuzz", (const char *)data, (size_t)(end - data), &json, &err) != OK)
        return 0;
    if (tensor_map_init(&map, &config, &err) == OK &&
        quantized_create(json, "fuzz", &map.quantized, &err) == OK &&
        safetensors_parse("fuzz", end + 1, size - (size_t)(end + 1 - data), &config, &map, NULL,
                          &err) == OK &&
        quantized_enter(map.quantized, &config, hf_names(&config), &map, "fuzz", &err) == OK)
        read_all(&map);
    quantized_destroy(map.quantized);
    tensor_map_fini(&map);
    json_decref(json);
    return 0;
}
