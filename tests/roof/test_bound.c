// test_bound.c - every branch of the bound rule, by a table of ceilings and work with known answers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "bench/roof/roof.h"
#include "results/basis.h"

// 50 GB/s from memory, 200 GB/s from a 32 MiB L3, 1 TFLOP/s bf16, 0.25 TFLOP/s f32, all within 2 %.
static struct ceilings example(void)
{
    struct ceilings c = {.count = 4,
                         .levels = 2,
                         .level = {{"L3", 32 << 20, 2, 2, 1}, {"DRAM", (size_t)24 << 30, 2, 2, 1}},
                         .row = {{"cpu", "read", "L3", "k", 2, 200e9, 198e9, 202e9, 9, 16e6},
                                 {"cpu", "read", "DRAM", "k", 2, 50e9, 49e9, 51e9, 9, 256e6},
                                 {"cpu", "f32_fma", "", "k", 2, 0.25e12, 0.249e12, 0.251e12, 9},
                                 {"cpu", "bf16_dot", "", "k", 2, 1e12, 0.99e12, 1.01e12, 9}}};
    return c;
}

struct row {
    const char *why;
    double bytes, flop; // of the one op class with work
    double measured_ns, waits_ns;
    double canary_min, canary_max;
    enum bound bound;
    bool wrong;
    const char *text; // part of the text
};

// 1 MB from memory takes 20 us, 1 MFLOP of bf16 takes 1 us.
static const struct row ROWS[] = {
    {"reads for long", 1e6, 1e6, 25e3, NAN, 0, 0, BOUND_MEMORY, false,
     "memory-bound, 80 % of the roof"},
    {"computes for long", 1e4, 20e6, 25e3, NAN, 0, 0, BOUND_COMPUTE, false,
     "compute-bound, kernels at 80 % of the roof"},
    {"as much of both", 1e6, 20e6, 25e3, NAN, 0, 0, BOUND_BALANCED, false,
     "balanced, 80 % of the roof"},
    {"just under 0.8", 1e6, 15.2e6, 25e3, NAN, 0, 0, BOUND_MEMORY, false, NULL},
    {"just over 1.25", 1e6, 26e6, 30e3, NAN, 0, 0, BOUND_COMPUTE, false, NULL},
    {"0.8 within the interval", 1e6, 15.9e6, 25e3, NAN, 0, 0, BOUND_UNDETERMINED, false,
     "memory to balanced within the interval"},
    {"1.25 within the interval", 1e6, 25.2e6, 30e3, NAN, 0, 0, BOUND_UNDETERMINED, false,
     "balanced to compute within the interval"},
    {"canaries agree", 1e6, 1e6, 25e3, NAN, 48e9, 50e9, BOUND_MEMORY, false, NULL},
    {"canaries agree to 5 %", 1e6, 1e6, 25e3, NAN, 47.6e9, 50e9, BOUND_MEMORY, false,
     "memory-bound, 82 % of the roof"},
    {"canaries disagree by more", 1e6, 1e6, 25e3, NAN, 47.4e9, 50e9, BOUND_MEMORY, false,
     "memory-bound, 80 to 84 % of the roof (bandwidth moved by 5 % while it ran)"},
    {"memory at both ends", 1e6, 1e6, 25e3, NAN, 43e9, 70e9, BOUND_MEMORY, false,
     "memory-bound, 57 to 93 % of the roof (bandwidth moved by 39 % while it ran)"},
    {"compute at both ends", 1e4, 20e6, 25e3, NAN, 43e9, 70e9, BOUND_COMPUTE, false,
     "compute-bound, kernels at 80 % of the roof"},
    {"memory at the slow end alone", 1e6, 13e6, 25e3, NAN, 43e9, 70e9, BOUND_UNDETERMINED, false,
     "undetermined: memory to balanced within the interval of the ceilings and of what bandwidth "
     "did, 57 to 93 % of the roof (bandwidth moved by 39 % while it ran)"},
    {"slow at both ends", 1e6, 1e6, 60e3, NAN, 43e9, 70e9, BOUND_MEMORY, false,
     "inefficient here: 24 to 39 % of what memory allows (bandwidth moved by 39 % while it ran)"},
    {"slow at one end", 1e6, 1e6, 40e3, NAN, 43e9, 70e9, BOUND_MEMORY, false,
     "memory-bound, 36 to 58 % of the roof (bandwidth"},
    {"above the roof at one end", 1e6, 1e6, 15e3, NAN, 43e9, 70e9, BOUND_MEMORY, false,
     "memory-bound, 95 to 155 % of the roof (bandwidth"},
    {"above the roof at both", 1e6, 1e6, 13e3, NAN, 43e9, 70e9, BOUND_MEMORY, true,
     "memory-bound, 110 to 179 % of the roof: the model or a ceiling is wrong (bandwidth"},
    {"faster than the roof", 1e6, 1e6, 15e3, NAN, 0, 0, BOUND_MEMORY, true,
     "133 % of the roof: the model or a ceiling is wrong"},
    {"a little faster", 1e6, 1e6, 19.5e3, NAN, 0, 0, BOUND_MEMORY, false, "103 % of the roof"},
    {"waits most of the time", 1e6, 1e6, 100e3, 60e3, 0, 0, BOUND_OVERHEAD, false,
     "60 % of the time is waiting"},
    {"waits less than half", 1e6, 1e6, 100e3, 49e3, 0, 0, BOUND_MEMORY, false, NULL},
    {"slow, but waits not measured", 1e6, 1e6, 1e6, NAN, 0, 0, BOUND_MEMORY, false,
     "inefficient here: 2 % of what memory allows"},
    {"slow beyond a rounded share", 1e6, 1e6, 10e6, NAN, 0, 0, BOUND_MEMORY, false,
     "inefficient here: under 1 % of what memory allows"},
    {"just over half of the roof", 1e6, 1e6, 39.9e3, NAN, 0, 0, BOUND_MEMORY, false,
     "memory-bound, 50 % of the roof"},
    {"just under half of the roof", 1e6, 1e6, 40.1e3, NAN, 0, 0, BOUND_MEMORY, false,
     "inefficient here: 50 % of what memory allows"},
    {"computes slowly", 1e4, 20e6, 200e3, NAN, 0, 0, BOUND_COMPUTE, false,
     "inefficient here: 10 % of what compute allows"},
    {"slow at both", 1e6, 20e6, 200e3, NAN, 0, 0, BOUND_BALANCED, false,
     "inefficient here: 10 % of what memory and compute allow"},
    {"slow and undetermined", 1e6, 15.9e6, 250e3, NAN, 0, 0, BOUND_UNDETERMINED, false,
     "memory to balanced within the interval of the ceilings, 8 % of the roof"},
    {"waits, whatever canaries say", 1e6, 1e6, 100e3, 60e3, 43e9, 70e9, BOUND_OVERHEAD, false,
     NULL},
    {"nothing to do", 0, 0, 25e3, NAN, 0, 0, BOUND_UNDETERMINED, false, "nothing is moved"},
};

