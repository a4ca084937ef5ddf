// cuda_nvml.c - a GPU's clocks, power, temperature and why it is held back, by NVIDIA's management library.
//
// The library is opened at run time, at the first question, and stays open. Without it, or where it refuses, nothing
// is measured. The GPU is found by its PCI address: NVML counts GPUs that CUDA is told not to see.
// Source: NVML API reference, 12.
#include "device/cuda_driver.h"

#include <math.h>
#include <stdio.h>

enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEMORY = 2, NVML_TEMPERATURE_GPU = 0 };
// Of the reasons for a lower clock.
enum {
    NVML_SOFTWARE_POWER = 0x4,
    NVML_SLOWDOWN = 0x8,
    NVML_SOFTWARE_THERMAL = 0x20,
    NVML_HARDWARE_THERMAL = 0x40,
    NVML_POWER_BRAKE = 0x80,
};

static struct nvml {
    int (*Init)(void);
    int (*HandleByPciBusId)(const char *bus_id, void **out);
    int (*ClockInfo)(void *gpu, int clock, unsigned *mhz);
    int (*PowerUsage)(void *gpu, unsigned *milliwatts);
    int (*Temperature)(void *gpu, int sensor, unsigned *celsius);
    int (*ThrottleReasons)(void *gpu, unsigned long long *mask);
} nvml;

static const struct cuda_symbol symbols[] = {
    {"nvmlInit_v2", offsetof(struct nvml, Init)},
    {"nvmlDeviceGetHandleByPciBusId_v2", offsetof(struct nvml, HandleByPciBusId)},
    {"nvmlDeviceGetClockInfo", offsetof(struct nvml, ClockInfo)},
    {"nvmlDeviceGetPowerUsage", offsetof(struct nvml, PowerUsage)},
    {"nvmlDeviceGetTemperature", offsetof(struct nvml, Temperature)},
    {"nvmlDeviceGetCurrentClocksThrottleReasons", offsetof(struct nvml, ThrottleReasons)},
};

// Whether the library is open and started. A failure is not tried again.
static bool opened(void)
{
    static enum { UNTRIED, ABSENT, PRESENT } state;
    if (state != UNTRIED)
        return state == PRESENT;
    const char *missing;
    bool found = cuda_library_open("libnvidia-ml.so.1", symbols, sizeof symbols / sizeof *symbols,
                                   &nvml, &missing);
    state = found && nvml.Init() == 0 ? PRESENT : ABSENT;
    return state == PRESENT;
}

static void *handle_of(struct cuda_device *cuda)
{
    int domain = 0, bus = 0, slot = 0;
    char address[32];
    const struct cuda_driver *d = cuda->driver;
    if (cuda->nvml || !opened())
        return cuda->nvml;
    if (d->DeviceGetAttribute(&domain, CUDA_PCI_DOMAIN, cuda->ordinal) != 0 ||
        d->DeviceGetAttribute(&bus, CUDA_PCI_BUS, cuda->ordinal) != 0 ||
        d->DeviceGetAttribute(&slot, CUDA_PCI_DEVICE, cuda->ordinal) != 0)
        return NULL;
    snprintf(address, sizeof address, "%08X:%02X:%02X.0", (unsigned)domain, (unsigned)bus,
             (unsigned)slot);
    if (nvml.HandleByPciBusId(address, &cuda->nvml) != 0)
        cuda->nvml = NULL;
    return cuda->nvml;
}

static double clock_hz(void *gpu, int clock)
{
    unsigned mhz = 0;
    return nvml.ClockInfo(gpu, clock, &mhz) == 0 ? mhz * 1e6 : NAN;
}

struct device_vitals cuda_vitals(struct device *device)
{
    struct device_vitals v = {
        .clock_hz = NAN, .memory_clock_hz = NAN, .power_w = NAN, .temperature_c = NAN};
    void *gpu = handle_of(cuda_of(device));
    unsigned value = 0;
    unsigned long long mask = 0;
    if (!gpu)
        return v;
    v.clock_hz = clock_hz(gpu, NVML_CLOCK_SM);
    v.memory_clock_hz = clock_hz(gpu, NVML_CLOCK_MEMORY);
    if (nvml.PowerUsage(gpu, &value) == 0)
        v.power_w = value / 1e3;
    if (nvml.Temperature(gpu, NVML_TEMPERATURE_GPU, &value) == 0)
        v.temperature_c = value;
    if (nvml.ThrottleReasons(gpu, &mask) != 0)
        return v;
    const char *why = mask & (NVML_SOFTWARE_THERMAL | NVML_HARDWARE_THERMAL) ? "thermal"
                      : mask & (NVML_SOFTWARE_POWER | NVML_POWER_BRAKE)      ? "power"
                      : mask & NVML_SLOWDOWN                                 ? "slowdown"
                                                                             : "";
    snprintf(v.throttle, sizeof v.throttle, "%s", why);
    return v;
}
