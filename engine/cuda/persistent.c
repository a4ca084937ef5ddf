// persistent.c - the decode step as one kernel: which descriptions it serves, its job for each number of tokens, and
// when it replaces the kernels of forward.c. See kernels/cuda/step.h.
#include "engine/cuda/cuda.h"

#include <math.h>
#include <stdio.h>

#include "base/stat.h"

// Why the form cannot serve the description and options; NULL: it can.
static const char *refusal(const struct model_config *c, const struct scheme *scheme,
                           const struct context_options *options)
{
    enum dtype head = scheme->weights == DT_F16 ? DT_F16 : DT_BF16;
    if (options->decode == DECODE_GRAPH)
        return "the graph was requested";
    // All steps of a context have the same form, so that other sequences never change a sequence's bits.
    if (options->batch > STEP_MOST_TOKENS)
        return "more than 8 sequences";
    if (c->norm != NORM_RMS || c->norm_bias || c->post_norms)
        return "norms of another kind";
    if (c->parallel || c->experts || c->plain_ff)
        return "blocks of another kind";
    if (c->window || c->alibi != ALIBI_NONE || c->attention_softcap != 0 || c->clip_qkv != 0 ||
        c->rope_local_theta != 0 || c->logit_softcap != 0)
        return "attention of another kind";
    if (scheme->head != head || scheme->head_activations != head)
        return "a head of another type";
    if (options->kv == DT_F32)
        return "a KV cache of f32";
    return NULL;
}

// The first layer's matrix of a phase.
static const struct gpu_matrix *matrix_of(const struct gpu_weights *w, int layer, int phase)
{
    const struct gpu_layer *l = &w->layers[layer];
    switch (phase) {
    case STEP_QKV:
        return &l->qkv;
    case STEP_OUT:
        return &l->out;
    case STEP_GATE_UP:
        return &l->gate_up;
    case STEP_DOWN:
        return &l->down;
    default:
        return &w->head;
    }
}

static bool apart(const void *first, const void *other, size_t bytes)
{
    return first ? (const char *)other - (const char *)first == (ptrdiff_t)bytes : !other;
}

// Whether each weight of every layer lies `stride` bytes after the same weight of the previous layer.
static bool layers_regular(const struct gpu_weights *w, int layers, size_t stride)
{
    bool regular = true;
    for (int i = 0; i < layers; i++) {
        const struct gpu_layer *a = &w->layers[0], *b = &w->layers[i];
        size_t bytes = (size_t)i * stride;
        for (int p = 0; p < STEP_LAYER_PHASES; p++) {
            const struct gpu_matrix *x = matrix_of(w, 0, p), *y = matrix_of(w, i, p);
            if (p != STEP_ATTEND)
                regular = regular && apart(x->w, y->w, bytes) && apart(x->bias, y->bias, bytes);
        }
        regular = regular && apart(a->attn_norm.weight, b->attn_norm.weight, bytes) &&
                  apart(a->ff_norm.weight, b->ff_norm.weight, bytes) &&
                  apart(a->q_norm, b->q_norm, bytes) && apart(a->k_norm, b->k_norm, bytes);
    }
    return regular;
}

