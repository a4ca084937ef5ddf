// peak_sums.h - the loop of the PEAK probes with 16 sums: four registers of inputs by four of weights.
//
// Sixteen independent sums cover a latency of 6 cycles at two instructions a cycle, and one of 4 cycles at four.
// Each instruction is inline assembly, so that no compiler merges sums or moves them through memory.
// The operands are random: power, and with it the clock, depends on the bits that toggle.
// A file defines PEAK_REGISTER, the type of a register, before it includes this.
#ifdef PEAK_REGISTER
#ifndef KERNELS_PEAK_SUMS_H
#define KERNELS_PEAK_SUMS_H

#include <stdint.h>
#include <string.h>

enum { PEAK_SIDE = 4, PEAK_SUMS = PEAK_SIDE * PEAK_SIDE };

#define PEAK_INLINE static inline __attribute__((always_inline))

typedef PEAK_REGISTER peak_register;
typedef peak_register peak_dot(peak_register sum, peak_register x, peak_register w);
typedef peak_register peak_add(peak_register a, peak_register b);

PEAK_INLINE peak_register peak_load(const void *seed, int i)
{
    peak_register value;
    memcpy(&value, (const char *)seed + (size_t)i * sizeof value, sizeof value);
    return value;
}

// Runs dot PEAK_SUMS times a round and returns the sum of the sums. dot and add are constants at each call.
PEAK_INLINE peak_register peak_run(peak_dot *dot, peak_add *add, const void *seed, uint64_t rounds)
{
    peak_register x[PEAK_SIDE], w[PEAK_SIDE], sum[PEAK_SIDE][PEAK_SIDE], all = {0};
#pragma GCC unroll 4
    for (int i = 0; i < PEAK_SIDE; i++) {
        x[i] = peak_load(seed, i);
        w[i] = peak_load(seed, PEAK_SIDE + i);
#pragma GCC unroll 4
        for (int j = 0; j < PEAK_SIDE; j++)
            sum[i][j] = (peak_register){0};
    }
    for (uint64_t r = 0; r < rounds; r++)
#pragma GCC unroll 4
        for (int i = 0; i < PEAK_SIDE; i++)
#pragma GCC unroll 4
            for (int j = 0; j < PEAK_SIDE; j++)
                sum[i][j] = dot(sum[i][j], x[i], w[j]);
#pragma GCC unroll 4
    for (int i = 0; i < PEAK_SIDE; i++)
#pragma GCC unroll 4
        for (int j = 0; j < PEAK_SIDE; j++)
            all = add(all, sum[i][j]);
    return all;
}

#endif
#endif
