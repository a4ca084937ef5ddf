// verdict.c - applies the analytic model and the bound rule to one trial.
#include "bench/run/verdict.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "results/basis.h"
#include "results/metric.h"

enum { ADDED_MAX = 3 };       // per repetition: mbu, and mfu of both phases
enum { COUNTED_MAX = 2 * 3 }; // of both phases: counted bytes, their ratio, and that of operations

// The cell's share of its device's last cache. The levels among the ceilings belong to the host.
static double last_cache_bytes(const struct cell *cell, const struct ceilings *c)
{
    if (device_word_kind(cell->device) != DEVICE_HOST)
        return (double)cell->device_cache_bytes;
    if (c->levels < 2)
        return 0;
    return (double)topology_level_capacity(&c->level[c->levels - 2], cell->threads);
}

void trial_work(const struct cell *cell, const struct ceilings *ceilings,
                struct phase_work *prefill, struct phase_work *decode)
{
    struct work_input in = {
        .config = &cell->model->config,
        .scheme = &cell->runs,
        .kv = cell->kv,
        .where = device_word_kind(cell->device),
        .batch = cell->batch,
        .prompt = cell->context - cell->gen,
        .chunk = cell->chunk,
        .gen = cell->gen,
        .cache_bytes = last_cache_bytes(cell, ceilings),
    };
    work_prefill(&in, prefill);
    work_decode_step(&in, decode);
}

static json_t *work_json(const struct work *w)
{
    return json_pack("{sf sf sf sf sf sf}", "bytes", work_bytes(w), "weight_bytes", w->weight_bytes,
                     "kv_read_bytes", w->kv_read_bytes, "kv_write_bytes", w->kv_write_bytes,
                     "activation_bytes", w->activation_bytes, "flop", w->flop);
}

static json_t *phase_json(const struct phase_work *work)
{
    json_t *out = json_pack("{so}", "total", work_json(&work->total));
    for (int op = 0; op < OPC_COUNT; op++)
        json_object_set_new(out, op_class_name((enum op_class)op), work_json(&work->op[op]));
    return out;
}

json_t *trial_prediction(const struct cell *cell, const struct ceilings *ceilings)
{
    struct phase_work prefill, decode;
    trial_work(cell, ceilings, &prefill, &decode);
    return json_pack("{s{sf sf sf} so so}", "memory", "weights", (double)cell->memory.weights_bytes,
                     "kv", (double)cell->memory.kv_bytes, "scratch",
                     (double)cell->memory.scratch_bytes, "prefill", phase_json(&prefill), "decode",
                     phase_json(&decode));
}

// ---- shares of the limits ----------------------------------------------------------------------------------

static double repetition_value(const struct event *r, const char *name, const char *phase)
{
    for (size_t i = 0; i < r->metric_count; i++)
        if (str_equal(r->metrics[i].name, name) && str_equal(r->metrics[i].phase, phase))
            return r->metrics[i].value;
    return NAN;
}

// The time in ns that the phase's operations would take at the peaks of their datapaths; NaN without peaks.
static double peak_time_ns(const struct phase_work *work, const struct ceilings *c,
                           const struct cell *cell)
{
    double ns = 0;
    for (int op = 0; op < OPC_COUNT; op++) {
        if (work->op[op].flop <= 0)
            continue;
        const struct ceiling *peak =
            ceilings_peak(c, cell->device, work->datapath[op], cell->threads);
        ns += peak ? 1e9 * work->op[op].flop / peak->value : NAN;
    }
    return ns;
}

static void add_share(struct store_metric *rows, size_t *count, const char *name, const char *phase,
                      const char *source, double value)
{
    if (isnan(value))
        return;
    rows[(*count)++] = (struct store_metric){
        .name = name, .unit = "1", .source = source, .phase = phase, .value = value};
}

// The bandwidth of the canaries between the decode steps of a repetition, in bytes/s; NaN: none ran.
static double bandwidth_beside(const struct event *r)
{
    for (size_t i = 0; i < r->noise_count; i++)
        if (str_equal(r->noise[i].name, NOISE_BANDWIDTH_DURING))
            return r->noise[i].value;
    return NAN;
}

