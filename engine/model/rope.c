// rope.c - frequencies of RoPE, scaled as the description says, and tables from them.
#include "engine/model/rope.h"

#include <math.h>
#include <stdio.h>

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

// The pair that turns this many times within the original positions, as a fraction of pairs.
static double yarn_pair(const struct model_config *config, double turns)
{
    double positions = config->rope_original_positions, theta = (double)config->rope_theta;
    return config->rotary * log(positions / (turns * 6.283185307179586)) / (2 * log(theta));
}

// Pairs that turn often keep their frequency, and pairs that turn seldom are stretched by the factor, with a ramp
// between.
static float yarn_scale(const struct model_config *config, int pair, float wave)
{
    double low = yarn_pair(config, (double)config->rope_beta_fast);
    double high = yarn_pair(config, (double)config->rope_beta_slow);
    if (!config->rope_untruncated) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, config->rotary - 1);
    if (low == high)
        high += 0.001; // as transformers does, so that the ramp has a width
    float ramp = ((float)pair - (float)low) / (float)(high - low);
    float kept = 1.0f - fminf(fmaxf(ramp, 0.0f), 1.0f);
    return 1.0f / (config->rope_factor * wave) * (1.0f - kept) + 1.0f / wave * kept;
}

// theta^(2 pair / rotary): the inverse of the frequency.
static float wave_of(const struct model_config *config, float theta, int pair)
{
    return powf(theta, (float)(2 * pair) / (float)config->rotary);
}

static float frequency(const struct model_config *config, int positions, int pair)
{
    float wave = wave_of(config, config->rope_theta, pair);
    bool beyond = positions > config->rope_original_positions;
    switch (config->rope_scaling) {
    case ROPE_SCALE_NONE:
        break;
    case ROPE_SCALE_LINEAR:
        return 1.0f / wave / config->rope_factor;
    case ROPE_SCALE_LLAMA3:
        return llama3_scale(config, 1.0f / wave);
    case ROPE_SCALE_FACTORS:
        return 1.0f / wave / config->rope_factors[pair];
    case ROPE_SCALE_YARN:
        return yarn_scale(config, pair, wave);
    case ROPE_SCALE_LONGROPE:
        return 1.0f / ((beyond ? config->rope_long_factors : config->rope_factors)[pair] * wave);
    }
    return 1.0f / wave;
}

void rope_frequencies(const struct model_config *config, int positions, float *freq)
{
    for (int i = 0; i < config->rotary / 2; i++)
        freq[i] = frequency(config, positions, i);
}

void rope_local_frequencies(const struct model_config *config, float *freq)
{
    for (int i = 0; i < config->rotary / 2; i++)
        freq[i] = 1.0f / wave_of(config, config->rope_local_theta, i);
}

void rope_fill(const struct model_config *config, const float *freq, int begin, int end, float *cos,
               float *sin)
{
    size_t half = (size_t)config->rotary / 2;
    float factor = config->rope_attention_factor != 0 ? config->rope_attention_factor : 1.0f;
    for (int position = begin; position < end; position++) {
        float *cos_row = cos + (size_t)position * half, *sin_row = sin + (size_t)position * half;
        for (size_t i = 0; i < half; i++) {
            float angle = (float)position * freq[i];
            cos_row[i] = cosf(angle) * factor;
            sin_row[i] = sinf(angle) * factor;
        }
    }
}

void model_fallback_text(const struct model_config *c, char *out, size_t out_bytes)
{
    static const char *const names[] = {[ROPE_SCALE_LLAMA3] = "llama3",
                                        [ROPE_SCALE_YARN] = "yarn",
                                        [ROPE_SCALE_LONGROPE] = "longrope"};
    size_t scaling = (size_t)c->rope_scaling;
    const char *name = scaling < sizeof names / sizeof *names ? names[scaling] : NULL;
    *out = '\0';
    if (name && c->rope_original_assumed)
        snprintf(out, out_bytes,
                 "its %s scaling has no original length (original_max_position_embeddings): the "
                 "model's %d positions are taken",
                 name, c->rope_original_positions);
}
