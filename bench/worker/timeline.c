// timeline.c - time since a request, with pauses cut out.
#include "bench/worker/timeline.h"

#include <math.h>

#include "device/device.h"

static uint64_t now(const struct timeline *t)
{
    return t->clock.now_ns(t->clock.user);
}

static uint64_t waits(const struct timeline *t)
{
    return t->clock.wait_ns(t->clock.user);
}

void timeline_start(struct timeline *t, const struct timeline_clock *clock)
{
    *t = (struct timeline){.clock = *clock};
    t->start_wait_ns = waits(t);
    t->start_ns = now(t);
}

void timeline_pause(struct timeline *t)
{
    t->pause_began_ns = now(t);
    t->pause_began_wait_ns = waits(t);
}

void timeline_resume(struct timeline *t)
{
    t->paused_wait_ns += waits(t) - t->pause_began_wait_ns;
    t->paused_ns += now(t) - t->pause_began_ns;
}

int64_t timeline_at(const struct timeline *t, uint64_t clock_ns)
{
    return (int64_t)(clock_ns - t->start_ns - t->paused_ns);
}

double timeline_wait_ns(const struct timeline *t)
{
    if (t->start_wait_ns == DEVICE_WAIT_UNKNOWN)
        return NAN;
    return (double)(waits(t) - t->start_wait_ns - t->paused_wait_ns);
}
