// test_machine.c - the machine record of captured machines, of this one, and of broken captures.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/probe/source.h"
#include "kernels/kernels.h"

static void probe(const char *name, unsigned isa, const char *hypervisor, struct machine *out)
{
    char root[128], xml[160];
    struct error err = {0};
    snprintf(root, sizeof root, "tests/machines/%s", name);
    snprintf(xml, sizeof xml, "%s/topology.xml", root);
    struct machine_source source = {
        .root = root, .hwloc_xml = xml, .isa = isa, .hypervisor = hypervisor};
    if (machine_probe_at(&source, out, &err) != OK)
        fail_msg("%s: %s", name, err.message);
}

// "topology.cores" of an object.
static json_t *find(json_t *object, const char *path)
{
    char copy[128], *rest = copy;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *key; (key = strtok_r(rest, ".", &rest));)
        object = json_object_get(object, key);
    if (!object)
        fail_msg("%s: missing", path);
    return object;
}

static void expect_text(json_t *object, const char *path, const char *expected)
{
    json_t *value = find(object, path);
    if (!json_is_string(value))
        fail_msg("%s: no text", path);
    assert_string_equal(json_string_value(value), expected);
}

static void expect_int(json_t *object, const char *path, json_int_t expected)
{
    json_t *value = find(object, path);
    if (!json_is_integer(value))
        fail_msg("%s: no integer", path);
    assert_int_equal(json_integer_value(value), expected);
}

static void expect_null(json_t *object, const char *path)
{
    if (!json_is_null(find(object, path)))
        fail_msg("%s: not null", path);
}

static void virtual_machine(void **state)
{
    (void)state;
    struct machine m;
    probe("epyc-vm", ISA_AVX2 | ISA_AVX512, "KVMKVMKVM", &m);
    expect_text(m.hardware, "processor.model", "AMD EPYC");
    expect_text(m.hardware, "processor.vendor", "AuthenticAMD");
    expect_int(m.hardware, "processor.family", 25);
    expect_int(m.hardware, "processor.model_number", 17); // not "model name"
    expect_int(m.hardware, "processor.stepping", 1);
    assert_int_equal(json_array_size(find(m.hardware, "processor.isa")), 2);
    expect_int(m.hardware, "topology.cores", 2);
    expect_int(m.hardware, "memory_gib", 24);
    expect_text(m.hardware, "virtualization.hypervisor", "kvm");
    expect_text(m.hardware, "virtualization.container", "none");
    expect_null(m.hardware, "virtualization.platform");
    expect_null(m.hardware, "virtualization.memory_limit_bytes");
    expect_text(m.environment, "kernel", "6.18.44");
    expect_text(m.environment, "distribution", "Debian GNU/Linux 12 (bookworm)");
    expect_text(m.environment, "microcode", "0x1000065");
    expect_text(m.environment, "huge_pages.transparent", "madvise");
    expect_text(m.environment, "mitigations.spec_store_bypass", "Vulnerable");
    expect_int(m.environment, "memory_bytes", 24684084LL * 1024);
    expect_null(m.environment, "governor");
    expect_null(m.environment, "turbo");
    expect_int(m.now, "frequency_hz", 2596130000);
    machine_fini(&m);

    // The same files where CPUID has no name to give: the flag alone tells that something is there.
    probe("epyc-vm", 0, NULL, &m);
    expect_text(m.hardware, "virtualization.hypervisor", "unknown");
    assert_int_equal(json_array_size(find(m.hardware, "processor.isa")), 0);
    machine_fini(&m);
}

static void two_sockets(void **state)
{
    (void)state;
    struct machine m;
    probe("xeon-2s", ISA_AVX2, NULL, &m);
    expect_text(m.hardware, "processor.model", "Intel(R) Xeon(R) Platinum 8480+");
    expect_int(m.hardware, "topology.packages", 2);
    expect_int(m.hardware, "topology.cores", 8);
    expect_int(m.hardware, "topology.processing_units", 16);
    assert_int_equal(json_array_size(find(m.hardware, "topology.numa")), 2);
    json_t *caches = find(m.hardware, "topology.caches");
    assert_int_equal(json_array_size(caches), 4); // equal ones in one row
    expect_int(json_array_get(caches, 3), "level", 3);
    expect_int(json_array_get(caches, 3), "instances", 2);
    expect_int(json_array_get(caches, 3), "processing_units", 8);
    expect_text(m.hardware, "virtualization.hypervisor", "none");
    expect_text(m.hardware, "virtualization.platform", "PowerEdge R760");
    expect_text(m.environment, "governor", "performance");
    expect_text(m.environment, "turbo", "on");
    expect_int(m.environment, "max_frequency_hz", 3800000000);
    expect_int(m.now, "frequency_hz", 3795123000);
    expect_int(m.environment, "huge_pages.reserved", 64);
    expect_int(m.environment, "huge_pages.huge_page_bytes", 1 << 30);
    expect_text(m.environment, "smt", "on");
    machine_fini(&m);
}

