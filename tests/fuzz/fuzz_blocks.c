// fuzz_blocks.c - any bytes as blocks of every stored type; what is written comes back the same.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/load/stored.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

// Rows of finite numbers, written and read, are the same when they are written and read once more: codes
// and scales do not drift. Q4_0's and Q8_0's scales may: they are recomputed from rounded values; there only
// that nothing is read or written out of bounds.
static void there_and_back(const struct stored_type *type, float *x, size_t n)
{
    size_t bytes = stored_bytes(type, n);
    unsigned char *out = malloc(bytes), *again = malloc(bytes);
    if (out && again && n) {
        stored_from_f32(out, x, type, n);
        stored_to_f32(x, out, type, n);
        stored_from_f32(again, x, type, n);
        for (size_t i = 0; i < n; i++)
            if (isnan(x[i]))
                goto done;
        if (type->block == 1 && memcmp(out, again, bytes) != 0)
            abort();
    }
done:
    free(out);
    free(again);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    for (uint32_t number = 0; number < 64; number++) {
        const struct stored_type *type = stored_find_ggml(number);
        if (!type || !type->expand)
            continue;
        size_t blocks = size / (size_t)type->bytes, n = blocks * (size_t)type->block;
        // Exactly as long as the blocks are, so that the sanitizer sees a read beyond them.
        unsigned char *exact = malloc(blocks * (size_t)type->bytes + 1);
        float *x = malloc((n + 1) * sizeof *x);
        if (exact && x && blocks) {
            memcpy(exact + 1, data, blocks * (size_t)type->bytes);
            stored_to_f32(x, exact + 1, type, n);
            if (type->shrink)
                there_and_back(type, x, n);
        }
        free(exact);
        free(x);
    }
    return 0;
}
