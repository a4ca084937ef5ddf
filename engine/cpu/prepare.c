// prepare.c - weights are packed once: source rows -> 16 f32 rows of scratch a thread -> one panel. Quantized
// ones pass through codes, which are the checkpoint's own where it stores them in the same format.
//
// Each thread packs the panels it will read in decode, so that on a machine of several memory nodes
// they lie near it, and no f32 copy larger than 16 rows ever exists. What was read is let go at once: a load
// takes the packed model, and of the file what the threads are reading.
#include "engine/cpu/cpu.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/os.h"
#include "base/str.h"
#include "engine/load/source.h"
#include "engine/model/sizes.h"

// ---- layout ---------------------------------------------------------------------------------------------

static struct cpu_matrix matrix_place(struct cursor *cursor, struct tensor_shape shape,
                                      enum dtype type, int group)
{
    struct cpu_matrix m = {.type = type, .rows = shape.rows, .cols = shape.cols, .group = group};
    m.packed = cursor_take(cursor, (size_t)panel_count(m.rows), cpu_panel_bytes(&m));
    return m;
}

// A product inside a layer.
static struct cpu_matrix product_place(struct cursor *cursor, const struct model_config *config,
                                       const struct scheme *scheme, enum tensor_role role)
{
    return matrix_place(cursor, tensor_shape(config, role), scheme->weights, scheme->group);
}

static float *vector_place(struct cursor *cursor, const struct model_config *config,
                           enum tensor_role role)
{
    size_t n = (size_t)tensor_shape(config, role).cols;
    return n ? cursor_take(cursor, n, sizeof(float)) : NULL;
}

static struct cpu_norm norm_place(struct cursor *cursor, const struct model_config *config,
                                  enum tensor_role weight, enum tensor_role bias)
{
    struct cpu_norm norm = {.weight = vector_place(cursor, config, weight)};
    if (bias != weight)
        norm.bias = vector_place(cursor, config, bias);
    return norm;
}

// A role of all experts: the part of one of them.
static struct cpu_matrix expert_place(struct cursor *cursor, const struct model_config *config,
                                      const struct scheme *scheme, enum tensor_role role)
{
    struct tensor_shape shape = tensor_shape(config, role);
    shape.rows /= config->experts;
    return matrix_place(cursor, shape, scheme->weights, scheme->group);
}

static void experts_place(struct cursor *cursor, const struct model_config *config,
                          const struct scheme *scheme, struct cpu_layer *layer)
{
    layer->router = matrix_place(cursor, tensor_shape(config, T_ROUTER), DT_F32, 0);
    layer->shared_router = matrix_place(cursor, tensor_shape(config, T_SHARED_ROUTER), DT_F32, 0);
    layer->shared.gate = product_place(cursor, config, scheme, T_SHARED_GATE);
    layer->shared.up = product_place(cursor, config, scheme, T_SHARED_UP);
    layer->shared.down = product_place(cursor, config, scheme, T_SHARED_DOWN);
    for (int e = 0; e < config->experts; e++) {
        struct cpu_expert measured, *expert = layer->experts ? &layer->experts[e] : &measured;
        expert->gate = expert_place(cursor, config, scheme, T_EXPERT_GATE);
        expert->up = expert_place(cursor, config, scheme, T_EXPERT_UP);
        expert->down = expert_place(cursor, config, scheme, T_EXPERT_DOWN);
    }
}

