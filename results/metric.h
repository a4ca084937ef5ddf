// metric.h - the names of the metrics, in the tables metric and noise.
//
// Each metric is one row, which `show`, `export` and the report read. docs/METRICS.md defines each metric and how it is
// measured. To add one, store it under its name and add its row in metric.c.
#ifndef RESULTS_METRIC_H
#define RESULTS_METRIC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/stat.h"

// Metrics of one repetition (struct store_sample).
#define METRIC_TTFT        "ttft" // ns, phase prefill: ids handed over -> first token on the host
#define METRIC_TPOT        "tpot" // ns, phase decode: (E2E - TTFT) / (gen - 1), mean of requests
#define METRIC_PREFILL_TPS "prefill_tps" // token/s, phase prefill
#define METRIC_DECODE_TPS  "decode_tps"  // token/s, phase decode, all sequences together
#define METRIC_MBU         "mbu"         // 1, phase decode: share of the measured read bandwidth
#define METRIC_MFU         "mfu"         // 1, phase prefill or decode: share of the measured peak
// ns, phase prefill: ids handed over -> logits of the last prompt position
#define METRIC_PREFILL_TIME "prefill_time"
#define METRIC_E2E          "e2e"     // ns: ids handed over -> last token of the last sequence
#define METRIC_ITL_P50      "itl_p50" // ns, phase decode: of all gaps between tokens of one sequence
#define METRIC_ITL_P90      "itl_p90"       // ns
#define METRIC_ITL_P99      "itl_p99"       // ns
#define METRIC_BETWEEN      "between_steps" // 1, phase decode: share of the time that was in no step
#define METRIC_WAIT         "wait" // ns, phase prefill (whole) or decode (one step): synchronization

// Metrics of one trial (struct store_trial).
#define METRIC_PEAK_MEM    "peak_mem" // bytes: host high-water mark of the cell
#define METRIC_LOAD        "load" // ns, phase load: files in the page cache, or weights generated
#define METRIC_CALIBRATION "calibration" // ns, phase load: of int4-awq, when its codes were made
#define METRIC_LOAD_COLD   "load_cold"   // ns, phase load: files dropped from the page cache before
#define METRIC_TOKENIZE    "tokenize"    // ns: the prompts' text to ids, all sequences
#define METRIC_OP_TIME     "op_time" // ns, phase prefill (whole) or decode (one step), per op class
// 1, phase prefill (whole) or decode (one step): any counter
#define METRIC_COUNTER_PREFIX "counter_"
// Counters of the device's hardware; amounts are of a whole prefill or of one decode step. Memory controllers of a host
// and a GPU's own counters store the same metrics.
#define METRIC_DRAM_READ           "counter_dram_read"    // bytes
#define METRIC_DRAM_WRITTEN        "counter_dram_written" // bytes
#define METRIC_DRAM_BYTES          "counter_dram_bytes"   // bytes, both ways
#define METRIC_DRAM_RATIO          "counter_dram_ratio"   // 1: those over METRIC_BYTES
#define METRIC_DRAM_SHARE          "counter_dram_share"   // 1: of the memory's peak while counted
#define METRIC_L2_BYTES            "counter_l2_bytes"     // bytes requested from it
#define METRIC_L2_HITS             "counter_l2_hit_rate"  // 1
#define METRIC_TENSOR_OPS          "counter_tensor_ops"   // FLOP: a multiply-add is two
#define METRIC_OPS_RATIO           "counter_ops_ratio"    // 1: those over METRIC_FLOP
#define METRIC_TENSOR_INSTRUCTIONS "counter_tensor_instructions" // 1
#define METRIC_TENSOR_CYCLES       "counter_tensor_cycles"       // 1: of all multiprocessors
#define METRIC_TENSOR_SHARE        "counter_tensor_share"        // 1: of the cycles
#define METRIC_ISSUE_SHARE         "counter_issue_share"         // 1: of the cycles
// Metrics of the instrument energy. Energies exclude the idle power of the device; powers include it.
#define METRIC_ENERGY_PROMPT "energy_prompt_token" // J, phase prefill: of one prompt token
#define METRIC_ENERGY_TOKEN  "energy_token"        // J, phase decode: of one generated token
#define METRIC_POWER         "power"               // W, phase prefill or decode: mean while it ran
#define METRIC_POWER_IDLE    "power_idle"          // W: of the idle device with the model loaded
#define METRIC_ENERGY_WINDOW "energy_window" // ns, phase prefill or decode: the measured window
// Of the instrument activity: phase prefill (whole) or decode (one step).
#define METRIC_BUSY        "device_busy"     // ns in which the device worked
#define METRIC_LAUNCH_GAPS "launch_gaps"     // ns in which it did not, between the work of one step
#define METRIC_LAUNCHES    "launches"        // 1: kernels
#define METRIC_KERNEL_TIME "kernel_time"     // ns, op: the kernel's name; of those that take most
#define METRIC_LAYER_TIME  "layer_time"      // ns of work of one layer: the median layer
#define METRIC_LAYER_MOST  "layer_time_most" // ns, op: "layer 31"; of the layer that takes most
#define METRIC_TRACED_TIME "traced_time"     // ns, the phase's while it was traced
#define METRIC_UNTRACED_TIME                                                                       \
    "untraced_time" // ns, the same in the repetition after it, without the trace
