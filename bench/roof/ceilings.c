// ceilings.c - measures this machine's best rates: bytes/s of each memory level, and operations/s of each datapath.
//
// A ceiling is the median of samples taken in turn with those of all other ceilings. One round samples every row once,
// so that a burst of a neighbour or a change of clock affects all rows. First a short pilot finds the registry row that
// is fastest at each task on this machine, which is not always the widest instruction set. The available time decides
// the number of rounds.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/stat.h"
#include "base/str.h"
#include "bench/probe/stream.h"
#include "bench/roof/roof.h"
#include "results/metric.h"

enum {
    WINDOW_CACHE_NS = 2 * 1000 * 1000,
    WINDOW_DRAM_NS = 3 * 1000 * 1000,  // continues where the last one stopped
    WINDOW_STORE_NS = 8 * 1000 * 1000, // stores past the caches go in larger blocks
    WINDOW_PEAK_NS = 2 * 1000 * 1000,
    WINDOW_TRIES = 5, // on a busy machine most windows are disturbed
    PILOT_ROUNDS = 4,
    PILOT_ROWS_MAX = 16,
    ROUNDS_MIN = 7,
    ROUNDS_MAX = 41,
    THREAD_COUNTS_MAX = 16,
};
static const double SET_MOST_BYTES = 96 << 20;
static const double PILOT_MARGIN = 1.03; // speed-up needed of a later row over an earlier one
static const uint64_t BUDGET_QUICK_NS = 800 * 1000000ull, BUDGET_FULL_NS = 6000 * 1000000ull;

// One future row: what to run, and its samples.
struct task {
    const struct kernel *kernel;
    int level; // level of a bandwidth; -1: a peak
    int threads;
    size_t share; // bytes that a thread reads; 0: the level's share (stream_share)
    double sample[ROUNDS_MAX];
    int samples;
};

struct peak_worker {
    _Alignas(128) double rate;
    bool disturbed;
    float sink;
};

struct bench {
    const struct device *device;
    struct pool *pool;
    struct stream *stream;
    struct memory_level level[MEMORY_LEVELS_MAX];
    int levels;
    struct task *task; // CEILINGS_MAX
    int tasks;
    // peaks
    struct peak_worker *peak; // one per worker
    _Alignas(64) unsigned char seed[PEAK_SEED_BYTES];
    const struct kernel *peak_kernel;
    int peak_threads;
    uint64_t peak_rounds; // about 20 us of work
    int windows, retaken; // of the samples; retaken because of another program
};

// ---- peaks ----------------------------------------------------------------------------------------------

static void peak_job(void *arg, int worker, int workers)
{
    struct bench *bench = arg;
    struct peak_worker *self = &bench->peak[worker];
    (void)workers;
    pool_barrier(bench->pool, worker);
    if (worker >= bench->peak_threads)
        return;
    uint64_t cpu = clock_thread_cpu_ns(), begin = clock_ns(), now, operations = 0;
    do {
        operations += bench->peak_kernel->fn.peak(bench->seed, bench->peak_rounds, &self->sink);
        now = clock_ns();
    } while (now - begin < WINDOW_PEAK_NS);
    self->rate = (double)operations * 1e9 / (double)(now - begin);
    self->disturbed = !clock_kept_processor(clock_thread_cpu_ns() - cpu, now - begin);
}

static double peak_rate(struct bench *bench, const struct kernel *kernel, int threads,
                        bool *disturbed)
{
    bench->peak_kernel = kernel;
    bench->peak_threads = threads;
    kernel_peak_seed(kernel->w, 1, bench->seed);
    // About 20 us of rounds between two reads of the clock, whatever the cost of one round.
    bench->peak_rounds = 16;
    float sink;
    uint64_t begin = clock_ns();
    kernel->fn.peak(bench->seed, bench->peak_rounds, &sink);
    uint64_t took = clock_ns() - begin;
    while (took < 20000 && bench->peak_rounds < (1u << 30)) {
        bench->peak_rounds *= 2;
        begin = clock_ns();
        kernel->fn.peak(bench->seed, bench->peak_rounds, &sink);
        took = clock_ns() - begin;
    }
    pool_run(bench->pool, peak_job, bench);
    double rate = 0;
    *disturbed = false;
    for (int w = 0; w < threads; w++) {
        rate += bench->peak[w].rate;
        *disturbed |= bench->peak[w].disturbed;
    }
    return rate;
}

