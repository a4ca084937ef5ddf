// awq_experts.h - AWQ of the routed experts' down projections: for each a scale and cuts of its own.
//
// What an expert yields is multiplied by its share in a token's sum and added to what the others yield. So
// its error is looked at by itself, over the tokens routed to it, in the layer as it is:
//     sum of |share (Q(W) - W) x|^2
// All experts at once would be one run of the layer for each alpha; one expert at a time in the whole block's
// error would be that times their number. This takes no run of the layer at all: the inputs x are kept from
// the one that the search begins with, and a trial rounds one expert's matrix and multiplies its tokens.
// AutoAWQ does the same, without the shares.
#ifndef ENGINE_QUANTIZE_AWQ_EXPERTS_H
#define ENGINE_QUANTIZE_AWQ_EXPERTS_H

#include "engine/quantize/flow.h"
#include "engine/quantize/product.h"

// An expert that fewer tokens reach is rounded to nearest: they say too little of its inputs.
enum { EXPERT_TOKENS_MIN = 32 };

// All borrowed.
struct awq_expert_search {
    const struct checkpoint *ck;
    int layer;
    const struct layer_state *state; // its cuts are written, its room for changes is used
    const struct flow_rows *inputs;  // POINT_EXPERT_DOWN_INPUT of the layer as it is
    size_t slots;                    // rows of inputs
    bool scaled;                     // something can take a scale
    float *scales;                   // (experts, ff) written; the others' are left alone
    struct device *device;
};

// Finds scale and cuts of one expert, on cuts that are all 0. *alone: too few tokens reach it. Memory: its
// inputs and moments, and rows of weights for each thread. The same bits for any number of threads.
enum status awq_expert_search(const struct awq_expert_search *search, int expert, bool *alone,
                              struct error *err);

#endif
