// test_levels.c - which measured bandwidth a working set is compared with, on invented ceilings.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "bench/roof/roof.h"

#define MIB (1024.0 * 1024)

static double rate_of(const struct ceilings *c, int threads, double set)
{
    struct read_rate rate;
    assert_true(ceilings_read_rate(c, DEVICE_DEFAULT, threads, set, &rate));
    assert_true(rate.low <= rate.value && rate.value <= rate.high);
    return rate.value;
}

// A virtual machine that reports 300 MiB of L3 for 16 cores. With one thread the part of it that was read is slower
// than memory, which other machines' neighbours do not share in the same way.
static struct ceilings large_cache(void)
{
    return (struct ceilings){
        .count = 6,
        .levels = 3,
        .level = {{"L2", 2 << 20, 1, 1, 16},
                  {"L3", (size_t)300 << 20, 16, 16, 1},
                  {"DRAM", (size_t)64 << 30, 16, 16, 1}},
        .row = {{DEVICE_DEFAULT, "read", "L2", "k", 1, 60e9, 59e9, 61e9, 9, 0.5 * MIB},
                {DEVICE_DEFAULT, "read", "L3", "k", 1, 12.0e9, 11.8e9, 12.2e9, 9, 75 * MIB},
                {DEVICE_DEFAULT, "read", "DRAM", "k", 1, 16.7e9, 16.5e9, 16.9e9, 9, 1200 * MIB},
                {DEVICE_DEFAULT, "triad", "L3", "k", 1, 12.0e9, 11.8e9, 12.2e9, 9, 75 * MIB},
                {DEVICE_DEFAULT, "triad", "DRAM", "k", 1, 16.7e9, 16.5e9, 16.9e9, 9, 1200 * MIB},
                {DEVICE_DEFAULT, "f32_fma", "", "k", 1, 1e11, 1e11, 1e11, 9, 0}}};
}

// A GPU's memory next to the host's levels: its row is of no thread and of no size, and no level of the host's.
static void a_device_has_no_levels_of_the_host(void **state)
{
    (void)state;
    struct ceilings c = large_cache();
    struct read_rate rate;
    c.row[c.count++] =
        (struct ceiling){"cuda:0", "read", "DRAM", "k", 0, 4.5e12, 4.4e12, 4.6e12, 9, 0};
    assert_true(ceilings_read_rate(&c, "cuda:0", 0, 14e9, &rate));
    assert_float_equal(rate.value, 4.5e12, 1);
    assert_float_equal(rate_of(&c, 1, 4e9), 16.7e9, 1);
}

static void a_level_slower_than_memory_is_none(void **state)
{
    (void)state;
    struct ceilings c = large_cache();
    struct read_rate rate;
    char text[512];
    assert_true(ceilings_read_rate(&c, DEVICE_DEFAULT, 1, 1200 * MIB, &rate));
    assert_string_equal(rate.farther->level, "DRAM");
    assert_string_equal(rate.nearer->level, "L2");
    assert_float_equal(rate_of(&c, 1, 0.4 * MIB), 60e9, 1);
    assert_true(rate_of(&c, 1, 75 * MIB) > 16.7e9); // the reported size alone would say 12.0
    assert_true(rate_of(&c, 1, 200 * MIB) > 16.7e9);
    assert_float_equal(rate_of(&c, 1, 4e9), 16.7e9, 1);
    ceilings_explain_levels(&c, text, sizeof text);
    assert_non_null(strstr(text, "read of L3 with 1 thread reaches 12.0 GB/s, DRAM 16.7"));
    assert_non_null(strstr(text, "triad of L3 with 1 thread reaches 12.0 GB/s, DRAM 16.7"));
    c.row[1].value = c.row[1].low = c.row[1].high = 20e9; // a real cache
    c.count = 3;
    assert_float_equal(rate_of(&c, 1, 75 * MIB), 20e9, 1);
    ceilings_explain_levels(&c, text, sizeof text);
    assert_string_equal(text, "");
    c.row[1].value = 16.6e9; // slower, but within the noise: left out without a word
    c.row[1].high = 16.8e9;
    ceilings_explain_levels(&c, text, sizeof text);
    assert_string_equal(text, "");
    assert_true(rate_of(&c, 1, 75 * MIB) > 16.7e9);
}

