// forward.c - one pass through the model: embedding, layers, head; every worker runs it side by side.
//
// The whole pass is one job of the pool. Phases that read what other workers wrote meet at a barrier
// first; everything else runs on. Shapes in comments: T tokens of the pass, d width, f feed-forward.
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

// Worker 0 tells what was done since its last event. In the phases that end at a barrier the time
// includes waiting there for the others.
static bool watched(const struct cpu_pass *pass, int worker)
{
    return pass->observer && worker == 0;
}

static void tell(struct cpu_pass *pass, int layer, enum op_class op, struct op_cost cost)
{
    struct engine_event event = {
        .phase = pass->phase,
        .layer = layer,
        .op = op,
        .weight_bytes = cost.weight_bytes,
        .kv_read_bytes = cost.kv_read_bytes,
        .kv_write_bytes = cost.kv_write_bytes,
        .activation_bytes = cost.activation_bytes,
        .flop = cost.flop,
        .begin_ns = pass->mark_ns,
        .end_ns = clock_ns(),
    };
    pass->observer->on_event(pass->observer->user, &event);
    pass->mark_ns = clock_ns(); // what the observer does is in no event
}

static struct op_cost product_cost(const struct cpu_pass *pass, const struct cpu_matrix *m,
                                   int tokens)
{
    enum dtype input = m == &pass->model->weights.head ? pass->model->scheme->head
                                                       : pass->model->scheme->activations;
    uint64_t bytes = packed_bytes(m->type, m->rows, m->cols);
    if (m->bias)
        bytes += (uint64_t)m->rows * sizeof(float);
    return cost_linear((uint64_t)tokens, (uint64_t)m->rows, (uint64_t)m->cols, bytes,
                       cpu_element_bytes(input));
}

static struct op_cost qkv_cost(const struct cpu_pass *pass, const struct cpu_layer *layer)
{
    struct op_cost cost = {0};
    for (int i = 0; i < 3; i++)
        cost = cost_add(cost, product_cost(pass, &layer->qkv[i], pass->tokens));
    return cost;
}

static struct op_cost attention_cost(const struct cpu_pass *pass)
{
    struct op_cost cost = {0};
    for (int i = 0; i < pass->parts; i++) {
        const struct cpu_part *part = &pass->b->parts[i];
        cost = cost_add(cost, cost_attention(&pass->model->config, pass->b->kv.type,
                                             (uint64_t)part->first, (uint64_t)part->count));
    }
    return cost;
}

// An operation on f32 rows: each element read and written once.
static struct op_cost row_cost(int tokens, int width, uint64_t weight_bytes)
{
    return (struct op_cost){
        .weight_bytes = weight_bytes,
        .activation_bytes = 2 * (uint64_t)tokens * (uint64_t)width * sizeof(float),
    };
}

// ---- norms and inputs of products ------------------------------------------------------------------------

static void norm_row(const struct cpu_pass *pass, int worker, const float *x, const float *weight,
                     k_cast_fn *cast, enum dtype type, void *out)
{
    const struct model_config *c = &pass->model->config;
    float *row = pass->b->workers[worker].row;
    pass->model->kernels.rmsnorm(row, x, weight, c->width, c->norm_eps);
    cast(out, row, c->width, packed_cols(type, c->width));
}

// RMSNorm of the residual stream, cast for a product: (T, d). Few tokens: each worker makes all rows for
// itself. Many: each makes its share, and all meet.
static struct cpu_input normed(const struct cpu_pass *pass, int worker, const float *weight)
{
    const struct cpu_buffers *b = pass->b;
    enum dtype type = pass->model->scheme->activations;
    bool alone = pass->tokens <= SHARED_NORM_TOKENS;
    unsigned char *out = alone ? b->workers[worker].input : b->input;
    int begin = 0, end = pass->tokens;
    if (!alone)
        pool_share(pass->tokens, 1, worker, pass->workers, &begin, &end);
    for (int t = begin; t < end; t++)
        norm_row(pass, worker, residual(pass, t), weight, pass->model->kernels.cast, type,
                 out + (size_t)t * b->input_bytes);
    if (!alone)
        barrier(pass, worker);
    return (struct cpu_input){out, b->input_bytes, type};
}

