// trial.c - the rules by which a trial is wrong, throttled, noisy or ok, and its storage.
#include "bench/run/trial.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/stat.h"
#include "base/str.h"
#include "results/metric.h"
#include "results/query.h"

// Beyond these limits a trial is not `ok`. They are wide, because the speed of a shared machine changes by several per
// cent all the time, and the spread over trials is reported anyway. They catch trials whose median cannot be trusted.
// docs/METRICS.md refers to this table and does not repeat its numbers.
//
// A trial's figure is the median over its repetitions, which one bad repetition does not move. So scatter is the median
// distance from that median (MAD), and time taken by others also counts by its median.
static const double scatter_max = 0.10;  // MAD / median of TTFT and TPOT over the repetitions
static const double canary_max = 0.15;   // the same for the bandwidth canaries during the decode
static const double work_max = 0.10;     // the same for the slice of work that the canaries repeat
static const double taken_max = 0.02;    // share of each processor's time that others took
static const double pressure_max = 0.02; // share of time in which something waited for memory
static const double throttle_max =
    0.10; // the compute canary's slow-down from first to last repetition

// The system counts stolen time in whole ticks of each processor. A window of fewer ticks than this says nothing: a
// single tick would be 5 % of it, which is over the threshold.
enum { WINDOW_TICKS_MIN = 20 };

void trial_begin(struct trial *t, const struct cell *cell, int64_t cell_id, int number,
                 const struct event *loaded)
{
    *t = (struct trial){.cell = cell,
                        .cell_id = cell_id,
                        .number = number,
                        .started_ns = clock_wall_ns(),
                        .loaded = loaded,
                        .steal = os_steal_resolution()};
    t->summary.cell = -1;
}

enum status trial_add(struct trial *t, struct event *event, struct error *err)
{
    if (event->type == EVENT_TRIAL) {
        if (t->repetition_count < (size_t)t->cell->reps)
            return FAIL(err, ERR_FORMAT, "it ended the trial after %zu of %d repetitions",
                        t->repetition_count, t->cell->reps);
        t->summary = *event;
        *event = (struct event){.cell = -1};
        return OK;
    }
    int most = t->cell->reps > REPETITIONS_MOST ? t->cell->reps : REPETITIONS_MOST;
    if (event->repetition != (int)t->repetition_count + 1 || event->repetition > most)
        return FAIL(err, ERR_FORMAT, "repetition %d came after %zu (at most %d)", event->repetition,
                    t->repetition_count, most);
    if (event->sequences != t->cell->batch || event->tokens != t->cell->gen)
        return FAIL(err, ERR_FORMAT, "token times of %d x %d, the cell has %d x %d",
                    event->sequences, event->tokens, t->cell->batch, t->cell->gen);
    struct event *grown =
        realloc(t->repetitions, (t->repetition_count + 1) * sizeof *t->repetitions);
    if (!grown)
        return FAIL(err, ERR_NOMEM, "runner: keeping a repetition");
    t->repetitions = grown;
    t->repetitions[t->repetition_count++] = *event;
    *event = (struct event){.cell = -1};
    return OK;
}

void trial_fail(struct trial *t, const char *status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(t->reason, sizeof t->reason, format, args);
    va_end(args);
    str_plain(t->reason);
    t->status = status;
}

bool trial_measured(const struct trial *t)
{
    return query_status_measured(t->status);
}

bool trial_failed(const struct trial *t)
{
    return query_status_failed(t->status);
}

// ---- figures -----------------------------------------------------------------------------------------------

static double value_of(const struct store_metric *rows, size_t count, const char *name,
                       const char *phase, const char *op)
{
    for (size_t i = 0; i < count; i++)
        if (str_equal(rows[i].name, name) && (!phase || str_equal(rows[i].phase, phase)) &&
            str_equal(rows[i].op, op))
            return rows[i].value;
    return NAN;
}

// Collects the measured values of one metric over the repetitions. Returns their number.
static size_t values_of(const struct trial *t, bool noise, const char *name, const char *phase,
                        double *out)
{
    size_t count = 0;
    for (size_t i = 0; i < t->repetition_count; i++) {
        const struct event *r = &t->repetitions[i];
        double value = noise ? value_of(r->noise, r->noise_count, name, NULL, NULL)
                             : value_of(r->metrics, r->metric_count, name, phase, NULL);
        if (!isnan(value))
            out[count++] = value;
    }
    return count;
}

