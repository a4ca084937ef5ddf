// prepare.c - weights are packed once, tile by tile on all cores, and uploaded in pieces.
//
// Host memory holds one piece of a matrix at a time. Codes are the checkpoint's own where it stores them in the
// scheme's format.
#include "engine/cuda/cuda.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/pool.h"
#include "base/str.h"
#include "engine/load/source.h"
#include "engine/model/sizes.h"

enum { PIECE_BYTES = 64 << 20, BAD_BYTES = 128 };

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

static int item_rows(const struct gpu_item *item)
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
    int rows = item_rows(item);
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

// ---- packing and uploading ---------------------------------------------------------------------------

// Of one thread: 16 rows as f32, and as codes with their scales and zeros.
struct packing_scratch {
    float *rows, *scales;
    uint8_t *codes, *zeros;
};

struct packing {
    const struct checkpoint *ck;
    struct gpu_model *model;
    struct pool *pool;
    struct packing_scratch *scratch; // (threads)
    size_t widest;
    unsigned char *piece; // (PIECE_BYTES, or a tile where that is larger)
    size_t piece_bytes;
    const struct gpu_item *item; // under way: its tiles, or rows, [begin, end)
    int begin, end;
    int done; // layers
    engine_progress *progress;
    void *user;
    bool stop;
    atomic_flag bad; // set by the first thread that meets a weight that is no finite number
    char bad_text[BAD_BYTES];
    struct error *err;
};

static void say_bad(struct packing *p, enum tensor_role role, int layer, int row, float value)
{
    char where[32] = "";
    if (atomic_flag_test_and_set(&p->bad))
        return;
    if (layer >= 0)
        snprintf(where, sizeof where, " of layer %d", layer);
    snprintf(p->bad_text, BAD_BYTES, "weights: %s%s: row %d holds %g", tensor_role_name(role),
             where, row, (double)value);
}

static void read_row(struct packing *p, enum tensor_role role, int layer, int row, int cols,
                     float *out)
{
    p->ck->ops->read_rows(p->ck->self, role, layer, row, 1, out, (size_t)cols);
    for (int c = 0; c < cols; c++)
        if (!isfinite(out[c])) {
            say_bad(p, role, layer, row, out[c]);
            return;
        }
}

// The role that a stacked row belongs to, and its row there.
static enum tensor_role role_of(const struct gpu_item *item, int row, int *own)
{
    int i = 0;
    while (row >= item->part[i].rows)
        row -= item->part[i++].rows;
    *own = item->part[i].row0 + row;
    return item->part[i].role;
}

// A scale that is no number, or an fp8 code for none, came of a weight that is none.
static bool row_is_finite(enum dtype type, const struct quant_row *row, int cols, int groups)
{
    bool finite = true;
    for (int g = 0; g < groups; g++)
        finite = finite && isfinite(row->scales[g]);
    for (int c = 0; type == DT_F8E4M3 && c < cols; c++)
        finite = finite && (row->codes[c] & 0x7f) != 0x7f;
    return finite;
}

// The codes the checkpoint itself stores, where they mean what this matrix's do; else rounded to nearest.
static void code_row(struct packing *p, enum tensor_role role, int row, float *space,
                     struct quant_row out)
{
    const struct gpu_item *item = p->item;
    const struct source_ops *ops = p->ck->ops;
    struct stored_quant stored;
    if (ops->quantization && ops->quantization(p->ck->self, role, item->layer, &stored) &&
        stored.type == item->type && (stored.type != DT_I4 || stored.group == item->group)) {
        ops->read_codes(p->ck->self, role, item->layer, row, out);
    } else {
        read_row(p, role, item->layer, row, item->cols, space);
        quant_row_rtn(item->type, space, item->cols, item->group, out);
    }
    if (!row_is_finite(item->type, &out, item->cols,
                       quant_groups(item->type, item->cols, item->group)))
        say_bad(p, role, item->layer, row, NAN);
}

