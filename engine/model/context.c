// context.c - a context: checks every span before the backend sees it, and keeps the sequences' lengths.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

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
    int *step_of;   // (batch) the last step with this sequence, to detect duplicates
    int step;
    struct span *spans; // (batch) of a decode run's next step
    int32_t *drawn;     // (batch) their tokens
};

static const char *const form_names[] = {
    [DECODE_GRAPH] = "graph", [DECODE_PERSISTENT] = "persistent", [DECODE_AUTO] = "auto"};

const char *context_form_name(enum decode_form form)
{
    return form_names[form];
}

bool context_form_parse(const char *name, enum decode_form *out)
{
    for (size_t i = 0; i < sizeof form_names / sizeof form_names[0]; i++)
        if (strcmp(form_names[i], name) == 0) {
            *out = (enum decode_form)i;
            return true;
        }
    return false;
}

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
    ctx->spans = calloc((size_t)batch, sizeof *ctx->spans);
    ctx->drawn = calloc((size_t)batch, sizeof *ctx->drawn);
    if (ctx->lengths && ctx->positions && ctx->step_of && ctx->spans && ctx->drawn)
        return ctx;
    context_destroy(ctx);
    return NULL;
}

enum status context_create(struct model *model, const struct context_options *options,
                           struct context **out, struct error *err)
{
    *out = NULL;
    TRY(options_check(options, &model->config, err));
    void *planned = NULL;
    // This comes first, because it refuses what does not fit: an absurd batch allocates nothing here.
    TRY(model->backend->context(model->prepared, options, &planned, err));
    struct context *ctx = context_alloc(options->batch);
    if (!ctx) {
        model->backend->context_destroy(planned);
        return FAIL(err, ERR_NOMEM, "context: lengths of %d sequences", options->batch);
    }
    ctx->model = model;
    ctx->options = *options;
    ctx->planned = planned;
    const struct sampling greedy = {.temperature = 0};
    if (model->backend->sample(planned, &greedy, err) != OK) {
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
    free(ctx->spans);
    free(ctx->drawn);
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

struct device_clock_tie context_clock_tie(const struct context *ctx)
{
    return device_clock_tie(ctx->model->device);
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

static struct engine_step step_of(const struct context *ctx, const struct span *spans,
                                  int span_count, enum phase phase)
{
    return (struct engine_step){
        .spans = spans,
        .positions = ctx->positions,
        .span_count = span_count,
        .phase = phase,
        .observer = ctx->observer,
    };
}

enum status context_step(struct context *ctx, const struct span *spans, int span_count,
                         enum phase phase, struct step_result *result, struct error *err)
{
    *result = (struct step_result){0};
    TRY(step_check(ctx, spans, span_count, err));
    struct engine_step step = step_of(ctx, spans, span_count, phase);
    TRY(ctx->model->backend->step(ctx->planned, &step, result, err));
    for (int i = 0; i < span_count; i++)
        ctx->lengths[spans[i].sequence] += spans[i].count;
    return OK;
}

// ---- runs of decode steps ------------------------------------------------------------------------------

static enum status run_check(struct context *ctx, const struct decode_run *run, struct error *err)
{
    if (run->steps < 1)
        return FAIL(err, ERR_USAGE, "a decode run of %d steps (at least 1)", run->steps);
    TRY(step_check(ctx, run->spans, run->span_count, err));
    for (int i = 0; i < run->span_count; i++) {
        const struct span *span = &run->spans[i];
        int left = ctx->options.positions - ctx->positions[i];
        if (span->count != 1 || !span->sample || span->logits != LOGITS_NONE)
            return FAIL(err, ERR_USAGE,
                        "sequence %d: a span of a decode run has one token, draws, and hands over "
                        "no logits",
                        span->sequence);
        if (run->steps > left)
            return FAIL(err, ERR_USAGE, "sequence %d: %d positions are left, the run has %d steps",
                        span->sequence, left, run->steps);
    }
    return OK;
}

int context_ahead(const struct context *ctx)
{
    const struct backend *b = ctx->model->backend;
    return b->ahead && !engine_observer_waits(ctx->observer) ? b->ahead(ctx->planned) : 0;
}

const char *context_products(struct context *ctx)
{
    const struct backend *backend = ctx->model->backend;
    return backend->products ? backend->products(ctx->planned) : NULL;
}

struct decode_choice context_decode_choice(const struct context *ctx)
{
    const struct backend *b = ctx->model->backend;
    return b->decode_choice ? b->decode_choice(ctx->planned) : (struct decode_choice){0};
}

static enum status run_by_steps(struct context *ctx, const struct decode_run *run, int *made,
                                struct error *err)
{
    for (int i = 0; i < run->span_count; i++) {
        ctx->drawn[i] = run->spans[i].tokens[0];
        ctx->spans[i] = run->spans[i];
        ctx->spans[i].tokens = &ctx->drawn[i];
    }
    for (bool more = true; more && *made < run->steps;) {
        struct step_result result;
        TRY(context_step(ctx, ctx->spans, run->span_count, PHASE_DECODE, &result, err));
        for (int i = 0; i < run->span_count; i++)
            ctx->drawn[i] = result.ids[i] < 0 ? 0 : result.ids[i];
        more = run->done(run->user, (*made)++, &result);
    }
    return OK;
}

enum status context_decode(struct context *ctx, const struct decode_run *run, int *made,
                           struct error *err)
{
    *made = 0;
    TRY(run_check(ctx, run, err));
    if (context_ahead(ctx) == 0)
        return run_by_steps(ctx, run, made, err);
    struct engine_step first = step_of(ctx, run->spans, run->span_count, PHASE_DECODE);
    enum status status = ctx->model->backend->decode(ctx->planned, &first, run, made, err);
    for (int i = 0; i < run->span_count; i++)
        ctx->lengths[run->spans[i].sequence] += *made;
    return status;
}
