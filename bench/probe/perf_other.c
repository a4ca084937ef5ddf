// perf_other.c - no perf events: for systems without the kernel interface of Linux.
#ifndef __linux__

#include <errno.h>
#include <stddef.h>

#include "bench/probe/perf.h"

static int open_event(const struct perf_counter *counter, const struct perf_place *place)
{
    (void)counter, (void)place;
    return -ENOSYS;
}

// Nothing can be opened, so none of the other calls is used.
const struct perf_calls perf_system = {.open = open_event};

size_t perf_threads(int *thread_ids, size_t max)
{
    (void)thread_ids, (void)max;
    return 0;
}

#endif
