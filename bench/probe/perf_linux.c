// perf_linux.c - the kernel's perf events through their system call, and the threads that they count.
#ifdef __linux__

#include <dirent.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/probe/perf.h"

_Static_assert((int)PERF_HARDWARE == (int)PERF_TYPE_HARDWARE, "as the kernel has it");
_Static_assert((int)PERF_SOFTWARE == (int)PERF_TYPE_SOFTWARE, "as the kernel has it");
_Static_assert((int)PERF_CACHE == (int)PERF_TYPE_HW_CACHE, "as the kernel has it");
_Static_assert((int)PERF_PROCESSOR == (int)PERF_TYPE_RAW, "as the kernel has it");

static int open_event(const struct perf_counter *counter, const struct perf_place *place)
{
    struct perf_event_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.size = sizeof attr;
    attr.type = counter->type;
    attr.config = counter->config;
    attr.config1 = counter->config1;
    attr.config2 = counter->config2;
    attr.disabled = 1;
    attr.exclude_hv = place->cpu < 0;
    attr.exclude_kernel = place->user_only;
    attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
    int fd = (int)syscall(SYS_perf_event_open, &attr, place->thread, place->cpu, place->leader,
                          PERF_FLAG_FD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static void start_group(int leader)
{
    ioctl(leader, PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
}

static void stop_group(int leader)
{
    ioctl(leader, PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP);
}

static bool read_event(int fd, struct perf_reading *out)
{
    return read(fd, out, sizeof *out) == sizeof *out;
}

static void close_event(int fd)
{
    close(fd);
}

const struct perf_calls perf_system = {open_event, start_group, stop_group, read_event,
                                       close_event};

size_t perf_threads(int *thread_ids, size_t max)
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
