// time_kernels.c - what the NVIDIA kernels reach of this card's read bandwidth and arithmetic, on random data.
//
// time_kernels [SHAPE]: prints a table; SHAPE is 7b (default) or 8b. Weights are rotated through copies that the L2
// does not hold together. Each figure is the median of several runs of many launches, by the device's own clock.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/stat.h"
#include "device/cuda.h"
#include "kernels/cuda/cuda.h"

enum { RUNS = 7, LAUNCHES = 20 };

static struct device *device;
static struct device_queue *queue;
static uint64_t *stamps; // pinned
static double read_rate;

static void *stream(void)
{
    return device_queue_native(queue);
}

static void stop(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

// Random bytes whose 16-bit halves are finite and moderate in every type.
static void *random_memory(size_t bytes)
{
    struct error err = {0};
    size_t block = (size_t)1 << 22;
    void *memory = device_alloc(device, bytes + block);
    uint32_t *host = malloc(block);
    if (!memory || !host)
        stop("no memory");
    for (size_t i = 0; i < block / 4; i++) {
        uint32_t bits = (uint32_t)rng_hash(i + bytes);
        host[i] = (bits & 0x83ff83ffu) | 0x3c003c00u;
    }
    for (size_t at = 0; at < bytes; at += block)
        if (device_copy_in(device, (char *)memory + at, host, block, &err) != OK)
            stop(err.message);
    free(host);
    return memory;
}

// Median time of one launch, ns.
static double time_of(void (*launch)(void *arg, int index), void *arg)
{
    double times[RUNS];
    cuda_stamp_fn *stamp = cuda_find(CUOP_STAMP, DT_F32, DT_F32)->fn.stamp;
    struct error err = {0};
    for (int r = -1; r < RUNS; r++) {
        stamp(&stamps[0], stream());
        for (int i = 0; i < LAUNCHES; i++)
            launch(arg, i);
        stamp(&stamps[1], stream());
        if (device_queue_wait(queue, &err) != OK)
            stop(err.message);
        const char *failed = cuda_launch_error();
        if (failed)
            stop(failed);
        if (r >= 0)
            times[r] = (double)(stamps[1] - stamps[0]) / LAUNCHES;
    }
    return stat_median(times, RUNS, &err);
}

static void launch_stream(void *arg, int index)
{
    struct cuda_stream *job = arg;
    (void)index;
    cuda_find(CUOP_READ, DT_F32, DT_F32)->fn.stream(job, stream());
}

static void launch_copy(void *arg, int index)
{
    (void)index;
    cuda_find(CUOP_COPY, DT_F32, DT_F32)->fn.stream(arg, stream());
}

static void anchors(void)
{
    size_t bytes = (size_t)2 << 30;
    struct cuda_stream job = {.a = random_memory(bytes),
                              .dst = device_alloc(device, bytes),
                              .bytes = bytes,
                              .sink = random_memory(4),
                              .multiprocessors = device_info(device)->units};
    read_rate = (double)bytes / time_of(launch_stream, &job);
    printf("read %.0f GB/s, copy %.0f GB/s (read and written)\n", read_rate,
           2 * (double)bytes / time_of(launch_copy, &job));
    device_free(device, (void *)job.a);
    device_free(device, job.dst);
    device_free(device, job.sink);
}

struct product {
    const struct cuda_kernel *kernel;
    struct cuda_linear job;
    int copies;
    size_t bytes;
};

static void launch_product(void *arg, int index)
{
    struct product *p = arg;
    struct cuda_linear job = p->job;
    job.w = (const char *)p->job.w + (size_t)(index % p->copies) * p->bytes;
    p->kernel->fn.linear(&job, stream());
}

static void time_product(const struct cuda_kernel *kernel, const char *name, int rows, int cols)
{
    static const int tokens[] = {1, 8, 16, 32, 64, 512, 2048};
    struct product p = {.kernel = kernel};
    if (!cuda_layout_plan(kernel->w, rows, cols, 128, &p.job.layout))
        return;
    p.bytes = cuda_layout_bytes(&p.job.layout);
    p.copies = (int)(((size_t)1 << 30) / p.bytes) + 2;
    p.job.ldx = (size_t)cuda_padded_cols(cols);
    p.job.ldy = (size_t)rows;
    p.job.multiprocessors = device_info(device)->units;
    p.job.w = random_memory(p.bytes * (size_t)p.copies);
    p.job.x = random_memory(2048 * p.job.ldx * 4);
    p.job.x_scale = random_memory(2048 * 4);
    p.job.y = random_memory(2048 * p.job.ldy * 4);
    p.job.partial = random_memory(cuda_partial_bytes(&p.job.layout, 64));
    printf("  %-8s %6d x %5d", name, rows, cols);
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        p.job.tokens = tokens[i];
        double ns = time_of(launch_product, &p);
        if (tokens[i] <= 64)
            printf("  %2d: %6.1f us %3.0f%%", tokens[i], ns / 1e3,
                   100 * (double)p.bytes / ns / read_rate);
        else
            printf("  %d: %4.0f TFLOP/s", tokens[i], 2.0 * rows * cols * tokens[i] / ns / 1e3);
    }
    printf("\n");
    void *all[] = {(void *)p.job.w, (void *)p.job.x, (void *)p.job.x_scale, p.job.y, p.job.partial};
    for (int i = 0; i < 5; i++)
        device_free(device, all[i]);
}

