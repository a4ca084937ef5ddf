// counters_papi.c - PAPI's preset events: one event set for each thread, attached to it.
//
// PAPI is called through a table, so that tests replay its answers, in builds without PAPI too.
// Source: PAPI 7 documentation, PAPI_attach, PAPI_add_named_event.
#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"
#include "bench/probe/counter.h"
#include "bench/probe/papi.h"
#include "bench/probe/probe.h"

// Of PAPI's interface, all versions.
enum { DONE = 0, NO_SUCH_EVENT = -7, NO_SET = -1 };

struct papi_set {
    const struct papi_calls *calls;
    size_t events, threads;
    int set[]; // one per thread
};

static void papi_close(void *opaque)
{
    struct papi_set *papi = opaque;
    for (size_t t = 0; papi && t < papi->threads; t++) {
        if (papi->set[t] == NO_SET)
            continue;
        papi->calls->cleanup(papi->set[t]);
        papi->calls->destroy(&papi->set[t]);
    }
    free(papi);
}

static int open_thread(const struct papi_calls *calls, const struct counter_event *const *events,
                       size_t count, int thread, int *set)
{
    int code = calls->create(set);
    if (code == DONE)
        code = calls->assign_component(*set, 0); // the processor's component
    if (code == DONE)
        code = calls->attach(*set, (unsigned long)thread);
    for (size_t e = 0; code == DONE && e < count; e++)
        code = events[e]->papi ? calls->add_named(*set, events[e]->papi) : NO_SUCH_EVENT;
    return code;
}

// Whether the library runs; else the reason.
static bool is_running(const struct papi_calls *calls, char reason[COUNTER_REASON_BYTES])
{
    if (!calls) {
        snprintf(reason, COUNTER_REASON_BYTES, "this build has no PAPI");
        return false;
    }
    int code = calls->is_initialized() ? calls->version : calls->init(calls->version);
    if (code != calls->version)
        snprintf(reason, COUNTER_REASON_BYTES, "the library does not start: %s",
                 code < 0 ? calls->error_text(code) : "another version than compiled against");
    return code == calls->version;
}

static void *papi_open(const struct counter_source *self, const struct counter_event *const *events,
                       size_t count, const int *thread_ids, size_t thread_count,
                       char reason[COUNTER_REASON_BYTES])
{
    const struct papi_calls *calls = self->calls;
    if (!is_running(calls, reason))
        return NULL;
    struct papi_set *papi = malloc(sizeof *papi + thread_count * sizeof *papi->set);
    if (!papi) {
        snprintf(reason, COUNTER_REASON_BYTES, "out of memory");
        return NULL;
    }
    *papi = (struct papi_set){.calls = calls, .events = count, .threads = thread_count};
    for (size_t t = 0; t < thread_count; t++)
        papi->set[t] = NO_SET;
    int code = DONE;
    for (size_t t = 0; code == DONE && t < thread_count; t++)
        code = open_thread(calls, events, count, thread_ids[t], &papi->set[t]);
    if (code != DONE) {
        snprintf(reason, COUNTER_REASON_BYTES, "%s", calls->error_text(code));
        papi_close(papi);
        return NULL;
    }
    return papi;
}

static void papi_start(void *opaque)
{
    struct papi_set *papi = opaque;
    for (size_t t = 0; t < papi->threads; t++)
        papi->calls->start(papi->set[t]); // a failure shows when it is stopped
}

static void papi_stop(void *opaque, int64_t *values)
{
    struct papi_set *papi = opaque;
    for (size_t e = 0; e < papi->events; e++)
        values[e] = 0;
    for (size_t t = 0; t < papi->threads; t++) {
        long long counted[COUNTERS_MAX] = {0};
        bool read = papi->calls->stop(papi->set[t], counted) == DONE;
        for (size_t e = 0; e < papi->events; e++) {
            if (!read || values[e] == OS_UNKNOWN)
                values[e] = OS_UNKNOWN;
            else
                values[e] += counted[e];
        }
    }
}

#if HAVE_PAPI

#include <papi.h>

_Static_assert(DONE == PAPI_OK && NO_SUCH_EVENT == PAPI_ENOEVNT && NO_SET == PAPI_NULL,
               "as papi.h has it");

static const struct papi_calls library = {
    .version = PAPI_VER_CURRENT,
    .is_initialized = PAPI_is_initialized,
    .init = PAPI_library_init,
    .create = PAPI_create_eventset,
    .assign_component = PAPI_assign_eventset_component,
    .attach = PAPI_attach,
    .add_named = PAPI_add_named_event,
    .start = PAPI_start,
    .stop = PAPI_stop,
    .cleanup = PAPI_cleanup_eventset,
    .destroy = PAPI_destroy_eventset,
    .error_text = PAPI_strerror,
};
#define LIBRARY &library

#else
#define LIBRARY NULL
#endif

const struct counter_source counter_papi = {.name = "papi",
                                            .calls = LIBRARY,
                                            .open = papi_open,
                                            .start = papi_start,
                                            .stop = papi_stop,
                                            .close = papi_close};
