// step.c - a step: passes are enqueued, ids are drawn on the device, and what the host asked for comes back.
//
// A decode step (one pass, a token of each sequence) runs as a graph: recorded the first time, and again when the
// number of tokens or the sampling changes. Everything in it has its place from the context's creation on, so
// that a step's own values (tokens, positions) arrive in memory and not as arguments. Steps that are observed,
// and models with experts, are enqueued launch by launch.
#include "engine/cuda/cuda.h"

#include <string.h>

#include "base/clock.h"
#include "engine/model/sampler.h"

static bool row_wanted(const struct span *span, int token)
{
    return token >= span->count - span_logit_rows(span); // the last ones, or all
}

// Adds tokens [done, ...) of a span to the pass, as many as fit; returns how many.
static int pass_add(struct gpu_pass *pass, const struct span *span, int position, int done)
{
    struct gpu_host *h = &pass->ctx->host;
    int room = pass->b->rows - pass->tokens, count = span->count - done;
    count = count < room ? count : room;
    for (int t = 0; t < count; t++) {
        int row = pass->tokens + t;
        h->tokens[row] = (struct cuda_token){span->sequence, position + done + t};
        h->ids[row] = span->tokens[done + t];
        if (row_wanted(span, done + t))
            h->wanted[pass->wanted++] = row;
    }
    pass->tokens += count;
    pass->single = pass->single && count == 1;
    return count;
}

// The pass's own values to the device.
static void pass_upload(struct gpu_pass *pass)
{
    struct gpu_context *ctx = pass->ctx;
    struct gpu_buffers *b = pass->b;
    size_t tokens = (size_t)pass->tokens;
    if (cuda_queue_copy_in(ctx->queue, b->tokens, ctx->host.tokens, tokens * sizeof *b->tokens,
                           pass->err) == OK &&
        cuda_queue_copy_in(ctx->queue, b->ids, ctx->host.ids, tokens * sizeof *b->ids, pass->err) ==
            OK &&
        pass->wanted)
        cuda_queue_copy_in(ctx->queue, b->wanted, ctx->host.wanted,
                           (size_t)pass->wanted * sizeof *b->wanted, pass->err);
}

static void stamp(const struct gpu_context *ctx, int which)
{
    ctx->model->kernels.stamp(ctx->host.stamps + which, device_queue_native(ctx->queue));
}

// Counts logits that are not finite and draws, for `rows` rows.
static void draw(struct gpu_context *ctx, int rows, struct error *err)
{
    struct gpu_buffers *b = &ctx->buffers;
    struct gpu_host *h = &ctx->host;
    size_t bytes = (size_t)rows * sizeof *b->sequence;
    struct cuda_sample job = {.logits = b->logits,
                              .sequence = b->sequence,
                              .streams = b->streams,
                              .id = b->drawn,
                              .nonfinite = b->nonfinite,
                              .scratch = ctx->candidates,
                              .rows = rows,
                              .vocab = ctx->model->config.vocab,
                              .temperature = ctx->sampling.temperature,
                              .top_p = ctx->sampling.top_p,
                              .top_k = ctx->sampling.top_k};
    if (cuda_queue_copy_in(ctx->queue, b->sequence, h->sequence, bytes, err) != OK ||
        cuda_queue_fill(ctx->queue, b->nonfinite, 0, sizeof *b->nonfinite, err) != OK)
        return;
    ctx->model->kernels.sample(&job, device_queue_native(ctx->queue));
    if (cuda_queue_copy_out(ctx->queue, h->drawn, b->drawn, bytes, err) == OK)
        cuda_queue_copy_out(ctx->queue, h->nonfinite, b->nonfinite, sizeof *b->nonfinite, err);
}

static void wait(struct gpu_context *ctx, struct error *err)
{
    const char *launch = cuda_launch_error();
    device_queue_wait(ctx->queue, err);
    if (launch)
        FAIL(err, ERR_IO, "device %s: a kernel could not be launched: %s",
             device_info(ctx->model->device)->name, launch);
}

static void pass_run(struct gpu_pass *pass)
{
    pass_upload(pass);
    if (!pass->err->code)
        gpu_forward(pass);
    pass->logits_row += pass->wanted;
}

// ---- steps as graphs -----------------------------------------------------------------------------------

static bool graph_fits(const struct gpu_pass *pass)
{
    return pass->single && !pass->observer && !pass->model->config.experts;
}

static void step_enqueue(struct gpu_pass *pass)
{
    struct gpu_context *ctx = pass->ctx;
    stamp(ctx, 0);
    pass_run(pass);
    stamp(ctx, 1);
    if (pass->wanted)
        draw(ctx, pass->wanted, pass->err);
    stamp(ctx, 2);
}

