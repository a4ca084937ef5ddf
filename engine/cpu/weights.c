// weights.c - where the CPU backend keeps each role of the weights table (engine/model/weights.h), and its memory.
//
// Placing and packing both walk that table (cpu_weights_walk).
#include "engine/cpu/cpu.h"

#include "engine/model/sizes.h"

#define AT_MODEL(field)  WEIGHT_AT(struct cpu_weights, field)
#define AT_LAYER(field)  WEIGHT_AT(struct cpu_layer, field)
#define AT_EXPERT(field) WEIGHT_AT(struct cpu_expert, field)

static const struct weight_fields fields = {
    .at = {
        [T_ATTN_NORM] = AT_LAYER(attn_norm.weight),
        [T_ATTN_NORM_BIAS] = AT_LAYER(attn_norm.bias),
        [T_Q] = AT_LAYER(qkv[0]),
        [T_K] = AT_LAYER(qkv[1]),
        [T_V] = AT_LAYER(qkv[2]),
        [T_Q_BIAS] = AT_LAYER(qkv[0].bias),
        [T_K_BIAS] = AT_LAYER(qkv[1].bias),
        [T_V_BIAS] = AT_LAYER(qkv[2].bias),
        [T_Q_NORM] = AT_LAYER(q_norm),
        [T_K_NORM] = AT_LAYER(k_norm),
        [T_O] = AT_LAYER(out),
        [T_O_BIAS] = AT_LAYER(out.bias),
        [T_ATTN_POST_NORM] = AT_LAYER(attn_post_norm.weight),
        [T_FF_NORM] = AT_LAYER(ff_norm.weight),
        [T_FF_NORM_BIAS] = AT_LAYER(ff_norm.bias),
        [T_GATE] = AT_LAYER(gate),
        [T_GATE_BIAS] = AT_LAYER(gate.bias),
        [T_UP] = AT_LAYER(up),
        [T_UP_BIAS] = AT_LAYER(up.bias),
        [T_DOWN] = AT_LAYER(down),
        [T_DOWN_BIAS] = AT_LAYER(down.bias),
        [T_FF_POST_NORM] = AT_LAYER(ff_post_norm.weight),
        [T_ROUTER] = AT_LAYER(router),
        [T_SHARED_ROUTER] = AT_LAYER(shared_router),
        [T_SHARED_GATE] = AT_LAYER(shared.gate),
        [T_SHARED_UP] = AT_LAYER(shared.up),
        [T_SHARED_DOWN] = AT_LAYER(shared.down),
        [T_EXPERT_GATE] = AT_EXPERT(gate),
        [T_EXPERT_UP] = AT_EXPERT(up),
        [T_EXPERT_DOWN] = AT_EXPERT(down),
        [T_EMBEDDING] = AT_MODEL(embedding),
        [T_POSITIONS] = AT_MODEL(positions),
        [T_EMBEDDING_NORM] = AT_MODEL(embedding_norm.weight),
        [T_EMBEDDING_NORM_BIAS] = AT_MODEL(embedding_norm.bias),
        [T_FINAL_NORM] = AT_MODEL(final_norm.weight),
        [T_FINAL_NORM_BIAS] = AT_MODEL(final_norm.bias),
        [T_HEAD] = AT_MODEL(head),
        [T_HEAD_BIAS] = AT_MODEL(head.bias),
    }};

void cpu_weights_walk(const struct model_config *config, const struct scheme *scheme,
                      struct cpu_weights *weights, int layer, weight_visit *visit, void *arg)
{
    struct cpu_layer measured_layer = {0}, *l = &measured_layer;
    struct cpu_expert measured_expert = {0};
    struct weight_structs structs = {.own = weights};
    if (layer >= 0) {
        if (weights->layers)
            l = &weights->layers[layer];
        structs.own = l;
        structs.experts = (unsigned char *)(l->experts ? l->experts : &measured_expert);
        structs.expert_bytes = l->experts ? sizeof *l->experts : 0;
    }
    weights_walk(config, scheme, &fields, layer, &structs, visit, arg);
}

// ---- placing ---------------------------------------------------------------------------------------------

static void place(void *arg, const struct weight *weight)
{
    struct cpu_cursor *cursor = arg;
    size_t n = (size_t)weight_rows(weight), cols = (size_t)weight->cols;
    struct cpu_matrix *m = weight->to;
    if (weight->kind == WEIGHT_VECTOR) {
        *(float **)weight->to = cpu_take(cursor, cols, sizeof(float));
        return;
    }
    if (weight->kind == WEIGHT_TABLE) {
        size_t row_bytes = sat_mul(cols, cpu_element_bytes(weight->type));
        *(unsigned char **)weight->to = cpu_take(cursor, n, row_bytes);
        return;
    }
    m->type = weight->type;
    m->group = weight->group;
    m->rows = weight_rows(weight);
    m->cols = weight->cols;
    m->packed = cpu_take(cursor, (size_t)kernel_panel_count(m->rows), cpu_panel_bytes(m));
}

void cpu_weights_place(struct cpu_cursor *cursor, const struct model_config *config,
                       const struct scheme *scheme, struct cpu_weights *weights)
{
    for (int i = 0; i < config->layers; i++) {
        if (weights->layers && weights->experts)
            weights->layers[i].experts = weights->experts + (size_t)i * (size_t)config->experts;
        cpu_weights_walk(config, scheme, weights, i, place, cursor);
    }
    cpu_weights_walk(config, scheme, weights, -1, place, cursor);
}
