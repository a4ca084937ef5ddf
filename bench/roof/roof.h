// roof.h - measured ceilings, the analytic byte and operation model, and the bound rule.
//
// docs/METRICS.md defines every formula, docs/CEILINGS.md every ceiling. Ceilings are measured with the same
// pool and the same kernel registry as the work they are compared with.
#ifndef BENCH_ROOF_ROOF_H
#define BENCH_ROOF_ROOF_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "bench/probe/probe.h"
#include "device/device.h"
#include "engine/engine.h"

// ---- ceilings --------------------------------------------------------------------------------------------
struct ceiling {
    char device[DEVICE_NAME_BYTES]; // "cpu", "cuda:0"
    char name
        [32]; // "read", "copy", "triad"; READ_SET; "f32_fma", "bf16_dot"; "launch_gap", "grid_sync"
    char level[8];    // "L1".."DRAM" for bandwidths, "" for the others
    char kernel[64];  // what reached it: a registry row, a probe of the device, a library
    int threads;      // 0: the device has none, and the row is for any number
    double value;     // bytes/s, operations/s or ns: the median of the samples
    double low, high; // interval of the median
    int samples;
    double set_bytes; // of a bandwidth: what all threads read over and over; 0: not known
    // Next to its samples: the lowest and the highest clock of the device, the lowest of its memory. 0: not measured.
    double clock_low_hz, clock_high_hz, memory_clock_hz;
};
// The read of a set that is larger than what the last cache surely holds and smaller than the set that memory is
// measured with. It is a point between the two on the curve of levels.c. Its level is the cache's.
#define READ_SET "read_set"
enum { CEILINGS_MAX = 192 };
struct ceilings {
    struct ceiling row[CEILINGS_MAX];
    int count;
    struct memory_level level[MEMORY_LEVELS_MAX]; // what the levels of the rows hold
    int levels;
    char
        note[512]; // what could not be measured or was disturbed, for a person; "" when nothing was
};
// quick: reads of every level and the peaks, with one thread and with all, in about a second. full: copy and triad too,
// and the powers of two between, in less than ten seconds. Samples of all rows are interleaved, so that drift hits all
// alike. Host: the best of the registry's rows on the device's pool; no library is tried for the peaks. Elsewhere: the
// device's own probes; the best of each name and level becomes the row.
// Errors: ERR_UNSUPPORTED for a device with neither.
enum status ceilings_measure(struct device *device, bool quick, struct ceilings *out,
                             struct error *err);
// "B/s", "FLOP/s", "op/s" (integers) or "ns".
const char *ceilings_unit(const struct ceiling *ceiling);
// device: a name as struct ceiling has it.
const struct ceiling *ceilings_find(const struct ceilings *c, const char *device, const char *name,
                                    const char *level, int threads);
// The read ceiling of the level whose reported size holds a working set, or NULL: the level that a canary of
// that set reads. A device whose levels are not among c->level is read from its memory.
const struct ceiling *ceilings_read(const struct ceilings *c, const char *device, int threads,
                                    double working_set_bytes);

// ---- levels.c: what a working set is compared with -------------------------------------------------------
struct read_rate {
    double value, low, high; // bytes/s
    const struct ceiling *nearer,
        *farther; // its neighbours on the curve; the same one beyond its ends
};
// The read bandwidth of a working set, on the curve through the measured read ceilings; levels.c defines
// the interpolation. False when nothing was measured with that number of threads.
bool ceilings_read_rate(const struct ceilings *c, const char *device, int threads, double set_bytes,
                        struct read_rate *out);
// Names each level that is slower than one farther away, in words; "" when there is none.
void ceilings_explain_levels(const struct ceilings *c, char *out, size_t out_bytes);

// ---- peaks --------------------------------------------------------------------------------------------------
// The peak that products of this input type can reach, or NULL: the denominator of MFU. Narrow types
// can always be widened and multiplied as f32, so the better of the two counts.
const struct ceiling *ceilings_peak(const struct ceilings *c, const char *device,
                                    enum dtype datapath, int threads);

// Caller json_decref's; NULL when memory is exhausted.
json_t *ceilings_json(const struct ceilings *c);

