// instrument_activity.h - the figures of a trace, for instrument_activity.c and tests.
#ifndef BENCH_WORKER_INSTRUMENT_ACTIVITY_H
#define BENCH_WORKER_INSTRUMENT_ACTIVITY_H

#include "bench/worker/instruments.h"

enum { ACTIVITY_KERNELS = 64, ACTIVITY_LAYERS = 256 };

struct activity_kernel {
    const char *name; // borrowed from the records
    double ns;
};

// The sums of one phase, over all of its steps.
struct activity_phase {
    // Time in which work of this class ran and no earlier work was still running. The classes add up to busy_ns. The
    // last one is work of no class: sampling, the end of a step, and a step that is one kernel.
    double op_ns[OPC_COUNT + 1];
    double busy_ns, gap_ns;
    double layer_ns
        [ACTIVITY_LAYERS]; // part of busy_ns, by layer. Layers beyond the array's size are dropped.
    int layers;            // the highest with work, plus 1
    int launches;
    // Unordered. Kernels beyond the array's size are dropped.
    struct activity_kernel kernels[ACTIVITY_KERNELS];
    int kernel_count;
};

struct activity_sums {
    struct activity_phase phase[PHASE_COUNT];
    double unlabelled_ns; // of kernels that belong to no phase
};

uint32_t instrument_activity_label(enum phase phase, int layer, enum op_class op);
// records: in order of their start.
void instrument_activity_sum(const struct device_activity *records, size_t count,
                             struct activity_sums *out);
// The same records as rows of a trace; NULL: no trace was asked for.
void instrument_activity_trace(const struct device_activity *records, size_t count,
                               struct worker_trace *trace);
// Figures of a phase, divided by its steps. If most of the time belongs to no op class, the classes are omitted and the
// reason is stored.
void instrument_activity_phase(const struct activity_phase *sums, enum phase phase, double steps,
                               json_t *metrics);

#endif
