// overlay.h - a checkpoint whose layers are taken from a folder written by role, all else from its source.
//
// This is how the engine keeps a calibrated model: whatever format the source has (a Hugging Face folder, GGUF,
// transposed or fused tensors, experts apart or together), its layers read by role, and only what
// calibration made of them is stored.
#ifndef ENGINE_QUANTIZE_OVERLAY_H
#define ENGINE_QUANTIZE_OVERLAY_H

#include "engine/quantize/targets.h"

// dir: what a quant_writer with the same source and output (by_role) has made. source: borrowed until
// checkpoint_destroy. Errors: ERR_IO, ERR_NOMEM; ERR_FORMAT for files other than those.
enum status overlay_open(const struct checkpoint *source, const struct quant_output *output,
                         const char *dir, struct checkpoint **out, struct error *err);

#endif
