// check.c - compares NVIDIA rows with kernels/ref, one after another: guarded device memory, and the cases of a row.
#include "kernels/cuda/check.h"

#include <stdlib.h>
#include <string.h>

enum { INPUT_GUARD = 0xff };

// ---- the host's side -----------------------------------------------------------------------------------

void *cuda_check_host(struct cuda_check *k, size_t bytes)
{
    void *memory = k->hosts < CUDA_CHECK_HOST ? calloc(1, bytes ? bytes : 1) : NULL;
    if (!memory)
        kernel_check_fail(&k->c, "no host memory for %zu bytes, or over %d pieces", bytes,
                          CUDA_CHECK_HOST);
    else
        k->host[k->hosts++] = memory;
    return memory;
}

void cuda_check_host_drop(struct cuda_check *k)
{
    if (k->hosts)
        free(k->host[--k->hosts]);
}

float *cuda_check_values(struct cuda_check *k, size_t n)
{
    float *v = cuda_check_host(k, n * sizeof *v);
    if (v)
        kernel_check_fill(&k->c, v, n);
    return v;
}

float *cuda_check_plain(struct cuda_check *k, size_t n)
{
    enum check_mode mode = k->c.mode;
    k->c.mode = CHECK_PLAIN;
    float *v = cuda_check_values(k, n);
    k->c.mode = mode;
    return v;
}

// ---- the device's side ---------------------------------------------------------------------------------

// Once a device has failed, every later call fails as well.
static bool works(struct cuda_check *k, enum status status, const struct error *err)
{
    if (status != OK) {
        kernel_check_fail(&k->c, "%s", err->message);
        k->lost = true;
    }
    return status == OK;
}

// from NULL: the buffer is filled with poison.
static void *add_buffer(struct cuda_check *k, const void *from, size_t bytes, bool output)
{
    struct error err = {0};
    size_t whole = bytes + 2 * CUDA_CHECK_GUARD;
    if (k->c.failed)
        return NULL;
    unsigned char *image = malloc(whole);
    unsigned char *base = k->buffers < CUDA_CHECK_BUFFERS ? device_alloc(k->device, whole) : NULL;
    if (!image || !base) {
        kernel_check_fail(&k->c, "no memory for %zu bytes, or over %d buffers", bytes,
                          CUDA_CHECK_BUFFERS);
        free(image);
        device_free(k->device, base);
        return NULL;
    }
    memset(image, output ? CHECK_POISON : INPUT_GUARD, whole);
    if (from)
        memcpy(image + CUDA_CHECK_GUARD, from, bytes);
    k->buffer[k->buffers++] =
        (struct cuda_check_buffer){base, base + CUDA_CHECK_GUARD, output ? NULL : from, bytes};
    bool arrived = works(k, device_copy_in(k->device, base, image, whole, &err), &err);
    free(image);
    return arrived ? base + CUDA_CHECK_GUARD : NULL;
}

void *cuda_check_in(struct cuda_check *k, const void *from, size_t bytes)
{
    return add_buffer(k, from, bytes, false);
}

void *cuda_check_out(struct cuda_check *k, const void *from, size_t bytes)
{
    return add_buffer(k, from, bytes, true);
}

void *cuda_check_stream(const struct cuda_check *k)
{
    return device_queue_native(k->queue);
}

void cuda_check_back(struct cuda_check *k, void *to, const void *from, size_t bytes)
{
    struct error err = {0};
    if (k->c.failed)
        return;
    if (!works(k, device_queue_wait(k->queue, &err), &err))
        return;
    const char *launch = cuda_launch_error(NULL);
    if (HAVE_CUDA && launch)
        kernel_check_fail(&k->c, "launch: %s", launch);
    else
        works(k, device_copy_out(k->device, to, from, bytes, &err), &err);
}

