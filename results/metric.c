// metric.c - the rows of the metrics, and the formats of their values.

#include "results/metric.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static const struct metric_info metrics[] = {
    {METRIC_TTFT, "ns", "time to first token", METRIC_LOWER},
    {METRIC_TPOT, "ns", "time per output token", METRIC_LOWER},
    {METRIC_PREFILL_TPS, "token/s", "prefill throughput", METRIC_HIGHER},
    {METRIC_DECODE_TPS, "token/s", "decode throughput", METRIC_HIGHER},
    {METRIC_MBU, "1", "share of the measured bandwidth", METRIC_HIGHER},
    {METRIC_MFU, "1", "share of the measured peak", METRIC_HIGHER},
    {METRIC_PREFILL_TIME, "ns", "prefill time", METRIC_LOWER},
    {METRIC_E2E, "ns", "request time, whole", METRIC_LOWER},
    {METRIC_ITL_P50, "ns", "gap between tokens, median", METRIC_LOWER},
    {METRIC_ITL_P90, "ns", "gap between tokens, 90th percentile", METRIC_LOWER},
    {METRIC_ITL_P99, "ns", "gap between tokens, 99th percentile", METRIC_LOWER},
    {METRIC_WAIT, "ns", "time spent waiting for threads", METRIC_LOWER},
    {METRIC_BETWEEN, "1", "share of the decode between steps", METRIC_LOWER},
    {METRIC_PEAK_MEM, "bytes", "peak memory", METRIC_LOWER},
    {METRIC_LOAD, "ns", "load time", METRIC_LOWER},
    {METRIC_CALIBRATION, "ns", "calibration time", METRIC_LOWER},
    {METRIC_LOAD_COLD, "ns", "load time, cold file cache", METRIC_LOWER},
    {METRIC_TOKENIZE, "ns", "tokenization time", METRIC_LOWER},
    {METRIC_OP_TIME, "ns", "time of an op class", METRIC_LOWER},
    {METRIC_MEM_WEIGHTS, "bytes", "memory of the weights", METRIC_LOWER},
    {METRIC_MEM_COPY, "bytes", "of it, a second copy for a library", METRIC_LOWER},
    {METRIC_MEM_KV, "bytes", "memory of the KV cache", METRIC_LOWER},
    {METRIC_MEM_SCRATCH, "bytes", "memory of activations", METRIC_LOWER},
    {METRIC_FLOP, "FLOP", "useful operations", METRIC_NEITHER},
    {METRIC_BYTES, "bytes", "bytes moved at least", METRIC_NEITHER},
    {METRIC_PERPLEXITY, "ppl", "perplexity", METRIC_LOWER},
    {METRIC_LN_PPL_STDERR, "nat", "standard error of ln perplexity", METRIC_NEITHER},
    {METRIC_PERPLEXITY_F32, "ppl", "perplexity of the f32 model", METRIC_NEITHER},
    {METRIC_LN_RATIO, "nat", "ln of perplexity over f32's", METRIC_LOWER},
    {METRIC_LN_RATIO_STDERR, "nat", "standard error of that", METRIC_NEITHER},
    {METRIC_KL_MEAN, "nat", "KL divergence from f32, mean", METRIC_LOWER},
    {METRIC_KL_MEDIAN, "nat", "KL divergence from f32, median", METRIC_LOWER},
    {METRIC_KL_P99, "nat", "KL divergence from f32, 99th percentile", METRIC_LOWER},
    {METRIC_KL_MAX, "nat", "KL divergence from f32, largest", METRIC_LOWER},
    {METRIC_SAME_TOP, "1", "share of tokens with f32's likeliest id", METRIC_HIGHER},
    {METRIC_DP_MEAN, "1", "change of the right token's probability, mean", METRIC_HIGHER},
    {METRIC_DP_RMS, "1", "change of the right token's probability, RMS", METRIC_LOWER},
    {METRIC_DP_P1, "1", "the same, 1st percentile", METRIC_HIGHER},
    {METRIC_DP_P5, "1", "the same, 5th percentile", METRIC_HIGHER},
    {METRIC_DP_P25, "1", "the same, 25th percentile", METRIC_NEITHER},
    {METRIC_DP_MEDIAN, "1", "the same, median", METRIC_NEITHER},
    {METRIC_DP_P75, "1", "the same, 75th percentile", METRIC_NEITHER},
    {METRIC_DP_P95, "1", "the same, 95th percentile", METRIC_NEITHER},
    {METRIC_DP_P99, "1", "the same, 99th percentile", METRIC_NEITHER},
    {METRIC_QUALITY_WINDOWS, "1", "windows of the quality text", METRIC_NEITHER},
    {METRIC_QUALITY_TOKENS, "1", "tokens scored", METRIC_NEITHER},
    {METRIC_QUALITY_TIME, "ns", "time of the quality evaluation", METRIC_LOWER},
    {METRIC_ENERGY_TOKEN, "J", "energy a generated token", METRIC_LOWER},
    {METRIC_ENERGY_PROMPT, "J", "energy a prompt token", METRIC_LOWER},
    {METRIC_POWER, "W", "power, mean", METRIC_NEITHER},
    {METRIC_POWER_IDLE, "W", "power at rest", METRIC_NEITHER},
    {METRIC_ENERGY_WINDOW, "ns", "window of the energy counter", METRIC_NEITHER},
    {METRIC_BUSY, "ns", "time the device worked", METRIC_NEITHER},
    {METRIC_LAUNCH_GAPS, "ns", "gaps between the work of a step", METRIC_LOWER},
    {METRIC_LAUNCHES, "1", "kernels launched", METRIC_LOWER},
    {METRIC_KERNEL_TIME, "ns", "time of a kernel", METRIC_LOWER},
    {METRIC_LAYER_TIME, "ns", "time of a layer, median", METRIC_LOWER},
    {METRIC_LAYER_MOST, "ns", "time of the slowest layer", METRIC_LOWER},
    {METRIC_TRACED_TIME, "ns", "time while traced", METRIC_NEITHER},
    {METRIC_UNTRACED_TIME, "ns", "time next to it, untraced", METRIC_NEITHER},
    {METRIC_DRAM_READ, "bytes", "bytes read from memory, counted", METRIC_LOWER},
    {METRIC_DRAM_WRITTEN, "bytes", "bytes written to memory, counted", METRIC_LOWER},
    {METRIC_DRAM_BYTES, "bytes", "bytes to and from memory, counted", METRIC_LOWER},
    {METRIC_DRAM_RATIO, "1", "counted bytes over analytic bytes", METRIC_NEITHER},
    {METRIC_COUNTER_PREFIX "task-clock", "ns", "processor time", METRIC_LOWER},
    {METRIC_DRAM_SHARE, "1", "share of the memory's peak, counted", METRIC_HIGHER},
    {METRIC_L2_BYTES, "bytes", "bytes asked of L2, counted", METRIC_LOWER},
    {METRIC_L2_HITS, "1", "share of them that L2 held", METRIC_NEITHER},
    {METRIC_TENSOR_OPS, "FLOP", "operations of tensor cores, counted", METRIC_NEITHER},
    {METRIC_OPS_RATIO, "1", "counted operations over analytic ones", METRIC_NEITHER},
    {METRIC_TENSOR_INSTRUCTIONS, "1", "instructions of tensor cores", METRIC_NEITHER},
    {METRIC_TENSOR_CYCLES, "1", "cycles of tensor cores at work", METRIC_NEITHER},
    {METRIC_TENSOR_SHARE, "1", "share of cycles with tensor cores at work", METRIC_HIGHER},
    {METRIC_ISSUE_SHARE, "1", "share of cycles that issued an instruction", METRIC_NEITHER},
    {NOISE_STEAL, "ns", "time taken by the hypervisor", METRIC_LOWER},
    {NOISE_SWITCHES, "1", "involuntary context switches", METRIC_LOWER},
    {NOISE_MAJOR_FAULTS, "1", "major page faults", METRIC_LOWER},
    {NOISE_PSI_CPU, "ns", "pressure stall, processor", METRIC_LOWER},
    {NOISE_PSI_MEMORY, "ns", "pressure stall, memory", METRIC_LOWER},
    {NOISE_PSI_IO, "ns", "pressure stall, input and output", METRIC_LOWER},
    {NOISE_THROTTLED, "ns", "waits for the next CPU quota", METRIC_LOWER},
    {NOISE_RUN_WAIT, "ns", "longest wait of a thread for a processor", METRIC_LOWER},
    {NOISE_WINDOW, "ns", "window of the counts", METRIC_NEITHER},
    {NOISE_CLOCK_TIE, "ns", "uncertainty of the clocks' tie", METRIC_LOWER},
    {NOISE_CLOCK_DRIFT, "ns", "drift of the device's clock", METRIC_NEITHER},
    {NOISE_COMPUTE_CANARY, "ns", "compute canary", METRIC_LOWER},
    {NOISE_SYNC_CANARY, "ns", "sync canary", METRIC_LOWER},
    {NOISE_LATENCY_CANARY, "ns", "latency canary", METRIC_LOWER},
    {NOISE_WORK_CANARY, "ns", "work canary", METRIC_LOWER},
    {NOISE_BANDWIDTH_FIRST, "B/s", "bandwidth before", METRIC_HIGHER},
    {NOISE_BANDWIDTH_DURING, "B/s", "bandwidth during", METRIC_HIGHER},
    {NOISE_BANDWIDTH_LAST, "B/s", "bandwidth after", METRIC_HIGHER},
    {NOISE_BANDWIDTH_MIN, "B/s", "lowest bandwidth seen", METRIC_HIGHER},
    {NOISE_BANDWIDTH_MAX, "B/s", "highest bandwidth seen", METRIC_HIGHER},
    {NOISE_DEVICE_CLOCK, "Hz", "device's clock, lowest seen", METRIC_HIGHER},
    {NOISE_DEVICE_MEMORY_CLOCK, "Hz", "device's memory clock, lowest seen", METRIC_HIGHER},
    {NOISE_DEVICE_POWER, "W", "device's power, highest seen", METRIC_NEITHER},
    {NOISE_DEVICE_TEMPERATURE, "C", "device's temperature, highest seen", METRIC_LOWER},
    {NOISE_HELD_POWER, "1", "readings in which the device's power limit held it back",
     METRIC_LOWER},
    {NOISE_HELD_THERMAL, "1", "readings in which the device's temperature held it back",
     METRIC_LOWER},
    {NOISE_HELD_BRAKE, "1", "readings in which the device's board held it back", METRIC_LOWER},
};

