// test_probes.c - ceilings and canaries of a device that measures itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench/roof/roof.h"
#include "tests/device/pretend.h"
#include "tests/pending.h"

static void ceilings_are_the_devices_own(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = pretend_opened("cuda", ISA_ALL);
    struct ceilings *c = calloc(1, sizeof *c);
    pretend.rate = 3e12;
    assert_int_equal(ceilings_measure(device, false, c, &err), OK);
    assert_int_equal(c->count, 4);
    const struct ceiling *read = ceilings_find(c, "cuda:0", "read", "DRAM", 7); // any threads
    assert_non_null(read);
    assert_string_equal(read->kernel, "k_read");
    assert_float_equal(read->value, 3e12, 0);
    assert_float_equal(read->low, 3e12, 0);
    assert_int_equal(read->threads, 0);
    assert_true(read->samples >= 7);
    assert_float_equal(ceilings_read(c, "cuda:0", 2, 1e9)->value, 3e12, 0);
    assert_float_equal(ceilings_peak(c, "cuda:0", DT_BF16, 2)->value, 9e12, 0);
    assert_float_equal(ceilings_peak(c, "cuda:0", DT_F16, 2)->value, 9e12, 0); // as bf16
    assert_null(ceilings_peak(c, "cuda:0", DT_F8E4M3, 2));
    assert_null(ceilings_find(c, "cpu", "read", "DRAM", 1)); // never of another device
    assert_null(ceilings_read(c, "cpu", 1, 1e9));
    assert_null(ceilings_peak(c, "cuda:1", DT_BF16, 2));
    const struct ceiling *gap = ceilings_find(c, "cuda:0", "launch_gap", "", 1);
    assert_non_null(gap);
    assert_float_equal(gap->value, 1000, 0);
    assert_string_equal(ceilings_unit(gap), "ns");
    assert_string_equal(ceilings_unit(read), "B/s");
    assert_string_equal(c->note, "the library is not here"); // said once, and no row of it
    strcpy(c->row[c->count - 1].name, "fp8_dot");
    assert_float_equal(ceilings_peak(c, "cuda:0", DT_F8E4M3, 2)->value, 1000, 0);

    assert_int_equal(ceilings_measure(device, true, c, &err), OK);
    assert_int_equal(c->count, 2);
    assert_null(ceilings_find(c, "cuda:0", "copy", "DRAM", 1)); // not of the quick ones
    assert_string_equal(c->note, "");
    free(c);
    device_close(device);
}

// Of two ways to one ceiling the better is its row, whichever it is, and a remark has the other's figure.
static void two_ways_to_one_ceiling(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = pretend_opened("cuda", ISA_ALL);
    struct ceilings *c = calloc(1, sizeof *c);
    pretend.rate = 1e12; // its own loop reaches 3e12
    pretend.library = 4e12;
    assert_int_equal(ceilings_measure(device, false, c, &err), OK);
    assert_int_equal(c->count, 4);
    assert_float_equal(ceilings_peak(c, "cuda:0", DT_BF16, 1)->value, 4e12, 0);
    assert_string_equal(ceilings_peak(c, "cuda:0", DT_BF16, 1)->kernel, "library");
    assert_string_equal(c->note, "bf16_dot: k_peak reached 3.00 TFLOP/s");
    pretend.library = 2e12;
    assert_int_equal(ceilings_measure(device, false, c, &err), OK);
    assert_string_equal(ceilings_peak(c, "cuda:0", DT_BF16, 1)->kernel, "k_peak");
    assert_string_equal(c->note, "bf16_dot: library reached 2.00 TFLOP/s");
    pretend.library = 0;
    free(c);
    device_close(device);
}