static void launch_attention(void *arg, int index)
{
    struct cuda_attention job = *(struct cuda_attention *)arg;
    job.kv.layer += (size_t)(index % 4) * job.kv.block_bytes * 2 * (size_t)(job.kv.kv_heads * 32);
    cuda_find(CUOP_ATTENTION, job.kv.type, DT_F32)->fn.attention(&job, stream());
}

static void time_attention(int heads, int kv_heads, int batch, int context)
{
    struct cuda_token tokens[2048];
    struct error err = {0};
    struct cuda_attention job = {.heads = heads,
                                 .most_positions = context,
                                 .rows = batch,
                                 .single = true,
                                 .ld = (size_t)(heads + 2 * kv_heads) * 128,
                                 .ldo = (size_t)heads * 128,
                                 .scale = 0.08f};
    job.kv = (struct cuda_kv){.block_bytes = (size_t)context * 256,
                              .kv_heads = kv_heads,
                              .head_dim = 128,
                              .type = DT_BF16};
    job.kv.layer = random_memory(job.kv.block_bytes * 2 * (size_t)(kv_heads * 32) * 4);
    job.qkv = random_memory(2048 * job.ld * 4);
    job.out = random_memory(2048 * job.ldo * 4);
    job.partial = random_memory(cuda_attention_bytes(batch, heads, 128, context));
    job.tokens = random_memory(sizeof tokens);
    for (int i = 0; i < batch; i++)
        tokens[i] = (struct cuda_token){i, context - 1};
    if (device_copy_in(device, (void *)job.tokens, tokens, sizeof tokens, &err) != OK)
        stop(err.message);
    double ns = time_of(launch_attention, &job), bytes = 2.0 * 256 * context * kv_heads * batch;
    printf("  decode %d heads, %d KV heads, batch %d, context %d: %.1f us, %.0f%%\n", heads,
           kv_heads, batch, context, ns / 1e3, 100 * bytes / ns / read_rate);
    if (batch == 1 && context >= 2048) {
        for (int i = 0; i < 2048; i++)
            tokens[i] = (struct cuda_token){0, context - 2048 + i};
        if (device_copy_in(device, (void *)job.tokens, tokens, sizeof tokens, &err) != OK)
            stop(err.message);
        job.rows = 2048;
        job.single = false;
        ns = time_of(launch_attention, &job);
        printf("  prefill of the last 2048: %.1f us, %.1f TFLOP/s\n", ns / 1e3,
               4.0 * heads * 128 * 2048 * (context - 1024) / ns / 1e3);
    }
    void *all[] = {job.kv.layer, (void *)job.qkv, job.out, job.partial, (void *)job.tokens};
    for (int i = 0; i < 5; i++)
        device_free(device, all[i]);
}

int main(int argc, char **argv)
{
    struct error err = {0};
    struct device_options options = {.isa = ISA_ALL};
    bool big = argc > 1 && strcmp(argv[1], "8b") == 0;
    if (device_open("cuda:0", &options, &device, &err) != OK ||
        device_queue_create(device, &queue, &err) != OK)
        stop(err.message);
    stamps = cuda_pinned_alloc(device, 2 * sizeof *stamps);
    struct device_clock_tie tie = device_clock_tie(device);
    printf("%s, clock tied within %llu ns\n", device_info(device)->description,
           (unsigned long long)tie.uncertain_ns);
    anchors();
    size_t count;
    const struct cuda_kernel *table = cuda_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].op != CUOP_LINEAR || table[i].w == DT_F32)
            continue;
        printf("%s\n", table[i].name);
        time_product(&table[i], "qkv", big ? 6144 : 12288, 4096);
        time_product(&table[i], "o", 4096, 4096);
        time_product(&table[i], "gate-up", big ? 28672 : 22016, 4096);
        time_product(&table[i], "down", 4096, big ? 14336 : 11008);
    }
    printf("attention, bf16\n");
    time_attention(32, 32, 1, 512);
    time_attention(32, 32, 1, 8192);
    time_attention(32, 8, 1, 8192);
    time_attention(32, 8, 32, 2048);
    printf("again: ");
    anchors();
    device_queue_destroy(queue);
    cuda_pinned_free(device, stamps);
    device_close(device);
    return 0;
}
