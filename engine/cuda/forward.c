// forward.c - one pass through the model, enqueued on the context's queue: embedding, layers, head.
//
// The code follows the notation of the papers. Each call is one or two launches. Shapes in comments: T tokens of the
// pass, d width, f feed-forward.
#include "engine/cuda/cuda.h"

#include <math.h>

#include "base/clock.h"

void *gpu_stream(const struct gpu_pass *pass)
{
    return device_queue_native(pass->ctx->queue);
}

// ---- observing -----------------------------------------------------------------------------------------

void gpu_enqueued(const struct gpu_pass *pass, int layer, enum op_class op)
{
    const struct engine_observer *o = pass->observer;
    if (o && o->on_enqueued && !o->on_event)
        o->on_enqueued(o->user, pass->phase, layer, op);
}

void gpu_emit(struct gpu_pass *pass, int layer, enum op_class op, struct op_cost cost)
{
    gpu_enqueued(pass, layer, op);
    if (!pass->observer || !pass->observer->on_event || pass->err->code)
        return;
    device_queue_wait(pass->ctx->queue, pass->err);
    pass->mark_ns = observe_emit(pass->observer, pass->phase, layer, op, cost, pass->mark_ns);
}

struct op_cost gpu_product_cost(const struct gpu_matrix *m, enum dtype inputs, int tokens)
{
    uint64_t bytes = cuda_layout_bytes(&m->layout); // the plain copy has as many, but for padding
    if (m->bias)
        bytes += (uint64_t)m->layout.rows * sizeof(float);
    return cost_linear((uint64_t)tokens, (uint64_t)m->layout.rows, (uint64_t)m->layout.cols, bytes,
                       (uint64_t)cuda_element_bytes(inputs));
}

struct op_cost gpu_norm_cost(const struct gpu_pass *pass, int tokens, const struct gpu_norm *norm)
{
    return cost_norm(tokens, pass->model->config.width, norm->bias != NULL);
}

static struct op_cost product_cost(const struct gpu_pass *pass, const struct gpu_matrix *m)
{
    return gpu_product_cost(m, pass->model->scheme->activations, pass->tokens);
}

static struct op_cost attention_cost(const struct gpu_pass *pass, int layer)
{
    struct op_cost cost = {0};
    for (int i = 0; i < pass->tokens; i++) {
        const struct cuda_token *token = &pass->ctx->host.tokens[i];
        int first = token->position, count = 1;
        while (i + 1 < pass->tokens && token[count].sequence == token->sequence)
            count++, i++;
        cost = cost_add(cost, cost_attention(&pass->model->config, layer, pass->b->kv.type,
                                             (uint64_t)first, (uint64_t)count));
    }
    return cost;
}

// ---- operations ----------------------------------------------------------------------------------------

static struct cuda_linear product_job(const struct gpu_pass *pass, const struct gpu_matrix *m,
                                      const void *x, size_t ldx, const float *scale, int tokens,
                                      float *y, size_t ldy, bool accumulate)
{
    return (struct cuda_linear){
        .layout = m->layout,
        .w = m->w,
        .x = x,
        .bias = m->bias,
        .x_scale = scale,
        .y = y,
        .partial = pass->b->linear_partial,
        .tokens = tokens,
        .multiprocessors = device_info(pass->model->device)->units,
        .ldx = ldx,
        .ldy = ldy,
        .accumulate = accumulate,
    };
}

void gpu_product(const struct gpu_pass *pass, cuda_linear_fn *linear, const struct gpu_matrix *m,
                 const void *x, size_t ldx, const float *scale, int tokens, float *y, size_t ldy,
                 bool accumulate)
{
    struct cuda_linear job = product_job(pass, m, x, ldx, scale, tokens, y, ldy, accumulate);
    linear(&job, gpu_stream(pass));
}

