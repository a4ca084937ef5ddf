// bound.c - the rule that decides what limits a cell, and how certain that is.
//
// docs/METRICS.md, "The bound rule". T_roof is the sum over op classes of max(T_memory, T_compute). Only measured waits
// give "overhead". Otherwise rho = sum T_compute / sum T_memory decides. The verdict is "undetermined" where the class
// flips within rho's interval, which includes what the bandwidth canaries saw. A change of bandwidth alone does not
// matter: a cell that is limited by memory at both ends of the range is limited by memory. The share of the roof is
// then a range.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "bench/roof/roof.h"
#include "results/basis.h"

static const double RHO_MEMORY = 0.8;      // below: memory
static const double RHO_COMPUTE = 1.25;    // above: compute
static const double ETA_SUSPICIOUS = 1.05; // above: the model or a ceiling is wrong
static const double ETA_INEFFICIENT = 0.5; // below: the class describes perfect kernels
static const double OVERHEAD_SHARE = 0.5;  // waits beyond this share of the time: overhead
static const double CANARY_SPREAD =
    0.05; // canaries differ by more than this: the share of the roof is a range
static const double OP_TIMES_MOST =
    1.25; // classes that took more than this share of the phase's time are not its parts

json_t *bound_thresholds(void)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "rho_memory", RHO_MEMORY,
                     "rho_compute", RHO_COMPUTE, "eta_suspicious", ETA_SUSPICIOUS,
                     "eta_inefficient", ETA_INEFFICIENT, "overhead_share", OVERHEAD_SHARE,
                     "canary_spread", CANARY_SPREAD, "op_times_most", OP_TIMES_MOST,
                     "counted_agree", BASIS_AGREE);
}

bool bound_op_times_hold(const double op_ns[OPC_COUNT], double measured_ns, double *times)
{
    double sum_ns = 0;
    for (int op = 0; op < OPC_COUNT; op++)
        sum_ns += op_ns[op] > 0 ? op_ns[op] : 0;
    *times = sum_ns / measured_ns;
    return *times <= OP_TIMES_MOST;
}

void bound_scale_bytes(const struct phase_work *work, double ratio, struct phase_work *out)
{
    *out = *work;
    for (int op = -1; op < OPC_COUNT; op++) {
        struct work *of = op < 0 ? &out->total : &out->op[op];
        of->weight_bytes *= ratio;
        of->kv_read_bytes *= ratio;
        of->kv_write_bytes *= ratio;
        of->activation_bytes *= ratio;
    }
}

const char *bound_basis(const char *device, bool counters)
{
    if (counters)
        return BASIS_COUNTERS;
    return device_word_kind(device) == DEVICE_HOST ? BASIS_CLOCK : BASIS_EVENTS;
}

const char *bound_name(enum bound bound)
{
    static const char *const names[] = {[BOUND_MEMORY] = "memory",
                                        [BOUND_COMPUTE] = "compute",
                                        [BOUND_OVERHEAD] = "overhead",
                                        [BOUND_BALANCED] = "balanced",
                                        [BOUND_UNDETERMINED] = "undetermined"};
    return (unsigned)bound < sizeof names / sizeof *names ? names[bound] : "undetermined";
}

// A rate with the interval of its ceiling.
struct rate {
    double value, low, high;
};

// Scales the rate of the canaries, which read one level, to the working set. The curve of the ceilings tells how much
// faster or slower than that level the set is read.
static struct rate rate_beside(const struct bound_input *in, const struct ceiling *level,
                               const struct read_rate *curve)
{
    bool between = curve->nearer != curve->farther;
    double share = curve->value / level->value;
    double low_share = between ? curve->farther->value / level->value : share;
    double high_share = between ? curve->nearer->value / level->value : share;
    return (struct rate){.value = in->bandwidth * share,
                         .low = fmin(in->canary_min, in->bandwidth) * low_share,
                         .high = fmax(in->canary_max, in->bandwidth) * high_share};
}

static struct rate rate_of(const struct ceiling *row)
{
    // A single sample has no interval.
    return (struct rate){.value = row->value,
                         .low = fmin(row->low, row->value),
                         .high = fmax(row->high, row->value)};
}

static enum status find_bandwidth(const struct ceilings *ceilings, const struct bound_input *in,
                                  struct rate *out, struct error *err)
{
    double set = in->work->working_set_bytes;
    const struct ceiling *level = ceilings_read(ceilings, in->device, in->threads, set);
    struct read_rate curve;
    if (!level || !ceilings_read_rate(ceilings, in->device, in->threads, set, &curve))
        return FAIL(err, ERR_USAGE, "bound: no read bandwidth was measured with %d threads",
                    in->threads);
    *out = in->bandwidth > 0 ? rate_beside(in, level, &curve)
                             : (struct rate){curve.value, curve.low, curve.high};
    return OK;
}

