// count_device.h - the counters of a device that has its own, for the instrument counters.
#ifndef BENCH_WORKER_COUNT_DEVICE_H
#define BENCH_WORKER_COUNT_DEVICE_H

#include "bench/worker/instruments.h"

// Figures of one cell. Zeroed: nothing is counted.
struct device_tally {
    struct device *device;                   // borrowed; NULL: the device has no counters
    struct device_counts phase[PHASE_COUNT]; // whole phases
    bool counted[PHASE_COUNT];
    const char *source;                   // static
    char reason[INSTRUMENT_REASON_BYTES]; // what was not counted, and why; ""
};

// Finds out whether the device has counters. Returns whether it has. reason: is extended by why it has not.
bool count_device_open(struct device_tally *tally, struct device *device,
                       char reason[INSTRUMENT_REASON_BYTES]);
// Runs each phase of the cell as often as the counters need. A device that refuses is a reason, not an error.
enum status count_device_run(struct device_tally *tally, struct subject *s, struct error *err);
// Appends what was counted: amounts of a decode a step.
void count_device_report(const struct device_tally *tally, const struct subject *s,
                         json_t *metrics);

#endif
