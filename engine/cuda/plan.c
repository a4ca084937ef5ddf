// plan.c - the memory of a context, taken once for everything that a step needs. See cuda.h for the shapes.
#include "engine/cuda/cuda.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/model/alibi.h"
#include "engine/model/pass.h"
#include "engine/model/rope.h"
#include "engine/model/sampler.h"
#include "engine/model/sizes.h"

// Left free for later allocations of the driver: graphs, and the code of kernels at their first launch.
enum { HEADROOM_BYTES = 128 << 20 };

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static int widest_ff(const struct model_config *config)
{
    return max_int(config->ff, config->shared_ff);
}

// The number of (token, expert) pairs of a pass, or of its tokens where there are no experts.
static size_t slot_count(const struct model_config *config, const struct gpu_buffers *b)
{
    return sat_mul((size_t)b->rows, (size_t)max_int(config->experts_used, 1));
}

// Rows that the host may ask for, and one row per sequence to draw from. An absurdly large batch saturates, so that the
// allocation refuses it.
static int logit_rows_of(const struct context_options *options)
{
    int most = max_int(options->logit_rows, options->batch);
    return most > INT_MAX - options->batch ? INT_MAX : most + options->batch;
}

// Rows of a product's inputs are padded to whole groups.
static size_t padded_rows(size_t rows)
{
    return sat_add(rows, CUDA_GROUP_TOKENS - 1) / CUDA_GROUP_TOKENS * CUDA_GROUP_TOKENS;
}

static void sizes_plan(const struct model_config *config, const struct context_options *options,
                       struct gpu_buffers *b)
{
    *b = (struct gpu_buffers){
        .rows = pass_tokens(&cuda_backend, options),
        .logit_rows = logit_rows_of(options),
        .positions = options->positions,
        .batch = options->batch,
        .qkv_width = (size_t)(config->heads + 2 * config->kv_heads) * (size_t)config->head_dim,
        .input_ld =
            (size_t)cuda_padded_cols(max_int(config->width, config->heads * config->head_dim)),
        .ff_ld = (size_t)cuda_padded_cols(widest_ff(config)),
        .head_ld = (size_t)cuda_padded_cols(config->width),
    };
}

static void tables_place(struct gpu_cursor *cursor, const struct model_config *config,
                         struct gpu_buffers *b)
{
    size_t positions = (size_t)b->positions, row = (size_t)config->rotary / 2 * sizeof(float);
    b->cos = gpu_take(cursor, positions, row);
    b->sin = gpu_take(cursor, positions, row);
    if (config->rope_local_theta != 0) {
        b->local_cos = gpu_take(cursor, positions, row);
        b->local_sin = gpu_take(cursor, positions, row);
    }
    if (config->alibi != ALIBI_NONE)
        b->bias = gpu_take(cursor, (size_t)config->heads, sat_mul(positions, sizeof(float)));
}

static void experts_place(struct gpu_cursor *cursor, const struct model_config *config,
                          size_t element, struct gpu_buffers *b)
{
    size_t rows = (size_t)b->rows, slots = slot_count(config, b), inputs = padded_rows(rows);
    if (!config->experts)
        return;
    b->normed = gpu_take(cursor, rows, b->head_ld * sizeof(float));
    b->scores = gpu_take(cursor, rows, ((size_t)config->experts + 1) * sizeof(float));
    b->slot_input = gpu_take(cursor, inputs, b->input_ld * element);
    b->slot_scale = gpu_take(cursor, rows, sizeof(float));
    b->slot_y = gpu_take(cursor, slots, (size_t)config->width * sizeof(float));
    b->slot_token = gpu_take(cursor, slots, sizeof(int32_t));
    b->slot_share = gpu_take(cursor, slots + rows, sizeof(float));
}

// Bytes of partial sums for the largest product of few tokens.
static size_t partial_bytes(const struct model_config *config, const struct scheme *scheme,
                            int rows)
{
    const struct tensor_shape shapes[] = {
        {(int)((size_t)(config->heads + 2 * config->kv_heads) * (size_t)config->head_dim),
         config->width},
        {config->width, config->heads * config->head_dim},
        {2 * widest_ff(config), config->width},
        {config->width, widest_ff(config)},
        {config->vocab, config->width},
    };
    size_t most = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct cuda_layout layout;
        cuda_layout_plan(dtype_is_grouped(scheme->weights) ? DT_I8 : scheme->weights,
                         shapes[i].rows, shapes[i].cols, 0, &layout);
        size_t bytes = cuda_partial_bytes(&layout, rows);
        most = bytes > most ? bytes : most;
    }
    return most;
}

