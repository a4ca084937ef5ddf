// library.c - products of prefill passes by cuBLASLt, if the scheme asks for it (products = cublaslt).
//
// The library reads plain rows. So a second copy of the layers' weights is unpacked at load and stays. In passes that
// use the library, norms and activations store plain rows too. This program's own products multiply in decode steps, in
// passes of up to CUDA_FEW_TOKENS tokens and in the head.
//
// int8 sums are exact. A kernel of this program rounds them as its own products do, so the bits are the same. The
// library scales sums of fp8 if it can; otherwise the same kernel does.
#include "engine/cuda/cuda.h"
#include "kernels/cuda/library.h"

#include <stdio.h>

static enum cuda_product_type type_of(enum dtype type)
{
    return type == DT_I8       ? CUDA_PRODUCT_I8
           : type == DT_F8E4M3 ? CUDA_PRODUCT_F8
           : type == DT_F16    ? CUDA_PRODUCT_F16
                               : CUDA_PRODUCT_BF16;
}

enum status gpu_library_open(struct gpu_model *m, struct error *err)
{
    const char *refused = scheme_products_refused(m->scheme, &m->config);
    if (m->scheme->products == PRODUCTS_OWN)
        return OK;
    if (refused)
        return FAIL(err, ERR_UNSUPPORTED, "%s", refused);
    m->library_scales = m->scheme->weights == DT_F8E4M3;
    if (!cuda_library_kernels())
        FAIL(err, ERR_UNSUPPORTED, "this build has no CUDA kernels");
    else
        cuda_products_create(m->device, &m->library, err);
    return error_context(err, "products = cublaslt");
}

// ---- the plain copy --------------------------------------------------------------------------------------

static void unpack_item(void *arg, const struct weight *item)
{
    if (item->kind != WEIGHT_PRODUCT)
        return;
    const struct gpu_matrix *m = item->to;
    struct cuda_unpack job = {.layout = m->layout,
                              .w = m->w,
                              .rows = m->plain,
                              .scales = m->plain_scale,
                              .ld = m->plain_ld};
    cuda_library_kernels()->unpack(&job, arg);
}

enum status gpu_library_unpack(struct gpu_model *m, struct error *err)
{
    struct device_queue *queue = NULL;
    int code;
    if (!m->library)
        return OK;
    TRY(device_queue_create(m->device, &queue, err));
    gpu_weights_walk(&m->config, m->scheme, &m->weights, unpack_item, device_queue_native(queue));
    const char *launch = cuda_launch_error(&code);
    if (launch)
        device_launch_failed(m->device, code, launch, err);
    else
        device_queue_wait(queue, err);
    device_queue_destroy(queue);
    return err->code;
}

// ---- products --------------------------------------------------------------------------------------------

// Whether the library leaves sums without their scales. They are written to y itself, or to a buffer if they are added
// to y.
static bool sums_are_raw(const struct gpu_model *m)
{
    return m->scheme->weights == DT_I8 || (m->scheme->weights == DT_F8E4M3 && !m->library_scales);
}

static struct cuda_product product_of(const struct gpu_context *ctx, const struct gpu_matrix *w,
                                      const struct cuda_linear *job)
{
    const struct gpu_model *m = ctx->model;
    const bool raw = sums_are_raw(m), scaled = m->scheme->weights == DT_F8E4M3 && !raw;
    return (struct cuda_product){
        .type = type_of(m->scheme->weights),
        .rows = w->layout.rows,
        .cols = w->layout.cols,
        .tokens = job->tokens,
        .ldw = w->plain_ld,
        .ldx = job->ldx,
        .ldd = job->ldy,
        .add = !raw && (job->accumulate || job->bias),
        .w = w->plain,
        .x = job->x,
        .w_scale = scaled ? w->plain_scale : NULL,
        .x_scale = scaled ? job->x_scale : NULL,
        .d = raw && job->accumulate ? ctx->buffers.library_sums : (void *)job->y,
    };
}

static struct cuda_finish finish_of(const struct gpu_matrix *w, const struct cuda_linear *job)
{
    return (struct cuda_finish){
        .bias = job->bias,
        .y = job->y,
        .tokens = job->tokens,
        .rows = w->layout.rows,
        .lds = job->ldy,
        .ldy = job->ldy,
        .accumulate = job->accumulate,
    };
}

void gpu_library_product(const struct gpu_pass *pass, const struct gpu_matrix *w,
                         const struct cuda_linear *job)
{
    const struct gpu_model *m = pass->model;
    const struct cuda_library_kernels *kernels = cuda_library_kernels();
    struct cuda_product product = product_of(pass->ctx, w, job);
    struct cuda_finish finish = finish_of(w, job);
    if (pass->err->code)
        return;
    if (!sums_are_raw(m) && job->bias) // y = bias (+ y), to which the library adds
        kernels->finish(&finish, gpu_stream(pass));
    if (cuda_products_run(m->library, pass->ctx->queue, &product, pass->b->library_workspace,
                          pass->err) != OK ||
        !sums_are_raw(m))
        return;
    finish.sums = product.d;
    finish.x_scale = job->x_scale;
    finish.w_scale = w->plain_scale;
    finish.whole = m->scheme->weights == DT_I8;
    kernels->finish(&finish, gpu_stream(pass));
}