static void arm_in_a_container(void **state)
{
    (void)state;
    struct machine m;
    probe("arm-container", ISA_NEON, NULL, &m);
    expect_null(m.hardware, "processor.model"); // ARM tells numbers only
    expect_null(m.hardware, "processor.family");
    expect_text(m.hardware, "processor.arm_implementer", "0x41");
    expect_text(m.hardware, "processor.arm_part", "0xd40");
    expect_null(m.hardware, "virtualization.hypervisor"); // no evidence either way
    expect_text(m.hardware, "virtualization.container", "kubernetes");
    expect_int(m.hardware, "virtualization.cpu_quota_millis", 1500); // the tightest on the way up
    expect_int(m.hardware, "virtualization.memory_limit_bytes", 12884901888);
    expect_null(m.environment, "microcode");
    expect_null(m.environment, "mitigations");
    expect_null(m.environment, "huge_pages.transparent");
    expect_null(m.now, "frequency_hz");
    machine_fini(&m);
}

static void unlike_cores(void **state)
{
    (void)state;
    struct machine m;
    probe("apple-m2", ISA_NEON, NULL, &m);
    expect_text(m.hardware, "processor.model", "Apple M2"); // hwloc's, for there is no cpuinfo
    json_t *kinds = find(m.hardware, "topology.kinds");
    assert_int_equal(json_array_size(kinds), 2);
    expect_text(json_array_get(kinds, 0), "type", "Efficiency");
    expect_text(json_array_get(kinds, 1), "type", "Performance");
    expect_int(json_array_get(kinds, 1), "cores", 4);
    assert_int_equal(json_array_size(find(m.hardware, "topology.caches")), 6);
    expect_null(m.hardware, "memory_gib");
    machine_fini(&m);
}

static int levels_of(const char *name, struct memory_level levels[MEMORY_LEVELS_MAX])
{
    char xml[160];
    struct error err = {0};
    hwloc_topology_t topology;
    snprintf(xml, sizeof xml, "tests/machines/%s/topology.xml", name);
    assert_int_equal(topology_load(xml, &topology, &err), OK);
    int count = topology_levels(topology, levels);
    hwloc_topology_destroy(topology);
    return count;
}

static void memory_levels(void **state)
{
    (void)state;
    struct memory_level l[MEMORY_LEVELS_MAX];
    assert_int_equal(levels_of("epyc-vm", l), 4);
    assert_string_equal(l[2].name, "L3");
    assert_int_equal(l[2].size_bytes, 32 << 20);
    assert_int_equal(l[2].cores, 2);
    assert_string_equal(l[3].name, "DRAM");

    assert_int_equal(levels_of("xeon-2s", l), 4);
    assert_int_equal(l[1].instances, 8);
    assert_int_equal(l[1].shared_by, 2);
    assert_int_equal(l[2].cores, 4);
    assert_int_equal(l[3].size_bytes, 512LL << 30);
    assert_int_equal(l[3].cores, 8);
    // one thread has one L2, five threads five, and none has more than there are
    assert_int_equal(topology_level_capacity(&l[1], 1), 2 << 20);
    assert_int_equal(topology_level_capacity(&l[1], 5), 10 << 20);
    assert_int_equal(topology_level_capacity(&l[1], 16), 16 << 20);
    assert_int_equal(topology_level_of(l, 4, 1, 40e3), 0);
    assert_int_equal(topology_level_of(l, 4, 1, 60e3), 1);
    assert_int_equal(topology_level_of(l, 4, 4, 60e6), 2);
    assert_int_equal(topology_level_of(l, 4, 4, 200e6), 3);
    assert_int_equal(topology_level_of(l, 4, 8, 200e6), 2); // the second socket's L3 as well

    // Unlike caches: the least for a core stands for all; no L3 here.
    assert_int_equal(levels_of("apple-m2", l), 3);
    assert_int_equal(l[0].size_bytes, 64 << 10);
    assert_int_equal(l[1].size_bytes, 4 << 20);
    assert_int_equal(l[1].cores, 4);
    assert_string_equal(l[2].name, "DRAM");
}

static void fingerprints(void **state)
{
    (void)state;
    struct machine a, b;
    probe("epyc-vm", ISA_AVX2, "KVMKVMKVM", &a);
    probe("epyc-vm", ISA_AVX2, "KVMKVMKVM", &b);
    assert_string_equal(a.fingerprint, b.fingerprint);
    assert_int_equal(strlen(a.fingerprint), 64);
    machine_fini(&b);
    probe("epyc-vm", ISA_AVX2, "VMwareVMware", &b); // virtualization is part of it
    assert_string_not_equal(a.fingerprint, b.fingerprint);
    machine_fini(&b);
    probe("xeon-2s", ISA_AVX2, NULL, &b);
    assert_string_not_equal(a.fingerprint, b.fingerprint);
    machine_fini(&b);
    machine_fini(&a);
}

