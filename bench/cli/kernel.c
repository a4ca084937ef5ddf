// kernel.c - `bench kernel check` and `bench kernel bench`: check and time the kernels, one row per variant.
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/str.h"
#include "bench/cli/command.h"
#include "bench/cli/device_flag.h"
#include "bench/cli/limits.h"
#include "bench/cli/values.h"
#include "bench/cli/view.h"
#include "bench/probe/probe.h"
#include "kernels/kernels.h"

static enum status print_json(json_t *rows, struct error *err)
{
    return cli_view_json(json_incref(rows), err);
}

// ---- check ---------------------------------------------------------------------------------------------

enum { CASES_MAX = 1000000 };

struct check_table {
    json_t *rows;     // NULL: rows are printed at once
    const char *head; // printed before the first row, so that a wrong pattern prints nothing else
    int failed, checked;
};

static void check_row(void *user, const struct kernel_check_result *r)
{
    struct check_table *table = user;
    if (table->checked++ == 0 && !table->rows)
        fputs(table->head, stdout);
    table->failed += r->failures > 0;
    if (table->rows) {
        json_array_append_new(table->rows,
                              json_pack("{s:s, s:i, s:i, s:s*}", "kernel", r->kernel->name, "cases",
                                        r->cases, "failures", r->failures, "first_failure",
                                        r->failures ? r->reason : NULL));
        return;
    }
    printf("%-34s %4d %6d  %s\n", r->kernel->name, r->cases, r->failures,
           r->failures ? r->reason : "ok");
    fflush(stdout);
}

static enum exit_code run_check(const struct arguments *args, struct error *err)
{
    char text[128], head[320];
    struct check_table table = {.head = head};
    struct device *device = NULL;
    // A new seed each time finds more; a given seed repeats the same cases.
    uint64_t seed = cli_flag_given(args, "seed") ? (uint64_t)cli_flag_int(args, "seed")
                                                 : (uint64_t)clock_wall_ns() % 1000000;
    int64_t cases = cli_flag_int(args, "cases");
    if (cases < 0 || cases > CASES_MAX) {
        FAIL(err, ERR_USAGE, "--cases %lld: must be 0 to %d", (long long)cases, CASES_MAX);
        return EXIT_ERROR;
    }
    const char *pattern;
    if (cli_kernel_pattern(args, &pattern, err) != OK ||
        cli_device_open(args, 1, cli_flag_string(args, "isa"), &device, err) != OK)
        return EXIT_ERROR;
    const struct device_info *info = device_info(device);
    if (cli_flag_bool(args, "json"))
        table.rows = json_array();
    snprintf(head, sizeof head, "%s against kernels/ref, tiers %s, seed %llu\n\n%-34s %4s %6s\n",
             info->name, device_isa_text(info->kind, info->isa, text, sizeof text),
             (unsigned long long)seed, "kernel", "cases", "failed");
    enum status status = kernel_check(pattern, device, seed, (int)cases, check_row, &table, err);
    if (status == OK && table.rows)
        status = print_json(table.rows, err);
    else if (status == OK)
        printf("\n%d of %d variants agree\n", table.checked - table.failed, table.checked);
    json_decref(table.rows);
    device_close(device);
    return status == OK && table.failed == 0 ? EXIT_FINE : EXIT_ERROR;
}

// ---- bench ---------------------------------------------------------------------------------------------

struct bench_table {
    struct cli_limits limits;
    json_t *rows; // NULL: rows are printed at once
};

static void bench_row(void *user, const struct kernel_bench_result *r)
{
    struct bench_table *table = user;
    const char *of;
    char time[32], bytes[16] = "-", flop[16] = "-";
    double part = cli_limits_share(&table->limits, r, &of);
    if (table->rows) {
        json_array_append_new(table->rows,
                              json_pack("{s:s, s:s, s:f, s:f, s:f, s:b, s:b, s:f, s:s}", "kernel",
                                        r->kernel->name, "shape", r->shape, "time_ns", r->time_ns,
                                        "bytes", r->bytes, "flop", r->flop, "in_cache", r->in_cache,
                                        "disturbed", r->disturbed, "share", part, "of", of));
        return;
    }
    if (r->bytes > 0)
        snprintf(bytes, sizeof bytes, "%.1f", r->bytes / r->time_ns);
    if (r->flop > 0)
        snprintf(flop, sizeof flop, "%.1f", r->flop / r->time_ns);
    printf("%-30s %-42s %10s %8s %9s %5.0f %% of %s%s\n", r->kernel->name, r->shape,
           format_time_ns(r->time_ns, time, sizeof time), bytes, flop, 100 * part, of,
           r->disturbed ? " (disturbed)" : "");
    fflush(stdout);
}

