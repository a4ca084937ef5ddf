// counters_perf_linux.c - the kernel's perf events: one descriptor for each event and thread.
// Source: perf_event_open(2).
#ifdef __linux__

#include <dirent.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/os.h"
#include "bench/probe/counter.h"

struct perf_set {
    size_t events, threads;
    int fd[]; // events * threads, -1: not open
};

static void describe(enum counter_quantity quantity, struct perf_event_attr *attr)
{
    static const struct {
        uint32_t type;
        uint64_t config;
    } kernel[] = {
        [COUNT_INSTRUCTIONS] = {PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
        [COUNT_CYCLES] = {PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
        [COUNT_CACHE_MISSES] = {PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES},
        [COUNT_PAGE_FAULTS] = {PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS},
        [COUNT_CONTEXT_SWITCHES] = {PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES},
        [COUNT_TASK_CLOCK] = {PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK},
    };
    memset(attr, 0, sizeof *attr);
    attr->size = sizeof *attr;
    attr->type = kernel[quantity].type;
    attr->config = kernel[quantity].config;
    attr->disabled = 1;
    attr->exclude_hv = 1;
    attr->read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
}

static int open_event(enum counter_quantity quantity, int thread)
{
    struct perf_event_attr attr;
    describe(quantity, &attr);
    int fd = (int)syscall(SYS_perf_event_open, &attr, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0 && (errno == EACCES || errno == EPERM)) { // perf_event_paranoid 2: user code only
        attr.exclude_kernel = 1;
        fd = (int)syscall(SYS_perf_event_open, &attr, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
    }
    return fd;
}

static void explain(int error, char reason[COUNTER_REASON_BYTES])
{
    const char *text = strerror(error);
    if (error == ENOENT || error == ENODEV || error == EOPNOTSUPP)
        text = "the processor, or the hypervisor above it, offers no such counter";
    else if (error == EACCES || error == EPERM)
        text = "not permitted (kernel.perf_event_paranoid, or a container's rules)";
    else if (error == ENOSYS)
        text = "this kernel has no perf events";
    else if (error == EMFILE)
        text = "too many open files for so many threads";
    snprintf(reason, COUNTER_REASON_BYTES, "%s", text);
}

static void perf_close(void *opaque)
{
    struct perf_set *set = opaque;
    for (size_t i = 0; set && i < set->events * set->threads; i++)
        if (set->fd[i] >= 0)
            close(set->fd[i]);
    free(set);
}

static void *perf_open(const struct counter_event *const *events, size_t count,
                       const int *thread_ids, size_t thread_count,
                       char reason[COUNTER_REASON_BYTES])
{
    size_t total = count * thread_count;
    struct perf_set *set = malloc(sizeof *set + total * sizeof *set->fd);
    if (!set) {
        snprintf(reason, COUNTER_REASON_BYTES, "out of memory");
        return NULL;
    }
    set->events = count;
    set->threads = thread_count;
    for (size_t i = 0; i < total; i++)
        set->fd[i] = -1;
    for (size_t i = 0; i < total; i++) {
        set->fd[i] = open_event(events[i / thread_count]->quantity, thread_ids[i % thread_count]);
        if (set->fd[i] < 0) {
            explain(errno, reason);
            perf_close(set);
            return NULL;
        }
    }
    return set;
}

static void perf_start(void *opaque)
{
    struct perf_set *set = opaque;
    for (size_t i = 0; i < set->events * set->threads; i++) {
        ioctl(set->fd[i], PERF_EVENT_IOC_RESET, 0);
        ioctl(set->fd[i], PERF_EVENT_IOC_ENABLE, 0);
    }
}

// The value is scaled up if the kernel had to share a counter between events.
static int64_t read_event(int fd)
{
    struct {
        uint64_t value, enabled, running;
    } sample;
    if (read(fd, &sample, sizeof sample) != sizeof sample)
        return OS_UNKNOWN;
    if (sample.running == 0)
        return sample.enabled == 0 ? 0 : OS_UNKNOWN; // the thread slept, or the event never ran
    if (sample.running < sample.enabled)
        return (int64_t)((double)sample.value * (double)sample.enabled / (double)sample.running);
    return (int64_t)sample.value;
}

static void perf_stop(void *opaque, int64_t *values)
{
    struct perf_set *set = opaque;
    for (size_t i = 0; i < set->events * set->threads; i++)
        ioctl(set->fd[i], PERF_EVENT_IOC_DISABLE, 0);
    for (size_t e = 0; e < set->events; e++) {
        values[e] = 0;
        for (size_t t = 0; t < set->threads; t++) {
            int64_t value = read_event(set->fd[e * set->threads + t]);
            if (value == OS_UNKNOWN || values[e] == OS_UNKNOWN)
                values[e] = OS_UNKNOWN;
            else
                values[e] += value;
        }
    }
}

const struct counter_source counter_perf = {
    .name = "perf", .open = perf_open, .start = perf_start, .stop = perf_stop, .close = perf_close};

size_t counter_threads(int *thread_ids, size_t max)
{
    size_t count = 0;
    int self = (int)syscall(SYS_gettid);
    thread_ids[count++] = self;
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *entry; dir && count < max && (entry = readdir(dir));) {
        int id = atoi(entry->d_name);
        if (id > 0 && id != self)
            thread_ids[count++] = id;
    }
    if (dir)
        closedir(dir);
    return count;
}

#endif
