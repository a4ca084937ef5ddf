// roles.h - the tensors a description has, by what they do: the words loaders and backends share.
//
// A new role needs an entry of the enum, a row of the table in roles.c, and the names that loaders know it by. It also
// needs a row of the table of weights (weights.c) and a field in each backend (engine/cpu/weights.c,
// engine/cuda/weights.c).
#ifndef ENGINE_MODEL_ROLES_H
#define ENGINE_MODEL_ROLES_H

#include "engine/engine.h"

// Roles of tensors outside the layers (layer = -1; up to T_FINAL_NORM) and in one layer (layer >= 0).
// Norm weights are what the normed value is multiplied by, whatever a file stores.
enum tensor_role {
    T_EMBEDDING, // (vocab, width)
    T_POSITIONS, // (learned_positions, width)
    T_EMBEDDING_NORM,
    T_EMBEDDING_NORM_BIAS,
    T_HEAD, // (vocab, width); absent when tied
    T_HEAD_BIAS,
    T_FINAL_NORM_BIAS,
    T_FINAL_NORM, // the last one outside

    T_ATTN_NORM, // (width)
    T_ATTN_NORM_BIAS,
    T_Q,
    T_K,
    T_V,
    T_O,
    T_Q_BIAS,
    T_K_BIAS,
    T_V_BIAS,
    T_O_BIAS,
    T_Q_NORM, // (head_dim)
    T_K_NORM,
    T_ATTN_POST_NORM, // (width) of what attention yields
    T_FF_NORM,
    T_FF_NORM_BIAS,
    T_GATE,
    T_UP,
    T_DOWN,
    T_GATE_BIAS,
    T_UP_BIAS,
    T_DOWN_BIAS,
    T_FF_POST_NORM,  // (width) of what the feed-forward yields
    T_ROUTER,        // (experts, width)
    T_SHARED_GATE,   // (shared_ff, width): the expert all tokens go through
    T_SHARED_UP,     //
    T_SHARED_DOWN,   // (width, shared_ff)
    T_SHARED_ROUTER, // (1, width)
    T_EXPERT_GATE,   // (experts * ff, width): the rows of all experts, one expert after another.
    T_EXPERT_UP,     // These three stay the last ones: files may hold them expert by expert.
    T_EXPERT_DOWN,   // (experts * width, ff)
    T_ROLE_COUNT
};

// (rows, cols) the description gives a role; vectors are one row. {0, 0}: the architecture has no such
// tensor, or the role is none (T_ROLE_COUNT). Every format checks its headers against it.
struct tensor_shape {
    int rows, cols;
};
struct tensor_shape tensor_shape(const struct model_config *config, enum tensor_role role);
// Most columns of any matrix the description has.
int tensor_widest_row(const struct model_config *config);
// "weights: q of layer 3: row 7 holds nan", for the error that refuses a model.
enum { TENSOR_BAD_BYTES = 128 };
void tensor_bad_text(enum tensor_role role, int layer, int row, float value,
                     char out[TENSOR_BAD_BYTES]);
const char *tensor_role_name(enum tensor_role role);
// The number a role has in the generator of synthetic weights, 0 .. T_ROLE_COUNT - 1. Results depend on it: it
// never changes, and a new role takes the next one.
int tensor_role_number(enum tensor_role role);
bool tensor_role_is_vector(enum tensor_role role); // norms and biases: stored with one dimension
bool tensor_role_is_norm(enum tensor_role role);   // weights of norms, not their biases
bool tensor_role_is_expert(enum tensor_role role); // T_EXPERT_*: `experts` blocks of rows
// What quantized schemes quantize: the matrices of a layer but routers.
bool tensor_role_is_product(enum tensor_role role);

#endif
