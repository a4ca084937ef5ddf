// roles.h - the tensors of a description by their roles: the vocabulary that loaders and backends share.
//
// roles.def has one row for each; CONTRIBUTING.md says how to add one.
#ifndef ENGINE_MODEL_ROLES_H
#define ENGINE_MODEL_ROLES_H

#include "engine/engine.h"

// Roles of tensors outside the layers (layer = -1; up to T_FINAL_NORM) and in one layer (layer >= 0). Norm weights are
// the factors of the normed value, whatever a file stores.
enum tensor_role {
#define ROLE(role, text, kind, rows, cols, class, stack, number, needs) T_##role,
#include "engine/model/roles.def"
#undef ROLE
    T_ROLE_COUNT
};

// The classes of `bench model info`.
enum tensor_class_id {
    CLASS_EMBEDDING,
    CLASS_ATTENTION,
    CLASS_FEED, // the feed-forward
    CLASS_EXPERTS,
    CLASS_NORM,
    CLASS_HEAD,
    CLASS_OTHER // stored, and not in the description
};

// The shape (rows, cols) of a role by the description; vectors have one row. {0, 0}: the architecture has no such
// tensor, or the role is T_ROLE_COUNT. Every format checks its headers against it.
struct tensor_shape {
    int rows, cols;
};
struct tensor_shape tensor_shape(const struct model_config *config, enum tensor_role role);
// The most columns of any matrix of the description.
int tensor_widest_row(const struct model_config *config);
// "weights: q of layer 3: row 7 holds nan", for the error that refuses a model.
enum { TENSOR_BAD_BYTES = 128 };
void tensor_bad_text(enum tensor_role role, int layer, int row, float value,
                     char out[TENSOR_BAD_BYTES]);
const char *tensor_role_name(enum tensor_role role);
// The number of a role in the generator of synthetic weights, 0 .. T_ROLE_COUNT - 1. Results depend on it, so it must
// never change; a new role takes the next number.
int tensor_role_number(enum tensor_role role);
enum tensor_class_id tensor_role_class(enum tensor_role role);
bool tensor_role_is_vector(enum tensor_role role); // norms and biases: stored with one dimension
bool tensor_role_is_norm(enum tensor_role role);   // weights of norms, not their biases
bool tensor_role_is_expert(enum tensor_role role); // T_EXPERT_*: `experts` blocks of rows
// Whether quantized schemes quantize the role: all matrices of a layer except routers.
bool tensor_role_is_product(enum tensor_role role);

#endif
