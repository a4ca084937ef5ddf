// experts.c - routed experts: chooses the experts of each token, and multiplies each expert by its tokens.
//
// Tokens are grouped by expert (model/route.h), so that a pass reads a chosen expert's weights once, for one token
// or for many. Each phase ends at a barrier:
//   route     norm; the router's scores, in f32 from the f32 row; the chosen experts of each token. With many
//             tokens, the inputs of each expert are gathered into consecutive rows
//   gate, up  of each expert over its tokens: the workers share (expert, panel) units
//   quantize  the inputs of the down projections, where the scheme quantizes them: each row is complete now
//   down      times the token's share, added to the residual. The workers share panels of the output. Each adds
//             up all experts of its panels in rising order. So no two workers write the same element, and the order
//             of a token's sum does not depend on the rest of the pass
// The shared expert, which every token uses, is the last group.
// Shapes: T tokens, S slots = T * experts_used, d width, f an expert's width.
#include "engine/cpu/cpu.h"

#include <math.h>
#include <string.h>

#include "base/deal.h"
#include "base/pool.h"
#include "engine/model/route.h"

static bool few(const struct cpu_pass *pass)
{
    return pass->tokens <= SHARED_NORM_TOKENS;
}

static bool quantized(const struct cpu_pass *pass)
{
    return dtype_is_quantized(pass->model->scheme->activations);
}

static struct cpu_routing *routing_of(const struct cpu_pass *pass, int worker)
{
    return &pass->b->workers[worker].routing;
}

// ---- groups ----------------------------------------------------------------------------------------------

// The tokens of one expert in this pass.
struct group {
    const struct cpu_expert *expert;
    bool shared;
    int tokens, slot; // its slots are [slot, slot + tokens); the shared expert's are the tokens
    struct cpu_input staged;  // (tokens, f) output of gate and up
    struct cpu_input to_down; // the same, as input of the down projection
};

static struct group routed_group(const struct cpu_pass *pass, const struct cpu_layer *layer,
                                 const int *first, int index)
{
    const struct cpu_buffers *b = pass->b;
    const struct cpu_expert_buffers *e = &b->experts;
    struct group g = {.expert = &layer->experts[index], .slot = first[index]};
    size_t slot = (size_t)g.slot;
    g.tokens = first[index + 1] - first[index];
    g.staged = (struct cpu_input){b->ff + slot * b->ff_bytes, b->ff_bytes,
                                  cpu_staged(pass->model->scheme), NULL};
    g.to_down = g.staged;
    if (quantized(pass))
        g.to_down = (struct cpu_input){e->input + slot * e->input_bytes, e->input_bytes,
                                       pass->model->scheme->activations, e->scales + slot};
    return g;
}

static struct group shared_group(const struct cpu_pass *pass, const struct cpu_layer *layer)
{
    const struct cpu_buffers *b = pass->b;
    const struct cpu_expert_buffers *e = &b->experts;
    struct group g = {.expert = &layer->shared, .shared = true, .tokens = pass->tokens};
    g.staged =
        (struct cpu_input){e->shared, e->shared_bytes, cpu_staged(pass->model->scheme), NULL};
    g.to_down = g.staged;
    if (quantized(pass))
        g.to_down = (struct cpu_input){b->codes, b->codes_bytes, pass->model->scheme->activations,
                                       b->scales};
    return g;
}

// The group of one expert; the shared expert is the last. False if no token uses it.
static bool group_at(const struct cpu_pass *pass, int worker, const struct cpu_layer *layer,
                     int index, struct group *out)
{
    bool shared = index == pass->model->config.experts;
    *out = shared ? shared_group(pass, layer)
                  : routed_group(pass, layer, routing_of(pass, worker)->first, index);
    return out->tokens > 0 && out->expert->up.rows > 0;
}

static int group_count(const struct cpu_pass *pass)
{
    return pass->model->config.experts + 1;
}

// ---- route -----------------------------------------------------------------------------------------------

