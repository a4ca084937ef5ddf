// papi_script.h - PAPI's answers as a script: whether it starts, which events it has, how many count at once.
#ifndef TESTS_PROBE_PAPI_SCRIPT_H
#define TESTS_PROBE_PAPI_SCRIPT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "bench/probe/papi.h"

enum { PAPI_SCRIPT_VERSION = 0x07000000, PAPI_SCRIPT_SETS = 256 };

static struct {
    int init;            // what the library's start returns
    int room;            // events that a set holds; 0: any number
    const char *unknown; // an event that it does not have
    int sets, open;
    int events[PAPI_SCRIPT_SETS];
    bool on[PAPI_SCRIPT_SETS];
    uint64_t a_stop; // what each event counts between start and stop
} papi_script;

static int papi_script_is_initialized(void)
{
    return 0;
}

static int papi_script_init(int version)
{
    assert_int_equal(version, PAPI_SCRIPT_VERSION);
    return papi_script.init;
}

static int papi_script_create(int *set)
{
    assert_true(papi_script.sets < PAPI_SCRIPT_SETS);
    papi_script.open++;
    *set = papi_script.sets++;
    return 0;
}

static int papi_script_assign(int set, int component)
{
    (void)set;
    return component == 0 ? 0 : -1;
}

static int papi_script_attach(int set, unsigned long thread)
{
    (void)set;
    return thread > 0 ? 0 : -1;
}

static int papi_script_add(int set, const char *event)
{
    if (papi_script.unknown && !strcmp(event, papi_script.unknown))
        return -7;
    if (papi_script.room && papi_script.events[set] == papi_script.room)
        return -8; // PAPI_ECNFLCT
    papi_script.events[set]++;
    return 0;
}

static int papi_script_start(int set)
{
    papi_script.on[set] = true;
    return 0;
}

static int papi_script_stop(int set, long long *values)
{
    if (!papi_script.on[set])
        return -9; // PAPI_ENOTRUN
    papi_script.on[set] = false;
    for (int i = 0; i < papi_script.events[set]; i++)
        values[i] = (long long)papi_script.a_stop;
    return 0;
}

static int papi_script_cleanup(int set)
{
    papi_script.events[set] = 0;
    return 0;
}

static int papi_script_destroy(int *set)
{
    papi_script.open--;
    *set = -1;
    return 0;
}

static char *papi_script_error(int code)
{
    static char text[40];
    if (code == -7)
        return (char *)(uintptr_t) "Event does not exist";
    snprintf(text, sizeof text, "scripted error %d", code);
    return text;
}

static const struct papi_calls papi_scripted = {
    .version = PAPI_SCRIPT_VERSION,
    .is_initialized = papi_script_is_initialized,
    .init = papi_script_init,
    .create = papi_script_create,
    .assign_component = papi_script_assign,
    .attach = papi_script_attach,
    .add_named = papi_script_add,
    .start = papi_script_start,
    .stop = papi_script_stop,
    .cleanup = papi_script_cleanup,
    .destroy = papi_script_destroy,
    .error_text = papi_script_error,
};

#endif
