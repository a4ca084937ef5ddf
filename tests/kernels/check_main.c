// check_main.c - the kernel check alone, for machines that are emulated: needs neither hwloc nor cmocka.
//
// tools/check_arm.sh builds and runs it. Arguments: a pattern of kernel names, and a seed.
#include <stdio.h>
#include <stdlib.h>

#include "kernels/kernels.h"

static void print_row(void *user, const struct kernel_check_result *r)
{
    int *failed = user;
    *failed += r->failures > 0;
    printf("%-34s %4d %6d  %s\n", r->kernel->name, r->cases, r->failures,
           r->failures ? r->reason : "ok");
}

int main(int argc, char **argv)
{
    struct error err = {0};
    int failed = 0;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    if (kernel_check(argc > 1 ? argv[1] : "*", device_isa_host(), seed, print_row, &failed, &err) !=
        OK)
        printf("%s\n", err.message);
    return err.code != OK || failed > 0;
}
