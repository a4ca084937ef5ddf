// qualities.c - looks up each quality, lets a worker evaluate it if it is unknown, and stores it for its cells.
#include "bench/run/qualities.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "results/metric.h"
#include "results/query.h"

static enum status store_outcome(struct run_context *run, const struct plan_quality *q,
                                 const struct quality_outcome *outcome, int64_t started_ns,
                                 int64_t *id, struct error *err)
{
    char *params = json_canonical(q->params);
    struct store_quality row = {
        .run = run->record.run,
        .key = q->key,
        .params_json = params,
        .status = outcome->status,
        .reason = outcome->reason,
        .arithmetic = outcome->loaded.arithmetic,
        .stored = outcome->loaded.stored,
        .engine_version = outcome->loaded.engine_version,
        .build = run->record.build,
        .started_ns = started_ns,
        .ended_ns = clock_wall_ns(),
        .metrics = outcome->figures.metrics,
        .metric_count = outcome->figures.metric_count,
    };
    enum status status = params ? store_quality(run->record.store, &row, id, err)
                                : FAIL(err, ERR_NOMEM, "runner: a quality's parameters");
    free(params);
    return status;
}

static struct quality_outcome left_out(const char *status, const char *reason)
{
    struct quality_outcome out = {
        .status = status, .loaded = {.cell = -1}, .figures = {.cell = -1}};
    snprintf(out.reason, sizeof out.reason, "%s", reason);
    return out;
}

// Whether any of its cells could be measured.
static bool has_cells(const struct run_context *run, const struct plan_quality *q)
{
    for (size_t i = 0; i < run->plan->cell_count; i++)
        if (run->plan->cells[i].quality == q && !run->record.stopped[i])
            return true;
    return false;
}

static double figure(const struct quality_outcome *outcome, const char *name)
{
    for (size_t i = 0; i < outcome->figures.metric_count; i++)
        if (str_equal(outcome->figures.metrics[i].name, name))
            return outcome->figures.metrics[i].value;
    return NAN;
}

// "quality of tiny int8 cpu: perplexity 17.02 (f32 17.02), KL divergence 0.0003 nat"
static void tell(struct run_context *run, const struct plan_quality *q,
                 const struct quality_outcome *outcome)
{
    char ppl[32], exact[32], kl[32];
    const char *reason = outcome->reason;
    if (!str_equal(outcome->status, "ok")) {
        live_line(&run->live, "quality of %s: %s: %s", q->label, outcome->status, reason);
        return;
    }
    metric_format(figure(outcome, METRIC_PERPLEXITY), "ppl", ppl, sizeof ppl);
    metric_format(figure(outcome, METRIC_PERPLEXITY_F32), "ppl", exact, sizeof exact);
    metric_format(figure(outcome, METRIC_KL_MEAN), "nat", kl, sizeof kl);
    live_line(&run->live, "quality of %s: perplexity %s (f32 %s), KL divergence %s%s%s", q->label,
              ppl, exact, kl, reason[0] ? "; " : "", reason);
}

static enum status evaluate(struct run_context *run, const struct plan_quality *q, int64_t *id,
                            size_t *failed, struct error *err)
{
    struct quality_outcome outcome;
    int64_t started_ns = clock_wall_ns();
    if (q->skip) {
        outcome = left_out(q->unsupported ? "unsupported" : "skipped", q->skip);
    } else if (!has_cells(run, q)) {
        outcome = left_out("skipped", "none of its cells could be measured");
    } else {
        live_quality(&run->live, q);
        TRY(session_quality(run, q, &outcome, err));
    }
    *failed += query_status_failed(outcome.status);
    tell(run, q, &outcome);
    enum status status = store_outcome(run, q, &outcome, started_ns, id, err);
    event_fini(&outcome.loaded);
    event_fini(&outcome.figures);
    return status;
}

static enum status give_to_cells(const struct run_context *run, const struct plan_quality *q,
                                 int64_t id, struct error *err)
{
    for (size_t i = 0; i < run->plan->cell_count; i++)
        if (run->plan->cells[i].quality == q)
            TRY(store_cell_quality(run->record.store, run->record.cells[i], id, err));
    return OK;
}

enum status session_qualities(struct run_context *run, size_t *failed, struct error *err)
{
    *failed = 0;
    for (size_t i = 0; i < run->plan->quality_count; i++) {
        const struct plan_quality *q = &run->plan->qualities[i];
        int64_t id = 0;
        TRY(store_quality_find(run->record.store, run->record.run, run->record.build, q->key, &id,
                               err));
        if (id)
            live_line(&run->live, "quality of %s: as measured before, by this build", q->label);
        else
            TRY(evaluate(run, q, &id, failed, err));
        TRY(give_to_cells(run, q, id, err));
        if (!q->skip)
            live_quality_done(&run->live, q);
    }
    return OK;
}
