// count_host.c - counts events of the processor and the system, and bytes of the memory controllers.
#include "bench/worker/count_host.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "results/metric.h"

// ---- what there is ---------------------------------------------------------------------------------------

static void open_uncore(struct host_tally *t, char reason[INSTRUMENT_REASON_BYTES])
{
    char why[UNCORE_REASON_BYTES];
    if (uncore_open("", &perf_system, &t->uncore, why) && !uncore_right(t->uncore, 0, why)) {
        uncore_close(t->uncore);
        t->uncore = NULL;
    }
    size_t used = strlen(reason);
    if (!t->uncore)
        snprintf(reason + used, INSTRUMENT_REASON_BYTES - used, "%s" METRIC_NO_DRAM "%s",
                 used ? "; " : "", why);
}

static size_t passes_of(const struct host_tally *t)
{
    size_t events = counters_groups(t->counters), bytes = t->uncore ? uncore_passes(t->uncore) : 0;
    return events > bytes ? events : bytes;
}

bool count_host_open(struct host_tally *t, bool bytes, char reason[INSTRUMENT_REASON_BYTES])
{
    struct error err = {0};
    *t = (struct host_tally){0};
    if (counters_open(&t->counters, &err) != OK) {
        snprintf(reason, INSTRUMENT_REASON_BYTES, "%s", err.message);
        return false;
    }
    snprintf(reason, INSTRUMENT_REASON_BYTES, "%s", counters_reason(t->counters));
    if (bytes)
        open_uncore(t, reason);
    return passes_of(t) > 0;
}

void count_host_close(struct host_tally *t)
{
    counters_close(t->counters);
    uncore_close(t->uncore);
    *t = (struct host_tally){0};
}

// ---- counting --------------------------------------------------------------------------------------------

static void begin_pass(struct host_tally *t, size_t pass)
{
    t->pass = pass;
    if (pass < counters_groups(t->counters))
        counters_select(t->counters, pass);
}

static void on_begin(void *user, enum phase phase)
{
    struct host_tally *t = user;
    (void)phase;
    if (t->pass < counters_groups(t->counters))
        counters_start(t->counters);
    if (t->uncore)
        uncore_start(t->uncore, t->pass);
}

static void on_end(void *user, enum phase phase)
{
    struct host_tally *t = user;
    int64_t values[COUNTERS_MAX];
    if (t->uncore)
        uncore_stop(t->uncore, t->pass, t->bytes[phase]);
    if (t->pass >= counters_groups(t->counters))
        return;
    counters_stop(t->counters, values);
    for (size_t i = 0; i < counters_count(t->counters); i++)
        if (counters_group(t->counters, i) == t->pass)
            t->events[phase][i] = values[i] == OS_UNKNOWN ? NAN : (double)values[i];
}

enum status count_host_run(struct host_tally *t, struct subject *s, struct error *err)
{
    struct repetition unused;
    const struct phase_watch watch = {.begin = on_begin, .end = on_end, .user = t};
    const struct repetition_options options = {.watch = &watch};
    memset(t->bytes, 0, sizeof t->bytes);
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        for (size_t i = 0; i < COUNTERS_MAX; i++)
            t->events[phase][i] = NAN;
    for (size_t pass = 0, passes = passes_of(t); pass < passes; pass++) {
        begin_pass(t, pass);
        TRY(measure_repetition(s, &options, &unused, err));
    }
    return OK;
}

// ---- figures ---------------------------------------------------------------------------------------------

static void report_bytes(const struct host_tally *t, enum phase phase, double steps,
                         json_t *metrics)
{
    static const char *const names[UNCORE_WAYS] = {METRIC_DRAM_READ, METRIC_DRAM_WRITTEN,
                                                   METRIC_DRAM_BYTES};
    bool separate = uncore_separates(t->uncore);
    for (int way = 0; way < UNCORE_WAYS; way++)
        if (separate == (way != UNCORE_BOTH))
            wire_metric(metrics, names[way], t->bytes[phase][way] / steps, phase_name(phase), NULL,
                        uncore_source(t->uncore));
}

static void report_phase(const struct host_tally *t, const struct subject *s, enum phase phase,
                         json_t *metrics)
{
    double steps = instrument_steps(s, phase);
    for (size_t i = 0; i < counters_count(t->counters); i++) {
        char name[96];
        snprintf(name, sizeof name, METRIC_COUNTER_PREFIX "%s", counters_name(t->counters, i));
        wire_metric(metrics, name, t->events[phase][i] / steps, phase_name(phase), NULL,
                    counters_source(t->counters));
    }
    if (t->uncore)
        report_bytes(t, phase, steps, metrics);
}

void count_host_report(const struct host_tally *t, const struct subject *s, json_t *metrics)
{
    report_phase(t, s, PHASE_PREFILL, metrics);
    if (s->cell->gen > 1)
        report_phase(t, s, PHASE_DECODE, metrics);
}
