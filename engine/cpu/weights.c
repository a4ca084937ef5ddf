// weights.c - the one table of weights: what each role becomes in struct cpu_weights, and where.
//
// Placing and packing both walk it (cpu_weights_walk). Rows are in memory order: what a layer's products read one
// after another lies one after another.
#include "engine/cpu/cpu.h"

#include "engine/model/sizes.h"

enum part { MODEL, LAYER, EXPERT };    // the struct that a row's offset is into
enum when { ANY, IF_TIED, IF_UNTIED }; // beyond the role's own conditions: who holds the embedding

#define AT_MODEL(field)  MODEL, offsetof(struct cpu_weights, field)
#define AT_LAYER(field)  LAYER, offsetof(struct cpu_layer, field)
#define AT_EXPERT(field) EXPERT, offsetof(struct cpu_expert, field)

static const struct {
    enum tensor_role role;
    enum cpu_weight_kind kind;
    enum part part;
    size_t offset;
    enum when when;
} rows[] = {
    {T_ATTN_NORM, CPU_VECTOR, AT_LAYER(attn_norm.weight), ANY},
    {T_ATTN_NORM_BIAS, CPU_VECTOR, AT_LAYER(attn_norm.bias), ANY},
    {T_Q, CPU_PRODUCT, AT_LAYER(qkv[0]), ANY},
    {T_K, CPU_PRODUCT, AT_LAYER(qkv[1]), ANY},
    {T_V, CPU_PRODUCT, AT_LAYER(qkv[2]), ANY},
    {T_Q_BIAS, CPU_VECTOR, AT_LAYER(qkv[0].bias), ANY},
    {T_K_BIAS, CPU_VECTOR, AT_LAYER(qkv[1].bias), ANY},
    {T_V_BIAS, CPU_VECTOR, AT_LAYER(qkv[2].bias), ANY},
    {T_Q_NORM, CPU_VECTOR, AT_LAYER(q_norm), ANY},
    {T_K_NORM, CPU_VECTOR, AT_LAYER(k_norm), ANY},
    {T_O, CPU_PRODUCT, AT_LAYER(out), ANY},
    {T_O_BIAS, CPU_VECTOR, AT_LAYER(out.bias), ANY},
    {T_ATTN_POST_NORM, CPU_VECTOR, AT_LAYER(attn_post_norm.weight), ANY},
    {T_FF_NORM, CPU_VECTOR, AT_LAYER(ff_norm.weight), ANY},
    {T_FF_NORM_BIAS, CPU_VECTOR, AT_LAYER(ff_norm.bias), ANY},
    {T_GATE, CPU_PRODUCT, AT_LAYER(gate), ANY},
    {T_GATE_BIAS, CPU_VECTOR, AT_LAYER(gate.bias), ANY},
    {T_UP, CPU_PRODUCT, AT_LAYER(up), ANY},
    {T_UP_BIAS, CPU_VECTOR, AT_LAYER(up.bias), ANY},
    {T_DOWN, CPU_PRODUCT, AT_LAYER(down), ANY},
    {T_DOWN_BIAS, CPU_VECTOR, AT_LAYER(down.bias), ANY},
    {T_FF_POST_NORM, CPU_VECTOR, AT_LAYER(ff_post_norm.weight), ANY},
    {T_ROUTER, CPU_ROUTER, AT_LAYER(router), ANY},
    {T_SHARED_ROUTER, CPU_ROUTER, AT_LAYER(shared_router), ANY},
    {T_SHARED_GATE, CPU_PRODUCT, AT_LAYER(shared.gate), ANY},
    {T_SHARED_UP, CPU_PRODUCT, AT_LAYER(shared.up), ANY},
    {T_SHARED_DOWN, CPU_PRODUCT, AT_LAYER(shared.down), ANY},
    {T_EXPERT_GATE, CPU_PRODUCT, AT_EXPERT(gate), ANY},
    {T_EXPERT_UP, CPU_PRODUCT, AT_EXPERT(up), ANY},
    {T_EXPERT_DOWN, CPU_PRODUCT, AT_EXPERT(down), ANY},

    {T_EMBEDDING, CPU_TABLE, AT_MODEL(embedding), IF_UNTIED},
    {T_POSITIONS, CPU_TABLE, AT_MODEL(positions), ANY},
    {T_EMBEDDING_NORM, CPU_VECTOR, AT_MODEL(embedding_norm.weight), ANY},
    {T_EMBEDDING_NORM_BIAS, CPU_VECTOR, AT_MODEL(embedding_norm.bias), ANY},
    {T_FINAL_NORM, CPU_VECTOR, AT_MODEL(final_norm.weight), ANY},
    {T_FINAL_NORM_BIAS, CPU_VECTOR, AT_MODEL(final_norm.bias), ANY},
    {T_HEAD, CPU_HEAD, AT_MODEL(head), IF_UNTIED},
    {T_EMBEDDING, CPU_HEAD, AT_MODEL(head), IF_TIED},
    {T_HEAD_BIAS, CPU_VECTOR, AT_MODEL(head.bias), ANY},
};

