// peak_sums.h - the loop of the PEAK probes: independent sums of products of a few registers.
//
// Sixteen sums, from four registers of inputs by four of weights, cover a latency of 6 cycles at two instructions per
// cycle, and one of 4 cycles at four. Each instruction is inline assembly, so that no compiler merges sums or moves
// them through memory. The operands are random: power, and with it the clock, depends on the bits that toggle.
//
// Before it includes this, a file defines
//   PEAK_REGISTER  the type of a register
//   PEAK_DOT       the instruction: %0 += %1 * %2
//   PEAK_CLASS     the compiler's letter for the class of such registers
//   PEAK_ADD(a, b) the sum of two registers of sums
//   PEAK_SIDE, PEAK_SUMS  if there are too few registers for 4 and 16
#ifdef PEAK_REGISTER
#ifndef KERNELS_PEAK_SUMS_H
#define KERNELS_PEAK_SUMS_H

#include <stdint.h>
#include <string.h>

#ifndef PEAK_SUMS
#define PEAK_SIDE 4
#define PEAK_SUMS 16
#endif

#define PEAK_INLINE static inline __attribute__((always_inline))

typedef PEAK_REGISTER peak_register;

PEAK_INLINE peak_register peak_load(const void *seed, int i)
{
    peak_register value;
    memcpy(&value, (const char *)seed + (size_t)i * sizeof value, sizeof value);
    return value;
}

// Runs the instruction PEAK_SUMS times per round and returns the sum of the sums.
PEAK_INLINE peak_register peak_run(const void *seed, uint64_t rounds)
{
    peak_register x[PEAK_SIDE], w[PEAK_SIDE], sum[PEAK_SUMS], all = {0};
#pragma GCC unroll 4
    for (int i = 0; i < PEAK_SIDE; i++) {
        x[i] = peak_load(seed, i);
        w[i] = peak_load(seed, PEAK_SIDE + i);
    }
#pragma GCC unroll 16
    for (int i = 0; i < PEAK_SUMS; i++)
        sum[i] = (peak_register){0};
    for (uint64_t r = 0; r < rounds; r++)
#pragma GCC unroll 16
        for (int i = 0; i < PEAK_SUMS; i++)
            __asm__(PEAK_DOT
                    : "+" PEAK_CLASS(sum[i])
                    : PEAK_CLASS(x[i / PEAK_SIDE % PEAK_SIDE]), PEAK_CLASS(w[i % PEAK_SIDE]));
#pragma GCC unroll 16
    for (int i = 0; i < PEAK_SUMS; i++)
        all = PEAK_ADD(all, sum[i]);
    return all;
}

#endif
#endif
