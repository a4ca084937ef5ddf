// device.h - a place that computes: what it is, its memory, its queue, its clock and its vital signs.
//
// Kernels, engine and bench take a device and query it. Code that measures asks at most whether the device is the host.
// Each kind implements this header (host.c, cuda.c) as a table of functions (ops.h). devices.c has the only list of
// device words, including those of kinds that are not in this build.
//
// Life: device_list (what exists) -> device_open -> memory and queues, or its pool -> device_close. An opened device is
// used by one thread at a time and must outlive everything created on it.
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/status.h"
#include "device/isa.h"

// The device to use when none is named.
#define DEVICE_DEFAULT "cpu"

// ---- listing -----------------------------------------------------------------------------------

// Where code runs, and the tiers it may use there. All planning (schemes, memory, kernels) takes a target, so that a
// cell is planned for its own device and never with the instruction sets of the host.
struct device_target {
    enum device_kind where;
    unsigned isa; // mask of enum device_isa
};

enum { DEVICES_MAX = 32, DEVICE_NAME_BYTES = 32 };

struct device_info {
    char name[DEVICE_NAME_BYTES]; // "cpu", "cuda:0", "metal"
    enum device_kind kind;
    char description[128]; // for people: "NVIDIA H100 80GB HBM3, sm_90, driver 570.86"
    bool available;
    char reason[192];      // why it is not available; empty when it is
    unsigned isa;          // its tiers; for an opened device: those that may be used
    uint64_t memory_bytes; // in total; 0: unknown
    size_t cache_bytes;    // last level, as far as the opened device can use it; 0: unknown
    int units;             // workers of a job: threads of the opened host, SMs of a GPU; 0: unknown
    // Rates promised by the vendor, for plans made before anything is measured. 0: unknown, as for the host.
    double clock_hz, memory_bytes_per_s;
};

// Lists every device word of this build with what is known about the device, available or not. Each kind has at least
// one row, so that a request for an absent device is recorded with a reason. Returns the number of rows written. Cost:
// queries the driver of each GPU kind in the build; opens no device.
size_t device_list(struct device_info *out, size_t max);

// Finds the row of a word: "cpu", "cuda:1", or a kind ("cuda": its first device). For a known word without a row
// ("cuda:7") it returns an unavailable device with the reason. Errors: ERR_USAGE for an unknown word; the message names
// the nearest known word.
enum status device_find(const char *word, struct device_info *out, struct error *err);

// Whether the word names a device, available or not: "cpu", "cuda", "cuda:3".
bool device_word_known(const char *word);
// The kind of a known word; DEVICE_KINDS for another.
enum device_kind device_word_kind(const char *word);
// Whether `word` names `device` ("cuda:1") exactly ("cuda:1") or by its kind ("cuda").
bool device_word_matches(const char *device, const char *word);
// The words of the kinds, for suggestions: "cpu", "cuda", "metal". Static memory. Returns their number.
size_t device_words(const char *const **out);

// What plans need of a row of device_list.
struct device_target device_info_target(const struct device_info *info);

// ---- an opened device --------------------------------------------------------------------------------

struct device;

struct device_options {
    int threads;  // host: as for pool_create; others ignore it
    bool pin;     // host: as pool_create
    unsigned isa; // most tiers that may be used; ISA_ALL: no limit. 0: portable C on the host
};

// The caller owns the device. name: as for device_find. Errors: ERR_USAGE for an unknown word or too many threads;
// ERR_UNSUPPORTED, with the reason, for a device that is not available; ERR_NOMEM; ERR_IO.
enum status device_open(const char *name, const struct device_options *options, struct device **out,
                        struct error *err);
void device_close(struct device *device); // NULL: nothing is done

// Borrowed until the device is closed. The tiers of both are cut down to those of the options.
const struct device_info *device_info(const struct device *device);
struct device_target device_target(const struct device *device);
// The threads that run its kernels, borrowed. NULL if kernels do not run on threads of this process.
struct pool *device_pool(const struct device *device);

// ---- clock and waits ---------------------------------------------------------------------------------

// The source of times on the clock of such a device, as stored with every figure: "host clock" for the host, "device
// event" for others.
const char *device_time_source(enum device_kind kind);

// The current time on the device's own clock, in ns. Times of steps use this clock. Host: clock_ns(). It never goes
// back.
uint64_t device_now_ns(struct device *device);
// How far the device's clock is ahead of clock_ns() now, and the error of that. Host: 0 and 0.
struct device_clock_tie {
    int64_t ahead_ns;
    uint64_t uncertain_ns;
};
struct device_clock_tie device_clock_tie(struct device *device);

