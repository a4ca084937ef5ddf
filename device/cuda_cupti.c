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

// Where the toolkit puts it, if the loader does not know it. The newest comes first.
static const char *const files[] = {
    "libcupti.so.13",
    "libcupti.so.12",
    "libcupti.so",
    "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so",
    "/usr/local/cuda/lib64/libcupti.so",
};

static const struct cuda_cupti *scripted; // a test's

void cuda_cupti_use(const struct cuda_cupti *library)
{
    scripted = library;
}

const struct cuda_cupti *cuda_cupti_get(char *reason, size_t reason_bytes)
{
    static struct cuda_cupti library;
    static bool open;
    const char *missing = NULL;
    if (scripted)
        return scripted;
    for (size_t i = 0; i < sizeof files / sizeof *files && !open; i++)
        open = cuda_library_open(files[i], symbols, sizeof symbols / sizeof *symbols, &library,
                                 &missing);
    if (open)
        return &library;
    if (missing)
        snprintf(reason, reason_bytes, "libcupti is too old: it has no %s", missing);
    else
        snprintf(reason, reason_bytes,
                 "libcupti is not found: install CUPTI of the CUDA toolkit, or name its folder in "
                 "LD_LIBRARY_PATH");
    return NULL;
}

void cuda_cupti_explain(const struct cuda_cupti *cupti, int result, char *out, size_t bytes)
{
    static const struct {
        int result;
        const char *words;
    } known[] = {
        {33, "a virtual GPU cannot be traced"},
        {35, "the driver lets administrators alone trace: run as root, or load the nvidia module "
             "with NVreg_RestrictProfilingToAdminUsers=0"},
        {39, "another profiler is attached: end it"},
        {40, "the virtual GPU's host does not permit it: let its administrator enable profiling"},
        {41, "confidential computing forbids it"},
        {43, "a MIG instance cannot be traced: use a whole GPU"},
        {45, "it cannot be traced under WSL: use Linux itself"},
    };
    const char *text = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known && !text; i++)
        if (known[i].result == result)
            text = known[i].words;
    if (!text && (cupti->GetResultString(result, &text) != 0 || !text))
        text = "no words for it";
    snprintf(out, bytes, "CUPTI error %d: %s", result, text);
}
