// shards.h - safetensors files of planned tensors, written in any order or found again.
//
// The layout follows from the tensors' names and shapes alone. The files get their full size on disk and are mapped; a
// tensor is written by writing to its memory. So no other buffer holds data, and a full disk is noticed before the
// first byte.
#ifndef ENGINE_QUANTIZE_SHARDS_H
#define ENGINE_QUANTIZE_SHARDS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct shards;

enum status shards_create(struct shards **out, struct error *err);
void shards_destroy(struct shards *s); // unmaps; files stay as they are

// Plans a tensor; type as safetensors spells it, element its bytes. *index is its number.
enum status shards_add(struct shards *s, const char *name, const char *type, unsigned element,
                       int dims, const uint64_t shape[2], size_t *index, struct error *err);

// Creates the files in `dir`: model.safetensors, or several of at most `limit` bytes of data with
// model.safetensors.index.json. A larger tensor gets a file of its own. All bytes are zero. made_by goes into their
// metadata.
enum status shards_begin(struct shards *s, const char *dir, uint64_t limit, const char *made_by,
                         struct error *err);
// Maps, read-only, the files in `dir` that the same plan, limit and made_by created. Nothing is parsed: a file with
// another header or size is ERR_FORMAT.
enum status shards_find(struct shards *s, const char *dir, uint64_t limit, const char *made_by,
                        struct error *err);
// Memory of a tensor, aligned for its elements.
void *shards_data(const struct shards *s, size_t index);

// Syncs all files.
enum status shards_finish(struct shards *s, struct error *err);

#endif