static enum status find_peak(const struct ceilings *ceilings, const struct bound_input *in,
                             enum dtype datapath, struct rate *out, struct error *err)
{
    const struct ceiling *row = ceilings_peak(ceilings, in->device, datapath, in->threads);
    if (!row)
        return FAIL(err, ERR_USAGE,
                    "bound: no peak of the %s datapath was measured with %d threads",
                    dtype_name(datapath), in->threads);
    *out = rate_of(row);
    return OK;
}

// ---- roofs ---------------------------------------------------------------------------------------------

struct roof {
    double memory_ns, compute_ns, roof_ns;
    double compute_low_ns, compute_high_ns; // with peaks at the ends of their intervals
    double fast_ns, slow_ns; // roof_ns at the highest and the lowest bandwidth of the canaries
};

// The spread of the canaries, a share of the highest. NaN if none ran.
static double bandwidth_moved(const struct bound_input *in)
{
    bool ran = in->bandwidth > 0 && in->canary_min > 0;
    return ran ? (in->canary_max - in->canary_min) / in->canary_max : (double)NAN;
}

static enum status add_roof(const struct ceilings *ceilings, const struct bound_input *in,
                            const struct rate *bandwidth, enum op_class op, struct roof *roof,
                            struct error *err)
{
    const struct work *work = &in->work->op[op];
    double memory_ns = work_bytes(work) * 1e9 / bandwidth->value, compute_ns = 0;
    if (work->flop > 0) {
        struct rate peak = {0};
        TRY(find_peak(ceilings, in, in->work->datapath[op], &peak, err));
        compute_ns = work->flop * 1e9 / peak.value;
        roof->compute_low_ns += work->flop * 1e9 / peak.high;
        roof->compute_high_ns += work->flop * 1e9 / peak.low;
    }
    roof->memory_ns += memory_ns;
    roof->compute_ns += compute_ns;
    roof->roof_ns += fmax(memory_ns, compute_ns);
    bool moved = bandwidth_moved(in) > CANARY_SPREAD;
    roof->fast_ns +=
        fmax(moved ? memory_ns * in->bandwidth / in->canary_max : memory_ns, compute_ns);
    roof->slow_ns +=
        fmax(moved ? memory_ns * in->bandwidth / in->canary_min : memory_ns, compute_ns);
    return OK;
}

// ---- the rule --------------------------------------------------------------------------------------------

static enum bound class_of(double rho)
{
    return rho < RHO_MEMORY ? BOUND_MEMORY : rho > RHO_COMPUTE ? BOUND_COMPUTE : BOUND_BALANCED;
}

// Decides and gives the reason in v->reason, which stays empty for a plain class.
static enum bound decide(struct verdict *v)
{
    if (v->overhead_share > OVERHEAD_SHARE) { // false for NaN: not measured
        snprintf(v->reason, sizeof v->reason, "%.0f %% of the time is waiting",
                 100 * v->overhead_share);
        return BOUND_OVERHEAD;
    }
    if (!isfinite(v->rho) && v->t_compute_ns <= 0) {
        snprintf(v->reason, sizeof v->reason, "nothing is moved or computed");
        return BOUND_UNDETERMINED;
    }
    enum bound low = class_of(v->rho_low), high = class_of(v->rho_high);
    if (low != high) {
        snprintf(v->reason, sizeof v->reason, "%s to %s within the interval of the ceilings%s",
                 bound_name(low), bound_name(high),
                 v->bandwidth_moved > CANARY_SPREAD ? " and of what bandwidth did" : "");
        return BOUND_UNDETERMINED;
    }
    return class_of(v->rho);
}

// Far from the roof, this run was not limited by the resource that limits a perfect kernel.
static const char *finding_of(const struct verdict *v)
{
    if (!isfinite(v->eta))
        return NULL;
    if (v->eta_low > ETA_SUSPICIOUS)
        return FINDING_WRONG;
    bool clear = v->bound != BOUND_OVERHEAD && v->bound != BOUND_UNDETERMINED;
    return clear && v->eta_high < ETA_INEFFICIENT ? FINDING_INEFFICIENT : FINDING_REACHED;
}

static bool is_inefficient(const struct verdict *v)
{
    return str_equal(v->finding, FINDING_INEFFICIENT);
}

// Appends to the text as much as it holds.
PRINTF_LIKE(2, 3) static void say(struct verdict *v, const char *format, ...)
{
    size_t used = strlen(v->text);
    va_list args;
    va_start(args, format);
    vsnprintf(v->text + used, sizeof v->text - used, format, args);
    va_end(args);
}

