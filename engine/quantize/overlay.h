// overlay.h - a checkpoint that reads its layers from a folder written by role, and all else from its source.
//
// The engine stores a calibrated model this way. Layers are read by role whatever the source's format is: a Hugging
// Face folder, GGUF, transposed or fused tensors, experts in one tensor or many. Only calibrated layers are stored.
#ifndef ENGINE_QUANTIZE_OVERLAY_H
#define ENGINE_QUANTIZE_OVERLAY_H

#include "engine/quantize/targets.h"

// dir: written by a quant_writer with the same source and output (by_role). source: borrowed until
// checkpoint_destroy. Errors: ERR_IO, ERR_NOMEM; ERR_FORMAT for other files.
enum status overlay_open(const struct checkpoint *source, const struct quant_output *output,
                         const char *dir, struct checkpoint **out, struct error *err);

#endif
