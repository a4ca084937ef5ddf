// stream.h - measures how fast the pool's threads stream through one memory level, for ceilings and canaries.
//
// Each worker owns one region, which it touches first, and streams through the front part that fits the level. All
// workers start together and run for a fixed time. The rate is the sum of the workers' rates, so that different cores
// count with their own speeds. In DRAM each window continues where the last one stopped, so that no byte is read again
// before the whole share was read.
#ifndef BENCH_PROBE_STREAM_H
#define BENCH_PROBE_STREAM_H

#include "base/pool.h"
#include "base/status.h"
#include "bench/probe/probe.h"
#include "kernels/kernels.h"

struct stream;

// Bytes that each of `threads` workers streams through in a level. In L1 it is half of a thread's part. In other caches
// it is a quarter, because on a shared host one guest could not use half of the last-level cache. It is more if a
// quarter is not clearly larger than the previous level. In DRAM it is four times a thread's part of the last-level
// cache, and at least 256 MiB for all threads. A cache that keeps what it has then serves a quarter of the reads at
// most. 0 if a thread's part cannot be distinguished from the previous level.
size_t stream_share(const struct memory_level *levels, int count, int level, int threads);

// Creates regions for the levels up to `deepest`, and for fewest_threads or more of the pool's workers. Borrows the
// pool. Errors: ERR_NOMEM, naming the needed and the available memory; ERR_INTERRUPTED, since filling gigabytes takes
// seconds.
enum status stream_create(struct pool *pool, const struct memory_level *levels, int count,
                          int deepest, int fewest_threads, struct stream **out, struct error *err);
void stream_destroy(struct stream *stream);
size_t stream_memory_bytes(const struct stream *stream); // all regions, resident

// Loads the next window into its cache; does nothing for DRAM.
void stream_warm(struct stream *stream, const struct kernel *row, int level, int threads);

// Bytes per second that a READ, COPY or TRIAD row moves, over about window_ns. A store counts once, without the read
// for ownership. NaN when the level has no share. *disturbed (or NULL): a thread lost its processor to
// another program (clock_kept_processor).
double stream_rate(struct stream *stream, const struct kernel *row, int level, int threads,
                   uint64_t window_ns, bool *disturbed);

// The same for a set of any size, `share` bytes per thread, after reading it once. Parts that stay in caches are read
// from there. NaN if a thread's region is smaller.
double stream_rate_set(struct stream *stream, const struct kernel *row, size_t share, int threads,
                       uint64_t window_ns, bool *disturbed);

#endif
