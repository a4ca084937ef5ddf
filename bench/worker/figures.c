// figures.c - computes the figures of a repetition from the times of its tokens.
#include <math.h>
#include <stdlib.h>

#include "base/stat.h"
#include "bench/worker/measure.h"
#include "results/metric.h"

// The device's clock stamps steps of a driven engine; the host's clock stamps tokens of a whole engine.
static const char *time_source(const struct subject *s)
{
    return device_time_source(s->engine->step ? s->where : DEVICE_HOST);
}

int64_t worker_subject_last_ns(const struct subject *s, int token)
{
    int64_t last = 0;
    for (int i = 0; i < s->cell->batch; i++)
        if (s->token_ns[subject_at(s, i, token)] > last)
            last = s->token_ns[subject_at(s, i, token)];
    return last;
}

static double mean_ttft(const struct subject *s)
{
    double sum = 0;
    for (int i = 0; i < s->cell->batch; i++)
        sum += (double)s->token_ns[subject_at(s, i, 0)];
    return sum / s->cell->batch;
}

// (E2E - TTFT) / (gen - 1) of each request, then their mean.
static double mean_tpot(const struct subject *s)
{
    int gen = s->cell->gen;
    double sum = 0;
    for (int i = 0; i < s->cell->batch; i++)
        sum += (double)(s->token_ns[subject_at(s, i, gen - 1)] - s->token_ns[subject_at(s, i, 0)]);
    return sum / (gen - 1) / s->cell->batch;
}

// Every gap between successive tokens of one sequence; NULL when memory is exhausted. Caller frees.
static double *all_gaps(const struct subject *s, size_t *count)
{
    int gen = s->cell->gen;
    double *gaps = calloc((size_t)s->cell->batch * (size_t)(gen - 1), sizeof *gaps);
    *count = 0;
    for (int i = 0; gaps && i < s->cell->batch; i++)
        for (int t = 1; t < gen; t++)
            gaps[(*count)++] =
                (double)(s->token_ns[subject_at(s, i, t)] - s->token_ns[subject_at(s, i, t - 1)]);
    return gaps;
}

static void gap_metrics(const struct subject *s, const char *source, json_t *out)
{
    static const struct {
        const char *name;
        double q;
    } quantiles[] = {{METRIC_ITL_P50, 0.5}, {METRIC_ITL_P90, 0.9}, {METRIC_ITL_P99, 0.99}};
    size_t count = 0;
    double *gaps = all_gaps(s, &count);
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        struct error ignored = {0}; // a quantile that cannot be computed is sent as not measured
        double value = gaps ? stat_quantile(gaps, count, quantiles[i].q, &ignored) : NAN;
        wire_metric(out, quantiles[i].name, value, "decode", NULL, source);
    }
    free(gaps);
}

json_t *repetition_metrics(const struct subject *s, const struct repetition *r)
{
    const struct job_cell *c = s->cell;
    const char *source = time_source(s);
    json_t *out = json_array();
    double steps = c->gen - 1;
    wire_metric(out, METRIC_TTFT, mean_ttft(s), "prefill", NULL, source);
    wire_metric(out, METRIC_PREFILL_TIME, r->prefill_ns, "prefill", NULL, source);
    wire_metric(out, METRIC_PREFILL_TPS, 1e9 * c->batch * s->prompt_tokens / r->prefill_ns,
                "prefill", NULL, source);
    wire_metric(out, METRIC_WAIT, r->prefill_wait_ns, "prefill", NULL, source);
    wire_metric(out, METRIC_E2E, (double)worker_subject_last_ns(s, c->gen - 1), NULL, NULL, source);
    if (c->gen > 1) { // one token has no gap
        double decode_ns =
            (double)(worker_subject_last_ns(s, c->gen - 1) - worker_subject_last_ns(s, 0));
        wire_metric(out, METRIC_TPOT, mean_tpot(s), "decode", NULL, source);
        wire_metric(out, METRIC_DECODE_TPS, 1e9 * c->batch * steps / decode_ns, "decode", NULL,
                    source);
        wire_metric(out, METRIC_WAIT, r->decode_wait_ns / steps, "decode", NULL, source);
        wire_metric(out, METRIC_BETWEEN, r->between_ns / decode_ns, "decode", NULL, source);
        gap_metrics(s, source, out);
    }
    return out;
}

