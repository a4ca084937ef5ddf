// quantize.h - a checkpoint quantized to a folder, inside the engine; the public call is in engine.h.
#ifndef ENGINE_QUANTIZE_QUANTIZE_H
#define ENGINE_QUANTIZE_QUANTIZE_H

#include "base/str.h"
#include "engine/quantize/writer.h"

// A source on its way into a folder, layer by layer; of one written by role, without the tensors outside.
struct layer_state;
struct quantizer;
enum status quantizer_open(const struct checkpoint *ck, const struct quant_output *output,
                           struct pool *pool, const char *out, struct quantizer **quantizer,
                           struct error *err);
// Rounds and writes the tensors of one layer, -1: those outside. state: its scales and cuts (product.h),
// folded in and applied; NULL: rounding alone.
enum status quantizer_layer(struct quantizer *q, int layer, const struct layer_state *state,
                            struct error *err);
// All layers came: the folder appears. `q` is destroyed in either case.
enum status quantizer_finish(struct quantizer *q, struct error *err);
void quantizer_destroy(struct quantizer *q); // without finish: nothing is left. NULL is legal

// Rounds every product to nearest (kernels/quant.h) and writes the folder `out`, whole or not at all.
// Errors: those of the writer; ERR_FORMAT where a weight is NaN or infinite.
enum status quantize_rtn(const struct checkpoint *ck, const struct quant_output *output,
                         struct pool *pool, const char *out, engine_progress *progress, void *user,
                         struct error *err);

// What int4-awq writes: for others as AutoAWQ has it, scales and what is folded into norms in f16; by role for
// the engine's own cache, in f32 what is not quantized. group 0: 128.
struct quant_output awq_output(int group, bool by_role);

// Calibrates on options->calib and writes the folder.
enum status quantize_awq(const struct checkpoint *ck, const struct quantize_options *options,
                         const struct quant_output *output, const char *out,
                         engine_progress *progress, void *user, struct error *err);

#endif
