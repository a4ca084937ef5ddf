// clock.h - the one monotonic clock every time in this program is read from.
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

// Nanoseconds since an arbitrary start, never going back. Cost: about 20-40 ns (vDSO).
uint64_t clock_ns(void);

// Nanoseconds since 1970, UTC; for records, never for durations.
int64_t clock_wall_ns(void);

// "2026-01-31T12:00:00Z" of a wall time. out: at least 21 bytes. Returns `out`.
char *clock_iso8601(int64_t wall_ns, char *out, unsigned out_bytes);

#endif