// A product of the layers, by the library where the pass uses it.
static void layer_product(const struct gpu_pass *pass, const struct gpu_matrix *m,
                          const struct cuda_linear *job)
{
    if (pass->library)
        gpu_library_product(pass, m, job);
    else
        pass->model->kernels.linear(job, gpu_stream(pass));
}

// The order of the layers' inputs.
static enum cuda_order layer_order(const struct gpu_pass *pass)
{
    const struct scheme *scheme = pass->model->scheme;
    if (pass->library)
        return CUDA_ROWS;
    return cuda_order_of(scheme->weights, scheme->activations);
}

struct gpu_input gpu_scheme_input(const struct gpu_pass *pass, void *x, size_t ld, float *scale)
{
    return (struct gpu_input){x, scale, layer_order(pass), ld};
}

static struct gpu_input plain_rows(float *x, size_t ld)
{
    return (struct gpu_input){x, NULL, CUDA_ROWS, ld};
}

void gpu_norm(const struct gpu_pass *pass, cuda_norm_fn *kernel, const struct gpu_norm *norm,
              const float *x, size_t ldx, const int32_t *index, int rows, int n,
              struct gpu_input out)
{
    const struct model_config *c = &pass->model->config;
    struct cuda_norm job = {
        .x = x,
        .weight = norm->weight,
        .bias = norm->bias,
        .index = index,
        .out = out.x,
        .scale = out.scale,
        .order = out.order,
        .rows = rows,
        .n = n,
        .padded = out.order == CUDA_ROWS ? n : cuda_padded_cols(n),
        .ldx = ldx,
        .ldo = out.ld,
        .eps = c->norm_eps,
        .centered = c->norm == NORM_LAYER,
    };
    kernel(&job, gpu_stream(pass));
}

void gpu_activate(const struct gpu_pass *pass, const struct gpu_matrix *gate_up, const float *from,
                  int tokens, void *out, float *scale)
{
    static const enum kernel_op ops[] = {[ACT_SILU] = KOP_SWIGLU,
                                         [ACT_GELU] = KOP_GELU,
                                         [ACT_GELU_TANH] = KOP_GELU_TANH,
                                         [ACT_RELU] = KOP_RELU};
    bool plain = pass->model->config.plain_ff;
    enum cuda_order order = layer_order(pass);
    int ff = plain ? gate_up->layout.rows : gate_up->layout.rows / 2;
    struct cuda_activate job = {
        .op = ops[pass->model->config.activation],
        .gate = plain ? NULL : from,
        .up = plain ? from : from + ff,
        .out = out,
        .scale = scale,
        .order = order,
        .rows = tokens,
        .n = ff,
        .padded = order == CUDA_ROWS ? ff : cuda_padded_cols(ff),
        .ldx = (size_t)gate_up->layout.rows,
        .ldo = pass->b->ff_ld,
    };
    pass->model->kernels.activate(&job, gpu_stream(pass));
}

bool gpu_carries(const struct model_config *c, const struct scheme *scheme,
                 const struct context_options *options)
{
    return options->batch <= CUDA_GROUP_TOKENS && scheme->activations == DT_BF16 &&
           c->norm == NORM_RMS && !c->norm_bias && !c->post_norms && !c->parallel && !c->experts &&
           c->width % CUDA_UNIT_COLS == 0;
}

// The normed residual stream in the order of a product's inputs: (T, d). Nothing is launched if the previous product
// carried it.
static void normed_input(struct gpu_pass *pass, int layer, const struct gpu_norm *norm)
{
    struct gpu_buffers *b = pass->b;
    int width = pass->model->config.width;
    if (!pass->carried)
        gpu_norm(pass, pass->model->kernels.norm, norm, b->x, (size_t)width, NULL, pass->tokens,
                 width, gpu_scheme_input(pass, b->input, b->input_ld, b->input_scale));
    gpu_emit(pass, layer, OPC_REST, gpu_norm_cost(pass, pass->tokens, norm));
}

