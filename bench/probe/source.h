// source.h - the source of a machine's record: this machine or a captured one.
//
// The probe reads everything through this header, so that tests can read other machines. Such a machine
// (tests/machines/NAME) is a folder with copies of a few files of /proc and /sys, and a topology exported by hwloc as
// XML. Results of CPUID are fields.
#ifndef BENCH_PROBE_SOURCE_H
#define BENCH_PROBE_SOURCE_H

#include <hwloc.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "bench/probe/probe.h"

struct machine_source {
    const char *root;       // prefix of all paths: "" for this machine
    const char *hwloc_xml;  // topology file; NULL: this machine
    unsigned isa;           // as from device_isa_host()
    const char *hypervisor; // CPUID's twelve letters ("KVMKVMKVM"), or NULL
};

enum status machine_probe_at(const struct machine_source *source, struct machine *out,
                             struct error *err);

// The hypervisor's signature from CPUID; NULL: none, or not an x86 processor.
// out: at least 13 bytes.
const char *system_hypervisor(char out[13]);

// ---- topology (topology.c) ----------------------------------------------------------------------

// The caller destroys the topology.
enum status topology_load(const char *hwloc_xml, hwloc_topology_t *out, struct error *err);
json_t *topology_json(hwloc_topology_t topology);
int topology_levels(hwloc_topology_t topology, struct memory_level out[MEMORY_LEVELS_MAX]);
// hwloc's info of the first package by key ("CPUModel", "CPUVendor", ...), or NULL. Borrowed.
const char *topology_cpu_info(hwloc_topology_t topology, const char *name);

// ---- single files (system_files.c) --------------------------------------------------------------------

// Reads the start of the file root + path, without the white space around it; false if it is missing or empty. These
// files report no size, so they cannot be mapped.
bool system_text(const char *root, const char *path, char *out, size_t out_bytes);
// Reads the first "key : value" of a file like /proc/cpuinfo or /proc/meminfo; false if there is none.
bool system_field(const char *root, const char *path, const char *key, char *out, size_t out_bytes);

// ---- the system's files (system_linux.c, system_darwin.c) ---------------------------------------------

// Each adds its fields to an object; null where the system does not report a value.
struct record;
void system_processor(const struct machine_source *source, hwloc_topology_t topology,
                      struct record *processor);
void system_virtualization(const struct machine_source *source, struct record *virtualization);
void system_environment(const struct machine_source *source, struct record *environment);
void system_now(const struct machine_source *source, struct record *now);
int64_t system_memory_bytes(const struct machine_source *source); // OS_UNKNOWN when not reported

// ---- building records (record.c) -------------------------------------------------------------------

// A JSON object being built. A failed allocation is recorded, and checked once at the end.
struct record {
    json_t *object;
    bool failed;
};
void machine_record_set(struct record *record, const char *key, json_t *value); // takes value
void machine_record_text(struct record *record, const char *key,
                         const char *value);                                    // NULL, "": null
void machine_record_int(struct record *record, const char *key, int64_t value); // OS_UNKNOWN: null
void machine_record_number_text(struct record *record, const char *key,
                                const char *digits); // other text becomes null
struct record machine_record_begin(void);
void machine_record_end(struct record *parent, const char *key,
                        struct record *child); // takes the child

// Compiler, flags, commit and libraries of this build (build.c).
json_t *machine_build_json(void);

#endif
