// cuda_nvml.c - a GPU's clocks, power, temperature, energy and reasons for throttling, from NVIDIA's management
// library.
//
// The library is opened at run time, on first use, and stays open. Without it, or where it refuses, nothing is
// measured. No setting is changed. The GPU is found by its PCI address, because NVML also counts GPUs that are hidden
// from CUDA.
#include "device/cuda_driver.h"

#include <math.h>
#include <stdio.h>

enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEMORY = 2, NVML_TEMPERATURE_GPU = 0 };
// Bits of the reasons for a lower clock. A slowdown by the board comes with the bit of its cause where that is known.
enum {
    NVML_SOFTWARE_POWER = 0x4,
    NVML_SLOWDOWN = 0x8,
    NVML_SOFTWARE_THERMAL = 0x20,
    NVML_HARDWARE_THERMAL = 0x40,
    NVML_POWER_BRAKE = 0x80,
};
enum { NVML_NOT_SUPPORTED = 3, NVML_NO_PERMISSION = 4 };
// The counter of an A100 or H100 moves about every 100 ms.
enum { NVML_ENERGY_UPDATE_NS = 100 * 1000 * 1000 };

#define NVML_FILE "libnvidia-ml.so.1"

static const struct cuda_symbol symbols[] = {
    {"nvmlInit_v2", offsetof(struct cuda_nvml, Init)},
    {"nvmlErrorString", offsetof(struct cuda_nvml, ErrorString)},
    {"nvmlDeviceGetHandleByPciBusId_v2", offsetof(struct cuda_nvml, HandleByPciBusId)},
    {"nvmlDeviceGetClockInfo", offsetof(struct cuda_nvml, ClockInfo)},
    {"nvmlDeviceGetPowerUsage", offsetof(struct cuda_nvml, PowerUsage)},
    {"nvmlDeviceGetTemperature", offsetof(struct cuda_nvml, Temperature)},
    {"nvmlDeviceGetCurrentClocksThrottleReasons", offsetof(struct cuda_nvml, ThrottleReasons)},
    {"nvmlDeviceGetTotalEnergyConsumption", offsetof(struct cuda_nvml, TotalEnergy)},
};

// ---- the library -----------------------------------------------------------------------------------------

static const struct cuda_nvml *scripted; // a test's

void cuda_nvml_use(const struct cuda_nvml *library)
{
    scripted = library;
}

// Opens and starts the system's library, once. NULL with the reason; a failure is not tried again.
static const struct cuda_nvml *system_library(char *reason, size_t reason_bytes)
{
    static struct cuda_nvml library;
    static enum { UNTRIED, ABSENT, OLD, STOPPED, PRESENT } state;
    static const char *missing;
    static int result;
    if (state == UNTRIED && !cuda_library_open(NVML_FILE, symbols, sizeof symbols / sizeof *symbols,
                                               &library, &missing))
        state = missing ? OLD : ABSENT;
    if (state == UNTRIED) {
        result = library.Init();
        state = result == 0 ? PRESENT : STOPPED;
    }
    if (state == ABSENT)
        snprintf(reason, reason_bytes,
                 NVML_FILE " is not found: install the NVIDIA driver's management library");
    else if (state == OLD)
        snprintf(reason, reason_bytes, NVML_FILE " is too old: it has no %s", missing);
    else if (state == STOPPED)
        snprintf(reason, reason_bytes, NVML_FILE " does not start: %s",
                 library.ErrorString(result));
    return state == PRESENT ? &library : NULL;
}

static const struct cuda_nvml *library_get(char *reason, size_t reason_bytes)
{
    if (!scripted)
        return system_library(reason, reason_bytes);
    int result = scripted->Init();
    if (result == 0)
        return scripted;
    snprintf(reason, reason_bytes, NVML_FILE " does not start: %s", scripted->ErrorString(result));
    return NULL;
}

