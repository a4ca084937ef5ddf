// test_state.c - the probes of the machine's state: what they hand back, and that the walk is one cycle.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka.h wants the four headers above.
#include <cmocka.h>

#include "bench/probe/state.h"
#include "kernels/kernels.h"

static void walk_is_one_cycle(void **state)
{
    (void)state;
    static const size_t counts[] = {2, 3, 64, 1000, 4096};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        size_t count = counts[c], stride = 16;
        uint32_t *walk = calloc(count * stride, sizeof *walk);
        unsigned char *seen = calloc(count, 1);
        assert_non_null(walk);
        assert_non_null(seen);
        state_walk_fill(walk, count, stride);
        uint32_t at = 0;
        for (size_t step = 0; step < count; step++) {
            assert_true(at < count);
            assert_int_equal(seen[at]++, 0);
            at = walk[at * stride];
        }
        assert_int_equal(at, 0);
        free(walk);
        free(seen);
    }
}

static void look_at(int threads, size_t bytes, bool has_sync)
{
    struct error err = {0};
    struct device *device = NULL;
    struct device_options options = {.threads = threads, .isa = 0};
    struct state_probe *probe = NULL;
    assert_int_equal(device_open(DEVICE_DEFAULT, &options, &device, &err), OK);
    assert_int_equal(state_probe_create(device, bytes, &probe, &err), OK);
    for (int i = 0; i < 3; i++) {
        struct machine_state s = state_probe_look(probe);
        assert_int_equal(isnan(s.sync_ns) == 0, has_sync);
        assert_true(!has_sync || s.sync_ns > 0);
        assert_true(isfinite(s.latency_ns) && s.latency_ns > 0);
        assert_true(isfinite(s.work_ns) && s.work_ns > 0);
    }
    assert_true(state_probe_bytes(probe) <= 2 * (size_t)STATE_BYTES_MAX + (1 << 20));
    state_probe_destroy(probe);
    device_close(device);
}

static void one_thread_has_nobody_to_meet(void **state)
{
    (void)state;
    look_at(1, 1 << 20, false);
}

static void several_threads(void **state)
{
    (void)state;
    look_at(2, 1 << 20, true);
}

static void any_working_set(void **state)
{
    (void)state;
    look_at(1, 0, false);
    look_at(1, (size_t)1 << 40, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walk_is_one_cycle),
        cmocka_unit_test(one_thread_has_nobody_to_meet),
        cmocka_unit_test(several_threads),
        cmocka_unit_test(any_working_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
