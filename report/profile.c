// profile.c - gathers the figures of one cell's phases: classes, overhead, kernels, energy.
#include "report/profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "report/data.h"
#include "report/gains.h"
#include "results/basis.h"
#include "results/metric.h"

// A repetition of an instrument that differs by more from the timed ones is named.
static const double ROUGHLY = 0.1;

// ---- rows of the cell -------------------------------------------------------------------------------------

static bool is_of(const struct profile *p, const struct summary_row *row, const char *name,
                  const char *phase)
{
    return row->cell == p->cell->id && str_equal(row->name, name) && str_equal(row->phase, phase);
}

static double op_value(const struct profile *p, const char *name, const char *phase, const char *op,
                       const char **source)
{
    for (size_t i = 0; i < p->data->summary_count; i++) {
        const struct summary_row *row = &p->data->summaries[i];
        if (is_of(p, row, name, phase) && str_equal(row->op, op)) {
            *source = row->source;
            return row->stat.median;
        }
    }
    return NAN;
}

// The verdict on an op class with the best basis, or NULL.
static const struct verdict_row *op_verdict(const struct profile *p, const char *phase,
                                            const char *op)
{
    const struct verdict_row *best = NULL;
    for (size_t i = 0; i < p->data->verdict_count; i++) {
        const struct verdict_row *v = &p->data->verdicts[i];
        bool same = v->cell == p->cell->id && str_equal(v->phase, phase) && str_equal(v->op, op);
        if (same && (!best || metric_basis_rank(v->basis) < metric_basis_rank(best->basis)))
            best = v;
    }
    return best;
}

// ---- classes ----------------------------------------------------------------------------------------------

static void add_class(struct profile *p, struct profile_phase *phase, const char *op)
{
    const char *unused;
    struct profile_class *c = &phase->classes[phase->class_count++];
    const struct verdict_row *v = op_verdict(p, phase->name, op);
    c->op = op;
    c->verdict = v;
    c->time_ns = op_value(p, METRIC_OP_TIME, phase->name, op, &phase->source);
    c->bytes = op_value(p, METRIC_BYTES, phase->name, op, &unused);
    c->flop = op_value(p, METRIC_FLOP, phase->name, op, &unused);
    bool timed = v && !isnan(v->eta); // else the times are not parts of the phase
    if (v && !timed && !isnan(c->time_ns))
        phase->apart_ns += c->time_ns;
    if (!timed)
        c->time_ns = NAN;
    c->share = c->time_ns / phase->time_ns;
    c->roof_ns = v ? v->t_roof_ns : NAN;
    c->memory_share = timed ? v->t_memory_ns / v->measured_ns : NAN;
    c->compute_share = timed ? v->t_compute_ns / v->measured_ns : NAN;
}

// Classes with a time come first. The others are in the order of their bytes.
static int by_class_time(const void *a, const void *b)
{
    const struct profile_class *x = a, *y = b;
    bool untimed = isnan(x->time_ns);
    if (untimed != isnan(y->time_ns))
        return untimed ? 1 : -1;
    double by = untimed ? x->bytes : x->time_ns, other = untimed ? y->bytes : y->time_ns;
    return by > other ? -1 : by < other;
}

// The classes are those with bytes, which the analytic model knows for every cell.
static void add_classes(struct profile *p, struct profile_phase *phase)
{
    for (size_t i = 0; i < p->data->summary_count; i++) {
        const struct summary_row *row = &p->data->summaries[i];
        if (is_of(p, row, METRIC_BYTES, phase->name) && row->op && row->stat.median > 0 &&
            phase->class_count < PROFILE_CLASSES)
            add_class(p, phase, row->op);
    }
    qsort(phase->classes, phase->class_count, sizeof *phase->classes, by_class_time);
    if (phase->class_count && !isnan(phase->classes[0].time_ns))
        phase->apart_ns = 0;
}

static int by_kernel_time(const void *a, const void *b)
{
    const struct profile_kernel *x = a, *y = b;
    return x->ns > y->ns ? -1 : x->ns < y->ns;
}

// Trials may differ in the slowest layer; the one that comes first is named.
static void add_layers(struct profile *p, struct profile_phase *phase)
{
    phase->layer_ns = report_data_value(p->data, p->cell, METRIC_LAYER_TIME, phase->name);
    phase->layer_most_ns = NAN;
    for (size_t i = 0; i < p->data->summary_count && !phase->layer_most; i++) {
        const struct summary_row *row = &p->data->summaries[i];
        if (!is_of(p, row, METRIC_LAYER_MOST, phase->name) || !row->op)
            continue;
        phase->layer_most = row->op;
        phase->layer_most_ns = row->stat.median;
    }
}