static void layer_place(struct cursor *cursor, const struct model_config *config,
                        const struct scheme *scheme, struct cpu_layer *layer)
{
    static const enum tensor_role qkv[3] = {T_Q, T_K, T_V};
    static const enum tensor_role bias[3] = {T_Q_BIAS, T_K_BIAS, T_V_BIAS};
    layer->attn_norm = norm_place(cursor, config, T_ATTN_NORM, T_ATTN_NORM_BIAS);
    for (int i = 0; i < 3; i++)
        layer->qkv[i] = product_place(cursor, config, scheme, qkv[i]);
    for (int i = 0; i < 3; i++)
        layer->qkv[i].bias = vector_place(cursor, config, bias[i]);
    layer->q_norm = vector_place(cursor, config, T_Q_NORM);
    layer->k_norm = vector_place(cursor, config, T_K_NORM);
    layer->out = product_place(cursor, config, scheme, T_O);
    layer->out.bias = vector_place(cursor, config, T_O_BIAS);
    layer->attn_post_norm = norm_place(cursor, config, T_ATTN_POST_NORM, T_ATTN_POST_NORM);
    layer->ff_norm = norm_place(cursor, config, T_FF_NORM, T_FF_NORM_BIAS);
    layer->gate = product_place(cursor, config, scheme, T_GATE);
    layer->gate.bias = vector_place(cursor, config, T_GATE_BIAS);
    layer->up = product_place(cursor, config, scheme, T_UP);
    layer->up.bias = vector_place(cursor, config, T_UP_BIAS);
    layer->down = product_place(cursor, config, scheme, T_DOWN);
    layer->down.bias = vector_place(cursor, config, T_DOWN_BIAS);
    layer->ff_post_norm = norm_place(cursor, config, T_FF_POST_NORM, T_FF_POST_NORM);
    experts_place(cursor, config, scheme, layer);
}

void weights_place(struct cursor *cursor, const struct model_config *config,
                   const struct scheme *scheme, struct cpu_weights *weights)
{
    for (int i = 0; i < config->layers; i++) {
        struct cpu_layer measured = {0}, *layer = weights->layers ? &weights->layers[i] : &measured;
        if (weights->experts)
            layer->experts = weights->experts + (size_t)i * (size_t)config->experts;
        layer_place(cursor, config, scheme, layer);
    }
    size_t row_bytes = sat_mul((size_t)config->width, cpu_element_bytes(scheme_embedding(scheme)));
    weights->embedding = weights->positions = NULL;
    if (!config->tied)
        weights->embedding = cursor_take(cursor, (size_t)config->vocab, row_bytes);
    if (config->learned_positions)
        weights->positions = cursor_take(cursor, (size_t)config->learned_positions, row_bytes);
    weights->embedding_norm = norm_place(cursor, config, T_EMBEDDING_NORM, T_EMBEDDING_NORM_BIAS);
    weights->final_norm = norm_place(cursor, config, T_FINAL_NORM, T_FINAL_NORM_BIAS);
    struct tensor_shape head = {config->vocab, config->width};
    weights->head = matrix_place(cursor, head, scheme->head, QUANT_GROUP);
    weights->head.bias = vector_place(cursor, config, T_HEAD_BIAS);
}

// ---- packing ---------------------------------------------------------------------------------------------

// Of one thread: 16 rows as f32, and as codes with their scales and zeros.
struct packing_scratch {
    float *rows, *scales;
    uint8_t *codes, *zeros;
};

struct packing {
    const struct checkpoint *ck;
    struct cpu_model *model;
    struct packing_scratch *scratch; // (threads)
    size_t widest;
    engine_progress *progress; // called by worker 0
    void *user;
    atomic_bool stop; // it was asked to: no worker begins another layer
    atomic_flag *bad; // set by the first thread that meets a weight that is no finite number;
    char *bad_text;   // it says where, in BAD_BYTES
};

enum { BAD_BYTES = 128 };

static void say_bad(const struct packing *p, enum tensor_role role, int layer, int row, float value)
{
    char where[32] = "";
    if (atomic_flag_test_and_set(p->bad))
        return;
    if (layer >= 0)
        snprintf(where, sizeof where, " of layer %d", layer);
    snprintf(p->bad_text, BAD_BYTES, "weights: %s%s: row %d holds %g", tensor_role_name(role),
             where, row, (double)value);
}

// Rows as f32, each weight looked at: one NaN would make every token after it nothing.
static void read_rows(const struct packing *p, enum tensor_role role, int layer, int row0, int rows,
                      float *out, size_t ld)
{
    int cols = tensor_shape(&p->model->config, role).cols;
    p->ck->ops->read_rows(p->ck->self, role, layer, row0, rows, out, ld);
    for (int r = 0; r < rows; r++) {
        const float *row = out + (size_t)r * ld;
        bool finite = true;
        for (int c = 0; c < cols; c++)
            finite &= fabsf(row[c]) <= FLT_MAX;
        for (int c = 0; !finite && c < cols; c++)
            if (!isfinite(row[c]))
                say_bad(p, role, layer, row0 + r, row[c]);
    }
}

