// counters_perf_other.c - no perf events: for systems without the kernel interface of Linux.
#ifndef __linux__

#include <stdio.h>

#include "bench/probe/counter.h"

static void *none_open(const struct counter_event *const *events, size_t count,
                       const int *thread_ids, size_t thread_count,
                       char reason[COUNTER_REASON_BYTES])
{
    (void)events, (void)count, (void)thread_ids, (void)thread_count;
    snprintf(reason, COUNTER_REASON_BYTES, "this system has no perf events");
    return NULL;
}

// Nothing can be opened, so none of the other calls is used.
const struct counter_source counter_perf = {.name = "perf", .open = none_open};

size_t counter_threads(int *thread_ids, size_t max)
{
    (void)thread_ids, (void)max;
    return 0;
}

#endif
