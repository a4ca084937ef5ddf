// limits.h - what a device can do at best in this run of `bench kernel bench`, and a kernel's share of it.
#ifndef BENCH_CLI_LIMITS_H
#define BENCH_CLI_LIMITS_H

#include "kernels/kernels.h"

// The rates of the READ and PEAK kernels in this run with the same pool, or of a GPU's own probes. 0 until measured.
struct cli_limits {
    double read_cached, read_memory; // bytes per ns
    double peak[DT_COUNT];           // operations per ns
};

// Measures the limits that kernels of this pattern are compared with. On the host, which has kernels for them, it
// measures all of them.
// cache_bytes: as kernel_bench.
enum status cli_limits_measure(struct device *device, const char *pattern, size_t cache_bytes,
                               struct cli_limits *limits, struct error *err);

// Measures a GPU with its own probes: reads, and the peaks of these types, as the medians of a few samples. Several
// probes of one name are ways to one limit, and the best counts. Other probes are not run.
enum status cli_limits_probe(struct device *device, const bool needed[DT_COUNT],
                             struct cli_limits *limits, struct error *err);

// The larger share of a limit, and the limit's name; 0 if there is no limit to compare with.
double cli_limits_share(const struct cli_limits *limits, const struct kernel_bench_result *r,
                        const char **of);

#endif
