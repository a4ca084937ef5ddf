// devices.c - the only list of device words: all kinds of devices, including those not in this build.
//
// It is separate from device.c so that a test can link another list.
#include "device/ops.h"

static const struct device_row rows[] = {
    {.kind = DEVICE_HOST, .word = DEVICE_DEFAULT, .ops = &device_host_ops},
    {.kind = DEVICE_CUDA, .word = "cuda", .numbered = true, .ops = &cuda_device_ops},
    {.kind = DEVICE_METAL, .word = "metal", .absent = "this build has no Metal backend"},
};

const struct device_row *device_rows(size_t *count)
{
    *count = sizeof rows / sizeof *rows;
    return rows;
}
