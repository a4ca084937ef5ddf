// count_device.c - what a device's own counters say of a cell's phases.
//
// Few counters fit at once, so each phase runs once for every pass that the device asks for: the prompt of empty
// sequences, or the decode from the prompt's end. The counters are closed after each cell, so that the times of the
// next are not those of a counted device.
#include "bench/worker/count_device.h"

#include <math.h>
#include <stdio.h>

#include "results/metric.h"

struct counting {
    struct device_counters *counters;
    struct device_tally *tally;
    enum phase phase;
};

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

enum status instrument_count_device(struct device_tally *t, struct subject *s, struct error *err)
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

void instrument_report_device(const struct device_tally *t, const struct subject *s,
                              json_t *metrics)
{
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        if (!t->counted[phase])
            continue;
        double steps = instrument_steps(s, (enum phase)phase);
        for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
            double value = t->phase[phase].value[figures[i].quantity];
            if (!isnan(value))
                wire_metric(metrics, figures[i].name, figures[i].share ? value : value / steps,
                            phase_name((enum phase)phase), NULL, t->source);
        }
    }
    if (t->reason[0])
        instrument_cannot(&instrument_counters, t->reason, metrics);
}
