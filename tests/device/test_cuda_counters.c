// test_cuda_counters.c - counters of a scripted CUPTI: passes are replayed, known work is counted, refusals are words,
// and the profiler is closed. Where CUPTI is installed its own tables are asked as well. No GPU is needed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/cuda_counters.h"
#include "tests/sanitized.h"

// Only where CUPTI's headers are installed. tests/device/no_cpp has the header of C++ that one of them includes.
#if __has_include(<cupti_range_profiler.h>)
#include <cuda.h>
#include <cupti_profiler_host.h>
#include <cupti_profiler_target.h>
#include <cupti_range_profiler.h>
#include <cupti_target.h>
#define PLACE(ours, member, theirs, name)                                                          \
    _Static_assert(offsetof(struct profiler_##ours, member) == offsetof(CUpti_##theirs, name) &&   \
                       sizeof(((struct profiler_##ours *)0)->member) ==                            \
                           sizeof(((CUpti_##theirs *)0)->name),                                    \
                   "place of " #name)
// The last member as well: CUPTI reads up to its end.
#define LAST(ours, member, theirs, name)                                                           \
    PLACE(ours, member, theirs, name);                                                             \
    _Static_assert(offsetof(struct profiler_##ours, member) +                                      \
                           sizeof(((struct profiler_##ours *)0)->member) ==                        \
                       CUpti_##theirs##_STRUCT_SIZE,                                               \
                   "size of " #ours)
PLACE(initialize, head.size, Profiler_Initialize_Params, structSize);
LAST(initialize, head.private, Profiler_Initialize_Params, pPriv);
LAST(initialize, head.private, Profiler_DeInitialize_Params, pPriv);
PLACE(host_initialize, kind, Profiler_Host_Initialize_Params, profilerType);
PLACE(host_initialize, chip, Profiler_Host_Initialize_Params, pChipName);
PLACE(host_initialize, availability, Profiler_Host_Initialize_Params, pCounterAvailabilityImage);
LAST(host_initialize, host, Profiler_Host_Initialize_Params, pHostObject);
LAST(host_deinitialize, host, Profiler_Host_Deinitialize_Params, pHostObject);
PLACE(chips, count, Profiler_Host_GetSupportedChips_Params, numChips);
LAST(chips, names, Profiler_Host_GetSupportedChips_Params, ppChipNames);
PLACE(base_metrics, host, Profiler_Host_GetBaseMetrics_Params, pHostObject);
PLACE(base_metrics, type, Profiler_Host_GetBaseMetrics_Params, metricType);
PLACE(base_metrics, names, Profiler_Host_GetBaseMetrics_Params, ppMetricNames);
LAST(base_metrics, count, Profiler_Host_GetBaseMetrics_Params, numMetrics);
PLACE(add_metrics, host, Profiler_Host_ConfigAddMetrics_Params, pHostObject);
PLACE(add_metrics, names, Profiler_Host_ConfigAddMetrics_Params, ppMetricNames);
LAST(add_metrics, count, Profiler_Host_ConfigAddMetrics_Params, numMetrics);
PLACE(image_size, host, Profiler_Host_GetConfigImageSize_Params, pHostObject);
LAST(image_size, bytes, Profiler_Host_GetConfigImageSize_Params, configImageSize);
PLACE(image, host, Profiler_Host_GetConfigImage_Params, pHostObject);
PLACE(image, bytes, Profiler_Host_GetConfigImage_Params, configImageSize);
LAST(image, image, Profiler_Host_GetConfigImage_Params, pConfigImage);
PLACE(passes, bytes, Profiler_Host_GetNumOfPasses_Params, configImageSize);
PLACE(passes, image, Profiler_Host_GetNumOfPasses_Params, pConfigImage);
LAST(passes, count, Profiler_Host_GetNumOfPasses_Params, numOfPasses);
PLACE(evaluate, host, Profiler_Host_EvaluateToGpuValues_Params, pHostObject);
PLACE(evaluate, data, Profiler_Host_EvaluateToGpuValues_Params, pCounterDataImage);
PLACE(evaluate, data_bytes, Profiler_Host_EvaluateToGpuValues_Params, counterDataImageSize);
PLACE(evaluate, range, Profiler_Host_EvaluateToGpuValues_Params, rangeIndex);
PLACE(evaluate, names, Profiler_Host_EvaluateToGpuValues_Params, ppMetricNames);
PLACE(evaluate, count, Profiler_Host_EvaluateToGpuValues_Params, numMetrics);
LAST(evaluate, values, Profiler_Host_EvaluateToGpuValues_Params, pMetricValues);
PLACE(supported, device, Profiler_DeviceSupported_Params, cuDevice);
PLACE(supported, all, Profiler_DeviceSupported_Params, isSupported);
PLACE(supported, architecture, Profiler_DeviceSupported_Params, architecture);
PLACE(supported, sli, Profiler_DeviceSupported_Params, sli);
PLACE(supported, virtual_gpu, Profiler_DeviceSupported_Params, vGpu);
PLACE(supported, confidential, Profiler_DeviceSupported_Params, confidentialCompute);
PLACE(supported, mining, Profiler_DeviceSupported_Params, cmp);
PLACE(supported, wsl, Profiler_DeviceSupported_Params, wsl);
LAST(supported, api, Profiler_DeviceSupported_Params, api);
PLACE(availability, context, Profiler_GetCounterAvailability_Params, ctx);
PLACE(availability, bytes, Profiler_GetCounterAvailability_Params, counterAvailabilityImageSize);
LAST(availability, image, Profiler_GetCounterAvailability_Params, pCounterAvailabilityImage);
PLACE(chip, device, Device_GetChipName_Params, deviceIndex);
LAST(chip, name, Device_GetChipName_Params, pChipName);
LAST(range, profiler, RangeProfiler_Disable_Params, pRangeProfilerObject);
LAST(range, profiler, RangeProfiler_Start_Params, pRangeProfilerObject);
LAST(range, profiler, RangeProfiler_PopRange_Params, pRangeProfilerObject);
PLACE(enable, context, RangeProfiler_Enable_Params, ctx);
LAST(enable, profiler, RangeProfiler_Enable_Params, pRangeProfilerObject);
PLACE(data_size, profiler, RangeProfiler_GetCounterDataSize_Params, pRangeProfilerObject);
PLACE(data_size, names, RangeProfiler_GetCounterDataSize_Params, pMetricNames);
PLACE(data_size, count, RangeProfiler_GetCounterDataSize_Params, numMetrics);
PLACE(data_size, ranges, RangeProfiler_GetCounterDataSize_Params, maxNumOfRanges);
PLACE(data_size, nodes, RangeProfiler_GetCounterDataSize_Params, maxNumRangeTreeNodes);
LAST(data_size, bytes, RangeProfiler_GetCounterDataSize_Params, counterDataSize);
PLACE(data, profiler, RangeProfiler_CounterDataImage_Initialize_Params, pRangeProfilerObject);
PLACE(data, bytes, RangeProfiler_CounterDataImage_Initialize_Params, counterDataSize);
LAST(data, data, RangeProfiler_CounterDataImage_Initialize_Params, pCounterData);
PLACE(config, profiler, RangeProfiler_SetConfig_Params, pRangeProfilerObject);
PLACE(config, image_bytes, RangeProfiler_SetConfig_Params, configSize);
PLACE(config, image, RangeProfiler_SetConfig_Params, pConfig);
PLACE(config, data_bytes, RangeProfiler_SetConfig_Params, counterDataImageSize);
PLACE(config, data, RangeProfiler_SetConfig_Params, pCounterDataImage);
PLACE(config, range_mode, RangeProfiler_SetConfig_Params, range);
PLACE(config, replay_mode, RangeProfiler_SetConfig_Params, replayMode);
PLACE(config, ranges_most, RangeProfiler_SetConfig_Params, maxRangesPerPass);
PLACE(config, levels, RangeProfiler_SetConfig_Params, numNestingLevels);
PLACE(config, level_least, RangeProfiler_SetConfig_Params, minNestingLevel);
PLACE(config, pass, RangeProfiler_SetConfig_Params, passIndex);
LAST(config, level, RangeProfiler_SetConfig_Params, targetNestingLevel);
PLACE(push, profiler, RangeProfiler_PushRange_Params, pRangeProfilerObject);
LAST(push, name, RangeProfiler_PushRange_Params, pRangeName);
PLACE(stop, profiler, RangeProfiler_Stop_Params, pRangeProfilerObject);
PLACE(stop, pass, RangeProfiler_Stop_Params, passIndex);
PLACE(stop, level, RangeProfiler_Stop_Params, targetNestingLevel);
LAST(stop, submitted, RangeProfiler_Stop_Params, isAllPassSubmitted);
PLACE(decode, profiler, RangeProfiler_DecodeData_Params, pRangeProfilerObject);
LAST(decode, dropped, RangeProfiler_DecodeData_Params, numOfRangeDropped);
_Static_assert(PROFILER_RANGES == (int)CUPTI_PROFILER_TYPE_RANGE_PROFILER &&
                   PROFILER_USER_RANGE == (int)CUPTI_UserRange &&
                   PROFILER_USER_REPLAY == (int)CUPTI_UserReplay &&
                   PROFILER_DISABLED == (int)CUPTI_PROFILER_CONFIGURATION_DISABLED &&
                   PROFILER_SUPPORTED == (int)CUPTI_PROFILER_CONFIGURATION_SUPPORTED,
               "CUPTI's numbers");
#endif

// ---- a scripted GPU and a scripted CUPTI -------------------------------------------------------------------

static struct {
    // Results of calls, 0: success.
    int subscribe, initialize, supported, chip, availability, add, enable, start, stop, decode,
        evaluate, sync;
    struct profiler_supported support;
    const char *chip_name;
    const char *unlisted;    // a metric that this CUPTI does not have
    const char *unavailable; // one that it does not count here
    double wrong;            // factor of what it counts of fp8; 1: right
    size_t dropped;
    int subscribed, initialized, hosts, enabled, started, pushed, passes; // now
    bool detached;                // by a trace: a subscriber attaches CUPTI again
    int pass;                     // of the set in work
    double read, written, ops[4]; // in the range: bf16, fp8, tf32, int8
    int launches;
} script;

static const char *const types[] = {"bf16", "fp8", "tf32", "int8"};

static int get_string(int result, const char **text)
{
    *text = result == 15 ? "CUPTI_ERROR_NOT_INITIALIZED" : NULL;
    return *text ? 0 : 1;
}
static int subscribe(void **subscriber, void (*callback)(void *, int, uint32_t, const void *),
                     void *user)
{
    assert_non_null(callback);
    callback(user, 0, 0, NULL);
    if (script.subscribe)
        return script.subscribe;
    assert_int_equal(script.subscribed++, 0); // CUPTI has one
    script.detached = false;
    *subscriber = &script;
    return 0;
}
static int unsubscribe(void *subscriber)
{
    assert_ptr_equal(subscriber, &script);
    assert_int_equal(script.initialized, 0);
    script.subscribed--;
    return 0;
}
static const struct cuda_cupti cupti = {
    .GetResultString = get_string, .Subscribe = subscribe, .Unsubscribe = unsubscribe};

static int initialize(struct profiler_initialize *p)
{
    assert_int_equal(p->head.size, 16);
    if (script.detached)
        return 15;
    script.initialized += script.initialize == 0;
    return script.initialize;
}
static int deinitialize(struct profiler_initialize *p)
{
    (void)p;
    assert_int_equal(script.enabled + script.hosts, 0);
    script.initialized--;
    return 0;
}
static int supported(struct profiler_supported *p)
{
    assert_int_equal(p->api, 0);
    const struct profiler_supported answer = script.support;
    p->all = answer.all;
    p->architecture = answer.architecture;
    p->sli = answer.sli;
    p->virtual_gpu = answer.virtual_gpu;
    p->confidential = answer.confidential;
    p->mining = answer.mining;
    p->wsl = answer.wsl;
    return script.supported;
}
static int availability(struct profiler_availability *p)
{
    if (p->image)
        memset(p->image, 0xab, p->bytes);
    p->bytes = 64;
    return script.availability;
}
static int chip_name(struct profiler_chip *p)
{
    assert_int_equal(p->device, 1);
    p->name = script.chip_name;
    return script.chip;
}
static int chips(struct profiler_chips *p)
{
    static const char *const names[] = {"GA100", "GH100"};
    p->count = 2;
    p->names = names;
    return 0;
}

// A host object is the list of its metrics.
struct host {
    const char *names[8];
    size_t count;
};
static int host_initialize(struct profiler_host_initialize *p)
{
    assert_int_equal(p->kind, PROFILER_RANGES);
    assert_string_equal(p->chip, script.chip_name);
    assert_true(p->availability && p->availability[0] == 0xab);
    p->host = calloc(1, sizeof(struct host));
    script.hosts++;
    return 0;
}
static int host_deinitialize(struct profiler_host_deinitialize *p)
{
    free(p->host);
    script.hosts--;
    return 0;
}
static int base_metrics(struct profiler_base_metrics *p)
{
    static const char *counters[] = {"dram__bytes_read",
                                     "dram__bytes_write",
                                     "lts__t_bytes",
                                     "sm__inst_executed_pipe_tensor",
                                     "sm__pipe_tensor_cycles_active",
                                     "smsp__issue_active",
                                     "sm__ops_path_tensor_src_bf16_dst_fp32",
                                     "sm__ops_path_tensor_src_fp8",
                                     "sm__ops_path_tensor_src_tf32_dst_fp32",
                                     "sm__ops_path_tensor_src_fp16_dst_fp32",
                                     "sm__ops_path_tensor_src_int8"};
    static const char *ratios[] = {"lts__t_sector_hit_rate"};
    static const char *throughputs[] = {"gpu__dram_throughput"};
    static const char *some[16];
    const char *const *all[] = {counters, ratios, throughputs};
    size_t counts[] = {11, 1, 1};
    p->names = all[p->type];
    p->count = counts[p->type];
    if (p->type == 0 && script.unlisted) {
        p->count = 0;
        for (size_t i = 0; i < 11; i++)
            if (strcmp(counters[i], script.unlisted) != 0)
                some[p->count++] = counters[i];
        p->names = some;
    }
    return 0;
}
static int add_metrics(struct profiler_add_metrics *p)
{
    struct host *host = p->host;
    assert_int_equal(host->count, 0); // all at once, so that they share passes
    for (size_t i = 0; i < p->count; i++) {
        if (script.unavailable && strcmp(p->names[i], script.unavailable) == 0)
            return script.add;
        host->names[host->count++] = p->names[i];
    }
    return 0;
}
static int image_size(struct profiler_image_size *p)
{
    p->bytes = sizeof(size_t);
    return 0;
}
// int8 operations need two passes.
static int image(struct profiler_image *p)
{
    const struct host *host = p->host;
    size_t passes = strstr(host->names[0], "int8") ? 2 : 1;
    memcpy(p->image, &passes, sizeof passes);
    return 0;
}
static int passes(struct profiler_passes *p)
{
    memcpy(&p->count, p->image, sizeof p->count);
    return 0;
}
static double value_of(const char *name)
{
    if (strcmp(name, "dram__bytes_read.sum") == 0)
        return script.read;
    if (strcmp(name, "dram__bytes_write.sum") == 0)
        return script.written;
    if (strstr(name, "pct"))
        return 25;
    for (int i = 0; i < 4; i++)
        if (strstr(name, "sm__ops") && strstr(name, types[i]))
            return script.ops[i] * (i == 1 ? script.wrong : 1);
    return strstr(name, "sm__ops") ? 0 : 1000;
}
static int evaluate(struct profiler_evaluate *p)
{
    assert_int_equal(p->range, 0);
    assert_int_equal(p->data_bytes, 32);
    for (size_t i = 0; i < p->count; i++)
        p->values[i] = value_of(p->names[i]);
    return script.evaluate;
}
static int enable(struct profiler_enable *p)
{
    assert_ptr_equal(p->context, &script);
    p->profiler = &script;
    script.enabled += script.enable == 0;
    return script.enable;
}
static int disable(struct profiler_range *p)
{
    assert_ptr_equal(p->profiler, &script);
    script.enabled--;
    script.started = script.pushed = 0;
    return 0;
}
static int data_size(struct profiler_data_size *p)
{
    assert_true(p->count > 0 && p->ranges == 1 && p->nodes == 1);
    p->bytes = 32;
    return 0;
}
static int data_initialize(struct profiler_data *p)
{
    memset(p->data, 0, p->bytes);
    return 0;
}
static int configure(struct profiler_config *p)
{
    size_t passes_wanted;
    memcpy(&passes_wanted, p->image, sizeof passes_wanted);
    script.passes = (int)passes_wanted;
    script.pass = 0;
    assert_true(p->range_mode == PROFILER_USER_RANGE && p->replay_mode == PROFILER_USER_REPLAY);
    assert_true(p->ranges_most == 1 && p->levels == 1 && p->level_least == 1);
    return 0;
}
static int start(struct profiler_range *p)
{
    (void)p;
    assert_int_equal(script.started++, 0);
    return script.start;
}
static int push_range(struct profiler_push *p)
{
    assert_true(script.started && script.pushed++ == 0 && p->name);
    script.read = script.written = 0;
    memset(script.ops, 0, sizeof script.ops);
    return 0;
}
static int pop_range(struct profiler_range *p)
{
    (void)p;
    assert_int_equal(script.pushed--, 1);
    return 0;
}
static int stop(struct profiler_stop *p)
{
    assert_int_equal(script.started--, 1);
    p->submitted = ++script.pass == script.passes;
    return script.stop;
}
static int decode(struct profiler_decode *p)
{
    p->dropped = script.dropped;
    return script.decode;
}
static const struct cuda_profiler profiler = {initialize,
                                              deinitialize,
                                              supported,
                                              availability,
                                              chip_name,
                                              host_initialize,
                                              host_deinitialize,
                                              chips,
                                              base_metrics,
                                              add_metrics,
                                              image_size,
                                              image,
                                              passes,
                                              evaluate,
                                              enable,
                                              disable,
                                              data_size,
                                              data_initialize,
                                              configure,
                                              start,
                                              stop,
                                              push_range,
                                              pop_range,
                                              decode};

// ---- its driver: a launch of a probe is its work -----------------------------------------------------------

static int set_current(void *context)
{
    assert_ptr_equal(context, &script);
    return 0;
}
static int synchronize(void)
{
    return script.sync;
}
static int error_string(int result, const char **text)
{
    (void)result;
    *text = "illegal address";
    return 0;
}
static int mem_alloc(cuda_address *out, size_t bytes)
{
    (void)bytes;
    *out = 0x10000;
    return 0;
}
static int copy_in(cuda_address to, const void *from, size_t bytes)
{
    (void)to;
    (void)from;
    (void)bytes;
    return 0;
}
static int stream_synchronize(void *stream)
{
    (void)stream;
    return 0;
}
static int load(void **module, const void *data)
{
    (void)data;
    *module = &script;
    return 0;
}
static int get_function(void **function, void *module, const char *name)
{
    (void)module;
    *function = (void *)(uintptr_t)name;
    return 0;
}
static int launch(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                  unsigned bz, unsigned shared, void *stream, void **arguments, void **extra)
{
    // Of one round of a warpgroup: 8 products of 64 x 128, over 32 bytes of inputs.
    static const double inputs[] = {16, 32, 8, 32};
    const char *name = function;
    double bytes = (double)*(uint64_t *)arguments[2] * *(unsigned *)arguments[3];
    assert_true(gy == 1 && gz == 1 && by == 1 && bz == 1 && shared == 0 && !stream && !extra);
    script.launches++;
    if (strcmp(name, "probe_copy") == 0) {
        script.read += bytes;
        script.written += bytes;
    }
    double groups = gx * bx / 128.0, ops = 4096 * 8 * 2 * 64 * 128;
    if (!strstr(name, "wgmma")) { // 8 products of 16 x 8 a warp, over as many inputs
        groups = gx * bx / 32.0;
        ops = 8192 * 8 * 2 * 16 * 8;
    }
    for (int i = 0; i < 4; i++)
        if (strstr(name, types[i]))
            script.ops[i] += groups * ops * inputs[i];
    return 0;
}
static int nothing(void *object)
{
    (void)object;
    return 0;
}
static const struct cuda_driver driver = {.CtxSetCurrent = set_current,
                                          .CtxSynchronize = synchronize,
                                          .GetErrorString = error_string,
                                          .MemAlloc = mem_alloc,
                                          .MemcpyHtoD = copy_in,
                                          .StreamSynchronize = stream_synchronize,
                                          .ModuleLoadData = load,
                                          .ModuleUnload = nothing,
                                          .ModuleGetFunction = get_function,
                                          .LaunchKernel = launch};

static struct cuda_device gpu;

static int reset(void **state)
{
    (void)state;
    memset(&script, 0, sizeof script);
    script.chip_name = "GH100";
    script.wrong = 1;
    script.support.all = PROFILER_SUPPORTED;
    gpu = (struct cuda_device){.driver = &driver,
                               .ordinal = 1,
                               .context = &script,
                               .device.info = {.name = "cuda:1",
                                               .units = 132,
                                               .cache_bytes = 50 << 20,
                                               .isa = ISA_SM80 | ISA_SM89 | ISA_SM90 | ISA_SM90A}};
    cuda_cupti_use(&cupti);
    cuda_profiler_use(&profiler);
    return 0;
}

static int restore(void **state)
{
    (void)state;
    cuda_cupti_use(NULL);
    cuda_profiler_use(NULL);
    return 0;
}

// ---- tests -------------------------------------------------------------------------------------------------

static struct device_counters *opened(void)
{
    struct device_counters *counters = NULL;
    struct error err = {0};
    if (cuda_counters_open(&gpu.device, &counters, &err) != OK)
        fail_msg("%s", err.message);
    return counters;
}

static void closed(struct device_counters *counters)
{
    cuda_counters_close(counters);
    assert_int_equal(script.initialized + script.hosts + script.enabled + script.started, 0);
    assert_int_equal(script.subscribed, 0);
}

// Runs the same work for each pass, and returns their number.
static int count_work(struct device_counters *counters)
{
    bool again = true;
    int runs = 0;
    for (; again; runs++) {
        struct error err = {0};
        if (cuda_counters_begin(counters, &err) != OK)
            fail_msg("%s", err.message);
        script.read += 7e9;
        script.written += 1e9;
        for (int i = 0; i < 4; i++)
            script.ops[i] += 1e12 * (i + 1);
        if (cuda_counters_end(counters, &again, &err) != OK)
            fail_msg("%s", err.message);
    }
    return runs;
}

static void work_is_counted_pass_by_pass(void **state)
{
    (void)state;
    struct device_counts counts;
    struct device_counters *counters = opened();
    assert_string_equal(cuda_counters_reason(counters), "");
    assert_true(script.launches > 0); // known work
    for (int phase = 0; phase < 2; phase++) {
        assert_int_equal(count_work(counters), 7); // six sets, one of two passes
        cuda_counters_read(counters, &counts);
        assert_true(counts.value[DEVICE_MEMORY_READ] == 7e9);
        assert_true(counts.value[DEVICE_MEMORY_WRITTEN] == 1e9);
        assert_true(counts.value[DEVICE_MEMORY_SHARE] == 0.25);
        assert_true(counts.value[DEVICE_CACHE_BYTES] == 1000);
        assert_true(counts.value[DEVICE_CACHE_HITS] == 0.25);
        assert_true(counts.value[DEVICE_MATRIX_OPS] == 1e13);
        assert_true(counts.value[DEVICE_MATRIX_CYCLES] == 1000);
        assert_true(counts.value[DEVICE_ISSUE_SHARE] == 0.25);
    }
    closed(counters);
    int launches = script.launches;
    closed(opened());
    assert_int_equal(script.launches, launches); // known work is counted once a device
}

// A trace detaches CUPTI at its end, and counts may follow it in the same process.
static void counters_open_after_a_trace(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        script.detached = true;
        closed(opened());
    }
}

// A row that misses known work is refused by name, also when the counters are opened again.
static void a_counter_that_misses_known_work_is_refused(void **state)
{
    (void)state;
    struct device_counts counts;
    script.wrong = 0.9;
    struct device_counters *counters = opened();
    assert_string_equal(cuda_counters_reason(counters),
                        "fp8 tensor operations: sm__ops_path_tensor_src_fp8.sum counted 8.164e+12 "
                        "of 9.071e+12 known ones");
    count_work(counters);
    cuda_counters_read(counters, &counts);
    assert_true(isnan(counts.value[DEVICE_MATRIX_OPS]));
    assert_true(counts.value[DEVICE_MEMORY_READ] == 7e9);
    closed(counters);
    counters = opened();
    assert_string_equal(cuda_counters_reason(counters),
                        "fp8 tensor operations: it missed known work");
    closed(counters);
    reset(NULL);
    script.wrong = 0.96; // within the tolerance
    counters = opened();
    assert_string_equal(cuda_counters_reason(counters), "");
    closed(counters);
}

// Multipliers that a chip lacks are not missed; a counter that it lacks is.
static void what_a_chip_does_not_count(void **state)
{
    (void)state;
    struct device_counts counts;
    gpu.device.info.isa = ISA_SM80;
    script.chip_name = "GA100";
    script.unlisted = "sm__ops_path_tensor_src_fp8";
    struct device_counters *counters = opened();
    assert_string_equal(cuda_counters_reason(counters), "");
    closed(counters);
    script.unlisted = "dram__bytes_write";
    script.unavailable = "dram__bytes_read.sum";
    script.add = 17;
    counters = opened();
    assert_string_equal(cuda_counters_reason(counters),
                        "bytes read from DRAM: dram__bytes_read.sum is not counted here: CUPTI "
                        "error 17: no words for it; bytes written to DRAM: CUPTI has no counter of "
                        "it on GA100");
    count_work(counters);
    cuda_counters_read(counters, &counts);
    assert_true(isnan(counts.value[DEVICE_MEMORY_READ]));
    assert_true(isnan(counts.value[DEVICE_MEMORY_WRITTEN]));
    assert_true(counts.value[DEVICE_MEMORY_SHARE] == 0.25);
    closed(counters);
}

static void refused(const char *words)
{
    struct device_counters *counters = NULL;
    struct error err = {0};
    assert_int_equal(cuda_counters_open(&gpu.device, &counters, &err), ERR_UNSUPPORTED);
    assert_null(counters);
    if (!strstr(err.message, words))
        fail_msg("'%s' instead of '%s'", err.message, words);
    assert_int_equal(script.subscribed + script.initialized + script.hosts + script.enabled, 0);
    reset(NULL);
}

static void refusals_say_what_would_lift_them(void **state)
{
    (void)state;
    script.subscribe = 39;
    refused("CUPTI does not attach: CUPTI error 39: another profiler is attached: end it");
    script.initialize = 39;
    refused(
        "cuda:1: CUPTI's profiler does not start: CUPTI error 39: another profiler is attached: "
        "end it");
    script.availability = 35;
    refused("NVreg_RestrictProfilingToAdminUsers=0");
    script.enable = 35;
    refused("its counters cannot be read: CUPTI error 35");
    script.enable = 43;
    refused("a MIG instance cannot be profiled: use a whole GPU");
    script.chip_name = "GX999";
    refused("CUPTI does not know the counters of its chip GX999: install a newer one");
    script.support =
        (struct profiler_supported){.all = PROFILER_UNSUPPORTED, .virtual_gpu = PROFILER_DISABLED};
    refused("let its administrator enable profiling");
    script.support = (struct profiler_supported){.all = PROFILER_UNSUPPORTED,
                                                 .virtual_gpu = PROFILER_UNSUPPORTED};
    refused("a virtual GPU has none: use a whole GPU");
    script.support = (struct profiler_supported){.all = PROFILER_UNSUPPORTED,
                                                 .confidential = PROFILER_UNSUPPORTED};
    refused("confidential computing forbids it");
    script.support = (struct profiler_supported){.all = PROFILER_UNSUPPORTED};
    refused("CUPTI gives no reason");
}

static void fails(enum status status, const char *words)
{
    struct error err = {0};
    bool again = false;
    struct device_counters *counters = opened();
    script.stop = script.decode = 0;
    assert_int_equal(cuda_counters_begin(counters, &err), OK);
    if (status == ERR_IO && !script.dropped)
        script.sync = 700;
    else if (!script.dropped)
        script.stop = 15;
    assert_int_equal(cuda_counters_end(counters, &again, &err), status);
    assert_false(again);
    if (!strstr(err.message, words))
        fail_msg("'%s' instead of '%s'", err.message, words);
    assert_int_equal(script.enabled, 0);
    closed(counters);
    reset(NULL);
}

static void a_pass_that_fails_ends_counting(void **state)
{
    (void)state;
    fails(ERR_IO, "cuda:1: counted work on it failed: illegal address");
    fails(ERR_UNSUPPORTED, "its counters do not stop: CUPTI error 15: CUPTI_ERROR_NOT_INITIALIZED");
    gpu.counters_tested = true;
    script.dropped = 2;
    fails(ERR_IO, "CUPTI lost 2 ranges of counts");
}

// ---- CUPTI's own tables: no GPU is needed ------------------------------------------------------------------

// Skips the test where CUPTI is not installed.
static const struct cuda_profiler *installed(void)
{
    char reason[256] = "CUPTI opens its libraries as no sanitizer allows";
    const struct cuda_profiler *library = NULL;
    cuda_profiler_use(NULL);
    cuda_cupti_use(NULL);
#ifndef SANITIZED
    library = cuda_profiler_get(reason, sizeof reason);
#endif
    if (!library) {
        print_message("skipped: %s\n", reason);
        skip();
    }
    return library;
}

// Every row has a metric on these chips, and the bytes of DRAM, which a verdict needs, are one pass.
static void cupti_counts_each_row_of_known_chips(void **state)
{
    static const char *const known[] = {"GA100", "GH100", "AD102", "GB100"};
    char reason[256];
    (void)state;
    const struct cuda_profiler *library = installed();
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct error err = {0};
        struct counter_choice c = {.profiler = library,
                                   .cupti = cuda_cupti_get(reason, sizeof reason),
                                   .device = &gpu.device,
                                   .chip = known[i]};
        gpu.device.info.isa = i == 0 ? ISA_SM80 : ISA_SM80 | ISA_SM89 | ISA_SM90 | ISA_SM90A;
        if (cuda_counter_choice_make(&c, &err) != OK)
            fail_msg("%s: %s", known[i], err.message);
        assert_string_equal(c.reason, "");
        assert_int_equal(c.sets[0].count, 4);
        assert_int_equal(c.sets[0].passes, 1);
        assert_true(i != 1 || (c.sets[2].passes == 1));
        assert_string_equal(c.sets[0].names[0], "dram__bytes_read.sum");
        size_t passes_of_all = 0;
        for (int set = 0; set < COUNTER_SETS; set++) {
            passes_of_all += c.sets[set].passes;
            assert_true(c.sets[set].count > 0 && c.sets[set].image_bytes > 0);
            assert_true(c.sets[set].passes >= 1 && c.sets[set].passes <= 4);
        }
        assert_true(i != 1 || passes_of_all == 10); // as docs/SUITES.md says
        cuda_counter_choice_fini(&c);
    }
}

static void cupti_knows_no_invented_chip(void **state)
{
    char reason[256];
    (void)state;
    struct error err = {0};
    struct counter_choice c = {.profiler = installed(), .device = &gpu.device, .chip = "GX999"};
    c.cupti = cuda_cupti_get(reason, sizeof reason);
    assert_int_equal(cuda_counter_choice_make(&c, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "its chip GX999"));
    cuda_counter_choice_fini(&c);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, restore)
    const struct CMUnitTest tests[] = {
        TEST(work_is_counted_pass_by_pass),
        TEST(counters_open_after_a_trace),
        TEST(a_counter_that_misses_known_work_is_refused),
        TEST(what_a_chip_does_not_count),
        TEST(refusals_say_what_would_lift_them),
        TEST(a_pass_that_fails_ends_counting),
        TEST(cupti_counts_each_row_of_known_chips),
        TEST(cupti_knows_no_invented_chip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