void gpu_buffers_place(struct gpu_cursor *cursor, const struct model_config *config,
                       const struct scheme *scheme, const struct context_options *options,
                       struct gpu_buffers *b)
{
    sizes_plan(config, options, b);
    b->kv = kv_layout(config, options);
    b->kv.memory = gpu_take(cursor, 1, kv_bytes(&b->kv));

    size_t rows = (size_t)b->rows, width = (size_t)config->width * sizeof(float);
    size_t slots = slot_count(config, b), logits = (size_t)b->logit_rows;
    size_t inputs = padded_rows(rows);
    size_t element = (size_t)cuda_element_bytes(scheme->activations);
    tables_place(cursor, config, b);
    b->tokens = gpu_take(cursor, rows, sizeof *b->tokens);
    b->ids = gpu_take(cursor, rows, sizeof *b->ids);
    b->wanted = gpu_take(cursor, rows, sizeof *b->wanted);
    b->x = gpu_take(cursor, rows, width);
    b->branch = config->post_norms ? gpu_take(cursor, rows, width) : NULL;
    b->qkv = gpu_take(cursor, rows, b->qkv_width * sizeof(float));
    b->attended =
        gpu_take(cursor, rows, (size_t)(config->heads * config->head_dim) * sizeof(float));
    b->input = gpu_take(cursor, inputs, b->input_ld * element);
    b->input_scale = gpu_take(cursor, rows, sizeof(float));
    if (gpu_carries(config, scheme, options)) {
        b->carried = gpu_take(cursor, CUDA_GROUP_TOKENS, b->input_ld * element);
        b->squares = gpu_take(cursor, CUDA_GROUP_TOKENS, width / CUDA_TILE_ROWS);
    }
    b->gate_up = gpu_take(cursor, slots, 2 * (size_t)widest_ff(config) * sizeof(float));
    b->ff = gpu_take(cursor, padded_rows(slots), b->ff_ld * element);
    b->ff_scale = gpu_take(cursor, slots, sizeof(float));
    b->head_input =
        gpu_take(cursor, inputs, b->head_ld * (size_t)cuda_element_bytes(scheme->head_activations));
    b->head_scale = gpu_take(cursor, rows, sizeof(float));
    b->linear_partial = gpu_take(cursor, 1, partial_bytes(config, scheme, b->rows));
    b->attention_partial = gpu_take(cursor, 1,
                                    cuda_attention_bytes(b->batch, config->heads, config->kv_heads,
                                                         config->head_dim, b->positions));
    experts_place(cursor, config, element, b);
    if (scheme->products == PRODUCTS_CUBLASLT) {
        b->library_workspace = gpu_take(cursor, 1, CUDA_PRODUCTS_WORKSPACE);
        if (element == 1)
            b->library_sums = gpu_take(cursor, rows, width);
    }
    b->exchange = gpu_take(cursor, 1, gpu_persistent_bytes(config, scheme, options));
    b->logits = gpu_take(cursor, logits, (size_t)config->vocab * sizeof(float));
    b->sequence = gpu_take(cursor, logits, sizeof *b->sequence);
    b->drawn = gpu_take(cursor, logits, sizeof *b->drawn);
    b->nonfinite = gpu_take(cursor, 1, sizeof *b->nonfinite);
    b->streams = gpu_take(cursor, (size_t)b->batch, sizeof *b->streams);
    b->candidates = gpu_take(cursor, (size_t)b->batch, (size_t)config->vocab * 8);
    b->stamps = gpu_take(cursor, 2, sizeof *b->stamps);
    b->number = gpu_take(cursor, 1, sizeof *b->number);
}

static size_t context_bytes(const struct model_config *config, const struct scheme *scheme,
                            const struct context_options *options, size_t *kv)
{
    struct gpu_cursor context = {0};
    struct gpu_buffers b;
    gpu_buffers_place(&context, config, scheme, options, &b);
    *kv = kv_bytes(&b.kv);
    return context.used_bytes;
}