// Scores of one row by panels [panel0, panel1) of the router, followed by the shared expert's gate.
static void score_row(const struct cpu_pass *pass, const struct cpu_layer *layer, const float *row,
                      int token, int panel0, int panel1)
{
    const struct cpu_matrix *parts[] = {&layer->router, &layer->shared_router};
    float *y = pass->b->experts.scores + (size_t)token * pass->b->experts.score_stride;
    for (int i = 0; i < 2; i++) {
        int panels = kernel_panel_count(parts[i]->rows);
        int begin = panel0 > 0 ? panel0 : 0, end = panel1 < panels ? panel1 : panels;
        struct k_linear job = {
            .w = parts[i]->packed,
            .x = row,
            .y = y,
            .tokens = 1,
            .rows = parts[i]->rows,
            .cols = parts[i]->cols,
            .ldx = (size_t)parts[i]->cols,
            .ldy = pass->b->experts.score_stride,
        };
        if (begin < end)
            pass->model->kernels.router(&job, begin, end);
        panel0 -= panels;
        panel1 -= panels;
        y += parts[i]->rows;
    }
}

static void choose(const struct cpu_pass *pass, int token, int *chosen, float *shares)
{
    const struct model_config *c = &pass->model->config;
    const float *scores = pass->b->experts.scores + (size_t)token * pass->b->experts.score_stride;
    size_t at = (size_t)token * (size_t)c->experts_used;
    route_choose(scores, c->experts, c->experts_used, c->experts_renormed, chosen + at,
                 shares + at);
}

// Norms rows, casts them for the products, scores and groups them. With few tokens, every worker computes all rows
// itself and scores its share of the panels. With many, each worker does everything for its share of the rows.
static struct cpu_input route(struct cpu_pass *pass, int worker, int index)
{
    const struct cpu_layer *layer = &pass->model->weights.layers[index];
    const struct cpu_buffers *b = pass->b;
    const struct cpu_kernels *k = &pass->model->kernels;
    const struct scheme *scheme = pass->model->scheme;
    const struct model_config *c = &pass->model->config;
    struct cpu_routing *r = routing_of(pass, worker);
    float *row = b->workers[worker].row;
    struct cpu_rows m = cpu_rows_begin(pass, worker, pass->tokens, scheme->activations);
    int *chosen = m.alone ? r->chosen : b->experts.chosen;
    float *shares = m.alone ? r->shares : b->experts.shares;
    int panel0 = 0;
    int panel1 =
        kernel_panel_count(layer->router.rows) + kernel_panel_count(layer->shared_router.rows);
    if (m.alone)
        pool_share(panel1, 1, worker, pass->workers, &panel0, &panel1);
    for (int t = m.begin; t < m.end; t++) {
        cpu_norm_row(pass, b->x + (size_t)t * (size_t)c->width, &layer->ff_norm, row);
        cpu_rows_cast(&m, t, row, c->width, k->cast, scheme->weights);
        score_row(pass, layer, row, t, panel0, panel1);
        if (!m.alone)
            choose(pass, t, chosen, shares);
    }
    struct cpu_input h = cpu_rows_end(pass, worker, &m);
    if (m.alone) // every worker reads all scores
        pool_barrier(pass->model->pool, worker);
    for (int t = 0; t < pass->tokens && m.alone; t++)
        choose(pass, t, chosen, shares);
    struct route_groups groups = {r->first, r->slot_token, r->slot_share};
    route_group(chosen, shares, pass->tokens, c->experts_used, c->experts, &groups);
    return h;
}

// Copies the rows of slots [slot, slot + count) next to each other.
static void gather(const struct cpu_routing *r, struct cpu_input h, int slot, int count,
                   unsigned char *rows, float *scales)
{
    for (int i = 0; i < count; i++) {
        int token = r->slot_token[slot + i];
        memcpy(rows + (size_t)i * h.row_bytes, h.x + (size_t)token * h.row_bytes, h.row_bytes);
        if (h.scales)
            scales[i] = h.scales[token];
    }
}

static void gather_all(const struct cpu_pass *pass, int worker, struct cpu_input h)
{
    const struct cpu_expert_buffers *e = &pass->b->experts;
    int begin, end;
    pool_share(pass->tokens * pass->model->config.experts_used, 1, worker, pass->workers, &begin,
               &end);
    gather(routing_of(pass, worker), h, begin, end - begin, e->input + (size_t)begin * h.row_bytes,
           e->scales + begin);
    pool_barrier(pass->model->pool, worker);
}

// ---- gate and up -----------------------------------------------------------------------------------------

