// cuda_metrics.c - chooses CUPTI's metrics for a chip and makes the configurations that count them.
#include "device/cuda_counters.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The sets of DRAM and of tensor instructions are one pass each on GH100. sm__throughput, which profilers show as the
// share of a multiprocessor, takes eight.
const struct counter_row cuda_counter_rows[COUNTER_ROWS] = {
    {DEVICE_MEMORY_READ, 0, "dram__bytes_read|dram__bytes_op_read|fbpa__dram_read_bytes", ".sum", 1,
     "bytes read from DRAM", "copy", "DRAM", 0.5},
    {DEVICE_MEMORY_WRITTEN, 0, "dram__bytes_write|dram__bytes_op_write|fbpa__dram_write_bytes",
     ".sum", 1, "bytes written to DRAM", "copy", "DRAM", 0.5},
    {DEVICE_MEMORY_SHARE, 0, "dram__throughput|gpu__dram_throughput",
     ".avg.pct_of_peak_sustained_elapsed", 0.01, "share of DRAM", NULL, NULL, 0},
    {DEVICE_CACHE_BYTES, 1, "lts__t_bytes", ".sum", 1, "bytes of L2", NULL, NULL, 0},
    {DEVICE_CACHE_HITS, 1, "lts__t_sector_hit_rate", ".pct", 0.01, "hits of L2", NULL, NULL, 0},
    {DEVICE_MATRIX_INSTRUCTIONS, 2, "sm__inst_executed_pipe_tensor", ".sum", 1,
     "tensor instructions", NULL, NULL, 0},
    {DEVICE_MATRIX_CYCLES, 2, "sm__pipe_tensor_cycles_active", ".sum", 1, "tensor cycles", NULL,
     NULL, 0},
    {DEVICE_MATRIX_SHARE, 2, "sm__pipe_tensor_cycles_active", ".avg.pct_of_peak_sustained_elapsed",
     0.01, "share of tensor cycles", NULL, NULL, 0},
    {DEVICE_ISSUE_SHARE, 0, "sm__issue_active|smsp__issue_active",
     ".avg.pct_of_peak_sustained_elapsed", 0.01, "share of issue slots", NULL, NULL, 0},
    {DEVICE_MATRIX_OPS, 3,
     "sm__ops_path_tensor_src_bf16_dst_fp32|sm__ops_path_tensor_src_fp16_bf16_tf32_dst_fp32",
     ".sum", 1, "bf16 tensor operations", "bf16_dot", "", 1},
    {DEVICE_MATRIX_OPS, 3,
     "sm__ops_path_tensor_src_fp8|sm__ops_path_tensor_src_fp8_dst_fp32|"
     "sm__ops_path_tensor_src_fp4_fp6_fp8_dst_fp32",
     ".sum", 1, "fp8 tensor operations", "fp8_dot", "", 1},
    {DEVICE_MATRIX_OPS, 3, "sm__ops_path_tensor_src_tf32_dst_fp32", ".sum", 1,
     "tf32 tensor operations", "tf32_dot", "", 1},
    {DEVICE_MATRIX_OPS, 4, "sm__ops_path_tensor_src_fp16|sm__ops_path_tensor_src_fp16_dst_fp32",
     ".sum", 1, "f16 tensor operations", NULL, NULL, 0},
    {DEVICE_MATRIX_OPS, 5, "sm__ops_path_tensor_src_int8", ".sum", 1, "int8 tensor operations",
     "int8_dot", "", 1},
};
_Static_assert(COUNTER_ROWS <= 32, "rows are bits");

enum status cuda_counter_check(const struct counter_choice *c, int result, const char *what,
                               struct error *err)
{
    char words[256];
    if (result == 0)
        return OK;
    cuda_cupti_explain(c->cupti, result, words, sizeof words);
    return FAIL(err, ERR_UNSUPPORTED, "device %s: %s: %s", c->device->info.name, what, words);
}

void cuda_counter_refuse(struct counter_choice *c, int row, const char *format, ...)
{
    va_list args;
    size_t used = strlen(c->reason);
    c->refused |= 1u << row;
    snprintf(c->reason + used, sizeof c->reason - used, "%s%s: ", used ? "; " : "",
             cuda_counter_rows[row].words);
    used = strlen(c->reason);
    va_start(args, format);
    vsnprintf(c->reason + used, sizeof c->reason - used, format, args);
    va_end(args);
}

// ---- what the chip counts --------------------------------------------------------------------------------

static bool listed(const struct profiler_base_metrics *metrics, const char *name, size_t length)
{
    for (size_t i = 0; i < metrics->count; i++)
        if (strncmp(metrics->names[i], name, length) == 0 && metrics->names[i][length] == '\0')
            return true;
    return false;
}

// The first of the row's names that CUPTI lists, with its rollup. False: it lists none.
static bool choose_name(const struct counter_choice *c, void *host, const struct counter_row *row,
                        char out[COUNTER_NAME_BYTES])
{
    enum { TYPES = 3 };
    struct profiler_base_metrics metrics[TYPES];
    for (int type = 0; type < TYPES; type++) {
        metrics[type] = (struct profiler_base_metrics){PROFILER_HEAD(profiler_base_metrics, count),
                                                       .host = host, .type = type};
        if (c->profiler->ProfilerHostGetBaseMetrics(&metrics[type]) != 0)
            metrics[type].count = 0;
    }
    for (const char *at = row->bases;; at++) {
        size_t length = strcspn(at, "|");
        for (int type = 0; type < TYPES; type++)
            if (listed(&metrics[type], at, length)) {
                snprintf(out, COUNTER_NAME_BYTES, "%.*s%s", (int)length, at, row->rollup);
                return true;
            }
        at += length;
        if (!*at)
            return false;
    }
}

