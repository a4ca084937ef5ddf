// uncore_sysfs.c - finds the PMUs of memory controllers and encodes their events, from sysfs.
//
// A PMU's folder has its number (type), one processor per socket (cpumask), the bits of each field of an event
// (format/NAME: "config:0-7,32-37") and, on Intel, the events with scale and unit. AMD's events are those of the
// kernel's perf tables: tools/perf/pmu-events/arch/x86/amdzen*/memory-controller.json and data-fabric.json. Each counts
// 64 bytes.
// Source: Linux, Documentation/ABI/testing/sysfs-bus-event_source-devices-format and -events.
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "bench/probe/source.h"
#include "bench/probe/uncore.h"

#define PMUS "/sys/bus/event_source/devices"

enum { PMUS_MAX = 128, EVENTS_MAX = 1024, CPUS_MAX = 64, PATH_BYTES = 512, LINE_BYTES = 64 };

struct finder {
    const char *root;
    struct uncore_list *out;
    char pmu[PMUS_MAX][32];
    size_t pmus;
    char *reason; // (UNCORE_REASON_BYTES)
};

PRINTF_LIKE(2, 3) static bool refuse(struct finder *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(f->reason, UNCORE_REASON_BYTES, format, args);
    va_end(args);
    return false;
}

// ---- files ----------------------------------------------------------------------------------------------

static bool pmu_text(const struct finder *f, const char *pmu, const char *file, char *out,
                     size_t out_bytes)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, PMUS "/%s/%s", pmu, file);
    return system_text(f->root, path, out, out_bytes);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

// The PMUs of the machine, sorted. False if the kernel shows none.
static bool list_pmus(struct finder *f)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s" PMUS, f->root);
    DIR *dir = opendir(path);
    if (!dir)
        return false;
    for (struct dirent *entry; f->pmus < PMUS_MAX && (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && strlen(entry->d_name) < sizeof f->pmu[0])
            strcpy(f->pmu[f->pmus++], entry->d_name);
    closedir(dir);
    qsort(f->pmu, f->pmus, sizeof f->pmu[0], by_name);
    return true;
}

// ---- encodings ------------------------------------------------------------------------------------------

// Puts the low bits of `value` at the places of a format: "config:0-7,32-37", "config1:5".
static bool place_bits(const char *format, uint64_t value, struct perf_counter *out)
{
    uint64_t *word = str_starts(format, "config1:")   ? &out->config1
                     : str_starts(format, "config2:") ? &out->config2
                     : str_starts(format, "config:")  ? &out->config
                                                      : NULL;
    const char *at = strchr(format, ':');
    while (word && at && *at) {
        char *end;
        unsigned long low = strtoul(at + 1, &end, 10), high = low;
        if (end == at + 1)
            return false;
        if (*end == '-')
            high = strtoul(end + 1, &end, 10);
        if (high > 63 || low > high)
            return false;
        for (unsigned long bit = low; bit <= high; bit++, value >>= 1)
            *word |= (value & 1) << bit;
        at = *end == ',' ? end : NULL;
    }
    return word && value == 0;
}

// Encodes "event=0x04,umask=0x03" with the PMU's formats. A term without a value is 1.
static bool encode(struct finder *f, const char *pmu, const char *terms, struct perf_counter *out)
{
    char copy[LINE_BYTES * 2], type[LINE_BYTES], *rest = copy;
    snprintf(copy, sizeof copy, "%s", terms);
    *out = (struct perf_counter){0};
    if (!pmu_text(f, pmu, "type", type, sizeof type))
        return refuse(f, PMUS "/%s has no type", pmu);
    out->type = (uint32_t)strtoul(type, NULL, 10);
    for (char *term; (term = strtok_r(rest, ",", &rest));) {
        char file[LINE_BYTES], format[LINE_BYTES], *equals = strchr(term, '=');
        if (equals)
            *equals = '\0';
        uint64_t value = equals ? strtoull(equals + 1, NULL, 0) : 1;
        snprintf(file, sizeof file, "format/%s", term);
        if (!pmu_text(f, pmu, file, format, sizeof format) || !place_bits(format, value, out))
            return refuse(f, PMUS "/%s/%s does not place %#llx of the event '%s'", pmu, file,
                          (unsigned long long)value, terms);
    }
    return true;
}

// ---- events ---------------------------------------------------------------------------------------------

// Processors of a mask like "0,56" or "0-3". Returns their number.
static int parse_cpus(const char *mask, int cpus[CPUS_MAX])
{
    int count = 0;
    for (const char *at = mask; at && *at;) {
        char *end;
        long low = strtol(at, &end, 10), high = low;
        if (end == at)
            return 0;
        if (*end == '-')
            high = strtol(end + 1, &end, 10);
        for (long cpu = low; cpu <= high && count < CPUS_MAX; cpu++)
            cpus[count++] = (int)cpu;
        at = *end == ',' ? end + 1 : NULL;
    }
    return count;
}

