// fuzz_tokenizer.c - a tokenizer.json or the start of a GGUF file, and after its last NUL (of JSON) a text.
//
// Whatever is taken for a tokenizer encodes the text, decodes what came of it both ways, and tells its facts.
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/load/gguf/gguf.h"
#include "engine/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void use(const struct tokenizer *tok, const char *text, size_t bytes, bool literal)
{
    struct error err = {0};
    struct str out = {0};
    int32_t *ids;
    size_t count;
    if ((literal ? tokenizer_encode_literal : tokenizer_encode)(tok, text, bytes, &ids, &count,
                                                                &err) != OK)
        return;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= tokenizer_vocab(tok))
            abort(); // for the fuzzer to see
        tokenizer_decode(tok, ids[i], &out);
    }
    tokenizer_text(tok, ids, count, &out);
    free(ids);
    str_fini(&out);
}

static void tell(const struct tokenizer *tok)
{
    struct tokenizer_facts facts = tokenizer_facts(tok);
    struct error err = {0};
    struct str out = {0};
    float *scores = malloc((size_t)facts.ids * sizeof *scores);
    for (int32_t id = 0; id < facts.ids; id++)
        tokenizer_spelling(tok, id, &out);
    for (size_t rank = 0; rank < facts.merges; rank++)
        tokenizer_merge_spelling(tok, rank, &out);
    if (scores)
        tokenizer_scores(tok, scores, &err);
    free(scores);
    str_fini(&out);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const char plain[] = "Don't  panic 42\n\xc3\xa9\xff<|x|>\xe2\x96\x81 ab";
    struct tokenizer *tok;
    struct error err = {0};
    bool gguf = size > 4 && memcmp(data, "GGUF", 4) == 0;
    const unsigned char *cut = size && !gguf ? memrchr(data, 0, size) : NULL;
    size_t json = cut ? (size_t)(cut - data) : size;
    enum status status = gguf ? gguf_tokenizer_parse("fuzz", data, size, &tok, &err)
                              : tokenizer_parse("fuzz", (const char *)data, json, &tok, &err);
    if (status != OK)
        return 0;
    use(tok, plain, sizeof plain - 1, false);
    use(tok, plain, sizeof plain - 1, true);
    if (cut)
        use(tok, (const char *)cut + 1, size - json - 1, false);
    tell(tok);
    tokenizer_destroy(tok);
    return 0;
}