static enum status add_shares(struct trial *t, const struct phase_work *prefill,
                              const struct phase_work *decode, const struct ceilings *c,
                              struct error *err)
{
    const struct cell *cell = t->cell;
    const struct ceiling *level =
        ceilings_read(c, cell->device, cell->threads, decode->working_set_bytes);
    struct read_rate curve = {.value = NAN};
    ceilings_read_rate(c, cell->device, cell->threads, decode->working_set_bytes, &curve);
    double set_share =
        level ? curve.value / level->value : NAN; // of the rate that the canaries measure
    double prefill_peak_ns = peak_time_ns(prefill, c, cell);
    double decode_peak_ns = peak_time_ns(decode, c, cell);
    const char *basis = bound_basis(cell->device, false);
    char text[64];
    snprintf(text, sizeof text, "%s + canary",
             basis); // the bandwidth is that of the canaries in the same decode
    const char *with_canary = arena_strdup(&t->arena, text);
    t->added = arena_alloc(&t->arena, t->repetition_count + 1, sizeof *t->added);
    t->added_count = arena_alloc(&t->arena, t->repetition_count + 1, sizeof *t->added_count);
    for (size_t i = 0; t->added && t->added_count && i < t->repetition_count; i++) {
        const struct event *r = &t->repetitions[i];
        double tpot_ns = repetition_value(r, METRIC_TPOT, "decode");
        double prefill_ns = repetition_value(r, METRIC_PREFILL_TIME, "prefill");
        struct store_metric *rows = arena_alloc(&t->arena, ADDED_MAX, sizeof *rows);
        t->added[i] = rows;
        if (!rows)
            break;
        double beside = bandwidth_beside(r),
               rate = isnan(beside) ? curve.value : beside * set_share;
        add_share(rows, &t->added_count[i], METRIC_MBU, "decode",
                  isnan(beside) ? basis : with_canary,
                  1e9 * work_bytes(&decode->total) / rate / tpot_ns);
        add_share(rows, &t->added_count[i], METRIC_MFU, "prefill", basis,
                  prefill_peak_ns / prefill_ns);
        add_share(rows, &t->added_count[i], METRIC_MFU, "decode", basis, decode_peak_ns / tpot_ns);
    }
    if (!with_canary || !t->added || !t->added_count ||
        (t->repetition_count && !t->added[t->repetition_count - 1]))
        return FAIL(err, ERR_NOMEM, "runner: figures of a trial");
    return OK;
}

// ---- bytes and operations -----------------------------------------------------------------------------------

static void add_work(struct trial *t, const char *phase, const char *op, const struct work *w)
{
    struct store_metric row = {.phase = phase, .op = op, .source = "analytic"};
    row.name = METRIC_BYTES;
    row.unit = "bytes";
    row.value = work_bytes(w);
    t->work[t->work_count++] = row;
    row.name = METRIC_FLOP;
    row.unit = "FLOP";
    row.value = w->flop;
    t->work[t->work_count++] = row;
}

static enum status add_works(struct trial *t, const struct phase_work *prefill,
                             const struct phase_work *decode, struct error *err)
{
    t->work = arena_alloc(&t->arena, 2 * VERDICTS_MAX + COUNTED_MAX, sizeof *t->work);
    if (!t->work)
        return FAIL(err, ERR_NOMEM, "runner: figures of a trial");
    for (int phase = 0; phase < 2; phase++) {
        const struct phase_work *work = phase ? decode : prefill;
        const char *name = phase_name(phase ? PHASE_DECODE : PHASE_PREFILL);
        add_work(t, name, NULL, &work->total);
        for (int op = 0; op < OPC_COUNT; op++)
            add_work(t, name, op_class_name((enum op_class)op), &work->op[op]);
    }
    return OK;
}

// ---- counted bytes and operations -----------------------------------------------------------------------

// A trial's own figure of a whole phase, or NULL.
static const struct store_metric *figure_of(const struct trial *t, const char *name,
                                            const char *phase)
{
    for (size_t i = 0; i < t->summary.metric_count; i++) {
        const struct store_metric *row = &t->summary.metrics[i];
        if (str_equal(row->name, name) && str_equal(row->phase, phase) && !row->op)
            return row;
    }
    return NULL;
}

