// system_linux.c - reads facts about the machine on Linux, from /proc and /sys below a root that tests choose.
//
// Sources: Documentation/ABI/testing/sysfs-devices-system-cpu, Documentation/admin-guide/cgroup-v2.rst
// and mm/transhuge.rst of the kernel; CPUID signatures: each hypervisor's own documentation.
#ifdef __linux__

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os_cgroup.h"
#include "base/str.h"
#include "bench/probe/source.h"

enum { TEXT_BYTES = 8192, PATH_BYTES = 512 };

// ---- reading ------------------------------------------------------------------------------------------

static bool read_i64(const char *root, const char *path, int64_t *out)
{
    char text[64];
    return system_text(root, path, text, sizeof text) && str_to_i64(text, out);
}

// "always [madvise] never" -> "madvise"
static bool read_choice(const char *root, const char *path, char *out, size_t out_bytes)
{
    char text[64];
    if (!system_text(root, path, text, sizeof text))
        return false;
    char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;
    if (close)
        *close = 0;
    const char *choice = close ? open + 1 : text;
    snprintf(out, out_bytes, "%s", choice);
    return true;
}

static void record_file(struct record *record, const char *key, const char *root, const char *path)
{
    char text[256];
    machine_record_text(record, key, system_text(root, path, text, sizeof text) ? text : NULL);
}

static void record_file_int(struct record *record, const char *key, const char *root,
                            const char *path)
{
    int64_t value;
    machine_record_int(record, key, read_i64(root, path, &value) ? value : OS_UNKNOWN);
}

static bool exists(const char *root, const char *path)
{
    char full[PATH_BYTES];
    snprintf(full, sizeof full, "%s%s", root, path);
    FILE *file = fopen(full, "r");
    if (file)
        fclose(file);
    return file != NULL;
}

static int64_t meminfo_bytes(const char *root, const char *key)
{
    char value[64];
    long long kib;
    if (!system_field(root, "/proc/meminfo", key, value, sizeof value) ||
        sscanf(value, "%lld kB", &kib) != 1)
        return OS_UNKNOWN;
    return kib * 1024;
}

int64_t system_memory_bytes(const struct machine_source *source)
{
    return meminfo_bytes(source->root, "MemTotal");
}

// ---- processor ------------------------------------------------------------------------------------------

static void cpuinfo_text(const struct machine_source *source, hwloc_topology_t topology,
                         struct record *processor, const char *name, const char *key,
                         const char *hwloc_name)
{
    char value[256];
    if (system_field(source->root, "/proc/cpuinfo", key, value, sizeof value))
        machine_record_text(processor, name, value);
    else
        machine_record_text(processor, name, topology_cpu_info(topology, hwloc_name));
}

static void cpuinfo_number(const struct machine_source *source, hwloc_topology_t topology,
                           struct record *processor, const char *name, const char *key,
                           const char *hwloc_name)
{
    char value[256];
    bool found = system_field(source->root, "/proc/cpuinfo", key, value, sizeof value);
    machine_record_number_text(processor, name,
                               found ? value : topology_cpu_info(topology, hwloc_name));
}

void system_processor(const struct machine_source *source, hwloc_topology_t topology,
                      struct record *processor)
{
    char value[64];
    cpuinfo_text(source, topology, processor, "model", "model name", "CPUModel");
    cpuinfo_text(source, topology, processor, "vendor", "vendor_id", "CPUVendor");
    cpuinfo_number(source, topology, processor, "family", "cpu family", "CPUFamilyNumber");
    cpuinfo_number(source, topology, processor, "model_number", "model", "CPUModelNumber");
    cpuinfo_number(source, topology, processor, "stepping", "stepping", "CPUStepping");
    // ARM names its cores by numbers only (Arm ARM, MIDR_EL1).
    if (system_field(source->root, "/proc/cpuinfo", "CPU implementer", value, sizeof value)) {
        machine_record_text(processor, "arm_implementer", value);
        bool found = system_field(source->root, "/proc/cpuinfo", "CPU part", value, sizeof value);
        machine_record_text(processor, "arm_part", found ? value : NULL);
    }
}

// ---- virtualization ---------------------------------------------------------------------------------

static bool cpu_flag(const char *root, const char *flag)
{
    char flags[TEXT_BYTES], *rest = flags;
    if (!system_field(root, "/proc/cpuinfo", "flags", flags, sizeof flags))
        return false;
    for (char *word; (word = strtok_r(rest, " ", &rest));)
        if (!strcmp(word, flag))
            return true;
    return false;
}

