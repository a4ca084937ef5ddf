// context.c - a context: checks every span before the backend sees it, and keeps the sequences' lengths.
#include <assert.h>
#include <stdlib.h>

#include "engine/model/kv.h"
#include "engine/model/model.h"
#include "engine/model/sampler.h"

struct context {
    struct model *model; // borrowed
    struct context_options options;
    void *planned; // owned by the backend
    const struct engine_observer *observer;
    int *lengths;   // (batch) positions filled
    int *positions; // (batch) where each span of the step begins
    int *step_of;   // (batch) the last step that named this sequence, to find one named twice
    int step;
};

static enum status options_check(const struct context_options *o, const struct model_config *config,
                                 struct error *err)
{
    if (o->batch < 1 || o->positions < 1 || o->chunk < 1 || o->logit_rows < 0)
        return FAIL(err, ERR_USAGE,
                    "context: batch %d, positions %d, chunk %d and logit rows %d: the first three "
                    "must be at least 1, the last at least 0",
                    o->batch, o->positions, o->chunk, o->logit_rows);
    if (config->learned_positions && o->positions > config->learned_positions)
        return FAIL(err, ERR_UNSUPPORTED,
                    "context: %d positions, and the model has learned %d (their table has no more)",
                    o->positions, config->learned_positions);
    if (kv_element_bytes(o->kv) == 0)
        return FAIL(err, ERR_UNSUPPORTED,
                    "context: a KV cache of %s (known: f32, f16, bf16, int8, fp8)",
                    storage_name(o->kv));
    return OK;
}

static struct context *context_alloc(int batch)
{
    struct context *ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return NULL;
    ctx->lengths = calloc((size_t)batch, sizeof *ctx->lengths);
    ctx->positions = calloc((size_t)batch, sizeof *ctx->positions);
    ctx->step_of = calloc((size_t)batch, sizeof *ctx->step_of);
    if (ctx->lengths && ctx->positions && ctx->step_of)
        return ctx;
    context_destroy(ctx);
    return NULL;
}

enum status context_create(struct model *model, const struct context_options *options,
                           struct context **out, struct error *err)
{
    *out = NULL;
    TRY(options_check(options, &model->config, err));
    struct context *ctx = context_alloc(options->batch);
    if (!ctx)
        return FAIL(err, ERR_NOMEM, "context: lengths of %d sequences", options->batch);
    ctx->model = model;
    ctx->options = *options;
    const struct sampling greedy = {.temperature = 0};
    if (model->backend->context(model->prepared, options, &ctx->planned, err) != OK ||
        model->backend->sample(ctx->planned, &greedy, err) != OK) {
        context_destroy(ctx);
        return err->code;
    }
    *out = ctx;
    return OK;
}

void context_destroy(struct context *ctx)
{
    if (!ctx)
        return;
    if (ctx->planned)
        ctx->model->backend->context_destroy(ctx->planned);
    free(ctx->lengths);
    free(ctx->positions);
    free(ctx->step_of);
    free(ctx);
}

void context_reset(struct context *ctx)
{
    for (int i = 0; i < ctx->options.batch; i++)
        ctx->lengths[i] = 0;
}

void context_observe(struct context *ctx, const struct engine_observer *observer)
{
    ctx->observer = observer;
}

int context_length(const struct context *ctx, int sequence)
{
    return ctx->lengths[sequence];
}

void context_truncate(struct context *ctx, int sequence, int length)
{
    assert(length >= 0 && length <= ctx->lengths[sequence]);
    ctx->lengths[sequence] = length;
}

uint64_t context_clock_ns(const struct context *ctx)
{
    return device_now_ns(ctx->model->device);
}

uint64_t context_wait_ns(const struct context *ctx)
{
    return device_wait_ns(ctx->model->device);
}

enum status context_sample(struct context *ctx, const struct sampling *sampling, struct error *err)
{
    TRY(sampling_check(sampling, err));
    return ctx->model->backend->sample(ctx->planned, sampling, err);
}

static enum status span_check(const struct context *ctx, const struct span *span, struct error *err)
{
    const struct context_options *o = &ctx->options;
    if (span->sequence < 0 || span->sequence >= o->batch)
        return FAIL(err, ERR_USAGE, "sequence %d: the context has %d", span->sequence, o->batch);
    if (ctx->step_of[span->sequence] == ctx->step)
        return FAIL(err, ERR_USAGE, "sequence %d: named twice in one step", span->sequence);
    if (span->count < 1 || span->count > o->chunk)
        return FAIL(err, ERR_USAGE, "sequence %d: %d tokens in one step (1 to %d)", span->sequence,
                    span->count, o->chunk);
    int length = ctx->lengths[span->sequence];
    if (span->count > o->positions - length)
        return FAIL(err, ERR_USAGE, "sequence %d: full, %d of %d positions used and %d more asked",
                    span->sequence, length, o->positions, span->count);
    int vocab = ctx->model->config.vocab;
    for (int i = 0; i < span->count; i++)
        if (span->tokens[i] < 0 || span->tokens[i] >= vocab)
            return FAIL(err, ERR_USAGE,
                        "sequence %d, token %d: id %d is outside the vocabulary of %d",
                        span->sequence, i, (int)span->tokens[i], vocab);
    return OK;
}

static enum status step_check(struct context *ctx, const struct span *spans, int span_count,
                              struct error *err)
{
    const struct context_options *o = &ctx->options;
    long long logit_rows = 0;
    if (span_count < 1 || span_count > o->batch)
        return FAIL(err, ERR_USAGE, "a step of %d spans (1 to %d)", span_count, o->batch);
    ctx->step++;
    for (int i = 0; i < span_count; i++) {
        TRY(span_check(ctx, &spans[i], err));
        ctx->step_of[spans[i].sequence] = ctx->step;
        ctx->positions[i] = ctx->lengths[spans[i].sequence];
        logit_rows += span_logit_rows(&spans[i]);
    }
    int most = o->logit_rows > o->batch ? o->logit_rows : o->batch;
    if (logit_rows > most)
        return FAIL(err, ERR_USAGE, "%lld rows of logits in one step: the context was made for %d",
                    logit_rows, most);
    return OK;
}

enum status context_step(struct context *ctx, const struct span *spans, int span_count,
                         enum phase phase, struct step_result *result, struct error *err)
{
    *result = (struct step_result){0};
    TRY(step_check(ctx, spans, span_count, err));
    struct engine_step step = {
        .spans = spans,
        .positions = ctx->positions,
        .span_count = span_count,
        .phase = phase,
        .observer = ctx->observer,
    };
    TRY(ctx->model->backend->step(ctx->planned, &step, result, err));
    for (int i = 0; i < span_count; i++)
        ctx->lengths[spans[i].sequence] += spans[i].count;
    return OK;
}
