// counters_papi.c - PAPI's preset events: one event set for each thread, attached to it.
// Source: PAPI 7 documentation, PAPI_attach, PAPI_add_named_event.
#include <stdio.h>

#include "bench/probe/counter.h"

#if HAVE_PAPI

#include <papi.h>
#include <stdlib.h>

#include "base/os.h"
#include "bench/probe/probe.h"

struct papi_set {
    size_t events, threads;
    int set[]; // one per thread
};

static void papi_close(void *opaque)
{
    struct papi_set *papi = opaque;
    for (size_t t = 0; papi && t < papi->threads; t++) {
        if (papi->set[t] == PAPI_NULL)
            continue;
        PAPI_cleanup_eventset(papi->set[t]);
        PAPI_destroy_eventset(&papi->set[t]);
    }
    free(papi);
}

static int open_thread(const struct counter_event *const *events, size_t count, int thread,
                       int *set)
{
    int code = PAPI_create_eventset(set);
    if (code == PAPI_OK)
        code = PAPI_assign_eventset_component(*set, 0); // the processor's component
    if (code == PAPI_OK)
        code = PAPI_attach(*set, (unsigned long)thread);
    for (size_t e = 0; code == PAPI_OK && e < count; e++)
        code = events[e]->papi ? PAPI_add_named_event(*set, events[e]->papi) : PAPI_ENOEVNT;
    return code;
}

static void *papi_open(const struct counter_event *const *events, size_t count,
                       const int *thread_ids, size_t thread_count,
                       char reason[COUNTER_REASON_BYTES])
{
    int code = PAPI_VER_CURRENT;
    if (!PAPI_is_initialized())
        code = PAPI_library_init(PAPI_VER_CURRENT);
    if (code != PAPI_VER_CURRENT) {
        snprintf(reason, COUNTER_REASON_BYTES, "the library does not start: %s",
                 code < 0 ? PAPI_strerror(code) : "another version than compiled against");
        return NULL;
    }
    struct papi_set *papi = malloc(sizeof *papi + thread_count * sizeof *papi->set);
    if (!papi) {
        snprintf(reason, COUNTER_REASON_BYTES, "out of memory");
        return NULL;
    }
    papi->events = count;
    papi->threads = thread_count;
    for (size_t t = 0; t < thread_count; t++)
        papi->set[t] = PAPI_NULL;
    code = PAPI_OK;
    for (size_t t = 0; code == PAPI_OK && t < thread_count; t++)
        code = open_thread(events, count, thread_ids[t], &papi->set[t]);
    if (code != PAPI_OK) {
        snprintf(reason, COUNTER_REASON_BYTES, "%s", PAPI_strerror(code));
        papi_close(papi);
        return NULL;
    }
    return papi;
}

static void papi_start(void *opaque)
{
    struct papi_set *papi = opaque;
    for (size_t t = 0; t < papi->threads; t++)
        PAPI_start(papi->set[t]); // a failure shows when it is stopped
}

static void papi_stop(void *opaque, int64_t *values)
{
    struct papi_set *papi = opaque;
    for (size_t e = 0; e < papi->events; e++)
        values[e] = 0;
    for (size_t t = 0; t < papi->threads; t++) {
        long long counted[COUNTERS_MAX] = {0};
        bool read = PAPI_stop(papi->set[t], counted) == PAPI_OK;
        for (size_t e = 0; e < papi->events; e++) {
            if (!read || values[e] == OS_UNKNOWN)
                values[e] = OS_UNKNOWN;
            else
                values[e] += counted[e];
        }
    }
}

#else

static void *papi_open(const struct counter_event *const *events, size_t count,
                       const int *thread_ids, size_t thread_count,
                       char reason[COUNTER_REASON_BYTES])
{
    (void)events, (void)count, (void)thread_ids, (void)thread_count;
    snprintf(reason, COUNTER_REASON_BYTES, "this build has no PAPI");
    return NULL;
}

// Nothing can be opened, so none of these is called.
#define papi_start NULL
#define papi_stop  NULL
#define papi_close NULL

#endif

const struct counter_source counter_papi = {
    .name = "papi", .open = papi_open, .start = papi_start, .stop = papi_stop, .close = papi_close};