struct memory_plan gpu_memory_plan(const struct device_info *device,
                                   const struct model_config *config, const struct scheme *scheme,
                                   const struct context_options *options, int threads)
{
    (void)device; // all GPUs need the same
    (void)threads;
    struct gpu_cursor weights = {0};
    struct gpu_weights w = {0};
    struct memory_plan plan = {0};
    size_t all = context_bytes(config, scheme, options, &plan.kv_bytes);
    plan.scratch_bytes = all == SIZE_MAX ? SIZE_MAX : all - plan.kv_bytes;
    w.layers = calloc((size_t)config->layers, sizeof *w.layers);
    w.experts = calloc((size_t)config->layers * (size_t)config->experts + 1, sizeof *w.experts);
    if (w.layers && w.experts)
        gpu_weights_place(&weights, config, scheme, &w, &plan.copy_bytes);
    plan.weights_bytes = w.layers && w.experts ? weights.used_bytes : SIZE_MAX;
    free(w.layers);
    free(w.experts);
    return plan;
}

// ---- making one --------------------------------------------------------------------------------------

static void host_place(struct gpu_cursor *cursor, const struct model_config *config,
                       const struct gpu_buffers *b, struct gpu_host *h)
{
    size_t rows = (size_t)b->rows, logits = (size_t)b->logit_rows, slots = slot_count(config, b);
    h->tokens = gpu_take(cursor, rows, sizeof *h->tokens);
    h->ids = gpu_take(cursor, rows, sizeof *h->ids);
    h->wanted = gpu_take(cursor, rows, sizeof *h->wanted);
    h->sequence = gpu_take(cursor, logits, sizeof *h->sequence);
    h->ring = gpu_take(cursor, GPU_AHEAD, sizeof *h->ring);
    h->ring_ids = gpu_take(cursor, GPU_AHEAD * logits, sizeof *h->ring_ids);
    h->logits = gpu_take(cursor, logits, (size_t)config->vocab * sizeof *h->logits);
    if (!config->experts)
        return;
    h->scores = gpu_take(cursor, rows, ((size_t)config->experts + 1) * sizeof *h->scores);
    h->slot_token = gpu_take(cursor, slots, sizeof *h->slot_token);
    h->slot_share = gpu_take(cursor, slots + rows, sizeof *h->slot_share);
}

// Uploads cosines and sines of all positions, computed on the host as for the CPU backend.
static enum status upload_tables(struct gpu_context *ctx, struct error *err)
{
    const struct model_config *c = &ctx->model->config;
    struct device *device = ctx->model->device;
    struct model_config plain = *c; // layers with a theta of their own are not scaled
    const struct gpu_buffers *b = &ctx->buffers;
    size_t half = (size_t)c->rotary / 2, n = (size_t)b->positions * half;
    size_t most = n > (size_t)(c->heads * b->positions) ? n : (size_t)(c->heads * b->positions);
    float *freq = malloc((half + 1) * sizeof *freq), *one = malloc((most + 1) * sizeof *one);
    float *two = malloc((n + 1) * sizeof *two);
    plain.rope_attention_factor = 0;
    if (!freq || !one || !two)
        FAIL(err, ERR_NOMEM, "%zu bytes for rotary tables", most * sizeof *one);
    for (int local = 0; !err->code && local < 2 && c->rope != ROPE_NONE; local++) {
        if (local && !b->local_cos)
            break;
        if (local)
            rope_local_frequencies(c, freq);
        else
            rope_frequencies(c, b->positions, freq);
        rope_fill(local ? &plain : c, freq, 0, b->positions, one, two);
        device_copy_in(device, local ? b->local_cos : b->cos, one, n * sizeof *one, err);
        device_copy_in(device, local ? b->local_sin : b->sin, two, n * sizeof *two, err);
    }
    if (!err->code && b->bias) {
        alibi_fill(c, 0, c->heads, b->positions, one);
        device_copy_in(device, b->bias, one, (size_t)(c->heads * b->positions) * sizeof *one, err);
    }
    free(freq);
    free(one);
    free(two);
    return err->code;
}

// Checks that a context of `bytes` bytes fits next to the weights, in the memory that the device reports.
static enum status room_check(const struct gpu_model *m, size_t bytes, struct error *err)
{
    char need[32], have[32];
    size_t available = device_memory(m->device).available_bytes;
    if (sat_add(bytes, HEADROOM_BYTES) <= available)
        return OK;
    return FAIL(err, ERR_NOMEM,
                "KV cache and scratch of %s do not fit: %s available on %s next to the weights, of "
                "which the driver keeps %s",
                format_bytes((double)bytes, need, sizeof need),
                format_bytes((double)available, have, sizeof have), device_info(m->device)->name,
                format_bytes(HEADROOM_BYTES, (char[32]){0}, 32));
}

