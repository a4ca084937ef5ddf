// instrument_energy.c - J per token, from the device's energy counter over windows of seconds.
//
// A window begins and ends when the counter moves, so its resolution causes no error. Each phase is repeated until the
// window is many movements long. The power at rest is measured with the model loaded and subtracted over the whole
// window. So the idle time between the last pass and the counter's next movement does not count.
#include "bench/worker/instrument_energy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "results/metric.h"

enum {
    // A window lasts at least this many movements of the counter, and at least this long. Missing one movement would
    // then be an error of 3 %.
    WINDOW_UPDATES = 30,
    WINDOW_LEAST_NS = 1000 * 1000 * 1000,
    SETTLE_NS = 1000 * 1000 * 1000, // after work, before the rest is measured
    LOOKS_AN_UPDATE = 50,           // readings per update interval while a movement is awaited
    LOOK_NS_LEAST = 50 * 1000,      // the shortest time between two readings
    // A counter that has not moved for this long, and for this many update intervals, has stopped.
    STILL_NS_LEAST = 1000 * 1000 * 1000,
    STILL_UPDATES = 10,
};

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t window_ns(const struct energy_meter *m)
{
    return most(WINDOW_LEAST_NS, WINDOW_UPDATES * m->first.update_ns);
}

// ---- windows ---------------------------------------------------------------------------------------------

struct moment {
    double joules;
    uint64_t at_ns;
};

// Waits until the counter moves. False with the reason where it does not.
static bool await_movement(struct energy_meter *m, struct moment *out)
{
    struct error err = {0};
    struct device_energy before, now;
    const uint64_t began_ns = m->source.now_ns(m->source.user);
    const uint64_t still_ns = most(STILL_NS_LEAST, STILL_UPDATES * m->first.update_ns);
    if (m->source.read(m->source.user, &before, &err) != OK)
        goto failed;
    do {
        m->source.rest(m->source.user, most(LOOK_NS_LEAST, m->first.update_ns / LOOKS_AN_UPDATE));
        if (m->source.read(m->source.user, &now, &err) != OK)
            goto failed;
        *out = (struct moment){now.joules, m->source.now_ns(m->source.user)};
        if (now.joules != before.joules)
            return true;
    } while (out->at_ns - began_ns < still_ns);
    FAIL(&err, ERR_UNSUPPORTED, "%s did not move for %.0f s", m->first.source,
         (double)still_ns / 1e9);
failed:
    snprintf(m->reason, sizeof m->reason, "%s", err.message);
    return false;
}

static double watts_of(const struct energy_window *w)
{
    return w->joules / ((double)w->ns / 1e9);
}

static bool measure_idle(struct energy_meter *m)
{
    struct moment begin, end;
    m->source.rest(m->source.user, SETTLE_NS);
    if (!await_movement(m, &begin))
        return false;
    m->source.rest(m->source.user, window_ns(m));
    if (!await_movement(m, &end))
        return false;
    m->idle =
        (struct energy_window){.joules = end.joules - begin.joules, .ns = end.at_ns - begin.at_ns};
    return true;
}

struct counting {
    struct energy_meter *meter;
    struct subject *subject;
    struct energy_window *window;
    struct moment begin;
};

// The first pass brings clocks and power to where they stay.
static enum status count_pass(void *user, int done, bool *go_on, struct error *err)
{
    struct counting *c = user;
    struct moment end;
    (void)err;
    if (done == 1) {
        *go_on = await_movement(c->meter, &c->begin);
        return OK;
    }
    uint64_t active_ns = c->meter->source.now_ns(c->meter->source.user) - c->begin.at_ns;
    double share = (double)active_ns / (double)window_ns(c->meter);
    wire_progress(c->subject->wire, "energy", c->subject->cell->index, 0, fmin(share, 1));
    *go_on = share < 1;
    if (!*go_on && await_movement(c->meter, &end))
        *c->window = (struct energy_window){.joules = end.joules - c->begin.joules,
                                            .ns = end.at_ns - c->begin.at_ns,
                                            .active_ns = active_ns,
                                            .passes = done - 1};
    return OK;
}

static enum status count_phase(struct energy_meter *m, struct subject *s, enum phase phase,
                               struct error *err)
{
    struct counting c = {.meter = m, .subject = s, .window = &m->phase[phase]};
    return measure_phase(s, phase, count_pass, &c, err);
}

