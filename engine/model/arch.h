// arch.h - the architectures this engine runs, as data, and what follows from a description.
//
// A new architecture is a new row of the table in arch.c; config.c fills struct model_config from a
// config.json by that row, the GGUF loader from a file's metadata.
#ifndef ENGINE_MODEL_ARCH_H
#define ENGINE_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

struct arch {
    const char *name;       // config.json's model_type
    const char *gguf;       // general.architecture llama.cpp writes for it
    enum rope_kind rope;    // of the Hugging Face order of rows
    bool qkv_bias;          // q, k and v always have biases
    bool gguf_permuted;     // llama.cpp interleaves the halves of each Q and K head
    bool windowed;          // sliding_window counts unless use_sliding_window is false
    bool window_by_default; // what use_sliding_window is when config.json does not say
    int default_kv_heads;   // when config.json does not say; 0: as many as heads
};

const struct arch *arch_find(const char *name); // NULL: unknown
const struct arch *arch_find_gguf(const char *general_architecture);
// "llama, mistral, qwen2", for error messages. Returns `out`.
char *arch_names(char *out, size_t out_bytes);

// Refuses a description whose numbers are absurd or do not fit each other, so that nothing computed from
// it overflows: vocab * width, layers * anything, heads * head_dim. `where` begins the message.
enum status model_config_check(const struct model_config *config, const char *where,
                               struct error *err);

// Parameters of the whole model by its description (a tied head counts once).
uint64_t model_parameters(const struct model_config *config);

#endif
