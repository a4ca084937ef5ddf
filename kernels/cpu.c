// cpu.c - which instruction sets this processor has and its operating system saves.
//
// A CPUID bit alone is not enough: where the system does not save a register file on a context switch,
// its instructions fault or lose data. XGETBV tells what it saves (Intel SDM vol. 1, 13.3). On Linux
// AMX needs a permission a process on top of that (arch_prctl ARCH_REQ_XCOMP_PERM): the first AMX row
// must bring it; until then the AMX bits only describe the machine.
#include "kernels/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>

// State components of XCR0: SSE and AVX; the three of AVX-512; the two of AMX.
enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe0, XCR0_AMX = 0x60000 };

static uint64_t saved_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has(uint64_t word, uint64_t bits)
{
    return (word & bits) == bits;
}

unsigned kernel_cpu_isa(void)
{
    unsigned a, b, c, d, isa = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, bit_OSXSAVE))
        return 0;
    uint64_t state = saved_state();
    bool fma_f16c = has(c, bit_FMA | bit_F16C | bit_AVX);
    if (!has(state, XCR0_AVX) || !fma_f16c || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    if (!has(b, bit_AVX2))
        return 0;
    isa |= ISA_AVX2;
    unsigned sub1_a = 0, unused_b, unused_c, unused_d;
    if (a >= 1)
        __get_cpuid_count(7, 1, &sub1_a, &unused_b, &unused_c, &unused_d);
    if (has(state, XCR0_AVX512) &&
        has(b, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL)) {
        isa |= ISA_AVX512;
        isa |= has(c, bit_AVX512VNNI) ? ISA_AVX512_VNNI : 0;
        isa |= has(sub1_a, 1u << 5) ? ISA_AVX512_BF16 : 0; // AVX512_BF16
    }
    if (has(state, XCR0_AMX) && has(d, 1u << 24)) { // AMX_TILE
        isa |= has(d, 1u << 22) ? ISA_AMX_BF16 : 0;
        isa |= has(d, 1u << 25) ? ISA_AMX_INT8 : 0;
    }
    return isa;
}

#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

// Bits of AT_HWCAP and AT_HWCAP2 (Linux, Documentation/arm64/elf_hwcaps.rst).
enum { CAP_ASIMD = 1 << 1, CAP_ASIMDDP = 1 << 20, CAP2_BF16 = 1 << 14 };

unsigned kernel_cpu_isa(void)
{
    unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
    if (!(cap & CAP_ASIMD))
        return 0;
    return ISA_NEON | (cap & CAP_ASIMDDP ? ISA_NEON_DOT : 0) |
           (cap2 & CAP2_BF16 ? ISA_NEON_BF16 : 0);
}

#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>

static bool feature(const char *name)
{
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, NULL, 0) == 0 && value != 0;
}

unsigned kernel_cpu_isa(void)
{
    return ISA_NEON | (feature("hw.optional.arm.FEAT_DotProd") ? ISA_NEON_DOT : 0) |
           (feature("hw.optional.arm.FEAT_BF16") ? ISA_NEON_BF16 : 0);
}

#else

unsigned kernel_cpu_isa(void)
{
    return 0;
}

#endif
