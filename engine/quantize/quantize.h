// quantize.h - a checkpoint quantized to a folder, inside the engine; the public call is in engine.h.
#ifndef ENGINE_QUANTIZE_QUANTIZE_H
#define ENGINE_QUANTIZE_QUANTIZE_H

#include "base/str.h"
#include "engine/quantize/writer.h"

// Rounds every product to nearest (kernels/quant.h) and writes the folder `out`, whole or not at all.
// Errors: those of the writer; ERR_FORMAT where a weight is NaN or infinite.
enum status quantize_rtn(const struct checkpoint *ck, const struct quant_output *output,
                         struct pool *pool, const char *out, engine_progress *progress, void *user,
                         struct error *err);

#endif
