// perf.c - what an event counted between two readings, and why one could not be opened.
#include "bench/probe/perf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// An event that was on its counter for less than this share of the time has no value.
static const double SHARE_LEAST = 0.99;

void perf_begin(const struct perf_calls *calls, struct perf_open *event)
{
    event->begun = calls->read(event->fd, &event->before);
}

bool perf_counted(const struct perf_calls *calls, const struct perf_open *event, uint64_t *value)
{
    struct perf_reading now;
    if (!event->begun || !calls->read(event->fd, &now))
        return false;
    uint64_t enabled_ns = now.enabled_ns - event->before.enabled_ns;
    uint64_t running_ns = now.running_ns - event->before.running_ns;
    *value = now.value - event->before.value;
    return enabled_ns == 0 || (double)running_ns >= SHARE_LEAST * (double)enabled_ns;
}

void perf_explain(int code, const char *paranoid, char *out, size_t out_bytes)
{
    const char *text = strerror(code);
    bool forbidden = code == EACCES || code == EPERM;
    if (code == ENOENT || code == ENODEV || code == EOPNOTSUPP)
        text = "the processor, or the hypervisor above it, offers no such counter";
    else if (code == ENOSYS)
        text = "this system has no perf events";
    else if (code == EMFILE)
        text = "too many open files for so many threads: raise ulimit -n";
    if (forbidden && (!*paranoid || atoi(paranoid) > 0))
        snprintf(
            out, out_bytes,
            "not permitted: kernel.perf_event_paranoid is %s. Run as root, or setcap "
            "cap_perfmon=ep on the program, or sysctl kernel.perf_event_paranoid=0. A container "
            "also needs --cap-add PERFMON and a seccomp profile that allows perf_event_open",
            *paranoid ? paranoid : "not shown");
    else if (forbidden)
        snprintf(out, out_bytes,
                 "not permitted, though kernel.perf_event_paranoid is %s: a container needs "
                 "--cap-add PERFMON and a seccomp profile that allows perf_event_open",
                 paranoid);
    else
        snprintf(out, out_bytes, "%s", text);
}
