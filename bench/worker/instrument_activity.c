// instrument_activity.c - what a GPU did in a repetition, kernel by kernel: op classes, gaps, and the largest kernels.
//
// The engine labels the work it enqueues, and the device's trace records when that work ran. A second repetition,
// without the trace, shows what the trace costs. Where two kernels overlap, the time counts for the earlier one.
#include "bench/worker/instrument_activity.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/stat.h"
#include "base/str.h"
#include "bench/worker/trace.h"
#include "results/metric.h"

enum { LAYERS_MOST = 4095, KERNELS_TOLD = 12 };
static const double unlabelled_most = 0.02; // of the time of all kernels

struct activity {
    struct device *device;
    struct device_trace *trace; // while it runs
    struct engine_observer observer;
    struct activity_sums sums;
    double traced_ns[PHASE_COUNT], untraced_ns[PHASE_COUNT];
    bool measured;
    char reason[INSTRUMENT_REASON_BYTES];
};

// What a trace that is missing or refused means for the figures.
PRINTF_LIKE(2, 3)
static void say_instead(char reason[INSTRUMENT_REASON_BYTES], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, INSTRUMENT_REASON_BYTES, format, args);
    va_end(args);
    const char *instead = "; op classes are timed one by one instead";
    size_t used = strlen(reason), room = INSTRUMENT_REASON_BYTES - strlen(instead) - 1;
    strcpy(reason + (used < room ? used : room), instead);
}

// ---- labels ----------------------------------------------------------------------------------------------

uint32_t instrument_activity_label(enum phase phase, int layer, enum op_class op)
{
    int place = layer < LAYERS_MOST ? layer + 1 : LAYERS_MOST;
    return 1 + ((uint32_t)phase * (LAYERS_MOST + 1) + (uint32_t)place) * (OPC_COUNT + 1) +
           (uint32_t)op;
}

static enum phase phase_of(uint32_t label)
{
    return (enum phase)((label - 1) / (OPC_COUNT + 1) / (LAYERS_MOST + 1));
}

// -1: of no layer.
static int layer_of(uint32_t label)
{
    return (int)((label - 1) / (OPC_COUNT + 1) % (LAYERS_MOST + 1)) - 1;
}

static enum op_class op_of(uint32_t label)
{
    return (enum op_class)((label - 1) % (OPC_COUNT + 1));
}

static void on_enqueued(void *user, enum phase phase, int layer, enum op_class op)
{
    struct activity *a = user;
    device_trace_mark(a->trace, instrument_activity_label(phase, layer, op));
}

// ---- sums ------------------------------------------------------------------------------------------------

static void add_kernel(struct activity_phase *p, const char *name, double ns)
{
    int at = 0;
    while (at < p->kernel_count && !str_equal(p->kernels[at].name, name))
        at++;
    if (at == ACTIVITY_KERNELS)
        return;
    if (at == p->kernel_count) {
        p->kernel_count++;
        p->kernels[at].name = name;
        p->kernels[at].ns = 0;
    }
    p->kernels[at].ns += ns;
}

static void add_layer(struct activity_phase *p, int layer, double ns)
{
    if (layer < 0 || layer >= ACTIVITY_LAYERS)
        return;
    p->layer_ns[layer] += ns;
    p->layers = layer < p->layers ? p->layers : layer + 1;
}

// The last work of a step: what follows it is not a gap within a step.
static bool ends_step(const struct device_activity *records, size_t count, size_t i)
{
    const uint32_t label = records[i].label;
    return op_of(label) == OPC_COUNT && (i + 1 == count || records[i + 1].label != label);
}

void instrument_activity_sum(const struct device_activity *records, size_t count,
                             struct activity_sums *out)
{
    uint64_t covered_ns = 0;         // until here some work ran
    enum phase within = PHASE_COUNT; // of a step that has begun and not ended
    *out = (struct activity_sums){0};
    for (size_t i = 0; i < count; i++) {
        const struct device_activity *r = &records[i];
        uint64_t from_ns = r->begin_ns > covered_ns ? r->begin_ns : covered_ns;
        double own_ns = r->end_ns > from_ns ? (double)(r->end_ns - from_ns) : 0;
        double gap_ns = r->begin_ns > covered_ns ? (double)(r->begin_ns - covered_ns) : 0;
        covered_ns = r->end_ns > covered_ns ? r->end_ns : covered_ns;
        if (r->label == 0) {
            out->unlabelled_ns += r->kind == DEVICE_KERNEL ? own_ns : 0;
            continue;
        }
        enum phase phase = phase_of(r->label);
        enum op_class op = op_of(r->label);
        struct activity_phase *p = &out->phase[phase];
        p->op_ns[op] += own_ns;
        p->busy_ns += own_ns;
        add_layer(p, layer_of(r->label), own_ns);
        p->gap_ns += within == phase ? gap_ns : 0;
        p->launches += r->kind == DEVICE_KERNEL;
        add_kernel(p, r->name, own_ns);
        within = ends_step(records, count, i) ? PHASE_COUNT : phase;
    }
}