static void pack_tile(struct packing *p, int worker, int tile, void *to)
{
    const struct gpu_item *item = p->item;
    const struct gpu_matrix *m = item->target;
    const struct packing_scratch *s = &p->scratch[worker];
    struct quant_row row[CUDA_TILE_ROWS];
    int row0 = tile * CUDA_TILE_ROWS, count = m->layout.rows - row0, own;
    count = count < CUDA_TILE_ROWS ? count : CUDA_TILE_ROWS;
    for (int r = 0; r < count; r++) {
        enum tensor_role role = role_of(item, row0 + r, &own);
        size_t at = (size_t)r * p->widest;
        row[r] = (struct quant_row){s->codes + at, s->scales + at, s->zeros + at};
        if (dtype_is_quantized(item->type))
            code_row(p, role, own, s->rows + at, row[r]);
        else
            read_row(p, role, item->layer, own, item->cols, s->rows + at);
    }
    if (dtype_is_quantized(item->type))
        cuda_pack_codes(&m->layout, row, count, item->group, to);
    else
        cuda_pack_plain(&m->layout, s->rows, count, p->widest, to);
}

static void pack_job(void *arg, int worker, int workers)
{
    struct packing *p = arg;
    const struct gpu_item *item = p->item;
    int begin, end, own;
    pool_share(p->end - p->begin, 1, worker, workers, &begin, &end);
    if (item->kind == GPU_MATRIX) {
        size_t bytes = ((const struct gpu_matrix *)item->target)->layout.tile_bytes;
        for (int t = begin; t < end; t++)
            pack_tile(p, worker, p->begin + t, p->piece + (size_t)t * bytes);
        return;
    }
    const struct kernel *cast = kernel_reference(KOP_CAST, DT_F32, item->type);
    size_t bytes = (size_t)item->cols * (size_t)cuda_element_bytes(item->type);
    for (int r = begin; r < end; r++) {
        float *row = p->scratch[worker].rows;
        enum tensor_role role = role_of(item, p->begin + r, &own);
        read_row(p, role, item->layer, own, item->cols, row);
        cast->fn.cast(p->piece + (size_t)r * bytes, row, item->cols, item->cols);
    }
}

// Tiles of a matrix or rows of a table, `bytes` each, `count` of them, to `to`.
static void upload(struct packing *p, const struct gpu_item *item, unsigned char *to, int count,
                   size_t bytes)
{
    int most = (int)(p->piece_bytes / bytes);
    for (int at = 0; at < count && !p->err->code; at += most) {
        p->item = item;
        p->begin = at;
        p->end = at + most < count ? at + most : count;
        pool_run(p->pool, pack_job, p);
        device_copy_in(p->model->device, to + (size_t)at * bytes, p->piece,
                       (size_t)(p->end - at) * bytes, p->err);
    }
}

static void upload_vector(struct packing *p, const struct gpu_item *item)
{
    float *to = *(float **)item->target, *row = p->scratch[0].rows;
    for (int i = 0; i < item->parts; i++) {
        int cols = item->part[i].cols;
        read_row(p, item->part[i].role, item->layer, 0, cols, row);
        if (device_copy_in(p->model->device, to, row, (size_t)cols * sizeof *row, p->err) != OK)
            return;
        to += cols;
    }
}

static void pack_item(void *arg, const struct gpu_item *item)
{
    struct packing *p = arg;
    if (p->err->code || p->stop)
        return;
    if (item->layer + 1 > p->done) {
        p->done = item->layer + 1;
        double steps = p->model->config.layers + 1;
        p->stop = p->progress && !p->progress(p->user, (p->done - 1) / steps);
    }
    if (item->kind == GPU_VECTOR) {
        upload_vector(p, item);
    } else if (item->kind == GPU_MATRIX) {
        const struct gpu_matrix *m = item->target;
        upload(p, item, m->w, m->layout.tiles, m->layout.tile_bytes);
    } else {
        upload(p, item, *(void **)item->target, item_rows(item),
               (size_t)item->cols * (size_t)cuda_element_bytes(item->type));
    }
    for (int i = 0; i < item->parts && p->ck->ops->release; i++)
        p->ck->ops->release(p->ck->self, item->part[i].role, item->layer, item->part[i].row0,
                            item->part[i].rows);
}