// Sixteen numbers of threads, all with a slow cache: whole items as far as there is room, how many more there are, and
// what follows from it.
static void many_slow_levels_are_counted(void **state)
{
    (void)state;
    static const char end[] = "; %d more (others use that cache too; such a level is no reference)";
    struct ceilings c = {
        .levels = 2,
        .level = {{"L3", (size_t)300 << 20, 16, 16, 1}, {"DRAM", (size_t)24 << 30, 16, 16, 1}}};
    char text[640], wanted[128];
    for (int threads = 1; threads <= 16; threads++) {
        c.row[c.count++] = (struct ceiling){DEVICE_DEFAULT, "read", "L3",   "k", threads,
                                            12e9,           11.9e9, 12.1e9, 9,   75 * MIB};
        c.row[c.count++] = (struct ceiling){DEVICE_DEFAULT, "read", "DRAM", "k", threads,
                                            16.7e9,         16.6e9, 16.8e9, 9,   1200 * MIB};
    }
    ceilings_explain_levels(&c, text, sizeof text);
    int named = 0;
    for (const char *at = text; (at = strstr(at, "12.0 GB/s, DRAM 16.7")) != NULL; at++)
        named++;
    assert_in_range(named, 5, 15);
    snprintf(wanted, sizeof wanted, end, 16 - named);
    assert_string_equal(text + strlen(text) - strlen(wanted), wanted);
}

// 29 MB against an L3 of 24 MiB: partly in it. Against memory's rate alone it stood at 134 % of the roof.
static void a_set_between_two_levels(void **state)
{
    (void)state;
    struct ceilings c = {
        .count = 5,
        .levels = 2,
        .level = {{"L3", 24 << 20, 2, 2, 1}, {"DRAM", (size_t)24 << 30, 2, 2, 1}},
        .row = {{DEVICE_DEFAULT, "read", "L3", "k", 2, 40e9, 39e9, 41e9, 9, 6 * MIB},
                {DEVICE_DEFAULT, "read", "DRAM", "k", 2, 20e9, 19e9, 21e9, 9, 256 * MIB},
                {DEVICE_DEFAULT, READ_SET, "L3", "k", 2, 38e9, 37e9, 39e9, 9, 12 * MIB},
                {DEVICE_DEFAULT, READ_SET, "L3", "k", 2, 32e9, 31e9, 33e9, 9, 24 * MIB},
                {DEVICE_DEFAULT, READ_SET, "L3", "k", 2, 24e9, 23e9, 25e9, 9, 48 * MIB}}};
    struct read_rate rate;
    assert_true(ceilings_read_rate(&c, DEVICE_DEFAULT, 2, 29e6, &rate));
    assert_true(rate.nearer == &c.row[3] && rate.farther == &c.row[4]);
    // log(29e6 / 24 MiB) / log 2 = 0.2045 of the way from 32 to 24, in their logarithms
    assert_float_equal(rate.value, 30.17e9, 0.01e9);
    assert_float_equal(rate.low, 23e9, 1);
    assert_float_equal(rate.high, 33e9, 1);
    // each measured size is compared with its own measurement
    static const double sizes[] = {6, 12, 24, 48, 256};
    static const double rates[] = {40e9, 38e9, 32e9, 24e9, 20e9};
    for (int i = 0; i < 5; i++)
        assert_float_equal(rate_of(&c, 2, sizes[i] * MIB), rates[i], 1);
    // larger sets are never faster
    for (double set = MIB, before = 1e12; set < 1e9; set *= 1.1) {
        double value = rate_of(&c, 2, set);
        assert_true(value <= before);
        before = value;
    }
}

// Stores of before schema 4 have no sizes: they follow from the levels.
static void older_rows_have_no_size(void **state)
{
    (void)state;
    struct ceilings c = {.count = 2,
                         .levels = 3,
                         .level = {{"L2", 1 << 20, 1, 1, 2},
                                   {"L3", 32 << 20, 2, 2, 1},
                                   {"DRAM", (size_t)24 << 30, 2, 2, 1}},
                         .row = {{DEVICE_DEFAULT, "read", "L3", "k", 2, 40e9, 39e9, 41e9, 9, 0},
                                 {DEVICE_DEFAULT, "read", "DRAM", "k", 2, 20e9, 19e9, 21e9, 9, 0}}};
    assert_float_equal(rate_of(&c, 2, 8 * MIB), 40e9, 1); // two quarters of a half of 32 MiB
    assert_true(rate_of(&c, 2, 9 * MIB) < 40e9);
    assert_float_equal(rate_of(&c, 2, 256 * MIB), 20e9, 1);
    assert_true(rate_of(&c, 2, 255 * MIB) > 20e9);
}

static void nothing_measured(void **state)
{
    (void)state;
    struct ceilings c = large_cache();
    struct read_rate rate;
    assert_false(ceilings_read_rate(&c, DEVICE_DEFAULT, 2, 1e6, &rate)); // with two threads
    c.count = 0;
    assert_false(ceilings_read_rate(&c, DEVICE_DEFAULT, 1, 1e6, &rate));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_level_slower_than_memory_is_none),
        cmocka_unit_test(many_slow_levels_are_counted),
        cmocka_unit_test(a_device_has_no_levels_of_the_host),
        cmocka_unit_test(a_set_between_two_levels),
        cmocka_unit_test(older_rows_have_no_size),
        cmocka_unit_test(nothing_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
