// gains.c - candidates for the next improvement: a class or a step at its roof, no gaps, fewer bytes.
//
// A class that reached its roof would save its time less its roof. Half the bytes of weights, or of keys and values,
// would lower the roofs of the classes. That saves as much as the sum of the roofs falls: the loss to the roof stays.
// All are ordered by what they save of a request.
#include "report/gains.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/str.h"
#include "report/data.h"
#include "results/basis.h"
#include "results/metric.h"

static const double LEAST_GAIN = 1.005; // of the phase: below, a change is not worth naming
static const double NARROW_BYTES =
    0.9; // of a weight: 4 bits and their scales are more than half of these

PRINTF_LIKE(2, 3) static const char *text_in(struct arena *arena, const char *format, ...)
{
    struct str text = {0};
    va_list args;
    va_start(args, format);
    str_vprintf(&text, format, args);
    va_end(args);
    const char *kept = text.failed ? NULL : arena_strdup(arena, str_text(&text));
    str_fini(&text);
    return kept;
}

// ---- one candidate ----------------------------------------------------------------------------------------

// NULL: it saves nothing worth naming, or there is no room.
static struct profile_gain *add_gain(struct profile *p, const struct profile_phase *phase,
                                     double saved_ns)
{
    double left_ns = phase->time_ns - saved_ns;
    if (!(saved_ns > 0) || !(left_ns > 0) || phase->time_ns / left_ns < LEAST_GAIN ||
        p->gain_count == PROFILE_GAINS)
        return NULL;
    struct profile_gain *gain = &p->gains[p->gain_count++];
    double request_ns = p->request_ns - saved_ns * phase->times;
    *gain = (struct profile_gain){
        .phase = phase,
        .saved_ns = saved_ns,
        .phase_gain = phase->time_ns / left_ns,
        .request_gain = request_ns > 0 ? p->request_ns / request_ns : NAN,
    };
    return gain;
}

// Where the classes took longer than the phase, each counts for its part: they cannot save more than there is.
static void class_gain(struct profile *p, const struct profile_phase *phase,
                       const struct profile_class *c)
{
    char now[32], then[32];
    double fit = fmin(1, 1 / report_profile_accounted(phase));
    struct profile_gain *gain = add_gain(p, phase, fit * c->time_ns - c->roof_ns);
    if (!gain)
        return;
    gain->what = text_in(&p->data->arena, "%s at its roof", c->op);
    gain->words = text_in(&p->data->arena, "%s takes %s of %s, and %s %s.", c->op,
                          metric_format(c->time_ns, "ns", now, sizeof now), phase->unit,
                          metric_allows(c->verdict->bound),
                          metric_format(c->roof_ns, "ns", then, sizeof then));
}

// A step that is one kernel has no classes with a time, so it counts as a whole.
static void whole_gain(struct profile *p, const struct profile_phase *phase)
{
    char now[32], then[32];
    const struct verdict_row *v = phase->verdict;
    for (size_t i = 0; i < phase->class_count; i++)
        if (!isnan(phase->classes[i].time_ns))
            return;
    struct profile_gain *gain = v ? add_gain(p, phase, phase->time_ns - v->t_roof_ns) : NULL;
    if (!gain)
        return;
    gain->what = text_in(&p->data->arena, "all of %s at its roof", phase->unit);
    gain->words =
        text_in(&p->data->arena, "In all, %s takes %s, and %s %s.", phase->unit,
                metric_format(phase->time_ns, "ns", now, sizeof now), metric_allows(v->bound),
                metric_format(v->t_roof_ns, "ns", then, sizeof then));
}

static void part_gain(struct profile *p, const struct profile_phase *phase,
                      const struct profile_part *part)
{
    char now[32];
    bool launches = str_equal(part->name, "launches"), host = str_equal(part->name, "host");
    struct profile_gain *gain = launches || host ? add_gain(p, phase, part->ns) : NULL;
    if (!gain)
        return;
    gain->what = launches ? "no gaps between kernels" : "no time between steps";
    gain->words = text_in(&p->data->arena, "The device had no work for %s of %s.",
                          metric_format(part->ns, "ns", now, sizeof now), phase->unit);
}

// ---- fewer bytes ------------------------------------------------------------------------------------------

// A class of a phase in the analytic bytes that are stored with the cell. `what` is a key of it: "weight_bytes". The
// head keeps its type whatever the scheme, so its weights do not count.
static double stored_bytes(const json_t *prediction, const char *phase, const char *op,
                           const char *what)
{
    const json_t *of = json_object_get(json_object_get(prediction, phase), op);
    if (str_equal(op, "head"))
        return 0;
    return json_number_value(json_object_get(of, what));
}

