// cuda.c - NVIDIA GPUs as devices: the primary context of each, its memory, streams, graphs and clock.
//
// The context is the one that the CUDA runtime uses, so that kernels launched through the runtime can use this memory
// and these streams. The clock is the GPU's nanosecond counter, read by a kernel of a few instructions. The shortest of
// several readings ties it to the host's clock.
#include "device/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "device/cuda_driver.h"
#include "device/ops.h"

enum { CLOCK_READINGS = 8 };

#define NO_KERNELS "this build has no CUDA kernels (they need nvcc: make CUDA=yes)"

struct cuda_queue {
    struct device_queue queue;
    void *stream;
};

struct cuda_graph {
    void *graph, *exec;
};

struct cuda_device *cuda_of(const struct device *device)
{
    return (struct cuda_device *)(uintptr_t)device;
}

static struct cuda_device *queue_device(const struct device_queue *queue)
{
    return cuda_of(queue->device);
}

static void *stream_of(const struct device_queue *queue)
{
    return ((const struct cuda_queue *)(const void *)queue)->stream;
}

// Makes the context current in the calling thread.
const struct cuda_driver *cuda_enter(const struct cuda_device *cuda)
{
    cuda->driver->CtxSetCurrent(cuda->context);
    return cuda->driver;
}

static bool cuda_no_memory(int code)
{
    return code == CUDA_OUT_OF_MEMORY;
}

enum status cuda_check(const struct cuda_device *cuda, cuda_result result, const char *what,
                       struct error *err)
{
    if (result == 0)
        return OK;
    return FAIL(err, cuda_no_memory(result) ? ERR_NOMEM : ERR_IO, "device %s: %s: %s",
                cuda->device.info.name, what, cuda_driver_text(cuda->driver, result));
}

// ---- listing -------------------------------------------------------------------------------------

static unsigned tiers_of(int capability)
{
    unsigned isa = 0;
    if (capability >= 80)
        isa |= ISA_SM80;
    if (capability >= 89)
        isa |= ISA_SM89;
    if (capability >= 90)
        isa |= ISA_SM90;
    if (capability == 90)
        isa |= ISA_SM90A;
    return isa;
}

// Writes what this GPU lacks; writes nothing if it can be used.
static void refuse(struct device_info *info, const char *name, int capability)
{
    if (!HAVE_CUDA)
        snprintf(info->reason, sizeof info->reason, "%s", NO_KERNELS);
    else if (strstr(name, " MIG "))
        snprintf(info->reason, sizeof info->reason,
                 "it is a MIG slice, whose memory bandwidth depends on its neighbours");
    else if (capability < 80)
        snprintf(info->reason, sizeof info->reason,
                 "its compute capability is %d.%d, needed is 8.0 or later", capability / 10,
                 capability % 10);
}

// Its clock, and the rate of its memory, which moves two bits per clock and line. They stay 0 if the driver does not
// report them.
static void describe_rates(const struct cuda_driver *driver, int device, struct device_info *info)
{
    int clock_khz = 0, memory_khz = 0, bus_bits = 0;
    if (driver->DeviceGetAttribute(&clock_khz, CUDA_CLOCK_KHZ, device) == 0)
        info->clock_hz = clock_khz * 1e3;
    if (driver->DeviceGetAttribute(&memory_khz, CUDA_MEMORY_CLOCK_KHZ, device) == 0 &&
        driver->DeviceGetAttribute(&bus_bits, CUDA_MEMORY_BUS_BITS, device) == 0)
        info->memory_bytes_per_s = 2 * memory_khz * 1e3 * (bus_bits / 8.0);
}

