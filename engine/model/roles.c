// roles.c - the tensors a description has: their shapes, their names for a person, their sum.
#include "engine/model/roles.h"

#include <string.h>

#include "engine/model/arch.h"

enum kind { MATRIX, NORM, BIAS };

static const struct {
    const char *name;
    enum kind kind;
} roles[T_ROLE_COUNT] = {
    [T_EMBEDDING] = {"embedding", MATRIX},
    [T_POSITIONS] = {"positions", MATRIX},
    [T_EMBEDDING_NORM] = {"embedding norm", NORM},
    [T_EMBEDDING_NORM_BIAS] = {"embedding norm bias", BIAS},
    [T_HEAD] = {"head", MATRIX},
    [T_HEAD_BIAS] = {"head bias", BIAS},
    [T_FINAL_NORM_BIAS] = {"final norm bias", BIAS},
    [T_FINAL_NORM] = {"final norm", NORM},
    [T_ATTN_NORM] = {"attention norm", NORM},
    [T_ATTN_NORM_BIAS] = {"attention norm bias", BIAS},
    [T_Q] = {"q", MATRIX},
    [T_K] = {"k", MATRIX},
    [T_V] = {"v", MATRIX},
    [T_O] = {"o", MATRIX},
    [T_Q_BIAS] = {"q bias", BIAS},
    [T_K_BIAS] = {"k bias", BIAS},
    [T_V_BIAS] = {"v bias", BIAS},
    [T_O_BIAS] = {"o bias", BIAS},
    [T_Q_NORM] = {"q norm", NORM},
    [T_K_NORM] = {"k norm", NORM},
    [T_ATTN_POST_NORM] = {"attention's post norm", NORM},
    [T_FF_NORM] = {"feed-forward norm", NORM},
    [T_FF_NORM_BIAS] = {"feed-forward norm bias", BIAS},
    [T_GATE] = {"gate", MATRIX},
    [T_UP] = {"up", MATRIX},
    [T_DOWN] = {"down", MATRIX},
    [T_GATE_BIAS] = {"gate bias", BIAS},
    [T_UP_BIAS] = {"up bias", BIAS},
    [T_DOWN_BIAS] = {"down bias", BIAS},
    [T_FF_POST_NORM] = {"feed-forward's post norm", NORM},
    [T_ROUTER] = {"router", MATRIX},
    [T_SHARED_GATE] = {"shared expert's gate", MATRIX},
    [T_SHARED_UP] = {"shared expert's up", MATRIX},
    [T_SHARED_DOWN] = {"shared expert's down", MATRIX},
    [T_SHARED_ROUTER] = {"shared expert's share", MATRIX},
    [T_EXPERT_GATE] = {"experts' gates", MATRIX},
    [T_EXPERT_UP] = {"experts' ups", MATRIX},
    [T_EXPERT_DOWN] = {"experts' downs", MATRIX},
};

const char *tensor_role_name(enum tensor_role role)
{
    return (unsigned)role < T_ROLE_COUNT ? roles[role].name : "unknown";
}

bool tensor_role_is_vector(enum tensor_role role)
{
    return roles[role].kind != MATRIX;
}

bool tensor_role_is_norm(enum tensor_role role)
{
    return roles[role].kind == NORM;
}

bool tensor_role_is_product(enum tensor_role role)
{
    return role > T_FINAL_NORM && role < T_ROLE_COUNT && roles[role].kind == MATRIX &&
           role != T_ROUTER && role != T_SHARED_ROUTER;
}

bool tensor_role_is_expert(enum tensor_role role)
{
    return role >= T_EXPERT_GATE;
}

static struct tensor_shape matrix(bool there, int rows, int cols)
{
    return there ? (struct tensor_shape){rows, cols} : (struct tensor_shape){0, 0};
}

static struct tensor_shape vector(bool there, int n)
{
    return matrix(there, 1, n);
}

static struct tensor_shape feed_forward_shape(const struct model_config *c, enum tensor_role role)
{
    bool dense = c->experts == 0, gated = !c->plain_ff, shared = c->shared_ff > 0;
    switch (role) {
    case T_GATE:
        return matrix(dense && gated, c->ff, c->width);
    case T_UP:
        return matrix(dense, c->ff, c->width);
    case T_DOWN:
        return matrix(dense, c->width, c->ff);
    case T_GATE_BIAS:
        return vector(dense && gated && c->ff_bias, c->ff);
    case T_UP_BIAS:
        return vector(dense && c->ff_bias, c->ff);
    case T_DOWN_BIAS:
        return vector(dense && c->ff_bias, c->width);
    case T_ROUTER:
        return matrix(!dense, c->experts, c->width);
    case T_SHARED_GATE:
    case T_SHARED_UP:
        return matrix(shared, c->shared_ff, c->width);
    case T_SHARED_DOWN:
        return matrix(shared, c->width, c->shared_ff);
    case T_SHARED_ROUTER:
        return matrix(shared && c->shared_gated, 1, c->width);
    case T_EXPERT_GATE:
    case T_EXPERT_UP:
        return matrix(!dense, c->experts * c->ff, c->width);
    case T_EXPERT_DOWN:
        return matrix(!dense, c->experts * c->width, c->ff);
    default:
        return (struct tensor_shape){0, 0};
    }
}

static struct tensor_shape outside_shape(const struct model_config *c, enum tensor_role role)
{
    switch (role) {
    case T_EMBEDDING:
        return matrix(true, c->vocab, c->width);
    case T_POSITIONS:
        return matrix(c->learned_positions > 0, c->learned_positions, c->width);
    case T_EMBEDDING_NORM:
        return vector(c->embedding_norm, c->width);
    case T_EMBEDDING_NORM_BIAS:
        return vector(c->embedding_norm && c->norm_bias, c->width);
    case T_HEAD:
        return matrix(!c->tied, c->vocab, c->width);
    case T_HEAD_BIAS:
        return vector(c->head_bias, c->vocab);
    case T_FINAL_NORM_BIAS:
        return vector(c->norm_bias, c->width);
    default: // T_FINAL_NORM
        return vector(true, c->width);
    }
}

struct tensor_shape tensor_shape(const struct model_config *c, enum tensor_role role)
{
    int q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    switch (role) {
    case T_ATTN_NORM:
        return vector(true, c->width);
    case T_ATTN_NORM_BIAS:
        return vector(c->norm_bias, c->width);
    case T_Q:
        return matrix(true, q, c->width);
    case T_K:
    case T_V:
        return matrix(true, kv, c->width);
    case T_O:
        return matrix(true, c->width, q);
    case T_Q_BIAS:
        return vector(c->qkv_bias, q);
    case T_K_BIAS:
    case T_V_BIAS:
        return vector(c->qkv_bias, kv);
    case T_O_BIAS:
        return vector(c->o_bias, c->width);
    case T_Q_NORM:
    case T_K_NORM:
        return vector(c->qk_norm, c->head_dim);
    case T_ATTN_POST_NORM:
    case T_FF_POST_NORM:
        return vector(c->post_norms, c->width);
    case T_FF_NORM:
        return vector(!c->shared_norm, c->width);
    case T_FF_NORM_BIAS:
        return vector(!c->shared_norm && c->norm_bias, c->width);
    default:
        return role <= T_FINAL_NORM ? outside_shape(c, role) : feed_forward_shape(c, role);
    }
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