static enum status memory_take(struct gpu_context *ctx, const struct context_options *options,
                               size_t bytes, struct error *err)
{
    const struct gpu_model *m = ctx->model;
    char need[32];
    struct gpu_cursor host = {0}, placed = {0}, pinned = {0};
    ctx->memory = device_alloc(m->device, bytes);
    if (!ctx->memory)
        return FAIL(err, ERR_NOMEM, "KV cache and scratch: %s of device memory: refused",
                    format_bytes((double)bytes, need, sizeof need));
    placed.base = ctx->memory;
    gpu_buffers_place(&placed, &m->config, m->scheme, options, &ctx->buffers);
    host_place(&host, &m->config, &ctx->buffers, &ctx->host);
    ctx->pinned = cuda_pinned_alloc(m->device, host.used_bytes);
    pinned.base = ctx->pinned;
    if (!ctx->pinned)
        return FAIL(err, ERR_NOMEM, "%s of pinned host memory: refused",
                    format_bytes((double)host.used_bytes, need, sizeof need));
    host_place(&pinned, &m->config, &ctx->buffers, &ctx->host);
    memset(ctx->host.ring, 0, GPU_AHEAD * sizeof *ctx->host.ring); // no step has arrived yet
    size_t slots = slot_count(&m->config, &ctx->buffers);
    ctx->chosen = malloc(slots * sizeof *ctx->chosen);
    ctx->shares = malloc(slots * sizeof *ctx->shares);
    ctx->first = malloc(((size_t)m->config.experts + 1) * sizeof *ctx->first);
    if (!ctx->chosen || !ctx->shares || !ctx->first)
        return FAIL(err, ERR_NOMEM, "context: out of memory");
    // Zeros, because the padding behind the inputs of a row is never written.
    TRY(cuda_queue_fill(ctx->queue, ctx->memory, 0, bytes, err));
    return device_queue_wait(ctx->queue, err);
}

enum status gpu_context_create(void *prepared, const struct context_options *options,
                               void **planned, struct error *err)
{
    *planned = NULL;
    struct gpu_model *m = prepared;
    size_t kv, bytes = context_bytes(&m->config, m->scheme, options, &kv);
    TRY(room_check(m, bytes, err));
    struct gpu_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return FAIL(err, ERR_NOMEM, "context: %zu bytes", sizeof *ctx);
    ctx->model = m;
    const struct kernel *attention =
        kernel_find(KOP_ATTENTION, options->kv, DT_F32, device_target(m->device));
    if (!attention)
        FAIL(err, ERR_UNSUPPORTED, "no CUDA attention kernel for a KV cache of %s",
             storage_name(options->kv));
    else
        ctx->attention = attention->fn.cuda.attention;
    if (err->code || device_queue_create(m->device, &ctx->queue, err) != OK ||
        memory_take(ctx, options, bytes, err) != OK || upload_tables(ctx, err) != OK) {
        gpu_context_destroy(ctx);
        return err->code;
    }
    if (gpu_persistent_create(ctx, options, err) != OK ||
        gpu_library_create(ctx, options, err) != OK) {
        gpu_context_destroy(ctx);
        return err->code;
    }
    *planned = ctx;
    return OK;
}

void gpu_context_destroy(void *planned)
{
    struct gpu_context *ctx = planned;
    if (!ctx)
        return;
    struct device *device = ctx->model->device;
    device_queue_destroy(ctx->queue);
    cuda_graph_destroy(device, ctx->graph);
    device_free(device, ctx->memory);
    cuda_pinned_free(device, ctx->pinned);
    free(ctx->chosen);
    free(ctx->shares);
    free(ctx->first);
    free(ctx);
}

// Whether a graph recorded for `a` can also draw with `b`. The streams are in memory.
static bool draws_alike(const struct sampling *a, const struct sampling *b)
{
    return a->temperature == b->temperature && a->top_k == b->top_k && a->top_p == b->top_p;
}

enum status gpu_context_sample(void *planned, const struct sampling *sampling, struct error *err)
{
    struct gpu_context *ctx = planned;
    struct device *device = ctx->model->device;
    for (int i = 0; i < ctx->buffers.batch; i++) {
        struct rng stream = sampling_stream(sampling->seed, i);
        TRY(device_copy_in(device, ctx->buffers.streams + i, &stream.state, sizeof stream.state,
                           err));
    }
    if (!draws_alike(sampling, &ctx->sampling)) {
        cuda_graph_destroy(device, ctx->graph);
        ctx->graph = NULL;
    }
    ctx->sampling = *sampling;
    return OK;
}
