// rng.h - deterministic random numbers: the same seed gives the same bits on every machine.
//
// splitmix64 (Steele, Lea, Flood 2014) hashes a counter, so any position of the stream can be computed without the
// earlier ones. Threads fill a tensor by rows, and the result does not depend on their number.
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

static inline uint64_t rng_hash(uint64_t counter)
{
    uint64_t z = counter + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

struct rng {
    uint64_t state;
};

static inline uint64_t rng_u64(struct rng *rng)
{
    uint64_t value = rng_hash(rng->state);
    rng->state += 0x9e3779b97f4a7c15u;
    return value;
}

// Uniform in [0, 1), 24 bits.
static inline float rng_f32(struct rng *rng)
{
    return (float)(rng_u64(rng) >> 40) * 0x1p-24f;
}

// Uniform in [0, bound); bound > 0. The bias is below bound / 2^32.
static inline uint32_t rng_below(struct rng *rng, uint32_t bound)
{
    return (uint32_t)(((rng_u64(rng) >> 32) * bound) >> 32);
}

#endif