// The input of a group's gate and up: its tokens' rows, one after another.
static struct cpu_input group_input(const struct cpu_pass *pass, int worker,
                                    const struct group *group, struct cpu_input h)
{
    struct cpu_routing *r = routing_of(pass, worker);
    const struct cpu_expert_buffers *e = &pass->b->experts;
    struct cpu_input input = h;
    if (group->shared)
        return input;
    if (few(pass)) {
        gather(r, h, group->slot, group->tokens, r->input, r->scales);
        input.x = r->input;
        input.scales = h.scales ? r->scales : NULL;
    } else {
        input.x = e->input + (size_t)group->slot * h.row_bytes;
        input.scales = h.scales ? e->scales + group->slot : NULL;
    }
    return input;
}

// Computes panels [begin, end), counted over the panels of all groups.
static void gate_up_units(const struct cpu_pass *pass, int worker, const struct cpu_layer *layer,
                          struct cpu_input h, int begin, int end)
{
    struct group group;
    for (int i = 0, first = 0; i < group_count(pass) && first < end; i++) {
        if (!group_at(pass, worker, layer, i, &group))
            continue;
        int panels = kernel_panel_count(group.expert->up.rows);
        int panel0 = begin > first ? begin - first : 0;
        int panel1 = end - first < panels ? end - first : panels;
        first += panels;
        if (panel0 >= panel1)
            continue;
        struct cpu_gate_up_job job = {
            .gate = &group.expert->gate,
            .up = &group.expert->up,
            .input = group_input(pass, worker, &group, h),
            .tokens = group.tokens,
            .out = (unsigned char *)group.staged.x,
            .out_bytes = group.staged.row_bytes,
            .next = group.expert->down.type,
        };
        cpu_gate_up_panels(pass, worker, &job, panel0, panel1);
    }
}

static void gate_up(const struct cpu_pass *pass, int worker, const struct cpu_layer *layer,
                    struct cpu_input h)
{
    struct group group;
    struct deal deal;
    int units = 0, begin, end;
    for (int i = 0; i < group_count(pass); i++)
        if (group_at(pass, worker, layer, i, &group))
            units += kernel_panel_count(group.expert->up.rows);
    deal_begin(&deal, pass->b->deals, units, cpu_piece(pass, &layer->experts[0].up, pass->tokens),
               worker, pass->workers);
    while (deal_next(&deal, &begin, &end))
        gate_up_units(pass, worker, layer, h, begin, end);
    pool_barrier(pass->model->pool, worker);
}

// The workers quantize rows round robin over all groups.
static void quantize_staged(const struct cpu_pass *pass, int worker, const struct cpu_layer *layer)
{
    struct group group;
    int turn = 0;
    for (int i = 0; i < group_count(pass); i++) {
        if (!group_at(pass, worker, layer, i, &group))
            continue;
        const struct cpu_matrix *down = &group.expert->down;
        for (int s = 0; s < group.tokens; s++) {
            if (turn++ % pass->workers != worker)
                continue;
            const unsigned char *from = group.staged.x + (size_t)s * group.staged.row_bytes;
            void *to = (unsigned char *)group.to_down.x + (size_t)s * group.to_down.row_bytes;
            ((float *)group.to_down.scales)[s] =
                pass->model->kernels.cast(to, (const float *)(const void *)from, down->cols,
                                          cpu_padded(down->type, down->cols));
        }
    }
    pool_barrier(pass->model->pool, worker);
}

// Shows the inputs of the down projections to the tap. It sees models of scheme f32 only, which quantize nothing.
static void show_staged(const struct cpu_pass *pass, int worker, int index)
{
    const struct cpu_layer *layer = &pass->model->weights.layers[index];
    struct group group;
    if (!cpu_tapped(pass))
        return;
    for (int i = 0; i < group_count(pass); i++) {
        if (!group_at(pass, worker, layer, i, &group))
            continue;
        int cols = group.expert->down.cols;
        if (group.shared) {
            cpu_show_input(pass, worker, POINT_SHARED_DOWN_INPUT, index, group.staged, cols);
            continue;
        }
        cpu_show(pass, worker,
                 &(struct engine_rows){
                     .point = POINT_EXPERT_DOWN_INPUT,
                     .layer = index,
                     .x = (float *)(uintptr_t)group.staged.x,
                     .rows = group.tokens,
                     .cols = cols,
                     .ld = group.staged.row_bytes / sizeof(float),
                     .expert = i,
                     .share = routing_of(pass, worker)->slot_share + group.slot,
                 });
    }
}

// ---- down ------------------------------------------------------------------------------------------------

