// pool.c - workers that spin, then sleep, while they wait; one generation counter hands over jobs.
//
// A job is published by raising `generation`; `running` counts the workers that have yet to finish it.
// Both are C11 atomics, and they alone order the plain fields `job` and `arg`. A worker that has spun long enough
// sleeps on a condition variable. It raises `sleepers` before it reads `generation` a last time. The driver raises
// `generation` before it reads `sleepers`. All four accesses are sequentially consistent, so one side always sees the
// other and no wake-up is lost.
//
// Within a job no worker sleeps, because its peers will arrive soon. After a while the waiting thread yields between
// looks, so that more threads than processors still make progress.
#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bind.h"
#include "base/clock.h"
#include "base/interrupt.h"
#include "base/os.h"

enum {
    CACHE_LINE = 128, // two lines: processors fetch neighbours in pairs, Apple's lines are 128
    IDLE_SPIN_NS = 100 * 1000, // a wake-up was seen to cost 30-70 us: sleep only when far from work
    PEER_SPIN_NS = 50 * 1000,  // then yield between looks
    LOOKS_PER_CLOCK = 32,      // reading the clock costs as much as a few pauses
};

struct pool {
    // Written by the driver once per job, read by all.
    _Alignas(CACHE_LINE) _Atomic uint32_t generation;
    pool_job *job;
    void *arg;
    bool quit;
    // Written by every worker.
    _Alignas(CACHE_LINE) _Atomic int running;
    _Alignas(CACHE_LINE) _Atomic int arrived; // at the barrier
    _Alignas(CACHE_LINE) _Atomic uint32_t barrier_phase;
    // Rarely touched.
    _Alignas(CACHE_LINE) _Atomic int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool mutex_ready, wake_ready;
    struct worker *workers; // workers[0] is the calling thread and has no pthread
    int threads, started;
    bool pinned;
    uint64_t wait_ns;
    size_t cache_bytes;
    hwloc_topology_t topology;
    hwloc_cpuset_t restore; // the caller's binding before the pool took it over
    struct bind_order order;
};

struct worker {
    struct pool *pool;
    pthread_t thread;
    int index;
};

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ __volatile__("yield");
#endif
}

// Spins until `*word` differs from `old` or limit_ns have passed; true when it differs.
static bool spin_while(_Atomic uint32_t *word, uint32_t old, uint64_t limit_ns)
{
    uint64_t start = 0;
    for (unsigned look = 0; atomic_load_explicit(word, memory_order_acquire) == old; look++) {
        cpu_relax();
        if (look % LOOKS_PER_CLOCK != LOOKS_PER_CLOCK - 1)
            continue;
        uint64_t now = clock_ns();
        if (!start)
            start = now;
        else if (now - start > limit_ns)
            return false;
    }
    return true;
}

// ---- workers -------------------------------------------------------------------------------------

static void sleep_while(struct pool *pool, uint32_t seen)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->generation) == seen)
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void publish(struct pool *pool)
{
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleepers) == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

static void bind_self(struct pool *pool, int index)
{
    hwloc_cpuset_t set = hwloc_bitmap_alloc();
    if (!set)
        return;
    hwloc_bitmap_only(set, pool->order.units[index]);
    hwloc_set_cpubind(pool->topology, set, HWLOC_CPUBIND_THREAD);
    hwloc_bitmap_free(set);
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    struct pool *pool = self->pool;
    uint32_t seen = 0;
    if (pool->pinned)
        bind_self(pool, self->index);
    for (;;) {
        if (!spin_while(&pool->generation, seen, IDLE_SPIN_NS))
            sleep_while(pool, seen);
        seen++;
        if (pool->quit)
            return NULL;
        pool->job(pool->arg, self->index, pool->threads);
        atomic_fetch_sub_explicit(&pool->running, 1, memory_order_release);
    }
}

// ---- jobs ----------------------------------------------------------------------------------------

