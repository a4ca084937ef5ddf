// timeline.h - time since a request, with pauses cut out.
#ifndef BENCH_WORKER_TIMELINE_H
#define BENCH_WORKER_TIMELINE_H

#include <stdint.h>

// What a timeline reads: the device's clock, on which steps are stamped, and the device's waits so far
// (DEVICE_WAIT_UNKNOWN where it does not measure them).
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

void timeline_start(struct timeline *t, const struct timeline_clock *clock);
// Between the two the timeline does not advance. They do not nest.
void timeline_pause(struct timeline *t);
void timeline_resume(struct timeline *t);
// The place of a moment on the timeline. It was not paused then and has not been paused since.
int64_t timeline_at(const struct timeline *t, uint64_t clock_ns);
// Waits so far, those in pauses left out; NaN where the device does not measure them.
double timeline_wait_ns(const struct timeline *t);

#endif
