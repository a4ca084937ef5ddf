// check.h - the inside of `kernel check`: one case, its guarded buffers, its verdict. For kernels/check*.c
// and the tests that prove that a broken kernel is found.
//
// Inputs are read-only and end at a page that faults. Outputs are poisoned and lie between canary bytes. A case
// records its first failure only: the rest follow from it.
#ifndef KERNELS_CHECK_H
#define KERNELS_CHECK_H

#include "base/rng.h"
#include "kernels/kernels.h"

enum { CHECK_BUFFERS = 14, CHECK_CASES = 48, CHECK_POISON = 0xa5 };

// How values are drawn. Every case of an operation goes through all modes that are defined for it.
enum check_mode {
    CHECK_PLAIN,   // uniform in [-1, 1): nothing hides a lost or doubled element
    CHECK_EXTREME, // zeros, denormals, tiny and large, powers of two, a few plain
    CHECK_INFINITE // plain with some infinities (and NaN where the operation passes it on)
};

struct check_buffer {
    unsigned char *pages, *data;
    size_t pages_bytes, bytes;
    bool output;
};

struct check_case {
    const struct kernel *kernel, *ref;
    struct kernel_check_result *result;
    uint64_t seed; // of the whole check, for the message
    int index;
    enum check_mode mode;
    struct rng rng;
    struct check_buffer buffers[CHECK_BUFFERS];
    int buffer_count;
    bool failed;
    char shape[128]; // "rows=17 cols=33 tokens=3 accumulate"
};

// Zeroed memory for `bytes` (rounded up to `align`, a power of two) that ends where reading faults.
// NULL when memory is exhausted: the case has failed with that reason.
void *kernel_check_input(struct check_case *c, size_t bytes, size_t align);
// Poisoned memory between canaries, `offset` bytes past a multiple of 64.
void *kernel_check_output(struct check_case *c, size_t bytes, size_t offset);
// Inputs become read-only. Call before the kernel.
void kernel_check_seal(struct check_case *c);
// Fails the case when a byte next to an output was written. Call after the kernel.
void kernel_check_canaries(struct check_case *c);
void kernel_check_release(struct check_case *c);

int kernel_check_between(struct check_case *c, int low, int high); // both included
int kernel_check_length(struct check_case *c);  // of a vector; every third is short
float kernel_check_value(struct check_case *c); // by the case's mode
void kernel_check_fill(struct check_case *c, float *to, size_t n);
bool kernel_check_flip(struct check_case *c); // true half of the time

void kernel_check_fail(struct check_case *c, const char *format, ...) PRINTF_LIKE(2, 3);
void kernel_check_shape(struct check_case *c, const char *format, ...) PRINTF_LIKE(2, 3);
// got against expected: equal, both NaN, or within `allowed`. `what` and `i` name the element.
void kernel_check_close(struct check_case *c, const char *what, size_t i, float got, float expected,
                        double allowed);

// Runs one case of the row's operation: makes inputs, calls both kernels, compares.
void kernel_check_linear(struct check_case *c);
void kernel_check_attention(struct check_case *c);
void kernel_check_vector(struct check_case *c);   // casts, norms, rotation, residual
void kernel_check_activate(struct check_case *c); // activations, soft caps
void kernel_check_probe(struct check_case *c);    // streams and peaks

// Case `index` of a row, from its beginning: what it draws depends on seed and index alone, so that all variants see
// the same and one case can be repeated.
void kernel_check_begin(struct check_case *c, const struct kernel *row, const struct kernel *ref,
                        uint64_t seed, int index, struct kernel_check_result *result);
// `cases` cases of one row of the host, whether or not it is in the table, against `ref`.
void kernel_check_row(const struct kernel *row, const struct kernel *ref, uint64_t seed, int cases,
                      struct kernel_check_result *result);

// The error of check and bench when no row of the device has such a name.
enum status kernel_none_matches(const char *pattern, const struct device *device,
                                struct error *err);

#endif
