// pass.h - how a step is cut into passes, for all backends.
//
// A pass takes up to engine_pass_tokens tokens through the whole model. Scratch is sized for one pass.
#ifndef ENGINE_MODEL_PASS_H
#define ENGINE_MODEL_PASS_H

#include "engine/backend.h"

// Most tokens of one pass of a context.
static inline int pass_tokens(const struct backend *backend, const struct context_options *options)
{
    long long tokens = (long long)options->batch * options->chunk;
    return tokens < backend->pass_tokens ? (int)tokens : backend->pass_tokens;
}

#endif
