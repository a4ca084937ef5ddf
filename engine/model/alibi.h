// alibi.h - attention with linear biases: what is added to a score for the key's position, by head.
//
// Softmax does not change when all scores of a row do, so a bias by the key's position alone stands for one by
// the distance. Slopes are powers that fall from head to head; the model families differ in how they go on
// from a number of heads that is a power of two, and Falcon rounds to bf16 and scales like a product.
// Sources: Press, Smith, Lewis 2021; transformers' build_alibi_tensor (bloom, falcon) and
// build_mpt_alibi_tensor.
#ifndef ENGINE_MODEL_ALIBI_H
#define ENGINE_MODEL_ALIBI_H

#include "engine/engine.h"

// bias: (heads, positions), addressed from head 0; fills heads [begin, end).
void alibi_fill(const struct model_config *config, int begin, int end, int positions, float *bias);

#endif
