// weights.c - where the CUDA backend keeps each role of the weights table (engine/model/weights.h), and its memory.
//
// Measuring, placing, packing and uploading all walk that table (gpu_weights_walk). Products that share an input are
// stacked.
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

#define AT_MODEL(field)  WEIGHT_AT(struct gpu_weights, field)
#define AT_LAYER(field)  WEIGHT_AT(struct gpu_layer, field)
#define AT_EXPERT(field) WEIGHT_AT(struct gpu_expert, field)

// A stack has one field, which belongs to its first role.
static const struct weight_fields fields = {
    .stacked = true,
    .at = {
        [T_ATTN_NORM] = AT_LAYER(attn_norm.weight),
        [T_ATTN_NORM_BIAS] = AT_LAYER(attn_norm.bias),
        [T_Q] = AT_LAYER(qkv),
        [T_Q_BIAS] = AT_LAYER(qkv.bias),
        [T_Q_NORM] = AT_LAYER(q_norm),
        [T_K_NORM] = AT_LAYER(k_norm),
        [T_O] = AT_LAYER(out),
        [T_O_BIAS] = AT_LAYER(out.bias),
        [T_ATTN_POST_NORM] = AT_LAYER(attn_post_norm.weight),
        [T_FF_NORM] = AT_LAYER(ff_norm.weight),
        [T_FF_NORM_BIAS] = AT_LAYER(ff_norm.bias),
        [T_GATE] = AT_LAYER(gate_up),
        [T_GATE_BIAS] = AT_LAYER(gate_up.bias),
        [T_DOWN] = AT_LAYER(down),
        [T_DOWN_BIAS] = AT_LAYER(down.bias),
        [T_FF_POST_NORM] = AT_LAYER(ff_post_norm.weight),
        [T_ROUTER] = AT_LAYER(router),
        [T_SHARED_ROUTER] = AT_LAYER(shared_router),
        [T_SHARED_GATE] = AT_LAYER(shared.gate_up),
        [T_SHARED_DOWN] = AT_LAYER(shared.down),
        [T_EXPERT_GATE] = AT_EXPERT(gate_up),
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

void gpu_weights_walk(const struct model_config *config, const struct scheme *scheme,
                      struct gpu_weights *weights, weight_visit *visit, void *arg)
{
    for (int i = 0; i < config->layers; i++) {
        struct gpu_layer *layer = &weights->layers[i];
        layer->experts = weights->experts + (size_t)i * (size_t)config->experts;
        struct weight_structs structs = {layer, (unsigned char *)layer->experts,
                                         sizeof *layer->experts};
        weights_walk(config, scheme, &fields, i, &structs, visit, arg);
    }
    weights_walk(config, scheme, &fields, -1, &(struct weight_structs){.own = weights}, visit, arg);
}

// ---- placing -----------------------------------------------------------------------------------------

// Stacked vectors differ in length.
static size_t vector_floats(const struct weight *item)
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

static void place_item(void *arg, const struct weight *item)
{
    struct placing *p = arg;
    int rows = weight_rows(item);
    size_t cols = (size_t)item->cols;
    if (weight_is_matrix(item->kind)) {
        struct gpu_matrix *m = item->to;
        p->ok = cuda_layout_plan(item->type, rows, item->cols, item->group, &m->layout) && p->ok;
        m->w = gpu_take(p->cursor, (size_t)m->layout.tiles, m->layout.tile_bytes);
    } else if (item->kind == WEIGHT_VECTOR) {
        *(float **)item->to = gpu_take(p->cursor, vector_floats(item), sizeof(float));
    } else {
        *(void **)item->to =
            gpu_take(p->cursor, (size_t)rows, cols * (size_t)cuda_element_bytes(item->type));
    }
}

// Plain rows of a product's weights, in whole runs of 16 elements.
static void place_copy(void *arg, const struct weight *item)
{
    struct placing *p = arg;
    if (item->kind != WEIGHT_PRODUCT)
        return;
    struct gpu_matrix *m = item->to;
    size_t rows = (size_t)weight_rows(item);
    m->plain_ld = ((size_t)item->cols + 15) / 16 * 16;
    m->plain = gpu_take(p->cursor, rows, m->plain_ld * (size_t)cuda_element_bytes(item->type));
    if (m->layout.header_bytes)
        m->plain_scale = gpu_take(p->cursor, rows, sizeof(float));
}

bool gpu_weights_place(struct gpu_cursor *cursor, const struct model_config *config,
                       const struct scheme *scheme, struct gpu_weights *weights, size_t *copy_bytes)
{
    struct placing p = {cursor, true};
    gpu_weights_walk(config, scheme, weights, place_item, &p);
    size_t packed = cursor->used_bytes;
    if (scheme->products == PRODUCTS_CUBLASLT && !scheme_products_refused(scheme, config))
        gpu_weights_walk(config, scheme, weights, place_copy, &p);
    *copy_bytes = cursor->used_bytes - packed;
    return p.ok;
}
