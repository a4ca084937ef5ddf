// counters.c - chooses the best source of counters, and the groups in which the processor can count them.
//
// Every event is opened alone, on the calling thread, and counts work of known size (counter_loads.c). Only events with
// a right count are used later. The reason for every rejection is kept, because "no counters" without a reason helps
// nobody. A processor has few counters, and events that share one are only estimated. So accepted events are packed
// into groups that it can count at the same time; each group is counted in a repetition of its own.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "bench/probe/counter.h"
#include "bench/probe/probe.h"
#include "bench/probe/source.h"

enum { PACK_NS = 100 * 1000 };

struct counters {
    const struct counter_source *source; // NULL: no source works
    const char *source_name;
    void *set; // of the selected group
    const struct counter_event *event[COUNTERS_MAX];
    size_t count;
    size_t group_of[COUNTERS_MAX]; // rising
    size_t groups, selected;
    int *threads;
    size_t thread_count;
    char reason[COUNTERS_REASON_BYTES];
};

#define SYSFS_CPU "/sys/bus/event_source/devices/cpu/"

// PERF_COUNT_HW_*, PERF_COUNT_SW_* and PERF_COUNT_HW_CACHE_* of perf_event_open(2). Processors of Intel have no stalls
// among the kernel's names since Skylake: CYCLE_ACTIVITY.STALLS_TOTAL, event 0xa3, umask 4, cmask 4, in Intel's perfmon
// tables. No other processor has `ldlat`.
static const struct counter_event EVENTS[] = {
    {"instructions", true, COUNT_INSTRUCTIONS, "PAPI_TOT_INS", {PERF_HARDWARE, 1}, NULL},
    {"cycles", true, COUNT_CYCLES, "PAPI_TOT_CYC", {PERF_HARDWARE, 0}, NULL},
    {"stalled-cycles", true, COUNT_STALLS, "PAPI_RES_STL", {PERF_HARDWARE, 8}, NULL},
    {"stalled-cycles",
     true,
     COUNT_STALLS,
     NULL,
     {PERF_PROCESSOR, 0x040004a3},
     SYSFS_CPU "format/ldlat"},
    {"cache-misses", true, COUNT_CACHE_MISSES, "PAPI_L3_TCM", {PERF_HARDWARE, 3}, NULL},
    {"dtlb-load-misses", true, COUNT_TLB_MISSES, "PAPI_TLB_DM", {PERF_CACHE, 0x10003}, NULL},
    {"page-faults", false, COUNT_PAGE_FAULTS, NULL, {PERF_SOFTWARE, 2}, NULL},
    {"context-switches", false, COUNT_CONTEXT_SWITCHES, NULL, {PERF_SOFTWARE, 3}, NULL},
    {"task-clock", false, COUNT_TASK_CLOCK, NULL, {PERF_SOFTWARE, 1}, NULL},
};
enum { EVENT_COUNT = sizeof EVENTS / sizeof *EVENTS };
_Static_assert((int)EVENT_COUNT <= (int)COUNTERS_MAX, "every event fits");

// ---- choosing ------------------------------------------------------------------------------------------

