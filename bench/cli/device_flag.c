// device_flag.c - --device, --threads and --isa, read from the one list of devices and opened.
#include "bench/cli/device_flag.h"

enum { THREADS_MAX = 1 << 16 };

enum status cli_device_find(const struct arguments *args, struct device_info *out,
                            struct error *err)
{
    if (device_find(cli_flag_string(args, "device"), out, err) != OK)
        return error_context(err, "--device");
    if (!out->available)
        return FAIL(err, ERR_UNSUPPORTED, "--device %s: %s", out->name, out->reason);
    return OK;
}

enum status cli_device_open(const struct arguments *args, int64_t threads, const char *isa,
                            struct device **out, struct error *err)
{
    struct device_info info;
    struct device_options options = {.threads = (int)threads, .pin = true, .isa = ISA_ALL};
    TRY(cli_device_find(args, &info, err));
    if (threads < 0 || threads > THREADS_MAX)
        return FAIL(err, ERR_USAGE, "--threads %lld: must be 0 to %d", (long long)threads,
                    THREADS_MAX);
    if (isa && !device_isa_parse(info.kind, isa, &options.isa)) {
        char known[128];
        return FAIL(err, ERR_USAGE, "--isa %s: not a tier of %s; known are ref, all, %s", isa,
                    info.name, device_isa_text(info.kind, ISA_ALL, known, sizeof known));
    }
    return device_open(info.name, &options, out, err);
}

int cli_device_threads(const struct device *device)
{
    struct pool *pool = device_pool(device);
    return pool ? pool_threads(pool) : 0;
}

bool cli_device_pinned(const struct device *device)
{
    struct pool *pool = device_pool(device);
    return pool && pool_pinned(pool);
}
