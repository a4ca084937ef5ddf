// system_darwin.c - reads facts about the machine on macOS, through sysctl.
//
// sysctl cannot be captured, so `root` is ignored here, and tests of captured machines read only the topology.
// Source: sysctl(3), "Determining system capabilities" (Apple developer documentation).
#ifdef __APPLE__

#include <stdlib.h>
#include <string.h>
#include <sys/sysctl.h>

#include "bench/probe/source.h"

static int64_t sysctl_i64(const char *name)
{
    union {
        int32_t narrow;
        int64_t wide;
    } value = {0};
    size_t size = sizeof value;
    if (sysctlbyname(name, &value, &size, NULL, 0) != 0)
        return OS_UNKNOWN;
    return size == sizeof value.narrow ? value.narrow : value.wide;
}

static void record_sysctl(struct record *record, const char *key, const char *name)
{
    char text[256];
    size_t size = sizeof text - 1;
    if (sysctlbyname(name, text, &size, NULL, 0) != 0)
        size = 0;
    text[size] = 0;
    machine_record_text(record, key, text);
}

int64_t system_memory_bytes(const struct machine_source *source)
{
    (void)source;
    return sysctl_i64("hw.memsize");
}

void system_processor(const struct machine_source *source, hwloc_topology_t topology,
                      struct record *processor)
{
    (void)source;
    (void)topology;
    record_sysctl(processor, "model", "machdep.cpu.brand_string");
    record_sysctl(processor, "vendor", "machdep.cpu.vendor"); // Intel only
    machine_record_int(processor, "family", sysctl_i64("hw.cpufamily"));
    machine_record_int(processor, "model_number", sysctl_i64("machdep.cpu.model"));
    machine_record_int(processor, "stepping", sysctl_i64("machdep.cpu.stepping"));
}

void system_virtualization(const struct machine_source *source, struct record *virtualization)
{
    (void)source;
    int64_t guest = sysctl_i64("kern.hv_vmm_present");
    machine_record_text(virtualization, "hypervisor",
                        guest == OS_UNKNOWN ? NULL
                        : guest             ? "unknown"
                                            : "none");
    machine_record_text(virtualization, "platform_vendor", "Apple");
    record_sysctl(virtualization, "platform", "hw.model");
    machine_record_text(virtualization, "container", "none");
    machine_record_int(virtualization, "cpu_quota_millis", OS_UNKNOWN);
    machine_record_int(virtualization, "memory_limit_bytes", OS_UNKNOWN);
}

void system_environment(const struct machine_source *source, struct record *environment)
{
    (void)source;
    machine_record_text(environment, "system", "macOS");
    record_sysctl(environment, "kernel", "kern.osrelease");
    record_sysctl(environment, "distribution", "kern.osproductversion");
    machine_record_int(environment, "memory_bytes", sysctl_i64("hw.memsize"));
    machine_record_int(environment, "page_bytes", sysctl_i64("hw.pagesize"));
    machine_record_int(environment, "max_frequency_hz",
                       sysctl_i64("hw.cpufrequency_max"));                 // Intel only
    record_sysctl(environment, "processor_flags", "machdep.cpu.features"); // Intel only
    // The system chooses clocks and page sizes itself and reports no policy.
    machine_record_set(environment, "governor", json_null());
    machine_record_set(environment, "turbo", json_null());
    machine_record_set(environment, "microcode", json_null());
    machine_record_set(environment, "huge_pages", json_null());
    machine_record_set(environment, "mitigations", json_null());
}

void system_now(const struct machine_source *source, struct record *now)
{
    (void)source;
    double load[1];
    machine_record_set(now, "frequency_hz", json_null());
    machine_record_int(now, "memory_available_bytes", os_memory_available_bytes());
    machine_record_set(now, "load_1min",
                       getloadavg(load, 1) == 1 ? json_real(load[0]) : json_null());
}

#endif
