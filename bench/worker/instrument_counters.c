// instrument_counters.c - counts events of the processor and the system.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/probe/probe.h"
#include "bench/worker/instruments.h"
#include "results/metric.h"

struct counted {
    struct counters *counters;
    double events[PHASE_COUNT][COUNTERS_MAX];
};

static void counted_close(void *state)
{
    struct counted *c = state;
    if (c)
        counters_close(c->counters);
    free(c);
}

static bool counted_open(struct device *device, void **state, char reason[INSTRUMENT_REASON_BYTES])
{
    (void)device;
    struct error err = {0};
    struct counted *c = calloc(1, sizeof *c);
    if (!c || counters_open(&c->counters, &err) != OK) {
        snprintf(reason, INSTRUMENT_REASON_BYTES, "%s", c ? err.message : "out of memory");
        free(c);
        return false;
    }
    *state = c;
    snprintf(reason, INSTRUMENT_REASON_BYTES, "%s", counters_reason(c->counters));
    return counters_count(c->counters) > 0;
}

static void counted_begin(void *state, struct subject *s, enum phase phase)
{
    struct counted *c = state;
    (void)s;
    (void)phase;
    counters_start(c->counters);
}

static void counted_end(void *state, struct subject *s, enum phase phase)
{
    struct counted *c = state;
    int64_t values[COUNTERS_MAX];
    (void)s;
    counters_stop(c->counters, values);
    for (size_t i = 0; i < counters_count(c->counters); i++)
        c->events[phase][i] = values[i] == OS_UNKNOWN ? NAN : (double)values[i];
}

static void report_phase(const struct counted *c, const struct subject *s, enum phase phase,
                         json_t *metrics)
{
    for (size_t i = 0; i < counters_count(c->counters); i++) {
        char name[96];
        snprintf(name, sizeof name, METRIC_COUNTER_PREFIX "%s", counters_name(c->counters, i));
        wire_metric(metrics, name, c->events[phase][i] / instrument_steps(s, phase),
                    phase_name(phase), NULL, counters_source(c->counters));
    }
}

static void counted_report(void *state, const struct subject *s, json_t *metrics)
{
    report_phase(state, s, PHASE_PREFILL, metrics);
    if (s->cell->gen > 1)
        report_phase(state, s, PHASE_DECODE, metrics);
}

const struct instrument instrument_counters = {
    .name = "counters",
    .collect = COLLECT_COUNTERS,
    .inside = true,
    .open = counted_open,
    .begin = counted_begin,
    .end = counted_end,
    .report = counted_report,
    .close = counted_close,
};