static void describe(const struct cuda_driver *driver, int ordinal, struct device_info *info)
{
    char name[96] = "NVIDIA GPU";
    int device = 0, major = 0, minor = 0, version = 0, multiprocessors = 0, cache = 0;
    size_t memory = 0;
    *info = (struct device_info){0};
    snprintf(info->name, sizeof info->name, "cuda:%d", ordinal);
    cuda_result result = driver->DeviceGet(&device, ordinal);
    if (result == 0)
        result = driver->DeviceGetName(name, (int)sizeof name, device);
    if (result == 0)
        result = driver->DeviceTotalMem(&memory, device);
    if (result == 0)
        result = driver->DeviceGetAttribute(&major, CUDA_CAPABILITY_MAJOR, device);
    if (result == 0)
        result = driver->DeviceGetAttribute(&minor, CUDA_CAPABILITY_MINOR, device);
    if (result == 0)
        result = driver->DeviceGetAttribute(&multiprocessors, CUDA_MULTIPROCESSORS, device);
    if (result == 0)
        result = driver->DeviceGetAttribute(&cache, CUDA_L2_BYTES, device);
    driver->DriverGetVersion(&version);
    snprintf(info->description, sizeof info->description, "%.70s, sm_%d%d, driver for CUDA %d.%d",
             name, major, minor, version / 1000, version % 1000 / 10);
    info->memory_bytes = memory;
    info->cache_bytes = (size_t)cache;
    info->units = multiprocessors;
    info->isa = tiers_of(10 * major + minor);
    describe_rates(driver, device, info);
    if (result != 0)
        snprintf(info->reason, sizeof info->reason, "the driver does not describe it: %s",
                 cuda_driver_text(driver, result));
    else
        refuse(info, name, 10 * major + minor);
    info->available = info->reason[0] == '\0';
}

static size_t cuda_list(struct device_info *out, size_t max)
{
    char reason[sizeof out->reason] = "";
    if (max == 0)
        return 0;
    const struct cuda_driver *driver = cuda_driver_get(reason, sizeof reason);
    int count = 0;
    if (driver && (driver->DeviceGetCount(&count) != 0 || count < 1))
        snprintf(reason, sizeof reason,
                 "the NVIDIA driver finds no GPU (one in MIG mode needs an instance)");
    if (!driver || count < 1) {
        *out = (struct device_info){0};
        snprintf(out->name, sizeof out->name, "cuda:0");
        // Even with a driver, this build could not run a kernel, so that is the reason to report.
        snprintf(out->reason, sizeof out->reason, "%s", HAVE_CUDA ? reason : NO_KERNELS);
        return 1;
    }
    size_t found = (size_t)count < max ? (size_t)count : max;
    for (size_t i = 0; i < found; i++)
        describe(driver, (int)i, &out[i]);
    return found;
}

// ---- the clock -----------------------------------------------------------------------------------------

// Writes %globaltimer to its argument. The driver compiles it for the GPU at hand.
static const char clock_ptx[] = ".version 7.0\n.target sm_80\n.address_size 64\n"
                                ".visible .entry read_clock(.param .u64 out)\n{\n"
                                ".reg .u64 %p, %t;\n"
                                "ld.param.u64 %p, [out];\n"
                                "cvta.to.global.u64 %p, %p;\n"
                                "mov.u64 %t, %globaltimer;\n"
                                "st.global.u64 [%p], %t;\n"
                                "ret;\n}\n";

static enum status clock_create(struct cuda_device *cuda, struct error *err)
{
    const struct cuda_driver *d = cuda_enter(cuda);
    TRY(cuda_check(cuda, d->StreamCreate(&cuda->stream, 1), "cuStreamCreate", err));
    TRY(cuda_check(cuda, d->MemHostAlloc((void **)&cuda->clock, 3 * sizeof *cuda->clock, 0),
                   "pinned memory of its clock", err));
    TRY(cuda_check(cuda, d->ModuleLoadData(&cuda->module, clock_ptx), "the kernel of its clock",
                   err));
    return cuda_check(cuda, d->ModuleGetFunction(&cuda->read_clock, cuda->module, "read_clock"),
                      "the kernel of its clock", err);
}

