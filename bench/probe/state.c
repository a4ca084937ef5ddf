// state.c - probes the machine's state: a ring of cache lines, a random walk, a slice of decode.
#include "bench/probe/state.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "base/stat.h"
#include "kernels/kernels.h"

enum {
    LINE_BYTES = 128, // processors fetch lines in pairs
    LOOKS_BEFORE_YIELD = 20000,
    LAPS = 300, // laps of the ring: 75 us at 250 ns per hop and two threads
    WALK_STEPS = 2000,
    WALK_STRIDE = 64,
    // The slice has 32 products of 16 panels, or of one per thread, with 256 inputs each, as in the layers of a small
    // model. One product is 256 KiB with 16 panels in f32.
    SLICE_PRODUCTS = 32,
    SLICE_COLS = 256,
    SLICE_PANELS = 16,
    LOOKS = 3,
};

struct station {
    _Alignas(LINE_BYTES) _Atomic uint32_t lap;
};

struct state_probe {
    struct pool *pool; // borrowed
    int threads;
    struct station *stations; // (threads)
    uint32_t lap;
    uint32_t *walk; // (walk_count, WALK_STRIDE bytes): the next index
    size_t walk_count;
    uint32_t walk_at;
    k_linear_fn *gemv;
    unsigned char *weights; // (matrices) packed
    float *x, *y;
    int matrices, panels;
    size_t matrix_bytes;
    double ns; // of the current probe; written by worker 0
};

// ---- the ring ------------------------------------------------------------------------------------------

// After a while a thread yields its processor, so that more threads than processors still make progress.
static void wait_for(_Atomic uint32_t *lap, uint32_t wanted)
{
    for (unsigned look = 1; atomic_load_explicit(lap, memory_order_acquire) != wanted; look++)
        if (look % LOOKS_BEFORE_YIELD == 0)
            sched_yield();
}

// Worker 0 starts each lap and waits until it has come round; the others pass it on.
static void ring_job(void *arg, int worker, int workers)
{
    struct state_probe *probe = arg;
    _Atomic uint32_t *own = &probe->stations[worker].lap;
    _Atomic uint32_t *next = &probe->stations[(worker + 1) % workers].lap;
    uint64_t begin_ns = clock_ns();
    for (uint32_t lap = probe->lap + 1; lap <= probe->lap + LAPS; lap++) {
        if (worker > 0)
            wait_for(own, lap);
        atomic_store_explicit(next, lap, memory_order_release);
        if (worker == 0)
            wait_for(own, lap);
    }
    if (worker == 0)
        probe->ns = (double)(clock_ns() - begin_ns) / ((double)LAPS * workers);
}

static double ring_ns(struct state_probe *probe)
{
    if (probe->threads < 2)
        return NAN;
    pool_run(probe->pool, ring_job, probe);
    probe->lap += LAPS;
    return probe->ns;
}

// ---- the walk ------------------------------------------------------------------------------------------

// Sattolo 1986: a random permutation that is one cycle, so that no short cycle stays in a near cache.
void state_walk_fill(uint32_t *walk, size_t count, size_t stride)
{
    struct rng rng = {1};
    for (size_t i = 0; i < count; i++)
        walk[i * stride] = (uint32_t)i;
    for (size_t i = count - 1; i > 0; i--) {
        size_t other = rng_below(&rng, (uint32_t)i);
        uint32_t kept = walk[i * stride];
        walk[i * stride] = walk[other * stride];
        walk[other * stride] = kept;
    }
}

static enum status walk_make(struct state_probe *probe, size_t bytes, struct error *err)
{
    probe->walk_count = bytes / WALK_STRIDE;
    probe->walk = aligned_alloc(WALK_STRIDE, probe->walk_count * WALK_STRIDE);
    if (!probe->walk)
        return FAIL(err, ERR_NOMEM, "canary: %zu bytes for a random walk", bytes);
    state_walk_fill(probe->walk, probe->walk_count, WALK_STRIDE / sizeof *probe->walk);
    return OK;
}

static double walk_ns(struct state_probe *probe)
{
    size_t stride = WALK_STRIDE / sizeof *probe->walk;
    uint32_t at = probe->walk_at; // continues where the last walk ended
    uint64_t begin_ns = clock_ns();
    for (int i = 0; i < WALK_STEPS; i++)
        at = probe->walk[(size_t)at * stride];
    double ns = (double)(clock_ns() - begin_ns) / WALK_STEPS;
    probe->walk_at = at;
    return ns;
}

// ---- the slice -----------------------------------------------------------------------------------------

