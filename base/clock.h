// clock.h - the monotonic clock that all times in this program are read from.
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

// Nanoseconds since an arbitrary start, never going back. Cost: about 20-40 ns (vDSO).
uint64_t clock_ns(void);

// Processor time of the calling thread. If it advances less than clock_ns(), another program had the processor
// meanwhile. It does not show time taken by a hypervisor.
uint64_t clock_thread_cpu_ns(void);

// Whether a thread kept its processor during an interval: it had at least 95 % of it. Ticks take less than 1 %: at most
// a thousand a second, of a few microseconds each. Another program takes a slice of about 0.75 ms (Linux,
// kernel/sched/fair.c), which is 9 % of the longest window (8 ms) and more of a shorter one. What is overlooked makes a
// rate at most 5 % low.
bool clock_kept_processor(uint64_t cpu_ns, uint64_t wall_ns);

// A clock that leaves out the time in which its owner did not run: stopped (Ctrl-Z, SIGSTOP), frozen by a control group
// or a debugger, or starved. The owner reads it at least every `look_ns`. A longer gap counts as `look_ns`, and the
// rest is lost. Starts as {0}. A deadline on this clock does not pass while its owner cannot run.
struct clock_awake {
    uint64_t last_ns; // clock_ns() at the last reading; 0: none yet
    uint64_t lost_ns; // left out so far
};
// now_ns: clock_ns(). Returns the awake time: now_ns minus the lost time.
uint64_t clock_awake_look(struct clock_awake *clock, uint64_t now_ns, uint64_t look_ns);
// Leaves out all the time since the last reading, which the owner knows to have been a stop. Returns that time.
uint64_t clock_awake_skip(struct clock_awake *clock, uint64_t now_ns);

// Nanoseconds since 1970, UTC; for records, never for durations.
int64_t clock_wall_ns(void);

// "2026-01-31T12:00:00Z" of a wall time. out: at least 21 bytes. Returns `out`.
char *clock_iso8601(int64_t wall_ns, char *out, unsigned out_bytes);

#endif
