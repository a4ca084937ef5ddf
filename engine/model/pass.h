// pass.h - how a step is cut into passes, whatever the backend.
//
// A pass is up to ENGINE_PASS_TOKENS tokens through the whole model. Scratch is sized for one pass, so that it does
// not grow with batch times chunk.
#ifndef ENGINE_MODEL_PASS_H
#define ENGINE_MODEL_PASS_H

#include "engine/engine.h"

// Most tokens of one pass.
static inline int pass_tokens(const struct context_options *options)
{
    long long tokens = (long long)options->batch * options->chunk;
    return tokens < ENGINE_PASS_TOKENS ? (int)tokens : ENGINE_PASS_TOKENS;
}

#endif
