// test_count_host.c - the host's counters on replayed servers: passes, and figures per phase and step.
#include "tests/probe/papi_script.h"
#include "tests/probe/perf_script.h"
#include "tests/probe/pmu_trees.h"
#include "tests/worker/scripted.h"

#include <stdlib.h>

#include "bench/probe/counter.h"
#include "bench/worker/count_host.h"
#include "results/metric.h"

enum { PROMPT = 8, GEN = 5, STEPS = GEN - 1 };

static struct host_tally tally;
static struct counter_source papi, perf;

static bool right(const struct counter_source *source, const struct counter_event *event, void *set,
                  char reason[COUNTER_REASON_BYTES])
{
    (void)source, (void)event, (void)set, (void)reason;
    return true;
}

static int make_machine(void **state)
{
    (void)state;
    memset(&perf_script, 0, sizeof perf_script);
    memset(&papi_script, 0, sizeof papi_script);
    papi = counter_papi;
    papi.calls = &papi_scripted;
    perf = counter_perf;
    perf.calls = &perf_scripted;
    papi_script.init = PAPI_SCRIPT_VERSION;
    strcpy(root, "/tmp/ridge-counters-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_machine(void **state)
{
    (void)state;
    struct error err = {0};
    count_host_close(&tally);
    if (perf_script_opened() || papi_script.open)
        return -1;
    return file_remove_tree(root, &err) == OK ? 0 : -1;
}

// Opens what the machine in `root` counts.
static void open_machine(bool with_papi)
{
    const struct counter_setup setup = {root, &papi, &perf, right};
    struct error err = {0};
    char reason[UNCORE_REASON_BYTES];
    papi.calls = with_papi ? &papi_scripted : NULL;
    assert_int_equal(counters_open_with(&setup, &tally.counters, &err), OK);
    if (!uncore_open(root, &perf_scripted, &tally.uncore, reason))
        print_message("%s\n", reason);
}

static json_t *measured(int gen, struct script *script)
{
    const struct job_cell cell = {.batch = 1,
                                  .context = PROMPT + gen,
                                  .gen = gen,
                                  .chunk = 4,
                                  .reps = 1,
                                  .collect = COLLECT_COUNTERS};
    struct subject s;
    struct error err = {0};
    json_t *metrics = json_array();
    *script = (struct script){.jump_ns = 1000000};
    scripted_subject(script, &cell, &SCRIPTED, &s);
    if (count_host_run(&tally, &s, &err) != OK)
        fail_msg("%s", err.message);
    count_host_report(&tally, &s, metrics);
    scripted_fini(&s);
    return metrics;
}

static void an_intel_server(void **state)
{
    (void)state;
    struct script script;
    put_intel();
    papi_script.room = 3;
    open_machine(true);
    perf_script.a_stop = 1000;
    papi_script.a_stop = 600;
    json_t *m = measured(GEN, &script);
    assert_int_equal(script.begun, 2); // two groups of PAPI
    // 3 controllers and 2 sockets, counted in the first pass alone.
    assert_close(metric_value(m, METRIC_DRAM_READ, "prefill"), 6 * 64 * 1000);
    assert_close(metric_value(m, METRIC_DRAM_WRITTEN, "prefill"), 6 * 64 * 1000);
    assert_close(metric_value(m, METRIC_DRAM_WRITTEN, "decode"), 6 * 64 * 1000.0 / STEPS);
    assert_close(metric_value(m, METRIC_COUNTER_PREFIX "cycles", "prefill"), 600);
    assert_close(metric_value(m, METRIC_COUNTER_PREFIX "dtlb-load-misses", "decode"),
                 600.0 / STEPS);
    json_t *row = metric_row(m, METRIC_DRAM_READ, "decode");
    assert_string_equal(json_string_value(json_object_get(row, "source")), "Intel uncore_imc");
    assert_int_equal(json_array_size(m), 2 * (5 + 2));
    json_decref(m);
    // Another cell of the same worker begins at zero.
    m = measured(1, &script);
    assert_close(metric_value(m, METRIC_DRAM_READ, "prefill"), 6 * 64 * 1000);
    assert_int_equal(json_array_size(m), 5 + 2); // no decode
    json_decref(m);
}

static void an_amd_server(void **state)
{
    (void)state;
    struct script script;
    put_amd("25", true, "0,96\n");
    put_umc("amd_umc_0", "20\n", "0\n");
    put_umc("amd_umc_1", "21\n", "96\n");
    perf_script.room = 4;
    open_machine(false);
    perf_script.a_stop = 10;
    json_t *m = measured(GEN, &script);
    assert_int_equal(script.begun, 2); // two groups of perf; the controllers need one
    assert_close(metric_value(m, METRIC_DRAM_READ, "prefill"), 2 * 64 * 10);
    assert_close(metric_value(m, METRIC_DRAM_WRITTEN, "decode"), 2 * 64 * 10.0 / STEPS);
    assert_close(metric_value(m, METRIC_COUNTER_PREFIX "stalled-cycles", "prefill"), 10);
    assert_close(metric_value(m, METRIC_COUNTER_PREFIX "task-clock", "prefill"), 10);
    json_decref(m);
}

// More passes for the fabric than for the processor: each has its own share of the repetitions.
static void a_fabric_of_one_way(void **state)
{
    (void)state;
    struct script script;
    put_amd("23", false, "0\n");
    papi_script.room = 0;
    perf_script.room = 4;
    open_machine(true);
    perf_script.a_stop = papi_script.a_stop = 3;
    json_t *m = measured(GEN, &script);
    assert_int_equal(script.begun, 2);
    assert_null(metric_row(m, METRIC_DRAM_READ, NULL));
    assert_close(metric_value(m, METRIC_DRAM_BYTES, "prefill"), 8 * 64 * 3);
    assert_close(metric_value(m, METRIC_COUNTER_PREFIX "cycles", "prefill"), 3);
    json_decref(m);
}

static void an_arm_server_counts_events_alone(void **state)
{
    (void)state;
    struct script script;
    put_pmu("armv8_pmuv3_0", "type", "8\n");
    open_machine(false);
    assert_null(tally.uncore);
    json_t *m = measured(GEN, &script);
    assert_null(metric_row(m, METRIC_DRAM_READ, NULL));
    assert_int_equal(json_array_size(m), 2 * 8);
    json_decref(m);
}

// Another program takes the counters while they run: nothing is stored in place of a count.
static void a_shared_counter_has_no_value(void **state)
{
    (void)state;
    struct script script;
    put_intel();
    open_machine(false);
    perf_script.held = true;
    json_t *m = measured(GEN, &script);
    assert_true(isnan(metric_value(m, METRIC_DRAM_READ, "decode")));
    assert_true(isnan(metric_value(m, METRIC_COUNTER_PREFIX "cycles", "prefill")));
    json_decref(m);
}

#define ON_MACHINE(test) cmocka_unit_test_setup_teardown(test, make_machine, remove_machine)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_MACHINE(an_intel_server),
        ON_MACHINE(an_amd_server),
        ON_MACHINE(a_fabric_of_one_way),
        ON_MACHINE(an_arm_server_counts_events_alone),
        ON_MACHINE(a_shared_counter_has_no_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
