// check.h - the inner structures of `kernel check` on an NVIDIA GPU: a case, its memory on both sides, its verdict.
//
// For kernels/cuda/check*.c and the tests that prove that a broken launcher is found. Draws, shapes and verdicts are
// those of kernels/check.h. Every buffer on the device lies between guard bytes. Around inputs they are 0xff, which is
// NaN in every float type, so that a read past the end shows in the result. Inputs must not change. All access goes
// through device.h, so that the same scenes run without a GPU if the device is backed by host memory.
#ifndef KERNELS_CUDA_CHECK_H
#define KERNELS_CUDA_CHECK_H

#include "kernels/check.h"
#include "kernels/cuda/cuda.h"

enum { CUDA_CHECK_BUFFERS = 24, CUDA_CHECK_HOST = 48, CUDA_CHECK_GUARD = 256 };

struct cuda_check_buffer {
    unsigned char *base, *data; // on the device
    const void *before;         // contents of an input; NULL: an output
    size_t bytes;
};

struct cuda_check {
    struct check_case c; // c.kernel is the row; c.ref is not used
    struct device *device;
    struct device_queue *queue;
    struct cuda_check_buffer buffer[CUDA_CHECK_BUFFERS];
    int buffers;
    void *host[CUDA_CHECK_HOST]; // freed when the case ends
    int hosts;
    bool lost; // the device has failed; every later call fails as well
};

// ---- the host's side -----------------------------------------------------------------------------------

// Allocates zeroed memory that belongs to the case. NULL: out of memory, and the case fails with that reason.
void *cuda_check_host(struct cuda_check *k, size_t bytes);
void cuda_check_host_drop(struct cuda_check *k); // frees the latest one
// Random values in the mode of the case.
float *cuda_check_values(struct cuda_check *k, size_t n);
// Uniform values in [-1, 1), in any mode.
float *cuda_check_plain(struct cuda_check *k, size_t n);

// ---- the device's side ---------------------------------------------------------------------------------

// An input: a copy of `bytes` bytes from `from` that the kernel must not change.
void *cuda_check_in(struct cuda_check *k, const void *from, size_t bytes);
// An output: a copy of `from`, or poison where `from` is NULL.
void *cuda_check_out(struct cuda_check *k, const void *from, size_t bytes);
void *cuda_check_stream(const struct cuda_check *k);
// Waits for all launches, then copies to the host. If that fails, the case fails with the device's message.
void cuda_check_back(struct cuda_check *k, void *to, const void *from, size_t bytes);
// Fails the case if a guard or an input was written, and frees the buffers on the device. Call it between two launches
// of one case. The caller of a scene calls it at the end.
void cuda_check_release(struct cuda_check *k);

// ---- verdicts ------------------------------------------------------------------------------------------

// Fails the case if two buffers differ. The message is like "other bits in a decode step".
void cuda_check_same(struct cuda_check *k, const void *a, const void *b, size_t bytes,
                     const char *what);

// Runs one case of the row's operation.
typedef void cuda_scene(struct cuda_check *k);
cuda_scene cuda_check_linear, cuda_check_attention, cuda_check_rotate, cuda_check_norm;
cuda_scene cuda_check_activate, cuda_check_add, cuda_check_softcap, cuda_check_embed;
cuda_scene cuda_check_sample, cuda_check_advance, cuda_check_stamp;

// Runs `cases` cases of one row, which need not be in the table. Errors: ERR_IO when the device has failed, after which
// nothing can be checked on it. The result names the row and the case.
enum status cuda_check_row(const struct kernel *row, struct device *device, uint64_t seed,
                           int cases, struct kernel_check_result *result, struct error *err);

#endif