static void release_rows(const struct packing *p, enum tensor_role role, int layer, int row0,
                         int rows)
{
    if (p->ck->ops->release && rows > 0)
        p->ck->ops->release(p->ck->self, role, layer, row0, rows);
}

// The codes the checkpoint itself stores, where they mean what this matrix's do.
static bool stored_codes(const struct packing *p, const struct cpu_matrix *matrix,
                         enum tensor_role role, int layer)
{
    const struct source_ops *ops = p->ck->ops;
    struct stored_quant stored;
    return ops->quantization && ops->quantization(p->ck->self, role, layer, &stored) &&
           stored.type == matrix->type && (stored.type != DT_I4 || stored.group == matrix->group);
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

static void pack_quantized(const struct packing *p, const struct packing_scratch *s,
                           const struct cpu_matrix *matrix, enum tensor_role role, int layer,
                           int row0, int rows, void *panel)
{
    struct quant_row row[PANEL_ROWS];
    int groups = quant_groups(matrix->type, matrix->cols, matrix->group);
    bool stored = stored_codes(p, matrix, role, layer);
    if (!stored)
        read_rows(p, role, layer, row0, rows, s->rows, p->widest);
    for (int r = 0; r < rows; r++) {
        size_t at = (size_t)r * p->widest;
        row[r] = (struct quant_row){s->codes + at, s->scales + at, s->zeros + at};
        if (stored)
            p->ck->ops->read_codes(p->ck->self, role, layer, row0 + r, row[r]);
        else
            quant_row_rtn(matrix->type, s->rows + at, matrix->cols, matrix->group, row[r]);
        if (!row_is_finite(matrix->type, &row[r], matrix->cols, groups))
            say_bad(p, role, layer, row0 + r, NAN);
    }
    pack_quant_panel(matrix->type, row, rows, matrix->cols, matrix->group, panel);
}

// Rows of the role from `row_first` on become the matrix.
static void pack_rows(const struct packing *p, int worker, int workers,
                      const struct cpu_matrix *matrix, enum tensor_role role, int layer,
                      int row_first)
{
    const struct packing_scratch *s = &p->scratch[worker];
    size_t bytes = cpu_panel_bytes(matrix);
    int begin, end;
    pool_share(panel_count(matrix->rows), 1, worker, workers, &begin, &end);
    for (int panel = begin; panel < end; panel++) {
        int row0 = panel * PANEL_ROWS, rows = matrix->rows - row0;
        if (rows > PANEL_ROWS)
            rows = PANEL_ROWS;
        unsigned char *to = matrix->packed + (size_t)panel * bytes;
        if (dtype_is_quantized(matrix->type)) {
            pack_quantized(p, s, matrix, role, layer, row_first + row0, rows, to);
            continue;
        }
        read_rows(p, role, layer, row_first + row0, rows, s->rows, p->widest);
        pack_panel(matrix->type, s->rows, rows, matrix->cols, p->widest, to);
    }
    int row0 = begin * PANEL_ROWS, row1 = end * PANEL_ROWS;
    release_rows(p, role, layer, row_first + row0,
                 (row1 < matrix->rows ? row1 : matrix->rows) - row0);
}

static void pack_matrix(const struct packing *p, int worker, int workers,
                        const struct cpu_matrix *matrix, enum tensor_role role, int layer)
{
    pack_rows(p, worker, workers, matrix, role, layer, 0);
}

// Whole vectors, one worker each in turn.
static void read_vector(const struct packing *p, int worker, int workers, float *out,
                        enum tensor_role role, int layer)
{
    if (out && (layer + 1 + (int)role) % workers == worker)
        read_rows(p, role, layer, 0, 1, out, (size_t)tensor_shape(&p->model->config, role).cols);
}

// Rows of a table as they will be added to the residual stream: in a plain type, not in panels.
static void pack_table(const struct packing *p, int worker, int workers, unsigned char *table,
                       enum tensor_role role)
{
    const struct cpu_model *m = p->model;
    int width = m->config.width, begin, end;
    float *row = p->scratch[worker].rows;
    size_t row_bytes = (size_t)width * cpu_element_bytes(scheme_embedding(m->scheme));
    pool_share(tensor_shape(&m->config, role).rows, 1, worker, workers, &begin, &end);
    for (int i = begin; i < end && table; i++) {
        read_rows(p, role, -1, i, 1, row, p->widest);
        m->kernels.embedding_cast(table + (size_t)i * row_bytes, row, width, width);
    }
    if (table)
        release_rows(p, role, -1, begin, end - begin);
}

static void pack_experts(const struct packing *p, int worker, int workers, int index)
{
    const struct model_config *c = &p->model->config;
    struct cpu_layer *layer = &p->model->weights.layers[index];
    pack_matrix(p, worker, workers, &layer->router, T_ROUTER, index);
    pack_matrix(p, worker, workers, &layer->shared_router, T_SHARED_ROUTER, index);
    pack_matrix(p, worker, workers, &layer->shared.gate, T_SHARED_GATE, index);
    pack_matrix(p, worker, workers, &layer->shared.up, T_SHARED_UP, index);
    pack_matrix(p, worker, workers, &layer->shared.down, T_SHARED_DOWN, index);
    for (int e = 0; e < c->experts; e++) {
        struct cpu_expert *expert = &layer->experts[e];
        pack_rows(p, worker, workers, &expert->gate, T_EXPERT_GATE, index, e * c->ff);
        pack_rows(p, worker, workers, &expert->up, T_EXPERT_UP, index, e * c->ff);
        pack_rows(p, worker, workers, &expert->down, T_EXPERT_DOWN, index, e * c->width);
    }
}

static void pack_layer(const struct packing *p, int worker, int workers, int index)
{
    struct cpu_layer *layer = &p->model->weights.layers[index];
    const struct {
        float *out;
        enum tensor_role role;
    } vectors[] = {{layer->attn_norm.weight, T_ATTN_NORM},
                   {layer->attn_norm.bias, T_ATTN_NORM_BIAS},
                   {layer->qkv[0].bias, T_Q_BIAS},
                   {layer->qkv[1].bias, T_K_BIAS},
                   {layer->qkv[2].bias, T_V_BIAS},
                   {layer->q_norm, T_Q_NORM},
                   {layer->k_norm, T_K_NORM},
                   {layer->out.bias, T_O_BIAS},
                   {layer->attn_post_norm.weight, T_ATTN_POST_NORM},
                   {layer->ff_norm.weight, T_FF_NORM},
                   {layer->ff_norm.bias, T_FF_NORM_BIAS},
                   {layer->gate.bias, T_GATE_BIAS},
                   {layer->up.bias, T_UP_BIAS},
                   {layer->down.bias, T_DOWN_BIAS},
                   {layer->ff_post_norm.weight, T_FF_POST_NORM}};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        read_vector(p, worker, workers, vectors[i].out, vectors[i].role, index);
    pack_matrix(p, worker, workers, &layer->qkv[0], T_Q, index);
    pack_matrix(p, worker, workers, &layer->qkv[1], T_K, index);
    pack_matrix(p, worker, workers, &layer->qkv[2], T_V, index);
    pack_matrix(p, worker, workers, &layer->out, T_O, index);
    pack_matrix(p, worker, workers, &layer->gate, T_GATE, index);
    pack_matrix(p, worker, workers, &layer->up, T_UP, index);
    pack_matrix(p, worker, workers, &layer->down, T_DOWN, index);
    pack_experts(p, worker, workers, index);
}

static void report(struct packing *p, int worker, int steps_done)
{
    double steps = p->model->config.layers + 1;
    if (worker == 0 && p->progress && !p->progress(p->user, steps_done / steps))
        atomic_store_explicit(&p->stop, true, memory_order_relaxed);
}

static void pack_job(void *arg, int worker, int workers)
{
    struct packing *p = arg;
    const struct cpu_model *m = p->model;
    for (int i = 0; i < m->config.layers; i++) {
        if (atomic_load_explicit(&p->stop, memory_order_relaxed))
            return;
        pack_layer(p, worker, workers, i);
        report(p, worker, i + 1);
    }
    if (atomic_load_explicit(&p->stop, memory_order_relaxed))
        return;
    const struct cpu_weights *w = &m->weights;
    pack_table(p, worker, workers, w->embedding, T_EMBEDDING);
    pack_table(p, worker, workers, w->positions, T_POSITIONS);
    read_vector(p, worker, workers, w->embedding_norm.weight, T_EMBEDDING_NORM, -1);
    read_vector(p, worker, workers, w->embedding_norm.bias, T_EMBEDDING_NORM_BIAS, -1);
    read_vector(p, worker, workers, w->final_norm.weight, T_FINAL_NORM, -1);
    read_vector(p, worker, workers, w->final_norm.bias, T_FINAL_NORM_BIAS, -1);
    read_vector(p, worker, workers, w->head.bias, T_HEAD_BIAS, -1);
    pack_matrix(p, worker, workers, &m->weights.head, m->config.tied ? T_EMBEDDING : T_HEAD, -1);
    report(p, worker, m->config.layers + 1);
}

static int widest_row(const struct model_config *config)
{
    int widest = config->width;
    if (config->ff > widest)
        widest = config->ff;
    if (config->shared_ff > widest)
        widest = config->shared_ff;
    if (config->heads * config->head_dim > widest)
        widest = config->heads * config->head_dim;
    return widest;
}

// Cuts one block of memory into every thread's scratch; measures it where there is none.
static size_t scratch_place(struct packing *p, unsigned char *memory, int threads)
{
    struct cursor cursor = {.base = memory};
    size_t n = sat_mul(PANEL_ROWS, p->widest);
    for (int i = 0; i < threads; i++) {
        p->scratch[i].rows = cursor_take(&cursor, n, sizeof(float));
        p->scratch[i].scales = cursor_take(&cursor, n, sizeof(float));
        p->scratch[i].codes = cursor_take(&cursor, n, 1);
        p->scratch[i].zeros = cursor_take(&cursor, n, 1);
    }
    return cursor.used_bytes;
}

static enum status pack_all(struct cpu_model *m, const struct checkpoint *ck,
                            engine_progress *progress, void *user, struct error *err)
{
    atomic_flag bad = ATOMIC_FLAG_INIT;
    char bad_text[BAD_BYTES] = "";
    struct packing p = {
        .ck = ck,
        .model = m,
        .widest = sat_align((size_t)widest_row(&m->config)),
        .progress = progress,
        .user = user,
        .bad = &bad,
        .bad_text = bad_text,
    };
    int threads = pool_threads(m->pool);
    p.scratch = calloc((size_t)threads, sizeof *p.scratch);
    size_t bytes = p.scratch ? scratch_place(&p, NULL, threads) : 0;
    unsigned char *memory = p.scratch ? aligned_alloc_zeroed(bytes) : NULL;
    if (memory) {
        scratch_place(&p, memory, threads);
        pool_run(m->pool, pack_job, &p);
    } else {
        FAIL(err, ERR_NOMEM, "%zu bytes to pack weights in", bytes);
    }
    aligned_release(memory);
    free(p.scratch);
    if (bad_text[0])
        FAIL(err, ERR_FORMAT, "%s", bad_text);
    else if (atomic_load(&p.stop))
        FAIL(err, ERR_INTERRUPTED, "stopped");
    return err->code;
}

// ---- preparing -------------------------------------------------------------------------------------------

// The row for an operation, in the layout this backend packs; one without a function after an error.
static const struct kernel *find_row(const struct cpu_model *m, enum kernel_op op, enum dtype w,
                                     enum dtype x, struct error *err)
{
    static const struct kernel none = {.most_tokens = 0};
    const struct kernel *kernel = kernel_find(op, w, x, device_target(m->device));
    if (kernel && (kernel->layout == LAYOUT_NONE || kernel->layout == LAYOUT_PANEL16))
        return kernel;
    FAIL(err, ERR_UNSUPPORTED, "no kernel for %s of %s weights and %s inputs", kernel_op_name(op),
         dtype_name(w), dtype_name(x));
    return &none;
}

static union kernel_fn find(const struct cpu_model *m, enum kernel_op op, enum dtype w,
                            enum dtype x, struct error *err)
{
    return find_row(m, op, w, x, err)->fn;
}

static enum status find_kernels(struct cpu_model *m, struct error *err)
{
    static const enum kernel_op activations[] = {[ACT_SILU] = KOP_SWIGLU,
                                                 [ACT_GELU] = KOP_GELU,
                                                 [ACT_GELU_TANH] = KOP_GELU_TANH,
                                                 [ACT_RELU] = KOP_RELU};
    enum dtype w = m->scheme->weights, x = m->scheme->activations;
    enum dtype head = m->scheme->head, head_x = m->scheme->head_activations;
    const struct kernel *gemv = find_row(m, KOP_GEMV, w, x, err);
    const struct kernel *head_gemv = find_row(m, KOP_GEMV, head, head_x, err);
    m->kernels = (struct cpu_kernels){
        .gemv = gemv->fn.linear,
        .gemv_tokens = gemv->most_tokens,
        .gemm = find(m, KOP_GEMM, w, x, err).linear,
        .router = find(m, KOP_GEMV, DT_F32, DT_F32, err).linear,
        .head_gemv = head_gemv->fn.linear,
        .head_gemv_tokens = head_gemv->most_tokens,
        .head_gemm = find(m, KOP_GEMM, head, head_x, err).linear,
        .cast = find(m, KOP_CAST, DT_F32, x, err).cast,
        .head_cast = find(m, KOP_CAST, DT_F32, head_x, err).cast,
        .stage = find(m, KOP_CAST, DT_F32, cpu_staged(m->scheme), err).cast,
        .embedding_cast = find(m, KOP_CAST, DT_F32, scheme_embedding(m->scheme), err).cast,
        .rmsnorm = find(m, KOP_RMSNORM, DT_F32, DT_F32, err).rmsnorm,
        .rope = find(m, KOP_ROPE, DT_F32, DT_F32, err).rope,
        .layernorm = find(m, KOP_LAYERNORM, DT_F32, DT_F32, err).layernorm,
        .activate = find(m, activations[m->config.activation], DT_F32, DT_F32, err).activate,
        .softcap = find(m, KOP_SOFTCAP, DT_F32, DT_F32, err).softcap,
        .add = find(m, KOP_ADD, DT_F32, DT_F32, err).add,
    };
    return err->code;
}

// A row of int8 products is summed whole; what is longer than kernels promise is refused.
static enum status check_widths(const struct cpu_model *m, struct error *err)
{
    int layers = m->scheme->weights == DT_I8 ? widest_row(&m->config) : 0;
    int head = m->scheme->head == DT_I8 ? m->config.width : 0,
        widest = layers > head ? layers : head;
    if (widest > I8_COLS_MAX)
        return FAIL(err, ERR_UNSUPPORTED,
                    "products of %d int8 inputs are not supported (of up to %d are: their sums are "
                    "exact)",
                    widest, I8_COLS_MAX);
    return OK;
}

static enum status place_weights(struct cpu_model *m, struct error *err)
{
    struct cursor measured = {0};
    struct cpu_weights *w = &m->weights;
    weights_place(&measured, &m->config, m->scheme, w);
    m->memory = device_alloc(m->device, measured.used_bytes);
    w->layers = calloc((size_t)m->config.layers, sizeof *w->layers);
    w->experts =
        calloc((size_t)m->config.layers * (size_t)m->config.experts + 1, sizeof *w->experts);
    if (!m->memory || !w->layers || !w->experts) {
        char need[32], have[32];
        return FAIL(err, ERR_NOMEM, "weights need %s and do not fit: %s available",
                    format_bytes((double)measured.used_bytes, need, sizeof need),
                    format_bytes((double)os_memory_available_bytes(), have, sizeof have));
    }
    m->streamed = measured.used_bytes > pool_cache_bytes(m->pool);
    struct cursor placed = {.base = m->memory};
    weights_place(&placed, &m->config, m->scheme, w);
    return OK;
}

enum status cpu_prepare(struct checkpoint *ck, const struct engine_options *options,
                        engine_progress *progress, void *user, void **prepared, struct error *err)
{
    *prepared = NULL;
    struct cpu_model *m = calloc(1, sizeof *m);
    if (!m)
        return FAIL(err, ERR_NOMEM, "model: %zu bytes", sizeof *m);
    m->config = *checkpoint_config(ck);
    m->scheme = options->scheme;
    m->device = options->device;
    m->pool = device_pool(options->device);
    if (find_kernels(m, err) != OK || check_widths(m, err) != OK || place_weights(m, err) != OK ||
        pack_all(m, ck, progress, user, err) != OK) {
        cpu_prepared_destroy(m);
        return err->code;
    }
    *prepared = m;
    return OK;
}

void cpu_prepared_destroy(void *prepared)
{
    struct cpu_model *m = prepared;
    if (!m)
        return;
    free(m->weights.layers);
    free(m->weights.experts);
    device_free(m->device, m->memory);
    free(m);
}
