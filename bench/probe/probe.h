// probe.h - the machine: its record, its noise, its counters.
#ifndef BENCH_PROBE_PROBE_H
#define BENCH_PROBE_PROBE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/os.h"
#include "base/status.h"
#include "bench/probe/state.h"
#include "device/device.h"

// ---- machine record -----------------------------------------------------------------------------------
// Topology (hwloc), caches, NUMA, core kinds, ISA flags that the system supports, kernel, virtualization, governor,
// memory, huge pages, compiler and flags, library versions. It has no host name. A value that the system does not
// report is JSON null, never "" or 0.
struct machine {
    json_t *hardware;     // topology, processor, memory in GiB, virtualization
    json_t *environment;  // kernel, microcode, governor, libraries: may change from night to night
    json_t *build;        // compiler, flags, commit, features
    json_t *now;          // clock rate, free memory: current values, printed but not stored
    char fingerprint[65]; // machine_fingerprint of `hardware`
};
enum status machine_probe(struct machine *out, struct error *err);
void machine_fini(struct machine *machine);

// SHA-256 of the part of a machine's `hardware` that never changes (identity.c). It accepts any stored record, so that
// runs of older builds, whose fingerprints hashed all of it, are still recognized.
enum status machine_fingerprint(const json_t *hardware, char out[65], struct error *err);
// The host processor as a device: its record (the caller json_decref's it; NULL when memory is exhausted), and the
// SHA-256 of its identifying fields.
json_t *machine_processor(const struct machine *machine);
enum status machine_processor_fingerprint(const struct machine *machine, char out[65],
                                          struct error *err);

// The most memory that a process may take now: the available memory minus some headroom, so that an allocation fails
// before the machine swaps or kills processes. OS_UNKNOWN if the system does not report it.
int64_t machine_room_bytes(void);
// Limits this process to that, or to `wanted_bytes` if it is smaller and not 0. Allocations beyond the limit fail.
// Returns the limit; OS_UNKNOWN if the system has no limits.
int64_t machine_limit_memory(int64_t wanted_bytes);

// Memory levels, nearest first: "L1" (data), "L2", "L3", "DRAM". If instances of a level differ (core kinds), the one
// with the fewest bytes per core represents all.
struct memory_level {
    char name[8];
    size_t size_bytes; // of one instance; DRAM: all memory
    int cores;         // physical cores that share an instance
    int shared_by;     // processing units that share an instance
    int instances;     // in the machine; DRAM: 1
};
enum { MEMORY_LEVELS_MAX = 6 };
// Returns the number of levels written; 0 when the topology cannot be read.
int machine_memory_levels(struct memory_level out[MEMORY_LEVELS_MAX]);

// Bytes of a level that `threads` threads share in total when they fill cores in order.
size_t topology_level_capacity(const struct memory_level *level, int threads);
// Index of the level that holds a working set of this size for `threads` threads.
int topology_level_of(const struct memory_level *levels, int count, int threads,
                      double working_set_bytes);

// ---- noise ------------------------------------------------------------------------------------------------
// A device's vital signs over one repetition: the lowest clocks, the highest power and temperature. NaN: not measured.
struct noise_vitals {
    double clock_hz, memory_clock_hz, power_w, temperature_c;
    int looks;              // readings that have a clock
    int held[DEVICE_HOLDS]; // readings in which it was held back, by reason
};
// Noise around one repetition: lost time, and canaries of compute and bandwidth.
struct noise {
    struct os_noise os;  // differences over the repetition
    int64_t run_wait_ns; // the longest wait of one thread for a processor during the repetition
    int64_t window_ns;   // between the two readings of os
    double compute_canary_ns; // fixed work: the mean of before and after
    // Medians of all probes during the repetition (state.h); NaN if there were none.
    struct machine_state state;
    // Bytes/s of the level that holds the working set; NaN: no canary ran. These are the medians of the canaries before
    // the prefill, between decode steps, and after; then the extremes of all.
    double bandwidth_before, bandwidth_during, bandwidth_after;
    double bandwidth_min, bandwidth_max;
    struct noise_vitals vitals;
};
struct canary; // preallocated buffers of one level, and fixed work
// Host: reads on the device's threads. Other devices: their own probes; ERR_UNSUPPORTED if there are none.
enum status canary_create(struct device *device, size_t working_set_bytes, struct canary **out,
                          struct error *err);
void canary_destroy(struct canary *canary);
const char *canary_level(const struct canary *canary);   // Tests only: the level it reads, "L3"
size_t canary_memory_bytes(const struct canary *canary); // Tests only: bytes of its buffers
double canary_bandwidth(struct canary *canary); // bytes/s read: median of a few samples, about 2 ms
double canary_compute_ns(struct canary *canary);           // fixed work of about 200 us
struct machine_state canary_state(struct canary *canary);  // 1 to 3 ms
struct device_vitals canary_vitals(struct canary *canary); // of its device

// ---- counters ------------------------------------------------------------------------------------------------
// PAPI where it works, else kernel perf events, else software events. A counter is accepted only after it has counted a
// known load correctly. The reasons of all rejections are kept. Events that the processor cannot count at the same time
// are in different groups; one group is selected at a time, the first to begin with.
struct counters;
enum { COUNTERS_MAX = 12, COUNTERS_REASON_BYTES = 1536 }; // the most that counters_count returns
// Counts the threads that exist at this call, so create the pool first. Returns OK even if nothing is usable. Cost:
// about 100 ms for the known loads.
enum status counters_open(struct counters **out, struct error *err);
void counters_close(struct counters *c);
const char *counters_source(const struct counters *c); // "papi", "perf", "perf-software", "none"
const char *counters_reason(const struct counters *c); // why better sources were rejected
size_t counters_count(const struct counters *c);
const char *counters_name(const struct counters *c, size_t i); // "instructions", "page-faults", ...
size_t counters_groups(const struct counters *c);
size_t counters_group(const struct counters *c, size_t i); // of event i
void counters_select(struct counters *c, size_t group);    // not between start and stop
void counters_start(struct counters *c);
// values[counters_count]: only those of the selected group are written. OS_UNKNOWN: failed, or not counted all the
// time.
void counters_stop(struct counters *c, int64_t *values);

#endif
