// instrument_counters.c - counts events of the processor and the system, and what a device's own counters count.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/probe/probe.h"
#include "bench/worker/count_device.h"
#include "bench/worker/instruments.h"
#include "results/metric.h"

struct counted {
    struct counters *counters; // of the host; NULL: it counts nothing
    struct device_tally tally; // of the device
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
    struct error err = {0}, absent = {0};
    struct counted *c = calloc(1, sizeof *c);
    if (!c) {
        snprintf(reason, INSTRUMENT_REASON_BYTES, "out of memory");
        return false;
    }
    *state = c;
    if (counters_open(&c->counters, &err) != OK)
        snprintf(reason, INSTRUMENT_REASON_BYTES, "%s", err.message);
    else
        snprintf(reason, INSTRUMENT_REASON_BYTES, "%s", counters_reason(c->counters));
    bool host = device_info(device)->kind == DEVICE_HOST;
    if (!host && device_counters_check(device, &absent) == OK)
        c->tally.device = device;
    else if (!host)
        snprintf(reason, INSTRUMENT_REASON_BYTES, "%s", absent.message);
    return c->tally.device || (c->counters && counters_count(c->counters) > 0);
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

static void begin_phase(void *user, enum phase phase)
{
    counted_begin(user, NULL, phase);
}

static void end_phase(void *user, enum phase phase)
{
    counted_end(user, NULL, phase);
}

// One repetition for the counters of the host, then as many runs of each phase as those of the device need.
static enum status counted_run(void *state, struct subject *s, struct error *err)
{
    struct counted *c = state;
    struct repetition unused;
    struct phase_watch watch = {.begin = begin_phase, .end = end_phase, .user = c};
    if (c->counters)
        TRY(measure_repetition(s, &(struct repetition_options){.watch = &watch}, &unused, err));
    return c->tally.device ? instrument_count_device(&c->tally, s, err) : OK;
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
    const struct counted *c = state;
    if (c->tally.device)
        instrument_report_device(&c->tally, s, metrics);
    if (!c->counters)
        return;
    report_phase(state, s, PHASE_PREFILL, metrics);
    if (s->cell->gen > 1)
        report_phase(state, s, PHASE_DECODE, metrics);
}

const struct instrument instrument_counters = {
    .name = "counters",
    .collect = COLLECT_COUNTERS,
    .inside = true,
    .open = counted_open,
    .run = counted_run,
    .report = counted_report,
    .close = counted_close,
};