struct range {
    size_t count;
    double min, median, max, first, last; // NaN if count is 0
    double sum;
    double scatter; // median distance from the median / median
};

static struct range range_of(const struct trial *t, bool noise, const char *name, const char *phase)
{
    struct range r = {0, NAN, NAN, NAN, NAN, NAN, 0, NAN};
    struct error ignored = {0};
    double *values = calloc(t->repetition_count + 1, sizeof *values);
    if (values)
        r.count = values_of(t, noise, name, phase, values);
    if (r.count > 0) {
        const struct metric_info *info = metric_find(name);
        r.median = metric_median(values, r.count, info ? info->unit : "", &ignored);
        r.min = stat_quantile(values, r.count, 0, &ignored);
        r.max = stat_quantile(values, r.count, 1, &ignored);
        r.first = values[0];
        r.last = values[r.count - 1];
        for (size_t i = 0; i < r.count; i++) {
            r.sum += values[i];
            values[i] = fabs(values[i] - r.median);
        }
        r.scatter = stat_median(values, r.count, &ignored) / r.median;
    }
    free(values);
    return r;
}

double trial_median(const struct trial *t, const char *name, const char *phase)
{
    return range_of(t, false, name, phase).median;
}

double trial_op_value(const struct trial *t, const char *name, const char *phase, const char *op)
{
    return value_of(t->summary.metrics, t->summary.metric_count, name, phase, op);
}

bool trial_traced(const struct trial *t, const char *phase)
{
    for (size_t i = 0; i < t->summary.metric_count; i++) {
        const struct store_metric *row = &t->summary.metrics[i];
        if (str_equal(row->name, METRIC_OP_TIME) && str_equal(row->phase, phase))
            return str_equal(row->source, METRIC_SOURCE_ACTIVITY);
    }
    return false;
}

double trial_noise_median(const struct trial *t, const char *name)
{
    return range_of(t, true, name, NULL).median;
}

// ---- the rules ----------------------------------------------------------------------------------------------

static bool judge_wrong(struct trial *t, const char *expected_hash)
{
    const char *first = t->repetitions[0].token_hash;
    for (size_t i = 0; i < t->repetition_count; i++) {
        const struct event *r = &t->repetitions[i];
        if (r->nonfinite > 0) {
            trial_fail(t, "wrong", "%lld logits of repetition %d are not finite",
                       (long long)r->nonfinite, r->repetition);
            return true;
        }
        if (!str_equal(r->token_hash, first)) {
            trial_fail(
                t, "wrong",
                "repetition %d generated other tokens (hash %.12s) than repetition 1 (%.12s)",
                r->repetition, r->token_hash, first);
            return true;
        }
    }
    if (expected_hash[0] && !str_equal(first, expected_hash)) {
        trial_fail(t, "wrong",
                   "it generated other tokens (hash %.12s) than an earlier trial (%.12s)", first,
                   expected_hash);
        return true;
    }
    return false;
}

// The share of all readings of the device; 0 if it could not be read.
static double share_held(const struct trial *t, const char *name)
{
    struct range held = range_of(t, true, name, NULL);
    return held.count ? held.sum / (double)held.count : 0;
}

// Whether any reading shows that temperature or the board slowed the device down.
static bool judge_held(struct trial *t)
{
    double thermal = share_held(t, NOISE_HELD_THERMAL), brake = share_held(t, NOISE_HELD_BRAKE);
    if (thermal > 0)
        trial_fail(t, "throttled",
                   "its temperature held the device back in %.0f %% of its readings",
                   100 * thermal);
    else if (brake > 0)
        trial_fail(
            t, "throttled",
            "its board held the device back (power brake or slowdown) in %.0f %% of its readings",
            100 * brake);
    return thermal > 0 || brake > 0;
}

// Whether the processor slowed down while the trial ran.
static bool judge_throttled(struct trial *t)
{
    struct range canary = range_of(t, true, NOISE_COMPUTE_CANARY, NULL);
    if (canary.count < 2 || canary.last <= canary.first * (1 + throttle_max) ||
        canary.last < canary.max)
        return false;
    trial_fail(t, "throttled",
               "the compute canary took %.0f %% longer in the last repetition than in the first",
               100 * (canary.last / canary.first - 1));
    return true;
}

