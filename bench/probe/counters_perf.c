// counters_perf.c - the kernel's perf events of threads: one group for each thread.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"
#include "bench/probe/counter.h"
#include "bench/probe/perf.h"
#include "bench/probe/source.h"

struct perf_set {
    const struct perf_calls *calls;
    size_t events, threads;
    struct perf_open event[]; // (threads, events); fd -1: not open
};

static int open_event(const struct perf_calls *calls, const struct perf_counter *counter,
                      int thread, int leader)
{
    struct perf_place place = {.thread = thread, .cpu = -1, .leader = leader};
    int fd = calls->open(counter, &place);
    if (fd == -EACCES || fd == -EPERM) { // kernel.perf_event_paranoid 2: user code only
        place.user_only = true;
        fd = calls->open(counter, &place);
    }
    return fd;
}

static void perf_close(void *opaque)
{
    struct perf_set *set = opaque;
    // Members before their leaders.
    for (size_t i = set ? set->events * set->threads : 0; i-- > 0;)
        if (set->event[i].fd >= 0)
            set->calls->close(set->event[i].fd);
    free(set);
}

static void *perf_open(const struct counter_source *self, const struct counter_event *const *events,
                       size_t count, const int *thread_ids, size_t thread_count,
                       char reason[COUNTER_REASON_BYTES])
{
    size_t total = count * thread_count;
    struct perf_set *set = malloc(sizeof *set + total * sizeof *set->event);
    if (!set) {
        snprintf(reason, COUNTER_REASON_BYTES, "out of memory");
        return NULL;
    }
    *set = (struct perf_set){.calls = self->calls, .events = count, .threads = thread_count};
    for (size_t i = 0; i < total; i++)
        set->event[i] = (struct perf_open){.fd = -1};
    for (size_t i = 0; i < total; i++) {
        size_t first = i - i % count;
        int leader = i == first ? -1 : set->event[first].fd;
        int fd = open_event(set->calls, &events[i % count]->perf, thread_ids[i / count], leader);
        if (fd < 0) {
            char paranoid[16] = "";
            system_text("", "/proc/sys/kernel/perf_event_paranoid", paranoid, sizeof paranoid);
            perf_explain(-fd, paranoid, reason, COUNTER_REASON_BYTES);
            perf_close(set);
            return NULL;
        }
        set->event[i].fd = fd;
    }
    return set;
}

static void perf_start(void *opaque)
{
    struct perf_set *set = opaque;
    for (size_t i = 0; i < set->events * set->threads; i++)
        perf_begin(set->calls, &set->event[i]);
    for (size_t t = 0; t < set->threads; t++)
        set->calls->start(set->event[t * set->events].fd);
}

static void perf_stop(void *opaque, int64_t *values)
{
    struct perf_set *set = opaque;
    for (size_t t = 0; t < set->threads; t++)
        set->calls->stop(set->event[t * set->events].fd);
    for (size_t e = 0; e < set->events; e++) {
        values[e] = 0;
        for (size_t t = 0; t < set->threads; t++) {
            uint64_t value;
            bool counted = perf_counted(set->calls, &set->event[t * set->events + e], &value);
            if (!counted || values[e] == OS_UNKNOWN)
                values[e] = OS_UNKNOWN;
            else
                values[e] += (int64_t)value;
        }
    }
}

const struct counter_source counter_perf = {.name = "perf",
                                            .calls = &perf_system,
                                            .open = perf_open,
                                            .start = perf_start,
                                            .stop = perf_stop,
                                            .close = perf_close};
