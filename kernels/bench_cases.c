// bench_cases.c - the shapes at which kernels are timed, with their buffers and calls.
//
// Shapes are those of tinyllama-1.1b (width 2048, feed-forward 5632, 8 query heads of 64 to a KV head)
// and of 7B models (heads of 128). Products split their panels over the workers, as the engine does. The
// other operations run one vector or head on each worker.
#include "kernels/bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/os.h"
#include "base/pool.h"
#include "kernels/quant.h"

enum {
    // A working set of this many last-level caches is out of cache. It is read in a circle: a cache that evicts the
    // oldest line serves none of it, and one that keeps what it has serves a sixth at most.
    COLD_CACHES = 6,
    MIN_COLD_BYTES = 256 << 20, // at least this size
    MIN_STREAM_BYTES = 16 << 20,
    MAX_COPIES = 4096,
    PEAK_ROUNDS = 100000,
};

// The meaning depends on the operation. Products: m tokens, n rows, k inputs. Vectors: n elements. Attention: m query
// tokens on k earlier positions, heads of n (64: groups of 8 query heads, 128: one). Rotation: m heads of n. Streams: n
// KiB each (cold: as needed).
static const struct bench_shape shapes[] = {
    {KOP_GEMV, 1, 2048, 2048, false, false},    {KOP_GEMV, 1, 5632, 2048, true, false},
    {KOP_GEMV, 1, 2048, 5632, true, false},     {KOP_GEMV, 4, 5632, 2048, true, true},
    {KOP_GEMM, 8, 5632, 2048, true, true},      {KOP_GEMM, 16, 5632, 2048, true, true},
    {KOP_GEMM, 8, 2048, 2048, false, false},    {KOP_GEMM, 512, 2048, 2048, false, true},
    {KOP_GEMM, 512, 5632, 2048, true, true},    {KOP_GEMM, 512, 2048, 5632, true, true},
    {KOP_CAST, 1, 2048, 0, false, false},       {KOP_RMSNORM, 1, 2048, 0, false, false},
    {KOP_LAYERNORM, 1, 2048, 0, false, false},  {KOP_ROPE, 32, 64, 0, false, false},
    {KOP_SWIGLU, 1, 5632, 0, false, false},     {KOP_GELU, 1, 5632, 0, false, false},
    {KOP_GELU_TANH, 1, 5632, 0, false, false},  {KOP_RELU, 1, 5632, 0, false, false},
    {KOP_SOFTCAP, 1, 32000, 0, false, false},   {KOP_ADD, 1, 2048, 0, false, false},
    {KOP_ATTENTION, 512, 64, 0, false, true},   {KOP_ATTENTION, 128, 128, 3968, false, true},
    {KOP_ATTENTION, 1, 64, 1023, false, false}, {KOP_ATTENTION, 1, 64, 4095, true, true},
    {KOP_ATTENTION, 1, 128, 4095, true, true},  {KOP_KV_STORE, 1, 128, 0, false, false},
    {KOP_READ, 1, 256, 0, false, false},        {KOP_READ, 1, 0, 0, true, false},
    {KOP_COPY, 1, 256, 0, false, false},        {KOP_COPY, 1, 0, 0, true, false},
    {KOP_TRIAD, 1, 256, 0, false, false},       {KOP_TRIAD, 1, 0, 0, true, false},
    {KOP_PEAK, 1, 0, 0, false, false},
};

const struct bench_shape *kernel_case_shapes(size_t *count)
{
    *count = sizeof shapes / sizeof shapes[0];
    return shapes;
}

static size_t element_bytes(enum dtype type)
{
    return 4 / (size_t)kernel_panel_group(type); // a row's group is 4 bytes
}

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

// ---- sizes ----------------------------------------------------------------------------------------------

static int group_of(const struct bench_shape *s)
{
    return s->n == 64 ? 8 : 1;
}

// Inputs that share a scale: as many as in the schemes that use the type.
static int quant_group_of(const struct bench_case *c)
{
    return c->kernel->w == DT_I8G ? 32 : QUANT_GROUP;
}

