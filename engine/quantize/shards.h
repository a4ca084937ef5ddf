// shards.h - safetensors files of planned tensors: being written in any order, or found again as planned.
//
// The files are laid out from the tensors' names and shapes alone, given their whole size on disk, and
// mapped; a tensor is written by writing to its memory. So nothing but the mapping holds what is written,
// and a disk that is too small is noticed before the first byte.
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

// Makes the files in `dir`: model.safetensors, or several of at most `limit` bytes of data (a larger tensor
// alone) with model.safetensors.index.json. All bytes are zero. made_by goes into their metadata.
enum status shards_begin(struct shards *s, const char *dir, uint64_t limit, const char *made_by,
                         struct error *err);
// Maps the files in `dir` that the same plan, limit and made_by have made; read-only. Nothing is parsed: a file
// whose header or size is another one is ERR_FORMAT.
enum status shards_find(struct shards *s, const char *dir, uint64_t limit, const char *made_by,
                        struct error *err);
// Memory of a tensor, of any alignment its elements need.
void *shards_data(const struct shards *s, size_t index);

// Syncs all files.
enum status shards_finish(struct shards *s, struct error *err);

#endif
