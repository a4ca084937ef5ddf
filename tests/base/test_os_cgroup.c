// test_os_cgroup.c - limits of control groups of both versions, read from folders like /proc and /sys.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/os.h"
#include "base/os_cgroup.h"

#ifdef __linux__

static char root[64];

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/ridge-test-cgroup-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    struct error err = {0};
    return file_remove_tree(root, &err) == OK ? 0 : -1;
}

static void put(const char *path, const char *text)
{
    struct error err = {0};
    char full[512], dir[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    snprintf(dir, sizeof dir, "%s", full);
    *strrchr(dir, '/') = '\0';
    file_make_dirs(dir, &err);
    file_write(full, text, strlen(text), &err);
    if (err.code != OK)
        fail_msg("%s", err.message);
}

static void nothing_is_unknown(void **state)
{
    (void)state;
    assert_true(cgroup_memory_limit_bytes(root) == OS_UNKNOWN);
    assert_true(cgroup_memory_free_bytes(root) == OS_UNKNOWN);
    assert_true(cgroup_oom_kill_count(root) == OS_UNKNOWN);
    assert_true(cgroup_cpu_quota_millis(root) == OS_UNKNOWN);
    assert_true(cgroup_throttled_ns(root) == OS_UNKNOWN);
    assert_true(cgroup_throttled_periods(root) == OS_UNKNOWN);
}

static void version_2_counts_the_tightest_on_the_way_up(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/slice/own\n");
    put("/sys/fs/cgroup/slice/own/memory.max", "max\n");
    put("/sys/fs/cgroup/slice/own/memory.current", "100\n");
    put("/sys/fs/cgroup/slice/memory.max", "5000\n");
    put("/sys/fs/cgroup/slice/memory.current", "4500\n");
    put("/sys/fs/cgroup/slice/memory.stat", "anon 7\ninactive_file 250\n");
    put("/sys/fs/cgroup/slice/own/memory.events", "low 0\noom 3\noom_kill 2\n");
    put("/sys/fs/cgroup/slice/own/cpu.max", "250000 100000\n");
    put("/sys/fs/cgroup/slice/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/cpu.max", "150000 100000\n");
    put("/sys/fs/cgroup/slice/own/cpu.stat",
        "usage_usec 9\nnr_periods 40\nnr_throttled 12\nthrottled_usec 3456\n");
    assert_int_equal(cgroup_memory_limit_bytes(root), 5000);
    assert_int_equal(cgroup_memory_free_bytes(root), 750);
    assert_int_equal(cgroup_oom_kill_count(root), 2);
    assert_int_equal(cgroup_cpu_quota_millis(root), 1500);
    assert_int_equal(cgroup_throttled_ns(root), 3456000);
    assert_int_equal(cgroup_throttled_periods(root), 12);
}

static void version_1_is_read_by_its_own_names(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "5:memory:/docker/c0ffee\n3:cpuacct,cpu:/docker/c0ffee\n1:name=x:/\n");
    // the host's path is not there in a container: its root has the limits
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "6000\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n");
    put("/sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n");
    put("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\noom_kill 4\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "320000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.stat",
        "nr_periods 9\nnr_throttled 5\nthrottled_time 7777\n");
    assert_int_equal(cgroup_memory_limit_bytes(root), 6000);
    assert_int_equal(cgroup_memory_free_bytes(root), 5500);
    assert_int_equal(cgroup_oom_kill_count(root), 4);
    assert_int_equal(cgroup_cpu_quota_millis(root), 3200);
    assert_int_equal(cgroup_throttled_ns(root), 7777);
    assert_int_equal(cgroup_throttled_periods(root), 5);
}

static void version_1_without_limits_has_none(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "5:memory:/\n3:cpu:/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_true(cgroup_memory_limit_bytes(root) == OS_UNKNOWN);
    assert_true(cgroup_cpu_quota_millis(root) == OS_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_unknown, make_root, remove_root),
        cmocka_unit_test_setup_teardown(version_2_counts_the_tightest_on_the_way_up, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(version_1_is_read_by_its_own_names, make_root, remove_root),
        cmocka_unit_test_setup_teardown(version_1_without_limits_has_none, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void control_groups_are_of_linux(void **state)
{
    (void)state;
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(control_groups_are_of_linux)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
