// probe.c - the operands of the PEAK kernels.
#include "kernels/kernels.h"

#include "base/fp.h"
#include "base/rng.h"

void kernel_peak_seed(enum dtype datapath, uint64_t seed, void *out)
{
    struct rng rng = {seed};
    bool bytes = datapath == DT_I8 || datapath == DT_I4 || datapath == DT_F8E4M3;
    size_t count = PEAK_SEED_BYTES / (bytes ? 1 : datapath == DT_F32 ? 4 : 2);
    for (size_t i = 0; i < count; i++) {
        float value = (0.25f + 0.5f * rng_f32(&rng)) * (rng_below(&rng, 2) ? 1.0f : -1.0f);
        if (bytes)
            ((uint8_t *)out)[i] = (uint8_t)rng_u64(&rng);
        else if (datapath == DT_F32)
            ((float *)out)[i] = value;
        else
            ((uint16_t *)out)[i] = datapath == DT_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
    }
}
