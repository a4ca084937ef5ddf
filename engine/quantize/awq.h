// awq.h - activation-aware weight quantization to 4 bits (Lin et al. 2023, arXiv 2306.00978).
//
// The search goes layer by layer. Each layer reads the outputs of the quantized layers before it.
//   1. The unquantized layer runs once. The inputs of its products and the outputs of both blocks are kept.
//   2. For each input whose scale can be folded (fold.h), a grid of s = mean|x|^alpha is tried: its readers are
//      rounded and the block runs. The alpha with the least squared error of the block's output wins. The
//      grid includes alpha 0, no scale.
//   3. Each group of the readers is clipped to the share of its range with the least error of the product's
//      output. The cuts are kept if they lower the block's error.
//   4. Each routed expert's down projection is searched alike, on the tokens routed to it (awq_experts.h).
//   5. A layer that rounding alone would serve better is rounded alone.
// docs/SCHEMES.md lists the differences from the paper's code, and the reasons.
#ifndef ENGINE_QUANTIZE_AWQ_H
#define ENGINE_QUANTIZE_AWQ_H

#include "engine/quantize/grid.h"
#include "engine/quantize/product.h"
#include "engine/quantize/text.h"

// The version changes when the same model and text begin to give other codes.
#define AWQ_ALGORITHM "awq 3"
enum { AWQ_GROUP = 128 };

struct awq_options {
    int group;
    struct device *device;     // borrowed; a host
    engine_progress *progress; // or NULL
    void *user;
};

// Mean squared error of a layer's output over all tokens, on the same inputs.
struct awq_layer {
    int layer;
    double rounded, found; // with rounding alone; with the state found
    // With experts: with the state found, but down projections rounded alone. Without experts 0.
    double experts_rounded;
    int experts_undersampled; // experts with too few tokens: their down projections are rounded alone
    const struct layer_state *state;
};
// Called for each finished layer. The layer's data is borrowed until it returns.
typedef enum status awq_take(void *user, const struct awq_layer *layer, struct error *err);

// The number of text windows that calibrate a model. Large models get fewer, to bound the time. Models with
// experts get more, by the ratio of all experts to those used per token, since each expert sees that much less text.
enum { AWQ_WINDOW = 512 };
int awq_windows(const struct model_config *config);

// Memory: one layer in f32, and the same again for the changes by quantization (for experts' down projections: of one
// expert). Then the inputs of its products for all tokens, and the second moments of each input. The number of threads
// never changes a bit. Errors: those of the engine, ERR_NOMEM, and those of `take`, which end the search.
enum status awq_search(const struct checkpoint *ck, const struct calib_text *text,
                       const struct awq_options *options, awq_take *take, void *user,
                       struct error *err);

#endif