const struct metric_info *metric_find(const char *name)
{
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++)
        if (str_equal(metrics[i].name, name))
            return &metrics[i];
    return NULL;
}

// ---- statistics ---------------------------------------------------------------------------------

// Whether the values are rates with times: tokens per second, all above zero.
static bool has_times(const double *x, size_t n, const char *unit)
{
    bool rate = str_equal(unit, "token/s");
    for (size_t i = 0; i < n && rate; i++)
        rate = x[i] > 0;
    return rate && n > 0;
}

// (n) 1 / x, owned by the caller.
static double *times_of(const double *x, size_t n, struct error *err)
{
    double *times = calloc(n, sizeof *times);
    if (times == NULL)
        FAIL(err, ERR_NOMEM, "statistics of %zu values", n);
    for (size_t i = 0; times && i < n; i++)
        times[i] = 1 / x[i];
    return times;
}

double metric_median(const double *x, size_t n, const char *unit, struct error *err)
{
    if (!has_times(x, n, unit))
        return stat_median(x, n, err);
    double *times = times_of(x, n, err);
    double median = times ? 1 / stat_median(times, n, err) : NAN;
    free(times);
    return median;
}

// Median and interval from those of the times; the scatter around that median.
static enum status of_times(const double *x, double *times, size_t n, struct stat_summary *out,
                            struct error *err)
{
    struct stat_summary time;
    TRY(stat_summarize(times, n, &time, err));
    out->median = 1 / time.median;
    out->median_interval = (struct stat_interval){.low = 1 / time.median_interval.high,
                                                  .high = 1 / time.median_interval.low,
                                                  .level = time.median_interval.level};
    for (size_t i = 0; i < n; i++)
        times[i] = fabs(x[i] - out->median);
    out->mad = stat_median(times, n, err);
    return err->code;
}

