// awq_folder.h - calibrates a checkpoint and writes it as int4-awq.
#ifndef ENGINE_QUANTIZE_AWQ_FOLDER_H
#define ENGINE_QUANTIZE_AWQ_FOLDER_H

#include "engine/quantize/text.h"
#include "engine/quantize/writer.h"

// What int4-awq writes. For other programs it writes AutoAWQ's layout: scales and folded norms are f16. By role, for
// the engine's own cache, tensors that are not quantized are f32. group 0: 128.
struct quant_output awq_output(int group, bool by_role);

// Reads a calibration text as windows of the length and number that calibration uses. Errors: as calib_text_read.
enum status awq_text_read(const struct checkpoint *ck, const char *path, struct calib_text *out,
                          struct error *err);

// Calibrates on options->calib and writes the folder `out`, whole or not at all.
enum status quantize_awq(const struct checkpoint *ck, const struct quantize_options *options,
                         const struct quant_output *output, const char *out,
                         engine_progress *progress, void *user, struct error *err);

#endif
