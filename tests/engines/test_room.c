// test_room.c - a cell that does not fit into what a device has free is refused before anything is loaded or taken. On
// a pretend GPU, so that every build and machine tests it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/str.h"
#include "bench/engines/builtin.h"
#include "bench/engines/engines.h"
#include "tests/device/pretend.h"

static int told;

static void progress(void *user, const char *phase, double done)
{
    (void)user;
    (void)phase;
    (void)done;
    told++;
}

static struct job_cell cell_of(int batch, int context)
{
    return (struct job_cell){
        .batch = batch, .context = context, .gen = 4, .chunk = 8, .kv = DT_BF16};
}

// Loading goes by the smallest cell, and by all that it needs.
static void loading_is_refused_by_the_smallest_cell(void **state)
{
    (void)state;
    struct job_cell cells[] = {cell_of(4, 4000), cell_of(1, 16), cell_of(2, 100)};
    struct job job = {.threads = 1,
                      .isa = ISA_ALL,
                      .device = "cuda:0",
                      .scheme = "bf16",
                      .head = DT_BF16,
                      .model_path = "tests/golden/models/llama-gqa3",
                      .cells = cells,
                      .cell_count = 3};
    struct device *device = pretend_opened("cuda:0", ISA_ALL);
    struct bench_engine_load in = {.job = &job, .device = device, .progress = progress};
    struct error err = {0};
    struct checkpoint *ck = NULL;
    struct scheme scheme;
    struct memory_plan plan;
    struct context_options options = {.batch = 1, .positions = 16, .chunk = 8, .kv = DT_BF16};
    char expected[128], need[32];
    void *model = NULL;
    assert_int_equal(checkpoint_open(job.model_path, &ck, &err), OK);
    assert_int_equal(bench_engine_builtin_scheme(&job, device_target(device), &scheme, &err), OK);
    assert_int_equal(engine_memory_plan(device_info(device), checkpoint_config(ck), &scheme,
                                        &options, 1, &plan, &err),
                     OK);
    size_t bytes = plan.weights_bytes + plan.kv_bytes + plan.scratch_bytes;
    snprintf(expected, sizeof expected, "the smallest cell needs %s (weights ",
             format_bytes((double)bytes, need, sizeof need));
    pretend.available = bytes - 1;
    pretend.allocated = told = 0;
    assert_int_equal(bench_engine_builtin.load(&in, &model, &err), ERR_NOMEM);
    assert_null(model);
    assert_non_null(strstr(err.message, expected));
    assert_non_null(strstr(err.message, " available on cuda:0"));
    assert_int_equal(told, 0);
    assert_int_equal(pretend.allocated, 0);
    checkpoint_destroy(ck);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_is_refused_by_the_smallest_cell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
