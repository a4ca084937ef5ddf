// awq_experts.h - AWQ of the routed experts' down projections: each has its own scale and cuts.
//
// An expert's output is multiplied by its share in a token's sum and added to the outputs of the others. So its
// error is computed alone, over the tokens routed to it, in the unquantized layer:
//     sum of |share (Q(W) - W) x|^2
// This needs no run of the layer. The inputs x are kept from the first run of the search, and a trial rounds one
// expert's matrix and multiplies its tokens. Searching all experts together would cost one run of the layer for each
// alpha; searching each by the whole block's error would cost that for each expert.
// AutoAWQ does the same, without the shares.
#ifndef ENGINE_QUANTIZE_AWQ_EXPERTS_H
#define ENGINE_QUANTIZE_AWQ_EXPERTS_H

#include "engine/quantize/flow.h"
#include "engine/quantize/product.h"

// An expert with fewer tokens is rounded to nearest: they say too little about its inputs.
enum { EXPERT_TOKENS_MIN = 32 };

// All borrowed.
struct awq_expert_search {
    const struct checkpoint *ck;
    int layer;
    const struct layer_state *state; // its cuts are written, its buffer for changes is used
    const struct flow_rows *inputs;  // POINT_EXPERT_DOWN_INPUT of the unquantized layer
    size_t slots;                    // rows of inputs
    bool scaled;                     // a scale can be folded
    float *scales;                   // (experts, ff) this expert's row is written
    struct device *device;
};

// Finds the scale and cuts of one expert. Requires: its cuts are all 0. *alone: it has too few tokens and is rounded
// alone. Memory: its inputs and moments, and rows of weights for each thread. The number of threads never changes a
// bit.
enum status awq_expert_search(const struct awq_expert_search *search, int expert, bool *alone,
                              struct error *err);

#endif