void pool_run(struct pool *pool, pool_job *job, void *arg)
{
    if (pool->threads == 1) {
        job(arg, 0, 1);
        return;
    }
    pool->job = job;
    pool->arg = arg;
    atomic_store_explicit(&pool->running, pool->threads - 1, memory_order_relaxed);
    publish(pool);
    job(arg, 0, pool->threads);
    if (atomic_load_explicit(&pool->running, memory_order_acquire) == 0)
        return;
    uint64_t start = clock_ns(), now = start;
    for (unsigned look = 0; atomic_load_explicit(&pool->running, memory_order_acquire); look++) {
        cpu_relax();
        if (look % LOOKS_PER_CLOCK != LOOKS_PER_CLOCK - 1)
            continue;
        now = clock_ns();
        if (now - start > PEER_SPIN_NS)
            sched_yield();
    }
    pool->wait_ns += clock_ns() - start;
}

void pool_barrier(struct pool *pool, int worker)
{
    if (pool->threads == 1)
        return;
    // The phase cannot advance before this worker has arrived, so it is read first.
    uint32_t phase = atomic_load_explicit(&pool->barrier_phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) == pool->threads - 1) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->barrier_phase, phase + 1, memory_order_release);
        return;
    }
    uint64_t start = worker == 0 ? clock_ns() : 0;
    while (!spin_while(&pool->barrier_phase, phase, PEER_SPIN_NS))
        sched_yield();
    if (worker == 0)
        pool->wait_ns += clock_ns() - start;
}

void pool_share(int count, int grain, int worker, int workers, int *begin, int *end)
{
    int64_t grains = ((int64_t)count + grain - 1) / grain;
    int64_t first = grains * worker / workers * grain,
            last = grains * (worker + 1) / workers * grain;
    *begin = (int)(first < count ? first : count);
    *end = (int)(last < count ? last : count);
}

int pool_threads(const struct pool *pool)
{
    return pool->threads;
}

bool pool_pinned(const struct pool *pool)
{
    return pool->pinned;
}

size_t pool_cache_bytes(const struct pool *pool)
{
    return pool->cache_bytes;
}

uint64_t pool_wait_ns(const struct pool *pool)
{
    return pool->wait_ns;
}

// ---- creating and destroying ---------------------------------------------------------------------------

// The units that this thread may use: its own binding if the system reports it, else all units of the machine.
static enum status find_units(struct pool *pool, struct error *err)
{
    TRY(bind_topology(&pool->topology, err));
    pool->restore = hwloc_bitmap_alloc();
    if (!pool->restore)
        return FAIL(err, ERR_NOMEM, "no memory for the set of processors");
    if (hwloc_get_cpubind(pool->topology, pool->restore, HWLOC_CPUBIND_THREAD) != 0)
        hwloc_bitmap_copy(pool->restore, hwloc_topology_get_allowed_cpuset(pool->topology));
    return bind_order(pool->topology, pool->restore, &pool->order, err);
}

static void forget_units(struct pool *pool)
{
    bind_order_fini(&pool->order);
    hwloc_bitmap_free(pool->restore);
    if (pool->topology)
        hwloc_topology_destroy(pool->topology);
}

// More threads than the quota allows would all be throttled in every period.
int pool_automatic_threads(int cores, int64_t quota_millis)
{
    if (quota_millis == OS_UNKNOWN || quota_millis >= (int64_t)cores * 1000)
        return cores;
    return quota_millis <= 1000 ? 1 : (int)((quota_millis + 999) / 1000);
}

enum status pool_room(struct pool_room *out, struct error *err)
{
    struct pool pool = {0};
    *out = (struct pool_room){.quota_millis = os_cpu_quota_millis()};
    enum status status = find_units(&pool, err);
    if (status == OK) {
        out->units = pool.order.count;
        out->cores = pool.order.cores;
        out->automatic = pool_automatic_threads(out->cores, out->quota_millis);
    }
    forget_units(&pool);
    return status;
}