// What the sum of the roofs falls by where `what` has half its bytes.
static double halved_saves_ns(const struct profile_phase *phase, const json_t *prediction,
                              const char *what)
{
    double saved_ns = 0;
    for (size_t i = 0; i < phase->class_count; i++) {
        const struct profile_class *c = &phase->classes[i];
        const struct verdict_row *v = c->verdict;
        double half = stored_bytes(prediction, phase->name, c->op, what) / 2;
        if (v && c->bytes > 0)
            saved_ns += fmax(v->t_memory_ns, v->t_compute_ns) -
                        fmax(v->t_memory_ns * (1 - half / c->bytes), v->t_compute_ns);
    }
    return saved_ns;
}

// Bytes of a weight with its scales: those of a class over its weights, 2 operations each and sequence. Experts do
// fewer operations with each weight, so the class with the fewest bytes counts. NaN: no class has both.
static double bytes_per_weight(const struct profile *p, const struct profile_phase *phase,
                               const json_t *prediction)
{
    double least = NAN, sequences = p->cell->batch > 0 ? p->cell->batch : 1;
    for (size_t i = 0; i < phase->class_count; i++) {
        const struct profile_class *c = &phase->classes[i];
        double bytes = stored_bytes(prediction, phase->name, c->op, "weight_bytes");
        if (bytes > 0 && c->flop > 0)
            least = fmin(least, bytes / (c->flop / 2 / sequences));
    }
    return least;
}

// with: the schemes or types that have half.
static void bytes_gain(struct profile *p, const struct profile_phase *phase,
                       const json_t *prediction, const char *what, const char *of, double each,
                       const char *with)
{
    double part = 0, all = stored_bytes(prediction, phase->name, "total", "bytes");
    for (size_t i = 0; i < phase->class_count; i++)
        part += stored_bytes(prediction, phase->name, phase->classes[i].op, what);
    struct profile_gain *gain =
        all > 0 ? add_gain(p, phase, halved_saves_ns(phase, prediction, what)) : NULL;
    if (!gain)
        return;
    gain->what = text_in(&p->data->arena, "half the bytes of the %s (%s)", of, with);
    gain->words =
        text_in(&p->data->arena,
                "Memory limits %s, and %.0f %% of its bytes are of the %s, %.3g byte%s each.",
                phase->unit, 100 * part / all, of, each, each == 1 ? "" : "s");
}

// Only for a decode that memory limits: what a scheme or a type of the KV cache with fewer bytes would give.
static void bytes_gains(struct profile *p, const struct profile_phase *phase)
{
    json_t *prediction = p->cell->prediction ? json_loads(p->cell->prediction, 0, NULL) : NULL;
    json_t *params = json_loads(p->cell->params, 0, NULL);
    const char *kv = json_string_value(json_object_get(params, "kv"));
    double weight = bytes_per_weight(p, phase, prediction);
    bool wide_kv = str_equal(kv, "f32") || str_equal(kv, "f16") || str_equal(kv, "bf16");
    if (prediction && weight > NARROW_BYTES)
        bytes_gain(p, phase, prediction, "weight_bytes", "layers' weights", weight,
                   weight > 3     ? "bf16"
                   : weight > 1.5 ? "int8, fp8"
                                  : "int4");
    if (prediction && wide_kv)
        bytes_gain(p, phase, prediction, "kv_read_bytes", "keys and values",
                   str_equal(kv, "f32") ? 4 : 2, str_equal(kv, "f32") ? "bf16" : "int8, fp8");
    json_decref(prediction);
    json_decref(params);
}

// Ends the words of a gain with what it would give.
static void forecast(struct profile *p, struct profile_gain *g)
{
    if (g->words)
        g->words = text_in(&p->data->arena,
                           "%s By the roof, %s would be %.2f times as fast, and the request %.2f "
                           "times.",
                           g->words, g->phase->unit, g->phase_gain, g->request_gain);
}

// ---- all of them ------------------------------------------------------------------------------------------

static int by_saved_request(const void *a, const void *b)
{
    const struct profile_gain *x = a, *y = b;
    double by = x->saved_ns * x->phase->times, other = y->saved_ns * y->phase->times;
    return by > other ? -1 : by < other;
}

enum status report_gains(struct profile *p, struct error *err)
{
    for (size_t i = 0; i < p->phase_count; i++) {
        const struct profile_phase *phase = &p->phases[i];
        const struct verdict_row *v = phase->verdict;
        for (size_t c = 0; c < phase->class_count; c++)
            class_gain(p, phase, &phase->classes[c]);
        whole_gain(p, phase);
        for (size_t k = 0; k < phase->part_count; k++)
            part_gain(p, phase, &phase->parts[k]);
        if (v && str_equal(v->bound, "memory") && str_equal(phase->name, "decode"))
            bytes_gains(p, phase);
    }
    qsort(p->gains, p->gain_count, sizeof *p->gains, by_saved_request);
    for (size_t i = 0; i < p->gain_count; i++) {
        forecast(p, &p->gains[i]);
        if (!p->gains[i].what || !p->gains[i].words)
            return FAIL(err, ERR_NOMEM, "no memory for the profile");
    }
    return OK;
}
