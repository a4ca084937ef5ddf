// predict.c - predicts the time of a cell from the analytic model and the machine's ceilings.
//
// Predictions are a little pessimistic on purpose: a run should end within the time of its dry run. The shares below
// are those that cells reach of their roof.
#include <math.h>

#include "bench/quality/quality.h"
#include "bench/roof/roof.h"
#include "bench/suite/expand.h"

// Used without ceilings: a slow server core with 256-bit vectors. The plan says that these figures are rough.
static const double rough_bytes_per_s = 10e9, rough_flop_per_s_thread = 30e9;
// The same for a GPU, below the vendor's figures. Tensor cores of Hopper reach four times this rate, those of Ampere
// twice. In f32 Hopper reaches twice this rate (67 TFLOP/s from 132 multiprocessors at 1.98 GHz). Ampere reaches this
// rate (19.5 TFLOP/s from 108 at 1.41 GHz).
static const double rough_flop_a_clock = 1024, rough_f32_a_clock = 128; // per multiprocessor

// Shares of the roof that cells reach, at the low end of the range seen on two-core cloud machines.
static const double memory_share = 0.70;      // of the read bandwidth
static const double compute_share = 0.40;     // of the peak of the datapath, products
static const double attention_share = 0.20;   // the same for attention: short rows, exponentials
static const double step_overhead_ns = 500e3; // dispatch, sampling, check of the logits
static const double canary_share = 1.10;      // canaries and the steps repeated after them

static const double score_logit_ns = 6;     // for both models, on one thread
static const double text_bytes_a_token = 3; // low on purpose: a text usually has fewer tokens

static const double energy_ns = 12e9; // windows of 3 s: rest, prefill, decode, and what is between

// The start of a worker: process, libraries, pool, topology. Then the load.
static const double start_ns = 0.5e9;
static const double read_bytes_per_s = 0.7e9; // a checkpoint from the file cache, including packing
static const double make_per_s_thread = 150e6; // parameters of a shape, generated and packed

double predict_load_ns(const struct cell *cell)
{
    const struct plan_model *model = cell->model;
    double seconds = model->path ? model->stored_bytes / read_bytes_per_s
                                 : model->parameters / (make_per_s_thread * cell->threads);
    return start_ns + seconds * 1e9;
}

// Where work runs, and what is known about its speed.
struct place {
    const struct ceilings *ceilings; // NULL: none
    const struct device_info *info;  // NULL: not listed
    const char *device;
    int threads;
};

static struct place place_of(const struct plan_machine *machine, const char *device, int threads)
{
    return (struct place){.ceilings = machine->ceilings,
                          .info = plan_device(machine, device),
                          .device = device,
                          .threads = threads};
}

// bytes/s of a working set; 0: unknown.
static double read_rate(const struct place *at, double working_set_bytes)
{
    struct read_rate read = {0};
    if (at->ceilings &&
        ceilings_read_rate(at->ceilings, at->device, at->threads, working_set_bytes, &read))
        return read.value;
    if (device_word_kind(at->device) == DEVICE_HOST)
        return rough_bytes_per_s;
    return at->info ? at->info->memory_bytes_per_s : 0;
}

// FLOP/s of a datapath; 0: unknown.
static double peak_rate(const struct place *at, enum dtype datapath)
{
    const struct ceiling *peak =
        at->ceilings ? ceilings_peak(at->ceilings, at->device, datapath, at->threads) : NULL;
    if (peak && peak->value > 0)
        return peak->value;
    if (device_word_kind(at->device) == DEVICE_HOST)
        return rough_flop_per_s_thread * at->threads;
    double a_clock = datapath == DT_F32 ? rough_f32_a_clock : rough_flop_a_clock;
    return at->info ? a_clock * at->info->units * at->info->clock_hz : 0;
}

// The time of a phase; infinite if a rate is unknown.
static double phase_ns(const struct phase_work *work, const struct place *at)
{
    double bytes_per_s = read_rate(at, work->working_set_bytes), total = 0;
    for (int op = 0; op < OPC_COUNT; op++) {
        const struct work *w = &work->op[op];
        double flop_per_s = peak_rate(at, work->datapath[op]);
        double bytes = work_bytes(w);
        if (bytes_per_s <= 0 || flop_per_s <= 0)
            return INFINITY;
        double share = op == OPC_ATTENTION ? attention_share : compute_share;
        total += 1e9 * fmax(bytes / (bytes_per_s * memory_share), w->flop / (flop_per_s * share));
    }
    return total;
}

