// measure.c - runs both models over the windows side by side, and prepares the f32 model to compare with.
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/os.h"
#include "base/str.h"
#include "bench/quality/score.h"
#include "results/metric.h"

// Rows of logits per step: enough for efficient products, but with a large vocabulary no more than this many bytes.
enum { ROWS_MOST = 512, ROWS_LEAST = 16 };
static const double logits_bytes_most = 128e6;

#define OF(field) offsetof(struct quality, field)

const struct quality_figure quality_figures[] = {
    {METRIC_PERPLEXITY, OF(perplexity)},
    {METRIC_LN_PPL_STDERR, OF(ln_stderr)},
    {METRIC_PERPLEXITY_F32, OF(perplexity_f32)},
    {METRIC_LN_RATIO, OF(ln_ratio)},
    {METRIC_LN_RATIO_STDERR, OF(ln_ratio_stderr)},
    {METRIC_KL_MEAN, OF(kl_mean)},
    {METRIC_KL_MEDIAN, OF(kl_median)},
    {METRIC_KL_P99, OF(kl_p99)},
    {METRIC_KL_MAX, OF(kl_max)},
    {METRIC_SAME_TOP, OF(same_top)},
    {METRIC_DP_MEAN, OF(dp_mean)},
    {METRIC_DP_RMS, OF(dp_rms)},
    {METRIC_DP_P1, OF(dp_p1)},
    {METRIC_DP_P5, OF(dp_p5)},
    {METRIC_DP_P25, OF(dp_p25)},
    {METRIC_DP_MEDIAN, OF(dp_median)},
    {METRIC_DP_P75, OF(dp_p75)},
    {METRIC_DP_P95, OF(dp_p95)},
    {METRIC_DP_P99, OF(dp_p99)},
    {METRIC_QUALITY_WINDOWS, OF(windows)},
    {METRIC_QUALITY_TOKENS, OF(tokens)},
    {METRIC_QUALITY_TIME, OF(time_ns)},
    {0},
};

double quality_get(const struct quality *quality, const struct quality_figure *figure)
{
    double value;
    memcpy(&value, (const char *)quality + figure->offset, sizeof value);
    return value;
}

static struct context_options context_shape(const struct model_config *config,
                                            const struct quality_convention *convention,
                                            enum dtype kv)
{
    double rows = logits_bytes_most / ((double)config->vocab * sizeof(float));
    int most = convention->window < ROWS_MOST ? convention->window : ROWS_MOST;
    int chunk = rows > most ? most : rows < ROWS_LEAST ? ROWS_LEAST : (int)rows;
    return (struct context_options){
        .batch = 1, .positions = convention->window, .chunk = chunk, .kv = kv, .logit_rows = chunk};
}

// ---- one step of both models, scored by all threads ---------------------------------------------------

struct evaluation {
    const struct quality_input *in;
    struct context *ctx, *base; // base NULL: none; same as ctx: its own baseline
    int chunk, vocab;
    int32_t *window;
    struct score *scores; // (windows, scored)
    size_t windows, scored;
};

// Rows of logits of consecutive positions, and the token that follows each.
struct rows {
    const float *logits, *base;
    const int32_t *targets;
    struct score *scores;
    int count, vocab;
};

static void score_rows(void *arg, int worker, int workers)
{
    const struct rows *r = arg;
    int begin, end;
    pool_share(r->count, 1, worker, workers, &begin, &end);
    for (int i = begin; i < end; i++) {
        size_t at = (size_t)i * (size_t)r->vocab;
        r->scores[i] = quality_score_row(r->logits + at, r->base ? r->base + at : NULL, r->vocab,
                                         r->targets[i]);
    }
}

// Scores on all threads of the pool; without a pool, on the calling thread.
static void score_all(struct pool *pool, struct rows *rows)
{
    if (pool)
        pool_run(pool, score_rows, rows);
    else
        score_rows(rows, 0, 1);
}

static enum status step(struct context *ctx, const int32_t *tokens, int count,
                        enum logits_wanted wanted, const float **logits, struct error *err)
{
    struct span span = {.sequence = 0, .count = count, .tokens = tokens, .logits = wanted};
    struct step_result result;
    TRY(context_step(ctx, &span, 1, PHASE_PREFILL, &result, err));
    *logits = result.logits;
    return OK;
}

