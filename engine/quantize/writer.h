// writer.h - quantized weights written as Hugging Face folders that other programs read.
//
// int4 goes out in AutoAWQ's gemm layout, int8 and fp8 as compressed-tensors (int-quantized,
// float-quantized). The folder is made beside its place under a temporary name and renamed when all of it
// is there and synced: readers see a whole folder or none. What stands in which file is planned at open
// from the description alone, so that tensors may come in any order, and memory holds only those that have
// begun and not ended.
//
// Which tensors are quantized: the products inside the layers. Embedding, head, norms, biases and
// routers stay plain. The architecture's own names come from the same tables as for reading.
#ifndef ENGINE_QUANTIZE_WRITER_H
#define ENGINE_QUANTIZE_WRITER_H

#include "engine/load/source.h"

struct quant_output {
    enum dtype type;      // of the products: DT_I4, DT_I8 or DT_F8E4M3
    int group;            // DT_I4: inputs a group; the last one may be shorter
    enum dtype plain;     // of all other tensors: DT_F32, DT_F16 or DT_BF16
    const char *made_by;  // "int4-rtn", "int4-awq": noted in the files' metadata
    uint64_t shard_bytes; // most data in one file; 0: 5 GB
};

struct quant_writer;

// source: the Hugging Face folder whose config.json and tokenizer are taken over; borrowed until the writer
// is destroyed. out: the folder to make.
// Errors: ERR_USAGE when `out` exists, ERR_UNSUPPORTED for a source or shape that the layout cannot hold
// (said by name), ERR_IO when the disk is too small: all of the space is asked for here.
enum status quant_writer_open(const struct checkpoint *source, const struct quant_output *output,
                              const char *out, struct quant_writer **writer, struct error *err);

// Whether a tensor is to be given as codes; else as rows.
bool quant_writer_wants_codes(const struct quant_writer *writer, enum tensor_role role);

// Rows [row0, row0 + rows) of a plain tensor, row stride ld; rounded to nearest even.
enum status quant_writer_rows(struct quant_writer *writer, enum tensor_role role, int layer,
                              int row0, int rows, const float *data, size_t ld, struct error *err);

// Rows [row0, row0 + rows) of a quantized tensor: one struct quant_row (kernels/quant.h) each.
enum status quant_writer_codes(struct quant_writer *writer, enum tensor_role role, int layer,
                               int row0, int rows, const struct quant_row *data, struct error *err);

// Checks that every row came, syncs, and renames. Errors: ERR_IO, ERR_INTERNAL naming a tensor that is not
// whole. The writer is destroyed in either case.
enum status quant_writer_finish(struct quant_writer *writer, struct error *err);

// Without finish: removes all that was written. NULL is legal.
void quant_writer_destroy(struct quant_writer *writer);

#endif