// ---- tasks --------------------------------------------------------------------------------------------

static double window(struct bench *bench, const struct task *task, const struct kernel *kernel,
                     bool *disturbed)
{
    if (task->level < 0)
        return peak_rate(bench, kernel, task->threads, disturbed);
    uint64_t window_ns = WINDOW_CACHE_NS;
    if (task->share)
        return stream_rate_set(bench->stream, kernel, task->share, task->threads, window_ns,
                               disturbed);
    if (task->level == bench->levels - 1)
        window_ns = kernel->op == KOP_READ ? WINDOW_DRAM_NS : WINDOW_STORE_NS;
    stream_warm(bench->stream, kernel, task->level, task->threads);
    return stream_rate(bench->stream, kernel, task->level, task->threads, window_ns, disturbed);
}

// Takes one sample. A window in which another program had the processor says nothing about the machine, so it is
// retaken a few times. If none is clean, the best is kept.
static double sample(struct bench *bench, const struct task *task, const struct kernel *kernel)
{
    double best = 0;
    bool disturbed = true;
    for (int i = 0; disturbed && i < WINDOW_TRIES; i++) {
        double rate = window(bench, task, kernel, &disturbed);
        best = disturbed ? fmax(best, rate) : rate;
        bench->windows++;
        bench->retaken += disturbed;
    }
    return best;
}

static bool fits(const struct bench *bench, const struct kernel *kernel, enum kernel_op op,
                 enum dtype type)
{
    return kernel->op == op && kernel->w == type &&
           kernel_runs_on(kernel, device_target(bench->device));
}

// The registry row that is fastest at a task, by the best of a few samples each, taken in turn. The last row, which is
// the registry's choice, stays unless another is clearly faster, so that noise does not decide.
static const struct kernel *pilot(struct bench *bench, const struct task *task, enum kernel_op op,
                                  enum dtype type)
{
    size_t count;
    const struct kernel *table = kernel_table(&count), *best = NULL;
    double reached[PILOT_ROWS_MAX] = {0}, best_rate = 0;
    for (int round = 0; round < PILOT_ROUNDS && !interrupt_pending(); round++) // measure() says so
        for (size_t i = 0, row = 0; i < count && row < PILOT_ROWS_MAX; i++)
            if (fits(bench, &table[i], op, type)) {
                reached[row] = fmax(reached[row], sample(bench, task, &table[i]));
                row++;
            }
    for (size_t i = 0, row = 0; i < count && row < PILOT_ROWS_MAX; i++)
        if (fits(bench, &table[i], op, type)) {
            if (reached[row] > 0 && reached[row] * PILOT_MARGIN >= best_rate) {
                best_rate = reached[row];
                best = &table[i];
            }
            row++;
        }
    return best;
}

static void add_task(struct bench *bench, const struct task *task)
{
    if (bench->tasks < CEILINGS_MAX)
        bench->task[bench->tasks++] = *task;
}

// 1, 2, 4, ... and all; quick: 1 and all.
static int thread_counts(int all, bool quick, int out[THREAD_COUNTS_MAX])
{
    int count = 0;
    for (int t = 1; t < all && count < THREAD_COUNTS_MAX - 1; t *= 2)
        if (t == 1 || !quick)
            out[count++] = t;
    out[count++] = all;
    return count;
}

static void note(struct ceilings *out, const char *format, ...) PRINTF_LIKE(2, 3);

// Adds a remark, or nothing if there is no room for all of it.
static void note(struct ceilings *out, const char *format, ...)
{
    char remark[sizeof out->note];
    size_t length = strlen(out->note);
    va_list args;
    va_start(args, format);
    vsnprintf(remark, sizeof remark, format, args);
    va_end(args);
    const char *between = length ? "; " : "";
    if (length + strlen(between) + strlen(remark) < sizeof out->note)
        snprintf(out->note + length, sizeof out->note - length, "%s%s", between, remark);
}

