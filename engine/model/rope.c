// rope.c - frequencies of RoPE, scaled as the description says, and the tables made from them.
#include "engine/model/rope.h"

#include <math.h>

static const float two_pi = 6.283185307179586f;

// Long waves are stretched by the factor, short ones kept, those between are blended.
static float llama3_scale(const struct model_config *config, float freq)
{
    float original = (float)config->rope_original_positions;
    float wavelength = two_pi / freq;
    if (wavelength < original / config->rope_high_freq)
        return freq;
    if (wavelength > original / config->rope_low_freq)
        return freq / config->rope_factor;
    float smooth = (original / wavelength - config->rope_low_freq) /
                   (config->rope_high_freq - config->rope_low_freq);
    return (1.0f - smooth) * freq / config->rope_factor + smooth * freq;
}

void rope_frequencies(const struct model_config *config, float *freq)
{
    for (int i = 0; i < config->rotary / 2; i++) {
        float exponent = (float)(2 * i) / (float)config->rotary;
        freq[i] = 1.0f / powf(config->rope_theta, exponent);
        if (config->rope_scaling == ROPE_SCALE_LINEAR)
            freq[i] /= config->rope_factor;
        if (config->rope_scaling == ROPE_SCALE_LLAMA3)
            freq[i] = llama3_scale(config, freq[i]);
        if (config->rope_scaling == ROPE_SCALE_FACTORS)
            freq[i] /= config->rope_factors[i];
    }
}

void rope_fill(const struct model_config *config, const float *freq, int begin, int end, float *cos,
               float *sin)
{
    size_t half = (size_t)config->rotary / 2;
    for (int position = begin; position < end; position++) {
        float *cos_row = cos + (size_t)position * half, *sin_row = sin + (size_t)position * half;
        for (size_t i = 0; i < half; i++) {
            float angle = (float)position * freq[i];
            cos_row[i] = cosf(angle);
            sin_row[i] = sinf(angle);
        }
    }
}