// A product of the normed residual stream.
static struct cuda_linear normed_product(const struct gpu_pass *pass, const struct gpu_matrix *m,
                                         float *y, size_t ldy)
{
    const struct gpu_buffers *b = pass->b;
    const void *x = pass->carried ? b->carried : b->input;
    struct cuda_linear job =
        product_job(pass, m, x, b->input_ld, b->input_scale, pass->tokens, y, ldy, false);
    if (pass->carried) {
        job.carry.from = b->squares;
        job.carry.from_tiles = m->layout.cols / CUDA_TILE_ROWS;
        job.carry.eps = pass->model->config.norm_eps;
    }
    return job;
}

// x += y (T, d)
static void add_rows(struct gpu_pass *pass, const float *y)
{
    size_t width = (size_t)pass->model->config.width;
    struct cuda_add job = {
        .x = pass->b->x, .y = y, .rows = pass->tokens, .n = (int)width, .ldx = width, .ldy = width};
    pass->model->kernels.add(&job, gpu_stream(pass));
}

// x += W input, through a buffer where the product has a norm of its own. next: the norm of x that follows within the
// layers, or NULL. Decode steps fuse it into the product.
static void add_product(struct gpu_pass *pass, int layer, const struct gpu_matrix *w,
                        const void *input, size_t ld, const float *scale,
                        const struct gpu_norm *post, const struct gpu_norm *next, enum op_class op)
{
    struct gpu_buffers *b = pass->b;
    size_t width = (size_t)pass->model->config.width;
    float *y = post->weight ? b->branch : b->x;
    struct cuda_linear job =
        product_job(pass, w, input, ld, scale, pass->tokens, y, width, !post->weight);
    // A prompt's tokens must not depend on how it is cut into passes.
    pass->carried =
        next && b->carried && pass->phase == PHASE_DECODE && pass->tokens <= CUDA_GROUP_TOKENS;
    if (pass->carried) {
        job.carry.weight = next->weight;
        job.carry.out = b->carried;
        job.carry.order = layer_order(pass);
        job.carry.squares = b->squares;
    }
    layer_product(pass, w, &job);
    gpu_emit(pass, layer, op, product_cost(pass, w));
    if (!post->weight)
        return;
    gpu_norm(pass, pass->model->kernels.plain_norm, post, b->branch, width, NULL, pass->tokens,
             (int)width, plain_rows(b->branch, width));
    add_rows(pass, b->branch);
    gpu_emit(pass, layer, OPC_REST, gpu_norm_cost(pass, pass->tokens, post));
}

// ---- the blocks ----------------------------------------------------------------------------------------

// x = norm(scale * embedding + position) (T, d), with the parts that the description has
void gpu_embed(struct gpu_pass *pass)
{
    const struct gpu_model *m = pass->model;
    const struct gpu_weights *w = &m->weights;
    struct gpu_buffers *b = pass->b;
    int width = m->config.width;
    enum dtype type = scheme_embedding(m->scheme);
    struct cuda_embed job = {
        .x = b->x,
        .table = w->embedding ? w->embedding : w->head.w,
        .positions = w->positions,
        .ids = b->ids,
        .tokens = b->tokens,
        .layout = w->head.layout,
        .packed = !w->embedding,
        .type = type,
        .rows = pass->tokens,
        .n = width,
        .ldx = (size_t)width,
        .scale = m->config.embedding_scale,
    };
    m->kernels.embed(&job, gpu_stream(pass));
    if (w->embedding_norm.weight)
        gpu_norm(pass, m->kernels.plain_norm, &w->embedding_norm, b->x, (size_t)width, NULL,
                 pass->tokens, width, plain_rows(b->x, (size_t)width));
    uint64_t row = w->embedding ? (uint64_t)width * (uint64_t)cuda_element_bytes(type)
                                : cuda_layout_bytes(&w->head.layout) / (uint64_t)m->config.vocab;
    gpu_emit(pass, -1, OPC_REST, cost_rows(pass->tokens, width, (uint64_t)pass->tokens * row));
}

