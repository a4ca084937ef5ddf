// roof.h - measured ceilings, the analytic byte and operation model, and the bound rule.
//
// DESIGN section 4 is the source of every formula. Ceilings are measured with the same pool and the
// same kernel registry as the work they are held against.
#ifndef BENCH_ROOF_ROOF_H
#define BENCH_ROOF_ROOF_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/status.h"
#include "bench/probe/probe.h"
#include "engine/engine.h"

// ---- ceilings --------------------------------------------------------------------------------------------
struct ceiling {
    char name[32];     // "read", "copy", "triad"; "f32_fma", "bf16_dot", "int8_dot"
    char level[8];     // "L1".."DRAM" for bandwidths, "" for datapaths
    char kernel[64];   // the registry row that reached it
    int threads;
    double value;      // bytes/s or operations/s: the median of the samples
    double low, high;  // interval of the median
    int samples;
};
enum { CEILINGS_MAX = 128 };
struct ceilings {
    struct ceiling row[CEILINGS_MAX];
    int count;
};
// quick: DRAM and last-level read and the peaks only, about a second; full: every level, copy and triad.
enum status ceilings_measure(struct pool *pool, unsigned isa, bool quick, struct ceilings *out,
                             struct error *err);
const struct ceiling *ceilings_find(const struct ceilings *c, const char *name, const char *level,
                                    int threads);

// ---- the analytic model -------------------------------------------------------------------------------
struct work {
    double weight_bytes, kv_read_bytes, kv_write_bytes, activation_bytes;
    double flop;
};
struct phase_work {
    struct work op[OPC_COUNT];
    struct work total;
    double working_set_bytes; // decides the memory level
};
// One prefill of `prompt` tokens a sequence in chunks, or the mean decode step over `gen` tokens.
void work_prefill(const struct model_config *config, const struct scheme *scheme, enum dtype kv,
                  int batch, int prompt, int chunk, struct phase_work *out);
void work_decode_step(const struct model_config *config, const struct scheme *scheme,
                      enum dtype kv, int batch, int prompt, int gen, struct phase_work *out);

// ---- the bound rule -------------------------------------------------------------------------------------
enum bound { BOUND_MEMORY, BOUND_COMPUTE, BOUND_OVERHEAD, BOUND_BALANCED, BOUND_UNDETERMINED };
const char *bound_name(enum bound bound);

struct verdict {
    enum bound bound;
    double t_roof_ns, t_memory_ns, t_compute_ns;
    double measured_ns;
    double eta;                  // t_roof / measured; > 1.05: model or ceiling is wrong, never clipped
    double rho, rho_low, rho_high;
    double overhead_share;       // measured waits and gaps over time; NaN: not measured
    bool suspicious;             // eta > 1.05
    const char *basis;           // "host clock + analytic", "counters + analytic", ...
    char text[256];              // "memory-bound, 91 % of the roof"
};
struct bound_input {
    const struct phase_work *work;
    enum dtype datapath;         // which peak: DT_F32, DT_BF16, DT_I8
    int threads;
    double measured_ns;
    double waits_ns;             // NaN: not measured
    double canary_min, canary_max; // bandwidth canaries round the samples, 0: none taken
};
// Errors: ERR_USAGE when a needed ceiling is missing.
enum status bound_decide(const struct ceilings *ceilings, const struct bound_input *in,
                         struct verdict *out, struct error *err);
// The thresholds used, as JSON, to be stored with the verdict.
json_t *bound_thresholds(void);

#endif