// All fields of a job that the plan does not fill in.
static struct cuda_step job_of(const struct gpu_context *ctx, int tokens)
{
    static const enum kernel_op ops[] = {[ACT_SILU] = KOP_SWIGLU,
                                         [ACT_GELU] = KOP_GELU,
                                         [ACT_GELU_TANH] = KOP_GELU_TANH,
                                         [ACT_RELU] = KOP_RELU};
    const struct gpu_model *m = ctx->model;
    const struct model_config *c = &m->config;
    const struct gpu_buffers *b = &ctx->buffers;
    const struct gpu_weights *w = &m->weights;
    const struct gpu_layer *first = &w->layers[0];
    struct cuda_step job = {
        .type = m->scheme->weights,
        .head_type = m->scheme->head,
        .kv_type = b->kv.type,
        .activation = ops[c->activation],
        .group = first->qkv.layout.group,
        .layers = c->layers,
        .width = c->width,
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .head_dim = c->head_dim,
        .rotary = c->rope == ROPE_NONE ? 0 : c->rotary,
        .ff = c->ff,
        .vocab = c->vocab,
        .interleaved = c->rope == ROPE_INTERLEAVED,
        .eps = c->norm_eps,
        .scale = c->attention_scale != 0 ? c->attention_scale : 1.0f / sqrtf((float)c->head_dim),
        .tokens = tokens,
        .most_tokens = b->batch,
        .blocks = device_info(m->device)->units,
        .attn_norm = first->attn_norm.weight,
        .ff_norm = first->ff_norm.weight,
        .final_norm = w->final_norm.weight,
        .q_norm = first->q_norm,
        .k_norm = first->k_norm,
        .cos = b->cos,
        .sin = b->sin,
        .kv = kv_keys(&b->kv, 0, 0, 0, 0),
        .kv_block_bytes = b->kv.block_bytes,
        .kv_scales_offset = b->kv.scales_offset,
        .kv_layer_bytes = (size_t)b->kv.batch * (size_t)c->kv_heads * 2 * b->kv.block_bytes,
        .tokens_at = b->tokens,
        .x = b->x,
        .exchange = b->exchange,
    };
    if (c->layers > 1)
        job.layer_stride =
            (size_t)((unsigned char *)w->layers[1].qkv.w - (unsigned char *)first->qkv.w);
    for (int p = 0; p < STEP_PHASES; p++)
        if (p != STEP_ATTEND) {
            job.m[p].w = matrix_of(w, 0, p)->w;
            job.m[p].bias = matrix_of(w, 0, p)->bias;
        }
    return job;
}

// Does not depend on the device: enough for any number of multiprocessors that the step serves.
size_t gpu_persistent_bytes(const struct model_config *c, const struct scheme *scheme,
                            const struct context_options *options)
{
    if (refusal(c, scheme, options))
        return 0;
    size_t tokens = options->batch > STEP_FEW_TOKENS ? STEP_MOST_TOKENS : (size_t)options->batch;
    size_t tile = tokens * CUDA_TILE_ROWS;
    size_t rows = (size_t)(c->heads + 2 * c->kv_heads) * (size_t)c->head_dim + (size_t)c->ff +
                  4 * (size_t)c->width;
    size_t splits = tokens * (size_t)c->heads * STEP_MOST_SPLITS + STEP_MOST_BLOCKS;
    size_t words = (rows / CUDA_TILE_ROWS + 6 * (STEP_MOST_BLOCKS + 1)) * tile +
                   splits * (size_t)(c->head_dim + 8) + 32 + STEP_MOST_BLOCKS;
    return words * sizeof(uint32_t);
}

// Plans a job for every number of tokens up to the batch. Sets why_not if one of them cannot be planned.
static void jobs_plan(struct gpu_context *ctx, const struct context_options *options)
{
    const struct gpu_model *m = ctx->model;
    struct gpu_persistent *p = &ctx->persistent;
    struct cuda_layout layouts[STEP_PHASES] = {{0}};
    p->why_not = refusal(&m->config, m->scheme, options);
    p->step = p->why_not ? NULL : cuda_step_find(m->scheme->weights, m->scheme->activations);
    if (!p->why_not && !p->step)
        p->why_not = "no kernel for these weights and inputs on this device";
    if (p->why_not)
        return;
    for (int i = 0; i < STEP_PHASES; i++)
        if (i != STEP_ATTEND)
            layouts[i] = matrix_of(&m->weights, 0, i)->layout;
    for (int tokens = 1; tokens <= options->batch; tokens++) {
        struct cuda_step *job = &p->job[tokens - 1];
        *job = job_of(ctx, tokens);
        if (!cuda_step_plan(job, layouts, &p->why_not))
            return;
        if (cuda_step_exchange_bytes(job) > gpu_persistent_bytes(&m->config, m->scheme, options) ||
            !layers_regular(&m->weights, m->config.layers, job->layer_stride)) {
            p->why_not = "an unforeseen layout of memory";
            return;
        }
        p->most_tokens = tokens;
    }
}