static void plan_task(struct bench *bench, bool quick, enum kernel_op op, enum dtype type,
                      int level, struct ceilings *out)
{
    int counts[THREAD_COUNTS_MAX], all = pool_threads(bench->pool);
    struct task task = {.level = level, .threads = all};
    if (level >= 0 && stream_share(bench->level, bench->levels, level, all) == 0)
        task.threads = 1;
    task.kernel = pilot(bench, &task, op, type);
    if (!task.kernel)
        return;
    int count = thread_counts(all, quick, counts);
    for (int i = 0; i < count; i++) {
        task.threads = counts[i];
        if (level < 0 || stream_share(bench->level, bench->levels, level, counts[i]) > 0)
            add_task(bench, &task);
        else if (op == KOP_READ)
            note(out, "%s with %d threads was not measured: a thread's part is no larger than %s",
                 bench->level[level].name, counts[i], bench->level[level - 1].name);
    }
}

// Plans reads of sets between the levels, each twice as large as the previous one. No system reports the size at which
// a cache stops holding a set, and a processor's rate falls by half or more between its own cache and the last one.
// Sets that take longer than one sample to read are left out.
static void plan_sets(struct bench *bench, const struct kernel *read, int threads)
{
    int last = bench->levels - 2;
    if (last < 1)
        return;
    double of_last =
        (double)threads * (double)stream_share(bench->level, bench->levels, last, threads);
    double nearer =
        (double)threads * (double)stream_share(bench->level, bench->levels, last - 1, threads);
    double memory =
        (double)threads * (double)stream_share(bench->level, bench->levels, last + 1, threads);
    if (nearer <= 0)
        return;
    for (double set = 2 * nearer; set <= SET_MOST_BYTES && set < 0.75 * memory; set *= 2)
        if (set < 0.75 * of_last || set > 1.5 * of_last)
            add_task(bench, &(struct task){.kernel = read,
                                           .level = last,
                                           .threads = threads,
                                           .share = (size_t)(set / threads) & ~(size_t)255});
}

static void plan_tasks(struct bench *bench, bool quick, struct ceilings *out)
{
    static const enum kernel_op ops[] = {KOP_READ, KOP_COPY, KOP_TRIAD};
    static const enum dtype types[] = {DT_F32, DT_BF16, DT_I8};
    for (int o = 0; o < (quick ? 1 : 3); o++)
        for (int level = 0; level < bench->levels; level++)
            plan_task(bench, quick, ops[o], DT_F32, level, out);
    for (int i = 0, planned = bench->tasks; !quick && i < planned; i++)
        if (bench->task[i].kernel->op == KOP_READ && bench->task[i].level == bench->levels - 1)
            plan_sets(bench, bench->task[i].kernel, bench->task[i].threads);
    for (int t = 0; t < 3; t++)
        plan_task(bench, quick, KOP_PEAK, types[t], -1, out);
}

// ---- results ----------------------------------------------------------------------------------------------

static const char *ceiling_name(const struct kernel *kernel)
{
    switch (kernel->op) {
    case KOP_READ:
        return "read";
    case KOP_COPY:
        return "copy";
    case KOP_TRIAD:
        return "triad";
    default:
        return kernel->w == DT_BF16 ? "bf16_dot" : kernel->w == DT_I8 ? "int8_dot" : "f32_fma";
    }
}

static enum status conclude(const struct bench *bench, struct ceilings *out, struct error *err)
{
    for (int i = 0; i < bench->tasks; i++) {
        const struct task *task = &bench->task[i];
        struct ceiling *row = &out->row[out->count++];
        struct stat_summary summary;
        TRY(stat_summarize(task->sample, (size_t)task->samples, &summary, err));
        *row = (struct ceiling){.threads = task->threads,
                                .value = summary.median,
                                .low = summary.median_interval.low,
                                .high = summary.median_interval.high,
                                .samples = task->samples};
        snprintf(row->device, sizeof row->device, "%s", device_info(bench->device)->name);
        snprintf(row->name, sizeof row->name, "%s", ceiling_name(task->kernel));
        snprintf(row->kernel, sizeof row->kernel, "%s", task->kernel->name);
        if (task->level < 0)
            continue;
        snprintf(row->level, sizeof row->level, "%s", bench->level[task->level].name);
        size_t share = task->share
                           ? task->share
                           : stream_share(bench->level, bench->levels, task->level, task->threads);
        row->set_bytes = (double)task->threads * (double)share;
        if (task->share)
            snprintf(row->name, sizeof row->name, "%s", READ_SET);
    }
    return OK;
}

