// isa.c - the names of tiers, and the instruction sets that both this processor and its system support.
//
// A CPUID bit alone is not enough: if the system does not save a register file on a context switch, its instructions
// fault or lose data. XGETBV reports which register files it saves (Intel SDM vol. 1, 13.3). On Linux, AMX also needs a
// permission for each process (arch_prctl ARCH_REQ_XCOMP_PERM). The first AMX row of the kernel registry must request
// it. Until then the AMX bits only describe the machine.
#include "device/isa.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

// State components of XCR0: SSE and AVX; three for AVX-512; two for AMX.
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

unsigned device_isa_host(void)
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

unsigned device_isa_host(void)
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

unsigned device_isa_host(void)
{
    return ISA_NEON | (feature("hw.optional.arm.FEAT_DotProd") ? ISA_NEON_DOT : 0) |
           (feature("hw.optional.arm.FEAT_BF16") ? ISA_NEON_BF16 : 0);
}

#else

unsigned device_isa_host(void)
{
    return 0;
}

#endif

// ---- tiers by name -----------------------------------------------------------------------------------

// Each tier includes all tiers that it builds on, so that its name forces that tier.
struct isa_word {
    enum device_kind kind; // DEVICE_KINDS: for every kind
    const char *word;
    unsigned bit, mask;
};

enum {
    TIER_AVX512 = ISA_AVX2 | ISA_AVX512,
    TIER_AMX = TIER_AVX512 | ISA_AVX512_BF16 | ISA_AVX512_VNNI,
    TIER_SM89 = ISA_SM80 | ISA_SM89,
    TIER_SM90 = TIER_SM89 | ISA_SM90,
};

static const struct isa_word isa_words[] = {
    {DEVICE_KINDS, "ref", 0, 0},
    {DEVICE_HOST, "avx2", ISA_AVX2, ISA_AVX2},
    {DEVICE_HOST, "avx512", ISA_AVX512, TIER_AVX512},
    {DEVICE_HOST, "avx512_bf16", ISA_AVX512_BF16, TIER_AVX512 | ISA_AVX512_BF16},
    {DEVICE_HOST, "avx512_vnni", ISA_AVX512_VNNI, TIER_AVX512 | ISA_AVX512_VNNI},
    {DEVICE_HOST, "amx_bf16", ISA_AMX_BF16, TIER_AMX | ISA_AMX_BF16},
    {DEVICE_HOST, "amx_int8", ISA_AMX_INT8, TIER_AMX | ISA_AMX_INT8},
    {DEVICE_HOST, "neon", ISA_NEON, ISA_NEON},
    {DEVICE_HOST, "neon_bf16", ISA_NEON_BF16, ISA_NEON | ISA_NEON_BF16},
    {DEVICE_HOST, "neon_dot", ISA_NEON_DOT, ISA_NEON | ISA_NEON_DOT},
    {DEVICE_CUDA, "sm_80", ISA_SM80, ISA_SM80},
    {DEVICE_CUDA, "sm_89", ISA_SM89, TIER_SM89},
    {DEVICE_CUDA, "sm_90", ISA_SM90, TIER_SM90},
    {DEVICE_CUDA, "sm_90a", ISA_SM90A, TIER_SM90 | ISA_SM90A},
    {DEVICE_KINDS, "all", 0, ISA_ALL},
};

static bool is_of(const struct isa_word *word, enum device_kind kind)
{
    return word->kind == kind || word->kind == DEVICE_KINDS;
}

static const struct isa_word *isa_word(enum device_kind kind, const char *word, size_t length)
{
    for (size_t i = 0; i < sizeof isa_words / sizeof isa_words[0]; i++)
        if (is_of(&isa_words[i], kind) && strlen(isa_words[i].word) == length &&
            memcmp(isa_words[i].word, word, length) == 0)
            return &isa_words[i];
    return NULL;
}

bool device_isa_parse(enum device_kind kind, const char *words, unsigned *mask)
{
    unsigned sum = 0;
    for (;;) {
        words += strspn(words, " ");
        size_t length = strcspn(words, ", ");
        const struct isa_word *known = isa_word(kind, words, length);
        if (!known)
            return false;
        sum |= known->mask;
        words += length;
        words += strspn(words, " ");
        if (*words == '\0')
            break;
        if (*words++ != ',')
            return false;
    }
    *mask = sum;
    return true;
}

char *device_isa_text(enum device_kind kind, unsigned mask, char *out, size_t out_bytes)
{
    size_t used = 0;
    if (out_bytes)
        out[0] = '\0';
    for (size_t i = 0; i < sizeof isa_words / sizeof isa_words[0]; i++) {
        const struct isa_word *known = &isa_words[i];
        size_t length = strlen(known->word);
        bool wanted = known->bit ? (mask & known->bit) != 0 : mask == known->mask;
        if (!is_of(known, kind) || !wanted || known->mask == ISA_ALL ||
            used + length + 2 > out_bytes)
            continue;
        if (used)
            out[used++] = ',';
        memcpy(out + used, known->word, length + 1);
        used += length;
    }
    return out;
}
