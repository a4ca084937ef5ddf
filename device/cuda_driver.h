// cuda_driver.h - the driver below cuda.c, found at run time. For device/cuda*.c only.
#ifndef DEVICE_CUDA_DRIVER_H
#define DEVICE_CUDA_DRIVER_H

#include "device/cuda.h"
#include "device/cuda_profiler.h"
#include "device/ops.h"

// Results of the driver that this code interprets.
enum {
    CUDA_OUT_OF_MEMORY = 2,
    CUDA_NO_DEVICE = 100,
    CUDA_NOT_READY = 600,
};
// Attributes that this code queries.
enum {
    CUDA_CLOCK_KHZ = 13,
    CUDA_MULTIPROCESSORS = 16,
    CUDA_MEMORY_CLOCK_KHZ = 36,
    CUDA_MEMORY_BUS_BITS = 37,
    CUDA_L2_BYTES = 38,
    CUDA_CAPABILITY_MAJOR = 75,
    CUDA_CAPABILITY_MINOR = 76,
    CUDA_PCI_BUS = 33,
    CUDA_PCI_DEVICE = 34,
    CUDA_PCI_DOMAIN = 50,
};

// A function of a library, and its offset in a table of functions.
struct cuda_symbol {
    const char *name;
    size_t offset;
};
// Opens a library and fills `table` with its functions (cuda_library.c). Returns false if the library is not found
// (*missing is NULL) or lacks the function *missing. The table must not be used then.
bool cuda_library_open(const char *file, const struct cuda_symbol *symbols, size_t count,
                       void *table, const char **missing);

// A library that may lie in several files, and how the reason for its absence names it.
struct cuda_library {
    const char *name;
    const char *const *files; // the best first
    size_t file_count;
    const char *remedy; // "install .."
};
// Fills `table` from the first file that has all functions. Returns false with the reason if none has.
bool cuda_library_open_first(const struct cuda_library *library, const struct cuda_symbol *symbols,
                             size_t count, void *table, char *reason, size_t reason_bytes);

// The initialised driver. NULL, with the reason as text, if it cannot be used.
const struct cuda_driver *cuda_driver_get(char *reason, size_t reason_bytes);

// The driver's own text for a result; never NULL.
const char *cuda_driver_text(const struct cuda_driver *driver, cuda_result result);

// ---- an opened device ----------------------------------------------------------------------------------

struct cuda_device {
    struct device device;
    const struct cuda_driver *driver;
    int ordinal;
    void *context, *stream; // the stream for readings of the clock
    void *module, *read_clock;
    uint64_t *clock; // pinned: the last reading, and two for a probe
    void *probes;    // the module of cuda_probe.c; NULL until one runs
    void *wgmma;     // the module of cuda_wgmma.c, on chips with wgmma; NULL until a probe runs
    void *nvml;      // its handle in NVML; NULL: not looked up yet, or unknown there
    cuda_address probe_memory;
    size_t probe_bytes;
    struct cuda_blas *blas; // NULL until a probe of cuda_blas.c runs
    bool counters_tested;   // by known work, and
    unsigned counters_miss; // the rows of cuda_counters.c that missed it
};
struct cuda_device *cuda_of(const struct device *device);
// Makes its context current in the calling thread.
const struct cuda_driver *cuda_enter(const struct cuda_device *cuda);
// An error with the driver's text: ERR_NOMEM if memory is exhausted, else ERR_IO.
enum status cuda_check(const struct cuda_device *cuda, cuda_result result, const char *what,
                       struct error *err);
// Enqueues a reading: *out (pinned) = its counter once all earlier work on the clock's stream is done.
enum status cuda_clock_read(struct cuda_device *cuda, uint64_t *out, struct error *err);

// NVIDIA's management library, opened at run time (cuda_nvml.c). A result of 0 is success. Names are those of the
// library without "nvml" and "nvmlDevice". Source: NVML API reference, 12.
struct cuda_nvml {
    int (*Init)(void);
    const char *(*ErrorString)(int result);
    int (*HandleByPciBusId)(const char *bus_id, void **out);
    int (*ClockInfo)(void *gpu, int clock, unsigned *mhz);
    int (*PowerUsage)(void *gpu, unsigned *milliwatts);
    int (*Temperature)(void *gpu, int sensor, unsigned *celsius);
    int (*ThrottleReasons)(void *gpu, unsigned long long *mask);
    int (*TotalEnergy)(void *gpu, unsigned long long *millijoules);
};
// Tests only: replaces the system's library with a scripted one; NULL restores it. Not while a device is open.
void cuda_nvml_use(const struct cuda_nvml *library);

// Clocks, power and temperature; NaN if the library is missing.
struct device_vitals cuda_vitals(struct device *device);
enum status cuda_energy(struct device *device, struct device_energy *out, struct error *err);

