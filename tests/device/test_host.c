// test_host.c - this build's own list, and the processor as a device.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "device/device.h"

static struct device *open_host(int threads, unsigned isa)
{
    struct error err = {0};
    struct device *device = NULL;
    struct device_options options = {.threads = threads, .isa = isa};
    if (device_open(DEVICE_DEFAULT, &options, &device, &err) != OK)
        fail_msg("%s", err.message);
    return device;
}

// The host comes first and is there; each other kind is listed, with a reason where it is not there.
static void this_builds_list(void **state)
{
    (void)state;
    struct device_info list[DEVICES_MAX];
    size_t count = device_list(list, DEVICES_MAX);
    bool seen[DEVICE_KINDS] = {false};
    assert_string_equal(list[0].name, DEVICE_DEFAULT);
    assert_true(list[0].available);
    assert_int_equal(list[0].isa, device_isa_host());
    assert_true(list[0].memory_bytes > 0);
    for (size_t i = 0; i < count; i++) {
        assert_true(device_word_known(list[i].name));
        assert_int_equal(device_word_kind(list[i].name), list[i].kind);
        assert_int_equal(list[i].available, list[i].reason[0] == '\0');
        seen[list[i].kind] = true;
    }
    for (int kind = 0; kind < DEVICE_KINDS; kind++)
        assert_true(seen[kind]);
}

static void it_is_its_pool(void **state)
{
    (void)state;
    struct device *device = open_host(1, ISA_ALL);
    const struct device_info *info = device_info(device);
    assert_non_null(device_pool(device));
    assert_int_equal(info->units, 1);
    assert_int_equal(info->units, pool_threads(device_pool(device)));
    assert_int_equal(info->cache_bytes, pool_cache_bytes(device_pool(device)));
    assert_int_equal(device_target(device).where, DEVICE_HOST);
    assert_int_equal(device_target(device).isa, device_isa_host());
    device_close(device);
    device = open_host(1, 0);
    assert_int_equal(device_target(device).isa, 0);
    device_close(device);

    struct error err = {0};
    struct device_options many = {.threads = 1 << 15, .isa = ISA_ALL};
    assert_int_equal(device_open(DEVICE_DEFAULT, &many, &device, &err), ERR_USAGE);
    assert_null(device);
}

static void its_clock_is_the_clock(void **state)
{
    (void)state;
    struct device *device = open_host(1, ISA_ALL);
    uint64_t before = clock_ns(), now = device_now_ns(device), after = clock_ns();
    assert_true(before <= now && now <= after);
    assert_int_equal(device_clock_tie(device).ahead_ns, 0);
    assert_int_equal(device_wait_ns(device), pool_wait_ns(device_pool(device)));
    device_close(device);
}

static void its_memory_is_ours(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = open_host(1, ISA_ALL);
    struct device_memory memory = device_memory(device);
    assert_true(memory.total_bytes >= memory.available_bytes);
    unsigned char *there = device_alloc(device, 1000), in[1000], out[1000] = {0};
    assert_non_null(there);
    assert_int_equal((uintptr_t)there % 256, 0);
    for (int i = 0; i < 1000; i++)
        in[i] = (unsigned char)(i * 7);
    assert_int_equal(device_copy_in(device, there, in, sizeof in, &err), OK);
    assert_int_equal(device_copy_out(device, out, there, sizeof out, &err), OK);
    assert_memory_equal(in, out, sizeof in);
    device_free(device, there);
    assert_null(device_alloc(device, SIZE_MAX / 2 + 1));
    device_close(device);
}

static int add_worker(void *native, void *arg)
{
    *(int *)arg += pool_threads(native);
    return 0;
}

static int fail_to_launch(void *native, void *arg)
{
    (void)native;
    (void)arg;
    return 12; // ENOMEM
}

static void its_queue_runs_at_once(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = open_host(1, ISA_ALL);
    struct device_queue *queue = NULL;
    int sum = 0;
    assert_int_equal(device_queue_create(device, &queue, &err), OK);
    assert_ptr_equal(device_queue_native(queue), device_pool(device));
    assert_int_equal(device_queue_submit(queue, add_worker, &sum, &err), OK);
    assert_int_equal(sum, 1);
    assert_int_equal(device_queue_wait(queue, &err), OK);
    assert_int_equal(device_queue_submit(queue, fail_to_launch, NULL, &err), ERR_NOMEM);
    assert_non_null(strstr(err.message, "device cpu: a kernel could not be launched: "));
    device_queue_destroy(queue);
    device_close(device);
}

// Its probes are rows of the kernel registry.
static void it_has_no_probes_of_its_own(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = open_host(1, ISA_ALL);
    struct device_probe probe;
    double rate;
    bool disturbed;
    assert_int_equal(device_probes(device, &probe, 1), 0);
    assert_int_equal(device_probe_run(device, 0, &rate, &disturbed, &err), ERR_INTERNAL);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_builds_list),       cmocka_unit_test(it_is_its_pool),
        cmocka_unit_test(its_clock_is_the_clock), cmocka_unit_test(its_memory_is_ours),
        cmocka_unit_test(its_queue_runs_at_once), cmocka_unit_test(it_has_no_probes_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