// The GPU's counter once all earlier work on the clock's stream is done.
enum status cuda_clock_read(struct cuda_device *cuda, uint64_t *out, struct error *err)
{
    const struct cuda_driver *d = cuda_enter(cuda);
    void *arguments[] = {(void *)&out};
    return cuda_check(
        cuda, d->LaunchKernel(cuda->read_clock, 1, 1, 1, 1, 1, 1, 0, cuda->stream, arguments, NULL),
        "reading its clock", err);
}

// The GPU's counter; 0 where the device has failed.
static uint64_t cuda_now_ns(struct device *device)
{
    struct cuda_device *cuda = cuda_of(device);
    struct error err = {0};
    *cuda->clock = 0;
    if (cuda_clock_read(cuda, cuda->clock, &err) != OK ||
        cuda->driver->StreamSynchronize(cuda->stream) != 0)
        return 0;
    return *cuda->clock;
}

static struct device_clock_tie cuda_clock_tie(struct device *device)
{
    struct device_clock_tie best = {.uncertain_ns = UINT64_MAX};
    cuda_now_ns(device); // the first launch loads the kernel
    for (int i = 0; i < CLOCK_READINGS; i++) {
        uint64_t before = clock_ns(), then = cuda_now_ns(device), after = clock_ns();
        uint64_t half = (after - before) / 2;
        if (half >= best.uncertain_ns)
            continue;
        best.uncertain_ns = half;
        best.ahead_ns = (int64_t)(then - (before + half));
    }
    return best;
}

// ---- opening -------------------------------------------------------------------------------------------

static void cuda_close(struct device *device)
{
    struct cuda_device *cuda = cuda_of(device);
    const struct cuda_driver *d = cuda_enter(cuda);
    cuda_probes_fini(cuda);
    if (cuda->module)
        d->ModuleUnload(cuda->module);
    if (cuda->clock)
        d->MemFreeHost(cuda->clock);
    if (cuda->stream)
        d->StreamDestroy(cuda->stream);
    if (cuda->context)
        d->DevicePrimaryCtxRelease(cuda->ordinal);
    free(cuda);
}

static enum status cuda_open(const struct device_info *info, const struct device_options *options,
                             struct device **out, struct error *err)
{
    (void)options; // info has the tiers
    char reason[sizeof info->reason];
    struct cuda_device *cuda = calloc(1, sizeof *cuda);
    if (!cuda)
        return FAIL(err, ERR_NOMEM, "device %s: out of memory", info->name);
    cuda->device.info = *info;
    cuda->driver = cuda_driver_get(reason, sizeof reason);
    if (!cuda->driver) {
        free(cuda);
        return FAIL(err, ERR_UNSUPPORTED, "device %s: %s", info->name, reason);
    }
    cuda_result result =
        cuda->driver->DeviceGet(&cuda->ordinal, atoi(info->name + strlen("cuda:")));
    if (result == 0)
        result = cuda->driver->DevicePrimaryCtxRetain(&cuda->context, cuda->ordinal);
    if (cuda_check(cuda, result, "no context on it", err) != OK || clock_create(cuda, err) != OK) {
        cuda_close(&cuda->device);
        return err->code;
    }
    *out = &cuda->device;
    return OK;
}

// ---- memory --------------------------------------------------------------------------------------------

static struct device_memory cuda_memory(const struct device *device)
{
    size_t available = 0, total = 0;
    const struct cuda_device *cuda = cuda_of(device);
    if (cuda_enter(cuda)->MemGetInfo(&available, &total) != 0)
        return (struct device_memory){0};
    return (struct device_memory){.total_bytes = total, .available_bytes = available};
}

static void *cuda_alloc(struct device *device, size_t bytes)
{
    cuda_address address = 0;
    if (cuda_enter(cuda_of(device))->MemAlloc(&address, bytes ? bytes : 1) != 0)
        return NULL;
    return (void *)(uintptr_t)address;
}

static void cuda_free(struct device *device, void *memory)
{
    cuda_enter(cuda_of(device))->MemFree((uintptr_t)memory);
}

