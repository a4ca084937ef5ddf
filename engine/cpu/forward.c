// forward.c - one pass through the model: embedding, layers, head. All workers run it together.
//
// The whole pass is one job of the pool. A phase that reads what other workers wrote begins with a barrier; between
// barriers workers run independently. A layer has five: after q/k/v, attention, output, gate/up and down. Other steps
// are arranged to need none:
// - With few tokens (decode) every worker norms all rows for itself. That costs less than a barrier.
// - Gate, up and their activation are split by the same rows, so a worker reads only rows that it wrote.
// - In decode, rotation, storing and attention are split by the same (sequence, KV head) pairs. When there are fewer
//   pairs than workers, the query heads of a group are split too. Then one more barrier separates storing and
//   attention.
// - Positions are not split: one sequence with one KV head keeps at most as many workers busy in attention as that head
//   has query heads.
//
// Shapes in comments: T tokens of the pass, d width, f feed-forward.
#include "engine/cpu/cpu.h"

#include <string.h>

#include "base/clock.h"
#include "base/fp.h"
#include "base/pool.h"

static void barrier(const struct cpu_pass *pass, int worker)
{
    pool_barrier(pass->model->pool, worker);
}

static float *residual(const struct cpu_pass *pass, int row)
{
    return pass->b->x + (size_t)row * (size_t)pass->model->config.width;
}

// ---- observing -------------------------------------------------------------------------------------------

static void show_residual(const struct cpu_pass *pass, int worker, enum engine_point point,
                          int layer)
{
    int width = pass->model->config.width;
    cpu_show(pass, worker,
             &(struct engine_rows){
                 .point = point,
                 .layer = layer,
                 .x = pass->b->x,
                 .rows = pass->tokens,
                 .cols = width,
                 .ld = (size_t)width,
             });
}

static struct op_cost qkv_cost(const struct cpu_pass *pass, const struct cpu_layer *layer)
{
    struct op_cost cost = {0};
    for (int i = 0; i < 3; i++)
        cost = cost_add(cost, cpu_product_cost(pass, &layer->qkv[i], pass->tokens));
    return cost;
}

static struct op_cost attention_cost(const struct cpu_pass *pass, int layer)
{
    struct op_cost cost = {0};
    for (int i = 0; i < pass->parts; i++) {
        const struct cpu_part *part = &pass->b->parts[i];
        cost = cost_add(cost, cost_attention(&pass->model->config, layer, pass->b->kv.type,
                                             (uint64_t)part->first, (uint64_t)part->count));
    }
    return cost;
}

// ---- norms and inputs of products ------------------------------------------------------------------------

// The normed residual stream, cast for a product: (T, d).
static struct cpu_input normed(struct cpu_pass *pass, int worker, int layer,
                               const struct cpu_norm *norm)
{
    const struct scheme *scheme = pass->model->scheme;
    float *row = pass->b->workers[worker].row;
    struct cpu_rows m = cpu_rows_begin(pass, worker, pass->tokens, scheme->activations);
    for (int t = m.begin; t < m.end; t++) {
        cpu_norm_row(pass, residual(pass, t), norm, row);
        cpu_rows_cast(&m, t, row, pass->model->config.width, pass->model->kernels.cast,
                      scheme->weights);
    }
    struct cpu_input input = cpu_rows_end(pass, worker, &m);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, layer, OPC_REST, cpu_norm_cost(pass, pass->tokens, norm));
    return input;
}

// Rows that all workers wrote together, as input of a product: unchanged, or quantized now that each row is complete.
static struct cpu_input ready_input(const struct cpu_pass *pass, int worker,
                                    const unsigned char *staged, size_t row_bytes, int cols)
{
    const struct scheme *scheme = pass->model->scheme;
    if (!dtype_is_quantized(scheme->activations))
        return (struct cpu_input){staged, row_bytes, scheme->activations, NULL};
    struct cpu_rows m = cpu_rows_begin(pass, worker, pass->tokens, scheme->activations);
    for (int t = m.begin; t < m.end; t++)
        cpu_rows_cast(&m, t, (const float *)(const void *)(staged + (size_t)t * row_bytes), cols,
                      pass->model->kernels.cast, scheme->weights);
    return cpu_rows_end(pass, worker, &m);
}

