// stream.c - allocates one region per worker, and times streams through them.
#include "bench/probe/stream.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/os.h"
#include "base/rng.h"
#include "base/str.h"

enum {
    BLOCK_BYTES = 1 << 20,       // bytes between two reads of the clock: about 20 us at 50 GB/s
    STORE_BLOCK_BYTES = 8 << 20, // stores past the caches begin to pay at this size
    HUGE_BYTES = 2 << 20,        // regions are aligned for huge pages
    STAGGER_BYTES =
        17 * 64, // keeps arrays from sharing the low bits of their addresses (4K aliasing)
    ARRAYS_MAX = 3,
};
static const size_t DRAM_BYTES_MIN = (size_t)256 << 20;

struct region {
    _Alignas(128) unsigned char *bytes;
    size_t size_bytes;
    size_t cursor; // where the next window in DRAM begins
    double rate;   // of the last window
    bool disturbed;
    uint64_t sink; // keeps the reads from being optimized away
};

struct stream {
    struct pool *pool;
    struct memory_level level[MEMORY_LEVELS_MAX];
    int levels, workers;
    struct region *region; // one per worker
    atomic_bool stop;      // a signal came while the regions were filled
    // the current window
    const struct kernel *row;
    size_t share; // bytes that each thread streams through
    bool dram;    // continue where the last window stopped
    int threads;
    uint64_t window_ns; // 0: one pass, to warm up
};

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

// Threads that share one instance of a level, when cores are filled in order.
static size_t sharers(const struct memory_level *level, int cores_total, int threads)
{
    if (threads > cores_total)
        return (size_t)min_int(threads, level->shared_by);
    return (size_t)min_int(threads, level->cores);
}

size_t stream_share(const struct memory_level *levels, int count, int level, int threads)
{
    int cores = levels[count - 1].cores;
    if (level == count - 1) {
        const struct memory_level *last = count > 1 ? &levels[count - 2] : NULL;
        size_t beyond_cache =
            last ? 4 * last->size_bytes / sharers(last, cores, threads) : DRAM_BYTES_MIN;
        size_t least = DRAM_BYTES_MIN / (size_t)threads;
        return (beyond_cache > least ? beyond_cache : least) & ~(size_t)4095;
    }
    size_t part = levels[level].size_bytes / sharers(&levels[level], cores, threads);
    if (level == 0)
        return part / 2 & ~(size_t)255;
    const struct memory_level *before = &levels[level - 1];
    size_t nearer = before->size_bytes / sharers(before, cores, threads), share = part / 4;
    if (share < 4 * nearer)
        share = part / 2;
    if (share < 2 * nearer)
        share = part - part / 4;
    if (share < nearer + nearer / 2)
        return 0;
    return share & ~(size_t)255;
}

// ---- regions ------------------------------------------------------------------------------------------

static void touch(void *arg, int worker, int workers)
{
    struct stream *stream = arg;
    struct region *region = &stream->region[worker];
    uint64_t *words = (uint64_t *)region->bytes;
    (void)workers;
    if (!words)
        return;
    // Small floats, so that TRIAD reads neither zeros nor infinities.
    for (size_t i = 0; i < region->size_bytes / 8; i++) {
        if (i % (BLOCK_BYTES / 8) == 0 && interrupt_pending())
            atomic_store_explicit(&stream->stop, true, memory_order_relaxed);
        if (i % (BLOCK_BYTES / 8) == 0 && atomic_load_explicit(&stream->stop, memory_order_relaxed))
            return;
        words[i] = 0x3f8000003f800000u | (rng_hash(i) & 0x007fffff007fffffu);
    }
}

static enum status allocate(struct stream *stream, int deepest, int fewest, struct error *err)
{
    size_t total = 0;
    for (int w = 0; w < stream->workers; w++) {
        // Shares shrink as threads are added, so the smallest number of threads that uses this worker decides.
        int threads = w + 1 > fewest ? w + 1 : fewest;
        size_t share = 0;
        for (int level = 0; level <= deepest; level++) {
            size_t bytes = stream_share(stream->level, stream->levels, level, threads);
            share = bytes > share ? bytes : share;
        }
        share += ARRAYS_MAX * (STAGGER_BYTES + 256);
        stream->region[w].size_bytes = (share + HUGE_BYTES - 1) & ~(size_t)(HUGE_BYTES - 1);
        total += stream->region[w].size_bytes;
    }
    int64_t available = os_memory_available_bytes();
    if (available != OS_UNKNOWN && total > (size_t)available / 2) {
        char need[32], have[32];
        return FAIL(err, ERR_NOMEM, "bandwidth probe needs %s, and %s are available",
                    format_bytes((double)total, need, sizeof need),
                    format_bytes((double)available, have, sizeof have));
    }
    for (int w = 0; w < stream->workers; w++) {
        struct region *region = &stream->region[w];
        void *bytes = NULL;
        if (posix_memalign(&bytes, HUGE_BYTES, region->size_bytes) != 0)
            return FAIL(err, ERR_NOMEM, "bandwidth probe: out of memory");
        region->bytes = bytes;
        os_advise_huge(bytes, region->size_bytes);
    }
    return OK;
}