// ---- plans -----------------------------------------------------------------------------------------------

bool gpu_library_serves(const struct gpu_context *ctx, enum phase phase, int tokens)
{
    return ctx->model->library && phase == PHASE_PREFILL && tokens > CUDA_FEW_TOKENS;
}

// The four products of a layer, as forward.c calls them for this many tokens.
enum { LAYER_PRODUCTS = 4 };
static void layer_products(const struct gpu_context *ctx, int tokens,
                           struct cuda_product out[LAYER_PRODUCTS])
{
    const struct gpu_layer *layer = &ctx->model->weights.layers[0];
    const struct gpu_buffers *b = &ctx->buffers;
    const size_t width = (size_t)ctx->model->config.width;
    const bool branch = ctx->model->config.post_norms;
    float *x = branch ? b->branch : b->x;
    const struct gpu_matrix *w[] = {&layer->qkv, &layer->out, &layer->gate_up, &layer->down};
    const struct cuda_linear jobs[] = {
        {.x = b->input,
         .x_scale = b->input_scale,
         .y = b->qkv,
         .ldx = b->input_ld,
         .ldy = b->qkv_width},
        {.x = b->input,
         .x_scale = b->input_scale,
         .y = x,
         .ldx = b->input_ld,
         .ldy = width,
         .accumulate = !branch},
        {.x = b->input,
         .x_scale = b->input_scale,
         .y = b->gate_up,
         .ldx = b->input_ld,
         .ldy = (size_t)w[2]->layout.rows},
        {.x = b->ff,
         .x_scale = b->ff_scale,
         .y = x,
         .ldx = b->ff_ld,
         .ldy = width,
         .accumulate = !branch},
    };
    for (int i = 0; i < LAYER_PRODUCTS; i++) {
        struct cuda_linear job = jobs[i];
        job.tokens = tokens;
        job.bias = w[i]->bias;
        out[i] = product_of(ctx, w[i], &job);
    }
}

// Plans what a pass of this many tokens needs and the cache lacks.
static enum status plan_pass(struct gpu_context *ctx, int tokens, struct error *err)
{
    const struct gpu_model *m = ctx->model;
    const struct gpu_buffers *b = &ctx->buffers;
    struct cuda_product products[LAYER_PRODUCTS];
    size_t rows = (size_t)cuda_padded_tokens(b->rows);
    size_t element = (size_t)cuda_element_bytes(m->scheme->activations);
    int missing = 0;
    layer_products(ctx, tokens, products);
    for (int i = 0; i < LAYER_PRODUCTS; i++)
        missing += !cuda_products_planned(m->library, &products[i]);
    if (missing == 0)
        return OK;
    TRY(device_queue_wait(ctx->queue, err));
    for (int i = 0; i < LAYER_PRODUCTS; i++)
        TRY(cuda_products_plan(m->library, &products[i], b->library_workspace, err));
    // The random inputs are also in the padding of rows, which own products read as zeros.
    TRY(cuda_queue_fill(ctx->queue, b->input, 0, rows * b->input_ld * element, err));
    TRY(cuda_queue_fill(ctx->queue, b->ff, 0, rows * b->ff_ld * element, err));
    return device_queue_wait(ctx->queue, err);
}

// Plans the passes of a prefill step of this many tokens: full ones, and the rest. In the second round nothing is left
// to do, unless a new plan took the place of one that the step needs too.
static enum status plan_step(struct gpu_context *ctx, long long tokens, struct error *err)
{
    const int rows = ctx->buffers.rows, sizes[] = {tokens >= rows ? rows : 0, (int)(tokens % rows)};
    for (int i = 0; i < 4; i++)
        if (gpu_library_serves(ctx, PHASE_PREFILL, sizes[i % 2]))
            TRY(plan_pass(ctx, sizes[i % 2], err));
    return OK;
}

enum status gpu_library_create(struct gpu_context *ctx, const struct context_options *options,
                               struct error *err)
{
    const long long batch = options->batch, chunk = options->chunk, prompt = options->prompt;
    struct gpu_model *m = ctx->model;
    if (!m->library)
        return OK;
    cuda_products_restart(m->library);
    if (plan_step(ctx, ctx->buffers.rows, err) == ERR_UNSUPPORTED && m->library_scales) {
        error_clear(err);
        m->library_scales = false; // this program scales sums of fp8 instead
        plan_step(ctx, ctx->buffers.rows, err);
    }
    if (!err->code && prompt >= chunk)
        plan_step(ctx, batch * chunk, err);
    return err->code ? err->code : plan_step(ctx, batch * (prompt % chunk), err);
}

enum status gpu_library_ready(struct gpu_context *ctx, const struct engine_step *step,
                              struct error *err)
{
    long long tokens = 0;
    for (int i = 0; i < step->span_count; i++)
        tokens += step->spans[i].count;
    return step->phase == PHASE_PREFILL ? plan_step(ctx, tokens, err) : OK;
}

const char *gpu_context_products(void *planned)
{
    struct gpu_context *ctx = planned;
    if (!ctx->model->library)
        return NULL;
    int used = snprintf(ctx->products, sizeof ctx->products,
                        "%s: ", cuda_products_version(ctx->model->library));
    cuda_products_picks(ctx->model->library, ctx->products + used,
                        sizeof ctx->products - (size_t)used);
    return ctx->products;
}
