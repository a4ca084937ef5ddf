// test_cuda_nvml.c - what a scripted management library says becomes vital signs, energy or a reason. No GPU is needed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "device/cuda_driver.h"

// What the library answers: results of its calls, and the GPU's state.
static struct {
    int init, handle, energy, clock;
    unsigned long long mask, millijoules;
    char address[32];
} script;

static int init(void)
{
    return script.init;
}
static const char *error_string(int result)
{
    return result == 3 ? "Not Supported" : result == 9 ? "Driver Not Loaded" : "Unknown Error";
}
static int handle(const char *bus_id, void **out)
{
    strncpy(script.address, bus_id, sizeof script.address - 1);
    *out = &script;
    return script.handle;
}
static int clock_info(void *gpu, int clock, unsigned *mhz)
{
    assert_ptr_equal(gpu, &script);
    *mhz = clock == 1 ? 1980 : clock == 2 ? 2619 : 0;
    return script.clock;
}
static int power(void *gpu, unsigned *milliwatts)
{
    (void)gpu;
    *milliwatts = 612500;
    return 0;
}
static int temperature(void *gpu, int sensor, unsigned *celsius)
{
    (void)gpu;
    assert_int_equal(sensor, 0);
    *celsius = 64;
    return 0;
}
static int reasons(void *gpu, unsigned long long *mask)
{
    (void)gpu;
    *mask = script.mask;
    return 0;
}
static int total_energy(void *gpu, unsigned long long *millijoules)
{
    (void)gpu;
    *millijoules = script.millijoules;
    return script.energy;
}
static const struct cuda_nvml library = {init,  error_string, handle,  clock_info,
                                         power, temperature,  reasons, total_energy};

static int attribute(int *value, int which, int device)
{
    (void)device;
    *value = which == CUDA_PCI_DOMAIN ? 1 : which == CUDA_PCI_BUS ? 0x1b : 0;
    return 0;
}
static const struct cuda_driver driver = {.DeviceGetAttribute = attribute};

static struct cuda_device gpu;

static int reset(void **state)
{
    (void)state;
    memset(&script, 0, sizeof script);
    gpu = (struct cuda_device){.driver = &driver, .device.info.name = "cuda:0"};
    cuda_nvml_use(&library);
    return 0;
}

static int restore(void **state)
{
    (void)state;
    cuda_nvml_use(NULL);
    return 0;
}

static void vitals_have_units(void **state)
{
    (void)state;
    struct device_vitals v = cuda_vitals(&gpu.device);
    assert_true(v.clock_hz == 1980e6 && v.memory_clock_hz == 2619e6);
    assert_true(v.power_w == 612.5 && v.temperature_c == 64);
    assert_int_equal(v.hold, DEVICE_HOLD_NONE);
    assert_string_equal(script.address, "00000001:1B:00.0");
    script.clock = 3; // one question refused, the others answered
    v = cuda_vitals(&gpu.device);
    assert_true(isnan(v.clock_hz) && isnan(v.memory_clock_hz) && v.temperature_c == 64);
}

// Several bits at once: what harms a measurement most is named.
static void the_gravest_hold_counts(void **state)
{
    (void)state;
    static const struct {
        unsigned long long mask;
        enum device_hold hold;
    } cases[] = {
        {0x1, DEVICE_HOLD_NONE},      // idle
        {0x2, DEVICE_HOLD_NONE},      // clocks that its owner set
        {0x4, DEVICE_HOLD_POWER},     //
        {0x8, DEVICE_HOLD_HARDWARE},  // no cause is named
        {0x88, DEVICE_HOLD_BRAKE},    //
        {0x48, DEVICE_HOLD_THERMAL},  // by the hardware
        {0x20, DEVICE_HOLD_THERMAL},  // by the driver
        {0x24, DEVICE_HOLD_THERMAL},  //
        {0xa4, DEVICE_HOLD_THERMAL},  //
        {0x8c, DEVICE_HOLD_BRAKE},    //
        {0x100, DEVICE_HOLD_NONE},    // clocks for a display
        {0x10 | 4, DEVICE_HOLD_POWER} // in step with a slower GPU: that one is named
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script.mask = cases[i].mask;
        assert_int_equal(cuda_vitals(&gpu.device).hold, cases[i].hold);
    }
}

static void energy_is_in_joules(void **state)
{
    (void)state;
    struct device_energy energy;
    struct error err = {0};
    script.millijoules = 81234567890123;
    assert_int_equal(cuda_energy(&gpu.device, &energy, &err), OK);
    assert_true(fabs(energy.joules - 81234567890.123) < 1e-4);
    assert_int_equal(energy.update_ns, 100000000);
    assert_string_equal(energy.source, "NVML energy counter");
}

static void refused(const char *words)
{
    struct device_energy energy;
    struct error err = {0};
    gpu.nvml = NULL;
    assert_int_equal(cuda_energy(&gpu.device, &energy, &err), ERR_UNSUPPORTED);
    if (!strstr(err.message, words))
        fail_msg("'%s' instead of '%s'", err.message, words);
}

static void refusals_say_what_is_missing(void **state)
{
    (void)state;
    script.energy = 3;
    refused("cuda:0: NVML does not read its energy counter: Not Supported (GPUs before Volta");
    script.energy = 4;
    refused("(run as root)");
    script.energy = 0;
    script.handle = 6;
    refused("NVML does not know the GPU at 00000001:1B:00.0");
    script.init = 9;
    refused("does not start: Driver Not Loaded");
    struct device_vitals v = cuda_vitals(&gpu.device);
    assert_true(isnan(v.clock_hz) && isnan(v.power_w) && isnan(v.temperature_c));
}

// A machine without the library, as this one may be; else its GPU's counter.
static void the_systems_library(void **state)
{
    (void)state;
    struct device_energy energy;
    struct error err = {0};
    cuda_nvml_use(NULL);
    if (cuda_energy(&gpu.device, &energy, &err) == OK)
        assert_true(energy.joules > 0);
    else
        assert_non_null(strstr(err.message, "cuda:0: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(vitals_have_units, reset, restore),
        cmocka_unit_test_setup_teardown(the_gravest_hold_counts, reset, restore),
        cmocka_unit_test_setup_teardown(energy_is_in_joules, reset, restore),
        cmocka_unit_test_setup_teardown(refusals_say_what_is_missing, reset, restore),
        cmocka_unit_test_setup_teardown(the_systems_library, reset, restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
