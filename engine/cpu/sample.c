// sample.c - counts the non-finite logits of a step, and draws ids.
//
// This is one job of the pool, in two phases. First the threads share all logits of the step, cut across rows and
// within them, so that even a single sequence uses every thread. After a barrier one thread per sampled sequence joins
// the scans of its row and draws.
#include "engine/cpu/cpu.h"

#include <string.h>

#include "base/pool.h"

struct drawing {
    const struct cpu_context *ctx;
    const struct engine_step *step;
    int rows; // rows of logits that the step computed
};

enum { SCAN_COLUMNS = 256 }; // logits that a thread takes at a time

// The columns of row `row` that belong to this worker; *begin == *end if none do.
static void share_of_row(const struct drawing *d, int row, int worker, int workers, int *begin,
                         int *end)
{
    int vocab = d->ctx->model->config.vocab, blocks = (vocab + SCAN_COLUMNS - 1) / SCAN_COLUMNS;
    int first, last;
    pool_share(d->rows * blocks, 1, worker, workers, &first, &last);
    first = first > row * blocks ? first - row * blocks : 0;
    last = last < (row + 1) * blocks ? last - row * blocks : blocks;
    if (first >= last) {
        *begin = *end = 0;
        return;
    }
    *begin = first * SCAN_COLUMNS;
    *end = last == blocks ? vocab : last * SCAN_COLUMNS;
}

static const float *logits_row(const struct drawing *d, int row)
{
    return d->ctx->buffers.logits + (size_t)row * (size_t)d->ctx->model->config.vocab;
}

static void scan_share(const struct drawing *d, int worker, int workers)
{
    const struct cpu_buffers *b = &d->ctx->buffers;
    int64_t nonfinite = 0;
    for (int i = 0, row = 0; i < d->step->span_count; i++) {
        const struct span *span = &d->step->spans[i];
        for (int last = row + span_logit_rows(span) - 1, begin, end; row <= last; row++) {
            share_of_row(d, row, worker, workers, &begin, &end);
            if (span->sample && row == last) {
                struct logits_scan scan = logits_scan(logits_row(d, row), begin, end);
                b->scans[(size_t)i * (size_t)workers + (size_t)worker] = scan;
                nonfinite += scan.unusual;
            } else {
                nonfinite += logits_nonfinite(logits_row(d, row) + begin, (size_t)(end - begin));
            }
        }
    }
    b->nonfinite[worker] = nonfinite;
}

// Draws for span i from its row.
static int32_t draw(const struct drawing *d, int worker, int workers, int i, int row)
{
    const struct cpu_context *ctx = d->ctx;
    const struct cpu_buffers *b = &ctx->buffers;
    const struct logits_scan *parts = b->scans + (size_t)i * (size_t)workers;
    struct logits_scan whole = parts[0];
    for (int w = 1; w < workers; w++)
        whole = logits_scan_join(whole, parts[w]);
    return sampler_next(&b->workers[worker].sampler, &ctx->sampling,
                        &b->streams[d->step->spans[i].sequence], logits_row(d, row),
                        ctx->model->config.vocab, &whole);
}

static void sample_job(void *arg, int worker, int workers)
{
    const struct drawing *d = arg;
    const struct cpu_buffers *b = &d->ctx->buffers;
    scan_share(d, worker, workers);
    pool_barrier(d->ctx->model->pool, worker);
    for (int i = 0, row = 0; i < d->step->span_count; i++) {
        const struct span *span = &d->step->spans[i];
        row += span_logit_rows(span);
        if (i % workers == worker)
            b->ids[i] = span->sample ? draw(d, worker, workers, i, row - 1) : -1;
    }
}

// Makes the requested rows contiguous, because rows computed only for sampling may be between them.
static const float *rows_for_host(const struct drawing *d)
{
    size_t vocab = (size_t)d->ctx->model->config.vocab;
    float *logits = d->ctx->buffers.logits;
    int row = 0, kept = 0;
    for (int i = 0; i < d->step->span_count; i++) {
        int made = span_logit_rows(&d->step->spans[i]);
        if (d->step->spans[i].logits != LOGITS_NONE) {
            if (kept < row)
                memmove(logits + (size_t)kept * vocab, logits + (size_t)row * vocab,
                        (size_t)made * vocab * sizeof *logits);
            kept += made;
        }
        row += made;
    }
    return kept ? logits : NULL;
}

void cpu_sample(const struct cpu_context *ctx, const struct engine_step *step,
                struct step_result *result)
{
    struct drawing d = {.ctx = ctx, .step = step};
    for (int i = 0; i < step->span_count; i++)
        d.rows += span_logit_rows(&step->spans[i]);
    result->ids = ctx->buffers.ids;
    if (!d.rows) {
        for (int i = 0; i < step->span_count; i++)
            ctx->buffers.ids[i] = -1;
        return;
    }
    pool_run(ctx->model->pool, sample_job, &d);
    for (int w = 0; w < pool_threads(ctx->model->pool); w++)
        result->nonfinite += ctx->buffers.nonfinite[w];
    result->logits = rows_for_host(&d);
}

// Allocates candidates for as many threads as can draw at once, when a temperature above 0 is first set. Greedy
// contexts need none.
static enum status candidates_alloc(struct cpu_context *ctx, struct error *err)
{
    int threads = pool_threads(ctx->model->pool), batch = ctx->buffers.kv.batch;
    for (int w = 0; w < threads && w < batch; w++)
        if (!ctx->buffers.workers[w].sampler.heap)
            TRY(sampler_init(&ctx->buffers.workers[w].sampler, ctx->model->config.vocab, err));
    return OK;
}

enum status cpu_context_sample(void *planned, const struct sampling *sampling, struct error *err)
{
    struct cpu_context *ctx = planned;
    if (sampling->temperature > 0)
        TRY(candidates_alloc(ctx, err));
    ctx->sampling = *sampling;
    for (int i = 0; i < ctx->buffers.kv.batch; i++)
        ctx->buffers.streams[i] = sampling_stream(sampling->seed, i);
    return OK;
}
