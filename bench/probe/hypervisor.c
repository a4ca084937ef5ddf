// hypervisor.c - reads the hypervisor's signature from CPUID; no file has it.
#include <stddef.h>
#include <string.h>

#include "bench/probe/source.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

const char *system_hypervisor(char out[13])
{
    unsigned a, b, c, d;
    const unsigned present = 1u << 31; // leaf 1, ECX: reserved for hypervisors (AMD APM, Intel SDM)
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & present))
        return NULL;
    __cpuid(0x40000000, a, b, c, d);
    memcpy(out, &b, 4);
    memcpy(out + 4, &c, 4);
    memcpy(out + 8, &d, 4);
    out[12] = 0;
    return out;
}

#else

const char *system_hypervisor(char out[13])
{
    out[0] = 0;
    return NULL;
}

#endif
