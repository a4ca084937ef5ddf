// counter.h - the interface of a source of events for counters.c: PAPI, or the kernel's perf events.
#ifndef BENCH_PROBE_COUNTER_H
#define BENCH_PROBE_COUNTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "bench/probe/perf.h"

enum counter_quantity {
    COUNT_INSTRUCTIONS,
    COUNT_CYCLES,
    COUNT_CACHE_MISSES,
    COUNT_TLB_MISSES,
    COUNT_STALLS,
    COUNT_PAGE_FAULTS,
    COUNT_CONTEXT_SWITCHES,
    COUNT_TASK_CLOCK, // ns on a processor
};

// A quantity to count, and how each source asks for it. Rows of one name are alternatives; the first that works is
// taken.
struct counter_event {
    const char *name;
    bool hardware;
    enum counter_quantity quantity; // chooses the known load
    const char *papi;               // NULL: not counted by PAPI
    struct perf_counter perf;
    const char *only_with; // a file that only the processors of this encoding have; NULL: any
};

enum { COUNTER_REASON_BYTES = 400 };

// Events counted together, without sharing a counter, over a list of threads.
struct counter_source {
    const char *name;
    const void *calls; // the library or the system below it; NULL: this build has none
    // Returns NULL, with the reason, if an event or a thread cannot be counted. Too few counters for all of the events
    // may be such a reason. thread_ids: (thread_count) ids of the system.
    void *(*open)(const struct counter_source *self, const struct counter_event *const *events,
                  size_t count, const int *thread_ids, size_t thread_count,
                  char reason[COUNTER_REASON_BYTES]);
    void (*start)(void *set);
    void (*stop)(void *set, int64_t *values); // OS_UNKNOWN: not counted, or not all the time
    void (*close)(void *set);
};

extern const struct counter_source counter_papi;
extern const struct counter_source counter_perf;

// What counters_open works on, so that tests can replay other machines.
struct counter_setup {
    const char *root; // before the paths of `only_with`: "" for this machine
    const struct counter_source *papi, *perf;
    // Whether the event, open alone on the calling thread, counts a known load right.
    bool (*right)(const struct counter_source *source, const struct counter_event *event, void *set,
                  char reason[COUNTER_REASON_BYTES]);
};
// The known loads of counter_loads.c.
bool counter_right(const struct counter_source *source, const struct counter_event *event,
                   void *set, char reason[COUNTER_REASON_BYTES]);
struct counters;
// counters_open on a setup; that of this machine is counters_open's own.
enum status counters_open_with(const struct counter_setup *setup, struct counters **out,
                               struct error *err);

#endif
