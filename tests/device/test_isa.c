// test_isa.c - tiers by name, and what device_isa_host() finds against what the operating system says.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"

struct flag_word {
    unsigned bit;
    const char *x86, *arm; // as /proc/cpuinfo writes them
};

static const struct flag_word flags[] = {
    {ISA_AVX2, " avx2 ", NULL},
    {ISA_AVX512, " avx512bw ", NULL},
    {ISA_AVX512_BF16, " avx512_bf16 ", NULL},
    {ISA_AVX512_VNNI, " avx512_vnni ", NULL},
    {ISA_AMX_BF16, " amx_bf16 ", NULL},
    {ISA_AMX_INT8, " amx_int8 ", NULL},
    {ISA_NEON, NULL, " asimd "},
    {ISA_NEON_BF16, NULL, " bf16 "},
    {ISA_NEON_DOT, NULL, " asimddp "},
};

// The flags line of the first processor with a space at both ends; false where there is no such file.
static bool flags_line(char *line, size_t bytes, bool *arm)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    bool found = false;
    while (file && !found && fgets(line, (int)bytes - 2, file)) {
        *arm = strncmp(line, "Features", 8) == 0;
        found = *arm || strncmp(line, "flags", 5) == 0;
    }
    if (file)
        fclose(file);
    if (found)
        strcpy(line + strcspn(line, "\n"), " ");
    return found;
}

static void agrees_with_the_system(void **state)
{
    (void)state;
    char line[8192];
    bool arm;
    if (!flags_line(line, sizeof line, &arm)) {
        print_message("no flags in /proc/cpuinfo: nothing to compare with\n");
        skip();
    }
    unsigned isa = device_isa_host();
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        const char *word = arm ? flags[i].arm : flags[i].x86;
        bool there = word && strstr(line, word);
        if (there != ((isa & flags[i].bit) != 0))
            fail_msg("bit %#x: cpuinfo %d, device_isa_host %#x", flags[i].bit, there, isa);
    }
}

static void what_it_finds_can_be_run(void **state)
{
    (void)state;
    size_t count;
    const struct kernel *table = kernel_table(&count);
    static float seed[PEAK_SEED_BYTES / sizeof(float)];
    for (size_t i = 0; i < count; i++) {
        if (table[i].op != KOP_PEAK || (table[i].isa & ~device_isa_host()) != 0)
            continue;
        float sink = 0;
        kernel_peak_seed(table[i].w, 1, seed);
        assert_true(table[i].fn.peak(seed, 10, &sink) > 0);
    }
}

static void tiers_parse_with_what_they_build_on(void **state)
{
    (void)state;
    unsigned mask = 77;
    assert_true(device_isa_parse(DEVICE_HOST, "ref", &mask));
    assert_int_equal(mask, 0);
    assert_true(device_isa_parse(DEVICE_HOST, "avx512_bf16", &mask));
    assert_int_equal(mask, ISA_AVX2 | ISA_AVX512 | ISA_AVX512_BF16);
    assert_true(device_isa_parse(DEVICE_HOST, "avx2, neon_dot", &mask));
    assert_int_equal(mask, ISA_AVX2 | ISA_NEON | ISA_NEON_DOT);
    assert_true(device_isa_parse(DEVICE_HOST, "all", &mask));
    assert_int_equal(mask, ISA_ALL);
    static const char *const wrong[] = {"",     "avx",   "avx2,", ",avx2", "avx2 avx512",
                                        "AVX2", "avx2,x"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(device_isa_parse(DEVICE_HOST, wrong[i], &mask));
        assert_int_equal(mask, ISA_ALL);
    }
}

static void a_mask_reads_back(void **state)
{
    (void)state;
    char text[128], tiny[8];
    unsigned mask;
    assert_string_equal(device_isa_text(DEVICE_HOST, 0, text, sizeof text), "ref");
    assert_string_equal(device_isa_text(DEVICE_HOST, ISA_AVX2 | ISA_AVX512, text, sizeof text),
                        "avx2,avx512");
    assert_string_equal(device_isa_text(DEVICE_HOST, ISA_AVX2 | ISA_AVX512, tiny, sizeof tiny),
                        "avx2");
    assert_true(device_isa_parse(
        DEVICE_HOST, device_isa_text(DEVICE_HOST, device_isa_host(), text, sizeof text), &mask));
    assert_int_equal(mask, device_isa_host());
}

static void each_kind_has_words_of_its_own(void **state)
{
    (void)state;
    char text[64];
    unsigned mask = 77;
    assert_false(device_isa_parse(DEVICE_CUDA, "avx2", &mask));
    assert_false(device_isa_parse(DEVICE_HOST, "sm_90", &mask));
    assert_int_equal(mask, 77);
    assert_true(device_isa_parse(DEVICE_CUDA, "sm_90", &mask));
    assert_int_equal(mask, ISA_SM80 | ISA_SM89 | ISA_SM90);
    assert_string_equal(device_isa_text(DEVICE_CUDA, mask, text, sizeof text), "sm_80,sm_89,sm_90");
    assert_true(device_isa_parse(DEVICE_CUDA, "all", &mask));
    assert_int_equal(mask, ISA_ALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_system),
        cmocka_unit_test(what_it_finds_can_be_run),
        cmocka_unit_test(tiers_parse_with_what_they_build_on),
        cmocka_unit_test(a_mask_reads_back),
        cmocka_unit_test(each_kind_has_words_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
