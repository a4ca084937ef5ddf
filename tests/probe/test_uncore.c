// test_uncore.c - memory controllers of trees of files: encodings, groups, bytes, and what is refused.
#include "tests/probe/perf_script.h"

#include <math.h>
#include <stdlib.h>

#include "bench/probe/uncore.h"
#include "tests/probe/pmu_trees.h"

static int make_root(void **state)
{
    (void)state;
    memset(&perf_script, 0, sizeof perf_script);
    strcpy(root, "/tmp/ridge-uncore-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    struct error err = {0};
    if (perf_script_opened() != 0) {
        print_error("%d events were left open\n", perf_script_opened());
        return -1;
    }
    return file_remove_tree(root, &err) == OK ? 0 : -1;
}

static struct uncore *opened(void)
{
    struct uncore *u = NULL;
    char reason[UNCORE_REASON_BYTES];
    if (!uncore_open(root, &perf_scripted, &u, reason))
        fail_msg("%s", reason);
    assert_string_equal(reason, "");
    return u;
}

static void refused_at(const char *where, const char *words)
{
    struct uncore *u = NULL;
    char reason[UNCORE_REASON_BYTES];
    assert_false(uncore_open(where, &perf_scripted, &u, reason));
    assert_null(u);
    if (!strstr(reason, words))
        fail_msg("'%s' instead of '%s'", reason, words);
}

static void refused(const char *words)
{
    refused_at(root, words);
}

// Runs all passes in which each counting event counts `count`.
static void count_all(struct uncore *u, uint64_t count, double bytes[UNCORE_WAYS])
{
    perf_script.a_stop = count;
    memset(bytes, 0, UNCORE_WAYS * sizeof *bytes);
    for (size_t pass = 0; pass < uncore_passes(u); pass++) {
        uncore_start(u, pass);
        uncore_stop(u, pass, bytes);
    }
}

// How many open events have this encoding, on this processor (-1: on any).
static int encoded(uint32_t type, uint64_t config, int cpu)
{
    int found = 0;
    for (int i = 0; i < perf_script.count; i++) {
        const struct perf_script_event *e = &perf_script.event[i];
        found += e->open && e->counter.type == type && e->counter.config == config &&
                 (cpu < 0 || e->place.cpu == cpu);
    }
    return found;
}

static void bytes_are(const double bytes[UNCORE_WAYS], double read, double write, double both)
{
    const double expected[] = {read, write, both};
    for (int way = 0; way < UNCORE_WAYS; way++)
        if (fabs(bytes[way] - expected[way]) > 1e-6)
            fail_msg("way %d: %.17g, expected %.17g", way, bytes[way], expected[way]);
}

static void intel_controllers_of_two_sockets(void **state)
{
    (void)state;
    double bytes[UNCORE_WAYS];
    put_intel();
    perf_script.room = 4;
    struct uncore *u = opened();
    assert_string_equal(uncore_source(u), "Intel uncore_imc");
    assert_true(uncore_separates(u));
    assert_int_equal(uncore_passes(u), 1);
    assert_int_equal(perf_script_opened(), 3 * 2 * 2); // controllers, sockets, ways
    for (uint32_t type = 70; type <= 72; type++)
        for (int cpu = 0; cpu <= 56; cpu += 56) {
            assert_int_equal(encoded(type, 0xcf05, cpu), 1);
            assert_int_equal(encoded(type, 0xf005, cpu), 1);
        }
    count_all(u, 1000, bytes);
    bytes_are(bytes, 6 * 64 * 1000, 6 * 64 * 1000, 0);
    count_all(u, 7, bytes); // begins at zero again
    bytes_are(bytes, 6 * 64 * 7, 6 * 64 * 7, 0);
    uncore_close(u);
    uncore_close(NULL);
}

// Granite Rapids: a controller has two schedulers; a kernel may still show the event of the first alone.
static void both_schedulers_count(void **state)
{
    (void)state;
    double bytes[UNCORE_WAYS];
    put_others();
    put_imc("uncore_imc_0", "70\n");
    put_event("uncore_imc_0", "cas_count_read_sch0", "event=0x05,umask=0xcf\n", "6.103515625e-5\n");
    put_event("uncore_imc_0", "cas_count_read_sch1", "event=0x06,umask=0xcf\n", "6.103515625e-5\n");
    put_event("uncore_imc_0", "cas_count_write_sch0", "event=0x05,umask=0xf0\n",
              "6.103515625e-5\n");
    put_event("uncore_imc_0", "cas_count_write_sch1", "event=0x06,umask=0xf0\n",
              "6.103515625e-5\n");
    struct uncore *u = opened();
    assert_int_equal(perf_script_opened(), 4 * 2);
    assert_int_equal(encoded(70, 0xcf06, -1), 2);
    count_all(u, 10, bytes);
    bytes_are(bytes, 4 * 640, 4 * 640, 0);
    uncore_close(u);
}

// Where only the counters that always run are shown, those are taken.
static void free_running_counters_where_there_are_no_others(void **state)
{
    (void)state;
    double bytes[UNCORE_WAYS];
    put_pmu("uncore_imc_free_running_0", "type", "80\n");
    put_pmu("uncore_imc_free_running_0", "cpumask", "0\n");
    put_pmu("uncore_imc_free_running_0", "format/event", "config:0-7\n");
    put_pmu("uncore_imc_free_running_0", "format/umask", "config:8-15\n");
    put_event("uncore_imc_free_running_0", "data_read", "event=0xff,umask=0x20\n",
              "1.52587890625e-5\n"); // 16 bytes
    put_event("uncore_imc_free_running_0", "data_write", "event=0xff,umask=0x30\n",
              "1.52587890625e-5\n");
    struct uncore *u = opened();
    assert_int_equal(encoded(80, 0x20ff, 0), 1);
    assert_int_equal(encoded(80, 0x30ff, 0), 1);
    count_all(u, 100, bytes);
    bytes_are(bytes, 1600, 1600, 0);
    uncore_close(u);
}

static void amd_controllers_of_two_sockets(void **state)
{
    (void)state;
    double bytes[UNCORE_WAYS];
    put_amd("25", true, "0,96\n");
    put_umc("amd_umc_0", "20\n", "0\n");
    put_umc("amd_umc_1", "21\n", "0\n");
    put_umc("amd_umc_12", "32\n", "96\n");
    put_umc("amd_umc_13", "33\n", "96\n");
    perf_script.room = 4;
    struct uncore *u = opened();
    assert_string_equal(uncore_source(u), "AMD amd_umc"); // before the fabric
    assert_int_equal(uncore_passes(u), 1);
    assert_int_equal(perf_script_opened(), 8);
    assert_int_equal(encoded(20, 0x10a, 0), 1);
    assert_int_equal(encoded(33, 0x20a, 96), 1);
    count_all(u, 5, bytes);
    bytes_are(bytes, 4 * 5 * 64, 4 * 5 * 64, 0);
    uncore_close(u);
}

// Zen 4 on a kernel without its controllers: 12 channels, reads and writes, for this socket and the other: 48 events of
// each fabric, which has 16 counters.
static void the_fabric_counts_in_passes(void **state)
{
    (void)state;
    double bytes[UNCORE_WAYS];
    put_amd("25", true, "0,96\n");
    perf_script.room = 16;
    struct uncore *u = opened();
    assert_string_equal(uncore_source(u), "AMD amd_df");
    assert_int_equal(uncore_passes(u), 3);
    assert_int_equal(perf_script_opened(), 2 * 48);
    assert_int_equal(encoded(13, 0x0700fe1f, 0), 1);  // channel 0, reads for this socket
    assert_int_equal(encoded(13, 0x0b00fe1f, 96), 1); // for the other
    assert_int_equal(encoded(13, 0x10700ff1f, 0), 1); // channel 4: event 0x11f, writes
    assert_int_equal(encoded(13, 0x20700fedf, 0), 1); // channel 11: event 0x2df
    perf_script.started = 0;
    count_all(u, 3, bytes);
    assert_int_equal(perf_script.started, 3 * 2); // each group once
    bytes_are(bytes, 48 * 3 * 64, 48 * 3 * 64, 0);
    uncore_close(u);
}

static void zen5_adds_the_sockets_up(void **state)
{
    (void)state;
    put_amd("26", true, "0,96\n");
    struct uncore *u = opened();
    assert_int_equal(perf_script_opened(), 2 * 24);
    assert_int_equal(encoded(13, 0x0f00fe1f, 0), 1);
    assert_int_equal(encoded(13, 0x20f00ffdf, 96), 1);
    uncore_close(u);
}

// One socket has no other, so a fabric with 16 counters needs two passes.
static void one_socket_of_zen4(void **state)
{
    (void)state;
    put_amd("25", true, "0\n");
    perf_script.room = 16;
    struct uncore *u = opened();
    assert_int_equal(perf_script_opened(), 24);
    assert_int_equal(uncore_passes(u), 2);
    uncore_close(u);
}

// Zen 2 and 3 count requests of both ways together, in a fabric with 4 counters.
static void an_older_fabric_has_one_way(void **state)
{
    (void)state;
    double bytes[UNCORE_WAYS];
    put_amd("23", false, "0\n");
    perf_script.room = 4;
    perf_script.validates = true; // the other way to refuse a group
    struct uncore *u = opened();
    assert_false(uncore_separates(u));
    assert_int_equal(uncore_passes(u), 2);
    assert_int_equal(encoded(13, 0x3807, 0), 1);
    assert_int_equal(encoded(13, 0x1000038c7, 0), 1); // channel 7: event 0x1c7
    count_all(u, 2, bytes);
    bytes_are(bytes, 0, 0, 8 * 2 * 64);
    uncore_close(u);
}

static void what_is_not_counted_has_a_reason(void **state)
{
    (void)state;
    refused("there is no /sys/bus/event_source/devices");
    put("/proc/cpuinfo", "CPU implementer\t: 0x41\n");
    put_pmu("armv8_pmuv3_0", "type", "8\n");
    put_pmu("arm_cmn_0", "type", "9\n");
    refused("there is arm_cmn_0, armv8_pmuv3_0");
    put("/proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu vme\n");
    refused("modprobe intel_uncore");
    put("/proc/cpuinfo", "vendor_id\t: AuthenticAMD\nflags\t\t: fpu vme\n");
    refused("modprobe amd_uncore");
    put("/proc/cpuinfo", "vendor_id\t: AuthenticAMD\nflags\t\t: fpu vme hypervisor lahf_lm\n");
    refused("virtual machine");
    assert_int_equal(perf_script.count, 0);
}

// The machines of tests/machines: the VM that was captured shows the same as the trees here.
static void captured_machines_have_a_reason(void **state)
{
    (void)state;
    refused_at("tests/machines/arm-container", "there is no /sys/bus/event_source/devices");
    refused_at("tests/machines/epyc-vm", "this is a virtual machine");
}

static void refusals_say_what_lifts_them(void **state)
{
    (void)state;
    put_intel();
    put("/proc/sys/kernel/perf_event_paranoid", "2\n");
    perf_script.refuse = EACCES;
    refused(
        "uncore_imc_0 counts the whole machine: not permitted: kernel.perf_event_paranoid is 2");
    put("/proc/sys/kernel/perf_event_paranoid", "-1\n");
    perf_script.refuse = EPERM;
    refused("though kernel.perf_event_paranoid is -1: a container needs");
    perf_script.refuse = ENODEV;
    refused("offers no such counter");
    perf_script.refuse = EMFILE;
    refused("ulimit -n");
    perf_script.refuse = 0;
    perf_script.held = true;
    refused("another program may hold its counters");
}

static void broken_files_are_named(void **state)
{
    (void)state;
    put_intel();
    put_pmu("uncore_imc_1", "events/cas_count_read.unit", "Bytes\n");
    refused("uncore_imc_1/events/cas_count_read.unit is not MiB");
    put_pmu("uncore_imc_1", "events/cas_count_read.unit", "MiB\n");
    put_pmu("uncore_imc_1", "events/cas_count_read.scale", "0\n");
    refused("cas_count_read.scale is 0");
    put_imc("uncore_imc_1", "71\n");
    put_pmu("uncore_imc_2", "format/umask", "config:8-14\n"); // too narrow for 0xcf
    refused("uncore_imc_2/format/umask does not place 0xcf");
    put_pmu("uncore_imc_2", "format/umask", "words:8-15\n");
    refused("uncore_imc_2/format/umask does not place 0xcf");
    put_pmu("uncore_imc_2", "format/umask", "config:8-15\n");
    put_pmu("uncore_imc_2", "cpumask", "none\n");
    refused("uncore_imc_2 names no processor");
    put_pmu("uncore_imc_2", "cpumask", "0-1\n");
    uncore_close(opened());
}

// A counter that another program took meanwhile has no bytes, not half of them.
static void a_shared_counter_has_no_bytes(void **state)
{
    (void)state;
    double bytes[UNCORE_WAYS];
    put_intel();
    struct uncore *u = opened();
    perf_script.held = true;
    count_all(u, 10, bytes);
    assert_true(isnan(bytes[UNCORE_READ]) && isnan(bytes[UNCORE_WRITE]));
    uncore_close(u);
}

// The known load: all controllers together must see about its bytes.
static void a_wrong_count_is_refused(void **state)
{
    (void)state;
    enum { LOAD = 1 << 20, EVENTS = 6 };
    char reason[UNCORE_REASON_BYTES] = "";
    put_intel();
    struct uncore *u = opened();
    perf_script.a_stop = LOAD / 64 / EVENTS;
    assert_true(uncore_right(u, LOAD, reason));
    perf_script.a_stop =
        LOAD / 64 / EVENTS / 2; // as a controller whose second scheduler is not counted
    assert_false(uncore_right(u, LOAD, reason));
    assert_non_null(strstr(reason, "Intel uncore_imc counted 1 MB under a known load of 1 MB"));
    perf_script.a_stop = 0;
    assert_false(uncore_right(u, LOAD, reason));
    perf_script.a_stop = LOAD / 64 / EVENTS * 2;
    assert_false(uncore_right(u, LOAD, reason));
    perf_script.held = true;
    assert_false(uncore_right(u, LOAD, reason));
    assert_non_null(strstr(reason, "Intel uncore_imc does not count: another program"));
    uncore_close(u);
}

#define IN_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_ROOT(intel_controllers_of_two_sockets),
        IN_ROOT(both_schedulers_count),
        IN_ROOT(free_running_counters_where_there_are_no_others),
        IN_ROOT(amd_controllers_of_two_sockets),
        IN_ROOT(the_fabric_counts_in_passes),
        IN_ROOT(zen5_adds_the_sockets_up),
        IN_ROOT(one_socket_of_zen4),
        IN_ROOT(an_older_fabric_has_one_way),
        IN_ROOT(what_is_not_counted_has_a_reason),
        IN_ROOT(captured_machines_have_a_reason),
        IN_ROOT(refusals_say_what_lifts_them),
        IN_ROOT(broken_files_are_named),
        IN_ROOT(a_shared_counter_has_no_bytes),
        IN_ROOT(a_wrong_count_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
