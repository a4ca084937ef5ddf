// arena.c - block allocator behind arena.h.
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 64 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t capacity_bytes, used_bytes;
    unsigned char *memory;
};

static size_t round_up(size_t n)
{
    return (n + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

void *aligned_alloc_zeroed(size_t size_bytes)
{
    if (size_bytes > SIZE_MAX - ARENA_ALIGN)
        return NULL;
    void *memory = NULL;
    size_t rounded = round_up(size_bytes ? size_bytes : 1);
    if (posix_memalign(&memory, ARENA_ALIGN, rounded) != 0)
        return NULL;
    memset(memory, 0, rounded);
    return memory;
}

void aligned_release(void *memory)
{
    free(memory);
}

static struct arena_block *block_create(size_t capacity_bytes)
{
    struct arena_block *block = calloc(1, sizeof *block);
    if (!block)
        return NULL;
    block->capacity_bytes = capacity_bytes;
    block->memory = aligned_alloc_zeroed(capacity_bytes);
    if (!block->memory) {
        free(block);
        return NULL;
    }
    return block;
}

void *arena_alloc(struct arena *arena, size_t count, size_t size_bytes)
{
    if (size_bytes && count > (SIZE_MAX - ARENA_ALIGN) / size_bytes)
        return NULL;
    size_t bytes = count * size_bytes, need = round_up(bytes ? bytes : 1);
    struct arena_block *block = arena->blocks;
    if (!block || block->capacity_bytes - block->used_bytes < need) {
        block = block_create(need > BLOCK_BYTES ? need : BLOCK_BYTES);
        if (!block)
            return NULL;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    void *memory = block->memory + block->used_bytes;
    block->used_bytes += need;
    arena->used_bytes += need;
    return memory;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = arena_alloc(arena, 1, bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

void arena_fini(struct arena *arena)
{
    while (arena->blocks) {
        struct arena_block *block = arena->blocks;
        arena->blocks = block->next;
        aligned_release(block->memory);
        free(block);
    }
    arena->used_bytes = 0;
}

enum status size_mul(size_t a, size_t b, size_t *out, const char *what, struct error *err)
{
    if (b && a > SIZE_MAX / b)
        return FAIL(err, ERR_NOMEM, "%s: %zu x %zu does not fit in memory", what, a, b);
    *out = a * b;
    return OK;
}