enum status instrument_energy_run(struct energy_meter *m, struct subject *s, struct error *err)
{
    m->reason[0] = '\0';
    m->idle = m->phase[PHASE_PREFILL] = m->phase[PHASE_DECODE] = (struct energy_window){0};
    if (!measure_idle(m))
        return OK;
    TRY(count_phase(m, s, PHASE_PREFILL, err));
    if (s->cell->gen > 1 && !m->reason[0])
        TRY(count_phase(m, s, PHASE_DECODE, err));
    return OK;
}

// ---- figures ---------------------------------------------------------------------------------------------

// The energy that the phase used beyond the power at rest, in J. NaN, with the reason, if the two cannot be told apart
// or the window is too short for the counter.
static double energy_above_rest(const struct energy_meter *m, const struct energy_window *w,
                                enum phase phase, json_t *metrics)
{
    char reason[INSTRUMENT_REASON_BYTES];
    double idle_w = watts_of(&m->idle);
    double net_j = w->joules - idle_w * (double)w->ns / 1e9;
    if (w->ns < WINDOW_UPDATES * m->first.update_ns)
        snprintf(reason, sizeof reason,
                 "%s: %.2f s are too short for a counter that moves every %.3g ms",
                 phase_name(phase), (double)w->ns / 1e9, (double)m->first.update_ns / 1e6);
    else if (!(net_j > 0))
        snprintf(reason, sizeof reason,
                 "%s: the device drew %.1f W, and at rest before it %.1f W: other programs used it",
                 phase_name(phase), watts_of(w), idle_w);
    else
        return net_j;
    instrument_cannot(&instrument_energy, reason, metrics);
    return NAN;
}

static void report_phase(const struct energy_meter *m, const struct subject *s, enum phase phase,
                         const char *source, json_t *metrics)
{
    const struct energy_window *w = &m->phase[phase];
    const double batch = s->cell->batch, active_s = (double)w->active_ns / 1e9;
    if (w->passes == 0)
        return;
    double net_j = energy_above_rest(m, w, phase, metrics);
    double tokens = batch * (phase == PHASE_DECODE ? s->cell->gen - 1 : s->prompt_tokens);
    if (isnan(net_j))
        return;
    wire_metric(metrics, phase == PHASE_DECODE ? METRIC_ENERGY_TOKEN : METRIC_ENERGY_PROMPT,
                net_j / (w->passes * tokens), phase_name(phase), NULL, source);
    wire_metric(metrics, METRIC_POWER, net_j / active_s + watts_of(&m->idle), phase_name(phase),
                NULL, m->first.source);
    wire_metric(metrics, METRIC_ENERGY_WINDOW, (double)w->ns, phase_name(phase), NULL,
                "host clock");
}

void instrument_energy_report(const struct energy_meter *m, const struct subject *s,
                              json_t *metrics)
{
    char source[sizeof m->first.source + 32];
    snprintf(source, sizeof source, "%s, less power at rest", m->first.source);
    if (m->reason[0])
        instrument_cannot(&instrument_energy, m->reason, metrics);
    if (m->idle.ns == 0)
        return;
    wire_metric(metrics, METRIC_POWER_IDLE, watts_of(&m->idle), NULL, NULL, m->first.source);
    report_phase(m, s, PHASE_PREFILL, source, metrics);
    report_phase(m, s, PHASE_DECODE, source, metrics);
}

// ---- the instrument --------------------------------------------------------------------------------------

static enum status read_device(void *user, struct device_energy *out, struct error *err)
{
    return device_energy(user, out, err);
}

static uint64_t host_now_ns(void *user)
{
    (void)user;
    return clock_ns();
}

static void host_rest(void *user, uint64_t ns)
{
    const struct timespec pause = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    (void)user;
    nanosleep(&pause, NULL);
}

static bool energy_open(struct device *device, void **state, char reason[INSTRUMENT_REASON_BYTES])
{
    struct error err = {0};
    struct energy_meter *m = calloc(1, sizeof *m);
    if (!m)
        FAIL(&err, ERR_NOMEM, "out of memory");
    else
        device_energy(device, &m->first, &err);
    if (err.code != OK) {
        snprintf(reason, INSTRUMENT_REASON_BYTES, "%s", err.message);
        free(m);
        return false;
    }
    m->source = (struct energy_source){read_device, host_now_ns, host_rest, device};
    *state = m;
    return true;
}

static enum status energy_run(void *state, struct subject *s, struct error *err)
{
    return instrument_energy_run(state, s, err);
}

static void energy_report(void *state, const struct subject *s, json_t *metrics)
{
    instrument_energy_report(state, s, metrics);
}

const struct instrument instrument_energy = {
    .name = "energy",
    .collect = COLLECT_ENERGY,
    .inside = true,
    .open = energy_open,
    .run = energy_run,
    .report = energy_report,
    .close = free,
};
