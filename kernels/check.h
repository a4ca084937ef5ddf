// check.h - the inner structures of `kernel check`: one case, its guarded buffers, its verdict. For kernels/check*.c
// and the tests that prove that a broken kernel is found.
//
// Inputs are read-only and end at a page that faults. Outputs are poisoned and lie between canary bytes. A case records
// only its first failure, because others follow from it.
#ifndef KERNELS_CHECK_H
#define KERNELS_CHECK_H

#include "base/rng.h"
#include "kernels/kernels.h"

enum { CHECK_BUFFERS = 14, CHECK_CASES = 48, CHECK_POISON = 0xa5 };

// How values are drawn. The cases of an operation go through all modes that are defined for it.
enum check_mode {
    CHECK_PLAIN,   // uniform in [-1, 1): nothing hides a lost or doubled element
    CHECK_EXTREME, // zeros, denormals, tiny and large, powers of two, a few plain
    CHECK_INFINITE // plain with some infinities (and NaN if the operation propagates it)
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

// Zeroed memory for `bytes` (rounded up to `align`, a power of two) that ends at a page that faults. NULL when memory
// is exhausted; the case then fails with that reason.
void *kernel_check_input(struct check_case *c, size_t bytes, size_t align);
// Poisoned memory between canaries, `offset` bytes past a multiple of 64.
void *kernel_check_output(struct check_case *c, size_t bytes, size_t offset);
// Makes the inputs read-only. Call it before the kernel.
void kernel_check_seal(struct check_case *c);
// Fails the case if a byte next to an output was written. Call it after the kernel.
void kernel_check_canaries(struct check_case *c);
void kernel_check_release(struct check_case *c);

int kernel_check_between(struct check_case *c, int low, int high); // bounds included
int kernel_check_length(struct check_case *c);  // the length of a vector; every third is short
float kernel_check_value(struct check_case *c); // a value in the mode of the case
void kernel_check_fill(struct check_case *c, float *to, size_t n);
bool kernel_check_flip(struct check_case *c); // true half of the time

void kernel_check_fail(struct check_case *c, const char *format, ...) PRINTF_LIKE(2, 3);
void kernel_check_shape(struct check_case *c, const char *format, ...) PRINTF_LIKE(2, 3);
// Compares got with expected: they must be equal, both NaN, or within `allowed`. `what` and `i` name the element.
void kernel_check_close(struct check_case *c, const char *what, size_t i, float got, float expected,
                        double allowed);

// Runs one case of the row's operation: makes inputs, calls both kernels, compares.
void kernel_check_linear(struct check_case *c);
void kernel_check_attention(struct check_case *c);
void kernel_check_vector(struct check_case *c);   // casts, norms, rotation, residual
void kernel_check_activate(struct check_case *c); // activations, soft caps
void kernel_check_probe(struct check_case *c);    // streams and peaks

// Starts case `index` of a row. Its values depend only on seed and index, so that all variants get the same values and
// one case can be repeated.
void kernel_check_begin(struct check_case *c, const struct kernel *row, const struct kernel *ref,
                        uint64_t seed, int index, struct kernel_check_result *result);
// Compares `cases` cases of one row of the host, which need not be in the table, with `ref`.
void kernel_check_row(const struct kernel *row, const struct kernel *ref, uint64_t seed, int cases,
                      struct kernel_check_result *result);

#endif