static void graph_run(struct gpu_pass *pass)
{
    struct gpu_context *ctx = pass->ctx;
    if (ctx->graph && (ctx->graph_tokens != pass->tokens || ctx->graph_wanted != pass->wanted)) {
        cuda_graph_destroy(ctx->model->device, ctx->graph);
        ctx->graph = NULL;
    }
    if (!ctx->graph) {
        if (cuda_graph_begin(ctx->queue, pass->err) != OK)
            return;
        step_enqueue(pass);
        struct error ending = {0};
        if (cuda_graph_end(ctx->queue, &ctx->graph, &ending) != OK && !pass->err->code)
            *pass->err = ending;
        ctx->graph_tokens = pass->tokens;
        ctx->graph_wanted = pass->wanted;
    }
    if (!pass->err->code)
        cuda_graph_launch(ctx->graph, ctx->queue, pass->err);
}

// ---- steps ---------------------------------------------------------------------------------------------

// Whose stream each row of logits is drawn with; returns how many rows there are.
static int rows_of_step(struct gpu_context *ctx, const struct engine_step *step)
{
    int row = 0;
    for (int i = 0; i < step->span_count; i++) {
        int last = row + span_logit_rows(&step->spans[i]) - 1;
        for (; row <= last; row++)
            ctx->host.sequence[row] =
                step->spans[i].sample && row == last ? step->spans[i].sequence : -1;
    }
    return row;
}

// Rows of logits that spans asked for come to the host, in span order.
static const float *rows_for_host(struct gpu_context *ctx, const struct engine_step *step,
                                  struct error *err)
{
    size_t vocab = (size_t)ctx->model->config.vocab;
    int row = 0, kept = 0;
    for (int i = 0; i < step->span_count; i++) {
        int made = span_logit_rows(&step->spans[i]);
        if (step->spans[i].logits != LOGITS_NONE) {
            if (cuda_queue_copy_out(ctx->queue, ctx->host.logits + (size_t)kept * vocab,
                                    ctx->buffers.logits + (size_t)row * vocab,
                                    (size_t)made * vocab * sizeof(float), err) != OK)
                return NULL;
            kept += made;
        }
        row += made;
    }
    return kept ? ctx->host.logits : NULL;
}

// drawn, by row of logits, becomes ids, by span.
static void ids_of_spans(struct gpu_context *ctx, const struct engine_step *step)
{
    int row = 0;
    for (int i = 0; i < step->span_count; i++) {
        row += span_logit_rows(&step->spans[i]);
        ctx->host.ids[i] = step->spans[i].sample ? ctx->host.drawn[row - 1] : -1;
    }
}

static void passes_run(struct gpu_pass *pass, const struct engine_step *step, int rows)
{
    stamp(pass->ctx, 0);
    for (int i = 0; i < step->span_count; i++)
        for (int done = 0; done < step->spans[i].count && !pass->err->code;) {
            done += pass_add(pass, &step->spans[i], step->positions[i], done);
            bool last = i + 1 == step->span_count && done == step->spans[i].count;
            if (pass->tokens < pass->b->rows && !last)
                continue;
            pass_run(pass);
            if (!last)
                wait(pass->ctx, pass->err); // what was copied in is written anew
            pass->tokens = pass->wanted = 0;
            pass->single = true;
        }
    stamp(pass->ctx, 1);
    if (rows && !pass->err->code)
        draw(pass->ctx, rows, pass->err);
    stamp(pass->ctx, 2);
}

// Whether all spans are one token each and fit one pass.
static bool is_decode(const struct engine_step *step, const struct gpu_buffers *b)
{
    bool single = step->span_count <= b->rows;
    for (int i = 0; i < step->span_count; i++)
        single = single && step->spans[i].count == 1;
    return single;
}

enum status gpu_step(void *planned, const struct engine_step *step, struct step_result *result,
                     struct error *err)
{
    struct gpu_context *ctx = planned;
    struct gpu_pass pass = {
        .ctx = ctx,
        .model = ctx->model,
        .b = &ctx->buffers,
        .single = true,
        .phase = step->phase,
        .observer = step->observer,
        .err = err,
    };
    if (step->observer && step->observer->tap)
        return FAIL(err, ERR_UNSUPPORTED, "calibration runs on the CPU alone");
    int rows = rows_of_step(ctx, step);
    *ctx->host.nonfinite = 0;
    if (is_decode(step, pass.b) && graph_fits(&pass)) {
        for (int i = 0; i < step->span_count; i++)
            pass_add(&pass, &step->spans[i], step->positions[i], 0);
        graph_run(&pass);
    } else {
        passes_run(&pass, step, rows);
    }
    result->logits = err->code ? NULL : rows_for_host(ctx, step, err);
    wait(ctx, err);
    if (err->code)
        return err->code;
    ids_of_spans(ctx, step);
    result->ids = ctx->host.ids;
    result->nonfinite = (int64_t)*ctx->host.nonfinite;
    result->begin_ns = ctx->host.stamps[0];
    result->logits_ns = ctx->host.stamps[1];
    result->end_ns = ctx->host.stamps[2];
    return OK;
}
