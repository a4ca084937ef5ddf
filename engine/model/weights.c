// weights.c - the one table of weights, and the walk over it.
#include "engine/model/weights.h"

#include <assert.h>

#include "engine/backend.h"

enum part { MODEL, LAYER, EXPERT };    // whose struct holds it
enum when { ANY, IF_TIED, IF_UNTIED }; // beyond the role's own conditions: who holds the embedding

// In memory order. first: the role that a stack begins with; a row without a stack names itself.
static const struct row {
    enum tensor_role role;
    enum weight_kind kind;
    enum part part;
    enum tensor_role first;
    enum when when;
} rows[] = {
    {T_ATTN_NORM, WEIGHT_VECTOR, LAYER, T_ATTN_NORM, ANY},
    {T_ATTN_NORM_BIAS, WEIGHT_VECTOR, LAYER, T_ATTN_NORM_BIAS, ANY},
    {T_Q, WEIGHT_PRODUCT, LAYER, T_Q, ANY},
    {T_K, WEIGHT_PRODUCT, LAYER, T_Q, ANY},
    {T_V, WEIGHT_PRODUCT, LAYER, T_Q, ANY},
    {T_Q_BIAS, WEIGHT_VECTOR, LAYER, T_Q_BIAS, ANY},
    {T_K_BIAS, WEIGHT_VECTOR, LAYER, T_Q_BIAS, ANY},
    {T_V_BIAS, WEIGHT_VECTOR, LAYER, T_Q_BIAS, ANY},
    {T_Q_NORM, WEIGHT_VECTOR, LAYER, T_Q_NORM, ANY},
    {T_K_NORM, WEIGHT_VECTOR, LAYER, T_K_NORM, ANY},
    {T_O, WEIGHT_PRODUCT, LAYER, T_O, ANY},
    {T_O_BIAS, WEIGHT_VECTOR, LAYER, T_O_BIAS, ANY},
    {T_ATTN_POST_NORM, WEIGHT_VECTOR, LAYER, T_ATTN_POST_NORM, ANY},
    {T_FF_NORM, WEIGHT_VECTOR, LAYER, T_FF_NORM, ANY},
    {T_FF_NORM_BIAS, WEIGHT_VECTOR, LAYER, T_FF_NORM_BIAS, ANY},
    {T_GATE, WEIGHT_PRODUCT, LAYER, T_GATE, ANY},
    {T_UP, WEIGHT_PRODUCT, LAYER, T_GATE, ANY},
    {T_GATE_BIAS, WEIGHT_VECTOR, LAYER, T_GATE_BIAS, ANY},
    {T_UP_BIAS, WEIGHT_VECTOR, LAYER, T_GATE_BIAS, ANY},
    {T_DOWN, WEIGHT_PRODUCT, LAYER, T_DOWN, ANY},
    {T_DOWN_BIAS, WEIGHT_VECTOR, LAYER, T_DOWN_BIAS, ANY},
    {T_FF_POST_NORM, WEIGHT_VECTOR, LAYER, T_FF_POST_NORM, ANY},
    {T_ROUTER, WEIGHT_ROUTER, LAYER, T_ROUTER, ANY},
    {T_SHARED_ROUTER, WEIGHT_ROUTER, LAYER, T_SHARED_ROUTER, ANY},
    {T_SHARED_GATE, WEIGHT_PRODUCT, LAYER, T_SHARED_GATE, ANY},
    {T_SHARED_UP, WEIGHT_PRODUCT, LAYER, T_SHARED_GATE, ANY},
    {T_SHARED_DOWN, WEIGHT_PRODUCT, LAYER, T_SHARED_DOWN, ANY},
    {T_EXPERT_GATE, WEIGHT_PRODUCT, EXPERT, T_EXPERT_GATE, ANY},
    {T_EXPERT_UP, WEIGHT_PRODUCT, EXPERT, T_EXPERT_GATE, ANY},
    {T_EXPERT_DOWN, WEIGHT_PRODUCT, EXPERT, T_EXPERT_DOWN, ANY},

    {T_EMBEDDING, WEIGHT_TABLE, MODEL, T_EMBEDDING, IF_UNTIED},
    {T_POSITIONS, WEIGHT_TABLE, MODEL, T_POSITIONS, ANY},
    {T_EMBEDDING_NORM, WEIGHT_VECTOR, MODEL, T_EMBEDDING_NORM, ANY},
    {T_EMBEDDING_NORM_BIAS, WEIGHT_VECTOR, MODEL, T_EMBEDDING_NORM_BIAS, ANY},
    {T_FINAL_NORM, WEIGHT_VECTOR, MODEL, T_FINAL_NORM, ANY},
    {T_FINAL_NORM_BIAS, WEIGHT_VECTOR, MODEL, T_FINAL_NORM_BIAS, ANY},
    {T_HEAD, WEIGHT_HEAD, MODEL, T_HEAD, IF_UNTIED},
    {T_EMBEDDING, WEIGHT_HEAD, MODEL, T_HEAD, IF_TIED}, // kept where a head of its own would be
    {T_HEAD_BIAS, WEIGHT_VECTOR, MODEL, T_HEAD_BIAS, ANY},
};
enum { ROWS = sizeof rows / sizeof *rows };

