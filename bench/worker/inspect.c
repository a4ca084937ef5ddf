// inspect.c - op classes, counters and memory of one repetition.
#include "bench/worker/inspect.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"
#include "results/metric.h"

// What the observer and the counters have seen, by phase.
struct seen {
    struct counters *counters; // NULL: none
    size_t counter_count;
    enum phase counting; // the phase counters run for; PHASE_COUNT: they do not
    double time_ns[PHASE_COUNT][OPC_COUNT];
    double counted[PHASE_COUNT][COUNTERS_MAX];
};

// Ends the counting of one phase and begins another's.
static void count_phase(struct seen *seen, enum phase phase)
{
    int64_t values[COUNTERS_MAX];
    if (!seen->counters || seen->counting == phase)
        return;
    if (seen->counting != PHASE_COUNT) {
        counters_stop(seen->counters, values);
        for (size_t i = 0; i < seen->counter_count; i++)
            seen->counted[seen->counting][i] = values[i] == OS_UNKNOWN ? NAN : (double)values[i];
    }
    seen->counting = phase;
    if (phase != PHASE_COUNT)
        counters_start(seen->counters);
}

// The first operation of a phase moves the counters on to it: the observer hears of an operation when it
// has ended, so each phase lacks its first one, an embedding row of `rest`.
static void on_event(void *user, const struct engine_event *event)
{
    struct seen *seen = user;
    count_phase(seen, event->phase);
    seen->time_ns[event->phase][event->op] += (double)(event->end_ns - event->begin_ns);
}

static void op_metrics(const struct seen *seen, enum phase phase, double steps, json_t *metrics)
{
    for (int op = 0; op < OPC_COUNT; op++)
        if (seen->time_ns[phase][op] > 0)
            wire_metric(metrics, METRIC_OP_TIME, seen->time_ns[phase][op] / steps,
                        phase_name(phase), op_class_name((enum op_class)op),
                        "host clock, observer pass");
}

static void counter_metrics(const struct seen *seen, enum phase phase, double steps,
                            json_t *metrics)
{
    for (size_t i = 0; i < seen->counter_count; i++) {
        char name[96];
        snprintf(name, sizeof name, METRIC_COUNTER_PREFIX "%s", counters_name(seen->counters, i));
        wire_metric(metrics, name, seen->counted[phase][i] / steps, phase_name(phase), NULL,
                    counters_source(seen->counters));
    }
}

enum status inspect(struct subject *s, struct counters *counters, json_t *metrics,
                    struct error *err)
{
    struct seen seen = {.counters = counters, .counting = PHASE_COUNT};
    struct engine_observer observer = {.on_event = on_event, .user = &seen};
    struct repetition unused;
    if (counters)
        seen.counter_count = counters_count(counters);
    canary_destroy(s->canary);
    s->canary = NULL;
    bool own_peak = os_rss_peak_reset();

    context_observe(s->ctx, &observer);
    count_phase(&seen, PHASE_PREFILL);
    enum status status = measure_repetition(s, 0, false, &unused, err);
    count_phase(&seen, PHASE_COUNT);
    context_observe(s->ctx, NULL);
    if (status != OK)
        return error_context(err, "inspecting");

    int64_t peak = os_rss_peak_bytes();
    wire_metric(metrics, METRIC_PEAK_MEM, peak == OS_UNKNOWN ? NAN : (double)peak, NULL, NULL,
                own_peak ? "os" : "os, since the process began");
    op_metrics(&seen, PHASE_PREFILL, 1, metrics);
    counter_metrics(&seen, PHASE_PREFILL, 1, metrics);
    if (s->cell->gen > 1) {
        op_metrics(&seen, PHASE_DECODE, s->cell->gen - 1, metrics);
        counter_metrics(&seen, PHASE_DECODE, s->cell->gen - 1, metrics);
    }
    return OK;
}
