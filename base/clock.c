// clock.c - CLOCK_MONOTONIC and CLOCK_REALTIME as plain integers.
#include "base/clock.h"

#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_thread_cpu_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

bool clock_kept_processor(uint64_t cpu_ns, uint64_t wall_ns)
{
    enum { KEPT_PERCENT = 95 };
    return cpu_ns * 100 >= wall_ns * KEPT_PERCENT;
}

uint64_t clock_awake_look(struct clock_awake *clock, uint64_t now_ns, uint64_t look_ns)
{
    if (clock->last_ns && now_ns > clock->last_ns && now_ns - clock->last_ns > look_ns)
        clock->lost_ns += now_ns - clock->last_ns - look_ns;
    clock->last_ns = now_ns;
    return now_ns - clock->lost_ns;
}

uint64_t clock_awake_skip(struct clock_awake *clock, uint64_t now_ns)
{
    uint64_t gap = clock->last_ns && now_ns > clock->last_ns ? now_ns - clock->last_ns : 0;
    clock->lost_ns += gap;
    clock->last_ns = now_ns;
    return gap;
}

int64_t clock_wall_ns(void)
{
    return (int64_t)read_clock(CLOCK_REALTIME);
}

char *clock_iso8601(int64_t wall_ns, char *out, unsigned out_bytes)
{
    time_t seconds = (time_t)(wall_ns / 1000000000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    if (!strftime(out, out_bytes, "%Y-%m-%dT%H:%M:%SZ", &utc) && out_bytes)
        out[0] = '\0';
    return out;
}
