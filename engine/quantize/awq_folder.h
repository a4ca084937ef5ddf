// awq_folder.h - calibrates a checkpoint and writes it as int4-awq.
#ifndef ENGINE_QUANTIZE_AWQ_FOLDER_H
#define ENGINE_QUANTIZE_AWQ_FOLDER_H

#include "engine/quantize/writer.h"

// What int4-awq writes. For other programs it writes AutoAWQ's layout: scales and folded norms are f16. By role, for
// the engine's own cache, tensors that are not quantized are f32. group 0: 128.
struct quant_output awq_output(int group, bool by_role);

// Calibrates on options->calib and writes the folder `out`, whole or not at all.
enum status quantize_awq(const struct checkpoint *ck, const struct quantize_options *options,
                         const struct quant_output *output, const char *out,
                         engine_progress *progress, void *user, struct error *err);

#endif
