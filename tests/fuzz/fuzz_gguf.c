// fuzz_gguf.c - a GGUF file from any bytes: every row it is believed to hold is read, its tokenizer made.
#include <stdlib.h>

#include "engine/load/gguf/gguf.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void read_all(const struct gguf *gguf)
{
    const struct model_config *config = gguf_config(gguf);
    for (int i = 0; i < (config->layers + 1) * T_ROLE_COUNT; i++) {
        enum tensor_role role = (enum tensor_role)(i % T_ROLE_COUNT);
        int layer = i / T_ROLE_COUNT - 1;
        struct tensor_shape shape = tensor_shape(config, role);
        if ((role <= T_FINAL_NORM) != (layer < 0) || shape.rows == 0)
            continue;
        float *row = malloc((size_t)shape.cols * sizeof *row);
        for (int r = 0; r < shape.rows && row; r++)
            tensor_map_read(gguf_tensors(gguf), config, &gguf->names, role, layer, r, 1, row,
                            (size_t)shape.cols);
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