// Adds an event of a PMU for each socket.
static bool add_event(struct finder *f, const char *pmu, const char *terms, enum uncore_way way,
                      double scale)
{
    char mask[LINE_BYTES];
    int cpus[CPUS_MAX], count;
    struct perf_counter counter;
    if (!encode(f, pmu, terms, &counter))
        return false;
    if (!pmu_text(f, pmu, "cpumask", mask, sizeof mask) || !(count = parse_cpus(mask, cpus)))
        return refuse(f, PMUS "/%s names no processor in cpumask", pmu);
    struct uncore_list *list = f->out;
    if (list->count + (size_t)count > EVENTS_MAX)
        return refuse(f, PMUS " has more than %d events of memory controllers", EVENTS_MAX);
    for (int i = 0; i < count; i++) {
        struct uncore_event *event = &list->event[list->count++];
        *event =
            (struct uncore_event){.counter = counter, .cpu = cpus[i], .way = way, .scale = scale};
        snprintf(event->pmu, sizeof event->pmu, "%s", pmu);
    }
    list->sockets = count > list->sockets ? count : list->sockets;
    return true;
}

// ---- Intel ----------------------------------------------------------------------------------------------

// Bytes per count: the event's scale times its unit.
static bool scale_of(struct finder *f, const char *pmu, const char *event, double *out)
{
    char file[LINE_BYTES * 2], scale[LINE_BYTES], unit[LINE_BYTES];
    snprintf(file, sizeof file, "events/%s.scale", event);
    if (!pmu_text(f, pmu, file, scale, sizeof scale))
        return refuse(f, PMUS "/%s/%s is missing", pmu, file);
    snprintf(file, sizeof file, "events/%s.unit", event);
    if (!pmu_text(f, pmu, file, unit, sizeof unit) || !str_equal(unit, "MiB"))
        return refuse(f, PMUS "/%s/%s is not MiB", pmu, file);
    *out = strtod(scale, NULL) * (1 << 20);
    return *out > 0 || refuse(f, PMUS "/%s/events/%s.scale is %s", pmu, event, scale);
}

static bool add_named(struct finder *f, const char *pmu, const char *event, enum uncore_way way)
{
    char file[LINE_BYTES * 2], terms[LINE_BYTES];
    double scale = 0;
    snprintf(file, sizeof file, "events/%s", event);
    if (!pmu_text(f, pmu, file, terms, sizeof terms))
        return refuse(f, PMUS "/%s/%s cannot be read", pmu, file);
    return scale_of(f, pmu, event, &scale) && add_event(f, pmu, terms, way, scale);
}

static bool has_event(const struct finder *f, const char *pmu, const char *event)
{
    char file[LINE_BYTES * 2], terms[LINE_BYTES];
    snprintf(file, sizeof file, "events/%s", event);
    return pmu_text(f, pmu, file, terms, sizeof terms);
}

// The events of a kind of controller: those of one line are all of its reads, or all of its writes. Granite Rapids
// counts each of two schedulers apart; an older event of its first scheduler alone may stand next to them.
static const char *const intel_events[][2][2] = {
    {{"cas_count_read_sch0", "cas_count_read_sch1"},
     {"cas_count_write_sch0", "cas_count_write_sch1"}},
    {{"cas_count_read"}, {"cas_count_write"}},
    {{"data_reads"}, {"data_writes"}}, // client processors
    {{"data_read"}, {"data_write"}},   // their free-running counters
    {{"read"}, {"write"}},             // those of servers
};

// Adds a controller's reads and writes. False without a reason: it has none of the known events.
static bool add_controller(struct finder *f, const char *pmu)
{
    for (size_t kind = 0; kind < sizeof intel_events / sizeof *intel_events; kind++) {
        if (!has_event(f, pmu, intel_events[kind][0][0]))
            continue;
        for (int way = UNCORE_READ; way <= UNCORE_WRITE; way++)
            for (int i = 0; i < 2 && intel_events[kind][way][i]; i++)
                if (!add_named(f, pmu, intel_events[kind][way][i], (enum uncore_way)way))
                    return false;
        return true;
    }
    return false;
}

// Controllers with counters of their own, or else with those that always run: both count the same bytes.
static bool find_intel(struct finder *f)
{
    for (int free_running = 0; free_running < 2 && f->out->count == 0; free_running++)
        for (size_t i = 0; i < f->pmus; i++) {
            const char *pmu = f->pmu[i];
            if (!str_starts(pmu, "uncore_imc") || !!strstr(pmu, "free_running") != free_running)
                continue;
            if (!add_controller(f, pmu) && f->reason[0])
                return false;
        }
    f->out->source = "Intel uncore_imc";
    return f->out->count > 0;
}

// ---- AMD ------------------------------------------------------------------------------------------------

