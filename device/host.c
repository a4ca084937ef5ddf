// host.c - the processor as a device: base/pool runs its kernels, and its memory is that of this process.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "device/host_energy.h"
#include "device/ops.h"

enum { HUGE_PAGE_BYTES = 2 << 20 };

struct host_device {
    struct device device;
    struct pool *pool; // owned
    struct device_rapl rapl;
    bool rapl_open;
};

static const struct host_device *host_of(const struct device *device)
{
    return (const struct host_device *)(const void *)device;
}

static uint64_t known(int64_t bytes)
{
    return bytes == OS_UNKNOWN ? 0 : (uint64_t)bytes;
}

static size_t host_list(struct device_info *out, size_t max)
{
    if (max == 0)
        return 0;
    char isa[96];

    *out = (struct device_info){
        .available = true,
        .isa = device_isa_host(),
        .memory_bytes = known(os_memory_total_bytes()),
    };
    snprintf(out->name, sizeof out->name, "%s", DEVICE_DEFAULT);
    snprintf(out->description, sizeof out->description, "this processor, kernels for %s",
             device_isa_text(DEVICE_HOST, out->isa, isa, sizeof isa));
    return 1;
}

static enum status host_open(const struct device_info *info, const struct device_options *options,
                             struct device **out, struct error *err)
{
    struct host_device *host = calloc(1, sizeof *host);
    if (!host)
        return FAIL(err, ERR_NOMEM, "device %s: out of memory", info->name);
    if (pool_create(options->threads, options->pin, &host->pool, err) != OK) {
        free(host);
        return err->code;
    }
    host->device.info = *info;
    host->device.info.cache_bytes = pool_cache_bytes(host->pool);
    host->device.info.units = pool_threads(host->pool);
    *out = &host->device;
    return OK;
}

static void host_close(struct device *device)
{
    struct host_device *host = (struct host_device *)(void *)device;
    pool_destroy(host->pool);
    free(host);
}

static struct pool *host_pool(const struct device *device)
{
    return host_of(device)->pool;
}

static uint64_t host_wait_ns(const struct device *device)
{
    return pool_wait_ns(host_of(device)->pool);
}

// ---- memory --------------------------------------------------------------------------------------------

static struct device_memory host_memory(const struct device *device)
{
    (void)device;
    return (struct device_memory){.total_bytes = known(os_memory_total_bytes()),
                                  .available_bytes = known(os_memory_available_bytes())};
}

static void *host_alloc(struct device *device, size_t bytes)
{
    (void)device;
    void *memory = NULL;
    if (bytes > SIZE_MAX / 2 || posix_memalign(&memory, HUGE_PAGE_BYTES, bytes ? bytes : 1) != 0)
        return NULL;
    os_advise_huge(memory, bytes); // small pages also work, but are slower
    return memory;
}

static void host_free(struct device *device, void *memory)
{
    (void)device;
    free(memory);
}

static enum status host_copy(struct device *device, void *to, const void *from, size_t bytes,
                             struct error *err)
{
    (void)device;
    (void)err;
    memcpy(to, from, bytes);
    return OK;
}

// ---- energy --------------------------------------------------------------------------------------------

static enum status host_energy(struct device *device, struct device_energy *out, struct error *err)
{
    struct host_device *host = (struct host_device *)(void *)device;
    if (!host->rapl_open)
        TRY(device_rapl_open("", &host->rapl, err));
    host->rapl_open = true;
    return device_rapl_read(&host->rapl, out, err);
}

// ---- queues --------------------------------------------------------------------------------------------

static enum status host_queue_create(struct device *device, struct device_queue **out,
                                     struct error *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? OK : FAIL(err, ERR_NOMEM, "device %s: no memory for a queue", device->info.name);
}

static void host_queue_destroy(struct device_queue *queue)
{
    free(queue);
}

static void *host_queue_native(const struct device_queue *queue)
{
    return host_pool(queue->device);
}

static const char *host_failure(int code)
{
    return strerror(code);
}

static bool host_no_memory(int code)
{
    return code == ENOMEM;
}

const struct device_ops device_host_ops = {
    .list = host_list,
    .open = host_open,
    .close = host_close,
    .pool = host_pool,
    .wait_ns = host_wait_ns,
    .memory = host_memory,
    .alloc = host_alloc,
    .free = host_free,
    .copy_in = host_copy,
    .copy_out = host_copy,
    .queue_create = host_queue_create,
    .queue_destroy = host_queue_destroy,
    .queue_native = host_queue_native,
    .failure = host_failure,
    .no_memory = host_no_memory,
    .energy = host_energy,
};