bool weight_is_matrix(enum weight_kind kind)
{
    return kind == WEIGHT_PRODUCT || kind == WEIGHT_ROUTER || kind == WEIGHT_HEAD;
}

int weight_rows(const struct weight *weight)
{
    int sum = 0;
    for (int i = 0; i < weight->parts; i++)
        sum += weight->part[i].rows;
    return sum;
}

static enum dtype type_of(enum weight_kind kind, const struct scheme *scheme)
{
    switch (kind) {
    case WEIGHT_PRODUCT:
        return scheme->weights;
    case WEIGHT_HEAD:
        return scheme->head;
    case WEIGHT_TABLE:
        return scheme_embedding(scheme);
    default:
        return DT_F32;
    }
}

struct walk {
    const struct model_config *config;
    const struct scheme *scheme;
    const struct weight_fields *fields;
    int layer;
    weight_visit *visit;
    void *arg;
};

// Appends a row's role to the weight; one that the description does not have adds nothing.
static void add_part(const struct walk *w, const struct row *row, int expert, struct weight *weight)
{
    struct tensor_shape shape = tensor_shape(w->config, row->role);
    if (row->part == EXPERT)
        shape.rows /= w->config->experts;
    if (shape.rows == 0)
        return;
    assert(weight->parts < WEIGHT_PARTS);
    weight->cols = shape.cols;
    weight->part[weight->parts++] =
        (struct weight_part){row->role, expert * shape.rows, shape.rows, shape.cols};
}

static bool is_here(const struct walk *w, const struct row *row, enum part part)
{
    return row->part == part && (row->when == ANY || (row->when == IF_TIED) == w->config->tied);
}

// All weights of one part, whose struct begins at `base`.
static void walk_part(const struct walk *w, enum part part, int expert, void *base)
{
    bool stacked = w->fields->stacked;
    for (int i = 0, next; i < ROWS; i = next) {
        const struct row *row = &rows[i];
        // A tied head is the embedding's rows in the head's field.
        enum tensor_role field = stacked || row->when == IF_TIED ? row->first : row->role;
        struct weight weight = {
            .kind = row->kind,
            .type = type_of(row->kind, w->scheme),
            .group = row->kind == WEIGHT_PRODUCT ? w->scheme->group
                     : row->kind == WEIGHT_HEAD  ? QUANT_GROUP
                                                 : 0,
            .layer = w->layer,
        };
        for (next = i; next < ROWS && rows[next].first == row->first && (stacked || next == i);
             next++)
            if (is_here(w, &rows[next], part))
                add_part(w, &rows[next], expert, &weight);
        if (weight.parts == 0)
            continue;
        assert(w->fields->at[field] != 0); // the backend has no field for this role
        weight.to = (unsigned char *)base + w->fields->at[field] - 1;
        w->visit(w->arg, &weight);
    }
}

void weights_walk(const struct model_config *config, const struct scheme *scheme,
                  const struct weight_fields *fields, int layer,
                  const struct weight_structs *structs, weight_visit *visit, void *arg)
{
    struct walk w = {config, scheme, fields, layer, visit, arg};
    walk_part(&w, layer < 0 ? MODEL : LAYER, 0, structs->own);
    for (int e = 0; layer >= 0 && e < config->experts; e++)
        walk_part(&w, EXPERT, e, structs->experts + (size_t)e * structs->expert_bytes);
}
