// flow.h - runs the calibration windows through one layer at a time, on the engine itself.
//
// The model is cut into checkpoints of one layer each (layer_view.h). A run loads such a layer in scheme f32, feeds
// the residual stream before the layer as embeddings, and reads the stream behind the layer. It can also keep the
// inputs of the layer's products. So each architecture is calibrated by the same code that runs it.
#ifndef ENGINE_QUANTIZE_FLOW_H
#define ENGINE_QUANTIZE_FLOW_H

#include "engine/backend.h"
#include "engine/load/source.h"
#include "engine/quantize/text.h"

struct flow {
    struct device *device; // borrowed; a host
    int windows, length, width;
    engine_progress *progress; // or NULL; asked before each window, and while a layer is loaded
    void *user;
    double done; // what progress receives
};

// Rows of one tap point of one run, in the order of the windows: (tokens, cols). Inputs of experts' down projections:
// (tokens * experts_used, cols), each expert's in that order, times its share in the token's sum. The products are
// linear, so their outputs are then the terms of that sum.
struct flow_rows {
    float *x;
    int cols;
    int *expert; // (rows) the expert of each row; NULL at other points
};

size_t flow_tokens(const struct flow *flow);

// Errors: ERR_INTERRUPTED when `progress` asks to stop.
// Runs the one layer of `layer` on `in` (tokens, width). kept: (ENGINE_POINTS) those with an `x` are filled.
enum status flow_run(const struct flow *flow, struct checkpoint *layer, const float *in,
                     const struct flow_rows *kept, struct error *err);

// out (tokens, width): the residual stream before the first layer. ck: the whole model.
enum status flow_embed(const struct flow *flow, const struct checkpoint *ck,
                       const struct calib_text *text, float *out, struct error *err);

#endif
