// counters.c - chooses the best source of counters, and rejects counters that miscount a known load.
//
// Virtual machines and containers offer counters that open but read zero. So every event is opened alone, on the
// calling thread, and counts work of known size. Only events with a right count are used later. The reason for every
// rejection is kept, because "no counters" without a reason helps nobody.
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
#include "bench/probe/stream.h"

enum { THREADS_MAX = 1024 };

struct counters {
    const struct counter_source *source; // NULL: no source works
    const char *source_name;
    void *set;
    const struct counter_event *event[COUNTERS_MAX];
    size_t count;
    char reason[1024];
};

static const struct counter_event EVENTS[] = {
    {"instructions", true, COUNT_INSTRUCTIONS, "PAPI_TOT_INS"},
    {"cycles", true, COUNT_CYCLES, "PAPI_TOT_CYC"},
    {"cache-misses", true, COUNT_CACHE_MISSES, "PAPI_L3_TCM"},
    {"page-faults", false, COUNT_PAGE_FAULTS, NULL},
    {"context-switches", false, COUNT_CONTEXT_SWITCHES, NULL},
    {"task-clock", false, COUNT_TASK_CLOCK, NULL},
};
enum { EVENT_COUNT = sizeof EVENTS / sizeof *EVENTS };
_Static_assert((int)EVENT_COUNT <= (int)COUNTERS_MAX, "every event fits");

// ---- known loads ----------------------------------------------------------------------------------------
// Each runs its load between start and stop and returns whether the count fits. If not, `reason` has the counted and
// the expected value.

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
    double a_round = (double)(thrice - once) / (2.0 * ROUNDS), whole = round(a_round);
    bool right = once != OS_UNKNOWN && thrice != OS_UNKNOWN && whole >= 1 && whole <= 64 &&
                 fabs(a_round - whole) < 0.03 * whole;
    snprintf(expected, sizeof expected, "%d rounds of a few instructions", 3 * ROUNDS);
    return verdict(right, once == OS_UNKNOWN ? once : thrice, expected, reason);
}

static bool try_cycles(const struct trial *trial, char reason[COUNTER_REASON_BYTES])
{
    enum { SPIN_NS = 4000000 };
    trial->source->start(trial->set);
    uint64_t begin = clock_ns(), took;
    do
        took = clock_ns() - begin;
    while (took < SPIN_NS);
    int64_t counted = end_trial(trial);
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
    enum { SPIN_NS = 4000000 };
    trial->source->start(trial->set);
    uint64_t begin = clock_thread_cpu_ns(), took;
    do
        took = clock_thread_cpu_ns() - begin;
    while (took < SPIN_NS);
    int64_t counted = end_trial(trial);
    return verdict(fabs((double)counted - (double)took) < 0.1 * (double)took, counted,
                   "4000000 ns of processor time", reason);
}

// ---- choosing ------------------------------------------------------------------------------------------

static bool accept(const struct counter_source *source, const struct counter_event *event,
                   int thread, char reason[COUNTER_REASON_BYTES])
{
    static bool (*const loads[])(const struct trial *, char *) = {
        [COUNT_INSTRUCTIONS] = try_instructions,         [COUNT_CYCLES] = try_cycles,
        [COUNT_CACHE_MISSES] = try_cache_misses,         [COUNT_PAGE_FAULTS] = try_page_faults,
        [COUNT_CONTEXT_SWITCHES] = try_context_switches, [COUNT_TASK_CLOCK] = try_task_clock,
    };
    struct trial trial = {.source = source};
    trial.set = source->open(&event, 1, &thread, 1, reason);
    if (!trial.set)
        return false;
    bool right = loads[event->quantity](&trial, reason);
    source->close(trial.set);
    return right;
}

// Adds to a text like "perf instructions, cycles: no such counter": one clause for events with the same reason.
static void add_reason(struct counters *c, const struct counter_source *source, const char *event,
                       const char *reason)
{
    size_t length = strlen(c->reason), same = strlen(reason);
    char *at = c->reason + length;
    size_t room = sizeof c->reason - length;
    if (length > same && !strcmp(at - same, reason) && at[-(ptrdiff_t)same - 1] == ' ') {
        // ...: reason -> ..., event: reason
        snprintf(at - same - 2, room + same + 2, ", %s: %s", event, reason);
        return;
    }
    snprintf(at, room, "%s%s %s: %s", length ? "; " : "", source->name, event, reason);
}

static void choose(struct counters *c, const struct counter_source *source, bool hardware,
                   int thread)
{
    for (size_t e = 0; e < EVENT_COUNT; e++) {
        char reason[COUNTER_REASON_BYTES] = "";
        if (EVENTS[e].hardware != hardware)
            continue;
        if (accept(source, &EVENTS[e], thread, reason))
            c->event[c->count++] = &EVENTS[e];
        else
            add_reason(c, source, EVENTS[e].name, reason);
    }
}

// Opens the accepted events together, on all threads. If the processor runs out of counters, opens fewer at a time.
static void open_all(struct counters *c)
{
    int *threads = malloc(THREADS_MAX * sizeof *threads);
    size_t thread_count = threads ? counter_threads(threads, THREADS_MAX) : 0;
    char reason[COUNTER_REASON_BYTES] = "out of memory";
    while (c->count > 0 && !c->set) {
        if (thread_count > 0)
            c->set = c->source->open(c->event, c->count, threads, thread_count, reason);
        if (!c->set)
            add_reason(c, c->source, c->event[--c->count]->name, reason);
    }
    free(threads);
}

enum status counters_open(struct counters **out, struct error *err)
{
    struct counters *c = calloc(1, sizeof *c);
    if (!c)
        return FAIL(err, ERR_NOMEM, "counters: out of memory");
    int self;
    c->source_name = "none";
    if (counter_threads(&self, 1) == 1) {
        c->source = &counter_papi;
        c->source_name = "papi";
        choose(c, c->source, true, self);
        if (c->count == 0) {
            c->source = &counter_perf;
            choose(c, c->source, true, self);
            c->source_name = c->count > 0 ? "perf" : "perf-software";
            choose(c, c->source, false, self);
        }
        open_all(c);
    } else {
        snprintf(c->reason, sizeof c->reason, "this system lets no process count events");
    }
    if (c->count == 0) {
        c->source = NULL;
        c->source_name = "none";
    }
    *out = c;
    return OK;
}

void counters_close(struct counters *c)
{
    if (!c)
        return;
    if (c->set)
        c->source->close(c->set);
    free(c);
}

const char *counters_source(const struct counters *c)
{
    return c->source_name;
}

const char *counters_reason(const struct counters *c)
{
    return c->reason;
}

size_t counters_count(const struct counters *c)
{
    return c->count;
}

const char *counters_name(const struct counters *c, size_t i)
{
    return c->event[i]->name;
}

void counters_start(struct counters *c)
{
    if (c->set)
        c->source->start(c->set);
}

void counters_stop(struct counters *c, int64_t *values)
{
    if (c->set)
        c->source->stop(c->set, values);
}