// The time that the device has been blocked since it was opened, in ns. The bound rule calls it waits. Callers take
// differences. Host: the calling thread's waits in the pool. DEVICE_WAIT_UNKNOWN: this kind does not measure it (CUDA,
// so far).
#define DEVICE_WAIT_UNKNOWN UINT64_MAX
uint64_t device_wait_ns(const struct device *device);

// ---- memory --------------------------------------------------------------------------------------------

struct device_memory {
    uint64_t total_bytes, available_bytes; // 0: unknown
};
// Current memory. Cost: one query of the driver or system.
struct device_memory device_memory(const struct device *device);

// Memory aligned to at least 256 bytes, with undefined contents; NULL when memory is exhausted. Host: on huge pages
// where the system provides them, untouched. Free it before the device is closed; free accepts NULL.
void *device_alloc(struct device *device, size_t bytes);
void device_free(struct device *device, void *memory);
// Copies between host and device memory; returns when the bytes have arrived. Errors: ERR_IO if the device has failed;
// every later call then fails as well.
enum status device_copy_in(struct device *device, void *to, const void *from, size_t bytes,
                           struct error *err);
enum status device_copy_out(struct device *device, void *to, const void *from, size_t bytes,
                            struct error *err);

// ---- queues ----------------------------------------------------------------------------------------------

// Work in a queue runs in the order of submission. Host: submit runs the job before it returns.
struct device_queue;

// Enqueues one piece of work and returns at once. native: the pool of the host, or the stream (cudaStream_t) of a CUDA
// device. Returns 0 if the work was enqueued, else the device's own error code.
typedef int device_launch(void *native, void *arg);

// The caller destroys the queue before the device is closed. Errors: ERR_NOMEM, ERR_IO.
enum status device_queue_create(struct device *device, struct device_queue **out,
                                struct error *err);
void device_queue_destroy(struct device_queue *queue); // waits first; NULL: nothing is done
// Tests only; the backends launch on device_queue_native.
enum status device_queue_submit(struct device_queue *queue, device_launch *launch, void *arg,
                                struct error *err);
// Sets the error of a launch that returned this code: ERR_NOMEM if the code means exhausted memory, else ERR_IO. text:
// the launcher's description; NULL: the device's own. Never returns OK.
enum status device_launch_failed(const struct device *device, int code, const char *text,
                                 struct error *err);
// Returns when all submitted work is done. Errors: ERR_NOMEM, ERR_IO with the device's description of the first
// failure.
enum status device_queue_wait(struct device_queue *queue, struct error *err);
// For a backend of the device's kind: the `native` that a launch receives.
void *device_queue_native(const struct device_queue *queue);

// ---- vital signs -----------------------------------------------------------------------------------------

// Why a device runs slower than it could.
enum device_hold {
    DEVICE_HOLD_NONE,     // it does not, or it is not known
    DEVICE_HOLD_POWER,    // its power limit, as a card under full load often has
    DEVICE_HOLD_HARDWARE, // a protection of the board that names no cause
    DEVICE_HOLD_BRAKE,    // the power supply requested it
    DEVICE_HOLD_THERMAL,  // its temperature
    DEVICE_HOLDS
};
struct device_vitals {
    double clock_hz, memory_clock_hz, power_w, temperature_c; // NaN: not measured
    enum device_hold hold;
};
// Cost: below a millisecond. Never called inside a timeline.
struct device_vitals device_vitals(struct device *device);

// ---- energy ------------------------------------------------------------------------------------------------

struct device_energy {
    double joules;      // since a moment in the past: callers take differences
    uint64_t update_ns; // interval of the counter's updates; a window must be many times longer
    char source[64];    // "NVML energy counter", "RAPL: package-0, dram"
};
// The energy used by the whole device, including other programs. Host: the processor's packages and their memory.
// Errors: ERR_UNSUPPORTED if there is no counter, with the reason and the remedy. Cost: below a millisecond.
enum status device_energy(struct device *device, struct device_energy *out, struct error *err);

// ---- trace -------------------------------------------------------------------------------------------------

enum device_activity_kind { DEVICE_KERNEL, DEVICE_COPY, DEVICE_SET };
// One piece of work of the device, with its start and end on the tracer's clock.
struct device_activity {
    enum device_activity_kind kind;
    uint32_t label; // given by device_trace_mark; 0: none
    uint64_t begin_ns, end_ns;
    const char *name; // of a kernel; "copy", "set"
    bool in_graph;
};