static enum status step_both(struct evaluation *e, int at, int count, enum logits_wanted wanted,
                             struct rows *out, struct error *err)
{
    TRY(step(e->ctx, e->window + at, count, wanted, &out->logits, err));
    out->base = e->base == e->ctx ? out->logits : NULL;
    if (e->base && e->base != e->ctx)
        TRY(step(e->base, e->window + at, count, wanted, &out->base, err));
    return OK;
}

static enum status check_finite(const struct evaluation *e, size_t window,
                                const struct score *scores, struct error *err)
{
    for (size_t i = 0; i < e->scored; i++) {
        bool judged = isfinite(scores[i].nll);
        if (!judged || (e->base && !isfinite(scores[i].kl)))
            return FAIL(err, ERR_FORMAT,
                        "%s of the prediction of token %d in window %zu are not finite",
                        judged ? "the f32 model's logits" : "logits",
                        e->in->convention->first + (int)i, window + 1);
    }
    return OK;
}

// The last token of a window predicts no scored token, so it is not run.
static enum status run_window(struct evaluation *e, size_t index, struct error *err)
{
    const struct quality_convention *c = e->in->convention;
    struct score *scores = e->scores + index * e->scored;
    struct rows rows = {.vocab = e->vocab};
    int silent = c->first - 1,
        end = c->window - 1; // positions without a scored prediction come first
    quality_window(c, e->in->text, index, e->window);
    context_reset(e->ctx);
    if (e->base)
        context_reset(e->base);
    for (int at = 0, count; at < end; at += count) {
        int until = at < silent ? silent : end;
        count = until - at < e->chunk ? until - at : e->chunk;
        if (e->in->progress &&
            !e->in->progress(e->in->user, ((double)index + (double)at / end) / (double)e->windows))
            return FAIL(err, ERR_INTERRUPTED, "stopped");
        TRY(step_both(e, at, count, at < silent ? LOGITS_NONE : LOGITS_ALL, &rows, err));
        if (at < silent)
            continue;
        rows.count = count;
        rows.targets = e->window + at + 1;
        rows.scores = scores + (at - silent);
        score_all(e->in->pool, &rows);
    }
    return check_finite(e, index, scores, err);
}

// ---- all windows ------------------------------------------------------------------------------------

enum status quality_check_window(const struct model_config *config,
                                 const struct quality_convention *c, struct error *err)
{
    if (config->max_positions > 0 && c->window > config->max_positions)
        return FAIL(err, ERR_UNSUPPORTED,
                    "convention %s has windows of %d tokens, the model ends at %d positions",
                    c->name, c->window, config->max_positions);
    return OK;
}

enum status quality_check(const struct checkpoint *ck, const struct quality_convention *convention,
                          struct error *err)
{
    if (checkpoint_is_synthetic(ck))
        return FAIL(err, ERR_UNSUPPORTED, "synthetic weights have no quality");
    return quality_check_window(checkpoint_config(ck), convention, err);
}

static enum status count_windows(const struct quality_input *in, size_t *out, struct error *err)
{
    size_t there = in->text->count / (size_t)in->convention->window;
    *out = in->windows && in->windows < there ? in->windows : there;
    return quality_check_length(in->convention, in->text, err);
}