// x += W input. If the product is normed before it is added, it goes through a buffer whose rows the workers share.
static void add_product(struct cpu_pass *pass, int worker, int layer, const struct cpu_matrix *w,
                        struct cpu_input input, const struct cpu_norm *post, enum op_class op)
{
    const struct cpu_buffers *b = pass->b;
    size_t width = (size_t)pass->model->config.width;
    float *y = post->weight ? b->branch : b->x;
    cpu_products(pass, worker, w, 1, input, pass->tokens, &y, width, !post->weight);
    barrier(pass, worker);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, layer, op, cpu_product_cost(pass, w, pass->tokens));
    if (!post->weight)
        return;
    for (int t = worker; t < pass->tokens; t += pass->workers) {
        float *row = b->branch + (size_t)t * width;
        cpu_norm_row(pass, row, post, row);
        pass->model->kernels.add(residual(pass, t), row, (int)width);
    }
    barrier(pass, worker);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, layer, OPC_REST, cpu_norm_cost(pass, pass->tokens, post));
}

// ---- the blocks ------------------------------------------------------------------------------------------

// Row `index` of a table of rows of type scheme_embedding().
static void table_row(const struct cpu_pass *pass, const unsigned char *table, int index,
                      float *out)
{
    enum dtype type = scheme_embedding(pass->model->scheme);
    int width = pass->model->config.width;
    size_t row_bytes = (size_t)width * cpu_element_bytes(type);
    const unsigned char *row = table + (size_t)index * row_bytes;
    if (type == DT_F32) {
        memcpy(out, row, row_bytes);
        return;
    }
    for (int i = 0; i < width; i++) {
        uint16_t half;
        memcpy(&half, row + 2 * (size_t)i, sizeof half);
        out[i] = type == DT_BF16 ? bf16_to_f32(half) : f16_to_f32(half);
    }
}

// Bytes of an embedding row, including its scales.
static uint64_t embedding_row_bytes(const struct cpu_model *m)
{
    uint64_t width = (uint64_t)m->config.width;
    enum dtype type = m->weights.embedding ? scheme_embedding(m->scheme) : m->scheme->head;
    if (type == DT_I4) // codes, and for each group an f16 scale and half a byte of zero
        return (width * 4 + (uint64_t)quant_groups(DT_I4, m->config.width, QUANT_GROUP) * 20 + 7) /
               8;
    return width * cpu_element_bytes(type) + (dtype_is_quantized(type) ? sizeof(float) : 0);
}

// out = norm(scale * embedding + position), with the parts that the description has
static void embedding_row(const struct cpu_pass *pass, int worker, int32_t id, int position,
                          float *out)
{
    const struct cpu_weights *w = &pass->model->weights;
    const struct model_config *c = &pass->model->config;
    float *row = pass->b->workers[worker].row;
    if (w->embedding)
        table_row(pass, w->embedding, id, out);
    else
        kernel_unpack_row(w->head.type, w->head.packed, id, c->width, out);
    for (int i = 0; c->embedding_scale != 0 && i < c->width; i++)
        out[i] *= c->embedding_scale;
    if (w->positions) {
        table_row(pass, w->positions, position, row);
        pass->model->kernels.add(out, row, c->width);
    }
    if (w->embedding_norm.weight)
        cpu_norm_row(pass, out, &w->embedding_norm, out);
}

static struct op_cost embedding_cost(const struct cpu_pass *pass)
{
    const struct cpu_weights *w = &pass->model->weights;
    int width = pass->model->config.width;
    uint64_t row = embedding_row_bytes(pass->model);
    if (w->positions)
        row += (uint64_t)width * cpu_element_bytes(scheme_embedding(pass->model->scheme));
    struct op_cost cost = cost_rows(pass->tokens, width, (uint64_t)pass->tokens * row);
    if (w->embedding_norm.weight)
        cost = cost_add(cost, cpu_norm_cost(pass, pass->tokens, &w->embedding_norm));
    return cost;
}

// x = the tokens' embeddings (T, d)
static void embed(struct cpu_pass *pass, int worker)
{
    const struct cpu_buffers *b = pass->b;
    for (int i = 0; i < pass->parts; i++) {
        const struct cpu_part *part = &b->parts[i];
        for (int t = 0; t < part->count; t++)
            if ((part->row + t) % pass->workers == worker)
                embedding_row(pass, worker, b->tokens[i][t], part->first + t,
                              residual(pass, part->row + t));
    }
    barrier(pass, worker);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, -1, OPC_REST, embedding_cost(pass));
}