enum status stream_create(struct pool *pool, const struct memory_level *levels, int count,
                          int deepest, int fewest_threads, struct stream **out, struct error *err)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return FAIL(err, ERR_NOMEM, "bandwidth probe: out of memory");
    stream->pool = pool;
    stream->levels = count;
    stream->workers = pool_threads(pool);
    memcpy(stream->level, levels, (size_t)count * sizeof *levels);
    size_t bytes = (size_t)stream->workers * sizeof *stream->region;
    void *regions = NULL;
    if (posix_memalign(&regions, _Alignof(struct region), bytes) != 0)
        FAIL(err, ERR_NOMEM, "bandwidth probe: out of memory");
    else
        memset(regions, 0, bytes);
    stream->region = regions;
    if (!regions || allocate(stream, deepest, fewest_threads, err) != OK) {
        stream_destroy(stream);
        return err->code;
    }
    pool_run(pool, touch, stream);
    if (atomic_load(&stream->stop)) {
        stream_destroy(stream);
        return FAIL(err, ERR_INTERRUPTED, "stopped");
    }
    *out = stream;
    return OK;
}

void stream_destroy(struct stream *stream)
{
    if (!stream)
        return;
    for (int w = 0; stream->region && w < stream->workers; w++)
        free(stream->region[w].bytes);
    free(stream->region);
    free(stream);
}

size_t stream_memory_bytes(const struct stream *stream)
{
    size_t total = 0;
    for (int w = 0; w < stream->workers; w++)
        total += stream->region[w].size_bytes;
    return total;
}

// ---- windows ------------------------------------------------------------------------------------------

static int arrays_of(enum kernel_op op)
{
    return op == KOP_TRIAD ? 3 : op == KOP_COPY ? 2 : 1;
}

// Streams one worker's arrays for the window and returns the bytes moved. Array 0 is read; COPY writes
// array 1; TRIAD writes array 2 from 0 and 1.
static uint64_t run_window(const struct stream *stream, struct region *region, size_t share,
                           uint64_t begin, uint64_t *end)
{
    int arrays = arrays_of(stream->row->op);
    size_t size = share / (size_t)arrays & ~(size_t)255;
    bool dram = stream->dram;
    size_t block = dram && arrays > 1 ? STORE_BLOCK_BYTES : BLOCK_BYTES;
    if (block > size)
        block = size;
    size_t calls = BLOCK_BYTES / 2 / block + 1;
    unsigned char *a = region->bytes, *b = a + size + STAGGER_BYTES, *c = b + size + STAGGER_BYTES;
    unsigned char *dst = arrays == 3 ? c : b;
    size_t at = dram && region->cursor + block <= size ? region->cursor : 0;
    uint64_t moved = 0, now;
    do {
        for (size_t i = 0; i < calls; i++) {
            region->sink += stream->row->fn.stream(dst + at, a + at, b + at, block);
            at = at + 2 * block <= size ? at + block : 0;
        }
        moved += calls * block * (uint64_t)arrays;
        now = clock_ns();
    } while (stream->window_ns ? now - begin < stream->window_ns : moved < share);
    if (dram)
        region->cursor = at;
    *end = now;
    return moved;
}

static void stream_job(void *arg, int worker, int workers)
{
    struct stream *stream = arg;
    struct region *region = &stream->region[worker];
    (void)workers;
    pool_barrier(stream->pool, worker);
    if (worker >= stream->threads)
        return;
    uint64_t cpu = clock_thread_cpu_ns(), begin = clock_ns(), end;
    uint64_t moved = run_window(stream, region, stream->share, begin, &end);
    region->disturbed = !clock_kept_processor(clock_thread_cpu_ns() - cpu, end - begin);
    region->rate = end > begin ? (double)moved * 1e9 / (double)(end - begin) : NAN;
}

static double run(struct stream *stream, const struct kernel *row, size_t share, bool dram,
                  int threads, uint64_t window_ns, bool *disturbed)
{
    stream->row = row;
    stream->share = share;
    stream->dram = dram;
    stream->threads = threads;
    stream->window_ns = window_ns;
    pool_run(stream->pool, stream_job, stream);
    double rate = 0;
    *disturbed = false;
    for (int w = 0; w < threads; w++) {
        rate += stream->region[w].rate;
        *disturbed |= stream->region[w].disturbed;
    }
    return rate;
}

void stream_warm(struct stream *stream, const struct kernel *row, int level, int threads)
{
    bool disturbed;
    size_t share = stream_share(stream->level, stream->levels, level, threads);
    if (level < stream->levels - 1 && share > 0)
        run(stream, row, share, false, threads, 0, &disturbed);
}

double stream_rate(struct stream *stream, const struct kernel *row, int level, int threads,
                   uint64_t window_ns, bool *disturbed)
{
    bool unused;
    size_t share = stream_share(stream->level, stream->levels, level, threads);
    if (share == 0)
        return NAN;
    return run(stream, row, share, level == stream->levels - 1, threads, window_ns,
               disturbed ? disturbed : &unused);
}

double stream_rate_set(struct stream *stream, const struct kernel *row, size_t share, int threads,
                       uint64_t window_ns, bool *disturbed)
{
    bool unused;
    share &= ~(size_t)255;
    for (int w = 0; w < threads; w++)
        if (share == 0 || share > stream->region[w].size_bytes)
            return NAN;
    run(stream, row, share, false, threads, 0, &unused);
    return run(stream, row, share, false, threads, window_ns, disturbed ? disturbed : &unused);
}