// ---- the analytic model -------------------------------------------------------------------------------
struct work {
    double weight_bytes, kv_read_bytes, kv_write_bytes, activation_bytes;
    double flop;
};
double work_bytes(const struct work *work); // of all kinds
struct phase_work {
    struct work op[OPC_COUNT];
    enum dtype datapath[OPC_COUNT]; // which peak each class is compared with
    struct work total;
    double working_set_bytes; // decides the memory level
};
// What the formulas need to know of a cell and of the machine.
struct work_input {
    const struct model_config *config;
    const struct scheme *scheme; // resolved
    enum dtype kv;
    enum device_kind where;
    int batch, prompt;
    int chunk; // prefill: most tokens of one sequence a step
    int gen;   // decode: generated tokens, the first of them by the prefill
    // The threads' share of the last cache. Inputs and outputs of an operation count as read and written when together
    // they exceed it. 0: all count, as the engine's observer does.
    double cache_bytes;
};
// One prefill of `prompt` tokens a sequence in chunks, logits of the last position.
void work_prefill(const struct work_input *in, struct phase_work *out);
// The mean of the gen - 1 decode steps that follow it (of one step when gen is 1).
void work_decode_step(const struct work_input *in, struct phase_work *out);

// ---- the bound rule -------------------------------------------------------------------------------------
enum bound { BOUND_MEMORY, BOUND_COMPUTE, BOUND_OVERHEAD, BOUND_BALANCED, BOUND_UNDETERMINED };
const char *bound_name(enum bound bound);

struct verdict {
    enum bound bound;
    double t_roof_ns, t_memory_ns, t_compute_ns;
    double measured_ns;
    double eta; // t_roof / measured, never clipped
    double eta_low,
        eta_high; // with the most and the least bandwidth that canaries saw; equal to eta where it did not move
    double rho, rho_low, rho_high;
    double overhead_share; // measured waits and gaps over time; NaN: not measured
    bool suspicious;       // eta_low > 1.05: the model or a ceiling is wrong
    const char *basis;     // "host clock + analytic", "counters + analytic", ...
    // "memory-bound, 91 % of the roof". Below half of the roof the class describes a perfect kernel, not this run:
    // "inefficient here: 15 % of what memory allows; down loses most, 60 % of what is lost"
    char text[256];
};
struct bound_input {
    const struct phase_work *work;
    const char *device; // a name
    int threads;
    double measured_ns;
    double waits_ns; // NaN: not measured
    // (OPC_COUNT) time of each class, NaN where not measured; NULL: not timed. Only names the one that loses most.
    const double *op_ns;
    // Bandwidth canaries around the samples, 0: none taken. The least and the greatest of the medians before, during
    // and after: single looks scatter by some per cent by themselves.
    double canary_min, canary_max;
    // Read bandwidth of the working set's level, measured next to the samples by the canaries; 0: none, and the
    // ceiling of the run is taken. Where neighbours share the memory, the ceiling is of another minute.
    double bandwidth;
    bool counters; // bytes and operations of `work` were counted, not derived
};
// Errors: ERR_USAGE when a needed ceiling is missing.
enum status bound_decide(const struct ceilings *ceilings, const struct bound_input *in,
                         struct verdict *out, struct error *err);
// The same for one op class: in->work is the whole phase, in->measured_ns the time of this class, NaN
// when the classes were not timed (eta is NaN then).
enum status bound_decide_op(const struct ceilings *ceilings, const struct bound_input *in,
                            enum op_class op, struct verdict *out, struct error *err);
// False where the classes, timed one by one in a repetition of their own, took over 1.25 times the phase: a GPU that is
// waited for after each, or a step that runs as one kernel. Then their times are not parts of it. NaN counts as 0. *times: how many
// times the phase they took.
bool bound_op_times_hold(const double op_ns[OPC_COUNT], double measured_ns, double *times);
// What the figures of a cell on this device are based on, as a verdict names it (results/basis.h).
const char *bound_basis(const char *device, bool counters);
// The thresholds used, as JSON, to be stored with the verdict.
json_t *bound_thresholds(void);

#endif