// Bytes to and from memory that were counted in a phase, as a row that is stored next. false: none were counted.
static bool counted_bytes(const struct trial *t, const char *phase, struct store_metric *out)
{
    const struct store_metric *both = figure_of(t, METRIC_DRAM_BYTES, phase);
    const struct store_metric *reads = figure_of(t, METRIC_DRAM_READ, phase);
    const struct store_metric *writes = figure_of(t, METRIC_DRAM_WRITTEN, phase);
    if (!both && !(reads && writes))
        return false;
    *out = both ? *both : *reads;
    out->name = METRIC_DRAM_BYTES;
    if (!both)
        out->value = reads->value + writes->value;
    return out->value > 0; // not for NaN
}

// A phase's counted over its analytic figures; NaN: there is no ratio.
struct ratios {
    double bytes, operations;
};

static double add_ratio(struct trial *t, const struct store_metric *counted, const char *name,
                        double analytic)
{
    struct store_metric row = *counted;
    row.name = name;
    row.unit = "1";
    row.value /= analytic;
    t->work[t->work_count++] = row;
    return row.value;
}

// Stores the sum of reads and writes, if those were counted apart, and the ratios. A working set that the last cache
// holds moves few bytes of memory: its analytic bytes are the cache's.
static struct ratios add_counted(struct trial *t, const struct ceilings *c, const char *phase,
                                 const struct phase_work *work)
{
    struct ratios out = {NAN, NAN};
    struct store_metric row;
    const struct store_metric *operations = figure_of(t, METRIC_TENSOR_OPS, phase);
    if (operations && operations->value > 0 && work->total.flop > 0)
        out.operations = add_ratio(t, operations, METRIC_OPS_RATIO, work->total.flop);
    if (!counted_bytes(t, phase, &row))
        return out;
    if (!figure_of(t, METRIC_DRAM_BYTES, phase))
        t->work[t->work_count++] = row;
    double analytic = work_bytes(&work->total);
    if (work->working_set_bytes > last_cache_bytes(t->cell, c) && analytic > 0)
        out.bytes = add_ratio(t, &row, METRIC_DRAM_RATIO, analytic);
    return out;
}

// ---- verdicts -----------------------------------------------------------------------------------------------

static enum status keep_verdict(struct trial *t, const char *phase, const char *op,
                                const struct verdict *v, const char *thresholds, struct error *err)
{
    char *text = arena_strdup(&t->arena, v->text), *reason = arena_strdup(&t->arena, v->reason);
    if (!text || !reason)
        return FAIL(err, ERR_NOMEM, "runner: a verdict");
    t->verdicts[t->verdict_count++] = (struct store_verdict){
        .phase = phase,
        .op = op,
        .basis = v->basis,
        .bound = bound_name(v->bound),
        .text = text,
        .finding = v->finding,
        .reason = reason,
        .loss_op = v->loss_op >= 0 ? op_class_name((enum op_class)v->loss_op) : NULL,
        .loss_share = v->loss_share,
        .t_roof_ns = v->t_roof_ns,
        .t_memory_ns = v->t_memory_ns,
        .t_compute_ns = v->t_compute_ns,
        .measured_ns = v->measured_ns,
        .eta = v->eta,
        .eta_low = v->eta_low,
        .eta_high = v->eta_high,
        .bandwidth_moved = v->bandwidth_moved,
        .rho = v->rho,
        .rho_low = v->rho_low,
        .rho_high = v->rho_high,
        .overhead_share = v->overhead_share,
        .thresholds_json = thresholds,
    };
    return OK;
}

// Sets the bandwidth of the canaries for a phase: that during it, and the smallest and largest of the medians taken
// before, during and after. A prefill is between the first two. All stay 0 if no canary ran.
static void canaries_of(const struct trial *t, const char *phase, struct bound_input *in)
{
    const double median[] = {trial_noise_median(t, NOISE_BANDWIDTH_FIRST),
                             trial_noise_median(t, NOISE_BANDWIDTH_DURING),
                             trial_noise_median(t, NOISE_BANDWIDTH_LAST)};
    double next = isnan(median[1]) ? median[2] : median[1];
    double beside = str_equal(phase, "prefill") ? (median[0] + next) / 2 : next;
    if (isnan(beside))
        return;
    in->bandwidth = in->canary_min = in->canary_max = beside;
    for (size_t i = 0; i < sizeof median / sizeof *median; i++) {
        in->canary_min = fmin(in->canary_min, median[i]);
        in->canary_max = fmax(in->canary_max, median[i]);
    }
}