void instrument_activity_trace(const struct device_activity *records, size_t count,
                               struct worker_trace *trace)
{
    if (trace)
        trace->source = METRIC_SOURCE_ACTIVITY;
    for (size_t i = 0; i < count; i++) {
        const struct device_activity *r = &records[i];
        struct trace_row row = {.phase = r->label ? phase_of(r->label) : PHASE_LOAD,
                                .layer = r->label ? layer_of(r->label) : -1,
                                .op = r->label ? (int)op_of(r->label) : OPC_COUNT,
                                .begin_ns = (int64_t)r->begin_ns,
                                .end_ns = (int64_t)r->end_ns};
        worker_trace_add(trace, &row, r->name);
    }
}

// ---- the repetitions -------------------------------------------------------------------------------------

static void phase_times(const struct subject *s, const struct repetition *r,
                        double out[PHASE_COUNT])
{
    out[PHASE_PREFILL] = r->prefill_ns;
    out[PHASE_DECODE] =
        s->cell->gen > 1
            ? (double)(worker_subject_last_ns(s, s->cell->gen - 1) - worker_subject_last_ns(s, 0)) /
                  (s->cell->gen - 1)
            : NAN;
}

// One repetition that the trace follows. A trace that fails is a reason.
static enum status run_traced(struct activity *a, struct subject *s, struct error *err)
{
    struct repetition repetition;
    const struct device_activity *records;
    size_t count;
    struct error failed = {0};
    if (device_trace_begin(a->device, &a->trace, &failed) != OK) {
        say_instead(a->reason, "%s", failed.message);
        return OK;
    }
    a->observer = (struct engine_observer){.on_enqueued = on_enqueued, .user = a};
    s->engine->observe(s->run, &a->observer);
    enum status status = measure_repetition(s, &(struct repetition_options){0}, &repetition, err);
    s->engine->observe(s->run, NULL);
    if (status == OK && device_trace_end(a->trace, &records, &count, &failed) == OK) {
        instrument_activity_sum(records, count, &a->sums);
        instrument_activity_trace(records, count, s->trace);
        phase_times(s, &repetition, a->traced_ns);
        a->measured = true;
    } else if (status == OK) {
        say_instead(a->reason, "%s", failed.message);
    }
    return status;
}

static enum status activity_run(void *state, struct subject *s, struct error *err)
{
    struct activity *a = state;
    struct repetition repetition;
    device_trace_destroy(a->trace); // of the cell before
    a->trace = NULL;
    a->measured = false;
    a->reason[0] = '\0';
    if (!s->engine->observe) {
        snprintf(a->reason, sizeof a->reason, "engine %s does not report its operations",
                 s->engine->name);
        return OK;
    }
    TRY(run_traced(a, s, err));
    if (!a->measured)
        return OK;
    TRY(measure_repetition(s, &(struct repetition_options){0}, &repetition, err));
    phase_times(s, &repetition, a->untraced_ns);
    return OK;
}

// ---- figures ---------------------------------------------------------------------------------------------

static int by_time(const void *a, const void *b)
{
    const struct activity_kernel *x = a, *y = b;
    return x->ns > y->ns ? -1 : x->ns < y->ns;
}

static void report_kernels(const struct activity_phase *sums, enum phase phase, double steps,
                           json_t *metrics)
{
    struct activity_kernel kernels[ACTIVITY_KERNELS];
    memcpy(kernels, sums->kernels, sizeof kernels);
    qsort(kernels, (size_t)sums->kernel_count, sizeof *kernels, by_time);
    for (int i = 0; i < sums->kernel_count && i < KERNELS_TOLD; i++)
        wire_metric(metrics, METRIC_KERNEL_TIME, kernels[i].ns / steps, phase_name(phase),
                    kernels[i].name, METRIC_SOURCE_ACTIVITY);
}

