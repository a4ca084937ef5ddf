// uncore.c - counts the bytes of the memory controllers, in groups that their PMUs can count at the same time.
#include "bench/probe/uncore.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "bench/probe/probe.h"
#include "bench/probe/source.h"

// Events of one PMU on one processor that are counted together.
struct group {
    size_t first, end; // of the list's events
    size_t pass;
};

struct uncore {
    const struct perf_calls *calls;
    struct uncore_list list;
    struct perf_open *open; // (list.count)
    struct group *group;    // (groups), at most list.count
    size_t groups, passes;
};

void uncore_close(struct uncore *u)
{
    if (!u)
        return;
    for (size_t i = u->open ? u->list.count : 0; i-- > 0;) // members before their leaders
        if (u->open[i].fd >= 0)
            u->calls->close(u->open[i].fd);
    free(u->open);
    free(u->group);
    uncore_list_fini(&u->list);
    free(u);
}

// ---- groups ---------------------------------------------------------------------------------------------

static bool is_same_place(const struct uncore_event *a, const struct uncore_event *b)
{
    return a->cpu == b->cpu && str_equal(a->pmu, b->pmu);
}

// Sorted by PMU and processor; reads come before writes.
static int by_place(const void *a, const void *b)
{
    const struct uncore_event *x = a, *y = b;
    int order = strcmp(x->pmu, y->pmu);
    if (!order)
        order = (x->cpu > y->cpu) - (x->cpu < y->cpu);
    if (!order)
        order = (x->way > y->way) - (x->way < y->way);
    return order
               ? order
               : (x->counter.config > y->counter.config) - (x->counter.config < y->counter.config);
}

// A descriptor or -errno.
static int open_event(const struct uncore *u, size_t i, int leader)
{
    const struct uncore_event *event = &u->list.event[i];
    const struct perf_place place = {.thread = -1, .cpu = event->cpu, .leader = leader};
    return u->calls->open(&event->counter, &place);
}

// Some PMUs refuse a group that is too large, others never let it count.
static bool group_counts(struct uncore *u, size_t first, size_t end)
{
    uint64_t unused;
    bool all = true;
    for (size_t i = first; i < end; i++)
        perf_begin(u->calls, &u->open[i]);
    u->calls->start(u->open[first].fd);
    u->calls->stop(u->open[first].fd);
    for (size_t i = first; i < end; i++)
        all &= perf_counted(u->calls, &u->open[i], &unused);
    return all;
}

static bool refuse_event(const struct uncore *u, const char *root, size_t i, int code,
                         char reason[UNCORE_REASON_BYTES])
{
    char paranoid[16] = "", why[UNCORE_REASON_BYTES - 64];
    system_text(root, "/proc/sys/kernel/perf_event_paranoid", paranoid, sizeof paranoid);
    perf_explain(code, paranoid, why, sizeof why);
    snprintf(reason, UNCORE_REASON_BYTES, "%s counts the whole machine: %s", u->list.event[i].pmu,
             why);
    return false;
}

static bool refuse_held(const char *what, char reason[UNCORE_REASON_BYTES])
{
    snprintf(reason, UNCORE_REASON_BYTES,
             "%s does not count: another program may hold its counters (perf, a monitor)", what);
    return false;
}

// Opens event i as the next of its group. If that does not count, the event begins a group of the next pass.
static bool add_to_group(struct uncore *u, const char *root, size_t i,
                         char reason[UNCORE_REASON_BYTES])
{
    struct group *last = u->groups ? &u->group[u->groups - 1] : NULL;
    bool same = last && is_same_place(&u->list.event[last->first], &u->list.event[i]);
    if (same) {
        u->open[i].fd = open_event(u, i, u->open[last->first].fd);
        if (u->open[i].fd >= 0 && group_counts(u, last->first, i + 1)) {
            last->end = i + 1;
            return true;
        }
        if (u->open[i].fd >= 0)
            u->calls->close(u->open[i].fd);
    }
    int fd = open_event(u, i, -1);
    u->open[i].fd = fd;
    if (fd < 0)
        return refuse_event(u, root, i, -fd, reason);
    u->group[u->groups++] = (struct group){i, i + 1, same ? last->pass + 1 : 0};
    return group_counts(u, i, i + 1) || refuse_held(u->list.event[i].pmu, reason);
}

bool uncore_open(const char *root, const struct perf_calls *calls, struct uncore **out,
                 char reason[UNCORE_REASON_BYTES])
{
    struct uncore *u = calloc(1, sizeof *u);
    *out = NULL;
    snprintf(reason, UNCORE_REASON_BYTES, "out of memory");
    if (!u || !uncore_list(root, &u->list, reason))
        goto failed;
    u->calls = calls;
    qsort(u->list.event, u->list.count, sizeof *u->list.event, by_place);
    u->open = malloc(u->list.count * sizeof *u->open);
    u->group = malloc(u->list.count * sizeof *u->group);
    for (size_t i = 0; u->open && i < u->list.count; i++)
        u->open[i] = (struct perf_open){.fd = -1};
    if (!u->open || !u->group) {
        snprintf(reason, UNCORE_REASON_BYTES, "out of memory");
        goto failed;
    }
    for (size_t i = 0; i < u->list.count; i++)
        if (!add_to_group(u, root, i, reason))
            goto failed;
    for (size_t g = 0; g < u->groups; g++)
        if (u->group[g].pass >= u->passes)
            u->passes = u->group[g].pass + 1;
    *out = u;
    reason[0] = '\0';
    return true;
failed:
    uncore_close(u);
    return false;
}

