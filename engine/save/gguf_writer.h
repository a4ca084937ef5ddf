// gguf_writer.h - writes a GGUF file: keys and tensors are declared first, then data follows in order.
//
// Order of calls: create; keys; tensors; begin, which writes everything before the data; the bytes of each tensor in
// declared order, in pieces; finish. The file appears under its own name at finish. Version 3, little-endian, aligned
// to 32 bytes.
// Source: ggml's docs/gguf.md.
#ifndef ENGINE_SAVE_GGUF_WRITER_H
#define ENGINE_SAVE_GGUF_WRITER_H

#include "base/status.h"
#include "engine/load/gguf/gguf.h"
#include "engine/load/stored.h"

enum { GGUF_ALIGNMENT = 32 };

struct gguf_writer;

enum status gguf_writer_create(const char *path, struct gguf_writer **out, struct error *err);
void gguf_writer_destroy(struct gguf_writer *w); // without finish no file is left

// Keys. begin reports an allocation that failed here. The caller must not repeat a key; this is not checked.
void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t value);
void gguf_put_f32(struct gguf_writer *w, const char *key, float value);
void gguf_put_bool(struct gguf_writer *w, const char *key, bool value);
void gguf_put_text(struct gguf_writer *w, const char *key, const char *value);
// A list of `count` elements, which must follow by gguf_item_*.
void gguf_put_list(struct gguf_writer *w, const char *key, uint32_t element, uint64_t count);
void gguf_item_text(struct gguf_writer *w, const char *text, size_t bytes);
void gguf_item_i32(struct gguf_writer *w, int32_t value);
void gguf_item_f32(struct gguf_writer *w, float value);
// Copies a key of another file unchanged.
void gguf_put_entry(struct gguf_writer *w, const struct gguf *from, const struct gguf_entry *entry);

// dims: cols, rows, matrices, as many as dim_count says; cols in whole blocks of the type.
void gguf_add_tensor(struct gguf_writer *w, const char *name, const struct stored_type *type,
                     const uint64_t *dims, uint32_t dim_count);
uint64_t gguf_writer_data_bytes(const struct gguf_writer *w); // bytes of all added tensors, padded

enum status gguf_writer_begin(struct gguf_writer *w, struct error *err);
enum status gguf_writer_data(struct gguf_writer *w, const void *bytes, size_t count,
                             struct error *err);
// Call it after the last byte of each tensor.
enum status gguf_writer_align(struct gguf_writer *w, struct error *err);
// Errors: ERR_IO, ERR_INTERNAL if the data does not have the length of the tensors. Destroys w in either case.
enum status gguf_writer_finish(struct gguf_writer *w, struct error *err);

#endif
