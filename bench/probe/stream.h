// stream.h - how fast the pool's threads stream through one memory level: for ceilings and canaries.
//
// Each worker owns one region, first touched by itself, and streams through the front part of it that
// fits the level. All workers start together and run for a fixed time; the rate is the sum of theirs,
// so that on a machine with unlike cores each counts with its own speed. In DRAM every
// window continues where the last one stopped: no byte is read again before the whole share was read.
#ifndef BENCH_PROBE_STREAM_H
#define BENCH_PROBE_STREAM_H

#include "base/pool.h"
#include "base/status.h"
#include "bench/probe/probe.h"
#include "kernels/kernels.h"

struct stream;

// Bytes that each of `threads` workers streams through in a level. A cache: half of the part a thread has
// of L1; a quarter beyond (neighbours use the same last cache: on a shared host half of it was no longer
// all there), or more where a quarter is not clearly larger than the level before. DRAM: four times a
// thread's part of the last cache, and 256 MiB at least for all together. 0 when the part of a thread
// cannot be told apart from the level before it.
size_t stream_share(const struct memory_level *levels, int count, int level, int threads);

// For the levels up to `deepest`, and fewest_threads or more of the pool's workers. Borrows the pool.
// Errors: ERR_NOMEM, naming what is needed and what there is.
enum status stream_create(struct pool *pool, const struct memory_level *levels, int count,
                          int deepest, int fewest_threads, struct stream **out, struct error *err);
void stream_destroy(struct stream *stream);
size_t stream_memory_bytes(const struct stream *stream); // all regions, resident

// Brings what the next window will read into its cache; nothing to do for DRAM.
void stream_warm(struct stream *stream, const struct kernel *row, int level, int threads);

// Processor time of the calling thread. Compared with the clock, it shows whether another program had the
// processor meanwhile. It does not show what a hypervisor takes.
uint64_t stream_thread_cpu_ns(void);
enum { UNDISTURBED_PERCENT = 95 }; // of a window on the processor: nobody else had it

// Bytes per second that a READ, COPY or TRIAD row moves, over about window_ns. A store counts once: what
// a cache reads to own the line is not counted. NaN when the level has no share. *disturbed (may be NULL):
// a thread lost its processor to another program.
double stream_rate(struct stream *stream, const struct kernel *row, int level, int threads,
                   uint64_t window_ns, bool *disturbed);

// The same for a set of any size, `share` bytes a thread, that is read through once before: whatever of it
// the caches keep counts. NaN when a thread's region is smaller.
double stream_rate_set(struct stream *stream, const struct kernel *row, size_t share, int threads,
                       uint64_t window_ns, bool *disturbed);

#endif