static struct cuda_kv layer_kv(const struct gpu_pass *pass, int layer)
{
    const struct kv_cache *kv = &pass->b->kv;
    return (struct cuda_kv){
        .layer = kv_keys(kv, layer, 0, 0, 0),
        .block_bytes = kv->block_bytes,
        .scales_offset = kv->scales_offset,
        .kv_heads = kv->kv_heads,
        .head_dim = kv->head_dim,
        .type = kv->type,
    };
}

// q, k = rope(norm(q, k)); k and v are appended to the cache
static void rotate(struct gpu_pass *pass, int index)
{
    const struct model_config *c = &pass->model->config;
    const struct gpu_layer *layer = &pass->model->weights.layers[index];
    struct gpu_buffers *b = pass->b;
    bool local = b->local_cos && model_window(c, index);
    struct cuda_rotate job = {
        .qkv = b->qkv,
        .tokens = b->tokens,
        .q_norm = layer->q_norm,
        .k_norm = layer->k_norm,
        .cos = local ? b->local_cos : b->cos,
        .sin = local ? b->local_sin : b->sin,
        .kv = layer_kv(pass, index),
        .rows = pass->tokens,
        .heads = c->heads,
        .rotary = c->rope == ROPE_NONE ? 0 : c->rotary,
        .ld = b->qkv_width,
        .clip = c->clip_qkv,
        .eps = c->norm_eps,
        .interleaved = c->rope == ROPE_INTERLEAVED,
    };
    pass->model->kernels.rotate(&job, gpu_stream(pass));
    gpu_emit(pass, index, OPC_REST, cost_rotation(c, pass->tokens));
}

// attended = softmax(q k) v (T, heads * head_dim), in the order that the output projection reads
static void attend(struct gpu_pass *pass, int index)
{
    const struct model_config *c = &pass->model->config;
    struct gpu_buffers *b = pass->b;
    size_t width = (size_t)(c->heads * c->head_dim);
    struct cuda_attention job = {
        .qkv = b->qkv,
        .tokens = b->tokens,
        .kv = layer_kv(pass, index),
        .bias = b->bias,
        .out = b->attended,
        .partial = b->attention_partial,
        .rows = pass->tokens,
        .heads = c->heads,
        .window = model_window(c, index),
        .most_positions = b->positions,
        .multiprocessors = device_info(pass->model->device)->units,
        .single = pass->single && pass->phase == PHASE_DECODE,
        .ld = b->qkv_width,
        .ldo = width,
        .bias_stride = (size_t)b->positions,
        .scale = c->attention_scale != 0 ? c->attention_scale : 1.0f / sqrtf((float)c->head_dim),
        .softcap = c->attention_softcap,
    };
    pass->ctx->attention(&job, gpu_stream(pass));
    static const struct gpu_norm cast = {NULL, NULL};
    gpu_norm(pass, pass->model->kernels.norm, &cast, b->attended, width, NULL, pass->tokens,
             (int)width, gpu_scheme_input(pass, b->input, b->input_ld, b->input_scale));
    if (pass->observer)
        gpu_emit(pass, index, OPC_ATTENTION, attention_cost(pass, index));
}

// ff = act(G h) * U h, or act(U h): (T, f)
static void feed_forward_up(struct gpu_pass *pass, int index)
{
    const struct gpu_layer *layer = &pass->model->weights.layers[index];
    struct gpu_buffers *b = pass->b;
    struct cuda_linear job =
        normed_product(pass, &layer->gate_up, b->gate_up, (size_t)layer->gate_up.layout.rows);
    layer_product(pass, &layer->gate_up, &job);
    gpu_activate(pass, &layer->gate_up, b->gate_up, pass->tokens, b->ff, b->ff_scale);
    gpu_emit(pass, index, OPC_GATE_UP, product_cost(pass, &layer->gate_up));
}