// The longest row, and the largest tile or table row.
static void size_item(void *arg, const struct gpu_item *item)
{
    struct packing *p = arg;
    size_t bytes = (size_t)item->cols * 4;
    for (int i = 0; i < item->parts; i++)
        if ((size_t)item->part[i].cols > p->widest)
            p->widest = (size_t)item->part[i].cols;
    if (item->kind == GPU_MATRIX)
        bytes = ((const struct gpu_matrix *)item->target)->layout.tile_bytes;
    if (bytes > p->piece_bytes)
        p->piece_bytes = bytes;
}

static void *scratch_make(struct packing *p, int threads)
{
    size_t n = CUDA_TILE_ROWS * p->widest, each = n * (2 * sizeof(float) + 2);
    unsigned char *memory = malloc(sat_mul((size_t)threads, each));
    for (int i = 0; memory && i < threads; i++) {
        unsigned char *at = memory + (size_t)i * each;
        p->scratch[i].rows = (float *)(void *)at;
        p->scratch[i].scales = p->scratch[i].rows + n;
        p->scratch[i].codes = at + 2 * n * sizeof(float);
        p->scratch[i].zeros = p->scratch[i].codes + n;
    }
    return memory;
}

static enum status pack_all(struct gpu_model *m, const struct checkpoint *ck,
                            engine_progress *progress, void *user, struct error *err)
{
    struct packing p = {
        .ck = ck,
        .model = m,
        .piece_bytes = PIECE_BYTES,
        .progress = progress,
        .user = user,
        .bad = ATOMIC_FLAG_INIT,
        .err = err,
    };
    TRY(pool_create(0, false, &p.pool, err));
    int threads = pool_threads(p.pool);
    gpu_weights_walk(&m->config, m->scheme, &m->weights, size_item, &p);
    p.scratch = calloc((size_t)threads, sizeof *p.scratch);
    void *memory = p.scratch ? scratch_make(&p, threads) : NULL;
    p.piece = malloc(p.piece_bytes);
    if (memory && p.piece)
        gpu_weights_walk(&m->config, m->scheme, &m->weights, pack_item, &p);
    else
        FAIL(err, ERR_NOMEM, "%zu bytes to pack weights in", p.piece_bytes);
    free(p.piece);
    free(memory);
    free(p.scratch);
    pool_destroy(p.pool);
    if (p.bad_text[0])
        FAIL(err, ERR_FORMAT, "%s", p.bad_text);
    else if (p.stop)
        FAIL(err, ERR_INTERRUPTED, "stopped");
    else if (!err->code && progress && !progress(user, 1))
        FAIL(err, ERR_INTERRUPTED, "stopped");
    return err->code;
}

// ---- preparing ---------------------------------------------------------------------------------------

static union cuda_fn find(enum cuda_op op, enum dtype w, enum dtype x, struct error *err)
{
    const struct cuda_kernel *kernel = cuda_find(op, w, x);
    if (kernel)
        return kernel->fn;
    FAIL(err, ERR_UNSUPPORTED, "no CUDA kernel for %s weights and %s inputs", dtype_name(w),
         dtype_name(x));
    return (union cuda_fn){0};
}