static void size_linear(struct bench_case *c)
{
    const struct bench_shape *s = c->shape;
    c->w_bytes = quant_packed_bytes(c->kernel->w, s->n, s->k, quant_group_of(c));
    c->x_bytes = (size_t)s->m * round_up((size_t)s->k * element_bytes(c->kernel->x));
    c->y_bytes = (size_t)s->m * (size_t)s->n * sizeof(float);
    c->bytes = (double)(c->w_bytes + c->x_bytes + c->y_bytes);
    c->flop = 2.0 * s->m * s->n * s->k;
    snprintf(c->text, sizeof c->text, "m=%d n=%d k=%d", s->m, s->n, s->k);
}

static void size_attention(struct bench_case *c)
{
    const struct bench_shape *s = c->shape;
    int group = group_of(s);
    size_t width = (size_t)(group * s->n) * sizeof(float), positions = (size_t)(s->k + s->m);
    // Keys, then values, for each worker.
    c->w_bytes =
        2 * (size_t)c->workers * round_up(positions * (size_t)s->n * element_bytes(c->kernel->w));
    c->x_bytes = (size_t)s->m * width;
    c->y_bytes = (size_t)s->m * width + kernel_attention_scratch(s->m, group, s->n);
    c->bytes = (double)c->w_bytes + 2.0 * c->workers * (double)c->x_bytes;
    c->flop = 4.0 * c->workers * group * s->n * ((double)s->m * s->k + s->m * (s->m + 1.0) / 2);
    snprintf(c->text, sizeof c->text, "tokens=%d group=%d head_dim=%d first=%d", s->m, group, s->n,
             s->k);
}

// Bytes of the streams: together larger than any cache, and each large enough for stores that bypass the caches.
static size_t cold_bytes(const struct bench_case *c)
{
    size_t bytes = COLD_CACHES * c->cache_bytes;
    return bytes > MIN_COLD_BYTES ? bytes : MIN_COLD_BYTES;
}

static size_t stream_bytes(const struct bench_case *c)
{
    if (!c->shape->cold)
        return (size_t)c->shape->n << 10;
    size_t share = cold_bytes(c) / (size_t)c->workers;
    return share > MIN_STREAM_BYTES ? share / 64 * 64 : MIN_STREAM_BYTES;
}

static void size_stream(struct bench_case *c)
{
    size_t bytes = stream_bytes(c);
    int arrays = c->kernel->op == KOP_READ ? 1 : c->kernel->op == KOP_COPY ? 2 : 3;
    c->w_bytes = 2 * (size_t)c->workers * bytes;
    c->x_bytes = 64;
    c->y_bytes = c->kernel->op == KOP_READ ? 64 : bytes;
    c->bytes = (double)arrays * c->workers * (double)bytes;
    snprintf(c->text, sizeof c->text, "%d x %zu KiB a thread", arrays, bytes >> 10);
}

static void size_vector(struct bench_case *c)
{
    const struct bench_shape *s = c->shape;
    size_t n = (size_t)s->m * (size_t)s->n, moved;
    enum dtype to = c->kernel->op == KOP_CAST ? c->kernel->x : c->kernel->w;
    if (c->kernel->op == KOP_CAST || c->kernel->op == KOP_KV_STORE)
        moved = sizeof(float) + element_bytes(to);
    else // rotation and soft caps read and write x; the others read two vectors and write one
        moved = (c->kernel->op == KOP_ROPE || c->kernel->op == KOP_SOFTCAP ? 2 : 3) * sizeof(float);
    c->w_bytes = c->x_bytes = c->y_bytes = n * sizeof(float);
    c->bytes = (double)c->workers * (double)(n * moved);
    if (c->kernel->op == KOP_ROPE)
        snprintf(c->text, sizeof c->text, "heads=%d head_dim=%d", s->m, s->n);
    else
        snprintf(c->text, sizeof c->text, "n=%d", s->n);
}

