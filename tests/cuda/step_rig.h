// step_rig.h - a model of random weights on the device, and its decode step in both forms: kernel by kernel, and as one
// persistent kernel. For test_step.c and time_step.c.
#ifndef TESTS_CUDA_STEP_RIG_H
#define TESTS_CUDA_STEP_RIG_H

#include "tests/cuda/gpu.h"

#include "engine/model/kv.h"
#include "tests/kernels/step_shape.h"

// Each matrix is made of this many different tiles, in random order.
enum { RIG_TILES = 24, RIG_BLOCKS = 6, RIG_MOST_TOKENS = 64 };

// The launches of a step kernel by kernel. A mask of them leaves the others out.
enum rig_part {
    RIG_ATTN_NORM,
    RIG_QKV,
    RIG_ROTATE,
    RIG_ATTEND,
    RIG_CAST,
    RIG_OUT,
    RIG_FF_NORM,
    RIG_GATE_UP,
    RIG_ACTIVATE,
    RIG_DOWN,
    RIG_HEAD, // with its norm
    RIG_PARTS,
    RIG_CARRY = RIG_PARTS, // norms are fused into products that allow it
    RIG_ALL = (1 << RIG_PARTS) - 1,
};

struct rig {
    struct step_shape shape;
    enum dtype type, kv;
    int group, tokens, positions;
    bool bias, qk_norm, interleaved;
    bool wide;   // also with few tokens
    bool served; // with this number of tokens
    enum kernel_op activation;
    int position[RIG_MOST_TOKENS];
    struct cuda_layout layout[STEP_PHASES];
    size_t matrix_at[STEP_PHASES], bias_at[STEP_PHASES], norm_at[4],
        layer_bytes;      // norms: attention, ff, q, k
    unsigned char *arena; // layers, then the head
    float *x, *final_norm, *cos, *sin;
    struct cuda_token *token;
    struct kv_cache cache;
    unsigned char *cache_host; // what it holds at first
    float *logits, *residual, *qkv, *attended, *gate_up;
    void *input, *carried, *ff, *partial, *attention_partial;
    float *input_scale, *squares;
    uint32_t *exchange;
    struct cuda_step job;
};

static inline enum dtype rig_inputs(enum dtype type)
{
    return type == DT_F16 || type == DT_I8 ? type : DT_BF16;
}

// A tile of random rows, of unit gain.
static inline void rig_tile(const struct cuda_layout *l, void *tile)
{
    size_t n = (size_t)l->cols;
    float *rows = malloc(16 * n * sizeof *rows), gain = sqrtf(3.0f / (float)l->cols);
    for (size_t i = 0; i < 16 * n; i++)
        rows[i] = gain * (2 * rng_f32(&gpu_rng) - 1);
    if (!dtype_is_quantized(l->type)) {
        cuda_pack_plain(l, rows, 16, n, tile);
    } else {
        int group = l->type == DT_I4 ? l->group : l->cols;
        uint8_t *codes = malloc(32 * n);
        float *scales = malloc(16 * n * sizeof *scales);
        struct quant_row row[16];
        for (size_t r = 0; r < 16; r++) {
            row[r] = (struct quant_row){codes + r * n, scales + r * n, codes + (16 + r) * n};
            quant_row_rtn(l->type, rows + r * n, l->cols, group, row[r]);
        }
        cuda_pack_codes(l, row, 16, group, tile);
        free(codes);
        free(scales);
    }
    free(rows);
}

static inline void rig_matrix(const struct cuda_layout *l, const unsigned char *pool,
                              unsigned char *to)
{
    unsigned char *host = malloc(cuda_layout_bytes(l));
    struct error err = {0};
    for (int t = 0; t < l->tiles; t++)
        memcpy(host + (size_t)t * l->tile_bytes,
               pool + (size_t)between(0, RIG_TILES - 1) * l->tile_bytes, l->tile_bytes);
    gpu_ok(device_copy_in(gpu, to, host, cuda_layout_bytes(l), &err), &err);
    free(host);
}

