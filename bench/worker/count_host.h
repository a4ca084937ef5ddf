// count_host.h - the host's counters, for the instrument `counters`: events of its threads, bytes of its memory.
#ifndef BENCH_WORKER_COUNT_HOST_H
#define BENCH_WORKER_COUNT_HOST_H

#include "bench/probe/probe.h"
#include "bench/probe/uncore.h"
#include "bench/worker/instruments.h"

// A processor counts few events at a time. Rather than let events share a counter, each group of events has a
// repetition of its own; so have the events of memory controllers.
struct host_tally {
    struct counters *counters; // owned; NULL: not open
    struct uncore *uncore;     // owned; NULL: not counted
    size_t pass;
    double events[PHASE_COUNT][COUNTERS_MAX]; // of whole phases; NaN: not counted
    double bytes[PHASE_COUNT][UNCORE_WAYS];   // of all passes so far
};

// Opens what this machine counts. bytes: those of its memory controllers too. Returns whether it counts anything.
// reason: what it does not count, and why.
bool count_host_open(struct host_tally *tally, bool bytes, char reason[INSTRUMENT_REASON_BYTES]);
void count_host_close(struct host_tally *tally);
// Runs a repetition for each pass. Errors: the engine's.
enum status count_host_run(struct host_tally *tally, struct subject *s, struct error *err);
// Appends what was counted: amounts of a decode a step.
void count_host_report(const struct host_tally *tally, const struct subject *s, json_t *metrics);

#endif