enum { LINE_SIZE = 64, FABRIC_CHANNELS = 12, OLD_FABRIC_CHANNELS = 8 };

static bool find_umc(struct finder *f)
{
    for (size_t i = 0; i < f->pmus; i++)
        if (str_starts(f->pmu[i], "amd_umc") &&
            (!add_event(f, f->pmu[i], "event=0x0a,rdwrmask=0x1", UNCORE_READ, LINE_SIZE) ||
             !add_event(f, f->pmu[i], "event=0x0a,rdwrmask=0x2", UNCORE_WRITE, LINE_SIZE)))
            return false;
    f->out->source = "AMD amd_umc";
    return f->out->count > 0;
}

static bool add_fabric(struct finder *f, int channel, unsigned event, unsigned umask,
                       enum uncore_way way)
{
    char terms[LINE_BYTES];
    snprintf(terms, sizeof terms, "event=%#x,umask=%#x", event + 0x40 * (unsigned)channel, umask);
    return add_event(f, "amd_df", terms, way, LINE_SIZE);
}

// The data fabric counts beats of 64 bytes at each channel. Zen 4 has one event for the requests of its own socket and
// one for those of the other, reads and writes apart; Zen 5 has one for both sockets. Before Zen 4 an event counts all
// requests with data. The wide umask came with Zen 4.
static bool find_fabric(struct finder *f)
{
    char umask[LINE_BYTES], family[LINE_BYTES] = "";
    if (!pmu_text(f, "amd_df", "format/umask", umask, sizeof umask))
        return false;
    system_field(f->root, "/proc/cpuinfo", "cpu family", family, sizeof family);
    bool wide = strchr(umask, ',') != NULL, zen5 = atoi(family) >= 0x1a;
    f->out->source = "AMD amd_df";
    for (int channel = 0; !wide && channel < OLD_FABRIC_CHANNELS; channel++)
        if (!add_fabric(f, channel, 0x07, 0x38, UNCORE_BOTH))
            return false;
    for (int way = UNCORE_READ; wide && way <= UNCORE_WRITE; way++)
        for (int channel = 0; channel < FABRIC_CHANNELS; channel++) {
            unsigned low = way == UNCORE_READ ? 0xfe : 0xff;
            if (!add_fabric(f, channel, 0x1f, (zen5 ? 0xf00 : 0x700) | low, (enum uncore_way)way))
                return false;
            if (!zen5 && f->out->sockets > 1 &&
                !add_fabric(f, channel, 0x1f, 0xb00 | low, (enum uncore_way)way))
                return false;
        }
    return f->out->count > 0;
}

// ---- the list -------------------------------------------------------------------------------------------

// Why there is nothing to count, and what would lift that.
static void explain(struct finder *f)
{
    char text[8192], vendor[LINE_BYTES] = "", names[256] = "";
    bool guest = system_field(f->root, "/proc/cpuinfo", "flags", text, sizeof text) &&
                 strstr(text, " hypervisor");
    system_field(f->root, "/proc/cpuinfo", "vendor_id", vendor, sizeof vendor);
    for (size_t i = 0, used = 0; i < f->pmus && used < sizeof names - 34; i++)
        used +=
            (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", f->pmu[i]);
    if (guest)
        refuse(f, "this is a virtual machine, whose host hides the memory controllers' counters. A "
                  "machine without a hypervisor shows them (a \"metal\" instance of a cloud)");
    else if (str_equal(vendor, "AuthenticAMD"))
        refuse(f, "there is no amd_umc or amd_df below " PMUS ": modprobe amd_uncore. Linux 6.10 "
                  "and later count the memory controllers of Zen 4 and later");
    else if (str_equal(vendor, "GenuineIntel"))
        refuse(f, "there is no uncore_imc below " PMUS ": modprobe intel_uncore, on a kernel that "
                  "knows this processor");
    else
        refuse(f,
               "no PMU of memory controllers that is known here: uncore_imc, amd_umc and amd_df "
               "are, below " PMUS " there is %s",
               names[0] ? names : "none");
}

bool uncore_list(const char *root, struct uncore_list *out, char reason[UNCORE_REASON_BYTES])
{
    struct finder f = {.root = root, .out = out, .reason = reason};
    reason[0] = '\0';
    *out = (struct uncore_list){.event = calloc(EVENTS_MAX, sizeof *out->event)};
    if (!out->event)
        return refuse(&f, "out of memory");
    bool found = false;
    if (!list_pmus(&f))
        refuse(&f, "there is no " PMUS ": this system has no perf events, or a container hides it");
    else
        found = find_intel(&f) || (!reason[0] && find_umc(&f)) || (!reason[0] && find_fabric(&f));
    if (!found && !reason[0])
        explain(&f);
    if (!found)
        uncore_list_fini(out);
    return found;
}

void uncore_list_fini(struct uncore_list *list)
{
    free(list->event);
    *list = (struct uncore_list){0};
}