const char *uncore_source(const struct uncore *u)
{
    return u->list.source;
}

bool uncore_separates(const struct uncore *u)
{
    return u->list.event[0].way != UNCORE_BOTH; // all of a list are of one kind
}

size_t uncore_passes(const struct uncore *u)
{
    return u->passes;
}

// ---- counting -------------------------------------------------------------------------------------------

void uncore_start(struct uncore *u, size_t pass)
{
    for (size_t g = 0; g < u->groups; g++)
        for (size_t i = u->group[g].first; u->group[g].pass == pass && i < u->group[g].end; i++)
            perf_begin(u->calls, &u->open[i]);
    for (size_t g = 0; g < u->groups; g++)
        if (u->group[g].pass == pass)
            u->calls->start(u->open[u->group[g].first].fd);
}

void uncore_stop(struct uncore *u, size_t pass, double bytes[UNCORE_WAYS])
{
    for (size_t g = 0; g < u->groups; g++)
        if (u->group[g].pass == pass)
            u->calls->stop(u->open[u->group[g].first].fd);
    for (size_t g = 0; g < u->groups; g++)
        for (size_t i = u->group[g].first; u->group[g].pass == pass && i < u->group[g].end; i++) {
            const struct uncore_event *event = &u->list.event[i];
            uint64_t count = 0;
            bool counted = perf_counted(u->calls, &u->open[i], &count);
            bytes[event->way] += counted ? (double)count * event->scale : (double)NAN;
        }
}

// ---- the known load -------------------------------------------------------------------------------------

// Of the bytes of a load, the share that the controllers must see at least: the last cache keeps some of them. At most,
// because other programs use memory too.
static const double LOAD_LEAST = 0.7, LOAD_MOST = 1.5;
enum { LOAD_TRIES = 5, LOAD_CACHES = 4, LOAD_BYTES_LEAST = 64 << 20, LOAD_STRIDE = 64 };

static size_t load_bytes(void)
{
    struct memory_level levels[MEMORY_LEVELS_MAX];
    int count = machine_memory_levels(levels);
    size_t cache = count > 1 ? levels[count - 2].size_bytes : 0;
    return LOAD_CACHES * cache > LOAD_BYTES_LEAST ? LOAD_CACHES * cache : LOAD_BYTES_LEAST;
}

static void run_load(volatile unsigned char *memory, size_t size_bytes, bool write)
{
    for (size_t i = 0; i < size_bytes; i += LOAD_STRIDE)
        if (write)
            memory[i] = (unsigned char)i;
        else
            (void)memory[i];
}

// Adds up one load over all passes, in each of which it runs once.
static void count_load(struct uncore *u, volatile unsigned char *memory, size_t size_bytes,
                       bool write, double bytes[UNCORE_WAYS])
{
    memset(bytes, 0, UNCORE_WAYS * sizeof *bytes);
    for (size_t pass = 0; pass < u->passes; pass++) {
        uncore_start(u, pass);
        run_load(memory, size_bytes, write);
        uncore_stop(u, pass, bytes);
    }
}

// Whether one of a few tries counts the load right; `counted` is that of the last.
static bool try_load(struct uncore *u, volatile unsigned char *memory, size_t size_bytes,
                     enum uncore_way way, double *counted)
{
    for (int i = 0; i < LOAD_TRIES; i++) {
        double bytes[UNCORE_WAYS];
        count_load(u, memory, size_bytes, way == UNCORE_WRITE, bytes);
        *counted = bytes[way];
        if (*counted >= LOAD_LEAST * (double)size_bytes &&
            *counted <= LOAD_MOST * (double)size_bytes)
            return true;
    }
    return false;
}

bool uncore_right(struct uncore *u, size_t size_bytes, char reason[UNCORE_REASON_BYTES])
{
    static const char *const words[] = {"reads", "writes", "reads"};
    size_t size = size_bytes ? size_bytes : load_bytes();
    bool way[UNCORE_WAYS] = {false}, right = true;
    unsigned char *memory = malloc(size);
    if (!memory) {
        snprintf(reason, UNCORE_REASON_BYTES, "out of memory");
        return false;
    }
    memset(memory, 1, size);
    for (size_t i = 0; i < u->list.count; i++)
        way[u->list.event[i].way] = true;
    for (int w = 0; right && w < UNCORE_WAYS; w++) {
        double counted = 0;
        if (!way[w] || try_load(u, memory, size, (enum uncore_way)w, &counted))
            continue;
        right = false;
        if (isnan(counted))
            refuse_held(u->list.source, reason);
        else
            snprintf(
                reason, UNCORE_REASON_BYTES,
                "%s counted %.0f MB under a known load of %.0f MB of %s: it miscounts, or other "
                "programs use much memory now",
                u->list.source, counted / 1e6, (double)size / 1e6, words[w]);
    }
    free(memory);
    return right;
}
