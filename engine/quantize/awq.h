// awq.h - activation-aware weight quantization to 4 bits (Lin et al. 2023, arXiv 2306.00978).
//
// Layer by layer, on the inputs that the quantized layers before it give:
//   1. the layer as it is runs once; the inputs of its products are kept, and what both its blocks add;
//   2. for each input whose scale something can take (fold.h) s = mean|x|^alpha is tried over a grid: its
//      readers are rounded, the block runs, and the alpha with the least squared error of what the block adds
//      wins. No scale (alpha 0) is among them;
//   3. each group of the readers is cut to the share of its range with the least error of the product's
//      output; the cuts stay if the block's error falls;
//   4. the same for each routed expert's down projection, on the tokens routed to it (awq_experts.h);
//   5. a layer that would come out worse than by rounding alone is rounded alone.
// docs/SCHEMES.md says where this differs from the paper's code, and why.
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
    double rounded, found; // by rounding alone; as it came out
    // With experts: as found, but for their down projections, which are rounded alone; else 0.
    double experts_rounded;
    int experts_rare; // that too few tokens reach: their down projections are rounded alone
    const struct layer_state *state;
};
// Is given each layer when it is done; what it points to is borrowed until it returns.
typedef enum status awq_take(void *user, const struct awq_layer *layer, struct error *err);

// How many windows of text calibrate a model: fewer for large ones, so that time stays in bounds; but as many
// as there are experts for each that a token goes through, since each sees so much less of the text.
enum { AWQ_WINDOW = 512 };
int awq_windows(const struct model_config *config);

// Memory: one layer in f32, as much again for what quantization changes of it (of experts' down projections: of
// one expert), the inputs of its products for all tokens, and for each input its second moments. The same bits
// for any number of threads. Errors: those of engine and memory, and of `take`, which ends it.
enum status awq_search(const struct checkpoint *ck, const struct calib_text *text,
                       const struct awq_options *options, awq_take *take, void *user,
                       struct error *err);

#endif
