// launchers.h - the types of the NVIDIA launchers, for the rows of the registry. cuda.h defines their jobs.
//
// A launcher enqueues one operation on a stream and returns at once. `stream` is a CUstream, which is a cudaStream_t.
// To add an operation, add a job to cuda.h, a type and a member here, and its rows to rows.def.
#ifndef KERNELS_CUDA_LAUNCHERS_H
#define KERNELS_CUDA_LAUNCHERS_H

#include <stdint.h>

struct cuda_linear;
struct cuda_norm;
struct cuda_activate;
struct cuda_add;
struct cuda_softcap;
struct cuda_embed;
struct cuda_rotate;
struct cuda_attention;
struct cuda_sample;
struct cuda_advance;

typedef void cuda_linear_fn(const struct cuda_linear *job, void *stream);
typedef void cuda_norm_fn(const struct cuda_norm *job, void *stream);
typedef void cuda_activate_fn(const struct cuda_activate *job, void *stream);
typedef void cuda_add_fn(const struct cuda_add *job, void *stream);
typedef void cuda_softcap_fn(const struct cuda_softcap *job, void *stream);
typedef void cuda_embed_fn(const struct cuda_embed *job, void *stream);
typedef void cuda_rotate_fn(const struct cuda_rotate *job, void *stream);
typedef void cuda_attention_fn(const struct cuda_attention *job, void *stream);
typedef void cuda_sample_fn(const struct cuda_sample *job, void *stream);
typedef void cuda_advance_fn(const struct cuda_advance *job, void *stream);
// *out = the device's nanosecond clock once all earlier work on the stream is done.
typedef void cuda_stamp_fn(uint64_t *out, void *stream);

union cuda_fn {
    cuda_linear_fn *linear;
    cuda_norm_fn *norm;
    cuda_activate_fn *activate;
    cuda_add_fn *add;
    cuda_softcap_fn *softcap;
    cuda_embed_fn *embed;
    cuda_rotate_fn *rotate;
    cuda_attention_fn *attention;
    cuda_sample_fn *sample;
    cuda_advance_fn *advance;
    cuda_stamp_fn *stamp;
};

#endif