// A process has at most one trace at a time. It covers the work enqueued by the thread that began it, and slows it
// down. Graphs are traced node by node if they are recorded after the trace began.
// Errors: ERR_UNSUPPORTED if tracing is impossible here. The message names the missing library or permission and the
// remedy.
struct device_trace;
// Checks whether a trace could begin, as far as that is known without beginning one.
enum status device_trace_check(struct device *device, struct error *err);
enum status device_trace_begin(struct device *device, struct device_trace **out, struct error *err);
// Gives `label` (1 or more) to all work enqueued or recorded since the previous mark, or since the trace began.
void device_trace_mark(struct device_trace *trace, uint32_t label);
// Waits until the device is idle, ends the trace and returns its records in order of their start. They are borrowed
// until destroy. The device runs at full speed again. Errors: ERR_IO if records were lost; ERR_NOMEM; those of the
// device.
enum status device_trace_end(struct device_trace *trace, const struct device_activity **out,
                             size_t *count, struct error *err);
void device_trace_destroy(struct device_trace *trace); // ended or not; NULL: nothing is done

// ---- counters ----------------------------------------------------------------------------------------------

// What the hardware of a device counts. A share is from 0 to 1, of the most that the chip could do in the time.
enum device_quantity {
    DEVICE_MEMORY_READ,         // bytes
    DEVICE_MEMORY_WRITTEN,      // bytes
    DEVICE_MEMORY_SHARE,        // of the memory's peak
    DEVICE_CACHE_BYTES,         // bytes asked of the last cache
    DEVICE_CACHE_HITS,          // share of them that it held
    DEVICE_MATRIX_OPS,          // operations of the matrix units, a multiply-add is two
    DEVICE_MATRIX_INSTRUCTIONS, // of the matrix units, by warp
    DEVICE_MATRIX_CYCLES,       // in which they worked, of all multiprocessors
    DEVICE_MATRIX_SHARE,        // of cycles in which they worked
    DEVICE_ISSUE_SHARE,         // of cycles in which a multiprocessor issued an instruction
    DEVICE_QUANTITIES
};
struct device_counts {
    double value[DEVICE_QUANTITIES]; // NaN: not counted
};

// Counts what the device does between begin and end. Few counters fit at once, so the caller runs the same work for
// as many passes as end asks for. The first opening on a device counts known work, and refuses counters that miss it.
// Errors: ERR_UNSUPPORTED where nothing counts here: which library or right is missing, and what would lift it.
struct device_counters;
// What can be known without opening them.
enum status device_counters_check(struct device *device, struct error *err);
enum status device_counters_open(struct device *device, struct device_counters **out,
                                 struct error *err);
// Which quantities are not counted, and why; "" when all are. Borrowed until close.
const char *device_counters_reason(const struct device_counters *counters);
const char *
device_counters_source(const struct device_counters *counters); // "CUPTI range profiler"
// Waits until the device is idle and begins a pass. Errors: ERR_UNSUPPORTED, ERR_IO, those of the device.
enum status device_counters_begin(struct device_counters *counters, struct error *err);
// Waits until the device is idle and ends the pass. *again: run the work once more between begin and end.
enum status device_counters_end(struct device_counters *counters, bool *again, struct error *err);
// The counts of one run of the work, after an end that did not ask for another.
void device_counters_read(const struct device_counters *counters, struct device_counts *out);
// Nothing slows the device down from here on. NULL: nothing is done.
void device_counters_close(struct device_counters *counters);

// ---- ceilings ----------------------------------------------------------------------------------------------

// The best rates of a device, measured on itself. The host has no probes here: kernels of the registry measure it on
// its pool (bench/roof/ceilings.c). Several probes may have the same name and level: they are ways to reach one
// ceiling.
struct device_probe {
    // "read", "copy", "triad"; "bf16_dot", "int8_dot", "f32_fma"; "launch_gap", "grid_sync"
    char name[32];
    char level[8];   // "DRAM", "L2" for bandwidths; "" for the others
    char kernel[64]; // the kernel that reached it
    bool quick;      // also run when there is little time
};
enum { DEVICE_PROBES_MAX = 32 }; // the most that any device has
// Returns how many were written.
size_t device_probes(const struct device *device, struct device_probe *out, size_t max);
// Takes one sample of probe `index`, which takes some milliseconds: bytes/s, operations/s, or ns for launch_gap and
// grid_sync. *disturbed: clocks fell or another program ran meanwhile, so take it again. Errors: ERR_UNSUPPORTED, with
// the reason, if it needs a library that is missing; ERR_NOMEM, ERR_IO.
enum status device_probe_run(struct device *device, size_t index, double *value, bool *disturbed,
                             struct error *err);

#endif