static void add_kernels(struct profile *p, struct profile_phase *phase)
{
    for (size_t i = 0; i < p->data->summary_count; i++) {
        const struct summary_row *row = &p->data->summaries[i];
        if (is_of(p, row, METRIC_KERNEL_TIME, phase->name) && row->op &&
            phase->kernel_count < PROFILE_KERNELS)
            phase->kernels[phase->kernel_count++] =
                (struct profile_kernel){row->op, row->stat.median};
    }
    qsort(phase->kernels, phase->kernel_count, sizeof *phase->kernels, by_kernel_time);
}

// ---- overhead ---------------------------------------------------------------------------------------------

static double value(const struct profile *p, const char *name, const char *phase)
{
    return report_data_value(p->data, p->cell, name, phase);
}

static void add_part(struct profile_phase *phase, const char *name, double ns, bool within,
                     const char *note)
{
    phase->parts[phase->part_count++] = (struct profile_part){name, note, ns, within};
}

// The time of all classes, the end of the step and the gaps; NaN if the classes were not timed.
static double seen_ns(const struct profile_phase *phase, double end_ns, double gaps_ns)
{
    double sum = 0;
    bool timed = false;
    for (size_t i = 0; i < phase->class_count; i++) {
        timed |= !isnan(phase->classes[i].time_ns);
        sum += isnan(phase->classes[i].time_ns) ? 0 : phase->classes[i].time_ns;
    }
    return timed ? sum + (isnan(end_ns) ? 0 : end_ns) + (isnan(gaps_ns) ? 0 : gaps_ns)
                 : (double)NAN;
}

// What was seen is compared with the repetition next to it, because clocks move from one to the next.
static double against_ns(const struct profile_phase *phase)
{
    return phase->traced && phase->untraced_ns > 0 ? phase->untraced_ns : phase->time_ns;
}

static void add_parts(struct profile *p, struct profile_phase *phase)
{
    const char *unused;
    bool host = query_cell_on_host(p->cell), decode = str_equal(phase->name, "decode");
    double between_ns = decode ? value(p, METRIC_BETWEEN, phase->name) * phase->time_ns : 0;
    double gaps_ns = value(p, METRIC_LAUNCH_GAPS, phase->name);
    double busy_ns = value(p, METRIC_BUSY, phase->name);
    double end_ns = op_value(p, METRIC_OP_TIME, phase->name, METRIC_OP_END, &unused);
    if (!host)
        add_part(phase, "launches", gaps_ns, false,
                 "gaps between kernels in which the device had no work");
    add_part(phase, host ? "waiting at barriers" : "synchronization",
             value(p, METRIC_WAIT, phase->name), true,
             host ? "synchronization and load imbalance of the driving thread; part of the classes"
                  : "a GPU's waits for the host are not measured yet");
    add_part(phase, "sampling", end_ns, false,
             host ? "drawing ids from the logits, and counting those that are not finite"
                  : "sampling, and handing ids to the host");
    if (decode)
        add_part(phase, "host", between_ns, false,
                 "between the end of a step and the begin of the next");
    phase->launches = value(p, METRIC_LAUNCHES, phase->name);
    phase->traced_ns = value(p, METRIC_TRACED_TIME, phase->name);
    phase->untraced_ns = value(p, METRIC_UNTRACED_TIME, phase->name);
    phase->traced = !isnan(busy_ns);
    phase->seen_ns = phase->traced ? busy_ns + gaps_ns : seen_ns(phase, end_ns, gaps_ns);
    double left_ns = against_ns(phase) - phase->seen_ns - (isnan(between_ns) ? 0 : between_ns);
    if (left_ns > 0)
        add_part(phase, "not explained", left_ns, false,
                 phase->traced
                     ? "the time right after the trace less that of kernels and the rows above"
                     : "the phase's time less that of classes and the rows above");
}

double report_profile_accounted(const struct profile_phase *phase)
{
    return phase->seen_ns / against_ns(phase);
}

void report_profile_sum(const struct profile_phase *phase, struct str *out)
{
    double accounted = report_profile_accounted(phase);
    bool timed = phase->class_count && !isnan(phase->classes[0].time_ns);
    if (phase->apart_ns > 0)
        str_printf(out,
                   "Timed one by one, the classes took %.0f %% of %s (%s), so they are not its "
                   "parts and have no time here.",
                   100 * phase->apart_ns / phase->time_ns, phase->unit, phase->source);
    else if (!timed)
        str_printf(out, "The classes were not timed as parts of %s.", phase->unit);
    if (!isnan(accounted))
        str_printf(out, "%s%s add up to %.1f %% of %s (%s).", out->length ? " " : "",
                   phase->traced ? "Kernels and gaps" : "Classes and sampling", 100 * accounted,
                   phase->unit, phase->traced ? METRIC_SOURCE_ACTIVITY : phase->source);
    if (fabs(accounted - 1) > ROUGHLY)
        str_append(out, " That repetition differs from the timed ones, so the shares are rough.");
    if (phase->layer_most) {
        char median[48], most[48];
        str_printf(out, " A layer takes %s in the median; the slowest is %s with %s.",
                   metric_format(phase->layer_ns, "ns", median, sizeof median), phase->layer_most,
                   metric_format(phase->layer_most_ns, "ns", most, sizeof most));
    }
    if (phase->traced_ns > phase->untraced_ns)
        str_printf(out, " Tracing made it %.1f %% slower.",
                   100 * (phase->traced_ns / phase->untraced_ns - 1));
}

