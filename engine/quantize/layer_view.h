// layer_view.h - one layer of a model as a checkpoint of its own, with its products quantized and expanded again.
//
// The engine computes from it what the quantized layer will compute. Rows are read from the source, scaled, cut,
// rounded and expanded; then the scales are removed, so the layer's inputs stay unscaled. Nothing is stored: the
// engine's threads make the rows while they pack them.
#ifndef ENGINE_QUANTIZE_LAYER_VIEW_H
#define ENGINE_QUANTIZE_LAYER_VIEW_H

#include "engine/quantize/product.h"

// ids: (vocab) rows of the source's embedding that become the view's; NULL: the first row alone.
// state: how the products are quantized; NULL: they stay as they are. All borrowed until checkpoint_destroy.
// Errors: ERR_NOMEM.
enum status layer_view_create(const struct checkpoint *source, int layer,
                              const struct layer_state *state, const int32_t *ids, int vocab,
                              struct checkpoint **out, struct error *err);

#endif
