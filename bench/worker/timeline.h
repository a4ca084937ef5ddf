// timeline.h - time since a request, with pauses cut out.
#ifndef BENCH_WORKER_TIMELINE_H
#define BENCH_WORKER_TIMELINE_H

#include <stdint.h>

// The inputs of a timeline: the device's clock, which stamps steps, and the device's waits so far (DEVICE_WAIT_UNKNOWN
// if it does not measure them).
struct timeline_clock {
    uint64_t (*now_ns)(const void *user);
    uint64_t (*wait_ns)(const void *user);
    const void *user;
};

struct timeline {
    struct timeline_clock clock;
    uint64_t start_ns, paused_ns, pause_began_ns;
    uint64_t start_wait_ns, paused_wait_ns, pause_began_wait_ns;
};

// Time 0 is now. The clock's `user` is borrowed.
void timeline_start(struct timeline *t, const struct timeline_clock *clock);
// The timeline does not advance between the two calls. They do not nest.
void timeline_pause(struct timeline *t);
void timeline_resume(struct timeline *t);
// The time of a moment on the timeline. The timeline must not have been paused at that moment or since.
int64_t timeline_at(const struct timeline *t, uint64_t clock_ns);
// Waits so far, without those in pauses; NaN if the device does not measure them.
double timeline_wait_ns(const struct timeline *t);

#endif
