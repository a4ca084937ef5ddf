// perf_script.h - perf events whose answers are a script: which open, how many count at once, and what they count.
#ifndef TESTS_PROBE_PERF_SCRIPT_H
#define TESTS_PROBE_PERF_SCRIPT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "bench/probe/perf.h"

enum { PERF_SCRIPT_EVENTS = 1024, PERF_SCRIPT_ENABLED_NS = 1000 };

struct perf_script_event {
    struct perf_counter counter;
    struct perf_place place;
    bool open, on;
    struct perf_reading reading;
};

static struct {
    struct perf_script_event event[PERF_SCRIPT_EVENTS];
    int count;               // opened so far; a descriptor is an index
    int refuse;              // errno of every open; 0: none
    int kernel;              // errno of an open that is not for user code alone; 0: none
    uint64_t unknown_config; // of a hardware event that it does not have; 0: it has all
    int room;                // events of a group that count at once; 0: any number
    bool validates;          // a group that is too large is refused; else it never counts
    bool held;               // another program holds the counters half of the time
    int started;             // groups started so far
    uint64_t a_stop;         // what each counting event counts between start and stop
} perf_script;

static int perf_script_group(int leader)
{
    int size = 0;
    for (int i = 0; i < perf_script.count; i++) {
        const struct perf_script_event *e = &perf_script.event[i];
        size += e->open && (i == leader || e->place.leader == leader);
    }
    return size;
}

static int perf_script_open(const struct perf_counter *counter, const struct perf_place *place)
{
    assert_true(perf_script.count < PERF_SCRIPT_EVENTS);
    assert_true((place->thread < 0) != (place->cpu < 0));
    if (perf_script.refuse)
        return -perf_script.refuse;
    if (perf_script.unknown_config && counter->type == PERF_HARDWARE &&
        counter->config == perf_script.unknown_config)
        return -ENOENT;
    if (perf_script.kernel && !place->user_only)
        return -perf_script.kernel;
    if (place->leader >= 0) { // the group's leader is open, and at the same place
        const struct perf_script_event *leader = &perf_script.event[place->leader];
        assert_true(leader->open && leader->place.leader < 0);
        assert_int_equal(leader->place.cpu, place->cpu);
        assert_int_equal(leader->place.thread, place->thread);
        if (perf_script.validates && perf_script_group(place->leader) >= perf_script.room)
            return -EINVAL;
    }
    perf_script.event[perf_script.count] =
        (struct perf_script_event){.counter = *counter, .place = *place, .open = true};
    return perf_script.count++;
}

static void perf_script_start(int leader)
{
    perf_script.started++;
    assert_int_equal(perf_script.event[leader].place.leader, -1);
    for (int i = 0; i < perf_script.count; i++)
        if (i == leader || perf_script.event[i].place.leader == leader)
            perf_script.event[i].on = perf_script.event[i].open;
}

static void perf_script_stop(int leader)
{
    bool fits = !perf_script.room || perf_script_group(leader) <= perf_script.room;
    for (int i = 0; i < perf_script.count; i++) {
        struct perf_script_event *e = &perf_script.event[i];
        if (!e->on || (i != leader && e->place.leader != leader))
            continue;
        e->on = false;
        e->reading.enabled_ns += PERF_SCRIPT_ENABLED_NS;
        if (!fits)
            continue;
        e->reading.running_ns += PERF_SCRIPT_ENABLED_NS / (perf_script.held ? 2 : 1);
        e->reading.value += perf_script.a_stop;
    }
}

static bool perf_script_read(int fd, struct perf_reading *out)
{
    *out = perf_script.event[fd].reading;
    return perf_script.event[fd].open;
}

static void perf_script_close(int fd)
{
    assert_true(perf_script.event[fd].open);
    perf_script.event[fd].open = false;
}

static const struct perf_calls perf_scripted = {
    perf_script_open, perf_script_start, perf_script_stop, perf_script_read, perf_script_close};

// Open events; none when all was closed.
static inline int perf_script_opened(void)
{
    int open = 0;
    for (int i = 0; i < perf_script.count; i++)
        open += perf_script.event[i].open;
    return open;
}

#endif
