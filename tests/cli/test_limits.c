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

// A kernel is compared with the read of its level or the peak of its datapath, whichever it is nearer to.
static void the_nearer_limit_is_named(void **state)
{
    (void)state;
    const struct cli_limits limits = {.read_cached = 200,
                                      .read_memory = 50,
                                      .peak = {[DT_F32] = 100, [DT_BF16] = 400, [DT_I8] = 800}};
    static const struct {
        struct kernel row;
        double bytes, flop; // in 1 ns
        bool in_cache;
        const char *of;
        double share;
    } cases[] = {
        {{.op = KOP_GEMV, .w = DT_F32, .x = DT_F32}, 40, 20, false, "memory read", 0.8},
        {{.op = KOP_GEMV, .w = DT_F32, .x = DT_F32}, 100, 20, true, "cache read", 0.5},
        {{.op = KOP_GEMM, .w = DT_F32, .x = DT_F32}, 10, 90, false, "f32 peak", 0.9},
        {{.op = KOP_GEMM, .w = DT_I4, .x = DT_I8}, 10, 400, false, "int8 dot peak", 0.5},
        {{.op = KOP_LINEAR, .w = DT_BF16, .x = DT_BF16, .where = DEVICE_CUDA},
         10,
         300,
         false,
         "bf16 dot peak",
         0.75},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct kernel_bench_result r = {.kernel = &cases[i].row,
                                              .time_ns = 1,
                                              .bytes = cases[i].bytes,
                                              .flop = cases[i].flop,
                                              .in_cache = cases[i].in_cache};
        const char *of = NULL;
        assert_float_equal(cli_limits_share(&limits, &r, &of), cases[i].share, 1e-12);
        assert_string_equal(of, cases[i].of);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_what_is_asked_is_sampled),
                                       cmocka_unit_test(the_nearer_limit_is_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