// The verdict's columns as one sentence.
static void write_text(struct verdict *v)
{
    char share[48] = "";
    bool wrong = str_equal(v->finding, FINDING_WRONG);
    bool range = v->finding && metric_share(v->eta, v->eta_low, v->eta_high, share, sizeof share);
    if (is_inefficient(v)) {
        say(v, "inefficient here: %s of what %s", share, metric_allows(bound_name(v->bound)));
    } else {
        say(v, "%s%s%s%s", bound_name(v->bound), v->bound <= BOUND_OVERHEAD ? "-bound" : "",
            v->reason[0] ? ": " : "", v->reason);
        if (v->finding)
            say(v, ", %s%s of the roof", v->bound == BOUND_COMPUTE && !wrong ? "kernels at " : "",
                share);
        if (wrong)
            say(v, ": the model or a ceiling is wrong");
    }
    if (range)
        say(v, " (bandwidth moved by %.0f %% while it ran)", 100 * v->bandwidth_moved);
    if (v->loss_op >= 0)
        say(v, "; %s loses most, %.0f %% of what is lost", op_class_name((enum op_class)v->loss_op),
            100 * v->loss_share);
}

// Finds the op class that loses most, by its time minus its roof. There is none if the classes were not timed.
static enum status find_loss(const struct ceilings *ceilings, const struct bound_input *in,
                             struct verdict *v, struct error *err)
{
    struct rate bandwidth = {0};
    double most_ns = 0, lost_ns = 0;
    TRY(find_bandwidth(ceilings, in, &bandwidth, err));
    for (int op = 0; op < OPC_COUNT; op++) {
        struct roof roof = {0};
        TRY(add_roof(ceilings, in, &bandwidth, (enum op_class)op, &roof, err));
        double loss_ns = in->op_ns ? in->op_ns[op] - roof.roof_ns : NAN;
        if (!(loss_ns > 0))
            continue;
        lost_ns += loss_ns;
        if (loss_ns > most_ns) {
            most_ns = loss_ns;
            v->loss_op = op;
        }
    }
    if (v->loss_op >= 0)
        v->loss_share = most_ns / lost_ns;
    return OK;
}

static enum status judge(const struct ceilings *ceilings, const struct bound_input *in, int first,
                         int end, struct verdict *out, struct error *err)
{
    struct rate bandwidth = {0};
    struct roof roof = {0};
    memset(out, 0, sizeof *out);
    out->loss_op = -1;
    out->loss_share = NAN;
    TRY(find_bandwidth(ceilings, in, &bandwidth, err));
    for (int op = first; op < end; op++)
        TRY(add_roof(ceilings, in, &bandwidth, (enum op_class)op, &roof, err));

    out->t_roof_ns = roof.roof_ns;
    out->t_memory_ns = roof.memory_ns;
    out->t_compute_ns = roof.compute_ns;
    out->measured_ns = in->measured_ns;
    out->eta = in->measured_ns > 0 ? roof.roof_ns / in->measured_ns : NAN;
    out->eta_low = in->measured_ns > 0 ? roof.fast_ns / in->measured_ns : NAN;
    out->eta_high = in->measured_ns > 0 ? roof.slow_ns / in->measured_ns : NAN;
    out->overhead_share = in->measured_ns > 0 ? in->waits_ns / in->measured_ns : NAN;
    out->rho = roof.compute_ns / roof.memory_ns;
    out->rho_low = roof.compute_low_ns / roof.memory_ns * bandwidth.low / bandwidth.value;
    out->rho_high = roof.compute_high_ns / roof.memory_ns * bandwidth.high / bandwidth.value;
    out->basis = bound_basis(in->device, in->counters);
    out->bandwidth_moved = bandwidth_moved(in);
    out->bound = decide(out);
    out->finding = finding_of(out);
    return OK;
}

enum status bound_decide(const struct ceilings *ceilings, const struct bound_input *in,
                         struct verdict *out, struct error *err)
{
    TRY(judge(ceilings, in, 0, OPC_COUNT, out, err));
    if (is_inefficient(out))
        TRY(find_loss(ceilings, in, out, err));
    write_text(out);
    return OK;
}

enum status bound_decide_op(const struct ceilings *ceilings, const struct bound_input *in,
                            enum op_class op, struct verdict *out, struct error *err)
{
    TRY(judge(ceilings, in, (int)op, (int)op + 1, out, err));
    if (!in->counters)
        // The observer's clock, on every device.
        out->basis = in->traced ? BASIS_ACTIVITY : BASIS_CLOCK;
    write_text(out);
    return OK;
}
