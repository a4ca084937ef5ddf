// arena.h - many small allocations that are freed together, and one large one that never moves.
//
// An arena grows by blocks and is freed as a whole. Its memory is zeroed and aligned to 64 bytes, the width of a cache
// line and of an AVX-512 register. Threads must not share one.
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/status.h"

enum { ARENA_ALIGN = 64 };

struct arena {
    struct arena_block *blocks; // newest first
    size_t used_bytes;          // handed out, alignment included
};

// Cost: amortized one malloc per block (64 KiB, or the request when larger).
// Returns NULL when memory is exhausted or count * size_bytes overflows; the arena stays usable.
void *arena_alloc(struct arena *arena, size_t count, size_t size_bytes);

// The arena's own copy of a string, or NULL when memory is exhausted.
char *arena_strdup(struct arena *arena, const char *text);

// Frees all that came from the arena.
void arena_fini(struct arena *arena);

// 64-byte aligned, zeroed memory outside any arena; free with aligned_release. NULL when exhausted.
void *aligned_alloc_zeroed(size_t size_bytes);
void aligned_release(void *memory);

// a * b in *out, or ERR_NOMEM named after `what` when size_t cannot hold it.
enum status size_mul(size_t a, size_t b, size_t *out, const char *what, struct error *err);

#endif