const char *pool_room_note(const struct pool_room *room, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%s", "");
    if (room->automatic < room->cores)
        snprintf(out, out_bytes,
                 "the control group's quota of %.2f processors; %d cores may be used",
                 (double)room->quota_millis / 1000, room->cores);
    return out;
}

// Binds the calling thread to the first unit. False where the system refuses.
static bool bind_caller(struct pool *pool)
{
    hwloc_cpuset_t set = hwloc_bitmap_alloc();
    if (!set)
        return false;
    hwloc_bitmap_only(set, pool->order.units[0]);
    bool bound = hwloc_set_cpubind(pool->topology, set, HWLOC_CPUBIND_THREAD) == 0;
    hwloc_bitmap_free(set);
    return bound;
}

// Starts a worker with the signals that end a program blocked, because they belong to the caller (base/interrupt.h).
static int start_worker(struct worker *worker)
{
    sigset_t signals, before;
    interrupt_set(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    int failed = pthread_create(&worker->thread, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

static enum status start_workers(struct pool *pool, struct error *err)
{
    int failed = pthread_mutex_init(&pool->mutex, NULL);
    pool->mutex_ready = !failed;
    if (!failed) {
        failed = pthread_cond_init(&pool->wake, NULL);
        pool->wake_ready = !failed;
    }
    pool->started = 1;
    for (int i = 1; i < pool->threads && !failed; i++) {
        pool->workers[i] = (struct worker){.pool = pool, .index = i};
        failed = start_worker(&pool->workers[i]);
        pool->started += !failed;
    }
    return failed ? FAIL_OS(err, failed, "cannot start %d threads", pool->threads) : OK;
}

enum status pool_create(int threads, bool pin, struct pool **out, struct error *err)
{
    *out = NULL;
    if (threads < 0)
        return FAIL(err, ERR_USAGE, "threads: %d makes no sense", threads);
    void *memory = NULL;
    if (posix_memalign(&memory, CACHE_LINE, sizeof(struct pool)) != 0)
        return FAIL(err, ERR_NOMEM, "no memory for a thread pool");
    struct pool *pool = memset(memory, 0, sizeof *pool);
    enum status status = find_units(pool, err);
    if (status != OK)
        goto out;
    if (threads > pool->order.count) {
        status =
            FAIL(err, ERR_USAGE, "threads: %d requested, but only %d processing unit%s may be used",
                 threads, pool->order.count, pool->order.count == 1 ? "" : "s");
        goto out;
    }
    pool->threads =
        threads ? threads : pool_automatic_threads(pool->order.cores, os_cpu_quota_millis());
    pool->workers = calloc((size_t)pool->threads, sizeof *pool->workers);
    if (!pool->workers) {
        status = FAIL(err, ERR_NOMEM, "no memory for %d threads", pool->threads);
        goto out;
    }
    pool->pinned = pin && bind_caller(pool);
    pool->cache_bytes = bind_cache_bytes(pool->topology, &pool->order, pool->threads);
    status = start_workers(pool, err);
out:
    if (status != OK)
        pool_destroy(pool);
    else
        *out = pool;
    return status;
}

void pool_destroy(struct pool *pool)
{
    if (!pool)
        return;
    if (pool->started > 1) {
        pool->quit = true;
        publish(pool);
        for (int i = 1; i < pool->started; i++)
            pthread_join(pool->workers[i].thread, NULL);
    }
    if (pool->wake_ready)
        pthread_cond_destroy(&pool->wake);
    if (pool->mutex_ready)
        pthread_mutex_destroy(&pool->mutex);
    if (pool->pinned)
        hwloc_set_cpubind(pool->topology, pool->restore, HWLOC_CPUBIND_THREAD);
    free(pool->workers);
    forget_units(pool);
    free(pool);
}
