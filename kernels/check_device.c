// check_device.c - `kernel check`: checks every row of the table that runs on a device.
//
// It is separate from check.c, which needs no device: tests/kernels/check_main.c runs on emulated processors.
#include "kernels/check.h"

#include "base/str.h"
#include "base/words.h"
#include "kernels/cuda/check.h"

enum status kernel_pattern_check(const char *pattern, const struct device *device,
                                 struct error *err)
{
    size_t count;
    const struct kernel *table = kernel_table(&count);
    for (size_t i = 0; i < count; i++)
        if (kernel_runs_on(&table[i], device_target(device)) && str_glob(pattern, table[i].name))
            return OK;
    char tiers[128], hint[WORDS_HINT_BYTES];
    const struct device_info *info = device_info(device);
    return FAIL(err, ERR_USAGE, "no kernel for %s with %s matches '%s'%s", info->name,
                device_isa_text(info->kind, info->isa, tiers, sizeof tiers), pattern,
                kernel_hint(pattern, info->kind, hint, sizeof hint));
}

static enum status check_row(const struct kernel *row, struct device *device, uint64_t seed,
                             int cases, struct kernel_check_result *result, struct error *err)
{
    if (row->where == DEVICE_CUDA)
        return cuda_check_row(row, device, seed, cases, result, err);
    kernel_check_row(row, kernel_reference(row->op, row->w, row->x), seed, cases, result);
    return OK;
}

enum status kernel_check(const char *pattern, struct device *device, uint64_t seed, int cases,
                         kernel_check_report *report, void *user, struct error *err)
{
    size_t count;
    const struct kernel *table = kernel_table(&count);
    TRY(kernel_pattern_check(pattern, device, err));
    for (size_t i = 0; i < count; i++) {
        struct kernel_check_result result;
        if (!kernel_runs_on(&table[i], device_target(device)) || !str_glob(pattern, table[i].name))
            continue;
        enum status status =
            check_row(&table[i], device, seed, cases ? cases : CHECK_CASES, &result, err);
        report(user, &result);
        if (status != OK)
            return status;
    }
    return OK;
}
