// canary.c - short probes that tell whether the machine gave the same before, between and after.
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/stat.h"
#include "bench/probe/stream.h"

enum {
    LOOKS = 5,              // the median of five forgets two interruptions
    LOOK_NS = 350 * 1000,   // with warming, about 2 ms together
    COMPUTE_STEPS = 150000, // a multiply-add chain of 4 to 5 cycles a step: 200 us near 3.5 GHz
};

struct canary {
    struct stream *stream;
    const struct kernel *read;
    struct memory_level level[MEMORY_LEVELS_MAX];
    int at_level, threads;
};

enum status canary_create(struct pool *pool, size_t working_set_bytes, struct canary **out,
                          struct error *err)
{
    struct canary *canary = calloc(1, sizeof *canary);
    if (!canary)
        return FAIL(err, ERR_NOMEM, "canary: out of memory");
    canary->threads = pool_threads(pool);
    canary->read = kernel_find(KOP_READ, DT_F32, DT_F32, device_isa_host());
    int levels = machine_memory_levels(canary->level);
    if (!canary->read || levels == 0) {
        free(canary);
        return FAIL(err, ERR_UNSUPPORTED, "canary: no %s",
                    levels == 0 ? "memory topology" : "read kernel");
    }
    canary->at_level =
        memory_level_of(canary->level, levels, canary->threads, (double)working_set_bytes);
    while (stream_share(canary->level, levels, canary->at_level, canary->threads) == 0)
        canary->at_level++; // DRAM, the last, has a share always
    if (stream_create(pool, canary->level, levels, canary->at_level, canary->threads,
                      &canary->stream, err) != OK) {
        canary_destroy(canary);
        return err->code;
    }
    *out = canary;
    return OK;
}

void canary_destroy(struct canary *canary)
{
    if (!canary)
        return;
    stream_destroy(canary->stream);
    free(canary);
}

const char *canary_level(const struct canary *canary)
{
    return canary->level[canary->at_level].name;
}

size_t canary_memory_bytes(const struct canary *canary)
{
    return stream_memory_bytes(canary->stream);
}

double canary_bandwidth(struct canary *canary)
{
    double rate[LOOKS];
    struct error err = {0};
    stream_warm(canary->stream, canary->read, canary->at_level, canary->threads);
    for (int i = 0; i < LOOKS; i++)
        rate[i] = stream_rate(canary->stream, canary->read, canary->at_level, canary->threads,
                              LOOK_NS, NULL);
    return stat_median(rate, LOOKS, &err);
}

double canary_compute_ns(struct canary *canary)
{
    // Each step needs the one before, so neither compiler nor processor can shorten the chain.
    volatile uint64_t seed = (uint64_t)canary->threads;
    uint64_t x = seed, begin = clock_ns();
    for (int i = 0; i < COMPUTE_STEPS; i++)
        x = x * 6364136223846793005u + 1442695040888963407u; // Knuth's LCG
    seed = x;
    return (double)(clock_ns() - begin);
}
