// instrument_memory.c - measures the peak of resident memory during a repetition.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"
#include "bench/worker/instruments.h"
#include "results/metric.h"

struct peak {
    bool own;      // reset before the repetition; else since the start of the process
    int64_t bytes; // OS_UNKNOWN: the system does not report it
};

static bool memory_open(struct device *device, void **state, char reason[INSTRUMENT_REASON_BYTES])
{
    (void)device;
    *state = calloc(1, sizeof(struct peak));
    if (!*state)
        snprintf(reason, INSTRUMENT_REASON_BYTES, "out of memory");
    return *state != NULL;
}

static void memory_begin(void *state, struct subject *s, enum phase phase)
{
    struct peak *peak = state;
    (void)s;
    if (phase == PHASE_PREFILL)
        *peak = (struct peak){.own = os_rss_peak_reset(), .bytes = OS_UNKNOWN};
}

static void memory_end(void *state, struct subject *s, enum phase phase)
{
    struct peak *peak = state;
    (void)s;
    (void)phase;
    peak->bytes = os_rss_peak_bytes(); // of both phases: the mark is not reset between them
}

static void memory_report(void *state, const struct subject *s, json_t *metrics)
{
    const struct peak *peak = state;
    (void)s;
    if (peak->bytes == OS_UNKNOWN)
        instrument_cannot(&instrument_memory, "the system does not report resident memory",
                          metrics);
    wire_metric(metrics, METRIC_PEAK_MEM, peak->bytes == OS_UNKNOWN ? NAN : (double)peak->bytes,
                NULL, NULL, peak->own ? "os" : "os, since the process began");
}

const struct instrument instrument_memory = {
    .name = "memory",
    .collect = COLLECT_MEMORY,
    .inside = true,
    .open = memory_open,
    .begin = memory_begin,
    .end = memory_end,
    .report = memory_report,
    .close = free,
};
