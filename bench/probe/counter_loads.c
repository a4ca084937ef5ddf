// counter_loads.c - known loads: whether an event counts what it should.
//
// Virtual machines and containers offer counters that open but read zero. Each load runs between start and stop. If the
// count does not fit, `reason` has the counted and the expected value.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/probe/counter.h"
#include "bench/probe/probe.h"

struct trial {
    const struct counter_source *source;
    void *set;
};

static int64_t end_trial(const struct trial *trial)
{
    int64_t value = OS_UNKNOWN;
    trial->source->stop(trial->set, &value);
    return value;
}

static bool verdict(bool right, int64_t counted, const char *expected,
                    char reason[COUNTER_REASON_BYTES])
{
    if (right && counted != OS_UNKNOWN)
        return true;
    if (counted == OS_UNKNOWN)
        snprintf(reason, COUNTER_REASON_BYTES, "cannot be read");
    else
        snprintf(reason, COUNTER_REASON_BYTES, "counted %lld under a known load of %s",
                 (long long)counted, expected);
    return false;
}

static int64_t count_loop(const struct trial *trial, int64_t rounds)
{
    volatile int64_t sink = 0;
    trial->source->start(trial->set);
    for (int64_t i = 0; i < rounds; i++)
        sink = i; // one store; the loop adds a whole number of instructions
    (void)sink;
    return end_trial(trial);
}

// However the compiler translates the loop, a round is a whole number of instructions. The difference of two lengths
// cancels the instructions outside the loop.
static bool try_instructions(const struct trial *trial, char reason[COUNTER_REASON_BYTES])
{
    enum { ROUNDS = 1000000 };
    char expected[64];
    int64_t once = count_loop(trial, ROUNDS), thrice = count_loop(trial, 3 * (int64_t)ROUNDS);
    double a_round = ((double)thrice - (double)once) / (2.0 * ROUNDS), whole = round(a_round);
    bool right = once != OS_UNKNOWN && thrice != OS_UNKNOWN && whole >= 1 && whole <= 64 &&
                 fabs(a_round - whole) < 0.03 * whole;
    snprintf(expected, sizeof expected, "%d rounds of a few instructions", 3 * ROUNDS);
    return verdict(right, once == OS_UNKNOWN ? once : thrice, expected, reason);
}

// Counts 4 ms of work by this clock; *took_ns: how long it was exactly.
static int64_t count_spin(const struct trial *trial, uint64_t (*now_ns)(void), uint64_t *took_ns)
{
    enum { SPIN_NS = 4000000 };
    trial->source->start(trial->set);
    uint64_t begin = now_ns();
    do
        *took_ns = now_ns() - begin;
    while (*took_ns < SPIN_NS);
    return end_trial(trial);
}

static bool try_cycles(const struct trial *trial, char reason[COUNTER_REASON_BYTES])
{
    uint64_t took;
    int64_t counted = count_spin(trial, clock_ns, &took);
    double ghz = (double)counted / (double)took;
    return verdict(ghz > 0.2 && ghz < 8, counted, "4 ms", reason);
}

static bool try_cache_misses(const struct trial *trial, char reason[COUNTER_REASON_BYTES])
{
    struct memory_level levels[MEMORY_LEVELS_MAX];
    int count = machine_memory_levels(levels);
    size_t size = (size_t)64 << 20, line = 64;
    if (count > 1 && 2 * levels[count - 2].size_bytes > size)
        size = 2 * levels[count - 2].size_bytes;
    volatile unsigned char *memory = malloc(size);
    if (!memory)
        return verdict(false, OS_UNKNOWN, "", reason);
    for (size_t i = 0; i < size; i += line)
        memory[i] = 1;
    trial->source->start(trial->set);
    for (size_t i = 0; i < size; i += line)
        (void)memory[i];
    int64_t counted = end_trial(trial);
    free((void *)memory);
    // Prefetchers take some of the misses, and some processors count those too.
    double lines = (double)(size / line);
    char expected[64];
    snprintf(expected, sizeof expected, "%.0f lines from memory", lines);
    return verdict((double)counted > lines / 50 && (double)counted < 4 * lines, counted, expected,
                   reason);
}

