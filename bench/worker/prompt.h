// prompt.h - the token ids a cell's sequences are fed.
#ifndef BENCH_WORKER_PROMPT_H
#define BENCH_WORKER_PROMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "bench/protocol/protocol.h"
#include "engine/engine.h"

// The longest prompt text that is read.
enum { PROMPT_TEXT_MAX = 256 << 20 };

// *out: (batch, context - gen) ids, the caller frees. "random": uniform over the vocabulary, from the
// sampling seed and the sequence's number. "text:FILE": the file's ids; sequence s begins s/batch of the
// way in, and the text begins again at its end. tok: may be NULL when the prompt is random.
// *tokenize_ns: the time to turn text into ids, NaN for random.
// Errors: ERR_IO, ERR_FORMAT (no text; ids outside the vocabulary), ERR_NOMEM.
enum status worker_prompt_make(const struct job_cell *cell, const struct tokenizer *tok, int vocab,
                               int32_t **out, double *tokenize_ns, struct error *err);

#endif
