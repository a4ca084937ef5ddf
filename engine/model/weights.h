// weights.h - the walk over the one table of weights, roles.def.
//
// Every backend measures, places and packs by this walk and brings only its table of fields. A new role is a row of
// roles.def and a field of each backend. A backend may stack rows of one input (q above k above v, gate above up): they
// are one matrix then, and one vector of biases.
#ifndef ENGINE_MODEL_WEIGHTS_H
#define ENGINE_MODEL_WEIGHTS_H

#include <stddef.h>

#include "engine/model/roles.h"

enum weight_kind {
    WEIGHT_VECTOR,  // f32: norms and biases
    WEIGHT_PRODUCT, // a matrix in the scheme's type
    WEIGHT_ROUTER,  // a matrix in f32 whatever the scheme: small, and it makes decisions
    WEIGHT_HEAD,    // a matrix in the head's type
    WEIGHT_TABLE,   // rows of type scheme_embedding(), read one at a time
};
// Products, routers and heads.
bool weight_is_matrix(enum weight_kind kind);

enum { WEIGHT_PARTS = 3 }; // the most roles in a stack

// One weight of a backend: a role, an expert's part of a role, or several roles stacked.
struct weight {
    enum weight_kind kind;
    enum dtype type; // stored type
    int group;       // types in groups: inputs that share a scale
    int layer;       // -1: outside the layers
    void *to;        // the backend's field
    int cols;        // inputs of a matrix or table; stacked vectors differ
    int parts;
    struct weight_part {
        enum tensor_role role;
        int row0; // first row of this part in the role: for experts
        int rows, cols;
    } part[WEIGHT_PARTS];
};
int weight_rows(const struct weight *weight); // rows of all its parts

// Where a backend keeps each role: WEIGHT_AT of a field in its struct for the model, a layer or an expert, whichever
// the role belongs to. A stack is kept in the field of its first role.
struct weight_fields {
    bool stacked;
    size_t at[T_ROLE_COUNT];
};
#define WEIGHT_AT(type, field) (offsetof(type, field) + 1) // 0: no field is set

// The structs of one layer, or of the model.
struct weight_structs {
    void *own;
    unsigned char *experts; // of the layer: consecutive structs, `expert_bytes` apart
    size_t expert_bytes;    // 0: all share one struct, as for measuring
};

typedef void weight_visit(void *arg, const struct weight *weight);
// Visits each weight of the description, in one layer or (-1) outside the layers, in memory order. Weights lie in the
// order in which a layer's products read them.
void weights_walk(const struct model_config *config, const struct scheme *scheme,
                  const struct weight_fields *fields, int layer,
                  const struct weight_structs *structs, weight_visit *visit, void *arg);

#endif
