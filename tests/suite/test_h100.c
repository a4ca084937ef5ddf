// test_h100.c - what suites/h100.conf plans for an H100 and an H200 that are not here: what runs, and what their memory
// does not hold.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "bench/suite/plan.h"
#include "bench/suite/suite.h"

static struct plan *plan_for(double memory_gib)
{
    struct error err = {0};
    struct suite suite;
    struct plan *plan = NULL;
    struct suite_sources sources = {.suite_path = "suites/h100.conf"};
    struct device_info gpu = {.name = "cuda:0",
                              .kind = DEVICE_CUDA,
                              .available = true,
                              .isa = ISA_SM80 | ISA_SM89 | ISA_SM90 | ISA_SM90A,
                              .memory_bytes = (uint64_t)(memory_gib * 0x1p30),
                              .cache_bytes = 50 << 20,
                              .units = 132,
                              .clock_hz = 1.98e9,
                              .memory_bytes_per_s = 3.35e12};
    struct plan_machine machine = {.memory_bytes = (int64_t)128 << 30,
                                   .physical_cores = 16,
                                   .devices = &gpu,
                                   .device_count = 1};
    if (suite_load(&sources, &suite, &err) != OK ||
        plan_create(&suite, &machine, NULL, &plan, &err) != OK)
        fail_msg("%s", err.message);
    suite_fini(&suite);
    return plan;
}

static const struct cell *cell_of(const struct plan *plan, const char *model, const char *scheme,
                                  int batch, int context)
{
    for (size_t i = 0; i < plan->cell_count; i++) {
        const struct cell *c = &plan->cells[i];
        if (strcmp(c->model->label, model) == 0 && strcmp(c->scheme_name, scheme) == 0 &&
            c->batch == batch && c->context == context)
            return c;
    }
    fail_msg("no cell %s %s b%d c%d", model, scheme, batch, context);
    return NULL;
}

static double gb(size_t bytes)
{
    return (double)bytes / 1e9;
}

// Every cell runs or says what memory it needs: no scheme, length or time leaves one out.
static void memory_alone_leaves_cells_out(const struct plan *plan, size_t runs)
{
    for (size_t i = 0; i < plan->cell_count; i++) {
        const struct cell *c = &plan->cells[i];
        if (c->skip && !strstr(c->skip, " of memory, "))
            fail_msg("%s: %s", c->label, c->skip);
        assert_true(c->skip || c->predicted_ns > 0);
    }
    assert_int_equal(plan->cell_count, 195);
    assert_int_equal(plan->run_count, runs);
}

static void an_h100(void **state)
{
    (void)state;
    struct plan *plan = plan_for(79.6);
    memory_alone_leaves_cells_out(plan, 194);
    // 70.6e9 parameters: half a byte each and the scales of groups of 128; head and embedding in bf16, 2.1 GB each.
    const struct cell *c = cell_of(plan, "70b", "int4-awq", 1, 512);
    assert_true(gb(c->memory.weights_bytes) > 37 && gb(c->memory.weights_bytes) < 41);
    assert_null(cell_of(plan, "70b", "int4-awq", 16, 4096)->skip);
    c = cell_of(plan, "70b", "fp8", 1, 512);
    assert_true(gb(c->memory.weights_bytes) > 71 && gb(c->memory.weights_bytes) < 75);
    assert_null(cell_of(plan, "70b", "fp8", 16, 512)->skip);
    assert_non_null(cell_of(plan, "70b", "fp8", 16, 4096)->skip); // a cache of 21 GB
    plan_destroy(plan);
}

static void an_h200(void **state)
{
    (void)state;
    struct plan *plan = plan_for(139.8);
    memory_alone_leaves_cells_out(plan, 195);
    plan_destroy(plan);
}

// A card of half the size holds no 70B in fp8, and none in int4 with a long cache.
static void half_an_h100(void **state)
{
    (void)state;
    struct plan *plan = plan_for(39.8);
    assert_non_null(cell_of(plan, "70b", "fp8", 1, 512)->skip);
    assert_non_null(cell_of(plan, "70b", "int4-awq", 16, 4096)->skip);
    assert_null(cell_of(plan, "8b", "fp8", 64, 4096)->skip);
    plan_destroy(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_h100),
        cmocka_unit_test(an_h200),
        cmocka_unit_test(half_an_h100),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
