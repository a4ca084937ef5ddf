// instrument_observer.c - measures the time of each op class, from the engine's own reports.
//
// The engine reads the clock around every operation, so this repetition is a little slower than a timed one.
#include <stdio.h>
#include <stdlib.h>

#include "bench/worker/instruments.h"
#include "bench/worker/trace.h"
#include "results/metric.h"

#define SOURCE "host clock, observer pass"

struct observed {
    double time_ns[PHASE_COUNT][OPC_COUNT + 1]; // the last one: the end of a step
    struct engine_observer observer;            // the engine borrows it while it reports
    struct worker_trace *trace;                 // or NULL
};

static void on_event(void *user, const struct engine_event *event)
{
    struct observed *o = user;
    o->time_ns[event->phase][event->op] += (double)(event->end_ns - event->begin_ns);
    worker_trace_add(o->trace,
                     &(struct trace_row){.phase = event->phase,
                                         .layer = event->layer,
                                         .op = (int)event->op,
                                         .begin_ns = (int64_t)event->begin_ns,
                                         .end_ns = (int64_t)event->end_ns},
                     NULL);
}

static bool observer_open(struct device *device, void **state, char reason[INSTRUMENT_REASON_BYTES])
{
    (void)device;
    *state = calloc(1, sizeof(struct observed));
    if (!*state)
        snprintf(reason, INSTRUMENT_REASON_BYTES, "out of memory");
    return *state != NULL;
}

static void observer_begin(void *state, struct subject *s, enum phase phase)
{
    struct observed *o = state;
    for (int op = 0; op <= OPC_COUNT; op++)
        o->time_ns[phase][op] = 0;
    o->trace = s->trace && !s->trace->sent[phase] ? s->trace : NULL;
    if (o->trace)
        o->trace->source = SOURCE;
    o->observer = (struct engine_observer){.on_event = on_event, .user = o};
    if (s->engine->observe)
        s->engine->observe(s->run, &o->observer);
}

static void observer_end(void *state, struct subject *s, enum phase phase)
{
    (void)state;
    (void)phase;
    if (s->engine->observe)
        s->engine->observe(s->run, NULL);
}

static void report_phase(const struct observed *o, const struct subject *s, enum phase phase,
                         json_t *metrics)
{
    if (instrument_reported(metrics, METRIC_OP_TIME, phase))
        return;
    for (int op = 0; op <= OPC_COUNT; op++)
        if (o->time_ns[phase][op] > 0)
            wire_metric(metrics, METRIC_OP_TIME, o->time_ns[phase][op] / instrument_steps(s, phase),
                        phase_name(phase),
                        op < OPC_COUNT ? op_class_name((enum op_class)op) : METRIC_OP_END, SOURCE);
}

static void observer_report(void *state, const struct subject *s, json_t *metrics)
{
    char reason[INSTRUMENT_REASON_BYTES];
    if (!s->engine->observe) {
        snprintf(reason, sizeof reason, "engine %s does not report its operations",
                 s->engine->name);
        instrument_cannot(&instrument_observer, reason, metrics);
        return;
    }
    report_phase(state, s, PHASE_PREFILL, metrics);
    if (s->cell->gen > 1)
        report_phase(state, s, PHASE_DECODE, metrics);
}

const struct instrument instrument_observer = {
    .name = "observer",
    .collect = COLLECT_TIMING,
    .inside = true,
    .open = observer_open,
    .begin = observer_begin,
    .end = observer_end,
    .report = observer_report,
    .close = free,
};
