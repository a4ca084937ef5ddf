// plan.c - one arena for a context: KV cache, tables, activations, logits, and each thread's scratch.
#include "engine/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/str.h"
#include "engine/model/alibi.h"
#include "engine/model/pass.h"
#include "engine/model/rope.h"
#include "engine/model/sizes.h"

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

// Bytes of an input row of one type for weights of another.
static size_t row_bytes(enum dtype type, enum dtype weights, int cols)
{
    return sat_align((size_t)cpu_padded(weights, cols) * cpu_element_bytes(type));
}

// Widest input of a layer's products, except the down projection.
static int input_cols(const struct model_config *config)
{
    return max_int(config->width, config->heads * config->head_dim);
}

// Bytes of an input row as it is written, for a layer's products or the head.
static size_t input_row_bytes(const struct scheme *scheme, const struct model_config *config)
{
    size_t layer = row_bytes(cpu_staged(scheme), scheme->weights, input_cols(config));
    size_t head = row_bytes(scheme->head_activations, scheme->head, config->width);
    return max_size(layer, head);
}

// Bytes of a quantized input row; 0 if no inputs are quantized.
static size_t codes_row_bytes(const struct scheme *scheme, const struct model_config *config)
{
    int widest = max_int(input_cols(config), max_int(config->ff, config->shared_ff));
    size_t layer = row_bytes(DT_I8, scheme->weights, widest);
    size_t head = row_bytes(DT_I8, scheme->head, config->width);
    layer = dtype_is_quantized(scheme->activations) ? layer : 0;
    head = dtype_is_quantized(scheme->head_activations) ? head : 0;
    return max_size(layer, head);
}

static void routing_place(struct cpu_cursor *cursor, const struct model_config *config,
                          const struct cpu_buffers *b, struct cpu_routing *r)
{
    size_t used = (size_t)config->experts_used, slots = sat_mul((size_t)b->rows, used);
    *r = (struct cpu_routing){0};
    if (!config->experts)
        return;
    r->chosen = cpu_take(cursor, SHARED_NORM_TOKENS * used, sizeof *r->chosen);
    r->shares = cpu_take(cursor, SHARED_NORM_TOKENS * used, sizeof *r->shares);
    r->first = cpu_take(cursor, (size_t)config->experts + 1, sizeof *r->first);
    r->slot_token = cpu_take(cursor, slots, sizeof *r->slot_token);
    r->slot_share = cpu_take(cursor, slots, sizeof *r->slot_share);
    r->input = cpu_take(cursor, SHARED_NORM_TOKENS, max_size(b->input_bytes, b->codes_bytes));
    r->scales = cpu_take(cursor, SHARED_NORM_TOKENS, sizeof(float));
}

static void experts_place(struct cpu_cursor *cursor, const struct model_config *config,
                          const struct scheme *scheme, const struct cpu_buffers *b,
                          struct cpu_expert_buffers *e)
{
    size_t rows = (size_t)b->rows, used = (size_t)config->experts_used, slots = sat_mul(rows, used);
    bool quantized = dtype_is_quantized(scheme->activations);
    *e = (struct cpu_expert_buffers){
        .score_stride = (size_t)config->experts + 1,
        .input_bytes = quantized ? b->codes_bytes : b->input_bytes,
        .shared_bytes = row_bytes(cpu_staged(scheme), scheme->weights, config->shared_ff),
    };
    if (!config->experts)
        return;
    e->scores = cpu_take(cursor, rows, e->score_stride * sizeof *e->scores);
    e->chosen = cpu_take(cursor, slots, sizeof *e->chosen);
    e->shares = cpu_take(cursor, slots, sizeof *e->shares);
    e->input = cpu_take(cursor, slots, e->input_bytes);
    e->scales = cpu_take(cursor, slots, sizeof *e->scales);
    e->shared = cpu_take(cursor, rows, e->shared_bytes);
}

static void worker_place(struct cpu_cursor *cursor, const struct model_config *config,
                         const struct cpu_buffers *b, struct cpu_worker *w)
{
    int group = config->heads / config->kv_heads;
    int widest = config->experts ? max_int(config->width, config->shared_ff) : 0;
    widest = max_int(config->ff, widest); // outputs of a product that go through gate and up
    size_t ff = sat_mul((size_t)b->rows, (size_t)kernel_panel_count(widest) * PANEL_ROWS);
    if (ff > FF_BLOCK_FLOATS)
        ff = FF_BLOCK_FLOATS;
    w->row = cpu_take(cursor, (size_t)config->width, sizeof(float));
    w->input = cpu_take(cursor, SHARED_NORM_TOKENS, max_size(b->input_bytes, b->codes_bytes));
    w->scales = cpu_take(cursor, SHARED_NORM_TOKENS, sizeof(float));
    w->gate = cpu_take(cursor, ff, sizeof(float));
    w->up = cpu_take(cursor, ff, sizeof(float));
    routing_place(cursor, config, b, &w->routing);
    w->attended =
        cpu_take(cursor, (size_t)b->tile * (size_t)group, (size_t)config->head_dim * sizeof(float));
    w->attend_scratch =
        cpu_take(cursor, 1, kernel_attention_scratch(b->tile, group, config->head_dim));
}