enum status metric_summarize(const double *x, size_t n, const char *unit, struct stat_summary *out,
                             struct error *err)
{
    TRY(stat_summarize(x, n, out, err));
    if (!has_times(x, n, unit))
        return OK;
    double *times = times_of(x, n, err);
    enum status status = times ? of_times(x, times, n, out, err) : err->code;
    free(times);
    return status;
}

// ---- text ---------------------------------------------------------------------------------------

// Three significant digits, thousands apart: "0.873", "41.2 tok/s", "12,400 tok/s".
static char *format_plain(double value, const char *unit, char *out, size_t out_bytes)
{
    double size = fabs(value);
    int digits = size >= 100 || value == rint(value) ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
    char number[64], grouped[96];
    if (size > 0 && size < 0.1) { // 0.00123, 4.5e-06
        snprintf(out, out_bytes, "%.3g%s%s", value, unit[0] ? " " : "", unit);
        return out;
    }
    int length = snprintf(number, sizeof number, "%.*f", digits, value), at = 0;
    if (size >= 1e15 || size < 1000) {
        snprintf(out, out_bytes, "%s%s%s", number, unit[0] ? " " : "", unit);
        return out;
    }
    for (int i = 0; i < length; i++) {
        grouped[at++] = number[i];
        if ((length - i) % 3 == 1 && i < length - 1 && number[i] != '-')
            grouped[at++] = ',';
    }
    snprintf(out, out_bytes, "%.*s%s%s", at, grouped, unit[0] ? " " : "", unit);
    return out;
}

