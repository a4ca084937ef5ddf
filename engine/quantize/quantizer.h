// quantizer.h - writes a checkpoint to a folder of quantized weights, one layer at a time.
#ifndef ENGINE_QUANTIZE_QUANTIZER_H
#define ENGINE_QUANTIZE_QUANTIZER_H

#include "engine/quantize/writer.h"

// Reads one source and writes one folder. The caller passes the layers one by one; a folder written by role omits
// the tensors outside layers.
// Errors: those of the writer; ERR_FORMAT where a weight is NaN or infinite.
struct layer_state;
struct quantizer;
enum status quantizer_open(const struct checkpoint *ck, const struct quant_output *output,
                           struct pool *pool, const char *out, struct quantizer **quantizer,
                           struct error *err);
// Rounds and writes the tensors of one layer; layer -1 is the tensors outside layers. `state`: scales and cuts
// (product.h) that are applied before rounding. NULL: the rows are rounded as they are.
// From now on `progress` (NULL: none) is called after every few rows, with `done`. If it returns false, the current
// call fails with ERR_INTERRUPTED.
void quantizer_watch(struct quantizer *q, engine_progress *progress, void *user, double done);
enum status quantizer_layer(struct quantizer *q, int layer, const struct layer_state *state,
                            struct error *err);
// Call after the last layer: the folder appears under its name. `q` is destroyed, also after an error.
enum status quantizer_finish(struct quantizer *q, struct error *err);
void quantizer_destroy(struct quantizer *q); // without finish it leaves no file. NULL is legal

// All of it for a scheme without calibration: every product is rounded to nearest (kernels/quant.h). The folder `out`
// is written whole or not at all.
enum status quantizer_rtn(const struct checkpoint *ck, const struct quant_output *output,
                          struct pool *pool, const char *out, engine_progress *progress, void *user,
                          struct error *err);

#endif
