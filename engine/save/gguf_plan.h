// gguf_plan.h - plans a GGUF file from a model's description: its keys, and its tensors in order.
#ifndef ENGINE_SAVE_GGUF_PLAN_H
#define ENGINE_SAVE_GGUF_PLAN_H

#include "engine/save/gguf_writer.h"

enum { GGUF_FUSED_MAX = 4 };

// One tensor of the file: the rows of its roles, one role after another.
struct gguf_tensor {
    char name[64];
    int layer; // -1: outside
    int role_count;
    enum tensor_role roles[GGUF_FUSED_MAX];
    uint64_t rows, cols; // rows of all roles and experts together; a vector has one
    uint64_t matrices;   // experts: the third dimension; else 1
    bool plain;          // always f32: vectors, routers, positions
};

struct gguf_plan {
    struct gguf_tensor *tensors;
    size_t count;
};

// Errors: ERR_UNSUPPORTED for a tensor that GGUF cannot hold, ERR_NOMEM.
enum status gguf_plan_make(const struct model_config *config, struct gguf_plan *out,
                           struct error *err);
// Whether readers of this architecture need output.weight even if it is the embedding: it is then written twice.
bool gguf_plan_unties(const struct model_config *config);
void gguf_plan_fini(struct gguf_plan *plan);

// The description's row for `row` of a role in the file: llama.cpp interleaves the halves of each Q and K head of some
// architectures.
int gguf_plan_row(const struct model_config *config, enum tensor_role role, int row);

// Writes the keys that the loader reads (engine/load/gguf/config.c), general.architecture first.
// Errors: ERR_UNSUPPORTED.
enum status gguf_put_description(struct gguf_writer *w, const struct model_config *config,
                                 struct error *err);

#endif