static inline void rig_floats(float *to, size_t n, float middle, float width)
{
    float *host = malloc(n * sizeof *host);
    struct error err = {0};
    for (size_t i = 0; i < n; i++)
        host[i] = middle + width * (2 * rng_f32(&gpu_rng) - 1);
    gpu_ok(device_copy_in(gpu, to, host, n * sizeof *host, &err), &err);
    free(host);
}

static inline size_t rig_place(size_t *at, size_t bytes)
{
    size_t place = *at;
    *at += (bytes + 255) / 256 * 256;
    return place;
}

static inline void rig_weights(struct rig *r)
{
    const struct step_shape *s = &r->shape;
    const int norms[] = {s->width, s->width, s->head_dim, s->head_dim};
    unsigned char *pool[STEP_PHASES] = {NULL};
    size_t at = 0;
    step_shape_layouts(s, r->type, r->group, r->layout);
    for (int p = 0; p < STEP_PHASES; p++) {
        if (p == STEP_ATTEND)
            continue;
        pool[p] = malloc(RIG_TILES * r->layout[p].tile_bytes);
        for (size_t t = 0; t < RIG_TILES; t++)
            rig_tile(&r->layout[p], pool[p] + t * r->layout[p].tile_bytes);
        if (p == STEP_HEAD)
            continue;
        r->matrix_at[p] = rig_place(&at, cuda_layout_bytes(&r->layout[p]));
        r->bias_at[p] = rig_place(&at, (size_t)r->layout[p].rows * sizeof(float));
    }
    for (int i = 0; i < 4; i++)
        r->norm_at[i] = rig_place(&at, (size_t)norms[i] * sizeof(float));
    r->layer_bytes = at;
    r->matrix_at[STEP_HEAD] = 0;
    r->arena = device_alloc(gpu, at * (size_t)s->layers + cuda_layout_bytes(&r->layout[STEP_HEAD]));
    assert_non_null(r->arena);
    for (int l = 0; l < s->layers; l++) {
        unsigned char *layer = r->arena + (size_t)l * at;
        for (int p = 0; p < STEP_HEAD; p++)
            if (p != STEP_ATTEND) {
                rig_matrix(&r->layout[p], pool[p], layer + r->matrix_at[p]);
                rig_floats((float *)(void *)(layer + r->bias_at[p]), (size_t)r->layout[p].rows, 0,
                           0.1f);
            }
        for (int i = 0; i < 4; i++)
            rig_floats((float *)(void *)(layer + r->norm_at[i]), (size_t)norms[i], 1, 0.5f);
    }
    rig_matrix(&r->layout[STEP_HEAD], pool[STEP_HEAD], r->arena + (size_t)s->layers * at);
    for (int p = 0; p < STEP_PHASES; p++)
        free(pool[p]);
}

// Every (head, keys or values) block is one of a few; positions beyond the newest hold it too.
static inline void rig_cache(struct rig *r)
{
    const struct step_shape *s = &r->shape;
    struct model_config config = {
        .layers = s->layers, .kv_heads = s->kv_heads, .heads = s->heads, .head_dim = s->head_dim};
    struct context_options options = {
        .batch = r->tokens, .positions = r->positions, .chunk = 1, .kv = r->kv};
    r->cache = kv_layout(&config, &options);
    size_t bytes = kv_bytes(&r->cache), block = r->cache.block_bytes;
    float *row = malloc((size_t)s->head_dim * sizeof *row);
    uint8_t *blocks = calloc(RIG_BLOCKS, block);
    r->cache_host = malloc(bytes);
    const struct kernel *cast = kernel_reference(KOP_CAST, DT_F32, r->kv);
    for (size_t b = 0; b < RIG_BLOCKS; b++) {
        uint8_t *to = blocks + b * block;
        for (size_t p = 0; p < (size_t)r->positions; p++) {
            for (int i = 0; i < s->head_dim; i++)
                row[i] = 2 * rng_f32(&gpu_rng) - 1;
            if (r->kv == DT_I8 || r->kv == DT_F8E4M3) {
                float scale;
                uint8_t codes[STEP_MOST_HEAD_DIM];
                quant_row_rtn(r->kv, row, s->head_dim, s->head_dim,
                              (struct quant_row){codes, &scale, codes});
                memcpy(to + p * (size_t)s->head_dim, codes, (size_t)s->head_dim);
                memcpy(to + r->cache.scales_offset + p * sizeof scale, &scale, sizeof scale);
            } else {
                cast->fn.cast(to + 2 * p * (size_t)s->head_dim, row, s->head_dim, s->head_dim);
            }
        }
    }
    for (size_t at = 0; at < bytes; at += block)
        memcpy(r->cache_host + at, blocks + (size_t)between(0, RIG_BLOCKS - 1) * block, block);
    r->cache.memory = up(r->cache_host, bytes);
    free(row);
    free(blocks);
}

