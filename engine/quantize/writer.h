// writer.h - writes quantized weights to a folder: a Hugging Face one for other programs, or one by role.
//
// The folder is written next to its destination under a temporary name, synced, and renamed: readers see a whole folder
// or none. The layout is planned at open (targets.h), so tensors may come in any order.
//
// The products inside the layers (tensor_role_is_product) are quantized. Embedding, head, norms, biases and routers
// stay plain.
#ifndef ENGINE_QUANTIZE_WRITER_H
#define ENGINE_QUANTIZE_WRITER_H

#include "engine/quantize/targets.h"

struct quant_writer;

// source: borrowed until the writer is destroyed; a Hugging Face folder, whose config.json and tokenizer are copied, or
// any checkpoint with output->by_role. out: the folder to write.
// Errors: ERR_USAGE when `out` exists; ERR_UNSUPPORTED naming a source or shape that the layout cannot hold; ERR_IO
// when the disk is too small: all space is reserved here.
enum status quantize_writer_open(const struct checkpoint *source, const struct quant_output *output,
                                 const char *out, struct quant_writer **writer, struct error *err);

// Rows [row0, row0 + rows) of a plain tensor, row stride ld; rounded to nearest even.
enum status quantize_writer_rows(struct quant_writer *writer, enum tensor_role role, int layer,
                                 int row0, int rows, const float *data, size_t ld,
                                 struct error *err);

// Rows [row0, row0 + rows) of a quantized tensor: one struct quant_row (kernels/quant.h) each.
enum status quantize_writer_codes(struct quant_writer *writer, enum tensor_role role, int layer,
                                  int row0, int rows, const struct quant_row *data,
                                  struct error *err);

// Checks that every row was written, syncs and renames. Errors: ERR_IO, ERR_INTERNAL naming an incomplete tensor. The
// writer is destroyed, also after an error.
enum status quantize_writer_finish(struct quant_writer *writer, struct error *err);

// Without finish it removes all files. NULL is legal.
void quantize_writer_destroy(struct quant_writer *writer);

#endif
