// device_flag.h - the --device flag of a command: its row, and opening the device with the flags next to it.
#ifndef BENCH_CLI_DEVICE_FLAG_H
#define BENCH_CLI_DEVICE_FLAG_H

#include "bench/cli/command.h"
#include "bench/cli/values.h"
#include "device/device.h"

// For a command's table of flags.
#define DEVICE_FLAG                                                                                \
    {                                                                                              \
        "device", 'd', FLAG_STRING, "NAME", DEVICE_DEFAULT,                                        \
            "where it runs: a device of 'bench machine'", &cli_values_device                       \
    }

// Finds the device that --device names. Errors: ERR_USAGE for an unknown word, with the nearest known one;
// ERR_UNSUPPORTED, with the reason, for a device that is not available here.
enum status cli_device_find(const struct arguments *args, struct device_info *out,
                            struct error *err);

// The PATTERN argument of a command on kernels; "*" if none is given. Errors: ERR_USAGE if it is the word of a device.
enum status cli_kernel_pattern(const struct arguments *args, const char **out, struct error *err);

// Opens it with pinned threads. threads: as for pool_create. isa: the value of --isa, the words of permitted tiers;
// NULL: all. Errors: as above, ERR_USAGE for unknown tiers, and those of device_open.
enum status cli_device_open(const struct arguments *args, int64_t threads, const char *isa,
                            struct device **out, struct error *err);

// The number of a device's threads (0: it has none), and whether they are pinned.
int cli_device_threads(const struct device *device);
bool cli_device_pinned(const struct device *device);

#endif