static inline void rig_reset_cache(struct rig *r)
{
    struct error err = {0};
    gpu_ok(device_copy_in(gpu, r->cache.memory, r->cache_host, kv_bytes(&r->cache), &err), &err);
}

static inline void rig_job(struct rig *r)
{
    const struct step_shape *s = &r->shape;
    const char *why;
    struct cuda_step *j = &r->job;
    *j = step_shape_job(s, r->layout, r->kv, r->tokens, device_info(gpu)->units);
    j->activation = r->activation;
    j->wide = r->wide;
    j->interleaved = r->interleaved;
    j->eps = 1e-5f;
    j->scale = 1 / sqrtf((float)s->head_dim);
    j->layer_stride = r->layer_bytes;
    j->attn_norm = (const float *)(void *)(r->arena + r->norm_at[0]);
    j->ff_norm = (const float *)(void *)(r->arena + r->norm_at[1]);
    if (r->qk_norm) {
        j->q_norm = (const float *)(void *)(r->arena + r->norm_at[2]);
        j->k_norm = (const float *)(void *)(r->arena + r->norm_at[3]);
    }
    j->final_norm = r->final_norm;
    j->cos = r->cos;
    j->sin = r->sin;
    j->kv = r->cache.memory;
    j->kv_block_bytes = r->cache.block_bytes;
    j->kv_scales_offset = r->cache.scales_offset;
    j->kv_layer_bytes = kv_bytes(&r->cache) / (size_t)s->layers;
    j->tokens_at = r->token;
    j->x = r->x;
    j->logits = r->logits;
    for (int p = 0; p < STEP_PHASES; p++) {
        unsigned char *base = r->arena + (p == STEP_HEAD ? (size_t)s->layers * r->layer_bytes : 0);
        if (p == STEP_ATTEND)
            continue;
        j->m[p].w = base + r->matrix_at[p];
        j->m[p].bias =
            r->bias && p != STEP_HEAD ? (const float *)(void *)(base + r->bias_at[p]) : NULL;
    }
    r->served = cuda_step_plan(j, r->layout, &why);
    if (!r->served)
        return;
    size_t bytes = cuda_step_exchange_bytes(j);
    void *zeros = calloc(1, bytes);
    r->exchange = up(zeros, bytes);
    free(zeros);
    j->exchange = r->exchange;
}

