// arch.h - the architectures that this engine runs, as data, and values that follow from a description.
//
// A new architecture needs a row in arch.c (what it computes), a row in load/hf/arch.c (how config.json spells it), and
// a table in load/hf/names.c (the names of its tensors). For GGUF files, add the names and keys in load/gguf/.
#ifndef ENGINE_MODEL_ARCH_H
#define ENGINE_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

struct arch {
    const char *name; // config.json's model_type
    // The value of general.architecture in llama.cpp's files; NULL: its GGUF files are not supported.
    const char *gguf;
    bool gguf_permuted;    // llama.cpp interleaves the halves of each Q and K head
    bool scaled_embedding; // the embedding is multiplied by the root of the width
    // Fields that all models of the architecture share; loaders copy it and fill in the rest.
    struct model_config config;
};

const struct arch *arch_find(const char *name); // NULL: unknown
const struct arch *arch_find_gguf(const char *general_architecture);
// "llama, mistral, qwen2", for error messages. Returns `out`.
enum { ARCH_NAMES_BYTES = 256 };
char *arch_names(char *out, size_t out_bytes);

// The description that a loader starts from.
void arch_start(const struct arch *arch, struct model_config *config);
// Completes a description that has been read: scales that depend on sizes.
void arch_finish(const struct arch *arch, struct model_config *config);

// Refuses a description with absurd or inconsistent numbers, so that nothing computed from it overflows: vocab * width,
// layers * anything, heads * head_dim. `where` begins the message.
enum status model_config_check(const struct model_config *config, const char *where,
                               struct error *err);

// Tests only; they compare it with published numbers. The parameters of the whole model by its description (a tied head
// counts once).
uint64_t model_parameters(const struct model_config *config);

#endif
