// weights.c - the only table of weights, and the walk over it.
#include "engine/model/weights.h"

#include <assert.h>

#include "engine/backend.h"

enum part { MODEL, LAYER, EXPERT }; // the struct that holds it

// The words of roles.def.
enum { NORM = WEIGHT_VECTOR, BIAS = WEIGHT_VECTOR, PRODUCT = WEIGHT_PRODUCT };
enum { ROUTER = WEIGHT_ROUTER, HEAD = WEIGHT_HEAD, TABLE = WEIGHT_TABLE };
enum stack { FIRST, NEXT };

// In memory order.
static const struct row {
    enum tensor_role role;
    enum weight_kind kind;
    enum stack stack;
} rows[] = {
#define ROLE(role, text, kind, rows, cols, class, stack, number, needs)                            \
    {T_##role, (enum weight_kind)(kind), stack},
#include "engine/model/roles.def"
#undef ROLE
    {T_EMBEDDING, WEIGHT_HEAD, FIRST}, // a tied head is packed from the embedding's rows
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

static enum part part_of(enum tensor_role role)
{
    return role <= T_FINAL_NORM ? MODEL : tensor_role_is_expert(role) ? EXPERT : LAYER;
}

// Appends a row's role to the weight. Adds nothing if the description lacks the role.
static void add_part(const struct walk *w, const struct row *row, int expert, struct weight *weight)
{
    struct tensor_shape shape = tensor_shape(w->config, row->role);
    if (part_of(row->role) == EXPERT)
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
    bool held = row->role != T_EMBEDDING || (row->kind == WEIGHT_HEAD) == w->config->tied;
    return part_of(row->role) == part && held;
}

// Visits all weights of one part, whose struct begins at `base`.
static void walk_part(const struct walk *w, enum part part, int expert, void *base)
{
    bool stacked = w->fields->stacked;
    for (int i = 0, next; i < ROWS; i = next) {
        const struct row *row = &rows[i];
        enum tensor_role field = row->kind == WEIGHT_HEAD ? T_HEAD : row->role;
        struct weight weight = {
            .kind = row->kind,
            .type = type_of(row->kind, w->scheme),
            .group = row->kind == WEIGHT_PRODUCT ? w->scheme->group
                     : row->kind == WEIGHT_HEAD  ? QUANT_GROUP
                                                 : 0,
            .layer = w->layer,
        };
        for (next = i; next == i || (stacked && next < ROWS && rows[next].stack == NEXT); next++)
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
