// canary.c - short probes that show whether the machine's speed was the same before, between and after.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/stat.h"
#include "base/str.h"
#include "bench/probe/stream.h"

enum {
    LOOKS = 5,              // the median of five ignores two interruptions
    LOOK_NS = 350 * 1000,   // with warm-up, about 2 ms in total
    COMPUTE_STEPS = 150000, // a multiply-add chain of 4 to 5 cycles per step: 200 us near 3.5 GHz
};

static const double PROBE_OPERATIONS = 1e9; // the fixed work of a device that measures itself

struct canary {
    // Host: a stream over the level.
    struct stream *stream; // NULL: the device's own probes
    const struct kernel *read;
    struct memory_level level[MEMORY_LEVELS_MAX];
    int at_level, threads;
    struct state_probe *state;
    // Other devices.
    struct device *device;
    size_t read_probe, peak_probe;
    char probe_level[8];
};

static enum status open_stream(struct canary *canary, size_t working_set_bytes, struct error *err)
{
    struct pool *pool = device_pool(canary->device);
    canary->threads = pool_threads(pool);
    canary->read = kernel_find(KOP_READ, DT_F32, DT_F32, device_target(canary->device));
    int levels = machine_memory_levels(canary->level);
    if (!canary->read || levels == 0)
        return FAIL(err, ERR_UNSUPPORTED, "canary: no %s",
                    levels == 0 ? "memory topology" : "read kernel");
    canary->at_level =
        topology_level_of(canary->level, levels, canary->threads, (double)working_set_bytes);
    while (stream_share(canary->level, levels, canary->at_level, canary->threads) == 0)
        canary->at_level++; // DRAM, the last one, always has a share
    TRY(stream_create(pool, canary->level, levels, canary->at_level, canary->threads,
                      &canary->stream, err));
    return state_probe_create(canary->device, working_set_bytes, &canary->state, err);
}

// Finds the device's probe that reads its memory, and its first peak.
static enum status find_probes(struct canary *canary, struct error *err)
{
    struct device_probe probes[DEVICE_PROBES_MAX];
    size_t count = device_probes(canary->device, probes, DEVICE_PROBES_MAX);
    canary->read_probe = canary->peak_probe = count;
    for (size_t i = count; i-- > 0;) {
        if (str_equal(probes[i].name, "read") && str_equal(probes[i].level, "DRAM"))
            canary->read_probe = i;
        else if (!probes[i].level[0])
            canary->peak_probe = i;
    }
    if (canary->read_probe == count || canary->peak_probe == count)
        return FAIL(err, ERR_UNSUPPORTED, "canary: device %s does not probe its memory and a peak",
                    device_info(canary->device)->name);
    snprintf(canary->probe_level, sizeof canary->probe_level, "%s", "DRAM");
    // The first probe allocates what all of them need, so it runs before a cell checks the free memory.
    double rate;
    bool disturbed;
    return device_probe_run(canary->device, canary->read_probe, &rate, &disturbed, err);
}

enum status canary_create(struct device *device, size_t working_set_bytes, struct canary **out,
                          struct error *err)
{
    struct canary *canary = calloc(1, sizeof *canary);
    if (!canary)
        return FAIL(err, ERR_NOMEM, "canary: out of memory");
    canary->device = device;
    enum status status = device_pool(device) ? open_stream(canary, working_set_bytes, err)
                                             : find_probes(canary, err);
    if (status != OK)
        canary_destroy(canary);
    else
        *out = canary;
    return status;
}

void canary_destroy(struct canary *canary)
{
    if (!canary)
        return;
    stream_destroy(canary->stream);
    state_probe_destroy(canary->state);
    free(canary);
}

const char *canary_level(const struct canary *canary)
{
    return canary->stream ? canary->level[canary->at_level].name : canary->probe_level;
}

size_t canary_memory_bytes(const struct canary *canary)
{
    if (!canary->stream)
        return 0;
    return stream_memory_bytes(canary->stream) + state_probe_bytes(canary->state);
}

// One sample of a device's probe; NaN when it failed.
static double probe_rate(struct canary *canary, size_t probe)
{
    struct error ignored = {0};
    double rate = NAN;
    bool disturbed = false;
    if (device_probe_run(canary->device, probe, &rate, &disturbed, &ignored) != OK)
        return NAN;
    return rate;
}

double canary_bandwidth(struct canary *canary)
{
    double rate[LOOKS];
    struct error err = {0};
    if (!canary->stream)
        return probe_rate(canary, canary->read_probe);
    stream_warm(canary->stream, canary->read, canary->at_level, canary->threads);
    for (int i = 0; i < LOOKS; i++)
        rate[i] = stream_rate(canary->stream, canary->read, canary->at_level, canary->threads,
                              LOOK_NS, NULL);
    return stat_median(rate, LOOKS, &err);
}

double canary_compute_ns(struct canary *canary)
{
    if (!canary->stream)
        return 1e9 * PROBE_OPERATIONS / probe_rate(canary, canary->peak_probe);
    // Each step depends on the previous one, so neither compiler nor processor can shorten the chain.
    volatile uint64_t seed = (uint64_t)canary->threads;
    uint64_t x = seed, begin = clock_ns();
    for (int i = 0; i < COMPUTE_STEPS; i++)
        x = x * 6364136223846793005u + 1442695040888963407u; // Knuth's LCG
    seed = x;
    return (double)(clock_ns() - begin);
}

struct device_vitals canary_vitals(struct canary *canary)
{
    return device_vitals(canary->device);
}

struct machine_state canary_state(struct canary *canary)
{
    if (!canary->state)
        return (struct machine_state){NAN, NAN, NAN};
    return state_probe_look(canary->state);
}