// x += O attention(rope(Q h), rope(K h), V h), h = norm(x). In a parallel block the feed-forward starts from the same
// x, so its first half runs before x changes.
static void attention_block(struct gpu_pass *pass, int index)
{
    const struct gpu_layer *layer = &pass->model->weights.layers[index];
    const struct model_config *c = &pass->model->config;
    struct gpu_buffers *b = pass->b;
    normed_input(pass, index, &layer->attn_norm);
    struct cuda_linear qkv = normed_product(pass, &layer->qkv, b->qkv, b->qkv_width);
    layer_product(pass, &layer->qkv, &qkv);
    gpu_emit(pass, index, OPC_QKV, product_cost(pass, &layer->qkv));
    if (c->parallel) {
        if (!c->shared_norm)
            normed_input(pass, index, &layer->ff_norm);
        feed_forward_up(pass, index);
    }
    rotate(pass, index);
    attend(pass, index);
    add_product(pass, index, &layer->out, b->input, b->input_ld, b->input_scale,
                &layer->attn_post_norm, &layer->ff_norm, OPC_OUTPUT);
}

// x += D (act(G h) * U h), h = norm(x)
static void feed_forward_block(struct gpu_pass *pass, int index)
{
    const struct gpu_layer *layer = &pass->model->weights.layers[index];
    const bool last = index + 1 == pass->model->config.layers; // the head's rows may be others
    struct gpu_buffers *b = pass->b;
    if (pass->model->config.experts) {
        gpu_experts(pass, index);
        return;
    }
    if (!pass->model->config.parallel) {
        normed_input(pass, index, &layer->ff_norm);
        feed_forward_up(pass, index);
    }
    add_product(pass, index, &layer->down, b->ff, b->ff_ld, b->ff_scale, &layer->ff_post_norm,
                last ? NULL : &layer[1].attn_norm, OPC_DOWN);
}

// logits of the wanted rows only: (wanted, vocab)
static void head_block(struct gpu_pass *pass)
{
    const struct gpu_model *m = pass->model;
    const struct model_config *c = &m->config;
    struct gpu_buffers *b = pass->b;
    size_t width = (size_t)c->width, vocab = (size_t)c->vocab;
    float *logits = b->logits + (size_t)pass->logits_row * vocab;
    struct gpu_input input = {b->head_input, b->head_scale,
                              cuda_order_of(m->scheme->head, m->scheme->head_activations),
                              b->head_ld};
    gpu_norm(pass, m->kernels.head_norm, &m->weights.final_norm, b->x, width, b->wanted,
             pass->wanted, c->width, input);
    gpu_emit(pass, -1, OPC_REST, gpu_norm_cost(pass, pass->wanted, &m->weights.final_norm));
    gpu_product(pass, m->kernels.head, &m->weights.head, b->head_input, b->head_ld, b->head_scale,
                pass->wanted, logits, vocab, false);
    gpu_emit(pass, -1, OPC_HEAD,
             gpu_product_cost(&m->weights.head, m->scheme->head_activations, pass->wanted));
    if (c->logit_softcap == 0)
        return;
    struct cuda_softcap cap = {logits, (size_t)pass->wanted * vocab, c->logit_softcap};
    m->kernels.softcap(&cap, gpu_stream(pass));
    gpu_emit(pass, -1, OPC_REST, cost_rows(pass->wanted, c->vocab, 0));
}

void gpu_forward(struct gpu_pass *pass)
{
    pass->mark_ns = pass->observer ? clock_ns() : 0;
    pass->carried = false;
    pass->library = gpu_library_serves(pass->ctx, pass->phase, pass->tokens);
    gpu_embed(pass);
    for (int i = 0; i < pass->model->config.layers && !pass->err->code; i++) {
        attention_block(pass, i);
        feed_forward_block(pass, i);
    }
    if (pass->wanted && !pass->err->code)
        head_block(pass);
}