static enum status host_create(const struct counter_choice *c, void **out, struct error *err)
{
    struct profiler_host_initialize p = {PROFILER_HEAD(profiler_host_initialize, host),
                                         .kind = PROFILER_RANGES, .chip = c->chip,
                                         .availability = c->availability};
    TRY(cuda_counter_check(c, c->profiler->ProfilerHostInitialize(&p), "counters of its chip",
                           err));
    *out = p.host;
    return OK;
}

bool cuda_counter_has_work(const struct counter_choice *c, int row)
{
    struct device_probe probes[DEVICE_PROBES_MAX];
    const struct counter_row *r = &cuda_counter_rows[row];
    size_t count = cuda_probes(c->device, probes, DEVICE_PROBES_MAX);
    if (!r->probe)
        return true;
    for (size_t i = 0; i < count; i++)
        if (strcmp(probes[i].name, r->probe) == 0 && strcmp(probes[i].level, r->level) == 0)
            return true;
    return false;
}

static void host_destroy(const struct counter_choice *c, void *host)
{
    struct profiler_host_deinitialize p = {PROFILER_HEAD(profiler_host_deinitialize, host),
                                           .host = host};
    if (host)
        c->profiler->ProfilerHostDeinitialize(&p);
}

static int add_metrics(const struct counter_choice *c, void *host, const char *const *names,
                       int count)
{
    struct profiler_add_metrics p = {PROFILER_HEAD(profiler_add_metrics, count), .host = host,
                                     .names = names, .count = (size_t)count};
    return c->profiler->ProfilerHostConfigAddMetrics(&p);
}

// Refuses a row whose metric cannot be counted here, as found by counting it alone. *counted: it can.
static enum status try_row(struct counter_choice *c, int row, bool *counted, struct error *err)
{
    char words[256];
    void *host = NULL;
    const char *name = c->names[row];
    TRY(host_create(c, &host, err));
    *counted = choose_name(c, host, &cuda_counter_rows[row], c->names[row]);
    int result = *counted ? add_metrics(c, host, &name, 1) : 0;
    host_destroy(c, host);
    if (!*counted)
        cuda_counter_refuse(c, row, "CUPTI has no counter of it on %s", c->chip);
    if (result == 0)
        return OK;
    *counted = false;
    cuda_cupti_explain(c->cupti, result, words, sizeof words);
    cuda_counter_refuse(c, row, "%s is not counted here: %s", name, words);
    return OK;
}

// Fills the set with its rows that can be counted, and its host object with their metrics. Metrics that are added
// together share passes; those that are added one by one do not.
static enum status choose_rows(struct counter_choice *c, int number, struct error *err)
{
    struct counter_set *set = &c->sets[number];
    for (int i = 0; i < COUNTER_ROWS; i++) {
        bool counted = false;
        if (cuda_counter_rows[i].set != number || !cuda_counter_has_work(c, i) ||
            (c->refused & 1u << i))
            continue;
        TRY(try_row(c, i, &counted, err));
        if (!counted)
            continue;
        set->names[set->count] = c->names[i];
        set->rows[set->count++] = i;
    }
    if (set->count == 0)
        return OK;
    TRY(host_create(c, &set->host, err));
    return cuda_counter_check(c, add_metrics(c, set->host, set->names, set->count),
                              "counters that are read together", err);
}

static enum status make_image(const struct counter_choice *c, struct counter_set *set,
                              struct error *err)
{
    const struct cuda_profiler *p = c->profiler;
    struct profiler_image_size size = {PROFILER_HEAD(profiler_image_size, bytes),
                                       .host = set->host};
    TRY(cuda_counter_check(c, p->ProfilerHostGetConfigImageSize(&size),
                           "the configuration of counters", err));
    set->image_bytes = size.bytes;
    set->image = malloc(size.bytes);
    if (!set->image)
        return FAIL(err, ERR_NOMEM, "device %s: no memory for its counters", c->device->info.name);
    struct profiler_image image = {PROFILER_HEAD(profiler_image, image), .host = set->host,
                                   .bytes = set->image_bytes, .image = set->image};
    TRY(cuda_counter_check(c, p->ProfilerHostGetConfigImage(&image),
                           "the configuration of counters", err));
    struct profiler_passes passes = {PROFILER_HEAD(profiler_passes, count),
                                     .bytes = set->image_bytes, .image = set->image};
    TRY(cuda_counter_check(c, p->ProfilerHostGetNumOfPasses(&passes), "the passes of counters",
                           err));
    set->passes = passes.count;
    return OK;
}

static enum status check_chip(const struct counter_choice *c, struct error *err)
{
    struct profiler_chips chips = {PROFILER_HEAD(profiler_chips, names)};
    TRY(cuda_counter_check(c, c->profiler->ProfilerHostGetSupportedChips(&chips),
                           "the chips of CUPTI", err));
    for (size_t i = 0; i < chips.count; i++)
        if (strcmp(chips.names[i], c->chip) == 0)
            return OK;
    return FAIL(err, ERR_UNSUPPORTED,
                "device %s: CUPTI does not know the counters of its chip %s: install a newer one",
                c->device->info.name, c->chip);
}

enum status cuda_counter_choice_make(struct counter_choice *c, struct error *err)
{
    TRY(check_chip(c, err));
    for (int i = 0; i < COUNTER_SETS; i++) {
        TRY(choose_rows(c, i, err));
        if (c->sets[i].count)
            TRY(make_image(c, &c->sets[i], err));
    }
    return OK;
}

void cuda_counter_choice_fini(struct counter_choice *c)
{
    for (int i = 0; i < COUNTER_SETS; i++) {
        host_destroy(c, c->sets[i].host);
        free(c->sets[i].image);
    }
}
