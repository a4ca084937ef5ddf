// fuzz_tokenizer.c - a tokenizer.json, and after its last NUL a text to encode and decode.
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/load/parse.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    const unsigned char *cut = size ? memrchr(data, 0, size) : NULL;
    size_t json = cut ? (size_t)(cut - data) : size;
    const char *text = cut ? (const char *)cut + 1 : "Don't  panic 42\n\xc3\xa9\xff<|x|>";
    size_t bytes = cut ? size - json - 1 : strlen(text);
    struct tokenizer *tok;
    struct error err = {0};
    struct str out = {0};
    int32_t *ids;
    size_t count;
    if (tokenizer_parse("fuzz", (const char *)data, json, &tok, &err) != OK)
        return 0;
    if (tokenizer_encode(tok, text, bytes, &ids, &count, &err) == OK) {
        for (size_t i = 0; i < count; i++) {
            if (ids[i] < 0 || ids[i] >= tokenizer_vocab(tok))
                abort(); // for the fuzzer to see
            tokenizer_decode(tok, ids[i], &out);
        }
        free(ids);
    }
    str_fini(&out);
    tokenizer_destroy(tok);
    return 0;
}