// The op of op_time that is no class: sampling, and on a GPU handing ids to the host.
#define METRIC_OP_END "end of step"
// The source of op_time from that trace: times of the device itself.
#define METRIC_SOURCE_ACTIVITY "activity trace"
// NULL, with the reason as its source: what an instrument of the worker could not measure, by the instrument's name
#define METRIC_INSTRUMENT_PREFIX "instrument_"
// In the reason of the instrument `counters`, what precedes why no memory controller was counted; it comes last.
#define METRIC_NO_DRAM     "DRAM bytes: "
#define METRIC_MEM_WEIGHTS "mem_weights" // bytes, what the engine knows it holds
#define METRIC_MEM_KV      "mem_kv"      // bytes
// The beginning of mem_kv's source if layers have a window; the size of the windows alone follows.
#define METRIC_KV_WHOLE    "engine: every position, of layers with a window too; the windows alone: "
#define METRIC_MEM_COPY    "mem_weights_copy" // bytes, of mem_weights: plain rows for a library
#define METRIC_MEM_SCRATCH "mem_scratch"      // bytes
#define METRIC_FLOP        "flop"  // FLOP, phase prefill or decode (one step), op or the whole
#define METRIC_BYTES       "bytes" // bytes moved at least, same phases and ops

// Metrics of a model in a scheme, over a text (struct store_quality); docs/METRICS.md has the formulas.
#define METRIC_PERPLEXITY      "perplexity"                 // ppl
#define METRIC_LN_PPL_STDERR   "ln_perplexity_stderr"       // nat
#define METRIC_PERPLEXITY_F32  "perplexity_f32"             // ppl: of the same model in f32
#define METRIC_LN_RATIO        "ln_perplexity_ratio"        // nat: ln(perplexity / perplexity_f32)
#define METRIC_LN_RATIO_STDERR "ln_perplexity_ratio_stderr" // nat, of the paired differences
#define METRIC_KL_MEAN         "kl_mean"                    // nat: KL(f32 || this), per token
#define METRIC_KL_MEDIAN       "kl_median"                  // nat
#define METRIC_KL_P99          "kl_p99"                     // nat
#define METRIC_KL_MAX          "kl_max"                     // nat
#define METRIC_SAME_TOP        "same_top"     // 1: share of tokens with the same likeliest id
#define METRIC_DP_MEAN         "delta_p_mean" // 1: probability of the actual next token, minus f32's
#define METRIC_DP_RMS          "delta_p_rms"  // 1
#define METRIC_DP_P1           "delta_p_p1"   // 1, quantiles
#define METRIC_DP_P5           "delta_p_p5"
#define METRIC_DP_P25          "delta_p_p25"
#define METRIC_DP_MEDIAN       "delta_p_median"
#define METRIC_DP_P75          "delta_p_p75"
#define METRIC_DP_P95          "delta_p_p95"
#define METRIC_DP_P99          "delta_p_p99"
#define METRIC_QUALITY_WINDOWS "quality_windows" // 1
#define METRIC_QUALITY_TOKENS  "quality_tokens"  // 1: scored
#define METRIC_QUALITY_TIME    "quality_time"    // ns: all windows, loads left out

