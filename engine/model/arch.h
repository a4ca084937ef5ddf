// arch.h - the architectures this engine runs, as data, and what follows from a description.
//
// A new architecture is a new row of the table in arch.c; config.c fills struct model_config from a
// config.json by that row, the GGUF loader from a file's metadata.
#ifndef ENGINE_MODEL_ARCH_H
#define ENGINE_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/engine.h"

struct arch {
    const char *name;       // config.json's model_type
    const char *gguf;       // general.architecture
    enum rope_kind rope;
    bool qkv_bias;          // always has them
    bool gguf_permuted;     // llama.cpp interleaves the halves of each Q and K head
    bool windowed;          // sliding_window counts unless use_sliding_window says otherwise
    bool tied_by_default;   // tie_word_embeddings when config.json does not say
    double default_theta;
};

const struct arch *arch_find(const char *name); // NULL: unknown
const struct arch *arch_find_gguf(const char *general_architecture);
// "llama, mistral, qwen2", for error messages. Returns `out`.
char *arch_names(char *out, size_t out_bytes);

// Refuses a description whose numbers are absurd or do not fit each other, so that nothing computed from
// it overflows: vocab * width, layers * anything, heads * head_dim. `where` begins the message.
enum status model_config_check(const struct model_config *config, const char *where,
                               struct error *err);

// The angle per position, in radians, of pair `pair` of a head (0 <= pair < rotary / 2), scaling
// included: the forward pass rotates by position * rope_frequency(config, pair).
double rope_frequency(const struct model_config *config, int pair);

// Parameters of the whole model by its description (a tied head counts once).
uint64_t model_parameters(const struct model_config *config);

#endif