static void sizes_plan(const struct model_config *config, const struct scheme *scheme,
                       const struct context_options *options, struct cpu_buffers *b)
{
    b->rows = pass_tokens(&cpu_backend, options);
    int group = config->heads / config->kv_heads;
    b->tile = min_int(b->rows, max_int(ATTEND_ROWS / group, 1));
    b->qkv_width = (size_t)(config->heads + 2 * config->kv_heads) * (size_t)config->head_dim;
    b->input_bytes = input_row_bytes(scheme, config);
    b->ff_bytes = row_bytes(cpu_staged(scheme), scheme->weights, config->ff);
    b->codes_bytes = codes_row_bytes(scheme, config);
}

// Tables that depend only on positions.
static void tables_place(struct cpu_cursor *cursor, const struct model_config *config,
                         size_t positions, struct cpu_buffers *b)
{
    size_t half = (size_t)config->rotary / 2, row = half * sizeof(float);
    b->freq = cpu_take(cursor, half, sizeof(float));
    b->cos = cpu_take(cursor, positions, row);
    b->sin = cpu_take(cursor, positions, row);
    b->local_freq = b->local_cos = b->local_sin = b->bias = NULL;
    if (config->rope_local_theta != 0) {
        b->local_freq = cpu_take(cursor, half, sizeof(float));
        b->local_cos = cpu_take(cursor, positions, row);
        b->local_sin = cpu_take(cursor, positions, row);
    }
    if (config->alibi != ALIBI_NONE)
        b->bias = cpu_take(cursor, (size_t)config->heads, sat_mul(positions, sizeof(float)));
}

void cpu_buffers_place(struct cpu_cursor *cursor, const struct model_config *config,
                       const struct scheme *scheme, const struct context_options *options,
                       int threads, struct cpu_buffers *b)
{
    sizes_plan(config, scheme, options, b);
    b->kv = kv_layout(config, options);
    b->kv.memory = cpu_take(cursor, 1, kv_bytes(&b->kv));

    size_t rows = (size_t)b->rows, positions = (size_t)options->positions;
    size_t logit_rows = (size_t)max_int(options->logit_rows, options->batch);
    tables_place(cursor, config, positions, b);
    b->x = cpu_take(cursor, rows, (size_t)config->width * sizeof(float));
    b->branch = NULL;
    if (config->post_norms)
        b->branch = cpu_take(cursor, rows, (size_t)config->width * sizeof(float));
    b->qkv = cpu_take(cursor, rows, b->qkv_width * sizeof(float));
    b->input = cpu_take(cursor, rows, b->input_bytes);
    size_t slots = sat_mul(rows, (size_t)max_int(config->experts_used, 1));
    b->ff = cpu_take(cursor, slots, b->ff_bytes);
    b->codes = b->codes_bytes ? cpu_take(cursor, rows, b->codes_bytes) : NULL;
    b->scales = cpu_take(cursor, rows, sizeof(float));
    experts_place(cursor, config, scheme, b, &b->experts);
    b->logits = cpu_take(cursor, logit_rows, (size_t)config->vocab * sizeof(float));
    b->parts = cpu_take(cursor, rows, sizeof *b->parts);
    b->tokens = cpu_take(cursor, rows, sizeof *b->tokens);
    b->wanted = cpu_take(cursor, rows, sizeof *b->wanted);
    size_t batch = (size_t)options->batch;
    b->ids = cpu_take(cursor, batch, sizeof *b->ids);
    b->streams = cpu_take(cursor, batch, sizeof *b->streams);
    b->scans = cpu_take(cursor, sat_mul(batch, (size_t)threads), sizeof *b->scans);
    b->nonfinite = cpu_take(cursor, (size_t)threads, sizeof *b->nonfinite);
    b->deals = cpu_take(cursor, (size_t)threads, sizeof *b->deals); // zeros: context_fill
    for (int i = 0; i < threads; i++) {
        struct cpu_worker measured;
        worker_place(cursor, config, b, b->workers ? &b->workers[i] : &measured);
    }
}

struct memory_plan cpu_memory_plan(const struct device_info *device,
                                   const struct model_config *config, const struct scheme *scheme,
                                   const struct context_options *options, int threads)
{
    (void)device; // the plan is the same on every processor
    struct cpu_cursor weights = {0}, context = {0};
    struct cpu_weights w = {0};
    struct cpu_buffers b = {0};
    cpu_weights_place(&weights, config, scheme, &w);
    cpu_buffers_place(&context, config, scheme, options, threads, &b);
    size_t kv = kv_bytes(&b.kv);
    return (struct memory_plan){
        .weights_bytes = weights.used_bytes,
        .kv_bytes = kv,
        .scratch_bytes = context.used_bytes == SIZE_MAX ? SIZE_MAX : context.used_bytes - kv,
    };
}