static bool try_page_faults(const struct trial *trial, char reason[COUNTER_REASON_BYTES])
{
    enum { PAGES = 200 }; // fewer than a huge page holds
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = PAGES * page;
    volatile unsigned char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return verdict(false, OS_UNKNOWN, "", reason);
    trial->source->start(trial->set);
    for (size_t i = 0; i < size; i += page)
        memory[i] = 1;
    int64_t counted = end_trial(trial);
    munmap((void *)memory, size);
    return verdict(counted >= PAGES && counted < PAGES + 20, counted, "200 pages", reason);
}

static bool try_context_switches(const struct trial *trial, char reason[COUNTER_REASON_BYTES])
{
    enum { SLEEPS = 20 };
    const struct timespec pause = {.tv_nsec = 20000};
    trial->source->start(trial->set);
    for (int i = 0; i < SLEEPS; i++)
        nanosleep(&pause, NULL);
    int64_t counted = end_trial(trial);
    return verdict(counted >= SLEEPS && counted < 4 * SLEEPS, counted, "20 sleeps", reason);
}

static bool try_task_clock(const struct trial *trial, char reason[COUNTER_REASON_BYTES])
{
    uint64_t took;
    int64_t counted = count_spin(trial, clock_thread_cpu_ns, &took);
    return verdict(fabs((double)counted - (double)took) < 0.1 * (double)took, counted,
                   "4000000 ns of processor time", reason);
}

static unsigned char *map_pages(size_t size_bytes)
{
    unsigned char *memory =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#ifdef MADV_NOHUGEPAGE
    if (memory != MAP_FAILED)
        madvise(memory, size_bytes, MADV_NOHUGEPAGE);
#endif
    return memory == MAP_FAILED ? NULL : memory;
}

// A read of one byte per page, over more pages than any TLB holds. Processors that join neighbouring pages in one entry
// miss less often.
static bool try_tlb_misses(const struct trial *trial, char reason[COUNTER_REASON_BYTES])
{
    enum { PAGES = 1 << 14 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE), stride = 3 * page + 64, size = PAGES * page;
    volatile unsigned char *memory = map_pages(size);
    if (!memory)
        return verdict(false, OS_UNKNOWN, "", reason);
    for (size_t i = 0; i < size; i += page)
        memory[i] = 1;
    trial->source->start(trial->set);
    for (size_t i = 0; i < PAGES; i++)
        (void)memory[i * stride % size];
    int64_t counted = end_trial(trial);
    munmap((void *)memory, size);
    return verdict(counted > PAGES / 20 && counted < 4 * PAGES, counted, "16384 pages from memory",
                   reason);
}

// A walk that waits for each line of memory before it knows the next: most cycles are stalls, and no more than all.
static bool try_stalls(const struct trial *trial, char reason[COUNTER_REASON_BYTES])
{
    enum { LINES = 1 << 20, STEPS = 1 << 16, LINE = 64 };
    size_t size = (size_t)LINES * LINE, at = 0;
    volatile unsigned char *memory = map_pages(size);
    if (!memory)
        return verdict(false, OS_UNKNOWN, "", reason);
    for (size_t i = 0; i < size; i += LINE)
        memory[i] = 0;
    trial->source->start(trial->set);
    uint64_t begin = clock_ns();
    for (size_t i = 0; i < STEPS; i++) // full period over the lines; the byte read is 0
        at = (at * 1103515245 + 12345 + memory[at * LINE]) % LINES;
    uint64_t took = clock_ns() - begin;
    int64_t counted = end_trial(trial);
    munmap((void *)memory, size);
    char expected[64];
    snprintf(expected, sizeof expected, "%.1f ms of waits for memory", (double)took / 1e6);
    double per_ns = (double)counted / (double)took;
    return verdict(per_ns > 0.05 && per_ns < 8, counted, expected, reason);
}

bool counter_right(const struct counter_source *source, const struct counter_event *event,
                   void *set, char reason[COUNTER_REASON_BYTES])
{
    static bool (*const loads[])(const struct trial *, char *) = {
        [COUNT_INSTRUCTIONS] = try_instructions,
        [COUNT_CYCLES] = try_cycles,
        [COUNT_CACHE_MISSES] = try_cache_misses,
        [COUNT_TLB_MISSES] = try_tlb_misses,
        [COUNT_STALLS] = try_stalls,
        [COUNT_PAGE_FAULTS] = try_page_faults,
        [COUNT_CONTEXT_SWITCHES] = try_context_switches,
        [COUNT_TASK_CLOCK] = try_task_clock,
    };
    const struct trial trial = {.source = source, .set = set};
    return loads[event->quantity](&trial, reason);
}