static struct phase_work work_of(double bytes, double flop, double working_set)
{
    struct phase_work work = {.working_set_bytes = working_set};
    for (int i = 0; i < OPC_COUNT; i++)
        work.datapath[i] = DT_BF16;
    work.op[OPC_GATE_UP] = (struct work){.weight_bytes = bytes, .flop = flop};
    return work;
}

static void every_branch(void **state)
{
    (void)state;
    struct ceilings c = example();
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        const struct row *r = &ROWS[i];
        struct phase_work work = work_of(r->bytes, r->flop, 1e9);
        struct bound_input in = {.work = &work,
                                 .device = "cpu",
                                 .threads = 2,
                                 .measured_ns = r->measured_ns,
                                 .waits_ns = r->waits_ns,
                                 .canary_min = r->canary_min,
                                 .canary_max = r->canary_max,
                                 .bandwidth = (r->canary_min + r->canary_max) / 2};
        struct verdict v;
        struct error err = {0};
        assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
        if (v.bound != r->bound || str_equal(v.finding, FINDING_WRONG) != r->wrong)
            fail_msg("%s: %s", r->why, v.text);
        if (r->text && !strstr(v.text, r->text))
            fail_msg("%s: '%s' has no '%s'", r->why, v.text, r->text);
    }
}