// ff = act(G h) * U h, or act(U h): (T, f)
static void feed_forward_up(struct cpu_pass *pass, int worker, int index, struct cpu_input h)
{
    const struct cpu_layer *layer = &pass->model->weights.layers[index];
    cpu_show_input(pass, worker, POINT_FF_INPUT, index, h, pass->model->config.width);
    cpu_gate_up(pass, worker, layer, h);
    barrier(pass, worker);
    if (cpu_observed(pass, worker)) {
        struct op_cost cost = cpu_product_cost(pass, &layer->up, pass->tokens);
        if (layer->gate.rows)
            cost = cost_add(cpu_product_cost(pass, &layer->gate, pass->tokens), cost);
        cpu_emit(pass, index, OPC_GATE_UP, cost);
    }
}

// x += D ff
static void feed_forward_down(struct cpu_pass *pass, int worker, int index)
{
    const struct cpu_layer *layer = &pass->model->weights.layers[index];
    const struct cpu_buffers *b = pass->b;
    struct cpu_input activated =
        ready_input(pass, worker, b->ff, b->ff_bytes, pass->model->config.ff);
    cpu_show_input(pass, worker, POINT_DOWN_INPUT, index, activated, layer->down.cols);
    add_product(pass, worker, index, &layer->down, activated, &layer->ff_post_norm, OPC_DOWN);
}

// x += O attention(rope(Q h), rope(K h), V h), h = norm(x). In a parallel block the feed-forward reads
// the same x, so its first half runs before x changes.
static void attention_block(struct cpu_pass *pass, int worker, int index)
{
    const struct cpu_layer *layer = &pass->model->weights.layers[index];
    const struct model_config *c = &pass->model->config;
    const struct cpu_buffers *b = pass->b;

    show_residual(pass, worker, POINT_LAYER_INPUT, index);
    struct cpu_input h = normed(pass, worker, index, &layer->attn_norm);
    cpu_show_input(pass, worker, POINT_QKV_INPUT, index, h, c->width);
    float *k = b->qkv + (size_t)c->heads * (size_t)c->head_dim;
    float *v = k + (size_t)c->kv_heads * (size_t)c->head_dim;
    cpu_products(pass, worker, layer->qkv, 3, h, pass->tokens, (float *[]){b->qkv, k, v},
                 b->qkv_width, false);
    barrier(pass, worker);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, index, OPC_QKV, qkv_cost(pass, layer));
    if (c->parallel) {
        if (!c->shared_norm)
            h = normed(pass, worker, index, &layer->ff_norm);
        feed_forward_up(pass, worker, index, h);
    }

    cpu_rotate(pass, worker, index);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, index, OPC_REST, cost_rotation(&pass->model->config, pass->tokens));

    cpu_store_kv(pass, worker, index);
    if (cpu_attention_shares_keys(pass))
        barrier(pass, worker);
    cpu_attend(pass, worker, index);
    barrier(pass, worker);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, index, OPC_ATTENTION, attention_cost(pass, index));

    struct cpu_input attended =
        ready_input(pass, worker, b->input, b->input_bytes, c->heads * c->head_dim);
    cpu_show_input(pass, worker, POINT_O_INPUT, index, attended, layer->out.cols);
    add_product(pass, worker, index, &layer->out, attended, &layer->attn_post_norm, OPC_OUTPUT);
}

// x += D (act(G h) * U h), h = norm(x)
static void feed_forward_block(struct cpu_pass *pass, int worker, int index)
{
    const struct cpu_layer *layer = &pass->model->weights.layers[index];
    if (pass->model->config.experts) {
        cpu_experts(pass, worker, index);
        return;
    }
    if (!pass->model->config.parallel)
        feed_forward_up(pass, worker, index, normed(pass, worker, index, &layer->ff_norm));
    feed_forward_down(pass, worker, index);
}

