// roles.c - one row for each tensor role: its name, what it is, its shape, and which descriptions have it.
#include "engine/model/roles.h"

#include <stdio.h>

#include "engine/model/arch.h"

enum kind { MATRIX, ROUTER, NORM, BIAS }; // ROUTER: a matrix that no scheme quantizes

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
    EXPERTS_WIDTH, // likewise
};

// What a description has; a role exists where all of its needs are met.
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
    enum size rows, cols; // a size of 0 means that the role does not exist
    int needs;
    int number; // see tensor_role_number
} roles[T_ROLE_COUNT] = {
    [T_EMBEDDING] = {"embedding", MATRIX, VOCAB, WIDTH, ALWAYS, 0},
    [T_POSITIONS] = {"positions", MATRIX, POSITIONS, WIDTH, ALWAYS, 15},
    [T_EMBEDDING_NORM] = {"embedding norm", NORM, ONE, WIDTH, EMBEDDING_NORM, 16},
    [T_EMBEDDING_NORM_BIAS] = {"embedding norm bias", BIAS, ONE, WIDTH, EMBEDDING_NORM | NORM_BIAS,
                               17},
    [T_HEAD] = {"head", MATRIX, VOCAB, WIDTH, UNTIED, 1},
    [T_HEAD_BIAS] = {"head bias", BIAS, ONE, VOCAB, HEAD_BIAS, 18},
    [T_FINAL_NORM_BIAS] = {"final norm bias", BIAS, ONE, WIDTH, NORM_BIAS, 19},
    [T_FINAL_NORM] = {"final norm", NORM, ONE, WIDTH, ALWAYS, 2},

    [T_ATTN_NORM] = {"attention norm", NORM, ONE, WIDTH, ALWAYS, 3},
    [T_ATTN_NORM_BIAS] = {"attention norm bias", BIAS, ONE, WIDTH, NORM_BIAS, 20},
    [T_Q] = {"q", MATRIX, Q, WIDTH, ALWAYS, 4},
    [T_K] = {"k", MATRIX, KV, WIDTH, ALWAYS, 5},
    [T_V] = {"v", MATRIX, KV, WIDTH, ALWAYS, 6},
    [T_O] = {"o", MATRIX, WIDTH, Q, ALWAYS, 7},
    [T_Q_BIAS] = {"q bias", BIAS, ONE, Q, QKV_BIAS, 8},
    [T_K_BIAS] = {"k bias", BIAS, ONE, KV, QKV_BIAS, 9},
    [T_V_BIAS] = {"v bias", BIAS, ONE, KV, QKV_BIAS, 10},
    [T_O_BIAS] = {"o bias", BIAS, ONE, WIDTH, O_BIAS, 21},
    [T_Q_NORM] = {"q norm", NORM, ONE, HEAD_DIM, QK_NORM, 22},
    [T_K_NORM] = {"k norm", NORM, ONE, HEAD_DIM, QK_NORM, 23},
    [T_ATTN_POST_NORM] = {"attention's post norm", NORM, ONE, WIDTH, POST_NORMS, 24},
    [T_FF_NORM] = {"feed-forward norm", NORM, ONE, WIDTH, FF_NORM, 11},
    [T_FF_NORM_BIAS] = {"feed-forward norm bias", BIAS, ONE, WIDTH, FF_NORM | NORM_BIAS, 25},
    [T_GATE] = {"gate", MATRIX, FF, WIDTH, DENSE | GATED, 12},
    [T_UP] = {"up", MATRIX, FF, WIDTH, DENSE, 13},
    [T_DOWN] = {"down", MATRIX, WIDTH, FF, DENSE, 14},
    [T_GATE_BIAS] = {"gate bias", BIAS, ONE, FF, DENSE | GATED | FF_BIAS, 26},
    [T_UP_BIAS] = {"up bias", BIAS, ONE, FF, DENSE | FF_BIAS, 27},
    [T_DOWN_BIAS] = {"down bias", BIAS, ONE, WIDTH, DENSE | FF_BIAS, 28},
    [T_FF_POST_NORM] = {"feed-forward's post norm", NORM, ONE, WIDTH, POST_NORMS, 29},
    [T_ROUTER] = {"router", ROUTER, EXPERTS, WIDTH, ALWAYS, 30},
    [T_SHARED_GATE] = {"shared expert's gate", MATRIX, SHARED_FF, WIDTH, ALWAYS, 31},
    [T_SHARED_UP] = {"shared expert's up", MATRIX, SHARED_FF, WIDTH, ALWAYS, 32},
    [T_SHARED_DOWN] = {"shared expert's down", MATRIX, WIDTH, SHARED_FF, ALWAYS, 33},
    [T_SHARED_ROUTER] = {"shared expert's share", ROUTER, ONE, WIDTH, SHARED_SHARE, 34},
    [T_EXPERT_GATE] = {"experts' gates", MATRIX, EXPERTS_FF, WIDTH, ALWAYS, 35},
    [T_EXPERT_UP] = {"experts' ups", MATRIX, EXPERTS_FF, WIDTH, ALWAYS, 36},
    [T_EXPERT_DOWN] = {"experts' downs", MATRIX, EXPERTS_WIDTH, FF, ALWAYS, 37},
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
    return role > T_FINAL_NORM && role < T_ROLE_COUNT && roles[role].kind == MATRIX;
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