// CUPTI, opened at run time (cuda_cupti.c). Results: 0 is success. Names are the library's without cupti.
// Source: CUPTI API reference, 13.
struct cuda_cupti {
    int (*GetResultString)(int result, const char **text);
    int (*Subscribe)(void **subscriber,
                     void (*callback)(void *user, int domain, uint32_t id, const void *data),
                     void *user);
    int (*Unsubscribe)(void *subscriber);
    int (*EnableCallback)(uint32_t enable, void *subscriber, int domain, uint32_t id);
    int (*GetGraphNodeId)(void *node, uint64_t *id);
    int (*ActivityRegisterCallbacks)(void (*requested)(uint8_t **buffer, size_t *bytes,
                                                       size_t *records),
                                     void (*completed)(void *context, uint32_t stream,
                                                       uint8_t *buffer, size_t bytes,
                                                       size_t valid_bytes));
    int (*ActivityEnable)(int kind);
    int (*ActivityDisable)(int kind);
    int (*ActivityFlushAll)(uint32_t flags);
    int (*ActivityGetNextRecord)(uint8_t *buffer, size_t valid_bytes, void **record);
    int (*ActivityGetNumDroppedRecords)(void *context, uint32_t stream, size_t *dropped);
    int (*ActivityPushExternalCorrelationId)(int kind, uint64_t id);
    int (*ActivityPopExternalCorrelationId)(int kind, uint64_t *last);
    int (*Finalize)(void);
};
// Tests only: replaces the system's library with a scripted one; NULL restores it. Not while a trace runs.
void cuda_cupti_use(const struct cuda_cupti *library);
// The library. NULL, with the reason as text, if it cannot be used.
const struct cuda_cupti *cuda_cupti_get(char *reason, size_t reason_bytes);
// The text of a result, with the remedy if permission was refused.
void cuda_cupti_explain(const struct cuda_cupti *cupti, int result, char *out, size_t bytes);

// Tests only: the same for the functions of cuda_profiler.h.
void cuda_profiler_use(const struct cuda_profiler *library);
// The library's profiler; NULL with the reason.
const struct cuda_profiler *cuda_profiler_get(char *reason, size_t reason_bytes);

// The activity trace (cuda_trace.c).
enum status cuda_trace_check(struct device *device, struct error *err);
enum status cuda_trace_begin(struct device *device, struct device_trace **out, struct error *err);
void cuda_trace_mark(struct device_trace *trace, uint32_t label);
enum status cuda_trace_end(struct device_trace *trace, const struct device_activity **out,
                           size_t *count, struct error *err);
void cuda_trace_destroy(struct device_trace *trace);

// Counters of the hardware (cuda_counters.c).
enum status cuda_counters_check(struct device *device, struct error *err);
enum status cuda_counters_open(struct device *device, struct device_counters **out,
                               struct error *err);
const char *cuda_counters_reason(const struct device_counters *counters);
enum status cuda_counters_begin(struct device_counters *counters, struct error *err);
enum status cuda_counters_end(struct device_counters *counters, bool *again, struct error *err);
void cuda_counters_read(const struct device_counters *counters, struct device_counts *out);
void cuda_counters_close(struct device_counters *counters);

// The text of a PTX module with one kernel per datapath of wgmma: "probe_wgmma_bf16" and so on (cuda_wgmma.c). The
// caller owns it; NULL: out of memory.
char *cuda_wgmma_ptx(void);
// Threads per block, and rounds of each warpgroup.
enum { CUDA_WGMMA_THREADS = 256, CUDA_WGMMA_ROUNDS = 4096 };

// One sample of a product by cuBLASLt (cuda_blas.c), in operations/s. Memory and handle are kept until fini.
// Errors: ERR_UNSUPPORTED if the library is not found or refuses the product; else as cuda_check.
enum cuda_blas_type {
    CUDA_BLAS_BF16,
    CUDA_BLAS_FP8,
    CUDA_BLAS_INT8,
    CUDA_BLAS_TF32,
    CUDA_BLAS_TYPES
};
enum status cuda_blas_run(struct cuda_device *cuda, enum cuda_blas_type type, double *rate,
                          struct error *err);
void cuda_blas_fini(struct cuda_device *cuda);

// Ceilings that the device measures on itself (cuda_probe.c).
// Fills memory with random operands. As bf16 and tf32 their magnitudes are between 2^-7 and 2^1. Each word is limited
// to the bits of `mask`.
enum status cuda_probe_fill(struct cuda_device *cuda, cuda_address to, size_t bytes, uint32_t mask,
                            struct error *err);
size_t cuda_probes(const struct device *device, struct device_probe *out, size_t max);
enum status cuda_probe_run(struct device *device, size_t index, double *value, bool *disturbed,
                           struct error *err);
// Launches the kernel of a probe once and waits. *work: its bytes, of all arrays, or operations. Errors:
// ERR_UNSUPPORTED for a probe that this chip does not have; else as cuda_probe_run.
enum status cuda_probe_once(struct cuda_device *cuda, const char *name, const char *level,
                            double *work, struct error *err);
void cuda_probes_fini(struct cuda_device *cuda);

#endif
