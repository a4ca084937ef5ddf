// alibi.h - attention with linear biases: the bias added to a score, by head and by the key's position.
//
// Softmax ignores a constant added to a whole row of scores, so a bias by the key's position equals one by the
// distance. Slopes are powers that fall from head to head. Model families differ in how they continue beyond a
// power of two of heads, and Falcon rounds to bf16 and scales the bias like a product.
// Sources: Press, Smith, Lewis 2021; transformers' build_alibi_tensor (bloom, falcon) and
// build_mpt_alibi_tensor.
#ifndef ENGINE_MODEL_ALIBI_H
#define ENGINE_MODEL_ALIBI_H

#include "engine/engine.h"

// bias: (heads, positions), addressed from head 0; fills heads [begin, end).
void alibi_fill(const struct model_config *config, int begin, int end, int positions, float *bias);

#endif
