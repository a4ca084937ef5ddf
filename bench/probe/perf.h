// perf.h - the kernel's perf events as five calls, which tests replace by a script.
//
// Source: perf_event_open(2). The numbers of types are part of the kernel's interface and never change.
#ifndef BENCH_PROBE_PERF_H
#define BENCH_PROBE_PERF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum perf_type { PERF_HARDWARE = 0, PERF_SOFTWARE = 1, PERF_CACHE = 3, PERF_PROCESSOR = 4 };

// What an event counts. type: one of the above, or the number of a PMU below /sys/bus/event_source/devices.
struct perf_counter {
    uint32_t type;
    uint64_t config, config1, config2;
};

// Where it is counted. Exactly one of thread and cpu is -1.
struct perf_place {
    int thread, cpu;
    int leader;     // the descriptor of the first event of its group; -1: it is the first
    bool user_only; // without the kernel's share; a PMU outside the cores accepts no such limit
};

struct perf_reading {
    uint64_t value;
    uint64_t enabled_ns, running_ns; // running is less where the event had to share its counter
};

struct perf_calls {
    // Returns a descriptor, which does not count yet, or -errno.
    int (*open)(const struct perf_counter *counter, const struct perf_place *place);
    // Of a leader and its whole group. Counts go on from where they were.
    void (*start)(int leader);
    void (*stop)(int leader);
    bool (*read)(int fd, struct perf_reading *out); // false: it cannot be read
    void (*close)(int fd);
};
extern const struct perf_calls perf_system;

// Lists at most `max` threads of this process, the caller's first. 0: this system has no perf events.
size_t perf_threads(int *thread_ids, size_t max);

// One open event. `before` is its reading when its group was started.
struct perf_open {
    int fd;
    bool begun; // `before` was read
    struct perf_reading before;
};

// Reads an event before its group is started.
void perf_begin(const struct perf_calls *calls, struct perf_open *event);
// What it counted since then. false: it could not be read then or now, or it had to share its counter, and a share is
// not scaled up. An event that was never on, because its thread slept, counted 0.
bool perf_counted(const struct perf_calls *calls, const struct perf_open *event, uint64_t *value);

// Why an event could not be opened, for people, with what would change that. code: errno. paranoid:
// kernel.perf_event_paranoid as text, "" if it is unknown.
void perf_explain(int code, const char *paranoid, char *out, size_t out_bytes);

#endif
