// check_probe.c - checks that the probes of the ceilings do what they claim.
//
// A read that skips a byte, a copy that copies nothing or a peak that overcounts would falsify every figure
// that is compared with a ceiling.
#include "kernels/check.h"

#include <math.h>
#include <string.h>

// One size is large enough that stores bypass the caches.
static size_t draw_bytes(struct check_case *c)
{
    if (c->index == 1)
        return (9u << 20) + 64;
    return 64 * (size_t)kernel_check_between(c, 1, 200);
}

// Any one bit flipped must change what READ returns.
static void check_read(struct check_case *c)
{
    size_t bytes = draw_bytes(c);
    kernel_check_shape(c, "bytes=%zu", bytes);
    unsigned char *a = kernel_check_input(c, bytes, 64);
    if (c->failed)
        return;
    for (size_t i = 0; i < bytes; i++)
        a[i] = (unsigned char)rng_u64(&c->rng);
    uint64_t whole = c->kernel->fn.stream(NULL, a, NULL, bytes);
    for (int k = 0; k < 8; k++) {
        size_t at = k == 0 ? 0 : k == 1 ? bytes - 1 : rng_below(&c->rng, (uint32_t)bytes);
        a[at] ^= (unsigned char)(1u << kernel_check_between(c, 0, 7));
        uint64_t changed = c->kernel->fn.stream(NULL, a, NULL, bytes);
        if (changed == whole)
            kernel_check_fail(c, "byte %zu makes no difference to the result", at);
        whole = changed;
    }
}

static void check_write(struct check_case *c)
{
    size_t bytes = draw_bytes(c), n = bytes / sizeof(float);
    kernel_check_shape(c, "bytes=%zu", bytes);
    float *a = kernel_check_input(c, bytes, 64), *b = kernel_check_input(c, bytes, 64);
    float *dst = kernel_check_output(c, bytes, 0);
    if (c->failed)
        return;
    c->mode = c->mode == CHECK_INFINITE ? CHECK_PLAIN : c->mode;
    kernel_check_fill(c, a, n);
    kernel_check_fill(c, b, n);
    kernel_check_seal(c);
    c->kernel->fn.stream(dst, a, b, bytes);
    if (c->kernel->op == KOP_COPY && memcmp(dst, a, bytes) != 0)
        kernel_check_fail(c, "the copy differs");
    for (size_t i = 0; c->kernel->op == KOP_TRIAD && i < n; i++)
        kernel_check_close(c, "a", i, dst[i], a[i] + 3.0f * b[i],
                           (fabs(a[i]) + 3 * fabs(b[i])) * 0x1p-23 + 0x1p-148);
}

// A random sum may be exactly zero for one seed, but not for several. A kernel that sums nothing always returns zero.
static void check_peak(struct check_case *c)
{
    enum { SEEDS = 4 };
    uint64_t rounds = (uint64_t)kernel_check_between(c, 1, 100), once = 0;
    int zeros = 0;
    kernel_check_shape(c, "rounds=%d", (int)rounds);
    void *seed = kernel_check_output(c, PEAK_SEED_BYTES, 0);
    float *sink = kernel_check_output(c, sizeof *sink, 0);
    if (c->failed)
        return;
    for (int i = 0; i < SEEDS; i++) {
        kernel_peak_seed(c->kernel->w, rng_u64(&c->rng), seed);
        *sink = NAN;
        once = c->kernel->fn.peak(seed, rounds, sink);
        zeros += *sink == 0;
        if (!isfinite(*sink) || zeros == SEEDS)
            kernel_check_fail(c, "the sums came to %g", (double)*sink);
    }
    uint64_t twice = c->kernel->fn.peak(seed, 2 * rounds, sink);
    if (once == 0 || twice != 2 * once)
        kernel_check_fail(c, "%llu operations in %llu rounds, %llu in twice as many",
                          (unsigned long long)once, (unsigned long long)rounds,
                          (unsigned long long)twice);
}

void kernel_check_probe(struct check_case *c)
{
    if (c->kernel->op == KOP_PEAK)
        check_peak(c);
    else if (c->kernel->op == KOP_READ)
        check_read(c);
    else
        check_write(c);
}