static enum status find_kernels(struct gpu_model *m, struct error *err)
{
    enum dtype x = m->scheme->activations, head_x = m->scheme->head_activations;
    m->kernels = (struct gpu_kernels){
        .linear = find(CUOP_LINEAR, m->scheme->weights, x, err).linear,
        .head = find(CUOP_LINEAR, m->scheme->head, head_x, err).linear,
        .router = find(CUOP_LINEAR, DT_F32, DT_F32, err).linear,
        .norm = find(CUOP_NORM, DT_F32, x, err).norm,
        .head_norm = find(CUOP_NORM, DT_F32, head_x, err).norm,
        .plain_norm = find(CUOP_NORM, DT_F32, DT_F32, err).norm,
        .activate = find(CUOP_ACTIVATE, DT_F32, x, err).activate,
        .add = find(CUOP_ADD, DT_F32, DT_F32, err).add,
        .softcap = find(CUOP_SOFTCAP, DT_F32, DT_F32, err).softcap,
        .embed = find(CUOP_EMBED, DT_F32, DT_F32, err).embed,
        .gather = find(CUOP_GATHER, DT_F32, DT_F32, err).gather,
        .rotate = find(CUOP_ROTATE, DT_F32, DT_F32, err).rotate,
        .sample = find(CUOP_SAMPLE, DT_F32, DT_F32, err).sample,
        .stamp = find(CUOP_STAMP, DT_F32, DT_F32, err).stamp,
    };
    return err->code;
}

// The longest product of int8 inputs must not overflow its exact sum.
static void check_width(void *arg, const struct gpu_item *item)
{
    struct error *err = arg;
    if (item->kind == GPU_MATRIX && item->type == DT_I8 && item->cols > I8_COLS_MAX)
        FAIL(err, ERR_UNSUPPORTED,
             "products of %d int8 inputs are not supported (of up to %d are: their sums are exact)",
             item->cols, I8_COLS_MAX);
}

static enum status place_weights(struct gpu_model *m, struct error *err)
{
    struct gpu_cursor measured = {0};
    struct gpu_weights *w = &m->weights;
    char need[32], have[32];
    w->layers = calloc((size_t)m->config.layers, sizeof *w->layers);
    w->experts =
        calloc((size_t)m->config.layers * (size_t)m->config.experts + 1, sizeof *w->experts);
    if (!w->layers || !w->experts)
        return FAIL(err, ERR_NOMEM, "%d layers: out of memory", m->config.layers);
    gpu_weights_walk(&m->config, m->scheme, w, check_width, err);
    if (err->code)
        return err->code;
    if (!gpu_weights_place(&measured, &m->config, m->scheme, w))
        return FAIL(err, ERR_UNSUPPORTED,
                    "int4 in groups of %d inputs is not supported on a GPU (multiples of 32 are)",
                    m->scheme->group);
    m->weights_bytes = measured.used_bytes;
    m->memory = device_alloc(m->device, measured.used_bytes);
    if (!m->memory)
        return FAIL(
            err, ERR_NOMEM, "weights need %s and do not fit: %s available on %s",
            format_bytes((double)measured.used_bytes, need, sizeof need),
            format_bytes((double)device_memory(m->device).available_bytes, have, sizeof have),
            device_info(m->device)->name);
    struct gpu_cursor placed = {.base = m->memory};
    gpu_weights_place(&placed, &m->config, m->scheme, w);
    return OK;
}

static void gpu_prepared_destroy(void *prepared)
{
    struct gpu_model *m = prepared;
    if (!m)
        return;
    free(m->weights.layers);
    free(m->weights.experts);
    device_free(m->device, m->memory);
    free(m);
}

static enum status gpu_prepare(struct checkpoint *ck, const struct engine_options *options,
                               engine_progress *progress, void *user, void **prepared,
                               struct error *err)
{
    *prepared = NULL;
    struct gpu_model *m = calloc(1, sizeof *m);
    if (!m)
        return FAIL(err, ERR_NOMEM, "model: %zu bytes", sizeof *m);
    m->config = *checkpoint_config(ck);
    m->scheme = options->scheme;
    m->device = options->device;
    if (find_kernels(m, err) != OK || place_weights(m, err) != OK ||
        pack_all(m, ck, progress, user, err) != OK) {
        gpu_prepared_destroy(m);
        return err->code;
    }
    *prepared = m;
    return OK;
}

const struct backend cuda_backend = {
    .kind = DEVICE_CUDA,
    .prepare = gpu_prepare,
    .prepared_destroy = gpu_prepared_destroy,
    .memory_plan = gpu_memory_plan,
    .context = gpu_context_create,
    .context_destroy = gpu_context_destroy,
    .sample = gpu_context_sample,
    .step = gpu_step,
};
