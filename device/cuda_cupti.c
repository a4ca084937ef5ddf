// cuda_cupti.c - opens CUPTI at run time, or explains why it cannot be used. The only file that opens libcupti.
#include "device/cuda_driver.h"

#include <stdio.h>

static const struct cuda_symbol symbols[] = {
#define SYMBOL(member)                                                                             \
    {                                                                                              \
        "cupti" #member, offsetof(struct cuda_cupti, member)                                       \
    }
    SYMBOL(GetResultString),
    SYMBOL(Subscribe),
    SYMBOL(Unsubscribe),
    SYMBOL(EnableCallback),
    SYMBOL(GetGraphNodeId),
    SYMBOL(ActivityRegisterCallbacks),
    SYMBOL(ActivityEnable),
    SYMBOL(ActivityDisable),
    SYMBOL(ActivityFlushAll),
    SYMBOL(ActivityGetNextRecord),
    SYMBOL(ActivityGetNumDroppedRecords),
    SYMBOL(ActivityPushExternalCorrelationId),
    SYMBOL(ActivityPopExternalCorrelationId),
    SYMBOL(Finalize),
#undef SYMBOL
};

// In CUPTI since CUDA 12.6. An older one traces, and does not count.
static const struct cuda_symbol profiler_symbols[] = {
#define SYMBOL(member)                                                                             \
    {                                                                                              \
        "cupti" #member, offsetof(struct cuda_profiler, member)                                    \
    }
    SYMBOL(ProfilerInitialize),
    SYMBOL(ProfilerDeInitialize),
    SYMBOL(ProfilerDeviceSupported),
    SYMBOL(ProfilerGetCounterAvailability),
    SYMBOL(DeviceGetChipName),
    SYMBOL(ProfilerHostInitialize),
    SYMBOL(ProfilerHostDeinitialize),
    SYMBOL(ProfilerHostGetSupportedChips),
    SYMBOL(ProfilerHostGetBaseMetrics),
    SYMBOL(ProfilerHostConfigAddMetrics),
    SYMBOL(ProfilerHostGetConfigImageSize),
    SYMBOL(ProfilerHostGetConfigImage),
    SYMBOL(ProfilerHostGetNumOfPasses),
    SYMBOL(ProfilerHostEvaluateToGpuValues),
    SYMBOL(RangeProfilerEnable),
    SYMBOL(RangeProfilerDisable),
    SYMBOL(RangeProfilerGetCounterDataSize),
    SYMBOL(RangeProfilerCounterDataImageInitialize),
    SYMBOL(RangeProfilerSetConfig),
    SYMBOL(RangeProfilerStart),
    SYMBOL(RangeProfilerStop),
    SYMBOL(RangeProfilerPushRange),
    SYMBOL(RangeProfilerPopRange),
    SYMBOL(RangeProfilerDecodeData),
#undef SYMBOL
};

// Where the toolkit puts it, if the loader does not know it. The newest comes first.
static const char *const files[] = {
    "libcupti.so.13",
    "libcupti.so.12",
    "libcupti.so",
    "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so",
    "/usr/local/cuda/lib64/libcupti.so",
};
static const struct cuda_library libcupti = {
    "libcupti", files, sizeof files / sizeof *files,
    "install CUPTI of the CUDA toolkit, or name its folder in LD_LIBRARY_PATH"};

static const struct cuda_cupti *scripted; // a test's
static const struct cuda_profiler *scripted_profiler;

void cuda_cupti_use(const struct cuda_cupti *library)
{
    scripted = library;
}

void cuda_profiler_use(const struct cuda_profiler *library)
{
    scripted_profiler = library;
}

const struct cuda_cupti *cuda_cupti_get(char *reason, size_t reason_bytes)
{
    static struct cuda_cupti library;
    static bool open;
    if (scripted)
        return scripted;
    open = open || cuda_library_open_first(&libcupti, symbols, sizeof symbols / sizeof *symbols,
                                           &library, reason, reason_bytes);
    return open ? &library : NULL;
}

const struct cuda_profiler *cuda_profiler_get(char *reason, size_t reason_bytes)
{
    static struct cuda_profiler library;
    static bool open;
    if (scripted_profiler)
        return scripted_profiler;
    open = open || cuda_library_open_first(&libcupti, profiler_symbols,
                                           sizeof profiler_symbols / sizeof *profiler_symbols,
                                           &library, reason, reason_bytes);
    return open ? &library : NULL;
}

void cuda_cupti_explain(const struct cuda_cupti *cupti, int result, char *out, size_t bytes)
{
    static const struct {
        int result;
        const char *words;
    } known[] = {
        {33, "a virtual GPU cannot be profiled: use a whole GPU"},
        {35, "the driver lets administrators alone profile (RmProfilingAdminOnly): run as root, or "
             "load the nvidia module "
             "with NVreg_RestrictProfilingToAdminUsers=0"},
        {39, "another profiler is attached: end it"},
        {40, "the virtual GPU's host does not permit it: let its administrator enable profiling"},
        {41, "confidential computing forbids it"},
        {43, "a MIG instance cannot be profiled: use a whole GPU"},
        {45, "it cannot be profiled under WSL: use Linux itself"},
    };
    const char *text = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known && !text; i++)
        if (known[i].result == result)
            text = known[i].words;
    if (!text && (cupti->GetResultString(result, &text) != 0 || !text))
        text = "no words for it";
    snprintf(out, bytes, "CUPTI error %d: %s", result, text);
}
