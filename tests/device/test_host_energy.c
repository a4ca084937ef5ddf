// test_host_energy.c - RAPL's domains of trees of files: which are added up, how they begin again, and what is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "device/host_energy.h"

static char root[64];

static void put(const char *domain, const char *file, const char *text)
{
    char path[256];
    struct error err = {0};
    snprintf(path, sizeof path, "%s/sys/class/powercap/%s", root, domain);
    assert_int_equal(file_make_dirs(path, &err), OK);
    snprintf(path, sizeof path, "%s/sys/class/powercap/%s/%s", root, domain, file);
    assert_int_equal(file_write(path, text, strlen(text), &err), OK);
}

static void put_domain(const char *domain, const char *name, const char *uj, const char *range)
{
    put(domain, "name", name);
    put(domain, "energy_uj", uj);
    put(domain, "max_energy_range_uj", range);
}

// As a server with two Intel processors shows them: /sys/class/powercap has links to all domains, side by side.
static void two_intel_packages(void)
{
    put("intel-rapl", "enabled", "1\n");
    put_domain("intel-rapl:0", "package-0\n", "1000000\n", "262143328850\n");
    put_domain("intel-rapl:0:0", "dram\n", "500000\n", "65712999613\n");
    put_domain("intel-rapl:1", "package-1\n", "2000000\n", "262143328850\n");
    put_domain("intel-rapl:1:0", "dram\n", "600000\n", "65712999613\n");
    put_domain("intel-rapl:2", "psys\n", "90000000\n", "262143328850\n");
    put_domain("intel-rapl-mmio:0", "package-0\n", "1000000\n", "262143328850\n");
}

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/ridge-rapl-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    struct error err = {0};
    return file_remove_tree(root, &err) == OK ? 0 : -1;
}

static double joules_of(struct device_rapl *rapl)
{
    struct device_energy energy;
    struct error err = {0};
    if (device_rapl_read(rapl, &energy, &err) != OK)
        fail_msg("%s", err.message);
    assert_int_equal(energy.update_ns, 1000000);
    return energy.joules;
}

static void opened(struct device_rapl *rapl)
{
    struct error err = {0};
    if (device_rapl_open(root, rapl, &err) != OK)
        fail_msg("%s", err.message);
}

static void refused(const char *words)
{
    struct device_rapl rapl;
    struct error err = {0};
    assert_int_equal(device_rapl_open(root, &rapl, &err), ERR_UNSUPPORTED);
    if (!strstr(err.message, words))
        fail_msg("'%s' instead of '%s'", err.message, words);
}

static void packages_and_their_memory_are_added(void **state)
{
    (void)state;
    struct device_rapl rapl;
    two_intel_packages();
    opened(&rapl);
    assert_int_equal(rapl.count, 4); // no psys, and no package twice
    double before = joules_of(&rapl);
    put("intel-rapl:0", "energy_uj", "4000000\n");      // 3 J
    put("intel-rapl:0:0", "energy_uj", "750000\n");     // 0.25 J
    put("intel-rapl:1", "energy_uj", "2500000\n");      // 0.5 J
    put("intel-rapl:2", "energy_uj", "99000000\n");     // the platform's
    put("intel-rapl-mmio:0", "energy_uj", "4000000\n"); // the first again
    assert_true(fabs(joules_of(&rapl) - before - 3.75) < 1e-9);
    assert_true(strstr(rapl.source, "package") && strstr(rapl.source, "dram"));
}

static void a_counter_begins_again(void **state)
{
    (void)state;
    struct device_rapl rapl;
    put_domain("intel-rapl:0", "package-0\n", "65532000000\n", "65532610987\n"); // AMD's
    put_domain("intel-rapl:0:0", "core\n", "5\n", "65532610987\n");
    opened(&rapl);
    assert_int_equal(rapl.count, 1);
    assert_string_equal(rapl.source, "RAPL counters: package");
    double before = joules_of(&rapl);
    put("intel-rapl:0", "energy_uj", "1389013\n");
    assert_true(fabs(joules_of(&rapl) - before - 2) < 1e-9);
    put("intel-rapl:0", "energy_uj", "2389013\n");
    assert_true(fabs(joules_of(&rapl) - before - 3) < 1e-9);
}

static void what_counts_nothing_says_why(void **state)
{
    (void)state;
    char path[256];
    struct device_rapl rapl;
    struct device_energy energy;
    struct error err = {0};
    refused("there is no ");
    put("dtpm", "name", "dtpm\n");
    refused("modprobe intel_rapl_msr");
    put("intel-rapl:0", "name", "package-0\n");
    refused("intel-rapl:0/energy_uj cannot be read: No such file");
    put("intel-rapl:0", "energy_uj", "many\n");
    refused("cannot be read: Invalid argument");
    put_domain("intel-rapl:0", "package-0\n", "1\n", "2\n");
    snprintf(path, sizeof path, "%s/sys/class/powercap/intel-rapl:0/energy_uj", root);
    if (geteuid() != 0) { // as Linux gives it since 5.10
        assert_int_equal(chmod(path, 0), 0);
        refused("may be read by root alone");
        assert_int_equal(chmod(path, 0600), 0);
    }
    opened(&rapl);
    assert_int_equal(unlink(path), 0); // the module was removed meanwhile
    assert_int_equal(device_rapl_read(&rapl, &energy, &err), ERR_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(packages_and_their_memory_are_added, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(a_counter_begins_again, make_root, remove_root),
        cmocka_unit_test_setup_teardown(what_counts_nothing_says_why, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
