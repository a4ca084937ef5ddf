// bench.c - times launches on an NVIDIA GPU by its own clock.
//
// A sample is one graph of many launches between two stamps of the device's clock, so that no host work separates the
// launches. The result is the median of the samples.
#include "kernels/cuda/bench.h"

#include <stdio.h>
#include <string.h>

#include "base/stat.h"
#include "device/cuda.h"

enum { SAMPLES = 9, LAUNCHES = 16 };
enum { MOST_SAMPLE_NS = 20000000 }; // limits the time of slow rows

enum status cuda_bench_open(struct cuda_bench *bench, struct device *device, size_t cache_bytes,
                            struct error *err)
{
    const struct kernel *stamp = kernel_find(KOP_STAMP, DT_F32, DT_F32, device_target(device));
    *bench = (struct cuda_bench){.device = device, .cache_bytes = cache_bytes};
    if (!stamp)
        return FAIL(err, ERR_UNSUPPORTED, "device %s: no kernel reads its clock",
                    device_info(device)->name);
    bench->stamp = stamp->fn.cuda.stamp;
    bench->stamps = cuda_pinned_alloc(device, 2 * sizeof *bench->stamps);
    if (!bench->stamps)
        return FAIL(err, ERR_NOMEM, "device %s: no pinned memory", device_info(device)->name);
    return device_queue_create(device, &bench->queue, err);
}

void cuda_bench_close(struct cuda_bench *bench)
{
    device_queue_destroy(bench->queue);
    cuda_pinned_free(bench->device, bench->stamps);
    *bench = (struct cuda_bench){0};
}

static enum status failed_launch(const struct cuda_bench_case *c, struct error *err)
{
    int code;
    const char *failed = cuda_launch_error(&code);
    if (!failed)
        return OK;
    device_launch_failed(c->bench->device, code, failed, err);
    return error_context(err, "%s at %s", c->kernel->name, c->text);
}

// Chooses the number of launches in a sample: one per copy, but no more than its time allows. The first launch loads
// the kernel; the second measures its time.
static enum status choose_launches(struct cuda_bench_case *c, int *launches, struct error *err)
{
    const struct cuda_bench *b = c->bench;
    void *stream = device_queue_native(b->queue);
    cuda_bench_launch(c, 0, stream);
    b->stamp(&b->stamps[0], stream);
    cuda_bench_launch(c, 1, stream);
    b->stamp(&b->stamps[1], stream);
    TRY(device_queue_wait(b->queue, err));
    TRY(failed_launch(c, err));
    uint64_t most = MOST_SAMPLE_NS / (b->stamps[1] - b->stamps[0] + 1);
    *launches = c->copies > LAUNCHES ? c->copies : LAUNCHES;
    if (most < (uint64_t)*launches)
        *launches = most ? (int)most : 1;
    return OK;
}

static enum status record(struct cuda_bench_case *c, int launches, struct cuda_graph **graph,
                          struct error *err)
{
    const struct cuda_bench *b = c->bench;
    TRY(cuda_graph_begin(b->queue, err));
    for (int i = 0; i < launches; i++)
        cuda_bench_launch(c, i, device_queue_native(b->queue));
    TRY(cuda_graph_end(b->queue, graph, err));
    return failed_launch(c, err);
}

// The median time of one launch.
static enum status time_case(struct cuda_bench_case *c, double *time_ns, struct error *err)
{
    const struct cuda_bench *b = c->bench;
    void *stream = device_queue_native(b->queue);
    int launches;
    double samples[SAMPLES];
    struct cuda_graph *graph = NULL;
    TRY(choose_launches(c, &launches, err));
    record(c, launches, &graph, err);
    for (int i = -1; i < SAMPLES && !err->code; i++) { // the first raises the clocks
        b->stamp(&b->stamps[0], stream);
        cuda_graph_launch(graph, b->queue, err);
        b->stamp(&b->stamps[1], stream);
        if (!err->code && device_queue_wait(b->queue, err) == OK && i >= 0)
            samples[i] = (double)(b->stamps[1] - b->stamps[0]) / launches;
    }
    cuda_graph_destroy(b->device, graph);
    if (!err->code)
        *time_ns = stat_median(samples, SAMPLES, err);
    return err->code;
}

static enum status bench_case(struct cuda_bench_case *c, kernel_bench_report *report, void *user,
                              struct error *err)
{
    struct kernel_bench_result result = {.kernel = c->kernel};
    if (c->no_memory)
        return FAIL(err, ERR_NOMEM, "%s at %s: no memory on %s", c->kernel->name, c->text,
                    device_info(c->bench->device)->name);
    TRY(time_case(c, &result.time_ns, err));
    memcpy(result.shape, c->text, sizeof result.shape);
    result.bytes = c->bytes;
    result.flop = c->flop;
    result.in_cache = (double)c->copies * c->bytes <= (double)c->bench->cache_bytes;
    report(user, &result);
    return OK;
}

enum status cuda_bench_row(const struct cuda_bench *bench, const struct kernel *kernel,
                           kernel_bench_report *report, void *user, struct error *err)
{
    for (int i = 0; !err->code; i++) {
        struct cuda_bench_case c;
        bool more = cuda_bench_make(&c, bench, kernel, i);
        if (more)
            bench_case(&c, report, user, err);
        cuda_bench_fini(&c);
        if (!more && i == 0)
            return FAIL(err, ERR_INTERNAL, "%s: no shape is written to time it at", kernel->name);
        if (!more)
            break;
    }
    return err->code;
}
