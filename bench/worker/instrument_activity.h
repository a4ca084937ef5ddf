// instrument_activity.h - the figures of a trace, for instrument_activity.c and tests.
#ifndef BENCH_WORKER_INSTRUMENT_ACTIVITY_H
#define BENCH_WORKER_INSTRUMENT_ACTIVITY_H

#include "bench/worker/instruments.h"

enum { ACTIVITY_KERNELS = 64 };

struct activity_kernel {
    const char *name; // borrowed from the records
    double ns;
};

// Of one phase, all of its steps.
struct activity_phase {
    // Time in which the device worked and no earlier work still did: the classes add up to busy_ns. The last one is of
    // no class: sampling and the end of a step, and a step that is one kernel.
    double op_ns[OPC_COUNT + 1];
    double busy_ns, gap_ns;
    int launches;
    struct activity_kernel kernels[ACTIVITY_KERNELS]; // in no order; what has no place is not there
    int kernel_count;
};

struct activity_sums {
    struct activity_phase phase[PHASE_COUNT];
    double unlabelled_ns; // of kernels that belong to no phase
};

uint32_t instrument_activity_label(enum phase phase, int layer, enum op_class op);
// records: by their begin.
void instrument_activity_sum(const struct device_activity *records, size_t count,
                             struct activity_sums *out);
// Figures of a phase, divided by its steps. The classes are left out, with the reason, where most of the time has none.
void instrument_activity_phase(const struct activity_phase *sums, enum phase phase, double steps,
                               json_t *metrics);

#endif
