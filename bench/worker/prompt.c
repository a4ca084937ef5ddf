// prompt.c - makes random ids, or reads those of a file, in the length that each sequence needs.
#include "bench/worker/prompt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"
#include "bench/suite/prompt_word.h"

static void prompt_random(const struct job_cell *cell, int vocab, int32_t *ids)
{
    int tokens = cell->context - cell->gen;
    for (int s = 0; s < cell->batch; s++) {
        struct rng rng = {rng_hash(cell->sampling.seed) + rng_hash((uint64_t)s)};
        for (int t = 0; t < tokens; t++)
            ids[(size_t)s * (size_t)tokens + (size_t)t] = (int32_t)rng_below(&rng, (uint32_t)vocab);
    }
}

static enum status text_ids(const char *path, const struct tokenizer *tok, int32_t **ids,
                            size_t *count, double *tokenize_ns, struct error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    TRY(file_read(path, PROMPT_TEXT_MAX, &text, &bytes, err));
    uint64_t begin_ns = clock_ns();
    enum status status = tokenizer_encode(tok, text, bytes, ids, count, err);
    *tokenize_ns = (double)(clock_ns() - begin_ns);
    free(text);
    if (status == OK && *count == 0)
        return FAIL(err, ERR_FORMAT, "%s: no text in it", path);
    return status;
}

static enum status prompt_text(const struct job_cell *cell, const struct tokenizer *tok, int vocab,
                               int32_t *out, double *tokenize_ns, struct error *err)
{
    const char *path = prompt_text_path(cell->prompt);
    int32_t *ids = NULL;
    size_t count = 0, tokens = (size_t)(cell->context - cell->gen);
    enum status status = text_ids(path, tok, &ids, &count, tokenize_ns, err);
    for (size_t i = 0; status == OK && i < count; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            status = FAIL(err, ERR_FORMAT, "%s: id %d of the tokenizer is outside the model's %d",
                          path, (int)ids[i], vocab);
    for (size_t s = 0; status == OK && s < (size_t)cell->batch; s++) {
        size_t at = count * s / (size_t)cell->batch;
        for (size_t t = 0; t < tokens; t++)
            out[s * tokens + t] = ids[(at + t) % count];
    }
    free(ids);
    return status;
}

enum status worker_prompt_make(const struct job_cell *cell, const struct tokenizer *tok, int vocab,
                               int32_t **out, double *tokenize_ns, struct error *err)
{
    size_t count = 0;
    *out = NULL;
    *tokenize_ns = NAN;
    TRY(size_mul((size_t)cell->batch, (size_t)(cell->context - cell->gen), &count, "prompts", err));
    int32_t *ids = calloc(count, sizeof *ids);
    if (!ids)
        return FAIL(err, ERR_NOMEM, "prompts: %zu ids", count);
    if (prompt_text_path(cell->prompt)) {
        if (prompt_text(cell, tok, vocab, ids, tokenize_ns, err) != OK) {
            free(ids);
            return err->code;
        }
    } else {
        prompt_random(cell, vocab, ids);
    }
    *out = ids;
    return OK;
}
