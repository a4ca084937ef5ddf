// count_device.c - what a device's own counters say of a cell's phases.
//
// Few counters fit at once, so each phase runs once for every pass that the device asks for: the prompt of empty
// sequences, or the decode from the prompt's end. The counters are closed after each cell, so that the times of the
// next are not those of a counted device.
#include "bench/worker/count_device.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "results/metric.h"

struct counting {
    struct device_counters *counters;
    struct device_tally *tally;
    enum phase phase;
};

bool count_device_open(struct device_tally *t, struct device *device,
                       char reason[INSTRUMENT_REASON_BYTES])
{
    struct error absent = {0};
    *t = (struct device_tally){0};
    if (device_counters_check(device, &absent) == OK) {
        t->device = device;
        return true;
    }
    size_t used = strlen(reason);
    snprintf(reason + used, INSTRUMENT_REASON_BYTES - used, "%s" METRIC_NO_DRAM "%s",
             used ? "; " : "", absent.message);
    return false;
}

// Keeps the reason of a failure. Nothing more is counted of this phase.
static void keep_reason(struct device_tally *t, const struct error *failed)
{
    snprintf(t->reason, sizeof t->reason, "%s", failed->message);
}

// The first run of the phase is not counted: caches are as after a run then.
static enum status count_pass(void *user, int done, bool *go_on, struct error *err)
{
    struct counting *c = user;
    struct error failed = {0};
    bool again = true;
    (void)err;
    *go_on = false;
    if (done > 1 && device_counters_end(c->counters, &again, &failed) != OK) {
        keep_reason(c->tally, &failed);
        return OK;
    }
    if (!again) {
        device_counters_read(c->counters, &c->tally->phase[c->phase]);
        c->tally->counted[c->phase] = true;
        return OK;
    }
    *go_on = device_counters_begin(c->counters, &failed) == OK;
    if (!*go_on)
        keep_reason(c->tally, &failed);
    return OK;
}

static enum status count_phase(struct device_tally *t, struct device_counters *counters,
                               struct subject *s, enum phase phase, struct error *err)
{
    struct counting c = {.counters = counters, .tally = t, .phase = phase};
    return measure_phase(s, phase, count_pass, &c, err);
}

enum status count_device_run(struct device_tally *t, struct subject *s, struct error *err)
{
    struct device_counters *counters = NULL;
    struct error failed = {0};
    t->counted[PHASE_PREFILL] = t->counted[PHASE_DECODE] = false;
    t->reason[0] = '\0';
    if (device_counters_open(t->device, &counters, &failed) != OK) {
        keep_reason(t, &failed);
        return OK;
    }
    t->source = device_counters_source(counters);
    snprintf(t->reason, sizeof t->reason, "%s", device_counters_reason(counters));
    enum status status = count_phase(t, counters, s, PHASE_PREFILL, err);
    if (status == OK && s->cell->gen > 1 && t->counted[PHASE_PREFILL])
        status = count_phase(t, counters, s, PHASE_DECODE, err);
    device_counters_close(counters);
    return status;
}

// ---- figures ---------------------------------------------------------------------------------------------

static const struct {
    enum device_quantity quantity;
    const char *name;
    bool share; // else an amount, which steps divide
} figures[] = {
    {DEVICE_MEMORY_READ, METRIC_DRAM_READ, false},
    {DEVICE_MEMORY_WRITTEN, METRIC_DRAM_WRITTEN, false},
    {DEVICE_MEMORY_SHARE, METRIC_DRAM_SHARE, true},
    {DEVICE_CACHE_BYTES, METRIC_L2_BYTES, false},
    {DEVICE_CACHE_HITS, METRIC_L2_HITS, true},
    {DEVICE_MATRIX_OPS, METRIC_TENSOR_OPS, false},
    {DEVICE_MATRIX_INSTRUCTIONS, METRIC_TENSOR_INSTRUCTIONS, false},
    {DEVICE_MATRIX_CYCLES, METRIC_TENSOR_CYCLES, false},
    {DEVICE_MATRIX_SHARE, METRIC_TENSOR_SHARE, true},
    {DEVICE_ISSUE_SHARE, METRIC_ISSUE_SHARE, true},
};
_Static_assert(sizeof figures / sizeof *figures == DEVICE_QUANTITIES, "a name for each");

static double report_phase(const struct device_tally *t, const struct subject *s, enum phase phase,
                           json_t *metrics)
{
    const double *value = t->phase[phase].value, steps = instrument_steps(s, phase);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        double counted = value[figures[i].quantity];
        if (!isnan(counted))
            wire_metric(metrics, figures[i].name, figures[i].share ? counted : counted / steps,
                        phase_name(phase), NULL, t->source);
    }
    return value[DEVICE_MEMORY_READ] + value[DEVICE_MEMORY_WRITTEN];
}

void count_device_report(const struct device_tally *t, const struct subject *s, json_t *metrics)
{
    bool memory = false;
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        if (t->counted[phase])
            memory |= !isnan(report_phase(t, s, (enum phase)phase, metrics));
    if (!t->reason[0])
        return;
    char reason[sizeof METRIC_NO_DRAM + INSTRUMENT_REASON_BYTES];
    snprintf(reason, sizeof reason, "%s%s", memory ? "" : METRIC_NO_DRAM, t->reason);
    instrument_cannot(&instrument_counters, reason, metrics);
}
