// decode.c - the end of a step on the device, decode steps as graphs, and runs of steps enqueued ahead of the host.
//
// The last kernel of a step writes its results into a ring in pinned memory and makes the drawn ids the next step's
// input. So a run of decode steps is one graph, launched again and again, and the host reads results later. The graph
// is recorded the first time, and again when the number of tokens, the sampling or the observer changes.
#include "engine/cuda/cuda.h"

#include <time.h>

enum { POLL_NS = 20000 }; // well below the time that a full ring lasts

void gpu_stamp(const struct gpu_context *ctx, int which)
{
    ctx->model->kernels.stamp(ctx->buffers.stamps + which, device_queue_native(ctx->queue));
}

static void draw(struct gpu_context *ctx, int rows)
{
    struct gpu_buffers *b = &ctx->buffers;
    struct cuda_sample job = {.logits = b->logits,
                              .sequence = b->sequence,
                              .streams = b->streams,
                              .id = b->drawn,
                              .nonfinite = b->nonfinite,
                              .scratch = b->candidates,
                              .rows = rows,
                              .vocab = ctx->model->config.vocab,
                              .temperature = ctx->sampling.temperature,
                              .top_p = ctx->sampling.top_p,
                              .top_k = ctx->sampling.top_k};
    ctx->model->kernels.sample(&job, device_queue_native(ctx->queue));
}

// next: the number of rows whose ids are the next step's input, in the order of tokens.
static void step_end(struct gpu_context *ctx, int rows, int next)
{
    struct gpu_buffers *b = &ctx->buffers;
    struct cuda_advance job = {.drawn = b->drawn,
                               .ids = b->ids,
                               .tokens = b->tokens,
                               .stamps = b->stamps,
                               .nonfinite = b->nonfinite,
                               .number = b->number,
                               .ring = ctx->host.ring,
                               .ring_ids = ctx->host.ring_ids,
                               .ld = (size_t)b->logit_rows,
                               .rows = rows,
                               .next = next,
                               .slots = GPU_AHEAD};
    gpu_stamp(ctx, 1);
    if (rows)
        draw(ctx, rows);
    ctx->model->kernels.advance(&job, device_queue_native(ctx->queue));
}

void gpu_step_end(struct gpu_context *ctx, int rows)
{
    step_end(ctx, rows, 0); // the host provides the next step's input
    ctx->number++;
}

// ---- results -----------------------------------------------------------------------------------

static const struct cuda_arrival *slot_of(const struct gpu_context *ctx, uint64_t number)
{
    return &ctx->host.ring[(number - 1) % GPU_AHEAD];
}

static void launches_check(const struct gpu_context *ctx, struct error *err)
{
    int code;
    const char *launch = cuda_launch_error(&code);
    if (launch)
        device_launch_failed(ctx->model->device, code, launch, err);
}

void gpu_wait(struct gpu_context *ctx, struct error *err)
{
    launches_check(ctx, err);
    device_queue_wait(ctx->queue, err);
}

// Whether the device has handed over step `number`.
static bool has_arrived(const struct gpu_context *ctx, uint64_t number)
{
    return __atomic_load_n(&slot_of(ctx, number)->number, __ATOMIC_ACQUIRE) == number;
}

// Sleeps while the ring is full. Near the end of a run it polls instead, because the caller is about to read the clock
// and a late wake-up would count as the device's time.
static void await(struct gpu_context *ctx, uint64_t number, struct error *err)
{
    const struct timespec pause = {.tv_nsec = POLL_NS};
    const bool full = ctx->number - number + 1 == GPU_AHEAD;
    while (!err->code && !has_arrived(ctx, number)) {
        bool idle = false;
        cuda_queue_idle(ctx->queue, &idle, err);
        if (idle && !has_arrived(ctx, number))
            FAIL(err, ERR_INTERNAL, "device %s: a step ended without results",
                 device_info(ctx->model->device)->name);
        if (full)
            nanosleep(&pause, NULL);
    }
}

enum status gpu_result(struct gpu_context *ctx, uint64_t number, struct step_result *out,
                       struct error *err)
{
    const struct cuda_arrival *slot = slot_of(ctx, number);
    await(ctx, number, err);
    if (err->code)
        return err->code;
    out->ids = ctx->host.ring_ids + (slot - ctx->host.ring) * (ptrdiff_t)ctx->buffers.logit_rows;
    out->nonfinite = (int64_t)slot->nonfinite;
    out->begin_ns = slot->begin_ns;
    out->logits_ns = slot->logits_ns;
    out->end_ns = slot->end_ns;
    return OK;
}

// ---- steps as graphs -----------------------------------------------------------------------------------

bool gpu_graph_fits(const struct gpu_context *ctx)
{
    return ctx->model->config.experts == 0; // routing waits for the host
}

static void graph_record(struct gpu_pass *pass)
{
    struct gpu_context *ctx = pass->ctx;
    struct error ending = {0};
    if (cuda_graph_begin(ctx->queue, pass->err) != OK)
        return;
    gpu_stamp(ctx, 0);
    if (pass->persistent)
        gpu_persistent_forward(pass);
    else
        gpu_forward(pass);
    step_end(ctx, pass->wanted, pass->tokens);
    gpu_enqueued(pass, -1, OPC_COUNT);
    if (cuda_graph_end(ctx->queue, &ctx->graph, &ending) != OK && !pass->err->code)
        *pass->err = ending;
    launches_check(ctx, pass->err);
    ctx->graph_tokens = pass->tokens;
    ctx->graph_persistent = pass->persistent;
    ctx->graph_observer = pass->observer;
}

void gpu_graph_run(struct gpu_pass *pass)
{
    struct gpu_context *ctx = pass->ctx;
    pass->persistent = ctx->persistent.chosen;
    if (ctx->graph &&
        (ctx->graph_tokens != pass->tokens || ctx->graph_persistent != pass->persistent ||
         ctx->graph_observer != pass->observer)) {
        cuda_graph_destroy(ctx->model->device, ctx->graph);
        ctx->graph = NULL;
    }
    if (!ctx->graph && !pass->err->code)
        graph_record(pass);
    if (pass->persistent && !pass->err->code)
        gpu_persistent_ready(pass);
    if (!pass->err->code && cuda_graph_launch(ctx->graph, ctx->queue, pass->err) == OK)
        ctx->number++;
}

// ---- runs ----------------------------------------------------------------------------------------------

int gpu_ahead(const void *planned)
{
    return gpu_graph_fits(planned) ? GPU_AHEAD : 0;
}

enum status gpu_decode(void *planned, const struct engine_step *first, const struct decode_run *run,
                       int *made, struct error *err)
{
    struct gpu_context *ctx = planned;
    struct gpu_pass pass = gpu_pass_begin(ctx, first, err);
    const uint64_t before = ctx->number;
    bool more = true;
    gpu_rows_upload(ctx, first, err);
    gpu_decode_upload(&pass, first);
    for (int enqueued = 0; !err->code && (*made < enqueued || (more && enqueued < run->steps));) {
        if (more && enqueued < run->steps && enqueued - *made < GPU_AHEAD) {
            gpu_graph_run(&pass);
            enqueued++;
            continue;
        }
        struct step_result result = {0};
        TRY(gpu_result(ctx, before + (uint64_t)*made + 1, &result, err));
        more = run->done(run->user, (*made)++, &result) && more;
    }
    return err->code;
}
