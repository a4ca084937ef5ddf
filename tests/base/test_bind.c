// test_bind.c - the order of processing units on machines that are not here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bind.h"

static hwloc_topology_t machine(const char *description)
{
    hwloc_topology_t topology;
    assert_int_equal(hwloc_topology_init(&topology), 0);
    assert_int_equal(hwloc_topology_set_synthetic(topology, description), 0);
    assert_int_equal(hwloc_topology_load(topology), 0);
    return topology;
}

static void add_kind(hwloc_topology_t topology, unsigned first, unsigned last, int efficiency)
{
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    hwloc_bitmap_set_range(set, first, (int)last);
    assert_int_equal(hwloc_cpukinds_register(topology, set, efficiency, 0, NULL, 0), 0);
    hwloc_bitmap_free(set);
}

static void expect_order(hwloc_topology_t topology, hwloc_const_cpuset_t allowed, int cores,
                         int count, const unsigned *units)
{
    struct error err = {0};
    struct bind_order order;
    assert_int_equal(bind_order(topology, allowed, &order, &err), OK);
    assert_int_equal(order.cores, cores);
    assert_int_equal(order.count, count);
    for (int i = 0; i < count; i++)
        assert_int_equal(order.units[i], units[i]);
    bind_order_fini(&order);
}

static void cores_come_before_hardware_threads(void **state)
{
    (void)state;
    hwloc_topology_t topology = machine("pack:2 core:2 pu:2");
    static const unsigned expected[] = {0, 2, 4, 6, 1, 3, 5, 7};
    expect_order(topology, hwloc_topology_get_topology_cpuset(topology), 4, 8, expected);
    hwloc_topology_destroy(topology);
}

static void the_fastest_kind_comes_first(void **state)
{
    (void)state;
    hwloc_topology_t topology = machine("core:4 pu:2");
    add_kind(topology, 0, 3, 0); // small cores
    add_kind(topology, 4, 7, 1); // large ones
    static const unsigned expected[] = {4, 6, 0, 2, 5, 7, 1, 3};
    expect_order(topology, hwloc_topology_get_topology_cpuset(topology), 4, 8, expected);
    hwloc_topology_destroy(topology);
}

static void only_allowed_units_are_given(void **state)
{
    (void)state;
    hwloc_topology_t topology = machine("core:4 pu:2");
    hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
    assert_int_equal(hwloc_bitmap_list_sscanf(allowed, "1,4-5,7"), 0);
    static const unsigned expected[] = {1, 4, 7, 5};
    expect_order(topology, allowed, 3, 4, expected);
    hwloc_bitmap_free(allowed);
    hwloc_topology_destroy(topology);
}

static void nothing_allowed_is_an_error(void **state)
{
    (void)state;
    hwloc_topology_t topology = machine("core:2 pu:1");
    hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
    struct error err = {0};
    struct bind_order order;
    assert_int_equal(bind_order(topology, allowed, &order, &err), ERR_INTERNAL);
    bind_order_fini(&order);
    hwloc_bitmap_free(allowed);
    hwloc_topology_destroy(topology);
}

static void expect_cache(hwloc_topology_t topology, int units, size_t bytes)
{
    struct error err = {0};
    struct bind_order order;
    hwloc_const_cpuset_t all = hwloc_topology_get_topology_cpuset(topology);
    assert_int_equal(bind_order(topology, all, &order, &err), OK);
    assert_int_equal(bind_cache_bytes(topology, &order, units), bytes);
    bind_order_fini(&order);
}

static void a_shared_cache_counts_once(void **state)
{
    (void)state;
    hwloc_topology_t topology =
        machine("pack:2 l3:1(size=33554432) l2:4(size=1048576) core:1 pu:1");
    expect_cache(topology, 1, 32 << 20);
    expect_cache(topology, 4, 32 << 20);
    expect_cache(topology, 5, 64 << 20);
    hwloc_topology_destroy(topology);
    topology = machine("l2:2(size=4194304) core:4 pu:1");
    expect_cache(topology, 5, 8 << 20);
    hwloc_topology_destroy(topology);
    topology = machine("core:4 pu:1");
    expect_cache(topology, 4, 0);
    hwloc_topology_destroy(topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cores_come_before_hardware_threads),
        cmocka_unit_test(the_fastest_kind_comes_first),
        cmocka_unit_test(only_allowed_units_are_given),
        cmocka_unit_test(nothing_allowed_is_an_error),
        cmocka_unit_test(a_shared_cache_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
