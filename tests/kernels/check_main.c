// check_main.c - the kernel check alone, for machines that are emulated: needs neither hwloc nor cmocka.
//
// tools/check_arm.sh builds and runs it. Arguments: a pattern of kernel names, and a seed.
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "kernels/check.h"

static void print_row(const struct kernel_check_result *r, int *failed)
{
    *failed += r->failures > 0;
    printf("%-34s %4d %6d  %s\n", r->kernel->name, r->cases, r->failures,
           r->failures ? r->reason : "ok");
}

int main(int argc, char **argv)
{
    int failed = 0;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    const char *pattern = argc > 1 ? argv[1] : "*";
    struct device_target here = {.where = DEVICE_HOST, .isa = device_isa_host()};
    size_t count, checked = 0;
    const struct kernel *table = kernel_table(&count);
    for (size_t i = 0; i < count; i++) {
        struct kernel_check_result result;
        if (!kernel_runs_on(&table[i], here) || !str_glob(pattern, table[i].name))
            continue;
        kernel_check_row(&table[i], kernel_reference(table[i].op, table[i].w, table[i].x), seed,
                         CHECK_CASES, &result);
        print_row(&result, &failed);
        checked++;
    }
    if (!checked)
        printf("no kernel of this processor matches '%s'\n", pattern);
    return failed > 0 || !checked;
}