// ---- the blocks ------------------------------------------------------------------------------------------

static void embedding_row(const struct cpu_pass *pass, int32_t id, float *out)
{
    const struct cpu_weights *w = &pass->model->weights;
    int width = pass->model->config.width;
    if (!w->embedding) {
        unpack_row(w->head.type, w->head.packed, id, width, out);
        return;
    }
    size_t row_bytes = (size_t)width * cpu_element_bytes(w->head.type);
    const unsigned char *row = w->embedding + (size_t)id * row_bytes;
    if (w->head.type == DT_F32) {
        memcpy(out, row, row_bytes);
        return;
    }
    for (int i = 0; i < width; i++) {
        uint16_t half;
        memcpy(&half, row + 2 * (size_t)i, sizeof half);
        out[i] = w->head.type == DT_BF16 ? bf16_to_f32(half) : f16_to_f32(half);
    }
}

// x = embedding rows of the tokens (T, d)
static void embed(struct cpu_pass *pass, int worker)
{
    const struct cpu_buffers *b = pass->b;
    for (int i = 0; i < pass->parts; i++) {
        const struct cpu_part *part = &b->parts[i];
        for (int t = 0; t < part->count; t++)
            if ((part->row + t) % pass->workers == worker)
                embedding_row(pass, b->tokens[i][t], residual(pass, part->row + t));
    }
    barrier(pass, worker);
    if (watched(pass, worker)) {
        uint64_t row =
            (uint64_t)pass->model->config.width * cpu_element_bytes(pass->model->scheme->head);
        tell(pass, -1, OPC_REST,
             row_cost(pass->tokens, pass->model->config.width, (uint64_t)pass->tokens * row));
    }
}

// x += O attention(rope(Q h), rope(K h), V h), h = norm(x)
static void attention_block(struct cpu_pass *pass, int worker, int index)
{
    const struct cpu_layer *layer = &pass->model->weights.layers[index];
    const struct model_config *c = &pass->model->config;
    const struct cpu_buffers *b = pass->b;

    struct cpu_input h = normed(pass, worker, layer->attn_norm);
    if (watched(pass, worker))
        tell(pass, index, OPC_REST,
             row_cost(pass->tokens, c->width, (uint64_t)c->width * sizeof(float)));

    float *k = b->qkv + (size_t)c->heads * (size_t)c->head_dim;
    float *v = k + (size_t)c->kv_heads * (size_t)c->head_dim;
    products(pass, worker, layer->qkv, 3, h, pass->tokens, (float *[]){b->qkv, k, v}, b->qkv_width,
             false);
    barrier(pass, worker);
    if (watched(pass, worker))
        tell(pass, index, OPC_QKV, qkv_cost(pass, layer));

    rotate(pass, worker);
    if (watched(pass, worker))
        tell(pass, index, OPC_REST,
             row_cost(pass->tokens, (c->heads + c->kv_heads) * c->head_dim, 0));

    remember(pass, worker, index);
    if (attention_shares_keys(pass))
        barrier(pass, worker);
    attend(pass, worker, index);
    barrier(pass, worker);
    if (watched(pass, worker))
        tell(pass, index, OPC_ATTENTION, attention_cost(pass));

    struct cpu_input attended = {b->input, b->input_bytes, pass->model->scheme->activations};
    products(pass, worker, &layer->out, 1, attended, pass->tokens, (float *[]){b->x},
             (size_t)c->width, true);
    barrier(pass, worker);
    if (watched(pass, worker))
        tell(pass, index, OPC_OUTPUT, product_cost(pass, &layer->out, pass->tokens));
}