static enum status evaluation_init(struct evaluation *e, const struct quality_input *in,
                                   struct error *err)
{
    const struct model_config *config = model_config(in->model);
    struct context_options shape = context_shape(config, in->convention, in->kv);
    struct context_options exact = context_shape(config, in->convention, DT_F32);
    *e = (struct evaluation){.in = in, .chunk = shape.chunk, .vocab = config->vocab};
    e->scored = (size_t)quality_scored(in->convention);
    TRY(quality_check_window(config, in->convention, err));
    const struct calibration *calibration = model_calibration(in->model);
    if (calibration && str_equal(calibration->text, in->text->hash))
        return FAIL(err, ERR_USAGE, "the text is the one that the weights were calibrated on");
    TRY(count_windows(in, &e->windows, err));
    if (in->baseline && model_config(in->baseline)->vocab != config->vocab)
        return FAIL(err, ERR_USAGE, "models of %d and %d ids cannot be compared", config->vocab,
                    model_config(in->baseline)->vocab);
    e->window = calloc((size_t)in->convention->window, sizeof *e->window);
    e->scores = calloc(e->windows * e->scored, sizeof *e->scores);
    if (!e->window || !e->scores)
        return FAIL(err, ERR_NOMEM, "quality: scores of %zu windows", e->windows);
    TRY(context_create(in->model, &shape, &e->ctx, err));
    if (in->baseline == in->model && in->kv == DT_F32)
        e->base = e->ctx;
    else if (in->baseline)
        TRY(context_create(in->baseline, &exact, &e->base, err));
    return OK;
}

static void evaluation_fini(struct evaluation *e)
{
    if (e->base != e->ctx)
        context_destroy(e->base);
    context_destroy(e->ctx);
    free(e->window);
    free(e->scores);
}

enum status quality_measure(const struct quality_input *in, struct quality *out, struct error *err)
{
    struct evaluation e;
    uint64_t begin_ns = clock_ns();
    enum status status = evaluation_init(&e, in, err);
    for (size_t w = 0; status == OK && w < e.windows; w++) {
        status = run_window(&e, w, err);
        if (status == OK && in->progress &&
            !in->progress(in->user, (double)(w + 1) / (double)e.windows))
            status = FAIL(err, ERR_INTERRUPTED, "stopped");
    }
    if (status == OK)
        status = quality_score_summarize(e.scores, e.windows * e.scored, e.base != NULL, out, err);
    if (status == OK) {
        out->windows = (double)e.windows;
        out->time_ns = (double)(clock_ns() - begin_ns);
    }
    evaluation_fini(&e);
    return status;
}

// ---- the f32 model ----------------------------------------------------------------------------------

static size_t plan_bytes(const struct memory_plan *plan)
{
    return plan->kv_bytes + plan->scratch_bytes;
}

// Bytes still to be allocated: the f32 weights and both contexts.
static enum status baseline_bytes(const struct quality_baseline *in, const struct scheme *f32,
                                  double *bytes, struct error *err)
{
    const struct model_config *config = model_config(in->model);
    struct context_options own = context_shape(config, in->convention, in->kv);
    struct context_options exact = context_shape(config, in->convention, DT_F32);
    const struct device_info *device = device_info(in->options->device);
    struct memory_plan first, second;
    TRY(engine_memory_plan(device, config, model_scheme(in->model), &own, device->units, &first,
                           err));
    TRY(engine_memory_plan(device, config, f32, &exact, device->units, &second, err));
    *bytes =
        (double)plan_bytes(&first) + (double)plan_bytes(&second) + (double)second.weights_bytes;
    return OK;
}

enum status quality_baseline_load(const struct quality_baseline *in, struct model **out, char *why,
                                  size_t why_bytes, struct error *err)
{
    const struct scheme *f32 = scheme_find("f32"), *own = model_scheme(in->model);
    struct engine_options options = *in->options;
    char needed[32], had[32];
    why[0] = '\0';
    *out = NULL;
    if (str_equal(own->name, f32->name) && own->head == f32->head) {
        *out = in->model;
        return OK;
    }
    double need = 0;
    TRY(baseline_bytes(in, f32, &need, err));
    if (in->free_bytes != OS_UNKNOWN && need > (double)in->free_bytes) {
        snprintf(
            why, why_bytes,
            "the f32 model next to it needs %s more, %s are free, so nothing is compared with it",
            format_bytes(need, needed, sizeof needed),
            format_bytes((double)in->free_bytes, had, sizeof had));
        return OK;
    }
    options.scheme = f32;
    struct error failed = {0};
    if (model_load(in->ck, &options, in->progress, in->user, out, &failed) == OK)
        return OK;
    *out = NULL;
    if (failed.code == ERR_NOMEM) {
        snprintf(why, why_bytes, "the f32 model next to it does not fit: %.200s", failed.message);
        return OK;
    }
    *err = failed;
    return error_context(err, "the f32 model to compare with");
}