// Logits of the wanted rows: (wanted, vocab)
static void head_block(struct cpu_pass *pass, int worker)
{
    const struct cpu_model *m = pass->model;
    const struct cpu_buffers *b = pass->b;
    size_t vocab = (size_t)m->config.vocab;
    float *row = b->workers[worker].row;
    struct cpu_rows rows = cpu_rows_begin(pass, worker, pass->wanted, m->scheme->head_activations);
    for (int i = rows.begin; i < rows.end; i++) {
        cpu_norm_row(pass, residual(pass, b->wanted[i]), &m->weights.final_norm, row);
        cpu_rows_cast(&rows, i, row, m->config.width, m->kernels.head_cast, m->scheme->head);
    }
    struct cpu_input last = cpu_rows_end(pass, worker, &rows);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, -1, OPC_REST, cpu_norm_cost(pass, pass->wanted, &m->weights.final_norm));

    cpu_products(pass, worker, &m->weights.head, 1, last, pass->wanted, &pass->logits, vocab,
                 false);
    bool capped = m->config.logit_softcap != 0;
    if (pass->observer || capped)
        barrier(pass, worker);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, -1, OPC_HEAD, cpu_product_cost(pass, &m->weights.head, pass->wanted));
    if (!capped)
        return;
    int begin, end;
    pool_share(m->config.vocab, PANEL_ROWS, worker, pass->workers, &begin, &end);
    for (int i = 0; i < pass->wanted; i++)
        m->kernels.softcap(pass->logits + (size_t)i * vocab + begin, end - begin,
                           m->config.logit_softcap);
    if (pass->observer)
        barrier(pass, worker);
    if (cpu_observed(pass, worker))
        cpu_emit(pass, -1, OPC_REST, cost_rows(pass->wanted, m->config.vocab, 0));
}

static void forward(void *arg, int worker, int workers)
{
    struct cpu_pass *pass = arg;
    (void)workers;
    embed(pass, worker);
    for (int i = 0; i < pass->model->config.layers; i++) {
        attention_block(pass, worker, i);
        show_residual(pass, worker, POINT_MIDDLE, i);
        if (cpu_tapped(pass) && pass->observer->tap->attention_alone)
            continue;
        feed_forward_block(pass, worker, i);
        show_residual(pass, worker, POINT_LAYER_OUTPUT, i);
    }
    if (pass->wanted)
        head_block(pass, worker);
}

// ---- steps -------------------------------------------------------------------------------------------------

static bool row_wanted(const struct span *span, int token)
{
    return token >= span->count - span_logit_rows(span); // the last ones, or all
}

// Adds tokens of a span to the pass, from `done` on, as many as fit. Returns their number.
static int pass_add(struct cpu_pass *pass, const struct cpu_buffers *b, const struct span *span,
                    int position, int done)
{
    int room = b->rows - pass->tokens, count = span->count - done;
    if (count > room)
        count = room;
    b->tokens[pass->parts] = span->tokens + done;
    b->parts[pass->parts++] = (struct cpu_part){
        .sequence = span->sequence,
        .first = position + done,
        .count = count,
        .row = pass->tokens,
    };
    for (int t = 0; t < count; t++)
        if (row_wanted(span, done + t))
            b->wanted[pass->wanted++] = pass->tokens + t;
    pass->tokens += count;
    pass->single = pass->single && count == 1;
    return count;
}

static void pass_run(struct cpu_pass *pass)
{
    if (pass->observer)
        pass->mark_ns = clock_ns();
    pool_run(pass->model->pool, forward, pass);
    pass->logits += (size_t)pass->wanted * (size_t)pass->model->config.vocab;
    pass->tokens = pass->parts = pass->wanted = 0;
    pass->single = true;
}

enum status cpu_step(void *planned, const struct engine_step *step, struct step_result *result,
                     struct error *err)
{
    (void)err; // spans are validated and memory is allocated: nothing can fail
    const struct cpu_context *ctx = planned;
    const struct cpu_buffers *b = &ctx->buffers;
    struct cpu_pass pass = {
        .ctx = ctx,
        .model = ctx->model,
        .b = b,
        .workers = pool_threads(ctx->model->pool),
        .logits = b->logits,
        .single = true,
        .phase = step->phase,
        .observer = step->observer,
    };
    result->begin_ns = clock_ns();
    for (int i = 0; i < step->span_count; i++) {
        for (int done = 0; done < step->spans[i].count;) {
            done += pass_add(&pass, b, &step->spans[i], step->positions[i], done);
            if (pass.tokens == b->rows)
                pass_run(&pass);
        }
    }
    if (pass.tokens)
        pass_run(&pass);
    result->logits_ns = clock_ns();
    cpu_sample(ctx, step, result);
    result->end_ns = clock_ns();
    pass.mark_ns = result->logits_ns;
    if (cpu_observed(&pass, 0))
        cpu_emit(&pass, -1, OPC_COUNT, (struct op_cost){0});
    return OK;
}
