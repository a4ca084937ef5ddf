// bench.h - `kernel bench` on an NVIDIA GPU. For kernels/bench.c and kernels/cuda/bench*.c.
#ifndef KERNELS_CUDA_BENCH_H
#define KERNELS_CUDA_BENCH_H

#include "kernels/cuda/cuda.h"

// Shared by all cases of a run.
struct cuda_bench {
    struct device *device;
    struct device_queue *queue;
    uint64_t *stamps; // (2) pinned
    cuda_stamp_fn *stamp;
    size_t cache_bytes; // of the L2
};

enum { CUDA_BENCH_BUFFERS = 12, CUDA_BENCH_COPIES = 64 };

union cuda_bench_job {
    struct cuda_linear linear;
    struct cuda_norm norm;
    struct cuda_activate activate;
    struct cuda_add add;
    struct cuda_softcap softcap;
    struct cuda_embed embed;
    struct cuda_rotate rotate;
    struct cuda_attention attention;
    struct cuda_sample sample;
    struct cuda_advance advance;
    uint64_t *stamp;
};

// One row at one shape, ready to launch. Launches take turns over copies of what they read. All copies together exceed
// every cache.
struct cuda_bench_case {
    const struct cuda_bench *bench;
    const struct kernel *kernel;
    union cuda_bench_job job;
    // The first copy of the weights or of the cache; NULL: there are no copies.
    unsigned char *first;
    size_t copy_bytes;
    int copies;
    double bytes, flop; // per launch
    void *buffer[CUDA_BENCH_BUFFERS];
    int buffers;
    bool no_memory;
    char text[64];
};

// Prepares case `index` of the row. False: there are no more. Call cuda_bench_fini in either case.
bool cuda_bench_make(struct cuda_bench_case *c, const struct cuda_bench *bench,
                     const struct kernel *kernel, int index);
void cuda_bench_launch(struct cuda_bench_case *c, int launch, void *stream);
void cuda_bench_fini(struct cuda_bench_case *c);

// Times all cases of a row. Errors: ERR_NOMEM, ERR_IO.
enum status cuda_bench_row(const struct cuda_bench *bench, const struct kernel *kernel,
                           kernel_bench_report *report, void *user, struct error *err);
enum status cuda_bench_open(struct cuda_bench *bench, struct device *device, size_t cache_bytes,
                            struct error *err);
void cuda_bench_close(struct cuda_bench *bench);

#endif
