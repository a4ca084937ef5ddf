// bench.h - the inner structures of `kernel bench`: one kernel at one shape, ready to be called by all workers. For
// kernels/bench*.c only.
#ifndef KERNELS_BENCH_H
#define KERNELS_BENCH_H

#include "kernels/kernels.h"

// The meaning of n, k and m depends on the operation: see bench_cases.c. `cold`: calls take turns over copies of their
// data that together exceed every cache.
struct bench_shape {
    enum kernel_op op;
    int m, n, k;
    bool cold;
    bool fast_only; // too slow for portable C to time
};

enum { BENCH_SCALES = 512 }; // the most tokens of a shape

struct bench_case {
    const struct kernel *kernel;
    const struct bench_shape *shape;
    int workers;
    size_t cache_bytes; // last-level cache of all workers
    // Each worker has its own x and y; weights (or the cache, or the streams) are shared, in `copies`.
    unsigned char *w, *x, *y;
    size_t w_bytes, x_bytes, y_bytes; // of one copy, or of one worker
    int copies;
    float x_scale[BENCH_SCALES]; // scale of each token
    double bytes, flop;          // per call by all workers
    char text[64];
};

const struct bench_shape *kernel_case_shapes(size_t *count);

// Fills `c` for kernel and shape. Errors: ERR_NOMEM. Call kernel_case_fini even after an error.
enum status kernel_case_init(struct bench_case *c, const struct kernel *kernel,
                             const struct bench_shape *shape, int workers, size_t cache_bytes,
                             struct error *err);
void kernel_case_fini(struct bench_case *c);

// One worker's part of call number `call`.
void kernel_case_call(const struct bench_case *c, int worker, uint64_t call);

#endif
