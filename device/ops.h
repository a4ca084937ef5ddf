// ops.h - the functions that each kind of device implements: the seam between device.c and the kinds (host.c, cuda.c).
//
// For the files of device/ only, and for tests with a fake device. A kind is one const table in its own files, listed
// in devices.c. Its struct begins with struct device, which device.c fills in after open. The comment of each member
// says what NULL means.
#ifndef DEVICE_OPS_H
#define DEVICE_OPS_H

#include "device/device.h"

struct device_ops {
    // Writes one row per device found. A kind without a device writes one row that is not available. Sets all members
    // except `kind`.
    size_t (*list)(struct device_info *out, size_t max);

    // info: an available row of `list`, with `isa` limited by the options. On OK *out is a new struct of the kind, and
    // open may complete (*out)->info (cache_bytes, units). The caller sets ops.
    enum status (*open)(const struct device_info *info, const struct device_options *options,
                        struct device **out, struct error *err);
    void (*close)(struct device *device);

    struct pool *(*pool)(const struct device *device);           // NULL: it has none
    uint64_t (*now_ns)(struct device *device);                   // NULL: clock_ns()
    struct device_clock_tie (*clock_tie)(struct device *device); // NULL: 0 and 0
    uint64_t (*wait_ns)(const struct device *device);            // NULL: not measured

    struct device_memory (*memory)(const struct device *device);
    void *(*alloc)(struct device *device, size_t bytes);
    void (*free)(struct device *device, void *memory);
    enum status (*copy_in)(struct device *device, void *to, const void *from, size_t bytes,
                           struct error *err);
    enum status (*copy_out)(struct device *device, void *to, const void *from, size_t bytes,
                            struct error *err);

    // A queue's struct begins with struct device_queue, whose members the caller sets.
    enum status (*queue_create)(struct device *device, struct device_queue **out,
                                struct error *err);
    void (*queue_destroy)(struct device_queue *queue);
    enum status (*queue_wait)(struct device_queue *queue, struct error *err); // NULL: always done
    void *(*queue_native)(const struct device_queue *queue);
    // The static text of a code that a launch returned, and whether it means exhausted memory.
    const char *(*failure)(int code);
    bool (*no_memory)(int code);

    struct device_vitals (*vitals)(struct device *device); // NULL: nothing is measured
    // NULL: this kind has no counter.
    enum status (*energy)(struct device *device, struct device_energy *out, struct error *err);
    // A trace's struct begins with struct device_trace, whose members are set by the caller. All five members are NULL
    // if this kind cannot be traced.
    enum status (*trace_check)(struct device *device, struct error *err);
    enum status (*trace_begin)(struct device *device, struct device_trace **out, struct error *err);
    void (*trace_mark)(struct device_trace *trace, uint32_t label);
    enum status (*trace_end)(struct device_trace *trace, const struct device_activity **out,
                             size_t *count, struct error *err);
    void (*trace_destroy)(struct device_trace *trace);
    // Counters' struct begins with struct device_counters, whose members are set by the caller. NULL: it has none.
    enum status (*counters_check)(struct device *device, struct error *err);
    enum status (*counters_open)(struct device *device, struct device_counters **out,
                                 struct error *err);
    const char *(*counters_reason)(const struct device_counters *counters);
    const char *counters_source;
    enum status (*counters_begin)(struct device_counters *counters, struct error *err);
    enum status (*counters_end)(struct device_counters *counters, bool *again, struct error *err);
    void (*counters_read)(const struct device_counters *counters, struct device_counts *out);
    void (*counters_close)(struct device_counters *counters);
    size_t (*probes)(const struct device *device, struct device_probe *out,
                     size_t max); // NULL: no probes
    enum status (*probe_run)(struct device *device, size_t index, double *value, bool *disturbed,
                             struct error *err);
};

// The struct of every kind begins with this one.
struct device {
    const struct device_ops *ops;
    struct device_info info;
};

struct device_queue {
    const struct device_ops *ops;
    struct device *device;
};

struct device_trace {
    const struct device_ops *ops;
};

struct device_counters {
    const struct device_ops *ops;
};

// A row of the only list of device words (devices.c).
struct device_row {
    enum device_kind kind;
    const char *word;             // "cpu", "cuda", "metal"
    bool numbered;                // devices are named "word:N"
    const struct device_ops *ops; // NULL: not in this build,
    const char *absent;           // for this reason
};
const struct device_row *device_rows(size_t *count);

extern const struct device_ops device_host_ops, cuda_device_ops;

#endif
