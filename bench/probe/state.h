// state.h - probes the machine's state in three short ways: sync, latency, and a slice of real work.
//
// On a virtual machine the processors move between cores and caches, and neighbours share the last-level cache.
// Bandwidth and clock can then stay constant while a decode step slows down by a third, because the round trip between
// processors and the latency of the cache have changed. These probes measure both. Each runs on the threads of a host,
// takes well under a millisecond, and runs between steps, outside the timed windows.
#ifndef BENCH_PROBE_STATE_H
#define BENCH_PROBE_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "device/device.h"

// NaN: not measured (sync needs two threads).
struct machine_state {
    // Transfer of a cache line from one thread to the next, mean over a ring of all threads.
    double sync_ns;
    double latency_ns; // one step of a random walk over the working set, worker 0
    double work_ns; // a slice of decode-like work: matrix-vector products with a barrier after each
};

struct state_probe;

// working_set_bytes: the size of the measured work's set. The walk and the slice touch as much, up to STATE_BYTES_MAX.
// Borrows the device. Errors: ERR_NOMEM, ERR_UNSUPPORTED for a device without threads or without a kernel for the
// slice.
enum { STATE_BYTES_MAX = 24 << 20 };
enum status state_probe_create(struct device *device, size_t working_set_bytes,
                               struct state_probe **out, struct error *err);
void state_probe_destroy(struct state_probe *probe);
size_t state_probe_bytes(const struct state_probe *probe); // resident

// Medians of three runs of each probe. Cost: 1 to 3 ms.
struct machine_state state_probe_look(struct state_probe *probe);

// Fills every stride-th element of `walk`. Following them from any start visits all `count` elements once.
void state_walk_fill(uint32_t *walk, size_t count, size_t stride);

#endif
