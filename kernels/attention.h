// attention.h - what the attention kernels of all instruction sets share: block sizes and scratch.
//
// A call is cut into blocks of ATTENTION_ROWS query rows (a row is one token's one head); for each,
// keys and values are taken ATTENTION_KEYS positions at a time, made f32 and, for the keys,
// transposed, so that both products are the same small f32 product and K and V are read once a block.
#ifndef KERNELS_ATTENTION_H
#define KERNELS_ATTENTION_H

#include "kernels/kernels.h"

// 96 rows of head_dim 128 with their outputs, scores and one block of K and V take 0.2 MiB: they stay
// in an L2 of 0.5 MiB. 64 keys are four AVX-512 registers.
enum { ATTENTION_ROWS = 96, ATTENTION_KEYS = 64 };

// The scratch, cut up. d is head_dim rounded up to 16.
struct attention_scratch {
    float *q;      // (rows, d), scaled
    float *scores; // (rows, ATTENTION_KEYS)
    float *out;    // (rows, d), not yet divided by the sums
    float *keys;   // (d, ATTENTION_KEYS): transposed
    float *values; // (ATTENTION_KEYS, d)
    float *max;    // (rows): the running maximum of the scores
    float *sum;    // (rows): the running sum of exp(score - max)
    int d;
};

static inline int attention_pad(int head_dim)
{
    return (head_dim + 15) / 16 * 16;
}

static inline size_t attention_floats(int rows, int d)
{
    return 2 * (size_t)rows * (size_t)d + (size_t)rows * ATTENTION_KEYS +
           2 * (size_t)d * ATTENTION_KEYS + 2 * ATTENTION_ROWS;
}

// The first 64-byte boundary in the scratch.
static inline void *attention_align(void *memory)
{
    return (void *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
}

// rows: those of the largest block of the call, at most ATTENTION_ROWS.
static inline struct attention_scratch attention_cut(void *memory, int rows, int head_dim)
{
    int d = attention_pad(head_dim);
    float *at = attention_align(memory);
    struct attention_scratch s = {.q = at, .d = d};
    s.out = s.q + (size_t)rows * (size_t)d;
    s.scores = s.out + (size_t)rows * (size_t)d;
    s.keys = s.scores + (size_t)rows * ATTENTION_KEYS;
    s.values = s.keys + (size_t)d * ATTENTION_KEYS;
    s.max = s.values + (size_t)d * ATTENTION_KEYS;
    s.sum = s.max + ATTENTION_ROWS;
    return s;
}

// First position token t sees; the last is job->first + t.
static inline int attention_begin(const struct k_attention *job, int t)
{
    int begin = job->window ? job->first + t - job->window + 1 : 0;
    return begin > 0 ? begin : 0;
}

#endif
