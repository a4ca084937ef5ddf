// roles.c - what the rows of roles.def say of a role: name, kind, class, shape, and which descriptions have it.
#include "engine/model/roles.h"

#include <stdio.h>

#include "engine/model/arch.h"

enum kind { NORM, BIAS, PRODUCT, ROUTER, HEAD, TABLE };

enum size {
    ONE,
    VOCAB,
    POSITIONS,
    WIDTH,
    HEAD_DIM,
    Q,  // heads * head_dim
    KV, // kv_heads * head_dim
    FF,
    SHARED_FF,
    EXPERTS,
    EXPERTS_FF,    // of all experts, one after another
    EXPERTS_WIDTH, // of all experts, one after another
};

// Properties of a description. A role exists if all of its needs are met.
enum need {
    ALWAYS = 0,
    UNTIED = 1 << 0,
    EMBEDDING_NORM = 1 << 1,
    NORM_BIAS = 1 << 2,
    POST_NORMS = 1 << 3,
    FF_NORM = 1 << 4, // a separate norm before the feed-forward
    QK_NORM = 1 << 5,
    QKV_BIAS = 1 << 6,
    O_BIAS = 1 << 7,
    HEAD_BIAS = 1 << 8,
    DENSE = 1 << 9, // one feed-forward, no experts
    GATED = 1 << 10,
    FF_BIAS = 1 << 11,
    SHARED_SHARE = 1 << 12,
};

static const struct {
    const char *name;
    enum kind kind;
    enum size rows, cols;
    enum tensor_class_id class;
    int number;
    int needs;
} roles[T_ROLE_COUNT] = {
#define ROLE(role, text, kind, rows, cols, class, stack, number, needs)                            \
    [T_##role] = {text, kind, rows, cols, CLASS_##class, number, needs},
#include "engine/model/roles.def"
#undef ROLE
};

void tensor_bad_text(enum tensor_role role, int layer, int row, float value,
                     char out[TENSOR_BAD_BYTES])
{
    char where[32] = "";
    if (layer >= 0)
        snprintf(where, sizeof where, " of layer %d", layer);
    snprintf(out, TENSOR_BAD_BYTES, "weights: %s%s: row %d holds %g", tensor_role_name(role), where,
             row, (double)value);
}

const char *tensor_role_name(enum tensor_role role)
{
    return (unsigned)role < T_ROLE_COUNT ? roles[role].name : "unknown";
}

int tensor_role_number(enum tensor_role role)
{
    return roles[role].number;
}

enum tensor_class_id tensor_role_class(enum tensor_role role)
{
    return roles[role].class;
}

bool tensor_role_is_vector(enum tensor_role role)
{
    return roles[role].kind == NORM || roles[role].kind == BIAS;
}

bool tensor_role_is_norm(enum tensor_role role)
{
    return roles[role].kind == NORM;
}

bool tensor_role_is_product(enum tensor_role role)
{
    return role < T_ROLE_COUNT && roles[role].kind == PRODUCT;
}

bool tensor_role_is_expert(enum tensor_role role)
{
    return role >= T_EXPERT_GATE;
}

// ---- shapes ----------------------------------------------------------------------------------------------

static int size_of(const struct model_config *c, enum size size)
{
    switch (size) {
    case ONE:
        return 1;
    case VOCAB:
        return c->vocab;
    case POSITIONS:
        return c->learned_positions;
    case WIDTH:
        return c->width;
    case HEAD_DIM:
        return c->head_dim;
    case Q:
        return c->heads * c->head_dim;
    case KV:
        return c->kv_heads * c->head_dim;
    case FF:
        return c->ff;
    case SHARED_FF:
        return c->shared_ff;
    case EXPERTS:
        return c->experts;
    case EXPERTS_FF:
        return c->experts * c->ff;
    case EXPERTS_WIDTH:
        return c->experts * c->width;
    }
    return 0;
}

// The needs that a description meets.
static int met(const struct model_config *c)
{
    return (c->tied ? 0 : UNTIED) | (c->embedding_norm ? EMBEDDING_NORM : 0) |
           (c->norm_bias ? NORM_BIAS : 0) | (c->post_norms ? POST_NORMS : 0) |
           (c->shared_norm ? 0 : FF_NORM) | (c->qk_norm ? QK_NORM : 0) |
           (c->qkv_bias ? QKV_BIAS : 0) | (c->o_bias ? O_BIAS : 0) |
           (c->head_bias ? HEAD_BIAS : 0) | (c->experts ? 0 : DENSE) | (c->plain_ff ? 0 : GATED) |
           (c->ff_bias ? FF_BIAS : 0) | (c->shared_ff && c->shared_gated ? SHARED_SHARE : 0);
}

struct tensor_shape tensor_shape(const struct model_config *c, enum tensor_role role)
{
    if ((unsigned)role >= T_ROLE_COUNT)
        return (struct tensor_shape){0, 0};
    struct tensor_shape shape = {size_of(c, roles[role].rows), size_of(c, roles[role].cols)};
    if ((roles[role].needs & ~met(c)) || shape.rows <= 0 || shape.cols <= 0)
        return (struct tensor_shape){0, 0};
    return shape;
}

int tensor_widest_row(const struct model_config *c)
{
    int widest = 0;
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        int cols = tensor_shape(c, (enum tensor_role)role).cols;
        if (!tensor_role_is_vector((enum tensor_role)role) && cols > widest)
            widest = cols;
    }
    return widest;
}

uint64_t model_parameters(const struct model_config *c)
{
    uint64_t total = 0;
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        struct tensor_shape shape = tensor_shape(c, (enum tensor_role)role);
        uint64_t each = (uint64_t)shape.rows * (uint64_t)shape.cols;
        total += role <= T_FINAL_NORM ? each : each * (uint64_t)c->layers;
    }
    return total;
}
