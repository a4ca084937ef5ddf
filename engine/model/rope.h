// rope.h - rotary position embedding: cosines and sines of the angles, one row per position.
//
// Every operation is in float and in the order of transformers (modeling_rope_utils.py). At far positions the
// rounding of the frequencies is visible in the logits, so more precision would give other results.
// Sources: Su et al. 2021. Bands of llama3: the published scaling of Llama 3.1. yarn: Peng et al. 2023. longrope: Ding
// et al. 2024.
#ifndef ENGINE_MODEL_ROPE_H
#define ENGINE_MODEL_ROPE_H

#include "engine/engine.h"

// freq: (rotary/2) frequencies after scaling, in a context of this many positions. longrope has other frequencies
// beyond the original positions. (transformers decides by the tokens so far and does not rotate older keys again. The
// two agree if a prompt is as long as its context.)
void rope_frequencies(const struct model_config *config, int positions, float *freq);
// The same for layers with a window, if those have their own theta.
void rope_local_frequencies(const struct model_config *config, float *freq);

// cos, sin: (positions, rotary/2) for positions [begin, end), addressed from row 0. freq: (rotary/2).
void rope_fill(const struct model_config *config, const float *freq, int begin, int end, float *cos,
               float *sin);

#endif
