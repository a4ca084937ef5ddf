// device_flag.c - reads --device, --threads and --isa with the list of devices, and opens the device.
#include "bench/cli/device_flag.h"

#include <string.h>

#include "base/words.h"

// Refuses typing errors only. Counters and waits cover the first 1024 threads (OS_THREADS_MOST).
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

static enum status unknown_tier(const char *isa, const struct device_info *info, struct error *err)
{
    struct arena arena = {0};
    struct words known = {0};
    char hint[WORDS_HINT_BYTES];
    cli_values_tiers(info->kind, &arena, &known);
    FAIL(err, ERR_USAGE, "--isa %s: not a tier of %s%s", isa, info->name,
         words_hint(isa, known.items, known.count, hint, sizeof hint));
    arena_fini(&arena);
    return err->code;
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
    if (isa && !device_isa_parse(info.kind, isa, &options.isa))
        return unknown_tier(isa, &info, err);
    return device_open(info.name, &options, out, err);
}

enum status cli_kernel_pattern(const struct arguments *args, const char **out, struct error *err)
{
    *out = cli_positional_count(args) ? cli_positional(args, 0) : "*";
    if (!device_word_known(*out))
        return OK;
    return FAIL(err, ERR_USAGE, "'%s' is a device, not a kernel: did you mean --device %s?", *out,
                *out);
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
