// stored.h - the types in which files store tensors: plain numbers, and blocks of codes with shared scales.
//
// One table (stored.c) has a row for each: its names in the formats, the elements and bytes of a block, and the
// function that expands it to f32. Loaders check that a row of a tensor is a whole number of blocks, so any row can be
// read alone. Sources of the block layouts: ggml's published descriptions of its types (ggml-common.h, docs/gguf.md).
// tests/golden/blocks has the values that package `gguf` computes from them.
#ifndef ENGINE_LOAD_STORED_H
#define ENGINE_LOAD_STORED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

// Expands one block to `block` floats, bit for bit as the reference in package `gguf`. src may be unaligned.
typedef void stored_expand_fn(float *out, const unsigned char *src);
// Rounds `block` floats to one block as that reference does. Every byte of dst is written.
typedef void stored_shrink_fn(unsigned char *dst, const float *x);

struct stored_type {
    const char *name;        // "f32", "q4_k": for messages and `bench model info`
    const char *safetensors; // "F32"; NULL: not a type of that format
    const char *ggml;        // "Q4_K"; NULL: not a type of GGUF
    int ggml_number;         // in GGUF's tensor descriptions; -1: none
    int block;               // elements of a block; 1 for plain numbers
    int bytes;               // of a block
    enum dtype exact; // the smallest of the engine's types that holds every value it can store
    stored_expand_fn *expand; // NULL: only its size is known; it holds no weights by itself
    stored_shrink_fn *shrink; // NULL: never written
};

// Find a row by "q8_0", by a safetensors header's "F8_E4M3", by GGUF's number. NULL: no such row.
const struct stored_type *stored_find(const char *name);
const struct stored_type *stored_find_safetensors(const char *dtype);
const struct stored_type *stored_find_ggml(uint32_t number);

// For tensors that must be plain f32.
extern const struct stored_type *const stored_f32;

// Lists the GGUF types from which weights can be read, for error messages: "F32, F16, ...". Returns `out`.
char *stored_ggml_names(char *out, size_t out_bytes);
// The names of the GGUF types that can be written; at most `max` of them. Returns their number.
size_t stored_writable(const char **out, size_t max);
// llama.cpp's name of a type number, supported or not ("Q2_K", "IQ4_NL"); "unknown" for other numbers.
const char *stored_ggml_name(uint32_t number);

// Bytes of n elements; n must be whole blocks.
size_t stored_bytes(const struct stored_type *type, size_t n);

// dst[i] = src[i] as f32, n elements in whole blocks. src may be unaligned. Plain types are exact.
void stored_to_f32(float *dst, const unsigned char *src, const struct stored_type *type, size_t n);
// The inverse, for writers: n elements in whole blocks. Requires type->shrink.
void stored_from_f32(unsigned char *dst, const float *src, const struct stored_type *type,
                     size_t n);

// ---- stored_blocks.c: the block types ----------------------------------------------------------------

stored_expand_fn stored_expand_q8_0, stored_expand_q4_0, stored_expand_q4_1, stored_expand_q5_0,
    stored_expand_q5_1;
stored_expand_fn stored_expand_q4_k, stored_expand_q5_k, stored_expand_q6_k;
// The 32 codes and the scale of one block: Q4_0's are around 8, Q8_0's in two's complement.
void stored_codes_q4_0(unsigned char codes[32], float *scale, const unsigned char *src);
void stored_codes_q8_0(unsigned char codes[32], float *scale, const unsigned char *src);
stored_shrink_fn stored_shrink_q8_0, stored_shrink_q4_0;

#endif
