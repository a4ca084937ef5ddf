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

enum { WEIGHT_PARTS = 3 }; // most roles of a stack

// One weight of a backend: a role, an expert's part of a role, or several roles stacked.
struct weight {
    enum weight_kind kind;
    enum dtype type; // that it is stored in
    int group;       // DT_I4: inputs that share a scale
    int layer;       // -1: outside the layers
    void *to;        // the backend's field
    int cols;        // inputs of a matrix or table; of stacked vectors each has its own
    int parts;
    struct weight_part {
        enum tensor_role role;
        int row0; // where this part begins in the role: an expert's
        int rows, cols;
    } part[WEIGHT_PARTS];
};
int weight_rows(const struct weight *weight); // of all its parts

// Where a backend keeps each role: WEIGHT_AT of a field in its struct of the model, of a layer, or of an expert,
// whichever the role belongs to. A stack is kept where its first role is.
struct weight_fields {
    bool stacked;
    size_t at[T_ROLE_COUNT];
};
#define WEIGHT_AT(type, field) (offsetof(type, field) + 1) // 0: no field was given

// The structs of one layer, or of the model.
struct weight_structs {
    void *own;
    unsigned char *experts; // of the layer: one struct after another, `expert_bytes` apart
    size_t expert_bytes;    // 0: all share one struct, as while measuring
};

typedef void weight_visit(void *arg, const struct weight *weight);
// Visits each weight that the description has, of one layer or (-1) outside the layers, in memory order: what a
// layer's products read one after another lies one after another.
void weights_walk(const struct model_config *config, const struct scheme *scheme,
                  const struct weight_fields *fields, int layer,
                  const struct weight_structs *structs, weight_visit *visit, void *arg);

#endif