// ---- phases -----------------------------------------------------------------------------------------------

static void add_phase(struct profile *p, const char *name, const char *metric, const char *unit,
                      double times, const char *energy)
{
    double time_ns = value(p, metric, name);
    if (isnan(time_ns))
        return;
    struct profile_phase *phase = &p->phases[p->phase_count++];
    *phase = (struct profile_phase){.name = name, .unit = unit, .time_ns = time_ns, .times = times};
    phase->verdict = report_data_verdict(p->data, p->cell, name);
    if (phase->verdict && str_equal(phase->verdict->basis, BASIS_COUNTERS))
        phase->analytic = report_data_analytic(p->data, p->cell, name);
    phase->energy.token_j = value(p, energy, name);
    phase->energy.power_w = value(p, METRIC_POWER, name);
    add_classes(p, phase);
    add_layers(p, phase);
    add_kernels(p, phase);
    add_parts(p, phase);
}

static bool known_missing(const struct profile *p, const char *instrument, const char *reason)
{
    for (size_t i = 0; i < p->missing_count; i++)
        if (str_equal(p->missing[i].instrument, instrument) &&
            str_equal(p->missing[i].reason, reason))
            return true;
    return p->missing_count == PROFILE_MISSING;
}

// What instruments of any trial could not measure.
static enum status add_missing(struct store *store, struct profile *p, struct error *err)
{
    struct trial_row *trials = NULL;
    struct value_row *values = NULL;
    size_t trial_count = 0, value_count = 0;
    TRY(query_trials(store, &p->data->arena, p->cell->id, &trials, &trial_count, err));
    for (size_t t = 0; t < trial_count; t++) {
        TRY(query_values(store, &p->data->arena, trials[t].id, &values, &value_count, err));
        for (size_t i = 0; i < value_count; i++) {
            const char *name = values[i].name;
            if (!str_starts(name, METRIC_INSTRUMENT_PREFIX) || !isnan(values[i].value))
                continue;
            name += strlen(METRIC_INSTRUMENT_PREFIX);
            if (!known_missing(p, name, values[i].source))
                p->missing[p->missing_count++] = (struct profile_missing){name, values[i].source};
        }
    }
    return OK;
}

static enum status find_cell(struct profile *p, int64_t cell, struct error *err)
{
    struct report_data *data = p->data;
    for (size_t i = 0; i < data->cell_count; i++)
        if (data->cells[i].id == cell || (cell == 0 && data->cell_count == 1))
            p->cell = &data->cells[i];
    return p->cell ? OK
                   : FAIL(err, ERR_USAGE, "run %lld has %zu cells; a profile is of one",
                          (long long)data->run.id, data->cell_count);
}

static enum status gather(struct store *store, struct profile *p, struct error *err)
{
    add_phase(p, "prefill", METRIC_PREFILL_TIME, "the whole prefill", 1, METRIC_ENERGY_PROMPT);
    add_phase(p, "decode", METRIC_TPOT, "one step", p->cell->gen - 1, METRIC_ENERGY_TOKEN);
    p->request_ns = value(p, METRIC_E2E, NULL);
    p->idle_w = value(p, METRIC_POWER_IDLE, NULL);
    for (size_t i = 0; i < p->data->verdict_count; i++)
        p->counted |= str_starts(p->data->verdicts[i].basis, BASIS_COUNTERS);
    TRY(add_missing(store, p, err));
    return report_gains(p, err);
}

enum status report_profile_load(struct store *store, const char *run, int64_t cell,
                                struct profile *out, struct error *err)
{
    *out = (struct profile){0};
    out->data = calloc(1, sizeof *out->data);
    if (!out->data)
        return FAIL(err, ERR_NOMEM, "no memory for the profile");
    if (report_data_load(store, run, out->data, err) == OK && find_cell(out, cell, err) == OK)
        gather(store, out, err);
    if (err->code != OK)
        report_profile_fini(out);
    return err->code;
}

void report_profile_fini(struct profile *profile)
{
    report_data_fini(profile->data);
    free(profile->data);
    profile->data = NULL;
}
