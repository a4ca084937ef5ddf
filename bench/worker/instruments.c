// instruments.c - the table of instruments, and the repetitions they run in.
#include "bench/worker/instruments.h"

#include <math.h>
#include <stdio.h>

#include "base/str.h"
#include "bench/worker/trace.h"
#include "results/metric.h"

// The trace comes before the observer, because the observer reports only phases whose op classes the trace could not
// time.
static const struct instrument *const table[] = {
    &instrument_activity, &instrument_observer, &instrument_memory,
    &instrument_counters, &instrument_energy,
};
_Static_assert(sizeof table / sizeof *table <= INSTRUMENTS_MAX, "room for each row");

void instruments_open(struct instruments *out, struct device *device, unsigned collect)
{
    *out = (struct instruments){0};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!(table[i]->collect & collect))
            continue;
        size_t at = out->count++;
        out->at[at].row = table[i];
        out->at[at].works = table[i]->open(device, &out->at[at].state, out->at[at].reason);
    }
}

void instruments_close(struct instruments *instruments)
{
    for (size_t i = 0; i < instruments->count; i++)
        instruments->at[i].row->close(instruments->at[i].state);
    instruments->count = 0;
}

void instrument_cannot(const struct instrument *row, const char *reason, json_t *metrics)
{
    char name[64];
    snprintf(name, sizeof name, METRIC_INSTRUMENT_PREFIX "%s", row->name);
    wire_metric(metrics, name, NAN, NULL, NULL, reason);
}

bool instrument_reported(const json_t *metrics, const char *name, enum phase phase)
{
    size_t i;
    const json_t *row;
    json_array_foreach(metrics, i, row)
    {
        const char *of = json_string_value(json_object_get(row, "phase"));
        if (str_equal(json_string_value(json_object_get(row, "name")), name) &&
            str_equal(of, phase_name(phase)))
            return true;
    }
    return false;
}

double instrument_steps(const struct subject *s, enum phase phase)
{
    return phase == PHASE_DECODE ? s->cell->gen - 1 : 1;
}

// ---- a repetition ----------------------------------------------------------------------------------------

struct watched {
    const struct instrument *row;
    void *state;
    struct subject *subject;
};

static void on_begin(void *user, enum phase phase)
{
    struct watched *w = user;
    w->row->begin(w->state, w->subject, phase);
}

static void on_end(void *user, enum phase phase)
{
    struct watched *w = user;
    w->row->end(w->state, w->subject, phase);
}

// A whole engine does not separate phases, so the instrument sees one prefill.
static enum status watch_whole(struct watched *w, struct error *err)
{
    struct repetition unused;
    on_begin(w, PHASE_PREFILL);
    enum status status =
        measure_repetition(w->subject, &(struct repetition_options){0}, &unused, err);
    on_end(w, PHASE_PREFILL);
    return status;
}

static enum status run_one(struct watched *w, struct error *err)
{
    struct repetition unused;
    if (w->row->run)
        return w->row->run(w->state, w->subject, err);
    struct phase_watch watch = {.begin = on_begin, .end = on_end, .user = w};
    if (!w->subject->engine->step)
        return watch_whole(w, err);
    return measure_repetition(w->subject, &(struct repetition_options){.watch = &watch}, &unused,
                              err);
}

enum status instruments_run(struct instruments *instruments, struct subject *s, json_t *metrics,
                            struct error *err)
{
    canary_destroy(s->canary); // its buffers must not count as the cell's memory
    s->canary = NULL;
    for (size_t i = 0; i < instruments->count; i++) {
        const struct instrument *row = instruments->at[i].row;
        struct watched w = {.row = row, .state = instruments->at[i].state, .subject = s};
        char reason[INSTRUMENT_REASON_BYTES];
        snprintf(reason, sizeof reason, "%s", instruments->at[i].reason);
        bool works = instruments->at[i].works;
        if (!(row->collect & s->cell->collect))
            continue;
        if (row->inside && !s->engine->step) {
            works = false;
            snprintf(reason, sizeof reason,
                     "engine %s runs its requests out of this process's sight", s->engine->name);
        }
        if (reason[0])
            instrument_cannot(row, reason, metrics);
        if (!works)
            continue;
        if (run_one(&w, err) != OK)
            return error_context(err, "measuring with the instrument %s", row->name);
        row->report(w.state, s, metrics);
        TRY(worker_trace_send(s->trace, s->wire, s->cell->index, err));
    }
    return OK;
}
