// uncore.h - bytes that the machine's memory controllers moved, counted outside the cores.
//
// Linux shows each controller as a PMU below /sys/bus/event_source/devices: Intel's integrated memory controllers
// (uncore_imc_*), AMD's unified memory controllers (amd_umc_*, Zen 4 and Linux 6.10 on) or AMD's data fabric (amd_df).
// They count all traffic of the machine, whichever program or device caused it. A processor of Arm, and most virtual
// machines, show none that is known here.
#ifndef BENCH_PROBE_UNCORE_H
#define BENCH_PROBE_UNCORE_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/probe/perf.h"

// BOTH: the counter does not separate reads from writes.
enum uncore_way { UNCORE_READ, UNCORE_WRITE, UNCORE_BOTH, UNCORE_WAYS };
enum { UNCORE_REASON_BYTES = 640 };

// ---- what is there (uncore_sysfs.c) -------------------------------------------------------------------

// One event of one PMU on the processor that stands for a socket.
struct uncore_event {
    char pmu[32];
    struct perf_counter counter;
    int cpu;
    enum uncore_way way;
    double scale; // bytes per count
};
struct uncore_list {
    const char *source; // "Intel uncore_imc", "AMD amd_umc", "AMD amd_df"
    struct uncore_event *event;
    size_t count;
    int sockets; // processors in the PMUs' masks
};

// The events that together count all bytes, from the files below `root`: "" for this machine. Returns false, with what
// is missing and what would lift it.
bool uncore_list(const char *root, struct uncore_list *out, char reason[UNCORE_REASON_BYTES]);
void uncore_list_fini(struct uncore_list *list);

// ---- counting them (uncore.c) -------------------------------------------------------------------------

struct uncore;
// Opens the events, in as few passes as the PMUs have counters for. Returns false, with the reason; else the reason is
// "". Caller closes *out.
bool uncore_open(const char *root, const struct perf_calls *calls, struct uncore **out,
                 char reason[UNCORE_REASON_BYTES]);
void uncore_close(struct uncore *u);
const char *uncore_source(const struct uncore *u);
bool uncore_separates(const struct uncore *u); // reads from writes; else both are one way
// Work has to run once per pass; the bytes of all passes add up. At least 1.
size_t uncore_passes(const struct uncore *u);
void uncore_start(struct uncore *u, size_t pass);
// Adds what the pass counted, in bytes; ways that it does not count stay as they are. NaN where a counter failed.
void uncore_stop(struct uncore *u, size_t pass, double bytes[UNCORE_WAYS]);
// Whether the counters count a known load of reads and writes right; else the reason. size_bytes: of the load; 0: some
// times the last cache. Cost: some 100 ms.
bool uncore_right(struct uncore *u, size_t size_bytes, char reason[UNCORE_REASON_BYTES]);

#endif
