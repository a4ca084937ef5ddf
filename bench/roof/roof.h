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
    // "read", "copy", "triad"; READ_SET; "f32_fma", "bf16_dot"; "launch_gap", "grid_sync"
    char name[32];
    char level[8];    // "L1".."DRAM" for bandwidths, "" for the others
    char kernel[64];  // what reached it: a registry row, a probe of the device, or a library
    int threads;      // 0: the device has no threads; the row holds for any number
    double value;     // bytes/s, operations/s or ns: the median of the samples
    double low, high; // interval of the median
    int samples;
    double set_bytes; // of a bandwidth: the set that all threads read repeatedly; 0: unknown
    // The lowest and the highest clock of the device, measured around the samples, and the lowest of its memory. 0: not
    // measured.
    double clock_low_hz, clock_high_hz, memory_clock_hz;
};
// The read of a set that is larger than what the last cache surely holds, and smaller than the set that measures
// memory. It is a point between the two on the curve of levels.c. Its level is that of the cache.
#define READ_SET "read_set"
enum { CEILINGS_MAX = 192 };
struct ceilings {
    struct ceiling row[CEILINGS_MAX];
    int count;
    struct memory_level level[MEMORY_LEVELS_MAX]; // sizes of the rows' levels
    int levels;
    char note[1024]; // for people: what was disturbed or could not be measured; "" if nothing
};
// quick: reads of every level and the peaks, with one thread and with all, in about a second. full: also copy and
// triad, and numbers of threads that are powers of two, in less than ten seconds. Samples of all rows are interleaved,
// so that drift affects all alike. Host: the best of the registry's rows on the device's pool; no library is tried for
// the peaks. Other devices: their own probes; the best of each name and level becomes the row. Errors: ERR_UNSUPPORTED
// for a device with neither.
enum status ceilings_measure(struct device *device, bool quick, struct ceilings *out,
                             struct error *err);
// "B/s", "FLOP/s", "op/s" (integers) or "ns".
const char *ceilings_unit(const struct ceiling *ceiling);
// device: a name as in struct ceiling.
const struct ceiling *ceilings_find(const struct ceilings *c, const char *device, const char *name,
                                    const char *level, int threads);
// The read ceiling of the level whose reported size holds a working set, or NULL. A canary for that set reads this
// level. A device whose levels are not in c->level is read from its memory.
const struct ceiling *ceilings_read(const struct ceilings *c, const char *device, int threads,
                                    double working_set_bytes);

// ---- levels.c: the rate for a working set -------------------------------------------------------
struct read_rate {
    double value, low, high; // bytes/s
    // Its neighbours on the curve; the same one beyond its ends.
    const struct ceiling *nearer, *farther;
};
// The read bandwidth of a working set, on the curve through the measured read ceilings; levels.c defines the
// interpolation. False if nothing was measured with that number of threads.
bool ceilings_read_rate(const struct ceilings *c, const char *device, int threads, double set_bytes,
                        struct read_rate *out);
// Names each level that is slower than a farther one, as text; "" if there is none.
void ceilings_explain_levels(const struct ceilings *c, char *out, size_t out_bytes);

// ---- peaks --------------------------------------------------------------------------------------------------
// The peak that products of this input type can reach, which is the denominator of MFU, or NULL. Narrow types can
// always be widened and multiplied as f32, so the better of the two counts.
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
// What the formulas need to know about a cell and the machine.
struct work_input {
    const struct model_config *config;
    const struct scheme *scheme; // resolved
    enum dtype kv;
    enum device_kind where;
    int batch, prompt;
    int chunk; // prefill: the most tokens of one sequence per step
    int gen;   // decode: generated tokens; the prefill makes the first
    // The threads' share of the last cache, which decides what activations are read from and written to memory
    // (spill.c). 0: not known; the inputs and outputs of every operation count, as in the engine's observer.
    double cache_bytes;
};
// One prefill of `prompt` tokens per sequence, in chunks, with logits of the last position.
void work_prefill(const struct work_input *in, struct phase_work *out);
// The mean of the gen - 1 decode steps after it (of one step if gen is 1).
void work_decode_step(const struct work_input *in, struct phase_work *out);

// ---- the bound rule -------------------------------------------------------------------------------------
enum bound { BOUND_MEMORY, BOUND_COMPUTE, BOUND_OVERHEAD, BOUND_BALANCED, BOUND_UNDETERMINED };
// "memory", "compute", ...: the words of the store. Static.
const char *bound_name(enum bound bound);

struct verdict {
    enum bound bound;
    double t_roof_ns, t_memory_ns, t_compute_ns;
    double measured_ns;
    double eta; // t_roof / measured, never clipped
    // At the highest and lowest bandwidth of the canaries; equal to eta if it did not move.
    double eta_low, eta_high;
    double rho, rho_low, rho_high;
    double overhead_share;  // measured waits and gaps over time; NaN: not measured
    const char *basis;      // "host clock + analytic", "counters + analytic", ...
    const char *finding;    // FINDING_* of results/basis.h; NULL where eta is NaN
    double bandwidth_moved; // (most - least) / most that canaries saw; NaN: none ran
    // Of an inefficient phase with timed classes the one that loses most, -1 elsewhere, and its share of all losses.
    int loss_op;
    double loss_share;
    char reason[128]; // of a bound that needs one: "62 % of the time is waiting"; else ""
    // "memory-bound, 91 % of the roof". Below half of the roof the class describes a perfect kernel, not this run:
    // "inefficient here: 15 % of what memory allows; down loses most, 60 % of what is lost"
    char text[512];
};
struct bound_input {
    const struct phase_work *work;
    const char *device; // a name
    int threads;
    double measured_ns;
    double waits_ns; // NaN: not measured
    // (OPC_COUNT) time of each class, NaN where not measured; NULL: not timed. Only used to name the class that loses
    // most.
    const double *op_ns;
    // Bandwidth canaries around the samples; 0: none. They are the smallest and the largest of the medians taken
    // before, during and after, because single canaries scatter by some per cent.
    double canary_min, canary_max;
    // Read bandwidth of the working set's level, measured by the canaries around the samples. 0: none; the run's
    // ceiling is used. If neighbours share the memory, the ceiling may no longer hold.
    double bandwidth;
    bool traced;   // op_ns, and measured_ns of a class, come from the device's activity trace
    bool counters; // bytes and operations of `work` were counted, not computed
};
// Errors: ERR_USAGE if a needed ceiling is missing.
enum status bound_decide(const struct ceilings *ceilings, const struct bound_input *in,
                         struct verdict *out, struct error *err);
// The same for one op class. in->work is the whole phase; in->measured_ns is the time of this class, NaN if the classes
// were not timed (eta is then NaN).
enum status bound_decide_op(const struct ceilings *ceilings, const struct bound_input *in,
                            enum op_class op, struct verdict *out, struct error *err);
// False if the classes, timed one by one in a separate repetition, took over 1.25 times the phase. This happens if a
// GPU is waited for after each class, or if a step runs as one kernel. Their times are then not parts of the phase. NaN
// counts as 0. *times: the sum of the classes over the time of the phase.
bool bound_op_times_hold(const double op_ns[OPC_COUNT], double measured_ns, double *times);
// The work with its bytes times counted over analytic bytes. Counters do not tell op classes apart, so each gets the
// same ratio.
void bound_scale_bytes(const struct phase_work *work, double ratio, struct phase_work *out);
// The basis of the figures of a cell on this device, as named in a verdict (results/basis.h).
const char *bound_basis(const char *device, bool counters);
// The thresholds used, as JSON, to be stored with the verdict.
json_t *bound_thresholds(void);

#endif