static inline void rig_make(struct rig *r)
{
    const struct step_shape *s = &r->shape;
    size_t t = (size_t)r->tokens, width = (size_t)s->width, half = (size_t)s->head_dim / 2;
    size_t most = (size_t)(s->ff > s->width ? s->ff : s->width);
    size_t qkv = (size_t)((s->heads + 2 * s->kv_heads) * s->head_dim);
    struct cuda_token tokens[RIG_MOST_TOKENS];
    most = most > qkv ? most : qkv;
    rig_weights(r);
    rig_cache(r);
    for (int i = 0; i < r->tokens; i++)
        tokens[i] = (struct cuda_token){i, r->position[i]};
    r->token = up(tokens, t * sizeof *tokens);
    r->x = up(NULL, t * width * sizeof(float));
    rig_floats(r->x, t * width, 0, 1);
    r->final_norm = up(NULL, width * sizeof(float));
    rig_floats(r->final_norm, width, 1, 0.5f);
    float *angle = malloc((size_t)r->positions * half * sizeof *angle);
    for (int sine = 0; sine < 2; sine++) {
        for (size_t i = 0; i < (size_t)r->positions * half; i++) {
            double a = (double)(i / half) * pow(10000, -(double)(i % half) / (double)half);
            angle[i] = (float)(sine ? sin(a) : cos(a));
        }
        *(sine ? &r->sin : &r->cos) = up(angle, (size_t)r->positions * half * sizeof *angle);
    }
    free(angle);
    r->logits = up(NULL, t * (size_t)s->vocab * sizeof(float));
    r->residual = up(NULL, t * width * sizeof(float));
    r->qkv = up(NULL, t * qkv * sizeof(float));
    r->attended = up(NULL, t * (size_t)(s->heads * s->head_dim) * sizeof(float));
    r->gate_up = up(NULL, t * 2 * (size_t)s->ff * sizeof(float));
    size_t input = (size_t)cuda_padded_tokens(r->tokens) * 4 * ((most + 255) / 256 * 256);
    void *zeros = calloc(1, input);
    r->input = up(zeros, input);
    r->carried = up(zeros, input);
    r->ff = up(zeros, input);
    r->squares = up(NULL, CUDA_GROUP_TOKENS * width / CUDA_TILE_ROWS * sizeof(float));
    free(zeros);
    r->input_scale = up(NULL, t * sizeof(float));
    size_t partial = 1;
    for (int p = 0; p < STEP_PHASES; p++)
        if (p != STEP_ATTEND && cuda_partial_bytes(&r->layout[p], r->tokens) > partial)
            partial = cuda_partial_bytes(&r->layout[p], r->tokens);
    zeros = calloc(1, partial);
    r->partial = up(zeros, partial);
    free(zeros);
    partial = cuda_attention_bytes(r->tokens, s->heads, s->kv_heads, s->head_dim, r->positions);
    zeros = calloc(1, partial);
    r->attention_partial = up(zeros, partial);
    free(zeros);
    rig_job(r);
}

static inline void rig_drop(struct rig *r)
{
    void *memory[] = {r->arena,      r->cache.memory, r->token,    r->x,
                      r->final_norm, r->cos,          r->sin,      r->logits,
                      r->residual,   r->qkv,          r->attended, r->gate_up,
                      r->input,      r->input_scale,  r->partial,  r->attention_partial,
                      r->exchange,   r->carried,      r->ff,       r->squares};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        drop(memory[i]);
    free(r->cache_host);
}

static inline union cuda_fn rig_find(enum kernel_op op, enum dtype w, enum dtype x)
{
    const struct kernel *kernel = kernel_find(op, w, x, device_target(gpu));
    assert_non_null(kernel);
    return kernel->fn.cuda;
}

// ---- kernel by kernel --------------------------------------------------------------------------------------

// The norm of x, or a cast, as inputs of a matrix of this type.
static inline void rig_norm(const struct rig *r, enum dtype of, const float *x, const float *weight,
                            int n)
{
    const enum cuda_order order = cuda_order_of(of, rig_inputs(of));
    const enum dtype to = rig_inputs(of);
    struct cuda_norm job = {.x = x,
                            .weight = weight,
                            .out = r->input,
                            .scale = r->input_scale,
                            .order = order,
                            .rows = r->tokens,
                            .n = n,
                            .padded = cuda_padded_cols(n),
                            .ldx = (size_t)n,
                            .eps = 1e-5f};
    rig_find(KOP_NORM, DT_F32, to).norm(&job, stream());
}

static inline struct cuda_linear rig_product_job(const struct rig *r, int phase, int layer,
                                                 const void *x, float *y, bool accumulate)
{
    const struct cuda_layout *l = &r->layout[phase];
    const unsigned char *base = r->arena + (size_t)layer * r->layer_bytes;
    return (struct cuda_linear){
        .layout = *l,
        .w = base + r->matrix_at[phase],
        .x = x,
        .bias = r->bias && phase != STEP_HEAD
                    ? (const float *)(const void *)(base + r->bias_at[phase])
                    : NULL,
        .x_scale = r->input_scale,
        .y = y,
        .partial = r->partial,
        .tokens = r->tokens,
        .multiprocessors = device_info(gpu)->units,
        .ldx = (size_t)cuda_padded_cols(l->cols),
        .ldy = (size_t)l->rows,
        .accumulate = accumulate,
    };
}

static inline void rig_multiply(const struct rig *r, int phase, const struct cuda_linear *job)
{
    const enum dtype type = r->layout[phase].type;
    rig_find(KOP_LINEAR, type, rig_inputs(type)).linear(job, stream());
}