// Adds the verdict of a whole phase by its counted bytes, if there are any. Operations stay the analytic ones: what a
// tile computes beyond its batch is no work. Ratios that do not agree are said, with what explains them.
static enum status counted_verdict(struct trial *t, const struct ceilings *c, const char *phase,
                                   const struct bound_input *analytic, const char *thresholds,
                                   struct error *err)
{
    struct error missing = {0};
    struct verdict verdict;
    struct phase_work work;
    struct bound_input in = *analytic;
    struct ratios ratio = add_counted(t, c, phase, analytic->work);
    if (isnan(ratio.bytes))
        return OK;
    bound_scale_bytes(analytic->work, ratio.bytes, &work);
    in.work = &work;
    in.counters = true;
    if (bound_decide(c, &in, &verdict, &missing) != OK)
        return OK;
    size_t used = strlen(verdict.text);
    bool host = device_word_kind(t->cell->device) == DEVICE_HOST;
    metric_counted_findings(ratio.bytes, ratio.operations, host, "; ", verdict.text + used,
                            sizeof verdict.text - used);
    return keep_verdict(t, phase, NULL, &verdict, thresholds, err);
}

// Adds the verdict of the whole phase, then of each op class with any work. Without a needed ceiling there is no
// verdict.
static enum status phase_verdicts(struct trial *t, const struct ceilings *c, const char *phase,
                                  const struct phase_work *work, double measured_ns,
                                  const char *thresholds, struct error *err)
{
    struct error missing = {0};
    struct verdict verdict;
    double op_ns[OPC_COUNT];
    struct bound_input in = {
        .work = work,
        .device = t->cell->device,
        .threads = t->cell->threads,
        .measured_ns = measured_ns,
        .waits_ns = trial_median(t, METRIC_WAIT, phase),
        .op_ns = op_ns,
        .traced = trial_traced(t, phase),
    };
    canaries_of(t, phase, &in);
    if (!(measured_ns > 0))
        return OK;
    for (int op = 0; op < OPC_COUNT; op++)
        op_ns[op] = trial_op_value(t, METRIC_OP_TIME, phase, op_class_name((enum op_class)op));
    double times;
    bool parts = bound_op_times_hold(op_ns, measured_ns, &times);
    for (int op = 0; op < OPC_COUNT && !parts; op++)
        op_ns[op] = NAN;
    if (bound_decide(c, &in, &verdict, &missing) == OK)
        TRY(keep_verdict(t, phase, NULL, &verdict, thresholds, err));
    TRY(counted_verdict(t, c, phase, &in, thresholds, err));
    for (int op = 0; op < OPC_COUNT; op++) {
        const char *name = op_class_name((enum op_class)op);
        if (work_bytes(&work->op[op]) <= 0 && work->op[op].flop <= 0)
            continue;
        error_clear(&missing);
        in.measured_ns = op_ns[op];
        in.waits_ns = NAN; // not measured for a single class
        if (bound_decide_op(c, &in, (enum op_class)op, &verdict, &missing) != OK)
            continue;
        size_t used = strlen(verdict.text);
        if (!parts)
            snprintf(verdict.text + used, sizeof verdict.text - used,
                     "; no share: timed one by one, the classes took %.1f times the phase", times);
        TRY(keep_verdict(t, phase, name, &verdict, thresholds, err));
    }
    return OK;
}

enum status trial_verdicts(struct trial *t, const struct ceilings *ceilings, const char *thresholds,
                           struct error *err)
{
    struct phase_work prefill, decode;
    trial_work(t->cell, ceilings, &prefill, &decode);
    TRY(add_works(t, &prefill, &decode, err));
    TRY(add_shares(t, &prefill, &decode, ceilings, err));
    TRY(phase_verdicts(t, ceilings, phase_name(PHASE_PREFILL), &prefill,
                       trial_median(t, METRIC_PREFILL_TIME, "prefill"), thresholds, err));
    return phase_verdicts(t, ceilings, phase_name(PHASE_DECODE), &decode,
                          trial_median(t, METRIC_TPOT, "decode"), thresholds, err);
}
