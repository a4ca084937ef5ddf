// limits.c - reads and peaks by the registry's own kernels on the host, by a GPU's own probes elsewhere.
#include "bench/cli/limits.h"

#include <math.h>

#include "base/stat.h"
#include "base/str.h"
#include "device/device.h"

// Peaks by datapath: a GPU's probe, and the limit's name.
static const struct {
    const char *probe, *words;
} peaks[DT_COUNT] = {
    [DT_F32] = {"f32_fma", "f32 peak"},
    [DT_BF16] = {"bf16_dot", "bf16 dot peak"},
    [DT_I8] = {"int8_dot", "int8 dot peak"},
    [DT_F8E4M3] = {"fp8_dot", "fp8 dot peak"},
};

static void keep(void *user, const struct kernel_bench_result *r)
{
    struct cli_limits *limits = user;
    double rate = r->bytes / r->time_ns;
    if (r->kernel->op == KOP_PEAK)
        limits->peak[r->kernel->w] = fmax(limits->peak[r->kernel->w], r->flop / r->time_ns);
    else if (r->in_cache)
        limits->read_cached = fmax(limits->read_cached, rate);
    else
        limits->read_memory = fmax(limits->read_memory, rate);
}

double cli_limits_share(const struct cli_limits *limits, const struct kernel_bench_result *r,
                        const char **of)
{
    double read = r->in_cache ? limits->read_cached : limits->read_memory;
    const enum dtype path = kernel_datapath(r->kernel);
    double peak = limits->peak[path];
    double of_read = read > 0 ? r->bytes / r->time_ns / read : 0;
    double of_peak = peak > 0 ? r->flop / r->time_ns / peak : 0;
    *of = of_read < of_peak ? peaks[path].words : r->in_cache ? "cache read" : "memory read";
    return fmax(of_read, of_peak);
}

// ---- measuring -----------------------------------------------------------------------------------------

// Which peaks kernels of this pattern are compared with. Returns how many kernels there are.
static size_t needed_peaks(const struct device *device, const char *pattern, bool needed[DT_COUNT])
{
    size_t count, found = 0;
    const struct kernel *table = kernel_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (!str_glob(pattern, table[i].name) || !kernel_runs_on(&table[i], device_target(device)))
            continue;
        needed[kernel_datapath(&table[i])] = true;
        found++;
    }
    return found;
}

// What a probe measures of that, or NULL: nothing that is needed.
static double *limit_of(struct cli_limits *limits, const struct device_probe *probe,
                        const bool needed[DT_COUNT])
{
    if (str_equal(probe->name, "read"))
        return str_equal(probe->level, "L2") ? &limits->read_cached : &limits->read_memory;
    for (int type = 0; type < DT_COUNT; type++)
        if (needed[type] && str_equal(probe->name, peaks[type].probe))
            return &limits->peak[type];
    return NULL;
}

enum status cli_limits_probe(struct device *device, const bool needed[DT_COUNT],
                             struct cli_limits *limits, struct error *err)
{
    enum { SAMPLES = 5 };
    struct device_probe probe[DEVICE_PROBES_MAX];
    size_t count = device_probes(device, probe, DEVICE_PROBES_MAX);
    for (size_t i = 0; i < count; i++) {
        double rates[SAMPLES], *limit = limit_of(limits, &probe[i], needed);
        bool disturbed;
        for (int s = 0; limit && s < SAMPLES && !err->code; s++)
            device_probe_run(device, i, &rates[s], &disturbed, err);
        if (err->code == ERR_UNSUPPORTED) { // its library is missing
            error_clear(err);
            continue;
        }
        if (err->code)
            return err->code;
        if (limit)
            *limit = fmax(*limit, stat_median(rates, SAMPLES, err) / 1e9);
    }
    return err->code;
}

enum status cli_limits_measure(struct device *device, const char *pattern, size_t cache_bytes,
                               struct cli_limits *limits, struct error *err)
{
    bool needed[DT_COUNT] = {false};
    if (!device_pool(device) && needed_peaks(device, pattern, needed) == 0)
        return OK; // kernel_bench says so
    if (!device_pool(device))
        return cli_limits_probe(device, needed, limits, err);
    TRY(kernel_bench("k_read_*", device, cache_bytes, keep, limits, err));
    return kernel_bench("k_peak_*", device, cache_bytes, keep, limits, err);
}
