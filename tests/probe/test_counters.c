// test_counters.c - counters are believed only after a known load, and say why not otherwise; canaries.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/probe/probe.h"
#include "bench/probe/stream.h"

static struct counters *open_counters(void)
{
    struct counters *c = NULL;
    struct error err = {0};
    assert_int_equal(counters_open(&c, &err), OK);
    return c;
}

static size_t index_of(const struct counters *c, const char *name)
{
    size_t i = 0;
    while (i < counters_count(c) && strcmp(counters_name(c, i), name))
        i++;
    return i;
}

static void source_and_reason_agree(void **state)
{
    (void)state;
    struct counters *c = open_counters();
    const char *source = counters_source(c);
    print_message("counters: %s (%s)\n", source, counters_reason(c));
    bool hardware = index_of(c, "instructions") < counters_count(c) ||
                    index_of(c, "cycles") < counters_count(c) ||
                    index_of(c, "cache-misses") < counters_count(c);
    assert_int_equal(hardware, !strcmp(source, "papi") || !strcmp(source, "perf"));
    assert_int_equal(counters_count(c) == 0, !strcmp(source, "none"));
    if (!hardware) // then there must be words for it
        assert_true(strlen(counters_reason(c)) > 20);
    counters_close(c);
    counters_close(NULL);
}

static void touch_pages(size_t pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    volatile unsigned char *memory =
        mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    for (size_t i = 0; i < pages; i++)
        memory[i * page] = 1;
    munmap((void *)memory, pages * page);
}

static void page_faults_count_pages(void **state)
{
    (void)state;
    struct counters *c = open_counters();
    size_t i = index_of(c, "page-faults");
    if (i == counters_count(c)) {
        print_message("page faults are not counted here: %s\n", counters_reason(c));
        counters_close(c);
        skip();
    }
    int64_t few[8] = {0}, many[8] = {0};
    counters_start(c);
    touch_pages(50);
    counters_stop(c, few);
    counters_start(c); // begins at zero again
    touch_pages(150);
    counters_stop(c, many);
    counters_close(c);
    assert_in_range(few[i], 50, 70);
    assert_in_range(many[i], 150, 170);
}

static void touch_in_worker(void *arg, int worker, int workers)
{
    (void)arg, (void)workers;
    if (worker == 1)
        touch_pages(100);
}

static void workers_are_counted(void **state)
{
    (void)state;
    struct pool *pool = NULL;
    struct error err = {0};
    if (pool_create(2, true, &pool, &err) != OK) {
        print_message("a pool of two threads: %s\n", err.message);
        skip();
    }
    struct counters *c = open_counters();
    size_t i = index_of(c, "page-faults");
    int64_t values[8] = {0};
    counters_start(c);
    pool_run(pool, touch_in_worker, NULL);
    counters_stop(c, values);
    if (i < counters_count(c))
        assert_in_range(values[i], 100, 130);
    counters_close(c);
    pool_destroy(pool);
}

// ---- canaries -------------------------------------------------------------------------------------------

static void canaries_pick_the_level(void **state)
{
    (void)state;
    struct device *device = NULL;
    struct device_options options = {.threads = 1, .pin = true, .isa = ISA_ALL};
    struct error err = {0};
    assert_int_equal(device_open(DEVICE_DEFAULT, &options, &device, &err), OK);
    struct memory_level level[MEMORY_LEVELS_MAX];
    int levels = machine_memory_levels(level);
    assert_true(levels >= 1);
    struct canary *canary = NULL;
    assert_int_equal(canary_create(device, (size_t)8 << 30, &canary, &err), OK);
    assert_string_equal(canary_level(canary), "DRAM");
    // At a petabyte a second the loop would have been dropped; at none it did not run.
    double rate = canary_bandwidth(canary);
    assert_true(rate > 1e6 && rate < 1e15);
    assert_true(canary_compute_ns(canary) > 0);
    size_t dram_bytes = canary_memory_bytes(canary);
    canary_destroy(canary);
    if (levels > 1) {
        assert_int_equal(canary_create(device, 1000, &canary, &err), OK);
        assert_string_equal(canary_level(canary), "L1");
        assert_true(canary_bandwidth(canary) > 1e6);
        assert_true(canary_memory_bytes(canary) < dram_bytes);
        canary_destroy(canary);
    }
    canary_destroy(NULL);
    device_close(device);
}

static void shares(void **state)
{
    (void)state;
    // 32 KiB and 1 MiB a core, 32 MiB for two: the machine the figures of docs/CEILINGS.md come from.
    const struct memory_level epyc[] = {{"L1", 32 << 10, 1, 1, 2},
                                        {"L2", 1 << 20, 1, 1, 2},
                                        {"L3", 32 << 20, 2, 2, 1},
                                        {"DRAM", (size_t)24 << 30, 2, 2, 1}};
    assert_int_equal(stream_share(epyc, 4, 0, 1), 16 << 10);
    assert_int_equal(stream_share(epyc, 4, 1, 2), 256 << 10);
    assert_int_equal(stream_share(epyc, 4, 2, 1), 8 << 20);
    assert_int_equal(stream_share(epyc, 4, 2, 2), 4 << 20);
    assert_int_equal(stream_share(epyc, 4, 3, 1), 256 << 20);
    assert_int_equal(stream_share(epyc, 4, 3, 2), 128 << 20);

    // Sapphire Rapids: with all threads a core's part of L3 is below its own L2, so L3 is no level of
    // its own; with one thread it is. DRAM: four times the part of a large cache.
    const struct memory_level xeon[] = {{"L1", 48 << 10, 1, 2, 56},
                                        {"L2", 2 << 20, 1, 2, 56},
                                        {"L3", 105 << 20, 56, 112, 1},
                                        {"DRAM", (size_t)512 << 30, 56, 112, 1}};
    assert_int_equal(stream_share(xeon, 4, 2, 56), 0);
    assert_true(stream_share(xeon, 4, 2, 1) > (size_t)26 << 20);
    assert_int_equal(stream_share(xeon, 4, 3, 1), (size_t)420 << 20);
    assert_true(stream_share(xeon, 4, 3, 56) * 56 >= (size_t)419 << 20);
    // Two threads a core: each has half of the core's caches.
    assert_int_equal(stream_share(xeon, 4, 0, 112), 12 << 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(source_and_reason_agree),
        cmocka_unit_test(page_faults_count_pages),
        cmocka_unit_test(workers_are_counted),
        cmocka_unit_test(canaries_pick_the_level),
        cmocka_unit_test(shares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