static bool accept(const struct counter_setup *setup, const struct counter_source *source,
                   const struct counter_event *event, int thread, char reason[COUNTER_REASON_BYTES])
{
    void *set = source->open(source, &event, 1, &thread, 1, reason);
    bool right = set && setup->right(source, event, set, reason);
    if (set)
        source->close(set);
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

// Whether the processor has what the row's encoding is of.
static bool is_encoded_for(const struct counter_setup *setup, const struct counter_event *event)
{
    char text[64];
    return !event->only_with || system_text(setup->root, event->only_with, text, sizeof text);
}

// Takes the first row of each name that works. A name without one is refused for its first row's reason.
static void choose(struct counters *c, const struct counter_setup *setup,
                   const struct counter_source *source, bool hardware)
{
    for (size_t e = 0, next; e < EVENT_COUNT; e = next) {
        char reason[COUNTER_REASON_BYTES] = "";
        bool taken = false;
        for (next = e; next < EVENT_COUNT && str_equal(EVENTS[next].name, EVENTS[e].name); next++) {
            char later[COUNTER_REASON_BYTES];
            if (EVENTS[next].hardware != hardware || taken || !is_encoded_for(setup, &EVENTS[next]))
                continue;
            taken = accept(setup, source, &EVENTS[next], c->threads[0], next == e ? reason : later);
            if (taken)
                c->event[c->count++] = &EVENTS[next];
        }
        if (!taken && EVENTS[e].hardware == hardware)
            add_reason(c, source, EVENTS[e].name, reason);
    }
}

// ---- groups --------------------------------------------------------------------------------------------

// Whether the processor counts these events at the same time. Some sources refuse at once, with others only the count
// is missing.
static bool fits(const struct counter_source *source, const struct counter_event *const *events,
                 size_t count, int thread)
{
    char unused[COUNTER_REASON_BYTES];
    int64_t values[COUNTERS_MAX];
    void *set = source->open(source, events, count, &thread, 1, unused);
    if (!set)
        return false;
    source->start(set);
    for (uint64_t begin = clock_ns(); clock_ns() - begin < PACK_NS;)
        continue;
    source->stop(set, values);
    source->close(set);
    bool all = true;
    for (size_t i = 0; i < count; i++)
        all &= values[i] != OS_UNKNOWN;
    return all;
}

// Fills each group until the next event does not fit. Events of the kernel itself need no counter and join any group.
static void pack(struct counters *c)
{
    size_t first = 0;
    c->groups = c->count > 0;
    for (size_t i = 0; i < c->count; i++) {
        if (i > first && !fits(c->source, &c->event[first], i - first + 1, c->threads[0])) {
            first = i;
            c->groups++;
        }
        c->group_of[i] = c->groups - 1;
    }
}

static void deselect(struct counters *c)
{
    if (c->set)
        c->source->close(c->set);
    c->set = NULL;
}

// The first event of a group; of c->groups: one behind the last of all.
static size_t first_of(const struct counters *c, size_t group)
{
    size_t i = 0;
    while (i < c->count && c->group_of[i] < group)
        i++;
    return i;
}

// Opens a group on all threads. NULL with the reason where that fails.
static void *open_group(const struct counters *c, size_t group, char reason[COUNTER_REASON_BYTES])
{
    size_t first = first_of(c, group), end = first_of(c, group + 1);
    return c->source->open(c->source, &c->event[first], end - first, c->threads, c->thread_count,
                           reason);
}

static void drop_event(struct counters *c, size_t i)
{
    for (c->count--; i < c->count; i++) {
        c->event[i] = c->event[i + 1];
        c->group_of[i] = c->group_of[i + 1];
    }
}

// Proves that each group opens on all threads. One that does not loses events from its end.
static void try_groups(struct counters *c)
{
    for (size_t group = 0; group < c->groups; group++) {
        char reason[COUNTER_REASON_BYTES] = "";
        size_t first = first_of(c, group), end;
        void *set = NULL;
        while ((end = first_of(c, group + 1)) > first && !(set = open_group(c, group, reason))) {
            add_reason(c, c->source, c->event[end - 1]->name, reason);
            drop_event(c, end - 1);
        }
        if (set)
            c->source->close(set);
    }
}

// ---- the counters --------------------------------------------------------------------------------------

static void find_source(struct counters *c, const struct counter_setup *setup)
{
    c->source = setup->papi;
    c->source_name = "papi";
    choose(c, setup, c->source, true);
    if (c->count > 0)
        return;
    c->source = setup->perf;
    choose(c, setup, c->source, true);
    c->source_name = c->count > 0 ? "perf" : "perf-software";
    choose(c, setup, c->source, false);
}

enum status counters_open_with(const struct counter_setup *setup, struct counters **out,
                               struct error *err)
{
    struct counters *c = calloc(1, sizeof *c);
    if (c)
        c->threads = malloc(OS_THREADS_MOST * sizeof *c->threads);
    if (!c || !c->threads) {
        counters_close(c);
        return FAIL(err, ERR_NOMEM, "counters: out of memory");
    }
    c->thread_count = perf_threads(c->threads, OS_THREADS_MOST);
    if (c->thread_count > 0) {
        find_source(c, setup);
        pack(c);
        try_groups(c);
    } else {
        snprintf(c->reason, sizeof c->reason, "this system lets no process count events");
    }
    if (c->count == 0) {
        c->source = NULL;
        c->source_name = "none";
        c->groups = 0;
    }
    *out = c;
    counters_select(c, 0);
    return OK;
}

enum status counters_open(struct counters **out, struct error *err)
{
    const struct counter_setup here = {"", &counter_papi, &counter_perf, counter_right};
    return counters_open_with(&here, out, err);
}

void counters_close(struct counters *c)
{
    if (!c)
        return;
    deselect(c);
    free(c->threads);
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

size_t counters_groups(const struct counters *c)
{
    return c->groups;
}

size_t counters_group(const struct counters *c, size_t i)
{
    return c->group_of[i];
}

void counters_select(struct counters *c, size_t group)
{
    char unused[COUNTER_REASON_BYTES];
    deselect(c);
    c->selected = group;
    if (group < c->groups && first_of(c, group) < first_of(c, group + 1))
        c->set = open_group(c, group, unused);
}

void counters_start(struct counters *c)
{
    if (c->set)
        c->source->start(c->set);
}

void counters_stop(struct counters *c, int64_t *values)
{
    size_t first = first_of(c, c->selected), end = first_of(c, c->selected + 1);
    for (size_t i = first; i < end; i++)
        values[i] = OS_UNKNOWN;
    if (c->set)
        c->source->stop(c->set, values + first);
}