// Noise of one repetition: differences over it, and canaries around it.
#define NOISE_STEAL            "steal"                // ns
#define NOISE_SWITCHES         "involuntary_switches" // 1
#define NOISE_MAJOR_FAULTS     "major_faults"         // 1
#define NOISE_PSI_CPU          "psi_cpu"              // ns
#define NOISE_PSI_MEMORY       "psi_memory"           // ns
#define NOISE_PSI_IO           "psi_io"               // ns
#define NOISE_THROTTLED        "throttled"    // ns: waited for the control group's next CPU quota
#define NOISE_RUN_WAIT         "run_wait"     // ns: the most that one thread waited for a processor
#define NOISE_WINDOW           "noise_window" // ns over which the differences were taken
#define NOISE_CLOCK_TIE        "clock_tie" // ns: how far the device's clock and the host's may be apart
#define NOISE_CLOCK_DRIFT      "clock_drift"    // ns that the device's clock gained on the host's
#define NOISE_COMPUTE_CANARY   "compute_canary" // ns
#define NOISE_SYNC_CANARY      "sync_canary"    // ns: a cache line from one thread to the next
#define NOISE_LATENCY_CANARY   "latency_canary" // ns: a step of a random walk over the working set
#define NOISE_WORK_CANARY      "work_canary"    // ns: a slice of decode-like work with its barriers
#define NOISE_BANDWIDTH_FIRST  "bandwidth_before" // B/s
#define NOISE_BANDWIDTH_DURING "bandwidth_during" // B/s, of the decode
#define NOISE_BANDWIDTH_LAST   "bandwidth_after"  // B/s
#define NOISE_BANDWIDTH_MIN    "bandwidth_min"    // B/s, over all canaries of the repetition
#define NOISE_BANDWIDTH_MAX    "bandwidth_max"    // B/s
// Vital signs of a device, if they can be read, over all readings during one repetition.
#define NOISE_DEVICE_CLOCK        "device_clock"        // Hz, the lowest
#define NOISE_DEVICE_MEMORY_CLOCK "device_memory_clock" // Hz, the lowest
#define NOISE_DEVICE_POWER        "device_power"        // W, the highest
#define NOISE_DEVICE_TEMPERATURE  "device_temperature"  // C, the highest
#define NOISE_HELD_POWER          "held_by_power_limit" // 1, share of the readings
#define NOISE_HELD_THERMAL        "held_by_temperature" // 1
#define NOISE_HELD_BRAKE          "held_by_hardware" // 1: power brake, or a slowdown without a cause

enum metric_better { METRIC_NEITHER, METRIC_LOWER, METRIC_HIGHER };

struct metric_info {
    const char *name, *unit;
    const char *title; // "time to first token"
    enum metric_better better;
};

// The row of a name, or NULL.
const struct metric_info *metric_find(const char *name);

// The statistics of one metric's values (n values in `unit`), which all readers use. A rate ("token/s") is computed
// from its times: its median is that of the median time, and the ends of its interval are those of the time's interval,
// swapped. So "895 tok/s" and "1.12 ms per token" of one cell agree, also for an even number of values. All else is
// from base/stat.h.
enum status metric_summarize(const double *x, size_t n, const char *unit, struct stat_summary *out,
                             struct error *err);
double metric_median(const double *x, size_t n, const char *unit,
                     struct error *err); // NaN on error

// Formats a value for display: "12.3 ms", "1.50 GiB", "45.1 GB/s", "87 %"; NaN: "not measured". `unit` is one of ns,
// bytes, 1, ppl (perplexity: two decimals, no unit after it), nat and rates ("token/s"). Returns `out`.
char *metric_format(double value, const char *unit, char *out, size_t out_bytes);

#endif
