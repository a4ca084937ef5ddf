// step.c - runs a step: enqueues passes, draws ids on the device, and returns what the host asked for.
//
// All memory has a fixed place once the context is created. So a decode step (one pass, one token per sequence) can run
// as a graph (decode.c): its tokens and positions are values in memory, not arguments. Observed steps, and models with
// experts, are enqueued launch by launch.
#include "engine/cuda/cuda.h"

static bool row_wanted(const struct span *span, int token)
{
    return token >= span->count - span_logit_rows(span); // the last tokens, or all
}

// Adds tokens of a span to the pass, from `done` on, as many as fit. Returns their number.
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

// Uploads the values of the pass.
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

// ---- steps ---------------------------------------------------------------------------------------------

int gpu_rows_upload(struct gpu_context *ctx, const struct engine_step *step, struct error *err)
{
    int row = 0;
    for (int i = 0; i < step->span_count; i++) {
        int last = row + span_logit_rows(&step->spans[i]) - 1;
        for (; row <= last; row++)
            ctx->host.sequence[row] =
                step->spans[i].sample && row == last ? step->spans[i].sequence : -1;
    }
    if (row)
        cuda_queue_copy_in(ctx->queue, ctx->buffers.sequence, ctx->host.sequence,
                           (size_t)row * sizeof *ctx->buffers.sequence, err);
    return row;
}

// Copies the rows of logits that spans asked for to the host, in span order.
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

// Sorts the drawn ids from rows of logits to spans.
static void ids_of_spans(struct gpu_context *ctx, const struct engine_step *step,
                         const int32_t *drawn)
{
    int row = 0;
    for (int i = 0; i < step->span_count; i++) {
        row += span_logit_rows(&step->spans[i]);
        ctx->host.ids[i] = step->spans[i].sample ? drawn[row - 1] : -1;
    }
}

static void passes_run(struct gpu_pass *pass, const struct engine_step *step, int rows)
{
    struct gpu_context *ctx = pass->ctx;
    if (gpu_library_ready(ctx, step, pass->err) != OK)
        return;
    gpu_stamp(ctx, 0);
    for (int i = 0; i < step->span_count; i++)
        for (int done = 0; done < step->spans[i].count && !pass->err->code;) {
            done += pass_add(pass, &step->spans[i], step->positions[i], done);
            bool last = i + 1 == step->span_count && done == step->spans[i].count;
            if (pass->tokens < pass->b->rows && !last)
                continue;
            pass_upload(pass);
            if (!pass->err->code)
                gpu_forward(pass);
            pass->logits_row += pass->wanted;
            if (!last)
                gpu_wait(ctx, pass->err); // the host's copies are about to be overwritten
            pass->tokens = pass->wanted = 0;
            pass->single = true;
        }
    if (!pass->err->code)
        gpu_step_end(ctx, rows);
    gpu_enqueued(pass, -1, OPC_COUNT);
}

// Whether each span is one token with a row of logits and all fit one pass. Other steps would record the graph again. A
// prompt's last token must not make the next decode step pay for that.
static bool is_decode(const struct engine_step *step, const struct gpu_buffers *b)
{
    bool single = step->span_count <= b->rows;
    for (int i = 0; i < step->span_count; i++)
        single = single && step->spans[i].count == 1 && span_logit_rows(&step->spans[i]) == 1;
    return single;
}

struct gpu_pass gpu_pass_begin(struct gpu_context *ctx, const struct engine_step *step,
                               struct error *err)
{
    return (struct gpu_pass){
        .ctx = ctx,
        .model = ctx->model,
        .b = &ctx->buffers,
        .single = true,
        .phase = step->phase,
        .observer = step->observer,
        .err = err,
    };
}

void gpu_decode_upload(struct gpu_pass *pass, const struct engine_step *step)
{
    for (int i = 0; i < step->span_count; i++)
        pass_add(pass, &step->spans[i], step->positions[i], 0);
    pass_upload(pass);
}

enum status gpu_step(void *planned, const struct engine_step *step, struct step_result *result,
                     struct error *err)
{
    struct gpu_context *ctx = planned;
    struct gpu_pass pass = gpu_pass_begin(ctx, step, err);
    if (step->observer && step->observer->tap)
        return FAIL(err, ERR_UNSUPPORTED, "calibration runs on the CPU alone");
    int rows = gpu_rows_upload(ctx, step, err);
    if (step->phase == PHASE_DECODE && is_decode(step, pass.b) && gpu_graph_fits(ctx) &&
        !engine_observer_waits(step->observer)) {
        gpu_decode_upload(&pass, step);
        gpu_graph_run(&pass);
    } else {
        passes_run(&pass, step, rows);
    }
    if (!err->code)
        result->logits = rows_for_host(ctx, step, err);
    gpu_wait(ctx, err);
    TRY(gpu_result(ctx, ctx->number, result, err));
    ids_of_spans(ctx, step, result->ids);
    result->ids = ctx->host.ids;
    return OK;
}
