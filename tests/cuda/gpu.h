// gpu.h - what the tests of NVIDIA kernels share: the device, arrays on both sides, random values with a printed seed.
//
// Where no GPU can be used a test is skipped with the device's reason. RIDGE_SEED in the environment repeats a run.
#ifndef TESTS_CUDA_GPU_H
#define TESTS_CUDA_GPU_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "device/cuda.h"
#include "kernels/cuda/cuda.h"

static struct device *gpu;
static struct device_queue *queue;
static struct rng gpu_rng;
static uint64_t gpu_seed;

static inline int gpu_setup(void **state)
{
    (void)state;
    struct error err = {0};
    struct device_options options = {.isa = ISA_ALL};
    const char *given = getenv("RIDGE_SEED");
    gpu_seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    if (device_open("cuda:0", &options, &gpu, &err) != OK) {
        print_message("skipped: %s\n", err.message);
        gpu = NULL;
        return 0;
    }
    print_message("%s, seed %llu\n", device_info(gpu)->description, (unsigned long long)gpu_seed);
    return device_queue_create(gpu, &queue, &err) == OK ? 0 : -1;
}

static inline int gpu_teardown(void **state)
{
    (void)state;
    device_queue_destroy(queue);
    device_close(gpu);
    return 0;
}

#define NEED_GPU()                                                                                 \
    do {                                                                                           \
        if (!gpu)                                                                                  \
            skip();                                                                                \
    } while (0)

// Case `index` of a row draws from a stream of its own, so that one case can be repeated alone.
static inline void gpu_case(const char *name, int index)
{
    uint64_t h = gpu_seed;
    for (; *name; name++)
        h = rng_hash(h ^ (unsigned char)*name);
    gpu_rng.state = rng_hash(h + (uint64_t)index);
}

static inline int between(int low, int high)
{
    return low + (int)rng_below(&gpu_rng, (uint32_t)(high - low + 1));
}

// Uniform in [-1, 1), and in every fourth case of widely different magnitudes.
static inline float value_of(int index)
{
    float v = 2 * rng_f32(&gpu_rng) - 1;
    return index % 4 == 3 ? ldexpf(v, between(-12, 8)) : v;
}

static inline float *values(size_t n, int index)
{
    float *v = malloc((n ? n : 1) * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < n; i++)
        v[i] = value_of(index);
    return v;
}

static inline void gpu_ok(enum status status, const struct error *err)
{
    if (status != OK)
        fail_msg("%s", err->message);
}

// Device memory: what it holds at first, or poison. All is there when it returns: copies do not wait for the queue.
static inline void *up(const void *from, size_t bytes)
{
    struct error err = {0};
    void *memory = device_alloc(gpu, bytes);
    assert_non_null(memory);
    if (from)
        gpu_ok(device_copy_in(gpu, memory, from, bytes, &err), &err);
    else
        gpu_ok(cuda_queue_fill(queue, memory, 0xa5, bytes, &err), &err);
    gpu_ok(device_queue_wait(queue, &err), &err);
    return memory;
}

static inline void down(void *to, const void *from, size_t bytes)
{
    struct error err = {0};
    gpu_ok(device_queue_wait(queue, &err), &err);
    const char *launch = cuda_launch_error(NULL);
    if (launch)
        fail_msg("launch: %s", launch);
    gpu_ok(device_copy_out(gpu, to, from, bytes, &err), &err);
}

static inline void drop(void *memory)
{
    device_free(gpu, memory);
}

// The launcher of an operation and types.
static inline union cuda_fn gpu_launcher(enum kernel_op op, enum dtype w, enum dtype x)
{
    const struct kernel *row = kernel_find(op, w, x, device_target(gpu));
    assert_non_null(row);
    return row->fn.cuda;
}

static inline void *stream(void)
{
    return device_queue_native(queue);
}

// got against expected: both NaN, equal, or within `allowed`.
static inline void close_to(const char *name, int index, const char *what, size_t i, float got,
                            float expected, double allowed)
{
    bool ok = isnan(expected)   ? isnan(got)
              : isinf(expected) ? got == expected
                                : fabs((double)got - (double)expected) <= allowed;
    if (!ok)
        fail_msg("%s, case %d, seed %llu: %s[%zu] is %.9g, expected %.9g within %g", name, index,
                 (unsigned long long)gpu_seed, what, i, (double)got, (double)expected, allowed);
}

#endif