static void size_case(struct bench_case *c)
{
    switch (c->kernel->op) {
    case KOP_GEMV:
    case KOP_GEMM:
        size_linear(c);
        break;
    case KOP_ATTENTION:
        size_attention(c);
        break;
    case KOP_READ:
    case KOP_COPY:
    case KOP_TRIAD:
        size_stream(c);
        break;
    case KOP_PEAK:
        c->w_bytes = PEAK_SEED_BYTES;
        c->y_bytes = 64;
        snprintf(c->text, sizeof c->text, "in registers");
        break;
    default:
        size_vector(c);
        break;
    }
}

// ---- buffers --------------------------------------------------------------------------------------------

// The same 4 KiB of random values, repeated: no operand occurs twice within a tile.
static void fill(unsigned char *to, size_t bytes, enum dtype type)
{
    unsigned char seed[PEAK_SEED_BYTES];
    kernel_peak_seed(type, 1, seed);
    for (size_t i = 0; i < bytes; i += sizeof seed)
        memcpy(to + i, seed, bytes - i < sizeof seed ? bytes - i : sizeof seed);
}

// Cosines, then sines of real angles: x stays finite however often it is rotated.
static void fill_angles(struct bench_case *c)
{
    float *angles = (float *)(void *)c->w;
    int half = c->shape->n / 2;
    for (int i = 0; i < half; i++) {
        angles[i] = cosf((float)i);
        angles[half + i] = sinf((float)i);
    }
}

enum status kernel_case_init(struct bench_case *c, const struct kernel *kernel,
                             const struct bench_shape *shape, int workers, size_t cache_bytes,
                             struct error *err)
{
    *c = (struct bench_case){.kernel = kernel,
                             .shape = shape,
                             .workers = workers,
                             .copies = 1,
                             .cache_bytes = cache_bytes};
    size_case(c);
    c->x_bytes = round_up(c->x_bytes);
    c->y_bytes = round_up(c->y_bytes);
    if (shape->cold && c->w_bytes < cold_bytes(c))
        c->copies = (int)(cold_bytes(c) / c->w_bytes);
    c->copies = c->copies < MAX_COPIES ? c->copies : MAX_COPIES;
    size_t w_all = (size_t)c->copies * c->w_bytes;
    c->w = aligned_alloc_zeroed(w_all);
    c->x = aligned_alloc_zeroed((size_t)workers * c->x_bytes + 64);
    c->y = aligned_alloc_zeroed((size_t)workers * c->y_bytes + 64);
    if (!c->w || !c->x || !c->y)
        return FAIL(err, ERR_NOMEM, "%s at %s: no memory for %zu MiB", kernel->name, c->text,
                    (w_all + (size_t)workers * (c->x_bytes + c->y_bytes)) >> 20);
    os_advise_huge(c->w, w_all);
    fill(c->w, w_all, kernel->w);
    // Only products read x in their own type; the other operations read f32.
    bool linear = kernel->op == KOP_GEMV || kernel->op == KOP_GEMM;
    fill(c->x, (size_t)workers * c->x_bytes, linear ? kernel->x : DT_F32);
    for (int i = 0; i < BENCH_SCALES; i++)
        c->x_scale[i] = 1;
    if (kernel->op == KOP_ROPE)
        fill_angles(c);
    if (kernel->op ==
        KOP_PEAK) // the count returned by the kernel; the check proves that it grows with the rounds
        c->flop =
            (double)workers * (double)kernel->fn.peak(c->w, PEAK_ROUNDS, (float *)(void *)c->y);
    return OK;
}

void kernel_case_fini(struct bench_case *c)
{
    aligned_release(c->w);
    aligned_release(c->x);
    aligned_release(c->y);
    c->w = c->x = c->y = NULL;
}

// ---- calls ----------------------------------------------------------------------------------------------