// The columns of a verdict say what its sentence says.
static void what_was_found_is_in_columns(void **state)
{
    static const struct {
        double measured_ns, waits_ns, canary_min, canary_max;
        const char *finding, *reason;
        double eta_low, eta_high, moved;
    } rows[] = {
        {25e3, NAN, 0, 0, FINDING_REACHED, "", 0.8, 0.8, NAN},
        {25e3, NAN, 48e9, 50e9, FINDING_REACHED, "", 0.816327, 0.816327, 0.04},
        {25e3, NAN, 43e9, 70e9, FINDING_REACHED, "", 0.571429, 0.930233, 27.0 / 70},
        {60e3, NAN, 43e9, 70e9, FINDING_INEFFICIENT, "", 0.238095, 0.387597, 27.0 / 70},
        {13e3, NAN, 43e9, 70e9, FINDING_WRONG, "", 1.098901, 1.788909, 27.0 / 70},
        {100e3, 60e3, 0, 0, FINDING_REACHED, "60 % of the time is waiting", 0.2, 0.2, NAN},
        {NAN, NAN, 0, 0, NULL, "", NAN, NAN, NAN},
    };
    (void)state;
    struct ceilings c = example();
    struct phase_work work = work_of(1e6, 1e6, 1e9);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bound_input in = {.work = &work,
                                 .device = "cpu",
                                 .threads = 2,
                                 .measured_ns = rows[i].measured_ns,
                                 .waits_ns = rows[i].waits_ns,
                                 .canary_min = rows[i].canary_min,
                                 .canary_max = rows[i].canary_max,
                                 .bandwidth = (rows[i].canary_min + rows[i].canary_max) / 2};
        const double wanted[] = {rows[i].eta_low, rows[i].eta_high, rows[i].moved};
        struct verdict v;
        struct error err = {0};
        assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
        const double got[] = {v.eta_low, v.eta_high, v.bandwidth_moved};
        if (!str_equal(v.finding, rows[i].finding) || !str_equal(v.reason, rows[i].reason))
            fail_msg("row %zu: %s, %s", i, v.finding ? v.finding : "none", v.reason);
        for (int j = 0; j < 3; j++)
            if (isnan(wanted[j]) ? !isnan(got[j]) : !(fabs(got[j] - wanted[j]) < 1e-6))
                fail_msg("row %zu: %.7f instead of %.7f", i, got[j], wanted[j]);
        assert_int_equal(v.loss_op, -1); // the classes were not timed
    }
}

// The roof is of the minute of the samples where canaries saw that minute; 50 GB/s is the ceiling.
static void the_bandwidth_beside_it_counts(void **state)
{
    (void)state;
    struct ceilings c = example();
    struct phase_work work = work_of(1e6, 1e6, 1e9);
    struct bound_input in = {.work = &work,
                             .device = "cpu",
                             .threads = 2,
                             .measured_ns = 20e3,
                             .waits_ns = NAN,
                             .canary_min = 62e9,
                             .canary_max = 63e9,
                             .bandwidth = 62.5e9};
    struct verdict v;
    struct error err = {0};
    assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
    assert_float_equal(v.t_memory_ns, 16e3, 1);
    assert_float_equal(v.eta, 0.8, 1e-6);
    assert_float_equal(v.rho, 1 / 16.0, 1e-6);
    assert_true(v.rho_low < v.rho && v.rho < v.rho_high);
    in.bandwidth = 0;
    assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
    assert_float_equal(v.t_memory_ns, 20e3, 1);
}

static void sums_over_classes(void **state)
{
    (void)state;
    struct ceilings c = example();
    struct phase_work work = {.working_set_bytes = 1e9};
    for (int i = 0; i < OPC_COUNT; i++)
        work.datapath[i] = DT_BF16;
    work.datapath[OPC_ATTENTION] = DT_F32;
    work.op[OPC_QKV] = (struct work){.weight_bytes = 1e6, .flop = 5e6};           // 20 us, 5 us
    work.op[OPC_ATTENTION] = (struct work){.kv_read_bytes = 0.25e6, .flop = 5e6}; // 5 us, 20 us
    struct bound_input in = {
        .work = &work, .device = "cpu", .threads = 2, .measured_ns = 50e3, .waits_ns = NAN};
    struct verdict v;
    struct error err = {0};
    assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
    assert_float_equal(v.t_memory_ns, 25e3, 1);
    assert_float_equal(v.t_compute_ns, 25e3, 1);
    assert_float_equal(v.t_roof_ns, 40e3, 1); // not max of the sums
    assert_float_equal(v.eta, 0.8, 1e-6);
    assert_float_equal(v.rho, 1, 1e-6);
    // attention's peak by 0.4 %, the rest by 1 %, bandwidth by 2 %
    assert_float_equal(v.rho_low, (5e3 / 1.01 + 20e3 / 1.004) / 25e3 * 49 / 50, 1e-6);
    assert_float_equal(v.rho_high, (5e3 / 0.99 + 20e3 / 0.996) / 25e3 * 51 / 50, 1e-6);
    assert_true(isnan(v.overhead_share));
    assert_string_equal(v.basis, "host clock + analytic");

    in.counters = true;
    in.measured_ns = NAN; // classes were not timed
    assert_int_equal(bound_decide_op(&c, &in, OPC_ATTENTION, &v, &err), OK);
    assert_int_equal(v.bound, BOUND_COMPUTE);
    assert_float_equal(v.t_roof_ns, 20e3, 1);
    assert_true(isnan(v.eta) && !v.finding);
    assert_string_equal(v.text, "compute-bound");
    assert_string_equal(v.basis, "counters + analytic");
    assert_string_equal(bound_basis("cuda:1", false), "device events + analytic");
    assert_string_equal(bound_basis("cuda:1", true), "counters + analytic");
    assert_int_equal(bound_decide_op(&c, &in, OPC_QKV, &v, &err), OK);
    assert_int_equal(v.bound, BOUND_MEMORY);
}