// The library, and the GPU's handle in cuda->nvml. NULL with the reason where either is missing.
static const struct cuda_nvml *library_of(struct cuda_device *cuda, char *reason,
                                          size_t reason_bytes)
{
    int domain = 0, bus = 0, slot = 0;
    char address[32];
    const struct cuda_driver *d = cuda->driver;
    const struct cuda_nvml *nvml = library_get(reason, reason_bytes);
    if (cuda->nvml || !nvml)
        return nvml;
    if (d->DeviceGetAttribute(&domain, CUDA_PCI_DOMAIN, cuda->ordinal) != 0 ||
        d->DeviceGetAttribute(&bus, CUDA_PCI_BUS, cuda->ordinal) != 0 ||
        d->DeviceGetAttribute(&slot, CUDA_PCI_DEVICE, cuda->ordinal) != 0) {
        snprintf(reason, reason_bytes, "the driver does not say its PCI address");
        return NULL;
    }
    snprintf(address, sizeof address, "%08X:%02X:%02X.0", (unsigned)domain, (unsigned)bus,
             (unsigned)slot);
    int result = nvml->HandleByPciBusId(address, &cuda->nvml);
    if (result == 0)
        return nvml;
    cuda->nvml = NULL;
    snprintf(reason, reason_bytes, "NVML does not know the GPU at %s: %s", address,
             nvml->ErrorString(result));
    return NULL;
}

// ---- vital signs -----------------------------------------------------------------------------------------

static double clock_hz(const struct cuda_nvml *nvml, void *gpu, int clock)
{
    unsigned mhz = 0;
    return nvml->ClockInfo(gpu, clock, &mhz) == 0 ? mhz * 1e6 : NAN;
}

static enum device_hold hold_of(unsigned long long mask)
{
    return mask & (NVML_SOFTWARE_THERMAL | NVML_HARDWARE_THERMAL) ? DEVICE_HOLD_THERMAL
           : mask & NVML_POWER_BRAKE                              ? DEVICE_HOLD_BRAKE
           : mask & NVML_SLOWDOWN                                 ? DEVICE_HOLD_HARDWARE
           : mask & NVML_SOFTWARE_POWER                           ? DEVICE_HOLD_POWER
                                                                  : DEVICE_HOLD_NONE;
}

struct device_vitals cuda_vitals(struct device *device)
{
    struct device_vitals v = {
        .clock_hz = NAN, .memory_clock_hz = NAN, .power_w = NAN, .temperature_c = NAN};
    char unused[256];
    struct cuda_device *cuda = cuda_of(device);
    const struct cuda_nvml *nvml = library_of(cuda, unused, sizeof unused);
    unsigned value = 0;
    unsigned long long mask = 0;
    if (!nvml)
        return v;
    v.clock_hz = clock_hz(nvml, cuda->nvml, NVML_CLOCK_SM);
    v.memory_clock_hz = clock_hz(nvml, cuda->nvml, NVML_CLOCK_MEMORY);
    if (nvml->PowerUsage(cuda->nvml, &value) == 0)
        v.power_w = value / 1e3;
    if (nvml->Temperature(cuda->nvml, NVML_TEMPERATURE_GPU, &value) == 0)
        v.temperature_c = value;
    if (nvml->ThrottleReasons(cuda->nvml, &mask) == 0)
        v.hold = hold_of(mask);
    return v;
}

// ---- energy ----------------------------------------------------------------------------------------------

enum status cuda_energy(struct device *device, struct device_energy *out, struct error *err)
{
    struct cuda_device *cuda = cuda_of(device);
    char reason[256];
    unsigned long long millijoules = 0;
    const struct cuda_nvml *nvml = library_of(cuda, reason, sizeof reason);
    if (!nvml)
        return FAIL(err, ERR_UNSUPPORTED, "device %s: %s", device->info.name, reason);
    int result = nvml->TotalEnergy(cuda->nvml, &millijoules);
    if (result != 0)
        return FAIL(err, ERR_UNSUPPORTED, "device %s: NVML does not read its energy counter: %s%s",
                    device->info.name, nvml->ErrorString(result),
                    result == NVML_NOT_SUPPORTED
                        ? " (GPUs before Volta and most virtual GPUs have none)"
                    : result == NVML_NO_PERMISSION ? " (run as root)"
                                                   : "");
    *out = (struct device_energy){.joules = (double)millijoules / 1e3,
                                  .update_ns = NVML_ENERGY_UPDATE_NS,
                                  .source = "NVML energy counter"};
    return OK;
}
