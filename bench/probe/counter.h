// counter.h - the interface of a source of events for counters.c: PAPI, or the kernel's perf events.
#ifndef BENCH_PROBE_COUNTER_H
#define BENCH_PROBE_COUNTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum counter_quantity {
    COUNT_INSTRUCTIONS,
    COUNT_CYCLES,
    COUNT_CACHE_MISSES,
    COUNT_PAGE_FAULTS,
    COUNT_CONTEXT_SWITCHES,
    COUNT_TASK_CLOCK, // ns on a processor
};

// A quantity to count, and its name in each source.
struct counter_event {
    const char *name;
    bool hardware;
    enum counter_quantity quantity; // what counters_perf_linux.c translates
    const char *papi;               // NULL: not counted by PAPI
};

enum { COUNTER_REASON_BYTES = 160 };

// Events counted together over a list of threads.
struct counter_source {
    const char *name;
    // Returns NULL, with the reason, if an event or a thread cannot be counted. thread_ids: (thread_count) ids of the
    // system.
    void *(*open)(const struct counter_event *const *events, size_t count, const int *thread_ids,
                  size_t thread_count, char reason[COUNTER_REASON_BYTES]);
    void (*start)(void *set);
    void (*stop)(void *set, int64_t *values); // OS_UNKNOWN: cannot be read
    void (*close)(void *set);
};

extern const struct counter_source counter_papi;
extern const struct counter_source counter_perf;

// Lists at most `max` threads of this process, the caller's first.
size_t counter_threads(int *thread_ids, size_t max);

#endif