// A virtual machine whose memory grew, with a newer kernel, another clock and other instruction sets in use, is the
// same machine. It once had six fingerprints in a quarter of an hour.
static void a_machine_that_grows_stays_the_same(void **state)
{
    (void)state;
    struct machine before, after;
    char one[65], other[65];
    struct error err = {0};
    probe("epyc-vm", ISA_AVX2, "KVMKVMKVM", &before);
    probe("epyc-vm-grown", ISA_AVX2 | ISA_AVX512, "KVMKVMKVM", &after);
    expect_int(before.hardware, "memory_gib", 24);
    expect_int(after.hardware, "memory_gib", 32);
    expect_int(json_array_get(find(before.hardware, "topology.numa"), 0), "memory_gib", 14);
    expect_int(json_array_get(find(after.hardware, "topology.numa"), 0), "memory_gib", 31);
    assert_string_equal(before.fingerprint, after.fingerprint);
    assert_int_equal(machine_processor_fingerprint(&before, one, &err), OK);
    assert_int_equal(machine_processor_fingerprint(&after, other, &err), OK);
    assert_string_equal(one, other);
    assert_string_not_equal(one, before.fingerprint);
    machine_fini(&after);
    machine_fini(&before);
}

// What makes another machine of it: each of these on its own, and a stored record says the same.
static void what_a_fingerprint_follows(void **state)
{
    (void)state;
    static const struct {
        const char *path, *key;
        json_int_t value;
    } changes[] = {{"processor", "stepping", 9},
                   {"processor", "family", 6},
                   {"topology", "cores", 4},
                   {"topology", "processing_units", 4}};
    static const char *const limits[] = {"cpu_quota_millis", "memory_limit_bytes"};
    struct machine m;
    char print[65];
    struct error err = {0};
    probe("epyc-vm", ISA_AVX2, "KVMKVMKVM", &m);
    assert_int_equal(machine_fingerprint(m.hardware, print, &err), OK);
    assert_string_equal(print, m.fingerprint);
    for (size_t i = 0; i < 2; i++) // set again for each session
        json_object_set_new(find(m.hardware, "virtualization"), limits[i], json_integer(7));
    assert_int_equal(machine_fingerprint(m.hardware, print, &err), OK);
    assert_string_equal(print, m.fingerprint);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        json_t *object = find(m.hardware, changes[i].path);
        json_t *kept = json_deep_copy(json_object_get(object, changes[i].key));
        json_object_set_new(object, changes[i].key, json_integer(changes[i].value));
        assert_int_equal(machine_fingerprint(m.hardware, print, &err), OK);
        assert_string_not_equal(print, m.fingerprint);
        json_object_set_new(object, changes[i].key, kept);
    }
    json_t *cache = json_array_get(find(m.hardware, "topology.caches"), 3);
    json_object_set_new(cache, "size_bytes", json_integer(1 << 20));
    assert_int_equal(machine_fingerprint(m.hardware, print, &err), OK);
    assert_string_not_equal(print, m.fingerprint);
    machine_fini(&m);
}

static void this_machine(void **state)
{
    (void)state;
    struct machine m, again;
    struct error err = {0};
    assert_int_equal(machine_probe(&m, &err), OK);
    assert_int_equal(machine_probe(&again, &err), OK);
    assert_string_equal(m.fingerprint, again.fingerprint);
    assert_true(json_integer_value(find(m.hardware, "topology.cores")) > 0);
    assert_true(json_is_string(find(m.build, "compiler")));
    const char *source =
        json_string_value(find(m.build, "source")); // tells changed trees of one commit apart
    assert_non_null(source);
    assert_int_equal(strspn(source, "0123456789abcdef"), 12);

    // No host name anywhere.
    char host[256] = "";
    FILE *file = fopen("/proc/sys/kernel/hostname", "r");
    if (file) {
        if (fgets(host, sizeof host, file))
            host[strcspn(host, "\n")] = 0;
        fclose(file);
    }
    char *text = json_dumps(m.hardware, JSON_COMPACT);
    if (strlen(host) > 4) // a shorter one may be part of another word
        assert_null(strstr(text, host));
    free(text);
    machine_fini(&again);
    machine_fini(&m);
    machine_fini(&m); // twice is legal
    machine_fini(NULL);
}

static void broken_captures(void **state)
{
    (void)state;
    static const char *const files[] = {"tests/machines/README.md", "tests/machines/missing.xml"};
    for (size_t i = 0; i < 2; i++) {
        struct machine m;
        struct error err = {0};
        struct machine_source source = {.root = "tests/machines/epyc-vm", .hwloc_xml = files[i]};
        assert_int_equal(machine_probe_at(&source, &m, &err), ERR_FORMAT);
        assert_non_null(strstr(err.message, files[i]));
        assert_null(m.hardware);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(virtual_machine),
        cmocka_unit_test(two_sockets),
        cmocka_unit_test(arm_in_a_container),
        cmocka_unit_test(unlike_cores),
        cmocka_unit_test(memory_levels),
        cmocka_unit_test(fingerprints),
        cmocka_unit_test(a_machine_that_grows_stays_the_same),
        cmocka_unit_test(what_a_fingerprint_follows),
        cmocka_unit_test(this_machine),
        cmocka_unit_test(broken_captures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