static enum status measure(struct bench *bench, uint64_t budget_ns, struct error *err)
{
    uint64_t begin = clock_ns();
    for (int round = 0; round < ROUNDS_MAX; round++) {
        if (round >= ROUNDS_MIN && clock_ns() - begin > budget_ns)
            break;
        for (int i = 0; i < bench->tasks; i++) {
            struct task *task = &bench->task[i];
            TRY(interrupt_check(err));
            task->sample[task->samples++] = sample(bench, task, task->kernel);
        }
    }
    return OK;
}

static enum status measure_host(struct device *device, bool quick, struct ceilings *out,
                                struct error *err)
{
    struct pool *pool = device_pool(device);
    void *memory = NULL, *workers = NULL;
    size_t workers_bytes = (size_t)pool_threads(pool) * sizeof(struct peak_worker);
    struct bench *bench = NULL;
    if (posix_memalign(&memory, 128, sizeof *bench) != 0 ||
        posix_memalign(&workers, 128, workers_bytes) != 0) {
        free(memory);
        return FAIL(err, ERR_NOMEM, "ceilings: out of memory");
    }
    bench = memset(memory, 0, sizeof *bench);
    bench->peak = memset(workers, 0, workers_bytes);
    bench->task = calloc(CEILINGS_MAX, sizeof *bench->task);
    bench->device = device;
    bench->pool = pool;
    bench->levels = machine_memory_levels(bench->level);
    if (!bench->task)
        FAIL(err, ERR_NOMEM, "ceilings: out of memory");
    else if (bench->levels == 0)
        FAIL(err, ERR_IO, "ceilings: the memory topology cannot be read");
    if (err->code != OK || stream_create(pool, bench->level, bench->levels, bench->levels - 1, 1,
                                         &bench->stream, err) != OK)
        goto out;
    memcpy(out->level, bench->level, sizeof out->level);
    out->levels = bench->levels;
    plan_tasks(bench, quick, out);
    if (measure(bench, quick ? BUDGET_QUICK_NS : BUDGET_FULL_NS, err) != OK)
        goto out;
    conclude(bench, out, err);
    char slower[640];
    ceilings_explain_levels(out, slower, sizeof slower);
    if (slower[0])
        note(out, "%s", slower);
    if (bench->retaken)
        note(out, "%d of %d windows %s disturbed by other programs and taken again", bench->retaken,
             bench->windows, bench->retaken == 1 ? "was" : "were");
out:
    stream_destroy(bench->stream);
    free(bench->task);
    free(bench->peak);
    free(bench);
    return err->code;
}

// ---- units ------------------------------------------------------------------------------------------------

static bool is_time(const char *name)
{
    return str_equal(name, "launch_gap") || str_equal(name, "grid_sync");
}

const char *ceilings_unit(const struct ceiling *c)
{
    if (is_time(c->name))
        return "ns";
    if (c->level[0])
        return "B/s";
    return str_starts(c->name, "int") ? "op/s" : "FLOP/s";
}

// ---- devices that measure themselves -----------------------------------------------------------------

struct probing {
    struct device *device;
    struct device_probe probe[DEVICE_PROBES_MAX];
    size_t count;
    bool absent[DEVICE_PROBES_MAX]; // a library it needs is missing
    double sample[DEVICE_PROBES_MAX][ROUNDS_MAX];
    struct ceiling
        clocks[DEVICE_PROBES_MAX]; // clocks around the samples; the other members are not used
    int rounds, windows, retaken;
};

