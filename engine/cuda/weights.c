// weights.c - the one walk over all weights: what each role becomes in struct gpu_weights, and where.
//
// Measuring, placing, packing and uploading all follow it (gpu_weights_walk).
#include "engine/cuda/cuda.h"

#include "engine/model/sizes.h"

void *gpu_take(struct gpu_cursor *cursor, size_t count, size_t size_bytes)
{
    void *place = cursor->base ? cursor->base + cursor->used_bytes : NULL;
    size_t bytes = sat_mul(count, size_bytes);
    bytes = bytes > SIZE_MAX - 255 ? SIZE_MAX : (bytes + 255) / 256 * 256;
    cursor->used_bytes = sat_add(cursor->used_bytes, bytes);
    return place;
}

// ---- the walk over all weights -----------------------------------------------------------------------

struct walk {
    const struct model_config *config;
    const struct scheme *scheme;
    gpu_visit *visit;
    void *arg;
};

// Stacked roles; those the description does not have are left out. An expert's rows begin at expert * rows.
static struct gpu_item stacked(const struct walk *w, const enum tensor_role *roles, int count,
                               int layer, int expert)
{
    struct gpu_item item = {.layer = layer};
    for (int i = 0; i < count; i++) {
        struct tensor_shape shape = tensor_shape(w->config, roles[i]);
        int rows = tensor_role_is_expert(roles[i]) ? shape.rows / w->config->experts : shape.rows;
        if (rows == 0)
            continue;
        item.cols = shape.cols;
        item.part[item.parts].role = roles[i];
        item.part[item.parts].cols = shape.cols;
        item.part[item.parts].row0 = expert * rows;
        item.part[item.parts++].rows = rows;
    }
    return item;
}

static void visit_matrix(const struct walk *w, struct gpu_matrix *m, const enum tensor_role *roles,
                         int count, int layer, int expert, enum dtype type, int group)
{
    struct gpu_item item = stacked(w, roles, count, layer, expert);
    item.kind = GPU_MATRIX;
    item.target = m;
    item.type = type;
    item.group = group;
    if (item.parts)
        w->visit(w->arg, &item);
}

static void visit_vector(const struct walk *w, float **out, const enum tensor_role *roles,
                         int count, int layer)
{
    struct gpu_item item = stacked(w, roles, count, layer, 0);
    item.kind = GPU_VECTOR;
    item.target = out;
    if (item.parts)
        w->visit(w->arg, &item);
}

static void visit_norm(const struct walk *w, struct gpu_norm *norm, enum tensor_role weight,
                       enum tensor_role bias, int layer)
{
    visit_vector(w, &norm->weight, &weight, 1, layer);
    if (bias != weight)
        visit_vector(w, &norm->bias, &bias, 1, layer);
}

static void visit_product(const struct walk *w, struct gpu_matrix *m, const enum tensor_role *roles,
                          const enum tensor_role *biases, int count, int layer)
{
    visit_matrix(w, m, roles, count, layer, 0, w->scheme->weights, w->scheme->group);
    if (biases)
        visit_vector(w, &m->bias, biases, count, layer);
}

static void visit_experts(const struct walk *w, struct gpu_layer *layer, int index)
{
    static const enum tensor_role router = T_ROUTER, shared_router = T_SHARED_ROUTER;
    static const enum tensor_role shared[] = {T_SHARED_GATE, T_SHARED_UP}, down = T_SHARED_DOWN;
    static const enum tensor_role of_expert[] = {T_EXPERT_GATE, T_EXPERT_UP};
    static const enum tensor_role expert_down = T_EXPERT_DOWN;
    visit_matrix(w, &layer->router, &router, 1, index, 0, DT_F32, 0);
    visit_matrix(w, &layer->shared_router, &shared_router, 1, index, 0, DT_F32, 0);
    visit_product(w, &layer->shared.gate_up, shared, NULL, 2, index);
    visit_product(w, &layer->shared.down, &down, NULL, 1, index);
    for (int e = 0; e < w->config->experts; e++) {
        visit_matrix(w, &layer->experts[e].gate_up, of_expert, 2, index, e, w->scheme->weights,
                     w->scheme->group);
        visit_matrix(w, &layer->experts[e].down, &expert_down, 1, index, e, w->scheme->weights,
                     w->scheme->group);
    }
}