static double known(int64_t value)
{
    return value == OS_UNKNOWN ? NAN : (double)value;
}

// Of a device whose vital signs can be read.
static void vitals_noise(const struct noise_vitals *v, json_t *out)
{
    const double looks = v->looks;
    if (v->looks == 0)
        return;
    wire_metric(out, NOISE_DEVICE_CLOCK, v->clock_hz, NULL, NULL, "device");
    wire_metric(out, NOISE_DEVICE_MEMORY_CLOCK, v->memory_clock_hz, NULL, NULL, "device");
    wire_metric(out, NOISE_DEVICE_POWER, v->power_w, NULL, NULL, "device");
    wire_metric(out, NOISE_DEVICE_TEMPERATURE, v->temperature_c, NULL, NULL, "device");
    wire_metric(out, NOISE_HELD_POWER, v->held[DEVICE_HOLD_POWER] / looks, NULL, NULL, "device");
    wire_metric(out, NOISE_HELD_THERMAL, v->held[DEVICE_HOLD_THERMAL] / looks, NULL, NULL,
                "device");
    wire_metric(out, NOISE_HELD_BRAKE,
                (v->held[DEVICE_HOLD_BRAKE] + v->held[DEVICE_HOLD_HARDWARE]) / looks, NULL, NULL,
                "device");
}

json_t *repetition_noise(const struct subject *s, const struct repetition *r)
{
    const struct noise *n = &r->noise;
    const char *source = device_time_source(s->where); // canaries run on the device
    json_t *out = json_array();
    wire_metric(out, NOISE_STEAL, known(n->os.steal_ns), NULL, NULL, "os");
    wire_metric(out, NOISE_THROTTLED, known(n->os.throttled_ns), NULL, NULL, "os");
    wire_metric(out, NOISE_RUN_WAIT, known(n->run_wait_ns), NULL, NULL, "os");
    wire_metric(out, NOISE_WINDOW, (double)n->window_ns, NULL, NULL, "host clock");
    wire_metric(out, NOISE_SWITCHES, known(n->os.involuntary_switches), NULL, NULL, "os");
    wire_metric(out, NOISE_MAJOR_FAULTS, known(n->os.major_faults), NULL, NULL, "os");
    wire_metric(out, NOISE_PSI_CPU, known(n->os.psi_cpu_ns), NULL, NULL, "os");
    wire_metric(out, NOISE_PSI_MEMORY, known(n->os.psi_memory_ns), NULL, NULL, "os");
    wire_metric(out, NOISE_PSI_IO, known(n->os.psi_io_ns), NULL, NULL, "os");
    wire_metric(out, NOISE_CLOCK_TIE, r->clock_tie_ns, NULL, NULL, "host clock");
    wire_metric(out, NOISE_CLOCK_DRIFT, r->clock_drift_ns, NULL, NULL, "host clock");
    wire_metric(out, NOISE_COMPUTE_CANARY, n->compute_canary_ns, NULL, NULL, source);
    wire_metric(out, NOISE_SYNC_CANARY, n->state.sync_ns, NULL, NULL, source);
    wire_metric(out, NOISE_LATENCY_CANARY, n->state.latency_ns, NULL, NULL, source);
    wire_metric(out, NOISE_WORK_CANARY, n->state.work_ns, NULL, NULL, source);
    wire_metric(out, NOISE_BANDWIDTH_FIRST, n->bandwidth_before, NULL, NULL, source);
    wire_metric(out, NOISE_BANDWIDTH_DURING, n->bandwidth_during, NULL, NULL, source);
    wire_metric(out, NOISE_BANDWIDTH_LAST, n->bandwidth_after, NULL, NULL, source);
    wire_metric(out, NOISE_BANDWIDTH_MIN, n->bandwidth_min, NULL, NULL, source);
    wire_metric(out, NOISE_BANDWIDTH_MAX, n->bandwidth_max, NULL, NULL, source);
    vitals_noise(&n->vitals, out);
    return out;
}