static void keep_clock(struct probing *p, size_t i)
{
    struct device_vitals v = device_vitals(p->device);
    struct ceiling *c = &p->clocks[i];
    if (!isnan(v.memory_clock_hz))
        c->memory_clock_hz = c->memory_clock_hz > 0 ? fmin(c->memory_clock_hz, v.memory_clock_hz)
                                                    : v.memory_clock_hz;
    if (isnan(v.clock_hz))
        return;
    c->clock_high_hz = fmax(c->clock_high_hz, v.clock_hz);
    c->clock_low_hz = c->clock_low_hz > 0 ? fmin(c->clock_low_hz, v.clock_hz) : v.clock_hz;
}

// Whether a is better than b: a higher rate or a shorter time.
static bool better(const char *name, double a, double b)
{
    return is_time(name) ? a < b : a > b;
}

// Like `sample`: if none is clean, the best is kept.
static enum status probe_sample(struct probing *p, size_t i, double *out, struct error *err)
{
    bool disturbed = true;
    for (int try = 0; disturbed && try < WINDOW_TRIES; try++) {
        double value = 0;
        disturbed = false;
        TRY(device_probe_run(p->device, i, &value, &disturbed, err));
        if (!disturbed || try == 0 || better(p->probe[i].name, value, *out))
            *out = value;
        p->windows++;
        p->retaken += disturbed;
    }
    keep_clock(p, i);
    return OK;
}

// Adds a remark about what a probe needs and this machine lacks, once for all probes that need it.
static enum status probe_lacks(struct probing *p, size_t i, struct ceilings *out, struct error *err)
{
    if (err->code != ERR_UNSUPPORTED)
        return err->code;
    p->absent[i] = true;
    if (!strstr(out->note, err->message))
        note(out, "%s", err->message);
    error_clear(err);
    return OK;
}

static enum status probe_rounds(struct probing *p, bool quick, struct ceilings *out,
                                struct error *err)
{
    uint64_t begin = clock_ns(), budget_ns = quick ? BUDGET_QUICK_NS : BUDGET_FULL_NS;
    for (; p->rounds < ROUNDS_MAX; p->rounds++) {
        if (p->rounds >= ROUNDS_MIN && clock_ns() - begin > budget_ns)
            break;
        for (size_t i = 0; i < p->count; i++) {
            TRY(interrupt_check(err));
            if (p->absent[i] || (quick && !p->probe[i].quick))
                continue;
            if (probe_sample(p, i, &p->sample[i][p->rounds], err) != OK)
                TRY(probe_lacks(p, i, out, err));
        }
    }
    return OK;
}

// Two ways to reach one ceiling share one row, which is that of the better one. A remark names the other.
static struct ceiling *row_for(struct ceilings *out, const struct ceiling *way)
{
    for (int i = 0; i < out->count; i++) {
        struct ceiling *row = &out->row[i];
        if (!str_equal(row->name, way->name) || !str_equal(row->level, way->level))
            continue;
        const bool wins = better(way->name, way->value, row->value);
        const struct ceiling *other = wins ? row : way;
        char value[32];
        note(out, "%s: %s reached %s", other->name, other->kernel,
             metric_format(other->value, ceilings_unit(other), value, sizeof value));
        return wins ? row : NULL;
    }
    return &out->row[out->count++];
}

static enum status probe_conclude(const struct probing *p, bool quick, struct ceilings *out,
                                  struct error *err)
{
    for (size_t i = 0; i < p->count; i++) {
        struct stat_summary summary;
        if (p->absent[i] || (quick && !p->probe[i].quick))
            continue;
        TRY(stat_summarize(p->sample[i], (size_t)p->rounds, &summary, err));
        struct ceiling way = p->clocks[i];
        way.value = summary.median;
        way.low = summary.median_interval.low;
        way.high = summary.median_interval.high;
        way.samples = p->rounds;
        memcpy(way.device, device_info(p->device)->name, sizeof way.device);
        memcpy(way.name, p->probe[i].name, sizeof way.name);
        memcpy(way.level, p->probe[i].level, sizeof way.level);
        memcpy(way.kernel, p->probe[i].kernel, sizeof way.kernel);
        struct ceiling *row = row_for(out, &way);
        if (row)
            *row = way;
    }
    return OK;
}

