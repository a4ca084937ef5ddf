// bench.c - times kernels at model shapes, in and out of cache, with all workers of the pool.
//
// One sample is a run of calls inside one job of at least MIN_SAMPLE_NS, so that reading the clock and starting the job
// do not matter. The result is the median of the samples. A sample is repeated if another program had a worker's
// processor. Workers do not wait for each other between calls, as if there were always enough work.
#include "kernels/bench.h"

#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/pool.h"
#include "base/stat.h"
#include "base/str.h"
#include "kernels/check.h"
#include "kernels/cuda/bench.h"

enum {
    SAMPLES = 15,
    MIN_SAMPLES = 3,
    TRIES = 3 * SAMPLES,
    MIN_SAMPLE_NS = 1000000,
    MAX_SHAPE_NS = 300000000, // no more samples after this time; limits slow tiers
};

struct timed_run {
    const struct bench_case *c;
    uint64_t first, calls;
    atomic_bool disturbed;
};

static void run_calls(void *arg, int worker, int workers)
{
    struct timed_run *run = arg;
    (void)workers;
    uint64_t wall = clock_ns(), cpu = clock_thread_cpu_ns();
    for (uint64_t i = 0; i < run->calls; i++)
        kernel_case_call(run->c, worker, run->first + i);
    cpu = clock_thread_cpu_ns() - cpu;
    wall = clock_ns() - wall;
    if (!clock_kept_processor(cpu, wall))
        atomic_store(&run->disturbed, true);
}

static double sample_ns(struct pool *pool, struct timed_run *run)
{
    atomic_store(&run->disturbed, false);
    uint64_t start = clock_ns();
    pool_run(pool, run_calls, run);
    run->first += run->calls; // cold data continues where the last sample stopped
    return (double)(clock_ns() - start);
}

// Median time of one call over the undisturbed samples, or over all samples if those are too few.
static enum status time_case(struct pool *pool, const struct bench_case *c,
                             struct kernel_bench_result *result, struct error *err)
{
    struct timed_run run = {.c = c, .calls = 1};
    double clean[TRIES], all[TRIES];
    uint64_t start = clock_ns();
    size_t clean_count = 0, count = 0;
    while (sample_ns(pool, &run) < MIN_SAMPLE_NS) // doubles as the warm-up
        run.calls *= 2;
    while (count < TRIES && clean_count < SAMPLES &&
           (count < MIN_SAMPLES || clock_ns() - start < MAX_SHAPE_NS)) {
        all[count] = sample_ns(pool, &run) / (double)run.calls;
        if (!atomic_load(&run.disturbed))
            clean[clean_count++] = all[count];
        count++;
    }
    result->disturbed = clean_count < MIN_SAMPLES;
    result->time_ns =
        result->disturbed ? stat_median(all, count, err) : stat_median(clean, clean_count, err);
    return err->code;
}

// The parameters of one benchmark, shared by all its kernels.
struct setting {
    struct pool *pool;
    size_t cache_bytes;
    kernel_bench_report *report;
    void *user;
};

static enum status bench_one(const struct kernel *kernel, const struct bench_shape *shape,
                             const struct setting *set, struct error *err)
{
    struct bench_case c;
    struct kernel_bench_result result = {.kernel = kernel};
    int workers = pool_threads(set->pool);
    enum status status = kernel_case_init(&c, kernel, shape, workers, set->cache_bytes, err);
    if (status == OK)
        status = time_case(set->pool, &c, &result, err);
    if (status == OK) {
        size_t outputs = (size_t)c.workers * (c.x_bytes + c.y_bytes);
        memcpy(result.shape, c.text, sizeof result.shape);
        result.bytes = c.bytes;
        result.flop = c.flop;
        result.in_cache = (size_t)c.copies * c.w_bytes + outputs <= set->cache_bytes;
        set->report(set->user, &result);
    }
    kernel_case_fini(&c);
    return status;
}

static enum status bench_kernel(const struct kernel *kernel, const struct setting *set,
                                struct error *err)
{
    size_t count;
    const struct bench_shape *shapes = kernel_case_shapes(&count);
    for (size_t i = 0; i < count; i++)
        if (shapes[i].op == kernel->op && !(shapes[i].fast_only && kernel->isa == 0))
            TRY(bench_one(kernel, &shapes[i], set, err));
    return OK;
}

// Times each matching row in turn, on the host's threads or on the queue of a GPU.
static enum status bench_rows(const char *pattern, struct device *device, const struct setting *set,
                              const struct cuda_bench *gpu, struct error *err)
{
    size_t count;
    const struct kernel *table = kernel_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (!kernel_runs_on(&table[i], device_target(device)) || !str_glob(pattern, table[i].name))
            continue;
        if (table[i].where == DEVICE_CUDA)
            TRY(cuda_bench_row(gpu, &table[i], set->report, set->user, err));
        else
            TRY(bench_kernel(&table[i], set, err));
    }
    return OK;
}

enum status kernel_bench(const char *pattern, struct device *device, size_t cache_bytes,
                         kernel_bench_report *report, void *user, struct error *err)
{
    const struct setting set = {device_pool(device), cache_bytes, report, user};
    struct cuda_bench gpu = {0};
    bool on_gpu = device_info(device)->kind == DEVICE_CUDA;
    TRY(kernel_pattern_check(pattern, device, err));
    if (!on_gpu || cuda_bench_open(&gpu, device, cache_bytes, err) == OK)
        bench_rows(pattern, device, &set, &gpu, err);
    if (on_gpu)
        cuda_bench_close(&gpu);
    return err->code;
}