// x += D swiglu(G h, U h), h = norm(x)
static void feed_forward_block(struct cpu_pass *pass, int worker, int index)
{
    const struct cpu_layer *layer = &pass->model->weights.layers[index];
    const struct model_config *c = &pass->model->config;
    const struct cpu_buffers *b = pass->b;

    struct cpu_input h = normed(pass, worker, layer->ff_norm);
    if (watched(pass, worker))
        tell(pass, index, OPC_REST,
             row_cost(pass->tokens, c->width, (uint64_t)c->width * sizeof(float)));

    gated(pass, worker, layer, h);
    barrier(pass, worker);
    if (watched(pass, worker))
        tell(pass, index, OPC_GATE_UP,
             cost_add(product_cost(pass, &layer->gate, pass->tokens),
                      product_cost(pass, &layer->up, pass->tokens)));

    struct cpu_input activated = {b->ff, b->ff_bytes, pass->model->scheme->activations};
    products(pass, worker, &layer->down, 1, activated, pass->tokens, (float *[]){b->x},
             (size_t)c->width, true);
    barrier(pass, worker);
    if (watched(pass, worker))
        tell(pass, index, OPC_DOWN, product_cost(pass, &layer->down, pass->tokens));
}

// logits of the wanted rows alone: (wanted, vocab)
static void head_block(struct cpu_pass *pass, int worker)
{
    const struct cpu_model *m = pass->model;
    const struct cpu_buffers *b = pass->b;
    enum dtype type = m->scheme->head;
    for (int i = worker; i < pass->wanted; i += pass->workers)
        norm_row(pass, worker, residual(pass, b->wanted[i]), m->weights.final_norm,
                 m->kernels.head_cast, type, b->input + (size_t)i * b->input_bytes);
    barrier(pass, worker);
    if (watched(pass, worker))
        tell(pass, -1, OPC_REST,
             row_cost(pass->wanted, m->config.width, (uint64_t)m->config.width * sizeof(float)));

    struct cpu_input last = {b->input, b->input_bytes, type};
    products(pass, worker, &m->weights.head, 1, last, pass->wanted, &pass->logits,
             (size_t)m->config.vocab, false);
    if (pass->observer) {
        barrier(pass, worker);
        if (worker == 0)
            tell(pass, -1, OPC_HEAD, product_cost(pass, &m->weights.head, pass->wanted));
    }
}

static void forward(void *arg, int worker, int workers)
{
    struct cpu_pass *pass = arg;
    (void)workers;
    embed(pass, worker);
    for (int i = 0; i < pass->model->config.layers; i++) {
        attention_block(pass, worker, i);
        feed_forward_block(pass, worker, i);
    }
    if (pass->wanted)
        head_block(pass, worker);
}

// ---- steps -------------------------------------------------------------------------------------------------

static bool row_wanted(const struct span *span, int token)
{
    return span->logits == LOGITS_ALL || (span->logits == LOGITS_LAST && token == span->count - 1);
}

// Adds tokens [done, ...) of a span to the pass, as many as fit; returns how many.
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

enum status cpu_step(void *planned, const struct span *spans, const int *positions, int span_count,
                     enum phase phase, const struct engine_observer *observer, const float **logits,
                     struct error *err)
{
    (void)err; // spans were validated and memory is there: nothing can fail
    const struct cpu_context *ctx = planned;
    const struct cpu_buffers *b = &ctx->buffers;
    struct cpu_pass pass = {
        .ctx = ctx,
        .model = ctx->model,
        .b = b,
        .workers = pool_threads(ctx->model->pool),
        .logits = b->logits,
        .single = true,
        .phase = phase,
        .observer = observer,
    };
    for (int i = 0; i < span_count; i++) {
        for (int done = 0; done < spans[i].count;) {
            done += pass_add(&pass, b, &spans[i], positions[i], done);
            if (pass.tokens == b->rows)
                pass_run(&pass);
        }
    }
    if (pass.tokens)
        pass_run(&pass);
    *logits = pass.logits == b->logits ? NULL : b->logits;
    return OK;
}