// The share of the shared expert's output that is added to a token.
static float shared_share(const struct cpu_pass *pass, int token)
{
    const struct model_config *c = &pass->model->config;
    const struct cpu_expert_buffers *e = &pass->b->experts;
    if (!c->shared_gated)
        return 1;
    return 1 / (1 + expf(-e->scores[(size_t)token * e->score_stride + (size_t)c->experts]));
}

// x[token][row0..] += share * y of each slot of the group. y: (tokens, rows)
static void add_shares(const struct cpu_pass *pass, int worker, const struct group *group,
                       const float *y, int row0, int rows)
{
    const struct cpu_routing *r = routing_of(pass, worker);
    for (int s = 0; s < group->tokens; s++, y += rows) {
        int token = group->shared ? s : r->slot_token[group->slot + s];
        float share = group->shared ? shared_share(pass, s) : r->slot_share[group->slot + s];
        float *x = pass->b->x + (size_t)token * (size_t)pass->model->config.width + row0;
        for (int i = 0; i < rows; i++)
            x[i] += share * y[i];
    }
}

// Computes output rows [row0, last) of all groups.
static void down_rows(const struct cpu_pass *pass, int worker, const struct cpu_layer *layer,
                      int row0, int last)
{
    float *y = pass->b->workers[worker].gate;
    struct group group;
    for (int i = 0; i < group_count(pass); i++) {
        if (!group_at(pass, worker, layer, i, &group))
            continue;
        int step = cpu_block_rows(group.tokens);
        for (int row = row0; row < last; row += step) {
            int rows = last - row < step ? last - row : step;
            cpu_block_product(pass, &group.expert->down, row, rows, group.to_down, group.tokens, y);
            add_shares(pass, worker, &group, y, row, rows);
        }
    }
}

static void down(const struct cpu_pass *pass, int worker, const struct cpu_layer *layer)
{
    int width = pass->model->config.width, begin, end;
    struct deal deal;
    deal_begin(&deal, pass->b->deals, kernel_panel_count(width),
               cpu_piece(pass, &layer->experts[0].down, pass->tokens), worker, pass->workers);
    while (deal_next(&deal, &begin, &end))
        down_rows(pass, worker, layer, begin * PANEL_ROWS,
                  end * PANEL_ROWS < width ? end * PANEL_ROWS : width);
    pool_barrier(pass->model->pool, worker);
}

// ---- the block -------------------------------------------------------------------------------------------

// The router is small and is read with gate and up, so it counts with them.
static struct op_cost gate_up_cost(const struct cpu_pass *pass, const struct cpu_layer *layer)
{
    struct op_cost cost = cpu_product_cost(pass, &layer->router, pass->tokens);
    struct group group;
    if (layer->shared_router.rows)
        cost = cost_add(cost, cpu_product_cost(pass, &layer->shared_router, pass->tokens));
    for (int i = 0; i < group_count(pass); i++)
        if (group_at(pass, 0, layer, i, &group)) {
            cost = cost_add(cost, cpu_product_cost(pass, &group.expert->gate, group.tokens));
            cost = cost_add(cost, cpu_product_cost(pass, &group.expert->up, group.tokens));
        }
    return cost;
}

static struct op_cost down_cost(const struct cpu_pass *pass, const struct cpu_layer *layer)
{
    struct op_cost cost = {0};
    struct group group;
    for (int i = 0; i < group_count(pass); i++)
        if (group_at(pass, 0, layer, i, &group))
            cost = cost_add(cost, cpu_product_cost(pass, &group.expert->down, group.tokens));
    return cost;
}

void cpu_experts(struct cpu_pass *pass, int worker, int index)
{
    const struct cpu_layer *layer = &pass->model->weights.layers[index];
    struct cpu_input h = route(pass, worker, index);
    cpu_show_input(pass, worker, POINT_FF_INPUT, index, h, pass->model->config.width);
    if (!few(pass))
        gather_all(pass, worker, h);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, index, OPC_REST, cpu_norm_cost(pass, pass->tokens, &layer->ff_norm));
    gate_up(pass, worker, layer, h);
    show_staged(pass, worker, index);
    if (quantized(pass))
        quantize_staged(pass, worker, layer);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, index, OPC_GATE_UP, gate_up_cost(pass, layer));
    down(pass, worker, layer);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, index, OPC_DOWN, down_cost(pass, layer));
}