// Each row has the lowest and the highest clock around its own samples; without vital signs it has none.
static void clocks_are_kept_with_their_samples(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = pretend_opened("cuda", ISA_ALL);
    struct ceilings *c = calloc(1, sizeof *c);
    pretend.clock_hz = 0;
    assert_int_equal(ceilings_measure(device, true, c, &err), OK);
    assert_true(c->row[0].clock_low_hz == 0 && c->row[0].clock_high_hz == 0);
    pretend.clock_hz = 1980e6;
    assert_int_equal(ceilings_measure(device, true, c, &err), OK);
    for (int i = 0; i < 2; i++) { // two probes in turn, a reading after each sample
        const struct ceiling *row = &c->row[i];
        double last = 1980e6 - i * 1e6 - 2e6 * (row->samples - 1);
        assert_float_equal(row->clock_high_hz, 1980e6 - i * 1e6, 0);
        assert_float_equal(row->clock_low_hz, last, 0);
        assert_float_equal(row->memory_clock_hz, last, 0);
    }
    json_t *json = ceilings_json(c);
    assert_true(json_number_value(json_object_get(json_array_get(json, 0), "clock_high_hz")) ==
                1980e6);
    json_decref(json);
    pretend.clock_hz = 0;
    free(c);
    device_close(device);
}

// A disturbed window reads twice the rate here: it is taken again and leaves no trace in the figures.
static void disturbed_windows_are_taken_again(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = pretend_opened("cuda", ISA_ALL);
    struct ceilings *c = calloc(1, sizeof *c);
    pretend.rate = 1e12;
    pretend.disturbed = 4;
    assert_int_equal(ceilings_measure(device, true, c, &err), OK);
    assert_float_equal(ceilings_find(c, "cuda:0", "read", "DRAM", 1)->high, 1e12, 0);
    assert_non_null(strstr(c->note, "4 of "));
    free(c);
    device_close(device);
}

static void a_lost_device_is_an_error(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = pretend_opened("cuda", ISA_ALL);
    struct ceilings *c = calloc(1, sizeof *c);
    pretend.fails = true;
    assert_int_equal(ceilings_measure(device, true, c, &err), ERR_IO);
    assert_string_equal(err.message, "device cuda:0: lost");
    pretend.fails = false;
    free(c);
    device_close(device);
}

static void canaries_ask_the_device(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = pretend_opened("cuda", ISA_ALL);
    struct canary *canary = NULL;
    pretend.rate = 2e12;
    pretend.disturbed = 0;
    assert_int_equal(canary_create(device, (size_t)1 << 30, &canary, &err), OK);
    assert_string_equal(canary_level(canary), "DRAM");
    assert_int_equal(canary_memory_bytes(canary), 0);
    assert_float_equal(canary_bandwidth(canary), 2e12, 0);
    double before = canary_compute_ns(canary);
    pretend.rate = 1e12; // half as fast: the fixed work takes twice as long
    assert_float_equal(canary_compute_ns(canary), 2 * before, 1e-9);
    canary_destroy(canary);
    device_close(device);
}

// A signal ends a measurement before its next sample. What was measured so far is no ceiling.
static void a_signal_stops_the_probes(void **state)
{
    (void)state;
    struct error err = {0};
    struct interrupt in;
    struct device *device = pretend_opened("cuda", ISA_ALL);
    struct ceilings *c = calloc(1, sizeof *c);
    memset(pretend.probed, 0, sizeof pretend.probed);
    pending_begin(&in, SIGINT);
    assert_int_equal(ceilings_measure(device, false, c, &err), ERR_INTERRUPTED);
    interrupt_end(&in);
    assert_int_equal(pretend.probed[0], 0);
    assert_int_equal(c->count, 0);
    free(c);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ceilings_are_the_devices_own),
        cmocka_unit_test(two_ways_to_one_ceiling),
        cmocka_unit_test(clocks_are_kept_with_their_samples),
        cmocka_unit_test(disturbed_windows_are_taken_again),
        cmocka_unit_test(a_lost_device_is_an_error),
        cmocka_unit_test(canaries_ask_the_device),
        cmocka_unit_test(a_signal_stops_the_probes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
