// test_predict.c - the time of a trial is put together from the times of its repetitions.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "bench/roof/roof.h"
#include "bench/suite/expand.h"

static const struct plan_model llama = {.label = "7b",
                                        .stored_bytes = 7e9,
                                        .parameters = 6e9,
                                        .config = {.layers = 32,
                                                   .width = 4096,
                                                   .heads = 32,
                                                   .kv_heads = 32,
                                                   .head_dim = 128,
                                                   .ff = 11008,
                                                   .vocab = 32000,
                                                   .max_positions = 4096}};

// One repetition, with nothing before it and nothing next to it: 384 tokens of prompt, `gen` generated.
static struct cell bare(int gen)
{
    return (struct cell){.model = &llama,
                         .scheme = scheme_find("bf16"),
                         .runs = *scheme_find("bf16"),
                         .device = "cpu",
                         .kv = DT_BF16,
                         .threads = 2,
                         .chunk = 512,
                         .batch = 1,
                         .context = 384 + gen,
                         .gen = gen,
                         .warmup = WARMUP_NONE,
                         .reps = 1};
}

static double trial_ns(struct cell cell)
{
    return predict_trial_ns(&cell, &(struct plan_machine){0});
}

static void expect_ratio(double got, double unit, double wanted)
{
    if (!(fabs(got / unit - wanted) < 1e-9))
        fail_msg("%.12g times, not %.12g", got / unit, wanted);
}

// Canaries add a tenth to repetitions, but nothing to instruments, nor before the first repetition.
static void a_trial_is_its_repetitions(void **state)
{
    (void)state;
    struct cell cell = bare(128);
    double one = trial_ns(cell) / 1.1;
    cell.reps = 3;
    expect_ratio(trial_ns(cell), one, 3.3);
    cell.reps = 1;
    cell.min_time_ns = (uint64_t)(2.5 * one); // the third repetition ends beyond it
    expect_ratio(trial_ns(cell), one, 3.3);
    cell.min_time_ns = (uint64_t)(1e4 * one);
    expect_ratio(trial_ns(cell), one, 1.1 * REPETITIONS_MOST);
    cell.min_time_ns = 0;
    cell.collect = COLLECT_TIMING | COLLECT_MEMORY;
    expect_ratio(trial_ns(cell), one, 1.1 + 2);
    cell.collect = COLLECT_ENERGY; // windows, and a first and a last repetition
    expect_ratio(trial_ns(cell) - 12e9, one, 1.1 + 2);
    cell.collect = COLLECT_ACTIVITY; // with the trace and without
    expect_ratio(trial_ns(cell), one, 1.1 + 2);
    cell.collect = COLLECT_QUALITY; // measured elsewhere
    expect_ratio(trial_ns(cell), one, 1.1);
    cell.collect = 0;
    cell.warmup = WARMUP_FULL;
    expect_ratio(trial_ns(cell), one, 1.1 + 1);
}

// Steps of a decode read all weights: 13.2 GB at 7 GB/s each, where no ceilings are known.
static void every_step_of_a_decode_counts(void **state)
{
    (void)state;
    double step_ns = (trial_ns(bare(12)) - trial_ns(bare(2))) / 1.1 / 10;
    assert_in_range((uint64_t)(step_ns / 1e6), 1880, 2000);
}

// A GPU that was never measured: by what its maker promises, not by what a core of the host does. An H100's decode step
// reads 13.2 GB at 70 % of 3.35 TB/s, 5.6 ms, and has 0.5 ms of its own.
static void a_gpu_before_its_ceilings(void **state)
{
    (void)state;
    struct device_info h100 = {.name = "cuda:0",
                               .kind = DEVICE_CUDA,
                               .units = 132,
                               .clock_hz = 1.98e9,
                               .memory_bytes_per_s = 3.35e12};
    struct plan_machine machine = {.devices = &h100, .device_count = 1};
    struct cell longer = bare(12), shorter = bare(2);
    longer.device = shorter.device = "cuda:0";
    double steps_ns = predict_trial_ns(&longer, &machine) - predict_trial_ns(&shorter, &machine);
    assert_in_range((uint64_t)(steps_ns / 1.1 / 10 / 1e5), 55, 65);

    // Ceilings of the host say nothing of it.
    struct ceilings *ceilings = calloc(1, sizeof *ceilings);
    ceilings->row[ceilings->count++] = (struct ceiling){
        .device = "cpu", .name = "read", .level = "DRAM", .threads = 2, .value = 1e9};
    machine.ceilings = ceilings;
    assert_float_equal(predict_trial_ns(&longer, &machine) - predict_trial_ns(&shorter, &machine),
                       steps_ns, 1);

    // Its own take over.
    ceilings->row[0] =
        (struct ceiling){.device = "cuda:0", .name = "read", .level = "DRAM", .value = 3.35e11};
    assert_true(predict_trial_ns(&longer, &machine) - predict_trial_ns(&shorter, &machine) >
                5 * steps_ns);
    free(ceilings);
}

// Where not even that is known, nothing is made up: the plan keeps the cell.
static void what_is_not_known_is_not_predicted(void **state)
{
    (void)state;
    struct device_info gpu = {.name = "cuda:0", .kind = DEVICE_CUDA, .units = 132};
    struct plan_machine machine = {.devices = &gpu, .device_count = 1};
    struct cell cell = bare(12);
    cell.device = "cuda:0";
    assert_true(predict_trial_ns(&cell, &machine) == PREDICT_UNKNOWN);
    gpu.clock_hz = 1.98e9;
    assert_true(predict_trial_ns(&cell, &machine) == PREDICT_UNKNOWN);
    gpu.memory_bytes_per_s = 3e12;
    assert_true(predict_trial_ns(&cell, &machine) > 0);
    machine.device_count = 0;
    assert_true(predict_trial_ns(&cell, &machine) == PREDICT_UNKNOWN);
}

static void loads_follow_what_is_read(void **state)
{
    (void)state;
    struct plan_model stored = llama;
    struct cell cell = bare(2);
    assert_float_equal(predict_load_ns(&cell), 0.5e9 + 20e9, 1); // made: 6e9 by 2 threads
    stored.path = "model";
    cell.model = &stored;
    assert_float_equal(predict_load_ns(&cell), 0.5e9 + 10e9, 1); // read: 7 GB
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trial_is_its_repetitions),
        cmocka_unit_test(every_step_of_a_decode_counts),
        cmocka_unit_test(a_gpu_before_its_ceilings),
        cmocka_unit_test(what_is_not_known_is_not_predicted),
        cmocka_unit_test(loads_follow_what_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
