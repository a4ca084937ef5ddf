// prompt.h - the prompt ids of a cell's sequences.
#ifndef BENCH_WORKER_PROMPT_H
#define BENCH_WORKER_PROMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "bench/protocol/protocol.h"
#include "engine/engine.h"

// The longest prompt text that is read.
enum { PROMPT_TEXT_MAX = 256 << 20 };

// *out: (batch, context - gen) ids; caller frees. "random": uniform over the vocabulary, from the sampling seed and the
// number of the sequence. "text:FILE": the ids of the file. Sequence s starts at the fraction s/batch of the text,
// which wraps around at its end. tok: may be NULL for a random prompt. *tokenize_ns: the time for turning text into
// ids, NaN for random.
// Errors: ERR_IO, ERR_FORMAT (no text; ids outside the vocabulary), ERR_NOMEM.
enum status worker_prompt_make(const struct job_cell *cell, const struct tokenizer *tok, int vocab,
                               int32_t **out, double *tokenize_ns, struct error *err);

#endif
