// layer_view.h - one layer of a model as a checkpoint of its own, its products as quantization leaves them.
//
// What the engine computes from such a checkpoint is what the quantized layer will compute: rows are read
// from the source, scaled, cut, rounded, expanded again, and the scales taken back out, so that the layer's
// inputs stay what they were. Nothing is stored: rows are made as the engine packs them, by its threads.
#ifndef ENGINE_QUANTIZE_LAYER_VIEW_H
#define ENGINE_QUANTIZE_LAYER_VIEW_H

#include "engine/quantize/product.h"

// ids: (vocab) rows of the source's embedding that become the view's embedding; NULL: one row, the first.
// state: what to make of the layer's products, or NULL: nothing. All borrowed until checkpoint_destroy.
// Errors: ERR_NOMEM.
enum status layer_view_create(const struct checkpoint *source, int layer,
                              const struct layer_state *state, const int32_t *ids, int vocab,
                              struct checkpoint **out, struct error *err);

#endif