// All rows of one part, whose struct begins at `base`.
static void walk_part(const struct model_config *config, enum part part, int layer, int expert,
                      void *base, cpu_weight_visit *visit, void *arg)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct cpu_weight weight = {
            .role = rows[i].role,
            .kind = rows[i].kind,
            .shape = tensor_shape(config, rows[i].role),
            .layer = layer,
            .to = (unsigned char *)base + rows[i].offset,
        };
        if (rows[i].part != part ||
            (rows[i].when != ANY && (rows[i].when == IF_TIED) != config->tied))
            continue;
        if (part == EXPERT) {
            weight.shape.rows /= config->experts;
            weight.row0 = expert * weight.shape.rows;
        }
        if (weight.shape.rows)
            visit(arg, &weight);
    }
}

void cpu_weights_walk(const struct model_config *config, struct cpu_weights *weights, int layer,
                      cpu_weight_visit *visit, void *arg)
{
    struct cpu_layer measured_layer = {0}, *l = &measured_layer;
    struct cpu_expert measured_expert = {0};
    if (layer < 0) {
        walk_part(config, MODEL, -1, 0, weights, visit, arg);
        return;
    }
    if (weights->layers)
        l = &weights->layers[layer];
    walk_part(config, LAYER, layer, 0, l, visit, arg);
    for (int e = 0; e < config->experts; e++)
        walk_part(config, EXPERT, layer, e, l->experts ? &l->experts[e] : &measured_expert, visit,
                  arg);
}

// ---- placing ---------------------------------------------------------------------------------------------

struct placing {
    struct cpu_cursor *cursor;
    const struct scheme *scheme;
};

static void place(void *arg, const struct cpu_weight *weight)
{
    const struct placing *p = arg;
    size_t n = (size_t)weight->shape.rows, cols = (size_t)weight->shape.cols;
    struct cpu_matrix *m = weight->to;
    if (weight->kind == CPU_VECTOR) {
        *(float **)weight->to = cpu_take(p->cursor, cols, sizeof(float));
        return;
    }
    if (weight->kind == CPU_TABLE) {
        size_t row_bytes = sat_mul(cols, cpu_element_bytes(scheme_embedding(p->scheme)));
        *(unsigned char **)weight->to = cpu_take(p->cursor, n, row_bytes);
        return;
    }
    bool product = weight->kind == CPU_PRODUCT, head = weight->kind == CPU_HEAD;
    m->type = product ? p->scheme->weights : head ? p->scheme->head : DT_F32;
    m->group = product ? p->scheme->group : head ? QUANT_GROUP : 0;
    m->rows = weight->shape.rows;
    m->cols = weight->shape.cols;
    m->packed = cpu_take(p->cursor, (size_t)kernel_panel_count(m->rows), cpu_panel_bytes(m));
}

void cpu_weights_place(struct cpu_cursor *cursor, const struct model_config *config,
                       const struct scheme *scheme, struct cpu_weights *weights)
{
    struct placing placing = {cursor, scheme};
    for (int i = 0; i < config->layers; i++) {
        if (weights->layers && weights->experts)
            weights->layers[i].experts = weights->experts + (size_t)i * (size_t)config->experts;
        cpu_weights_walk(config, weights, i, place, &placing);
    }
    cpu_weights_walk(config, weights, -1, place, &placing);
}
