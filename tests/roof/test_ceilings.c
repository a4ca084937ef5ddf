// test_ceilings.c - the ceilings are complete and in order of sense; no figure is asserted but by
// relations that hold on any machine.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/probe/stream.h"
#include "bench/roof/roof.h"
#include "tests/pending.h"

static void rows_are_whole(const struct ceilings *c)
{
    assert_true(c->levels >= 1 && c->count > 0);
    for (int i = 0; i < c->count; i++) {
        const struct ceiling *row = &c->row[i];
        assert_true(isfinite(row->value) && row->value > 0);
        assert_true(row->low <= row->value && row->value <= row->high);
        assert_true(row->samples >= 5);
        assert_true(strlen(row->kernel) > 0);
        // one row of a kind
        assert_ptr_equal(ceilings_find(c, row->device, row->name, row->level, row->threads), row);
    }
}

static void quick(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = NULL;
    struct device_options options = {.pin = true, .isa = ISA_ALL};
    struct ceilings *c = calloc(1, sizeof *c);
    assert_non_null(c);
    assert_int_equal(device_open(DEVICE_DEFAULT, &options, &device, &err), OK);
    assert_int_equal(ceilings_measure(device, true, c, &err), OK);
    rows_are_whole(c);
    int all = device_info(device)->units;
    assert_non_null(ceilings_find(c, "cpu", "read", "DRAM", 1));
    assert_non_null(ceilings_find(c, "cpu", "read", "DRAM", all));
    assert_non_null(ceilings_find(c, "cpu", "f32_fma", "", all));
    assert_null(ceilings_find(c, "cpu", "triad", "DRAM", all)); // not of the quick ones
    assert_non_null(ceilings_read(c, "cpu", all, 1e12));
    assert_non_null(ceilings_peak(c, "cpu", DT_BF16, all));

    // A mask keeps to its tier, whatever the machine could do.
    device_close(device);
    options.isa = 0;
    assert_int_equal(device_open(DEVICE_DEFAULT, &options, &device, &err), OK);
    assert_int_equal(ceilings_measure(device, true, c, &err), OK);
    rows_are_whole(c);
    for (int i = 0; i < c->count; i++)
        assert_non_null(strstr(c->row[i].kernel, "_ref"));

    json_t *json = ceilings_json(c);
    assert_int_equal(json_array_size(json), c->count);
    json_decref(json);
    device_close(device);
    free(c);
}

// The regions of memory's bandwidth are gigabytes on some machines: filling them looks for a signal.
static void a_signal_stops_the_filling(void **state)
{
    (void)state;
    struct error err = {0};
    struct interrupt in;
    struct pool *pool = NULL;
    struct stream *stream = NULL;
    struct memory_level level[MEMORY_LEVELS_MAX];
    int levels = machine_memory_levels(level);
    assert_int_equal(pool_create(2, false, &pool, &err), OK);
    pending_begin(&in, SIGINT);
    assert_int_equal(stream_create(pool, level, levels, levels - 1, 1, &stream, &err),
                     ERR_INTERRUPTED);
    assert_null(stream);
    interrupt_end(&in);
    error_clear(&err);
    assert_int_equal(stream_create(pool, level, levels, 0, 1, &stream, &err), OK); // its twin
    stream_destroy(stream);
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(quick),
                                       cmocka_unit_test(a_signal_stops_the_filling)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