static void inspect(struct cuda_check *k, const struct cuda_check_buffer *b, unsigned char *image)
{
    struct error err = {0};
    unsigned char guard = b->before ? INPUT_GUARD : CHECK_POISON;
    size_t whole = b->bytes + 2 * CUDA_CHECK_GUARD;
    if (!works(k, device_copy_out(k->device, image, b->base, whole, &err), &err))
        return;
    for (size_t i = 0; i < whole; i++) {
        if (i == CUDA_CHECK_GUARD)
            i += b->bytes;
        if (image[i] != guard)
            kernel_check_fail(&k->c, "wrote %td bytes from the start of an %s of %zu",
                              (ptrdiff_t)i - CUDA_CHECK_GUARD, b->before ? "input" : "output",
                              b->bytes);
    }
    if (b->before && memcmp(image + CUDA_CHECK_GUARD, b->before, b->bytes) != 0)
        kernel_check_fail(&k->c, "wrote an input of %zu bytes", b->bytes);
}

void cuda_check_release(struct cuda_check *k)
{
    struct error err = {0};
    if (!k->lost)
        works(k, device_queue_wait(k->queue, &err), &err);
    for (int i = 0; i < k->buffers; i++) {
        const struct cuda_check_buffer *b = &k->buffer[i];
        unsigned char *image = k->c.failed ? NULL : malloc(b->bytes + 2 * CUDA_CHECK_GUARD);
        if (image)
            inspect(k, b, image);
        else if (!k->c.failed)
            kernel_check_fail(&k->c, "no host memory to look at the guards of %zu bytes", b->bytes);
        free(image);
        device_free(k->device, b->base);
    }
    k->buffers = 0;
}

// ---- verdicts ------------------------------------------------------------------------------------------

void cuda_check_same(struct cuda_check *k, const void *a, const void *b, size_t bytes,
                     const char *what)
{
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < bytes && !k->c.failed; i++)
        if (x[i] != y[i])
            kernel_check_fail(&k->c, "%s (byte %zu)", what, i);
}

static cuda_scene *scene_of(enum kernel_op op)
{
    switch (op) {
    case KOP_LINEAR:
        return cuda_check_linear;
    case KOP_ATTENTION:
        return cuda_check_attention;
    case KOP_ROTATE:
        return cuda_check_rotate;
    case KOP_NORM:
        return cuda_check_norm;
    case KOP_ACTIVATE:
        return cuda_check_activate;
    case KOP_ADD:
        return cuda_check_add;
    case KOP_SOFTCAP:
        return cuda_check_softcap;
    case KOP_EMBED:
        return cuda_check_embed;
    case KOP_SAMPLE:
        return cuda_check_sample;
    case KOP_ADVANCE:
        return cuda_check_advance;
    case KOP_STAMP:
        return cuda_check_stamp;
    default:
        return NULL;
    }
}

static void run_case(struct cuda_check *k)
{
    cuda_scene *scene = scene_of(k->c.kernel->op);
    if (scene)
        scene(k);
    else
        kernel_check_fail(&k->c, "no check is written for %s on a GPU",
                          kernel_op_name(k->c.kernel->op));
    cuda_check_release(k);
    cuda_launch_error(NULL); // drops the error of a case that failed before it asked
    for (int i = 0; i < k->hosts; i++)
        free(k->host[i]);
    k->hosts = 0;
}

enum status cuda_check_row(const struct kernel *row, struct device *device, uint64_t seed,
                           int cases, struct kernel_check_result *result, struct error *err)
{
    struct cuda_check k = {.device = device};
    *result = (struct kernel_check_result){.kernel = row};
    TRY(device_queue_create(device, &k.queue, err));
    for (int i = 0; i < cases && !k.lost; i++) {
        kernel_check_begin(&k.c, row, NULL, seed, i, result);
        run_case(&k);
        result->cases++;
    }
    device_queue_destroy(k.queue);
    return k.lost ? FAIL(err, ERR_IO, "%s: %s", row->name, result->reason) : OK;
}