static bool judge_scatter(struct trial *t, const char *name, const char *phase, const char *title)
{
    struct range r = range_of(t, false, name, phase);
    if (r.count < 2 || r.scatter <= scatter_max)
        return false;
    trial_fail(t, "noisy",
               "half of %zu repetitions are %.0f %% or more off the median %s (threshold %.0f %%)",
               r.count, 100 * r.scatter, title, 100 * scatter_max);
    return true;
}

static bool judge_canaries(struct trial *t)
{
    struct range r = range_of(t, true, NOISE_BANDWIDTH_DURING, NULL);
    if (r.count < 2 || r.scatter <= canary_max)
        return false;
    trial_fail(t, "noisy",
               "the bandwidth canaries saw %.1f to %.1f GB/s, half of the repetitions %.0f %% or "
               "more off their median (threshold %.0f %%)",
               r.min / 1e9, r.max / 1e9, 100 * r.scatter, 100 * canary_max);
    return true;
}

static bool judge_work(struct trial *t)
{
    struct range r = range_of(t, true, NOISE_WORK_CANARY, NULL);
    if (r.count < 2 || r.scatter <= work_max)
        return false;
    trial_fail(
        t, "noisy",
        "a fixed slice of work took %.0f to %.0f us, half of the repetitions %.0f %% or more "
        "off their median (threshold %.0f %%)",
        r.min / 1e3, r.max / 1e3, 100 * r.scatter, 100 * work_max);
    return true;
}

// The share of its time that each of `processors` lost, from a count of ns that is summed over them in steps of
// `tick_ns`. It is the median over the repetitions if each window has enough ticks, else the mean over all of them. NaN
// if even that window is too short, or nothing was counted.
static double share_taken(const struct trial *t, const char *name, double tick_ns,
                          double processors)
{
    struct range taken = range_of(t, true, name, NULL),
                 window = range_of(t, true, NOISE_WINDOW, NULL);
    double shortest_ns = WINDOW_TICKS_MIN * tick_ns;
    if (taken.count == 0 || taken.count != window.count)
        return NAN;
    if (window.min >= shortest_ns)
        return taken.median / (window.median * processors);
    if (window.sum >= shortest_ns)
        return taken.sum / (window.sum * processors);
    return NAN;
}

static bool judge_taken(struct trial *t, const char *name, double tick_ns, double processors,
                        double limit, const char *title)
{
    double share = share_taken(t, name, tick_ns, processors);
    if (!(share > limit))
        return false;
    // Ticks at the ends of a window can add up to a little more than the window.
    trial_fail(t, "noisy", "%s for %.0f %% of the time (threshold %.0f %%)", title,
               100 * fmin(share, 1), 100 * limit);
    return true;
}

// Judges time taken by the hypervisor, the CPU quota or other programs, and waits for memory. The threads meet at
// barriers, so all of them lose the time that one waits for a processor: the longest wait counts, not the mean.
// Pressure on processors (psi_cpu) is not a rule, because it is also high if other programs wait for these threads.
static bool judge_time(struct trial *t)
{
    const struct os_steal_resolution *steal = &t->steal;
    return (steal->tick_ns != OS_UNKNOWN &&
            judge_taken(t, NOISE_STEAL, (double)steal->tick_ns, steal->processors, taken_max,
                        "the hypervisor took the processors away")) ||
           judge_taken(t, NOISE_THROTTLED, 0, 1, taken_max,
                       "the control group's CPU quota held the process up") ||
           judge_taken(t, NOISE_RUN_WAIT, 0, 1, taken_max,
                       "a thread waited for a processor that others used") ||
           judge_taken(t, NOISE_PSI_MEMORY, 0, 1, pressure_max, "something waited for memory");
}

