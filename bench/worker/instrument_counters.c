// instrument_counters.c - counts events of the processor and the system, and bytes and operations of the cell's device.
//
// Two sources store the same metrics: count_host.c counts on the host, count_device.c on a device with counters of its
// own. Each runs repetitions of its own.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/worker/count_device.h"
#include "bench/worker/count_host.h"

struct counted {
    struct host_tally host;
    struct device_tally device;
    bool on_host; // the host counts something
};

static void counted_close(void *state)
{
    struct counted *c = state;
    if (c)
        count_host_close(&c->host);
    free(c);
}

// The host's memory controllers do not count a GPU's memory.
static bool counted_open(struct device *device, void **state, char reason[INSTRUMENT_REASON_BYTES])
{
    struct counted *c = calloc(1, sizeof *c);
    bool on_host = device_info(device)->kind == DEVICE_HOST;
    *state = c;
    if (!c) {
        snprintf(reason, INSTRUMENT_REASON_BYTES, "out of memory");
        return false;
    }
    c->on_host = count_host_open(&c->host, on_host, reason);
    bool on_device = !on_host && count_device_open(&c->device, device, reason);
    return c->on_host || on_device;
}

static enum status counted_run(void *state, struct subject *s, struct error *err)
{
    struct counted *c = state;
    if (c->on_host)
        TRY(count_host_run(&c->host, s, err));
    return c->device.device ? count_device_run(&c->device, s, err) : OK;
}

static void counted_report(void *state, const struct subject *s, json_t *metrics)
{
    const struct counted *c = state;
    if (c->on_host)
        count_host_report(&c->host, s, metrics);
    if (c->device.device)
        count_device_report(&c->device, s, metrics);
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