static enum status cuda_copy_in(struct device *device, void *to, const void *from, size_t bytes,
                                struct error *err)
{
    const struct cuda_device *cuda = cuda_of(device);
    const struct cuda_driver *d = cuda_enter(cuda);
    cuda_result result = d->MemcpyHtoD((uintptr_t)to, from, bytes);
    // The call returns when the bytes have left the host, but the queues do not wait for the stream that carries them.
    if (result == 0)
        result = d->StreamSynchronize(NULL);
    return cuda_check(cuda, result, "copy to the device", err);
}

static enum status cuda_copy_out(struct device *device, void *to, const void *from, size_t bytes,
                                 struct error *err)
{
    const struct cuda_device *cuda = cuda_of(device);
    return cuda_check(cuda, cuda_enter(cuda)->MemcpyDtoH(to, (uintptr_t)from, bytes),
                      "copy from the device", err);
}

void *cuda_pinned_alloc(struct device *device, size_t bytes)
{
    void *memory = NULL;
    if (cuda_enter(cuda_of(device))->MemHostAlloc(&memory, bytes ? bytes : 1, 0) != 0)
        return NULL;
    return memory;
}

void cuda_pinned_free(struct device *device, void *memory)
{
    if (memory)
        cuda_enter(cuda_of(device))->MemFreeHost(memory);
}

// ---- queues --------------------------------------------------------------------------------------------

static enum status cuda_queue_create(struct device *device, struct device_queue **out,
                                     struct error *err)
{
    const struct cuda_device *cuda = cuda_of(device);
    struct cuda_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        return FAIL(err, ERR_NOMEM, "device %s: no memory for a queue", device->info.name);
    if (cuda_check(cuda, cuda_enter(cuda)->StreamCreate(&queue->stream, 1), "cuStreamCreate",
                   err) != OK) {
        free(queue);
        return err->code;
    }
    *out = &queue->queue;
    return OK;
}

static enum status cuda_queue_wait(struct device_queue *queue, struct error *err)
{
    const struct cuda_device *cuda = queue_device(queue);
    return cuda_check(cuda, cuda_enter(cuda)->StreamSynchronize(stream_of(queue)),
                      "work on it failed", err);
}

static void cuda_queue_destroy(struct device_queue *queue)
{
    const struct cuda_driver *d = cuda_enter(queue_device(queue));
    d->StreamSynchronize(stream_of(queue));
    d->StreamDestroy(stream_of(queue));
    free(queue);
}

static void *cuda_queue_native(const struct device_queue *queue)
{
    cuda_enter(queue_device(queue)); // launches on the stream need this context
    return stream_of(queue);
}

static const char *cuda_failure(int code)
{
    char reason[192];
    const struct cuda_driver *driver = cuda_driver_get(reason, sizeof reason);
    return driver ? cuda_driver_text(driver, code) : "the NVIDIA driver is gone";
}

enum status cuda_queue_copy_in(struct device_queue *queue, void *to, const void *from, size_t bytes,
                               struct error *err)
{
    const struct cuda_device *cuda = queue_device(queue);
    return cuda_check(
        cuda, cuda_enter(cuda)->MemcpyHtoDAsync((uintptr_t)to, from, bytes, stream_of(queue)),
        "copy to the device", err);
}

enum status cuda_queue_copy_out(struct device_queue *queue, void *to, const void *from,
                                size_t bytes, struct error *err)
{
    const struct cuda_device *cuda = queue_device(queue);
    return cuda_check(
        cuda, cuda_enter(cuda)->MemcpyDtoHAsync(to, (uintptr_t)from, bytes, stream_of(queue)),
        "copy from the device", err);
}

enum status cuda_queue_fill(struct device_queue *queue, void *to, unsigned char value, size_t bytes,
                            struct error *err)
{
    const struct cuda_device *cuda = queue_device(queue);
    return cuda_check(
        cuda, cuda_enter(cuda)->MemsetD8Async((uintptr_t)to, value, bytes, stream_of(queue)),
        "setting memory", err);
}

