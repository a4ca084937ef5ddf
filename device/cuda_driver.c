// cuda_driver.c - opens libcuda at run time, so that the program starts with or without NVIDIA's driver.
//
// Only this file knows the library's file name and symbols. The library is opened on first use and stays open, because
// the driver does not survive being unloaded.
#include "device/cuda_driver.h"

#include <stdio.h>

// The kernels are linked with a runtime of this version, which needs a driver at least as new.
#if HAVE_CUDA
enum { NEEDED_MAJOR = CUDA_MAJOR };
#else
enum { NEEDED_MAJOR = 12 };
#endif

static const struct cuda_symbol symbols[] = {
#define SYMBOL(member, name)                                                                       \
    {                                                                                              \
        name, offsetof(struct cuda_driver, member)                                                 \
    }
    SYMBOL(Init, "cuInit"),
    SYMBOL(DriverGetVersion, "cuDriverGetVersion"),
    SYMBOL(GetErrorString, "cuGetErrorString"),
    SYMBOL(DeviceGetCount, "cuDeviceGetCount"),
    SYMBOL(DeviceGet, "cuDeviceGet"),
    SYMBOL(DeviceGetName, "cuDeviceGetName"),
    SYMBOL(DeviceTotalMem, "cuDeviceTotalMem_v2"),
    SYMBOL(DeviceGetAttribute, "cuDeviceGetAttribute"),
    SYMBOL(DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain"),
    SYMBOL(DevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2"),
    SYMBOL(CtxSetCurrent, "cuCtxSetCurrent"),
    SYMBOL(MemGetInfo, "cuMemGetInfo_v2"),
    SYMBOL(MemAlloc, "cuMemAlloc_v2"),
    SYMBOL(MemFree, "cuMemFree_v2"),
    SYMBOL(MemHostAlloc, "cuMemHostAlloc"),
    SYMBOL(MemFreeHost, "cuMemFreeHost"),
    SYMBOL(MemcpyHtoD, "cuMemcpyHtoD_v2"),
    SYMBOL(MemcpyDtoH, "cuMemcpyDtoH_v2"),
    SYMBOL(MemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2"),
    SYMBOL(MemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2"),
    SYMBOL(MemsetD8Async, "cuMemsetD8Async"),
    SYMBOL(StreamCreate, "cuStreamCreate"),
    SYMBOL(StreamDestroy, "cuStreamDestroy_v2"),
    SYMBOL(StreamSynchronize, "cuStreamSynchronize"),
    SYMBOL(StreamQuery, "cuStreamQuery"),
    SYMBOL(StreamBeginCapture, "cuStreamBeginCapture_v2"),
    SYMBOL(StreamEndCapture, "cuStreamEndCapture"),
    SYMBOL(GraphInstantiateWithFlags, "cuGraphInstantiateWithFlags"),
    SYMBOL(GraphLaunch, "cuGraphLaunch"),
    SYMBOL(GraphExecDestroy, "cuGraphExecDestroy"),
    SYMBOL(GraphDestroy, "cuGraphDestroy"),
    SYMBOL(ModuleLoadData, "cuModuleLoadData"),
    SYMBOL(ModuleUnload, "cuModuleUnload"),
    SYMBOL(ModuleGetFunction, "cuModuleGetFunction"),
    SYMBOL(LaunchKernel, "cuLaunchKernel"),
    SYMBOL(CtxSynchronize, "cuCtxSynchronize"),
#undef SYMBOL
};

static const struct cuda_driver *scripted; // a test's

void cuda_driver_use(const struct cuda_driver *driver)
{
    scripted = driver;
}

// Fills the table once. Returns NULL with the reason if the library or one of its functions is missing.
static const struct cuda_driver *system_driver(char *reason, size_t reason_bytes)
{
    static struct cuda_driver driver;
    static bool opened;
    const char *missing = NULL;
    if (!opened)
        opened = cuda_library_open("libcuda.so.1", symbols, sizeof symbols / sizeof *symbols,
                                   &driver, &missing);
    if (opened)
        return &driver;
    if (missing)
        snprintf(reason, reason_bytes, "the NVIDIA driver is too old: it has no %s", missing);
    else
        snprintf(reason, reason_bytes, "no NVIDIA driver here (libcuda.so.1 is not found)");
    return NULL;
}

const char *cuda_driver_text(const struct cuda_driver *driver, cuda_result result)
{
    const char *text = NULL;
    if (driver->GetErrorString(result, &text) != 0 || !text)
        return "unknown error of the NVIDIA driver";
    return text;
}

const struct cuda_driver *cuda_driver_get(char *reason, size_t reason_bytes)
{
    const struct cuda_driver *driver = scripted ? scripted : system_driver(reason, reason_bytes);
    if (!driver)
        return NULL;
    int version = 0;
    cuda_result result = driver->Init(0);
    if (result == CUDA_NO_DEVICE) {
        snprintf(reason, reason_bytes, "the NVIDIA driver finds no GPU");
        return NULL;
    }
    if (result == 0)
        result = driver->DriverGetVersion(&version);
    if (result != 0) {
        snprintf(reason, reason_bytes, "the NVIDIA driver does not start: %s",
                 cuda_driver_text(driver, result));
        return NULL;
    }
    if (version / 1000 < NEEDED_MAJOR) {
        snprintf(reason, reason_bytes,
                 "the NVIDIA driver is too old: it supports CUDA %d.%d, needed is %d.0 or later",
                 version / 1000, version % 1000 / 10, NEEDED_MAJOR);
        return NULL;
    }
    return driver;
}