static void report_classes(const struct activity_phase *sums, enum phase phase, double steps,
                           json_t *metrics)
{
    char reason[INSTRUMENT_REASON_BYTES];
    if (sums->op_ns[OPC_COUNT] > sums->busy_ns / 2) {
        say_instead(reason,
                    "%s: %.0f %% of its time is in work of no single op class, as a step that is "
                    "one kernel",
                    phase_name(phase), 100 * sums->op_ns[OPC_COUNT] / sums->busy_ns);
        instrument_cannot(&instrument_activity, reason, metrics);
        return;
    }
    for (int op = 0; op <= OPC_COUNT; op++)
        if (sums->op_ns[op] > 0)
            wire_metric(metrics, METRIC_OP_TIME, sums->op_ns[op] / steps, phase_name(phase),
                        op < OPC_COUNT ? op_class_name((enum op_class)op) : METRIC_OP_END,
                        METRIC_SOURCE_ACTIVITY);
}

// A step that is one kernel has no layers.
static void report_layers(const struct activity_phase *sums, enum phase phase, double steps,
                          json_t *metrics)
{
    struct error unused = {0};
    char name[24];
    int most = 0;
    if (sums->layers == 0)
        return;
    for (int i = 1; i < sums->layers; i++)
        most = sums->layer_ns[i] > sums->layer_ns[most] ? i : most;
    snprintf(name, sizeof name, "layer %d", most);
    wire_metric(metrics, METRIC_LAYER_TIME,
                stat_median(sums->layer_ns, (size_t)sums->layers, &unused) / steps,
                phase_name(phase), NULL, METRIC_SOURCE_ACTIVITY);
    wire_metric(metrics, METRIC_LAYER_MOST, sums->layer_ns[most] / steps, phase_name(phase), name,
                METRIC_SOURCE_ACTIVITY);
}

void instrument_activity_phase(const struct activity_phase *sums, enum phase phase, double steps,
                               json_t *metrics)
{
    const char *name = phase_name(phase);
    if (sums->launches == 0)
        return;
    report_classes(sums, phase, steps, metrics);
    wire_metric(metrics, METRIC_BUSY, sums->busy_ns / steps, name, NULL, METRIC_SOURCE_ACTIVITY);
    wire_metric(metrics, METRIC_LAUNCH_GAPS, sums->gap_ns / steps, name, NULL,
                METRIC_SOURCE_ACTIVITY);
    wire_metric(metrics, METRIC_LAUNCHES, sums->launches / steps, name, NULL,
                METRIC_SOURCE_ACTIVITY);
    report_layers(sums, phase, steps, metrics);
    report_kernels(sums, phase, steps, metrics);
}

static void report_phase(const struct activity *a, const struct subject *s, enum phase phase,
                         json_t *metrics)
{
    const char *source = device_time_source(s->where);
    instrument_activity_phase(&a->sums.phase[phase], phase, instrument_steps(s, phase), metrics);
    wire_metric(metrics, METRIC_TRACED_TIME, a->traced_ns[phase], phase_name(phase), NULL, source);
    wire_metric(metrics, METRIC_UNTRACED_TIME, a->untraced_ns[phase], phase_name(phase), NULL,
                source);
}

static void activity_report(void *state, const struct subject *s, json_t *metrics)
{
    const struct activity *a = state;
    if (a->reason[0])
        instrument_cannot(&instrument_activity, a->reason, metrics);
    if (!a->measured)
        return;
    double all_ns = a->sums.unlabelled_ns;
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        all_ns += a->sums.phase[phase].busy_ns;
    if (a->sums.unlabelled_ns > unlabelled_most * all_ns) {
        char reason[INSTRUMENT_REASON_BYTES];
        say_instead(reason,
                    "%.0f %% of the kernels' time could not be matched to what the engine enqueued",
                    100 * a->sums.unlabelled_ns / all_ns);
        instrument_cannot(&instrument_activity, reason, metrics);
        return;
    }
    report_phase(a, s, PHASE_PREFILL, metrics);
    if (s->cell->gen > 1)
        report_phase(a, s, PHASE_DECODE, metrics);
}

// ---- the instrument --------------------------------------------------------------------------------------

static bool activity_open(struct device *device, void **state, char reason[INSTRUMENT_REASON_BYTES])
{
    struct error err = {0};
    struct activity *a = calloc(1, sizeof *a);
    if (!a)
        FAIL(&err, ERR_NOMEM, "out of memory");
    else
        device_trace_check(device, &err);
    if (err.code != OK) {
        say_instead(reason, "%s", err.message);
        free(a);
        return false;
    }
    a->device = device;
    *state = a;
    return true;
}

static void activity_close(void *state)
{
    struct activity *a = state;
    if (a)
        device_trace_destroy(a->trace);
    free(a);
}

const struct instrument instrument_activity = {
    .name = "activity",
    .collect = COLLECT_ACTIVITY,
    .inside = true,
    .open = activity_open,
    .run = activity_run,
    .report = activity_report,
    .close = activity_close,
};