static void call_linear(const struct bench_case *c, const unsigned char *w, int worker)
{
    const struct bench_shape *s = c->shape;
    struct k_linear job = {
        .w = w,
        .x = c->x, // one input and one output for all workers
        .x_scale = dtype_is_quantized(c->kernel->x) ? c->x_scale : NULL,
        .y = (float *)(void *)c->y,
        .tokens = s->m,
        .rows = s->n,
        .cols = s->k,
        .group = quant_group_of(c),
        .ldx = round_up((size_t)s->k * element_bytes(c->kernel->x)) / element_bytes(c->kernel->x),
        .ldy = (size_t)s->n,
        .streamed = (size_t)c->copies * c->w_bytes > c->cache_bytes,
    };
    int begin, end;
    pool_share(kernel_panel_count(s->n), 1, worker, c->workers, &begin, &end);
    c->kernel->fn.linear(&job, begin, end);
}

static void call_attention(const struct bench_case *c, const unsigned char *w, unsigned char *x,
                           unsigned char *y, int worker)
{
    const struct bench_shape *s = c->shape;
    size_t cache = c->w_bytes / (2 * (size_t)c->workers);
    struct k_attention job = {
        .q = (const float *)(const void *)x,
        .k = w + 2 * (size_t)worker * cache,
        .v = w + (2 * (size_t)worker + 1) * cache,
        .out = (float *)(void *)y,
        .tokens = s->m,
        .group = group_of(s),
        .head_dim = s->n,
        .first = s->k,
        .scale = 1.0f / sqrtf((float)s->n),
    };
    job.q_stride = job.out_stride = (size_t)(job.group * s->n);
    job.scratch = y + (size_t)s->m * job.out_stride * sizeof(float);
    c->kernel->fn.attention(&job);
}

static void call_vector(const struct bench_case *c, const unsigned char *w, unsigned char *x,
                        unsigned char *y)
{
    const struct bench_shape *s = c->shape;
    const float *weights = (const float *)(const void *)w;
    float *from = (float *)(void *)x, *to = (float *)(void *)y;
    struct k_rope rope = {from, weights, weights + s->n / 2, s->m, s->n, s->n, false};
    switch (c->kernel->op) {
    case KOP_RMSNORM:
        c->kernel->fn.rmsnorm(to, from, weights, s->n, 1e-5f);
        break;
    case KOP_LAYERNORM:
        c->kernel->fn.layernorm(to, from, weights, weights, s->n, 1e-5f);
        break;
    case KOP_ROPE:
        c->kernel->fn.rope(&rope);
        break;
    case KOP_SWIGLU:
        c->kernel->fn.swiglu(to, from, weights, s->n);
        break;
    case KOP_GELU:
    case KOP_GELU_TANH:
    case KOP_RELU:
        c->kernel->fn.activate(to, from, weights, s->n);
        break;
    case KOP_SOFTCAP:
        c->kernel->fn.softcap(to, s->n, 30);
        break;
    case KOP_ADD:
        c->kernel->fn.add(to, from, s->n);
        break;
    default:
        c->kernel->fn.cast(to, from, s->n, s->n);
        break;
    }
}

void kernel_case_call(const struct bench_case *c, int worker, uint64_t call)
{
    const unsigned char *w = c->w + (size_t)(call % (uint64_t)c->copies) * c->w_bytes;
    unsigned char *x = c->x + (size_t)worker * c->x_bytes, *y = c->y + (size_t)worker * c->y_bytes;
    size_t stream = 0;
    switch (c->kernel->op) {
    case KOP_GEMV:
    case KOP_GEMM:
        call_linear(c, w, worker);
        break;
    case KOP_ATTENTION:
        call_attention(c, w, x, y, worker);
        break;
    case KOP_READ:
    case KOP_COPY:
    case KOP_TRIAD:
        stream = stream_bytes(c);
        w += 2 * (size_t)worker * stream;
        // Kept, so that the compiler drops no call.
        *(volatile uint64_t *)(void *)x = c->kernel->fn.stream(y, w, w + stream, stream);
        break;
    case KOP_PEAK:
        c->kernel->fn.peak(c->w, PEAK_ROUNDS, (float *)(void *)y);
        break;
    default:
        call_vector(c, w, x, y);
        break;
    }
}