static const char *hypervisor_of_signature(const char *signature)
{
    static const char *const known[][2] = {
        {"KVMKVMKVM", "kvm"},         {"Linux KVM Hv", "kvm"},   {"Microsoft Hv", "hyper-v"},
        {"VMwareVMware", "vmware"},   {"XenVMMXenVMM", "xen"},   {"TCGTCGTCGTCG", "qemu-tcg"},
        {"VBoxVBoxVBox", "vbox"},     {"bhyve bhyve ", "bhyve"}, {"ACRNACRNACRN", "acrn"},
        {" lrpepyh  vr", "parallels"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(signature, known[i][0]))
            return known[i][1];
    return NULL;
}

// "none" only if an x86 processor reports that there is no hypervisor; NULL: no evidence either way.
static const char *hypervisor_name(const struct machine_source *source)
{
    char text[256];
    const char *root = source->root;
    if (source->hypervisor && hypervisor_of_signature(source->hypervisor))
        return hypervisor_of_signature(source->hypervisor);
    if (system_text(root, "/sys/hypervisor/type", text, sizeof text) && !strcmp(text, "xen"))
        return "xen";
    if (system_text(root, "/proc/sys/kernel/osrelease", text, sizeof text) &&
        strcasestr(text, "microsoft"))
        return "wsl";
    if (system_text(root, "/proc/device-tree/hypervisor/compatible", text, sizeof text))
        return strstr(text, "kvm") ? "kvm" : strstr(text, "xen") ? "xen" : "unknown";
    if (system_text(root, "/sys/class/dmi/id/sys_vendor", text, sizeof text) &&
        !strcmp(text, "QEMU"))
        return "kvm or qemu";
    if (cpu_flag(root, "hypervisor"))
        return "unknown";
    char flags[16];
    bool x86 = system_field(root, "/proc/cpuinfo", "vendor_id", flags, sizeof flags);
    return x86 ? "none" : NULL;
}

static const char *container_name(const char *root, char *text, size_t text_bytes)
{
    if (system_text(root, "/run/systemd/container", text, text_bytes))
        return text;
    if (exists(root, "/.dockerenv"))
        return "docker";
    if (exists(root, "/run/.containerenv"))
        return "podman";
    if (system_text(root, "/proc/self/cgroup", text, text_bytes)) {
        static const char *const marks[][2] = {
            {"kubepods", "kubernetes"}, {"docker", "docker"}, {"libpod", "podman"}, {"lxc", "lxc"}};
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
            if (strstr(text, marks[i][0]))
                return marks[i][1];
    }
    return "none";
}

void system_virtualization(const struct machine_source *source, struct record *virtualization)
{
    char text[TEXT_BYTES];
    const char *root = source->root;
    machine_record_text(virtualization, "hypervisor", hypervisor_name(source));
    record_file(virtualization, "platform_vendor", root, "/sys/class/dmi/id/sys_vendor");
    record_file(virtualization, "platform", root, "/sys/class/dmi/id/product_name");
    machine_record_text(virtualization, "container", container_name(root, text, sizeof text));
    machine_record_int(virtualization, "cpu_quota_millis", cgroup_cpu_quota_millis(root));
    machine_record_int(virtualization, "memory_limit_bytes", cgroup_memory_limit_bytes(root));
}

// ---- environment ----------------------------------------------------------------------------------------

static void mitigations(const char *root, struct record *environment)
{
    char folder[PATH_BYTES], path[PATH_BYTES];
    struct record map = machine_record_begin();
    snprintf(folder, sizeof folder, "%s/sys/devices/system/cpu/vulnerabilities", root);
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/vulnerabilities/%.200s",
                 entry->d_name);
        record_file(&map, entry->d_name, root, path);
    }
    if (dir) {
        closedir(dir);
        machine_record_end(environment, "mitigations", &map);
    } else {
        json_decref(map.object);
        machine_record_set(environment, "mitigations", json_null());
    }
}

// "on", "off" or NULL: two drivers report it in two places, one of them inverted.
static const char *turbo(const char *root)
{
    int64_t value;
    if (read_i64(root, "/sys/devices/system/cpu/intel_pstate/no_turbo", &value))
        return value ? "off" : "on";
    if (read_i64(root, "/sys/devices/system/cpu/cpufreq/boost", &value))
        return value ? "on" : "off";
    return NULL;
}