// ---- the choice ----------------------------------------------------------------------------------------

// Measures one decode step of all sequences at their last position, in the form currently chosen.
static enum status measure_step(struct gpu_context *ctx, double *ns, struct error *err)
{
    const int batch = ctx->buffers.batch;
    int32_t token = 0;
    struct span spans[STEP_MOST_TOKENS];
    int positions[STEP_MOST_TOKENS];
    for (int i = 0; i < batch; i++) {
        spans[i] = (struct span){.sequence = i, .count = 1, .tokens = &token, .sample = true};
        positions[i] = ctx->buffers.positions - 1;
    }
    struct engine_step step = {
        .spans = spans, .positions = positions, .span_count = batch, .phase = PHASE_DECODE};
    struct step_result result;
    TRY(gpu_step(ctx, &step, &result, err));
    *ns = (double)(result.end_ns - result.begin_ns);
    return OK;
}

// The median time of a few steps, after two that record the graph and raise the clocks.
static enum status measure_form(struct gpu_context *ctx, bool persistent, double *ns,
                                struct error *err)
{
    enum { WARM = 2, TIMED = 7 };
    double times[TIMED];
    ctx->persistent.chosen = persistent;
    for (int i = -WARM; i < TIMED; i++)
        TRY(measure_step(ctx, &times[i < 0 ? 0 : i], err));
    *ns = stat_median(times, TIMED, err);
    return err->code;
}

static enum status choose(struct gpu_context *ctx, struct error *err)
{
    struct gpu_persistent *p = &ctx->persistent;
    double graph = 0, one = 0;
    TRY(measure_form(ctx, false, &graph, err));
    TRY(measure_form(ctx, true, &one, err));
    p->chosen = one < graph;
    snprintf(p->reason, sizeof p->reason, "%.3f ms a step, %.3f ms as %s",
             (one < graph ? one : graph) / 1e6, (one < graph ? graph : one) / 1e6,
             one < graph ? "a graph" : "one kernel");
    return OK;
}

enum status gpu_persistent_create(struct gpu_context *ctx, const struct context_options *options,
                                  struct error *err)
{
    struct gpu_persistent *p = &ctx->persistent;
    jobs_plan(ctx, options);
    if (options->decode == DECODE_GRAPH) {
        snprintf(p->reason, sizeof p->reason, "as asked");
        return OK;
    }
    if (p->most_tokens < options->batch) {
        snprintf(p->reason, sizeof p->reason, "one kernel does not serve it: %s", p->why_not);
        return OK;
    }
    p->chosen = true;
    snprintf(p->reason, sizeof p->reason, "as asked");
    return options->decode == DECODE_AUTO ? choose(ctx, err) : OK;
}

struct decode_choice gpu_decode_choice(const void *planned)
{
    const struct gpu_context *ctx = planned;
    return (struct decode_choice){
        context_form_name(ctx->persistent.chosen ? DECODE_PERSISTENT : DECODE_GRAPH),
        ctx->persistent.reason};
}

void gpu_persistent_ready(struct gpu_pass *pass)
{
    struct gpu_persistent *p = &pass->ctx->persistent;
    const struct cuda_step *job = &p->job[pass->tokens - 1];
    if (p->tokens != pass->tokens)
        cuda_queue_fill(pass->ctx->queue, pass->b->exchange, 0, cuda_step_exchange_bytes(job),
                        pass->err);
    p->tokens = pass->tokens;
}

void gpu_persistent_forward(struct gpu_pass *pass)
{
    struct gpu_persistent *p = &pass->ctx->persistent;
    struct cuda_step job = p->job[pass->tokens - 1];
    size_t vocab = (size_t)pass->model->config.vocab;
    job.logits = pass->wanted ? pass->b->logits + (size_t)pass->logits_row * vocab : NULL;
    gpu_embed(pass);
    p->step(&job, gpu_stream(pass));
}
