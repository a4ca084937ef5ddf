// writer.h - quantized weights written to a folder: a Hugging Face one that other programs read, or by role.
//
// The folder is made beside its place under a temporary name and renamed when all of it is there and synced:
// readers see a whole folder or none. What stands in which file is planned at open (targets.h), so that tensors
// may come in any order.
//
// Which tensors are quantized: the products inside the layers (tensor_role_is_product). Embedding, head,
// norms, biases and routers stay plain.
#ifndef ENGINE_QUANTIZE_WRITER_H
#define ENGINE_QUANTIZE_WRITER_H

#include "engine/quantize/targets.h"

struct quant_writer;

// source: borrowed until the writer is destroyed; a Hugging Face folder, whose config.json and tokenizer are
// taken over, or any checkpoint where output->by_role. out: the folder to make.
// Errors: ERR_USAGE when `out` exists, ERR_UNSUPPORTED for a source or shape that the layout cannot hold
// (said by name), ERR_IO when the disk is too small: all of the space is asked for here.
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

// Checks that every row came, syncs, and renames. Errors: ERR_IO, ERR_INTERNAL naming a tensor that is not
// whole. The writer is destroyed in either case.
enum status quantize_writer_finish(struct quant_writer *writer, struct error *err);

// Without finish: removes all that was written. NULL is legal.
void quantize_writer_destroy(struct quant_writer *writer);

#endif