static enum status slice_make(struct state_probe *probe, struct device_target target, size_t bytes,
                              struct error *err)
{
    const struct kernel *row = kernel_find(KOP_GEMV, DT_F32, DT_F32, target);
    if (!row)
        return FAIL(err, ERR_UNSUPPORTED, "canary: no f32 matrix-vector product for this machine");
    probe->gemv = row->fn.linear;
    probe->panels = probe->threads > SLICE_PANELS ? probe->threads : SLICE_PANELS;
    probe->matrix_bytes = kernel_packed_bytes(DT_F32, probe->panels * PANEL_ROWS, SLICE_COLS);
    size_t matrices = bytes / probe->matrix_bytes;
    probe->matrices = matrices < 1 ? 1 : matrices > SLICE_PRODUCTS ? SLICE_PRODUCTS : (int)matrices;
    size_t weights = (size_t)probe->matrices * probe->matrix_bytes;
    probe->weights = aligned_alloc(PANEL_ALIGN, weights);
    probe->x = aligned_alloc(PANEL_ALIGN, SLICE_COLS * sizeof *probe->x);
    probe->y = aligned_alloc(PANEL_ALIGN, (size_t)probe->panels * PANEL_ROWS * sizeof *probe->y);
    if (!probe->weights || !probe->x || !probe->y)
        return FAIL(err, ERR_NOMEM, "canary: %zu bytes for a slice of work", weights);
    memset(probe->weights, 0, weights);
    for (int i = 0; i < SLICE_COLS; i++)
        probe->x[i] = 1;
    return OK;
}

static void slice_job(void *arg, int worker, int workers)
{
    struct state_probe *probe = arg;
    int begin, end;
    pool_share(probe->panels, 1, worker, workers, &begin, &end);
    uint64_t begin_ns = clock_ns();
    for (int i = 0; i < SLICE_PRODUCTS; i++) {
        struct k_linear job = {
            .w = probe->weights + (size_t)(i % probe->matrices) * probe->matrix_bytes,
            .x = probe->x,
            .y = probe->y,
            .tokens = 1,
            .rows = probe->panels * PANEL_ROWS,
            .cols = SLICE_COLS,
            .ldx = SLICE_COLS,
            .ldy = (size_t)probe->panels * PANEL_ROWS,
        };
        probe->gemv(&job, begin, end);
        pool_barrier(probe->pool, worker);
    }
    if (worker == 0)
        probe->ns = (double)(clock_ns() - begin_ns);
}

static double slice_ns(struct state_probe *probe)
{
    pool_run(probe->pool, slice_job, probe);
    return probe->ns;
}

// ---- all -----------------------------------------------------------------------------------------------

enum status state_probe_create(struct device *device, size_t working_set_bytes,
                               struct state_probe **out, struct error *err)
{
    size_t bytes = working_set_bytes > STATE_BYTES_MAX ? STATE_BYTES_MAX : working_set_bytes;
    struct state_probe *probe = calloc(1, sizeof *probe);
    struct pool *pool = device_pool(device);
    *out = NULL;
    if (!pool) {
        free(probe);
        return FAIL(err, ERR_UNSUPPORTED, "canary: device %s has no threads of this process",
                    device_info(device)->name);
    }
    if (!probe)
        return FAIL(err, ERR_NOMEM, "canary: out of memory");
    probe->pool = pool;
    probe->threads = pool_threads(pool);
    size_t ring = (size_t)probe->threads * sizeof *probe->stations;
    probe->stations = aligned_alloc(LINE_BYTES, ring);
    if (!probe->stations)
        FAIL(err, ERR_NOMEM, "canary: %zu bytes for a ring", ring);
    else if (walk_make(probe, bytes < 4096 ? 4096 : bytes, err) == OK)
        slice_make(probe, device_target(device), bytes, err);
    if (err->code != OK) {
        state_probe_destroy(probe);
        return err->code;
    }
    memset(probe->stations, 0, ring);
    *out = probe;
    return OK;
}

void state_probe_destroy(struct state_probe *probe)
{
    if (!probe)
        return;
    free(probe->stations);
    free(probe->walk);
    free(probe->weights);
    free(probe->x);
    free(probe->y);
    free(probe);
}

size_t state_probe_bytes(const struct state_probe *probe)
{
    return probe->walk_count * WALK_STRIDE + (size_t)probe->matrices * probe->matrix_bytes;
}

static double median_of(struct state_probe *probe, double (*run)(struct state_probe *))
{
    double ns[LOOKS];
    struct error ignored = {0}; // the median of so few values needs no memory
    for (int i = 0; i < LOOKS; i++)
        ns[i] = run(probe);
    return isnan(ns[0]) ? NAN : stat_median(ns, LOOKS, &ignored);
}

struct machine_state state_probe_look(struct state_probe *probe)
{
    return (struct machine_state){
        .sync_ns = median_of(probe, ring_ns),
        .latency_ns = median_of(probe, walk_ns),
        .work_ns = median_of(probe, slice_ns),
    };
}
