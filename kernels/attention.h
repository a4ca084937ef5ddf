// attention.h - the loop over blocks that every fast attention kernel shares, its block sizes and its scratch.
// For the files inside kernels/ only.
//
// A call is cut into blocks of ATTENTION_ROWS query rows; a row is one head of one token. Each block of rows goes
// through the keys and values ATTENTION_KEYS positions at a time. Both are widened to f32, and keys are transposed, so
// that scores and outputs are the same small f32 product. K and V are read once per block.
#ifndef KERNELS_ATTENTION_H
#define KERNELS_ATTENTION_H

#include "kernels/kernels.h"

// 96 rows of head_dim 128 with their outputs, scores and one block of K and V take 0.2 MiB and stay in an L2 of
// 0.5 MiB. 64 keys are four AVX-512 registers.
enum { ATTENTION_ROWS = 96, ATTENTION_KEYS = 64 };

// The parts of the scratch. d is head_dim rounded up to 16.
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

// rows: the size of the call's largest block, at most ATTENTION_ROWS.
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

// The first position that token t sees; the last is job->first + t.
static inline int attention_begin(const struct k_attention *job, int t)
{
    int begin = job->window ? job->first + t - job->window + 1 : 0;
    return begin > 0 ? begin : 0;
}

// One row's scores of one block. The row sees the positions [begin, end) of `count`.
struct attention_row {
    // in: q k scale; out: exp(score - maximum), zero outside [begin, end) up to count.
    float *scores;
    int begin, end, count; // count is a multiple of 16
    float softcap;         // as in k_attention
    float max;             // in: the running maximum; out: including this block
};

// The inner loops of one instruction set. All pointers into the scratch and all rows are 64-byte aligned.
struct attention_ops {
    size_t element_bytes; // of the cache
    // to[i][p] = from[p][i] for p < count, i < head_dim; zero for p up to the next multiple of 16
    void (*keys)(float *to, const void *from, int count, int head_dim);
    // to[p][i] = from[p][i] for p < count; zero for i in head_dim..d-1
    void (*values)(float *to, const void *from, int count, int head_dim, int d);
    // c (rows, cols) = or += a (rows, depth) times b (depth, cols); cols a multiple of 16
    void (*product)(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb,
                    int rows, int depth, int cols, bool accumulate);
    // Returns the sum of the weights; the caller rescales by exp(old maximum - new).
    float (*softmax)(struct attention_row *row);
    void (*scale)(float *row, int n, float factor); // n a multiple of 16
};

void kernel_attention_run(const struct attention_ops *ops, const struct k_attention *job);

#endif