static inline void rig_product(const struct rig *r, int phase, int layer, const void *x, float *y,
                               bool accumulate)
{
    struct cuda_linear job = rig_product_job(r, phase, layer, x, y, accumulate);
    rig_multiply(r, phase, &job);
}

// A product of a residual stream whose norm is fused.
static inline void rig_product_from(const struct rig *r, int phase, int layer, float *y)
{
    struct cuda_linear job = rig_product_job(r, phase, layer, r->carried, y, false);
    job.carry.from = r->squares;
    job.carry.from_tiles = r->shape.width / CUDA_TILE_ROWS;
    job.carry.eps = 1e-5f;
    rig_multiply(r, phase, &job);
}

// Adds to the residual stream and fuses its norm by `weight`.
static inline void rig_product_to(const struct rig *r, int phase, int layer, const void *x,
                                  const float *weight)
{
    struct cuda_linear job = rig_product_job(r, phase, layer, x, r->residual, true);
    job.carry.weight = weight;
    job.carry.out = r->carried;
    job.carry.squares = r->squares;
    job.carry.order = cuda_order_of(r->type, rig_inputs(r->type));
    rig_multiply(r, phase, &job);
}

static inline void rig_attend(const struct rig *r, int layer, unsigned parts)
{
    const struct step_shape *s = &r->shape;
    const unsigned char *base = r->arena + (size_t)layer * r->layer_bytes;
    struct cuda_kv kv = {.layer = kv_keys(&r->cache, layer, 0, 0, 0),
                         .block_bytes = r->cache.block_bytes,
                         .scales_offset = r->cache.scales_offset,
                         .kv_heads = s->kv_heads,
                         .head_dim = s->head_dim,
                         .type = r->kv};
    size_t ld = (size_t)((s->heads + 2 * s->kv_heads) * s->head_dim);
    struct cuda_rotate rotate = {
        .qkv = r->qkv,
        .tokens = r->token,
        .q_norm = r->qk_norm ? (const float *)(const void *)(base + r->norm_at[2]) : NULL,
        .k_norm = r->qk_norm ? (const float *)(const void *)(base + r->norm_at[3]) : NULL,
        .cos = r->cos,
        .sin = r->sin,
        .kv = kv,
        .rows = r->tokens,
        .heads = s->heads,
        .rotary = s->head_dim,
        .ld = ld,
        .eps = 1e-5f,
        .interleaved = r->interleaved,
    };
    if (parts >> RIG_ROTATE & 1)
        rig_find(KOP_ROTATE, DT_F32, DT_F32).rotate(&rotate, stream());
    struct cuda_attention job = {
        .qkv = r->qkv,
        .tokens = r->token,
        .kv = kv,
        .out = r->attended,
        .partial = r->attention_partial,
        .multiprocessors = device_info(gpu)->units,
        .rows = r->tokens,
        .heads = s->heads,
        .most_positions = r->positions,
        .single = true,
        .ld = ld,
        .ldo = (size_t)(s->heads * s->head_dim),
        .scale = 1 / sqrtf((float)s->head_dim),
    };
    if (parts >> RIG_ATTEND & 1)
        rig_find(KOP_ATTENTION, r->kv, DT_F32).attention(&job, stream());
}

static inline void rig_reset_residual(const struct rig *r)
{
    struct error err = {0};
    size_t bytes = (size_t)(r->tokens * r->shape.width) * sizeof(float);
    float *host = malloc(bytes);
    down(host, r->x, bytes);
    gpu_ok(device_copy_in(gpu, r->residual, host, bytes, &err), &err);
    free(host);
}

static inline void rig_activate(const struct rig *r)
{
    int ff = r->shape.ff;
    struct cuda_activate job = {.op = r->activation,
                                .gate = r->gate_up,
                                .up = r->gate_up + ff,
                                .out = r->ff,
                                .scale = r->input_scale,
                                .order = cuda_order_of(r->type, rig_inputs(r->type)),
                                .rows = r->tokens,
                                .n = ff,
                                .padded = cuda_padded_cols(ff),
                                .ldx = 2 * (size_t)ff};
    rig_find(KOP_ACTIVATE, DT_F32, rig_inputs(r->type)).activate(&job, stream());
}