enum { FILL_BYTES = 1 << 20 };

// First touch by all threads, so that pages are mapped now and not inside the first timed step.
struct filling {
    struct cpu_context *ctx;
    size_t bytes;
};

static void fill_job(void *arg, int worker, int workers)
{
    const struct filling *f = arg;
    int begin, end;
    pool_share((int)(f->bytes / FILL_BYTES) + 1, 1, worker, workers, &begin, &end);
    for (int i = begin; i < end; i++) {
        size_t from = (size_t)i * FILL_BYTES, left = f->bytes - from;
        memset((unsigned char *)f->ctx->memory + from, 0, left < FILL_BYTES ? left : FILL_BYTES);
    }
}

static void tables_job(void *arg, int worker, int workers)
{
    const struct filling *f = arg;
    const struct cpu_buffers *b = &f->ctx->buffers;
    const struct model_config *config = &f->ctx->model->config;
    struct model_config plain = *config; // layers with a theta of their own are not scaled
    int begin, end;
    plain.rope_attention_factor = 0;
    pool_share(b->kv.positions, 1, worker, workers, &begin, &end);
    if (config->rope != ROPE_NONE)
        rope_fill(config, b->freq, begin, end, b->cos, b->sin);
    if (b->local_freq)
        rope_fill(&plain, b->local_freq, begin, end, b->local_cos, b->local_sin);
    if (b->bias) {
        pool_share(config->heads, 1, worker, workers, &begin, &end);
        alibi_fill(config, begin, end, b->kv.positions, b->bias);
    }
}

static void context_fill(struct cpu_context *ctx, size_t bytes)
{
    const struct cpu_model *m = ctx->model;
    const struct cpu_buffers *b = &ctx->buffers;
    struct filling f = {.ctx = ctx, .bytes = bytes};
    pool_run(m->pool, fill_job, &f);
    rope_frequencies(&m->config, b->kv.positions, b->freq);
    if (b->local_freq)
        rope_local_frequencies(&m->config, b->local_freq);
    pool_run(m->pool, tables_job, &f);
}

static enum status kv_kernels(struct cpu_context *ctx, enum dtype kv, struct error *err)
{
    struct device_target target = device_target(ctx->model->device);
    const struct kernel *attention = kernel_find(KOP_ATTENTION, kv, DT_F32, target);
    const struct kernel *store = kernel_find(KOP_KV_STORE, kv, DT_F32, target);
    if (!attention || !store)
        return FAIL(err, ERR_UNSUPPORTED, "no attention kernel for a KV cache of %s",
                    storage_name(kv));
    ctx->attention = attention->fn.attention;
    ctx->kv_store = store->fn.cast;
    return OK;
}

static enum status buffers_alloc(struct cpu_context *ctx, const struct context_options *options,
                                 size_t *bytes, struct error *err)
{
    const struct cpu_model *m = ctx->model;
    int threads = pool_threads(m->pool);
    struct memory_plan plan =
        cpu_memory_plan(device_info(m->device), &m->config, m->scheme, options, threads);
    *bytes = sat_add(plan.kv_bytes, plan.scratch_bytes);
    ctx->memory = device_alloc(m->device, *bytes);
    ctx->buffers.workers = calloc((size_t)threads, sizeof *ctx->buffers.workers);
    if (!ctx->memory || !ctx->buffers.workers) {
        char kv[32], scratch[32], have[32];
        return FAIL(err, ERR_NOMEM,
                    "KV cache of %s and scratch of %s do not fit: %s available next to the weights",
                    format_bytes((double)plan.kv_bytes, kv, sizeof kv),
                    format_bytes((double)plan.scratch_bytes, scratch, sizeof scratch),
                    format_bytes((double)os_memory_available_bytes(), have, sizeof have));
    }
    struct cpu_cursor placed = {.base = ctx->memory};
    cpu_buffers_place(&placed, &m->config, m->scheme, options, threads, &ctx->buffers);
    return OK;
}

enum status cpu_context_create(void *prepared, const struct context_options *options,
                               void **planned, struct error *err)
{
    *planned = NULL;
    struct cpu_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return FAIL(err, ERR_NOMEM, "context: %zu bytes", sizeof *ctx);
    ctx->model = prepared;
    size_t bytes;
    if (kv_kernels(ctx, options->kv, err) != OK || buffers_alloc(ctx, options, &bytes, err) != OK) {
        cpu_context_destroy(ctx);
        return err->code;
    }
    context_fill(ctx, bytes);
    *planned = ctx;
    return OK;
}

void cpu_context_destroy(void *planned)
{
    struct cpu_context *ctx = planned;
    if (!ctx)
        return;
    for (int i = 0; ctx->buffers.workers && i < pool_threads(ctx->model->pool); i++)
        sampler_fini(&ctx->buffers.workers[i].sampler);
    free(ctx->buffers.workers);
    device_free(ctx->model->device, ctx->memory);
    free(ctx);
}