static void clock_control(const char *root, struct record *environment)
{
    static const char base[] = "/sys/devices/system/cpu/cpu0/cpufreq/";
    char path[PATH_BYTES];
    int64_t khz;
    snprintf(path, sizeof path, "%sscaling_governor", base);
    record_file(environment, "governor", root, path);
    snprintf(path, sizeof path, "%sscaling_driver", base);
    record_file(environment, "frequency_driver", root, path);
    snprintf(path, sizeof path, "%scpuinfo_max_freq", base);
    machine_record_int(environment, "max_frequency_hz",
                       read_i64(root, path, &khz) ? khz * 1000 : OS_UNKNOWN);
    machine_record_text(environment, "turbo", turbo(root));
}

static void huge_pages(const char *root, struct record *environment)
{
    char text[64];
    struct record pages = machine_record_begin();
    bool found =
        read_choice(root, "/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
    machine_record_text(&pages, "transparent", found ? text : NULL);
    found = read_choice(root, "/sys/kernel/mm/transparent_hugepage/defrag", text, sizeof text);
    machine_record_text(&pages, "defrag", found ? text : NULL);
    machine_record_int(&pages, "huge_page_bytes", meminfo_bytes(root, "Hugepagesize"));
    found = system_field(root, "/proc/meminfo", "HugePages_Total", text, sizeof text);
    machine_record_number_text(&pages, "reserved", found ? text : NULL);
    machine_record_end(environment, "huge_pages", &pages);
}

// PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
static void distribution(const char *root, struct record *environment)
{
    char text[TEXT_BYTES], *rest = text;
    const char *name = NULL;
    if (system_text(root, "/etc/os-release", text, sizeof text))
        for (char *line; !name && (line = strtok_r(rest, "\n", &rest));)
            if (str_starts(line, "PRETTY_NAME=")) {
                line += strlen("PRETTY_NAME=");
                line += *line == '"';
                line[strcspn(line, "\"")] = 0;
                name = line;
            }
    machine_record_text(environment, "distribution", name);
}

void system_environment(const struct machine_source *source, struct record *environment)
{
    const char *root = source->root;
    char text[TEXT_BYTES];
    machine_record_text(environment, "system", "Linux");
    record_file(environment, "kernel", root, "/proc/sys/kernel/osrelease");
    distribution(root, environment);
    machine_record_int(environment, "memory_bytes", meminfo_bytes(root, "MemTotal"));
    machine_record_int(environment, "swap_bytes", meminfo_bytes(root, "SwapTotal"));
    huge_pages(root, environment);
    bool found = system_field(root, "/proc/cpuinfo", "microcode", text, sizeof text);
    machine_record_text(environment, "microcode", found ? text : NULL);
    // The kernel adds and renames words, so the list is not part of the fingerprint.
    found = system_field(root, "/proc/cpuinfo", "flags", text, sizeof text) ||
            system_field(root, "/proc/cpuinfo", "Features", text, sizeof text);
    machine_record_text(environment, "processor_flags", found ? text : NULL);
    clock_control(root, environment);
    record_file(environment, "smt", root, "/sys/devices/system/cpu/smt/control");
    record_file_int(environment, "numa_balancing", root, "/proc/sys/kernel/numa_balancing");
    record_file_int(environment, "perf_event_paranoid", root,
                    "/proc/sys/kernel/perf_event_paranoid");
    mitigations(root, environment);
}

void system_now(const struct machine_source *source, struct record *now)
{
    const char *root = source->root;
    char text[64];
    int64_t khz;
    if (read_i64(root, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", &khz)) {
        machine_record_int(now, "frequency_hz", khz * 1000);
    } else {
        double mhz = 0;
        bool found = system_field(root, "/proc/cpuinfo", "cpu MHz", text, sizeof text) &&
                     str_to_f64(text, &mhz);
        machine_record_int(now, "frequency_hz", found ? (int64_t)(mhz * 1e6) : OS_UNKNOWN);
    }
    machine_record_int(now, "memory_available_bytes", meminfo_bytes(root, "MemAvailable"));
    char *end = system_text(root, "/proc/loadavg", text, sizeof text) ? strchr(text, ' ') : NULL;
    if (end)
        *end = 0;
    machine_record_number_text(now, "load_1min", end ? text : NULL);
}

#endif
