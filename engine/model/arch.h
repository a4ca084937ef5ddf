// arch.h - the architectures this engine runs, as data, and what follows from a description.
//
// A new architecture is a row of the table in arch.c: what it computes. It is also a row of the table in load/hf/arch.c
// (how config.json spells it) and a table in load/hf/names.c (what its tensors are called). For GGUF files, add the
// names and keys in load/gguf/.
#ifndef ENGINE_MODEL_ARCH_H
#define ENGINE_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

struct arch {
    const char *name; // config.json's model_type
    const char *gguf; // general.architecture llama.cpp writes for it; NULL: GGUF of it is not read
    bool gguf_permuted;    // llama.cpp interleaves the halves of each Q and K head
    bool scaled_embedding; // times the root of the width
    // What all models of the architecture share; loaders copy it and fill in the rest.
    struct model_config config;
};

const struct arch *arch_find(const char *name); // NULL: unknown
const struct arch *arch_find_gguf(const char *general_architecture);
// "llama, mistral, qwen2", for error messages. Returns `out`.
enum { ARCH_NAMES_BYTES = 256 };
char *arch_names(char *out, size_t out_bytes);

// The description a loader begins with.
void arch_start(const struct arch *arch, struct model_config *config);
// What follows from a description that has been read: scales that depend on sizes.
void arch_finish(const struct arch *arch, struct model_config *config);

// Refuses a description whose numbers are absurd or do not fit each other, so that nothing computed from
// it overflows: vocab * width, layers * anything, heads * head_dim. `where` begins the message.
enum status model_config_check(const struct model_config *config, const char *where,
                               struct error *err);

// Tests only, which compare it with published numbers: parameters of the whole model by its description (a tied head
// counts once).
uint64_t model_parameters(const struct model_config *config);

#endif