char *metric_format(double value, const char *unit, char *out, size_t out_bytes)
{
    if (isnan(value)) {
        snprintf(out, out_bytes, "not measured");
        return out;
    }
    if (value == 0 && !str_equal(unit, "1")) {
        snprintf(out, out_bytes, "0 %s", str_equal(unit, "token/s") ? "tok/s" : unit);
        return out;
    }
    if (str_equal(unit, "ppl")) { // a tenth of a per cent matters
        snprintf(out, out_bytes, value < 1000 ? "%.2f" : "%.5g", value);
        return out;
    }
    if (str_equal(unit, "ns"))
        return format_time_ns(value, out, out_bytes);
    if (str_equal(unit, "bytes"))
        return format_bytes(value, out, out_bytes);
    if (str_equal(unit, "1") || unit == NULL)
        return format_plain(value, "", out, out_bytes);
    if (str_equal(unit, "token/s"))
        return format_plain(value, "tok/s", out, out_bytes);
    if (str_equal(unit, "Hz")) {
        snprintf(out, out_bytes, "%.0f MHz", value / 1e6);
        return out;
    }
    if (str_equal(unit, "FLOP")) { // a count, not a rate: the same prefixes
        format_rate(value, unit, out, out_bytes);
        out[strcspn(out, "/")] = '\0';
        return out;
    }
    size_t length = strlen(unit);
    if (length > 2 && length < 32 && str_equal(unit + length - 2, "/s")) {
        char what[32];
        snprintf(what, sizeof what, "%.*s", (int)length - 2, unit);
        return format_rate(value, what, out, out_bytes);
    }
    return format_plain(value, unit, out, out_bytes);
}