void trial_judge(struct trial *t, const char *expected_hash)
{
    if (t->repetition_count == 0) {
        trial_fail(t, "crashed", "the worker measured nothing");
        return;
    }
    // Rules about causes come before rules about symptoms, so that the reason names the cause.
    if (judge_wrong(t, expected_hash) || judge_held(t) || judge_throttled(t) || judge_time(t) ||
        judge_scatter(t, METRIC_TPOT, "decode", "TPOT") ||
        judge_scatter(t, METRIC_TTFT, "prefill", "TTFT") || judge_canaries(t) || judge_work(t))
        return;
    t->status = "ok";
    t->reason[0] = '\0';
    // Cards at full load run at their power limit by design, so this is a remark and not a fault.
    double power = share_held(t, NOISE_HELD_POWER);
    if (power > 0)
        snprintf(t->reason, sizeof t->reason,
                 "its power limit lowered the device's clock in %.0f %% of its readings",
                 100 * power);
}

// ---- storing ------------------------------------------------------------------------------------------------

// a then b in one new array, which the caller frees; NULL when memory is exhausted.
static struct store_metric *joined(const struct store_metric *a, size_t a_count,
                                   const struct store_metric *b, size_t b_count)
{
    struct store_metric *all = calloc(a_count + b_count + 1, sizeof *all);
    if (all && a_count)
        memcpy(all, a, a_count * sizeof *a);
    if (all && b_count)
        memcpy(all + a_count, b, b_count * sizeof *b);
    return all;
}

static enum status samples_make(const struct trial *t, struct store_sample *out, struct error *err)
{
    for (size_t i = 0; i < t->repetition_count; i++) {
        const struct event *r = &t->repetitions[i];
        const struct store_metric *added = t->added ? t->added[i] : NULL;
        size_t added_count = t->added ? t->added_count[i] : 0;
        out[i] = (struct store_sample){
            .repetition = r->repetition,
            .token_hash = r->token_hash,
            .nonfinite_logits = r->nonfinite,
            .metrics = joined(r->metrics, r->metric_count, added, added_count),
            .metric_count = r->metric_count + added_count,
            .noise = r->noise,
            .noise_count = r->noise_count,
            .token_ns = r->token_ns,
            .sequences = r->sequences,
            .tokens = r->tokens,
        };
        if (!out[i].metrics)
            return FAIL(err, ERR_NOMEM, "runner: storing a repetition");
    }
    return OK;
}

enum status trial_store(const struct trial *t, struct store *store, int64_t build,
                        struct error *err)
{
    const struct event *loaded = t->loaded;
    struct store_metric *own = NULL, *all = NULL;
    int64_t id = 0;
    struct store_sample *samples = calloc(t->repetition_count + 1, sizeof *samples);
    size_t loaded_count = loaded ? loaded->metric_count : 0;
    size_t own_count = loaded_count + t->summary.metric_count;
    own = joined(loaded ? loaded->metrics : NULL, loaded_count, t->summary.metrics,
                 t->summary.metric_count);
    all = own ? joined(own, own_count, t->work, t->work_count) : NULL;
    if (!samples || !all)
        FAIL(err, ERR_NOMEM, "runner: storing a trial");
    else if (samples_make(t, samples, err) == OK)
        store_trial(store,
                    &(struct store_trial){
                        .cell = t->cell_id,
                        .number = t->number,
                        .status = t->status,
                        .reason = t->reason,
                        .started_ns = t->started_ns,
                        .ended_ns = clock_wall_ns(),
                        .arithmetic = loaded ? loaded->arithmetic : NULL,
                        .stored = loaded ? loaded->stored : NULL,
                        .engine_version = loaded ? loaded->engine_version : NULL,
                        .step_form = t->summary.step_form,
                        .step_reason = t->summary.step_reason,
                        .products = t->summary.products,
                        .build = build,
                        .samples = samples,
                        .sample_count = t->repetition_count,
                        .metrics = all,
                        .metric_count = own_count + t->work_count,
                        .verdicts = t->verdicts,
                        .verdict_count = t->verdict_count,
                    },
                    &id, err);
    for (size_t i = 0; samples && i < t->repetition_count; i++)
        free((void *)samples[i].metrics);
    free(samples);
    free(own);
    free(all);
    return err->code;
}

void trial_fini(struct trial *t)
{
    for (size_t i = 0; i < t->repetition_count; i++)
        event_fini(&t->repetitions[i]);
    free(t->repetitions);
    event_fini(&t->summary);
    arena_fini(&t->arena);
    memset(t, 0, sizeof *t);
}
