// isa.h - the tiers of a device: instruction sets of a processor, compute capabilities of a GPU.
//
// A tier is a bit, and functions take a mask of tiers as an argument. So any tier can be forced, and one machine can
// test every kernel variant. A bit has its meaning within one kind of device only.
#ifndef DEVICE_ISA_H
#define DEVICE_ISA_H

#include <stdbool.h>
#include <stddef.h>

enum device_kind { DEVICE_HOST, DEVICE_CUDA, DEVICE_METAL, DEVICE_KINDS };

enum device_isa {
    ISA_AVX2 = 1 << 0,        // with FMA and F16C
    ISA_AVX512 = 1 << 1,      // F, BW, DQ, VL
    ISA_AVX512_BF16 = 1 << 2, // bf16 dot
    ISA_AVX512_VNNI = 1 << 3, // int8 dot
    ISA_AMX_BF16 = 1 << 4,
    ISA_AMX_INT8 = 1 << 5,
    ISA_NEON = 1 << 8,
    ISA_NEON_BF16 = 1 << 9,
    ISA_NEON_DOT = 1 << 10,

    // DEVICE_CUDA: each capability includes the lower ones, but only that chip runs sm_90a.
    ISA_SM80 = 1 << 0,
    ISA_SM89 = 1 << 1, // fp8 tensor cores
    ISA_SM90 = 1 << 2,
    ISA_SM90A = 1 << 3, // wgmma, TMA

    ISA_ALL = 0xffff, // no limit, on any kind
};

// The tiers that this processor has and its operating system saves (CPUID and XGETBV; hwcaps; sysctl).
unsigned device_isa_host(void);

// Parses a list such as "avx2,avx512,avx512_bf16". A tier's name includes all tiers that it builds on: "ref" (none),
// "avx2", "avx512", "avx512_bf16", ..., "all". An unknown word returns false and leaves *mask unchanged. The text for
// no tier is "ref"; words that do not fit in out_bytes are omitted.
bool device_isa_parse(enum device_kind kind, const char *words, unsigned *mask);
char *device_isa_text(enum device_kind kind, unsigned mask, char *out, size_t out_bytes);

#endif