// 100 us where 25 us would do. Attention loses 30 of the 75 us, QKV 45: what counts is the loss, not the time.
static void the_class_that_loses_most(void **state)
{
    (void)state;
    struct ceilings c = example();
    struct phase_work work = work_of(0, 0, 1e9);
    work.op[OPC_QKV] = (struct work){.weight_bytes = 0.25e6};       // 5 us
    work.op[OPC_ATTENTION] = (struct work){.kv_read_bytes = 0.5e6}; // 10 us
    work.op[OPC_DOWN] = (struct work){.weight_bytes = 0.5e6};       // 10 us
    double op_ns[OPC_COUNT] = {[OPC_QKV] = 50e3, [OPC_ATTENTION] = 40e3, [OPC_DOWN] = 10e3};
    op_ns[OPC_REST] = NAN;
    struct bound_input in = {.work = &work,
                             .device = "cpu",
                             .threads = 2,
                             .measured_ns = 100e3,
                             .waits_ns = NAN,
                             .op_ns = op_ns};
    struct verdict v;
    struct error err = {0};
    assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
    assert_string_equal(v.text,
                        "inefficient here: 25 % of what memory allows; qkv loses most, 60 % "
                        "of what is lost");
    assert_int_equal(v.loss_op, OPC_QKV);
    assert_float_equal(v.loss_share, 0.6, 1e-6);
    op_ns[OPC_DOWN] = 70e3; // 60 of 135 us
    assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
    assert_non_null(strstr(v.text, "; down loses most, 44 % of what is lost"));
    in.measured_ns = 30e3; // near the roof there is nothing to name
    assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
    assert_string_equal(v.text, "memory-bound, 83 % of the roof");
    in.measured_ns = 100e3;
    in.op_ns = NULL;
    assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
    assert_string_equal(v.text, "inefficient here: 25 % of what memory allows");
}

// 124, then 126 us of classes next to a step of 100 us; the clock is the observer's, on a GPU too.
static void classes_that_are_no_parts_of_a_step(void **state)
{
    (void)state;
    double op_ns[OPC_COUNT] = {[OPC_QKV] = 60e3, [OPC_ATTENTION] = 40e3, [OPC_DOWN] = 24e3};
    op_ns[OPC_REST] = NAN;
    double times = 0;
    assert_true(bound_op_times_hold(op_ns, 100e3, &times));
    op_ns[OPC_DOWN] = 26e3;
    assert_false(bound_op_times_hold(op_ns, 100e3, &times));
    assert_float_equal(times, 1.26, 1e-9);
    struct ceilings c = example();
    struct phase_work work = work_of(0, 0, 1e9);
    work.op[OPC_QKV] = (struct work){.weight_bytes = 0.25e6};
    for (int i = 0; i < c.count; i++) {
        snprintf(c.row[i].device, sizeof c.row[i].device, "cuda:0");
        c.row[i].threads = 0;
    }
    struct bound_input in = {
        .work = &work, .device = "cuda:0", .measured_ns = 60e3, .waits_ns = NAN};
    struct verdict v;
    struct error err = {0};
    assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
    assert_string_equal(v.basis, "device events + analytic");
    assert_int_equal(bound_decide_op(&c, &in, OPC_QKV, &v, &err), OK);
    assert_string_equal(v.basis, "host clock + analytic");
    in.measured_ns = NAN;
    assert_int_equal(bound_decide_op(&c, &in, OPC_QKV, &v, &err), OK);
    assert_string_equal(v.text, "memory-bound");
}

