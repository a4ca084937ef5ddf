// pool.h - the thread pool, pinned with hwloc. The engine, the kernels and the ceilings share one pool, so that a
// measured limit and the work compared with it run on the same cores.
//
// The calling thread is worker 0 and takes part. Between jobs workers spin for a short time, because a decode step
// issues hundreds of jobs a few microseconds apart. Then they sleep, so that an idle engine costs nothing. One thread
// drives a pool; jobs do not nest.
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct pool;

// How many threads a pool may have in this process, and its default number.
struct pool_room {
    int units; // processing units that the process may use: the maximum
    int cores; // physical cores among them
    // CPU quota of the control group, thousandths of a processor; OS_UNKNOWN: none.
    int64_t quota_millis;
    int automatic; // the smaller of the cores and the quota rounded up, and at least 1
};
// Errors: ERR_IO, ERR_NOMEM, ERR_INTERNAL if no unit may be used.
enum status pool_room(struct pool_room *out, struct error *err);
// "the control group's quota of 1.50 processors; 8 cores may be used" where the quota decides, else "". Returns out.
const char *pool_room_note(const struct pool_room *room, char *out, size_t out_bytes);
int pool_automatic_threads(int cores, int64_t quota_millis);

// threads: at least 1, at most the processing units the process may use; 0: pool_room's automatic. pin: bind each
// thread to a separate core, filling the fastest core kind first. Where the system refuses (macOS), the pool runs
// unbound and pool_pinned() says so.
// Owned by the caller. Errors: ERR_USAGE for too many threads, ERR_NOMEM, ERR_IO.
enum status pool_create(int threads, bool pin, struct pool **out, struct error *err);
void pool_destroy(struct pool *pool);

int pool_threads(const struct pool *pool);
bool pool_pinned(const struct pool *pool);
// Bytes of last-level cache that the pool's threads reach together; 0: unknown.
size_t pool_cache_bytes(const struct pool *pool);

// Runs job(arg, worker, workers) once on every worker and returns when all are done. The workers see the caller's
// earlier writes, and the caller sees theirs afterwards. Allocates nothing. Cost: about a microsecond on spinning
// workers.
typedef void pool_job(void *arg, int worker, int workers);
void pool_run(struct pool *pool, pool_job *job, void *arg);

// A barrier of all workers inside a job: none returns before all have called it. It separates dependent phases without
// the cost of a new job.
void pool_barrier(struct pool *pool, int worker);

// The share of [0, count) of one worker, in whole multiples of `grain` (the last may be short). Shares are contiguous
// and disjoint, and their sizes differ by at most one grain.
void pool_share(int count, int grain, int worker, int workers, int *begin, int *end);

// Time, in ns since the pool was created, that the calling thread has waited in pool_run and pool_barrier. The bound
// rule calls it synchronization.
uint64_t pool_wait_ns(const struct pool *pool);

#endif
