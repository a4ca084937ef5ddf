// fuzz_gguf.c - a GGUF file from any bytes: every row it is believed to hold is read, its tokenizer made.
#include <stdlib.h>

#include "engine/load/parse.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void read_all(const struct gguf *gguf)
{
    const struct model_config *config = gguf_config(gguf);
    const struct tensor_map *map = gguf_tensors(gguf);
    for (int i = 0; i < (config->layers + 1) * T_ROLE_COUNT; i++) {
        struct tensor_shape shape = tensor_shape(config, (enum tensor_role)(i % T_ROLE_COUNT));
        size_t n = (size_t)shape.rows * (size_t)shape.cols;
        float *row = map->at[i].data ? malloc(n * sizeof *row + 1) : NULL;
        if (row)
            convert_to_f32(row, map->at[i].data, map->at[i].type, n);
        free(row);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct gguf *gguf;
    struct tokenizer *tok;
    struct error err = {0};
    int32_t *ids;
    size_t count;
    if (gguf_parse("fuzz", data, size, &gguf, &err) != OK)
        return 0;
    read_all(gguf);
    if (gguf_tokenizer(gguf, &tok, &err) == OK) {
        if (tokenizer_encode(tok, "a b\xff 12", 7, &ids, &count, &err) == OK)
            free(ids);
        tokenizer_destroy(tok);
    }
    gguf_free(gguf);
    return 0;
}