static void visit_layer(const struct walk *w, struct gpu_layer *layer, int index)
{
    static const enum tensor_role qkv[] = {T_Q, T_K, T_V}, o = T_O, down = T_DOWN;
    static const enum tensor_role qkv_bias[] = {T_Q_BIAS, T_K_BIAS, T_V_BIAS}, o_bias = T_O_BIAS;
    static const enum tensor_role gate_up[] = {T_GATE, T_UP}, down_bias = T_DOWN_BIAS;
    static const enum tensor_role gate_up_bias[] = {T_GATE_BIAS, T_UP_BIAS};
    static const enum tensor_role q_norm = T_Q_NORM, k_norm = T_K_NORM;
    visit_norm(w, &layer->attn_norm, T_ATTN_NORM, T_ATTN_NORM_BIAS, index);
    visit_norm(w, &layer->attn_post_norm, T_ATTN_POST_NORM, T_ATTN_POST_NORM, index);
    visit_norm(w, &layer->ff_norm, T_FF_NORM, T_FF_NORM_BIAS, index);
    visit_norm(w, &layer->ff_post_norm, T_FF_POST_NORM, T_FF_POST_NORM, index);
    visit_vector(w, &layer->q_norm, &q_norm, 1, index);
    visit_vector(w, &layer->k_norm, &k_norm, 1, index);
    visit_product(w, &layer->qkv, qkv, qkv_bias, 3, index);
    visit_product(w, &layer->out, &o, &o_bias, 1, index);
    visit_product(w, &layer->gate_up, gate_up, gate_up_bias, 2, index);
    visit_product(w, &layer->down, &down, &down_bias, 1, index);
    if (w->config->experts)
        visit_experts(w, layer, index);
}

static void visit_table(const struct walk *w, void **table, enum tensor_role role)
{
    struct gpu_item item = stacked(w, &role, 1, -1, 0);
    item.kind = GPU_TABLE;
    item.target = table;
    item.type = scheme_embedding(w->scheme);
    if (item.parts)
        w->visit(w->arg, &item);
}

void gpu_weights_walk(const struct model_config *config, const struct scheme *scheme,
                      struct gpu_weights *weights, gpu_visit *visit, void *arg)
{
    struct walk w = {config, scheme, visit, arg};
    enum tensor_role head = config->tied ? T_EMBEDDING : T_HEAD, head_bias = T_HEAD_BIAS;
    for (int i = 0; i < config->layers; i++) {
        weights->layers[i].experts = weights->experts + (size_t)i * (size_t)config->experts;
        visit_layer(&w, &weights->layers[i], i);
    }
    if (!config->tied)
        visit_table(&w, &weights->embedding, T_EMBEDDING);
    visit_table(&w, &weights->positions, T_POSITIONS);
    visit_norm(&w, &weights->embedding_norm, T_EMBEDDING_NORM, T_EMBEDDING_NORM_BIAS, -1);
    visit_norm(&w, &weights->final_norm, T_FINAL_NORM, T_FINAL_NORM_BIAS, -1);
    visit_matrix(&w, &weights->head, &head, 1, -1, 0, scheme->head, QUANT_GROUP);
    visit_vector(&w, &weights->head.bias, &head_bias, 1, -1);
}

// ---- placing -----------------------------------------------------------------------------------------

int gpu_item_rows(const struct gpu_item *item)
{
    int rows = 0;
    for (int i = 0; i < item->parts; i++)
        rows += item->part[i].rows;
    return rows;
}

// Stacked vectors differ in length.
static size_t vector_floats(const struct gpu_item *item)
{
    size_t floats = 0;
    for (int i = 0; i < item->parts; i++)
        floats += (size_t)item->part[i].cols;
    return floats;
}

struct placing {
    struct gpu_cursor *cursor;
    bool ok;
};

static void place_item(void *arg, const struct gpu_item *item)
{
    struct placing *p = arg;
    int rows = gpu_item_rows(item);
    size_t cols = (size_t)item->cols;
    switch (item->kind) {
    case GPU_MATRIX: {
        struct gpu_matrix *m = item->target;
        p->ok = cuda_layout_plan(item->type, rows, item->cols, item->group, &m->layout) && p->ok;
        m->w = gpu_take(p->cursor, (size_t)m->layout.tiles, m->layout.tile_bytes);
        break;
    }
    case GPU_VECTOR:
        *(float **)item->target = gpu_take(p->cursor, vector_floats(item), sizeof(float));
        break;
    case GPU_TABLE:
        *(void **)item->target =
            gpu_take(p->cursor, (size_t)rows, cols * (size_t)cuda_element_bytes(item->type));
        break;
    }
}

bool gpu_weights_place(struct gpu_cursor *cursor, const struct model_config *config,
                       const struct scheme *scheme, struct gpu_weights *weights)
{
    struct placing p = {cursor, true};
    gpu_weights_walk(config, scheme, weights, place_item, &p);
    return p.ok;
}
