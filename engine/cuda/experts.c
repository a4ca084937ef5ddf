// experts.c - routed experts, grouped on the host.
// The router's scores are copied to the host, which groups the tokens as the CPU backend does. Each expert with tokens
// then multiplies its own. Experts are added in rising order, the shared one last.
//
// Each layer waits for its scores, so such models decode without a graph.
#include "engine/cuda/cuda.h"

#include <math.h>

#include "engine/model/route.h"

// Copies the scores of all tokens to the host: (T, experts), then the shared expert's.
static void score(struct gpu_pass *pass, const struct gpu_layer *layer)
{
    const struct gpu_model *m = pass->model;
    struct gpu_buffers *b = pass->b;
    size_t stride = (size_t)m->config.experts + 1;
    gpu_product(pass, m->kernels.router, &layer->router, b->normed, b->head_ld, NULL, pass->tokens,
                b->scores, stride, false);
    if (layer->shared_router.layout.rows)
        gpu_product(pass, m->kernels.router, &layer->shared_router, b->normed, b->head_ld, NULL,
                    pass->tokens, b->scores + m->config.experts, stride, false);
    if (cuda_queue_copy_out(pass->ctx->queue, pass->ctx->host.scores, b->scores,
                            (size_t)pass->tokens * stride * sizeof(float), pass->err) == OK)
        device_queue_wait(pass->ctx->queue, pass->err);
}

// Groups the tokens and uploads the token and share of each slot, then the shares of the shared expert.
static void group(struct gpu_pass *pass)
{
    const struct model_config *c = &pass->model->config;
    struct gpu_context *ctx = pass->ctx;
    struct gpu_host *h = &ctx->host;
    size_t stride = (size_t)c->experts + 1, slots = (size_t)(pass->tokens * c->experts_used);
    for (int t = 0; t < pass->tokens; t++) {
        const float *scores = h->scores + (size_t)t * stride;
        route_choose(scores, c->experts, c->experts_used, c->experts_renormed,
                     ctx->chosen + t * c->experts_used, ctx->shares + t * c->experts_used);
        h->slot_share[slots + (size_t)t] =
            c->shared_gated ? 1.0f / (1.0f + expf(-scores[c->experts])) : 1.0f;
    }
    struct route_groups groups = {ctx->first, h->slot_token, h->slot_share};
    route_group(ctx->chosen, ctx->shares, pass->tokens, c->experts_used, c->experts, &groups);
    if (cuda_queue_copy_in(ctx->queue, pass->b->slot_token, h->slot_token,
                           slots * sizeof *h->slot_token, pass->err) == OK)
        cuda_queue_copy_in(ctx->queue, pass->b->slot_share, h->slot_share,
                           (slots + (size_t)pass->tokens) * sizeof *h->slot_share, pass->err);
}

// y (tokens, d) = D act(G x, U x) for one expert. Slots from `slot` on hold the values in between.
static void expert(struct gpu_pass *pass, const struct gpu_expert *e, const void *x,
                   const float *scale, int tokens, float *y)
{
    const struct gpu_model *m = pass->model;
    struct gpu_buffers *b = pass->b;
    gpu_product(pass, m->kernels.linear, &e->gate_up, x, b->input_ld, scale, tokens, b->gate_up,
                (size_t)e->gate_up.layout.rows, false);
    gpu_activate(pass, &e->gate_up, b->gate_up, tokens, b->ff, b->ff_scale);
    gpu_product(pass, m->kernels.linear, &e->down, b->ff, b->ff_ld, b->ff_scale, tokens, y,
                (size_t)m->config.width, false);
}

static void add(struct gpu_pass *pass, const float *y, const float *share, const int32_t *index,
                int rows)
{
    size_t width = (size_t)pass->model->config.width;
    struct cuda_add job = {.x = pass->b->x,
                           .y = y,
                           .share = share,
                           .index = index,
                           .rows = rows,
                           .n = (int)width,
                           .ldx = width,
                           .ldy = width};
    pass->model->kernels.add(&job, gpu_stream(pass));
}

static struct op_cost expert_cost(const struct gpu_pass *pass, const struct gpu_matrix *m,
                                  int tokens)
{
    return gpu_product_cost(m, pass->model->scheme->activations, tokens);
}

void gpu_experts(struct gpu_pass *pass, int index)
{
    const struct gpu_model *m = pass->model;
    const struct model_config *c = &m->config;
    const struct gpu_layer *layer = &m->weights.layers[index];
    struct gpu_buffers *b = pass->b;
    size_t width = (size_t)c->width;
    static const struct gpu_norm cast = {NULL, NULL};
    struct op_cost up = {0}, down = {0};

    struct gpu_input normed = {b->normed, NULL, CUDA_ROWS, b->head_ld};
    struct gpu_input slots = gpu_scheme_input(pass, b->slot_input, b->input_ld, b->slot_scale);
    struct gpu_input input = gpu_scheme_input(pass, b->input, b->input_ld, b->input_scale);
    gpu_norm(pass, m->kernels.plain_norm, &layer->ff_norm, b->x, width, NULL, pass->tokens,
             c->width, normed);
    gpu_emit(pass, index, OPC_REST, gpu_norm_cost(pass, pass->tokens, &layer->ff_norm));
    score(pass, layer);
    if (pass->err->code)
        return;
    group(pass);
    up = gpu_product_cost(&layer->router, DT_F32, pass->tokens);
    if (layer->shared_router.layout.rows)
        up = cost_add(up, gpu_product_cost(&layer->shared_router, DT_F32, pass->tokens));
    for (int e = 0; e < c->experts; e++) {
        int slot = pass->ctx->first[e], tokens = pass->ctx->first[e + 1] - slot;
        float *y = b->slot_y + (size_t)slot * width;
        if (!tokens)
            continue;
        gpu_norm(pass, m->kernels.norm, &cast, b->normed, b->head_ld, b->slot_token + slot, tokens,
                 c->width, slots);
        expert(pass, &layer->experts[e], b->slot_input, b->slot_scale, tokens, y);
        add(pass, y, b->slot_share + slot, b->slot_token + slot, tokens);
        up = cost_add(up, expert_cost(pass, &layer->experts[e].gate_up, tokens));
        down = cost_add(down, expert_cost(pass, &layer->experts[e].down, tokens));
    }
    if (layer->shared.down.layout.rows) {
        gpu_norm(pass, m->kernels.norm, &cast, b->normed, b->head_ld, NULL, pass->tokens, c->width,
                 input);
        expert(pass, &layer->shared, b->input, b->input_scale, pass->tokens, b->slot_y);
        add(pass, b->slot_y, b->slot_share + pass->tokens * c->experts_used, NULL, pass->tokens);
        up = cost_add(up, expert_cost(pass, &layer->shared.gate_up, pass->tokens));
        down = cost_add(down, expert_cost(pass, &layer->shared.down, pass->tokens));
    }
    gpu_emit(pass, index, OPC_GATE_UP, up);
    gpu_emit(pass, index, OPC_DOWN, down);
}