static enum status measure_probes(struct device *device, bool quick, struct ceilings *out,
                                  struct error *err)
{
    struct probing *p = calloc(1, sizeof *p);
    if (!p)
        return FAIL(err, ERR_NOMEM, "ceilings: out of memory");
    p->device = device;
    p->count = device_probes(device, p->probe, DEVICE_PROBES_MAX);
    if (p->count == 0)
        FAIL(err, ERR_UNSUPPORTED, "ceilings: device %s has no probes", device_info(device)->name);
    else if (probe_rounds(p, quick, out, err) == OK)
        probe_conclude(p, quick, out, err);
    if (p->retaken)
        note(out, "%d of %d windows %s disturbed and taken again", p->retaken, p->windows,
             p->retaken == 1 ? "was" : "were");
    free(p);
    return err->code;
}

enum status ceilings_measure(struct device *device, bool quick, struct ceilings *out,
                             struct error *err)
{
    memset(out, 0, sizeof *out);
    return device_pool(device) ? measure_host(device, quick, out, err)
                               : measure_probes(device, quick, out, err);
}

// ---- lookup -----------------------------------------------------------------------------------------

const struct ceiling *ceilings_find(const struct ceilings *c, const char *device, const char *name,
                                    const char *level, int threads)
{
    for (int i = 0; i < c->count; i++) {
        const struct ceiling *row = &c->row[i];
        if ((row->threads == threads || row->threads == 0) && !strcmp(row->device, device) &&
            !strcmp(row->name, name) && !strcmp(row->level, level))
            return row;
    }
    return NULL;
}

const struct ceiling *ceilings_read(const struct ceilings *c, const char *device, int threads,
                                    double working_set_bytes)
{
    if (!str_equal(device, DEVICE_DEFAULT))
        return ceilings_find(c, device, "read", "DRAM", threads);
    if (c->levels == 0)
        return NULL;
    // A level that could not be distinguished from its neighbour has no row; the next one is used instead.
    int level = topology_level_of(c->level, c->levels, threads, working_set_bytes);
    for (; level < c->levels; level++) {
        const struct ceiling *row = ceilings_find(c, device, "read", c->level[level].name, threads);
        if (row)
            return row;
    }
    return NULL;
}

const struct ceiling *ceilings_peak(const struct ceilings *c, const char *device,
                                    enum dtype datapath, int threads)
{
    const struct ceiling *f32 = ceilings_find(c, device, "f32_fma", "", threads), *narrow = NULL;
    // Tensor cores multiply f16 as fast as bf16. A processor has no such instruction and widens f16.
    if (datapath == DT_BF16 || (datapath == DT_F16 && device_word_kind(device) != DEVICE_HOST))
        narrow = ceilings_find(c, device, "bf16_dot", "", threads);
    else if (datapath == DT_I8)
        narrow = ceilings_find(c, device, "int8_dot", "", threads);
    else if (datapath == DT_F8E4M3)
        narrow = ceilings_find(c, device, "fp8_dot", "", threads);
    if (!f32 || (narrow && narrow->value > f32->value))
        return narrow ? narrow : f32;
    return f32;
}

static json_t *known(double value)
{
    return value > 0 ? json_real(value) : json_null();
}

json_t *ceilings_json(const struct ceilings *c)
{
    json_t *rows = json_array();
    for (int i = 0; rows && i < c->count; i++) {
        const struct ceiling *row = &c->row[i];
        json_array_append_new(
            rows,
            json_pack("{s:s, s:s, s:o, s:s, s:i, s:s, s:f, s:f, s:f, s:i, s:o, s:o, s:o, s:o}",
                      "device", row->device, "name", row->name, "level",
                      *row->level ? json_string(row->level) : json_null(), "kernel", row->kernel,
                      "threads", row->threads, "unit", ceilings_unit(row), "value", row->value,
                      "low", row->low, "high", row->high, "samples", row->samples, "set_bytes",
                      known(row->set_bytes), "clock_low_hz", known(row->clock_low_hz),
                      "clock_high_hz", known(row->clock_high_hz), "memory_clock_hz",
                      known(row->memory_clock_hz)));
    }
    return rows;
}
