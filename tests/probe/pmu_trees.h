// pmu_trees.h - trees of files as servers of Intel and AMD show their PMUs.
//
// Made from the kernel's sources: arch/x86/events/intel/uncore_snbep.c, arch/x86/events/amd/uncore.c.
#ifndef TESTS_PROBE_PMU_TREES_H
#define TESTS_PROBE_PMU_TREES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/file.h"

static char root[64];

static inline void put(const char *path, const char *text)
{
    char whole[512], folder[512];
    struct error err = {0};
    snprintf(whole, sizeof whole, "%s%s", root, path);
    snprintf(folder, sizeof folder, "%s", whole);
    *strrchr(folder, '/') = '\0';
    assert_int_equal(file_make_dirs(folder, &err), OK);
    assert_int_equal(file_write(whole, text, strlen(text), &err), OK);
}

static inline void put_pmu(const char *pmu, const char *file, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "/sys/bus/event_source/devices/%s/%s", pmu, file);
    put(path, text);
}

static inline void put_event(const char *pmu, const char *event, const char *terms,
                             const char *scale)
{
    char file[96];
    snprintf(file, sizeof file, "events/%s", event);
    put_pmu(pmu, file, terms);
    snprintf(file, sizeof file, "events/%s.scale", event);
    put_pmu(pmu, file, scale);
    snprintf(file, sizeof file, "events/%s.unit", event);
    put_pmu(pmu, file, "MiB\n");
}

// A controller of a Sapphire Rapids server with two sockets.
static inline void put_imc(const char *pmu, const char *type)
{
    put_pmu(pmu, "type", type);
    put_pmu(pmu, "cpumask", "0,56\n");
    put_pmu(pmu, "format/event", "config:0-7\n");
    put_pmu(pmu, "format/umask", "config:8-15\n");
    put_pmu(pmu, "format/edge", "config:18\n");
    put_pmu(pmu, "events/clockticks", "event=0x01,umask=0x00\n");
    put_event(pmu, "cas_count_read", "event=0x05,umask=0xcf\n", "6.103515625e-5\n");
    put_event(pmu, "cas_count_write", "event=0x05,umask=0xf0\n", "6.103515625e-5\n");
}

static inline void put_others(void)
{
    put_pmu("cpu", "type", "4\n");
    put_pmu("software", "type", "1\n");
    put_pmu("uncore_cha_0", "type", "20\n");
}

static inline void put_intel(void)
{
    put("/proc/cpuinfo", "vendor_id\t: GenuineIntel\ncpu family\t: 6\nflags\t\t: fpu vme\n");
    put_others();
    put_imc("uncore_imc_0", "70\n");
    put_imc("uncore_imc_1", "71\n");
    put_imc("uncore_imc_2", "72\n");
    // The same bytes again.
    put_pmu("uncore_imc_free_running_0", "type", "80\n");
    put_pmu("uncore_imc_free_running_0", "cpumask", "0,56\n");
    put_pmu("uncore_imc_free_running_0", "format/event", "config:0-7\n");
    put_pmu("uncore_imc_free_running_0", "format/umask", "config:8-15\n");
    put_event("uncore_imc_free_running_0", "read", "event=0xff,umask=0x20\n", "6.103515625e-5\n");
    put_event("uncore_imc_free_running_0", "write", "event=0xff,umask=0x30\n", "6.103515625e-5\n");
}

// AMD: family 25 is Zen 3 and 4, 26 Zen 5. Only the newer fabric has a wide umask.
static inline void put_amd(const char *family, bool wide, const char *mask)
{
    char text[128];
    snprintf(text, sizeof text, "vendor_id\t: AuthenticAMD\ncpu family\t: %s\nflags\t\t: fpu vme\n",
             family);
    put("/proc/cpuinfo", text);
    put_others();
    put_pmu("amd_l3", "type", "12\n");
    put_pmu("amd_df", "type", "13\n");
    put_pmu("amd_df", "cpumask", mask);
    put_pmu("amd_df", "format/event", wide ? "config:0-7,32-37\n" : "config:0-7,32-35,59-60\n");
    put_pmu("amd_df", "format/umask", wide ? "config:8-15,24-27\n" : "config:8-15\n");
}

static inline void put_umc(const char *pmu, const char *type, const char *cpu)
{
    put_pmu(pmu, "type", type);
    put_pmu(pmu, "cpumask", cpu);
    put_pmu(pmu, "format/event", "config:0-7\n");
    put_pmu(pmu, "format/rdwrmask", "config:8-9\n");
}

#endif
