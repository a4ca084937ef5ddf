// test_limits.c - `bench kernel bench` on a GPU samples the limits that its kernels are compared with, and no others.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench/cli/limits.h"
#include "tests/device/pretend.h"

static void only_what_is_asked_is_sampled(void **state)
{
    (void)state;
    enum { READ, COPY, PEAK, LIBRARY, GAP };
    for (int peak = 0; peak < 2; peak++) {
        struct error err = {0};
        struct cli_limits limits = {0};
        bool needed[DT_COUNT] = {[DT_F32] = true, [DT_BF16] = peak};
        struct device *device = pretend_opened("cuda", ISA_ALL);
        memset(pretend.probed, 0, sizeof pretend.probed);
        pretend.rate = 1e12;
        assert_int_equal(cli_limits_probe(device, needed, &limits, &err), OK);
        assert_int_equal(pretend.probed[READ], 5);
        assert_int_equal(pretend.probed[COPY], 0);
        assert_int_equal(pretend.probed[PEAK], 5 * peak);
        assert_int_equal(pretend.probed[LIBRARY], peak); // it is not here
        assert_int_equal(pretend.probed[GAP], 0);
        assert_float_equal(limits.read_memory, 1000, 1e-9);
        assert_float_equal(limits.peak[DT_BF16], 3000 * peak, 1e-9);
        memset(pretend.probed, 0, sizeof pretend.probed); // no kernel matches: nothing is sampled
        assert_int_equal(cli_limits_measure(device, "k_no_such_*", 0, &limits, &err), OK);
        assert_int_equal(pretend.probed[READ], 0);
        device_close(device);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_what_is_asked_is_sampled)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
