// flow.h - calibration windows through one layer at a time, on the engine itself.
//
// The model is cut into checkpoints of one layer each (layer_view.h). A run loads such a layer in scheme
// f32, puts the residual stream as it stands before the layer in the place of embeddings, and takes it up
// again behind the layer; on the way it may keep the inputs of the layer's products. So every architecture
// the engine runs is calibrated by the very code that runs it.
#ifndef ENGINE_QUANTIZE_FLOW_H
#define ENGINE_QUANTIZE_FLOW_H

#include "engine/backend.h"
#include "engine/load/source.h"
#include "engine/quantize/text.h"

struct flow {
    struct device *device; // borrowed; a host
    int windows, length, width;
};

// Rows of one tap point of one run, in the order of the windows: (tokens, cols). What experts' down
// projections read: (tokens * experts_used, cols), each expert's in that order, times its share in the token's
// sum: as they are linear, what they then yield is what is added.
struct flow_rows {
    float *x;
    int cols;
    int *expert; // (rows) whose each is; NULL elsewhere
};

size_t flow_tokens(const struct flow *flow);

// Runs the one layer of `layer` on `in` (tokens, width). kept: ENGINE_POINTS of them; those with an `x` are
// filled.
enum status flow_run(const struct flow *flow, struct checkpoint *layer, const float *in,
                     const struct flow_rows *kept, struct error *err);

// out (tokens, width): the residual stream before the first layer. ck: the whole model.
enum status flow_embed(const struct flow *flow, const struct checkpoint *ck,
                       const struct calib_text *text, float *out, struct error *err);

#endif
