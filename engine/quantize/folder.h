// folder.h - the small files of a written folder: config.json and tokenizer.
#ifndef ENGINE_QUANTIZE_FOLDER_H
#define ENGINE_QUANTIZE_FOLDER_H

#include "engine/quantize/writer.h"

// Writes the config.json of `source` with the quantization_config of `output` to `dir`.
enum status quantize_folder_config(const char *source, const char *dir,
                                   const struct quant_output *output, bool experts,
                                   struct error *err);

// Copies tokenizer, chat template, generation defaults and licence where they exist.
enum status quantize_folder_copy(const char *source, const char *dir, struct error *err);

#endif