enum status cuda_queue_idle(struct device_queue *queue, bool *idle, struct error *err)
{
    const struct cuda_device *cuda = queue_device(queue);
    cuda_result result = cuda_enter(cuda)->StreamQuery(stream_of(queue));
    *idle = result == 0;
    return result == CUDA_NOT_READY ? OK : cuda_check(cuda, result, "work on it failed", err);
}

// ---- graphs --------------------------------------------------------------------------------------------

enum status cuda_graph_begin(struct device_queue *queue, struct error *err)
{
    const struct cuda_device *cuda = queue_device(queue);
    enum { THREAD_LOCAL = 1 }; // other threads may allocate meanwhile
    return cuda_check(cuda, cuda_enter(cuda)->StreamBeginCapture(stream_of(queue), THREAD_LOCAL),
                      "recording a graph", err);
}

enum status cuda_graph_end(struct device_queue *queue, struct cuda_graph **out, struct error *err)
{
    const struct cuda_device *cuda = queue_device(queue);
    const struct cuda_driver *d = cuda_enter(cuda);
    struct cuda_graph *graph = calloc(1, sizeof *graph);
    void *recorded = NULL;
    *out = NULL;
    cuda_result result = d->StreamEndCapture(stream_of(queue), &recorded);
    if (!graph) {
        if (recorded)
            d->GraphDestroy(recorded);
        return FAIL(err, ERR_NOMEM, "device %s: no memory for a graph", cuda->device.info.name);
    }
    graph->graph = recorded;
    if (result == 0)
        result = d->GraphInstantiateWithFlags(&graph->exec, graph->graph, 0);
    if (cuda_check(cuda, result, "making a graph", err) != OK) {
        cuda_graph_destroy(queue->device, graph);
        return err->code;
    }
    *out = graph;
    return OK;
}

enum status cuda_graph_launch(struct cuda_graph *graph, struct device_queue *queue,
                              struct error *err)
{
    const struct cuda_device *cuda = queue_device(queue);
    return cuda_check(cuda, cuda_enter(cuda)->GraphLaunch(graph->exec, stream_of(queue)),
                      "running a graph", err);
}

void cuda_graph_destroy(struct device *device, struct cuda_graph *graph)
{
    if (!graph)
        return;
    const struct cuda_driver *d = cuda_enter(cuda_of(device));
    if (graph->exec)
        d->GraphExecDestroy(graph->exec);
    if (graph->graph)
        d->GraphDestroy(graph->graph);
    free(graph);
}

const struct device_ops cuda_device_ops = {
    .list = cuda_list,
    .open = cuda_open,
    .close = cuda_close,
    .now_ns = cuda_now_ns,
    .clock_tie = cuda_clock_tie,
    .memory = cuda_memory,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .copy_in = cuda_copy_in,
    .copy_out = cuda_copy_out,
    .queue_create = cuda_queue_create,
    .queue_destroy = cuda_queue_destroy,
    .queue_wait = cuda_queue_wait,
    .queue_native = cuda_queue_native,
    .failure = cuda_failure,
    .no_memory = cuda_no_memory,
    .vitals = cuda_vitals,
    .energy = cuda_energy,
    .trace_check = cuda_trace_check,
    .trace_begin = cuda_trace_begin,
    .trace_mark = cuda_trace_mark,
    .trace_end = cuda_trace_end,
    .trace_destroy = cuda_trace_destroy,
    .counters_check = cuda_counters_check,
    .counters_open = cuda_counters_open,
    .counters_reason = cuda_counters_reason,
    .counters_source = "CUPTI range profiler",
    .counters_begin = cuda_counters_begin,
    .counters_end = cuda_counters_end,
    .counters_read = cuda_counters_read,
    .counters_close = cuda_counters_close,
    .probes = cuda_probes,
    .probe_run = cuda_probe_run,
};