// The threads' part of the last-level cache; 0 if the topology does not report it.
static size_t cache_bytes(int threads)
{
    struct memory_level levels[MEMORY_LEVELS_MAX];
    int count = machine_memory_levels(levels);
    return count > 1 ? topology_level_capacity(&levels[count - 2], threads) : 0;
}

static void bench_header(struct device *device, size_t cache)
{
    int threads = cli_device_threads(device);
    double cache_mib = (double)cache / (1 << 20);
    if (threads)
        printf(
            "%d thread%s%s, %.0f MiB of last-level cache; ceilings: the best READ and PEAK of this "
            "run\n\n",
            threads, threads == 1 ? "" : "s",
            cli_device_pinned(device) ? ", pinned" : ", not pinned", cache_mib);
    else
        printf("%s, %.0f MiB of last-level cache; ceilings: its own probes of this run\n\n",
               device_info(device)->description, cache_mib);
    printf("%-30s %-42s %10s %8s %9s %s\n", "kernel", "shape", "time", "GB/s", "GFLOP/s",
           "share of the ceiling");
}

static enum status bench_all(const char *pattern, struct device *device, struct bench_table *table,
                             struct error *err)
{
    int threads = cli_device_threads(device);
    size_t cache = threads ? cache_bytes(threads) : device_info(device)->cache_bytes;
    TRY(kernel_pattern_check(pattern, device, err)); // before seconds of measuring
    TRY(cli_limits_measure(device, pattern, cache, &table->limits, err));
    if (!table->rows)
        bench_header(device, cache);
    TRY(kernel_bench(pattern, device, cache, bench_row, table, err));
    return table->rows ? print_json(table->rows, err) : OK;
}

static enum exit_code run_bench(const struct arguments *args, struct error *err)
{
    struct bench_table table = {.rows = cli_flag_bool(args, "json") ? json_array() : NULL};
    struct device *device = NULL;
    const char *pattern;
    if (cli_kernel_pattern(args, &pattern, err) == OK &&
        cli_device_open(args, cli_flag_int(args, "threads"), cli_flag_string(args, "isa"), &device,
                        err) == OK)
        bench_all(pattern, device, &table, err);
    device_close(device);
    json_decref(table.rows);
    return cli_exit_code(err);
}

// ---- the commands --------------------------------------------------------------------------------------

#define ISA_FLAG                                                                                   \
    {                                                                                              \
        .name = "isa", .type = FLAG_STRING, .value = "SETS", .fallback = "all",                    \
        .help =                                                                                    \
            "only variants that need nothing beyond these; a tier includes those it builds on",    \
        .values = &cli_values_isa                                                                  \
    }

static const struct flag check_flags[] = {
    DEVICE_FLAG,
    ISA_FLAG,
    {.name = "seed", .type = FLAG_INT, .value = "N", .help = "draw the same cases again"},
    {.name = "cases",
     .type = FLAG_INT,
     .value = "N",
     .fallback = "0",
     .help = "cases per variant; 0: enough for a proof"},
    {.name = "json", .type = FLAG_BOOL, .help = "print JSON"},
    {0},
};

static const struct flag bench_flags[] = {
    DEVICE_FLAG,
    ISA_FLAG,
    {.name = "threads",
     .type = FLAG_INT,
     .value = "N",
     .fallback = "0",
     .help = "threads to use; 0: one per physical core"},
    {.name = "json", .type = FLAG_BOOL, .help = "print JSON"},
    {0},
};

const struct command command_kernel_check = {
    .name = "kernel check",
    .positional = "[PATTERN]",
    .max_positional = 1,
    .summary = "prove every kernel a device can run against portable C",
    .details =
        "PATTERN is matched against the names of the variants (k_gemm_*). Inputs are random,\n"
        "extreme and of odd shapes; the exit code is 1 when a variant disagrees, crashes or\n"
        "strays from its buffers, or if the device is missing.",
    .flags = check_flags,
    .run = run_check,
};

const struct command command_kernel_bench = {
    .name = "kernel bench",
    .positional = "[PATTERN]",
    .max_positional = 1,
    .summary = "time kernels at model shapes, against the ceilings of this run",
    .details =
        "PATTERN is matched against the names of the variants (k_gemm_*). Medians of samples of\n"
        "at least a millisecond. All threads of the host take part; a GPU is timed by its own\n"
        "clock, with weights and caches that its L2 does not hold.",
    .flags = bench_flags,
    .run = run_bench,
};