// The number of instruments that a cell requests; each takes a repetition. Energy has windows of its own, and ends them
// after whole phases.
static double instruments_ns(unsigned collect, double repetition_ns)
{
    double count = 0;
    for (unsigned left = collect & COLLECT_INSTRUMENTS; left; left &= left - 1)
        count++;
    count += (collect & COLLECT_ACTIVITY) != 0; // one more repetition without the trace
    return count * repetition_ns + (collect & COLLECT_ENERGY ? energy_ns + repetition_ns : 0);
}

double predict_trial_ns(const struct cell *cell, const struct plan_machine *machine)
{
    const struct place at = place_of(machine, cell->device, cell->threads);
    struct work_input in = {.config = &cell->model->config,
                            .scheme = &cell->runs,
                            .kv = cell->kv,
                            .where = device_word_kind(cell->device),
                            .batch = cell->batch,
                            .prompt = cell->context - cell->gen,
                            .chunk = cell->chunk,
                            .gen = cell->gen};
    struct phase_work prefill = {0}, decode = {0};
    work_prefill(&in, &prefill);
    work_decode_step(&in, &decode);
    double steps = ceil((double)in.prompt / in.chunk);
    double prefill_ns = phase_ns(&prefill, &at) + steps * step_overhead_ns;
    double step_ns = phase_ns(&decode, &at) + step_overhead_ns;
    if (isinf(prefill_ns) || isinf(step_ns))
        return PREDICT_UNKNOWN;
    double repetition_ns = prefill_ns + (cell->gen - 1) * step_ns;
    double warmup_ns = cell->warmup == WARMUP_FULL    ? repetition_ns
                       : cell->warmup == WARMUP_SHORT ? 2 * step_ns
                                                      : 0;
    double repetitions = fmin(fmax(cell->reps, ceil((double)cell->min_time_ns / repetition_ns)),
                              fmax(cell->reps, REPETITIONS_MOST));
    return canary_share * repetitions * repetition_ns + warmup_ns +
           instruments_ns(cell->collect, repetition_ns);
}

// The time of one window through one model. The analytic model counts the head for one position; here it runs for all
// scored positions.
static double window_ns(const struct plan_quality *q, const struct scheme *scheme, enum dtype kv,
                        const struct quality_convention *convention, const struct place *at)
{
    struct work_input in = {.config = &q->model->config,
                            .scheme = scheme,
                            .kv = kv,
                            .where = device_word_kind(at->device),
                            .batch = 1,
                            .prompt = convention->window,
                            .chunk = convention->window,
                            .gen = 1};
    struct phase_work work = {0};
    work_prefill(&in, &work);
    work.op[OPC_HEAD].flop *= quality_scored(convention);
    return phase_ns(&work, at) + step_overhead_ns;
}

double predict_quality_ns(const struct plan_quality *q, const struct plan_machine *machine)
{
    const struct place at = place_of(machine, q->device, q->threads);
    const struct quality_convention *c = quality_convention_find(q->wish->convention);
    const struct scheme *f32 = scheme_find("f32");
    double there = ceil(q->wish->text_bytes / text_bytes_a_token / c->window);
    double windows = q->wish->windows > 0 ? fmin(q->wish->windows, there) : there;
    double score_ns = score_logit_ns * quality_scored(c) * q->model->config.vocab / q->threads;
    double window = window_ns(q, q->scheme, q->kv, c, &at) + score_ns;
    bool alone = q->scheme == f32 && q->kv == DT_F32;
    if (!alone)
        window += window_ns(q, f32, DT_F32, c, &at);
    if (isinf(window))
        return PREDICT_UNKNOWN;
    double load = q->model->stored_bytes / read_bytes_per_s * 1e9 * (alone ? 1 : 2);
    return start_ns + load + windows * window;
}

double predict_ceilings_ns(void)
{
    return 10e9;
}
