// test_cpu.c - what kernel_cpu_isa() finds, against what the kernel of the operating system says.
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
    unsigned isa = kernel_cpu_isa();
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        const char *word = arm ? flags[i].arm : flags[i].x86;
        bool there = word && strstr(line, word);
        if (there != ((isa & flags[i].bit) != 0))
            fail_msg("bit %#x: cpuinfo %d, kernel_cpu_isa %#x", flags[i].bit, there, isa);
    }
}

static void what_it_finds_can_be_run(void **state)
{
    (void)state;
    size_t count;
    const struct kernel *table = kernel_table(&count);
    static float seed[PEAK_SEED_BYTES / sizeof(float)];
    for (size_t i = 0; i < count; i++) {
        if (table[i].op != KOP_PEAK || (table[i].isa & ~kernel_cpu_isa()) != 0)
            continue;
        float sink = 0;
        kernel_peak_seed(table[i].w, 1, seed);
        assert_true(table[i].fn.peak(seed, 10, &sink) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_system),
        cmocka_unit_test(what_it_finds_can_be_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