static inline const float *rig_norm_weight(const struct rig *r, int layer, int which)
{
    const unsigned char *base = r->arena + (size_t)layer * r->layer_bytes;
    return (const float *)(const void *)(base + r->norm_at[which]);
}

static inline void rig_run_layer(const struct rig *r, int layer, unsigned parts)
{
    const struct step_shape *s = &r->shape;
    if (parts >> RIG_ATTN_NORM & 1)
        rig_norm(r, r->type, r->residual, rig_norm_weight(r, layer, 0), s->width);
    if (parts >> RIG_QKV & 1)
        rig_product(r, STEP_QKV, layer, r->input, r->qkv, false);
    rig_attend(r, layer, parts);
    if (parts >> RIG_CAST & 1)
        rig_norm(r, r->type, r->attended, NULL, s->heads * s->head_dim);
    if (parts >> RIG_OUT & 1)
        rig_product(r, STEP_OUT, layer, r->input, r->residual, true);
    if (parts >> RIG_FF_NORM & 1)
        rig_norm(r, r->type, r->residual, rig_norm_weight(r, layer, 1), s->width);
    if (parts >> RIG_GATE_UP & 1)
        rig_product(r, STEP_GATE_UP, layer, r->input, r->gate_up, false);
    if (parts >> RIG_ACTIVATE & 1)
        rig_activate(r);
    if (parts >> RIG_DOWN & 1)
        rig_product(r, STEP_DOWN, layer, r->ff, r->residual, true);
}

// The same with norms fused into the products.
static inline void rig_carry_layer(const struct rig *r, int layer, unsigned parts)
{
    const struct step_shape *s = &r->shape;
    const bool last = layer + 1 == s->layers;
    if (layer == 0 && parts >> RIG_ATTN_NORM & 1)
        rig_norm(r, r->type, r->residual, rig_norm_weight(r, layer, 0), s->width);
    if (parts >> RIG_QKV & 1 && layer == 0)
        rig_product(r, STEP_QKV, layer, r->input, r->qkv, false);
    else if (parts >> RIG_QKV & 1)
        rig_product_from(r, STEP_QKV, layer, r->qkv);
    rig_attend(r, layer, parts);
    if (parts >> RIG_CAST & 1)
        rig_norm(r, r->type, r->attended, NULL, s->heads * s->head_dim);
    if (parts >> RIG_OUT & 1)
        rig_product_to(r, STEP_OUT, layer, r->input, rig_norm_weight(r, layer, 1));
    if (parts >> RIG_GATE_UP & 1)
        rig_product_from(r, STEP_GATE_UP, layer, r->gate_up);
    if (parts >> RIG_ACTIVATE & 1)
        rig_activate(r);
    if (parts >> RIG_DOWN & 1)
        rig_product_to(r, STEP_DOWN, layer, r->ff, last ? NULL : rig_norm_weight(r, layer + 1, 0));
}

// From the residual stream on, which rig_reset_residual makes the embedding.
static inline void rig_run_kernels(const struct rig *r, unsigned parts)
{
    const bool carry = parts >> RIG_CARRY & 1 && r->tokens <= CUDA_GROUP_TOKENS &&
                       rig_inputs(r->type) == DT_BF16 && r->shape.width % CUDA_UNIT_COLS == 0;
    for (int l = 0; l < r->shape.layers; l++)
        carry ? rig_carry_layer(r, l, parts) : rig_run_layer(r, l, parts);
    if (!(parts >> RIG_HEAD & 1))
        return;
    rig_norm(r, r->layout[STEP_HEAD].type, r->residual, r->final_norm, r->shape.width);
    rig_product(r, STEP_HEAD, r->shape.layers, r->input, r->logits, false);
}

static inline void rig_run_step(const struct rig *r)
{
    (r->job.stamps ? cuda_step_find_stamped
                   : cuda_step_find)(r->type, rig_inputs(r->type))(&r->job, stream());
}

// ||a - b|| / ||b||
static inline double rig_difference(const float *a, const float *b, size_t n)
{
    double off = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        off += d * d;
        all += (double)b[i] * (double)b[i];
    }
    return sqrt(off / all);
}

#endif
