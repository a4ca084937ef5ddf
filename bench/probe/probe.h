// probe.h - what the machine is, what disturbs it, and what its counters can tell.
#ifndef BENCH_PROBE_PROBE_H
#define BENCH_PROBE_PROBE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/os.h"
#include "base/pool.h"
#include "base/status.h"

// ---- machine record -----------------------------------------------------------------------------------
// Topology (hwloc), caches, NUMA, core kinds, ISA flags with the OS's state support, kernel,
// virtualization, governor, memory, huge pages, compiler and flags, library versions. No host name.
// Text values that the system does not tell are stored as null, never as "" or 0.
struct machine {
    json_t *hardware;    // what the fingerprint hashes, together with virtualization
    json_t *environment; // kernel, driver, governor, libraries: may change from night to night
    json_t *build;       // compiler, flags, commit, features
    char fingerprint[65];
};
enum status machine_probe(struct machine *out, struct error *err);
void machine_fini(struct machine *machine);

// Memory levels with their sizes for `threads` pinned threads: "L1", "L2", "L3", "DRAM".
struct memory_level {
    char name[8];
    size_t size_bytes;  // of one instance; DRAM: total memory
    int shared_by;      // processing units that share an instance
};
enum { MEMORY_LEVELS_MAX = 6 };
int machine_memory_levels(struct memory_level out[MEMORY_LEVELS_MAX]);

// ---- noise ------------------------------------------------------------------------------------------------
// Around one repetition: what the system took away, and canaries of compute and bandwidth.
struct noise {
    struct os_noise os;             // differences over the repetition
    double compute_canary_ns;       // fixed work, before and after: the mean
    double bandwidth_before, bandwidth_after; // bytes/s of the level that holds the working set
    double bandwidth_min, bandwidth_max;      // over all canaries of the repetition, decode's included
    int canaries;
};
struct canary; // preallocated buffers of one level, and fixed work
enum status canary_create(struct pool *pool, size_t working_set_bytes, struct canary **out,
                          struct error *err);
void canary_destroy(struct canary *canary);
double canary_bandwidth(struct canary *canary); // bytes/s read; at most ~2 ms
double canary_compute_ns(struct canary *canary);  // fixed work of about 200 us

// ---- counters ------------------------------------------------------------------------------------------------
// PAPI where it yields anything, kernel perf events below it, software events below that. A counter is
// accepted only after it counted a known load right; the reasons of all rejections are kept.
struct counters;
enum status counters_open(struct counters **out, struct error *err); // OK even when nothing is usable
void counters_close(struct counters *c);
const char *counters_source(const struct counters *c); // "papi", "perf", "perf-software", "none"
const char *counters_reason(const struct counters *c); // why not the better sources, for a person
size_t counters_count(const struct counters *c);
const char *counters_name(const struct counters *c, size_t i); // "instructions", "page-faults", ...
void counters_start(struct counters *c);
void counters_stop(struct counters *c, int64_t *values); // values[counters_count]

#endif