static void level_follows_working_set(void **state)
{
    (void)state;
    struct ceilings c = example();
    struct verdict v;
    struct error err = {0};
    struct phase_work work = work_of(1e6, 1e6, 10e6); // well inside L3
    struct bound_input in = {
        .work = &work, .device = "cpu", .threads = 2, .measured_ns = 25e3, .waits_ns = NAN};
    assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
    assert_float_equal(v.t_memory_ns, 5e3, 1);
    assert_float_equal(v.rho_low, 0.2 / 1.01 * 0.99, 1e-6);

    work.working_set_bytes = 64e6; // half way between the two sizes that were read: 100 GB/s
    assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
    assert_float_equal(v.t_memory_ns, 10e3, 1);
    assert_float_equal(v.rho, 0.1, 1e-6);
    assert_float_equal(v.rho_low, 0.1 / 1.01 * 49 / 100,
                       1e-6); // where the cache gave way is not known
    assert_float_equal(v.rho_high, 0.1 / 0.99 * 202 / 100, 1e-6);

    work.working_set_bytes = 300e6;
    assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
    assert_float_equal(v.t_memory_ns, 20e3, 1);
    assert_float_equal(v.rho_low, 0.05 / 1.01 * 49 / 50, 1e-6);

    // Canaries read the level whose size holds the set, memory here: 60 where the ceiling has 50. The set is
    // read twice as fast as memory.
    work.working_set_bytes = 64e6;
    in.bandwidth = in.canary_min = in.canary_max = 60e9;
    assert_int_equal(bound_decide(&c, &in, &v, &err), OK);
    assert_float_equal(v.t_memory_ns, 1e6 / 120e9 * 1e9, 1);
}

static void peaks(void **state)
{
    (void)state;
    struct ceilings c = example();
    assert_string_equal(ceilings_peak(&c, "cpu", DT_BF16, 2)->name, "bf16_dot");
    assert_string_equal(ceilings_peak(&c, "cpu", DT_F32, 2)->name, "f32_fma");
    assert_string_equal(ceilings_peak(&c, "cpu", DT_I8, 2)->name,
                        "f32_fma"); // not measured: widened
    c.row[3].value = 0.1e12;        // a processor that emulates bf16 is better off with f32
    assert_string_equal(ceilings_peak(&c, "cpu", DT_BF16, 2)->name, "f32_fma");
    assert_null(ceilings_peak(&c, "cpu", DT_F32, 3));
    assert_string_equal(ceilings_read(&c, "cpu", 2, 1e3)->level, "L3");
    assert_string_equal(ceilings_read(&c, "cpu", 2, 1e9)->level, "DRAM");
    assert_null(ceilings_read(&c, "cpu", 5, 1e9));
}

static void missing_ceilings(void **state)
{
    (void)state;
    struct ceilings c = example();
    struct verdict v;
    struct phase_work work = work_of(1e6, 1e6, 1e9);
    struct bound_input in = {
        .work = &work, .device = "cpu", .threads = 4, .measured_ns = 25e3, .waits_ns = NAN};
    struct error err = {0};
    assert_int_equal(bound_decide(&c, &in, &v, &err), ERR_USAGE);
    assert_non_null(strstr(err.message, "4 threads"));
    error_clear(&err);
    in.threads = 2;
    c.count = 2; // no peaks
    assert_int_equal(bound_decide(&c, &in, &v, &err), ERR_USAGE);
    assert_non_null(strstr(err.message, "bf16"));
}

static void thresholds(void **state)
{
    (void)state;
    json_t *t = bound_thresholds();
    assert_float_equal(json_real_value(json_object_get(t, "rho_memory")), 0.8, 0);
    assert_float_equal(json_real_value(json_object_get(t, "rho_compute")), 1.25, 0);
    assert_float_equal(json_real_value(json_object_get(t, "eta_suspicious")), 1.05, 0);
    assert_float_equal(json_real_value(json_object_get(t, "overhead_share")), 0.5, 0);
    assert_float_equal(json_real_value(json_object_get(t, "canary_spread")), 0.05, 0);
    json_decref(t);
    assert_string_equal(bound_name(BOUND_OVERHEAD), "overhead");
    assert_string_equal(bound_name((enum bound)99), "undetermined");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_branch),
        cmocka_unit_test(what_was_found_is_in_columns),
        cmocka_unit_test(the_bandwidth_beside_it_counts),
        cmocka_unit_test(sums_over_classes),
        cmocka_unit_test(the_class_that_loses_most),
        cmocka_unit_test(classes_that_are_no_parts_of_a_step),
        cmocka_unit_test(level_follows_working_set),
        cmocka_unit_test(peaks),
        cmocka_unit_test(missing_ceilings),
        cmocka_unit_test(thresholds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
