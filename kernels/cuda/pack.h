// pack.h - how weights lie in the memory of an NVIDIA GPU: in the order in which the tensor cores read them.
//
// A matrix is cut into tiles of 16 rows, a tile into units of 256 inputs, a unit into blocks of 64. Rows and inputs
// beyond the matrix are zeros. A tile is one contiguous stream, so that one warp, or one bulk copy, reads it from end
// to end with 16 bytes per lane. Within a block, lane 4 g + t of a warp holds 16 inputs of rows g and g + 8, the rows
// that mma.m16n8k16 and m16n8k32 assign to it. They are inputs 16 t .. 16 t + 15. For types in groups, where a step
// must not mix groups of 32, they are inputs 8 t .. 8 t + 7 of each half. Any inputs may share a step of the product,
// as long as both operands agree.
//
//   tile    DT_I8, DT_F8E4M3: 16 f32 scales of its rows, then its units; other types: only its units
//   unit    its 4 blocks; types in groups: runs of blocks of 2 KiB together, each followed by the scales of its groups
//   scales  DT_I4: 16 words for each group, with a scale (low half) and a zero (high half), f16; DT_I8G: 16 f16 scales
//   DT_F32  a tile is 16 plain rows of cuda_padded_cols() inputs
//
// Inputs lie in the order in which the same instructions read them, in groups of 8 tokens (cuda_line_at). So one copy
// loads a run of inputs of all tokens into shared memory, where ldmatrix and wgmma read them without conversion.
//
// A product of few tokens is summed in spans: up to 8 runs of whole units, of nearly equal length. Each span is summed
// by itself. The spans are then added as a tree, 0 + 1, 2 + 3, .., then those sums, whichever warp or block holds them.
#ifndef KERNELS_CUDA_PACK_H
#define KERNELS_CUDA_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/kernels.h"
#include "kernels/quant.h"

// Compiled for both sides of a .cu file.
#ifdef __CUDACC__
#define CUDA_BOTH __host__ __device__
#else
#define CUDA_BOTH
#endif

enum {
    CUDA_TILE_ROWS = 16,
    CUDA_UNIT_COLS = 256,
    CUDA_BLOCK_COLS = 64,
    CUDA_BLOCKS = CUDA_UNIT_COLS / CUDA_BLOCK_COLS,
    CUDA_MOST_SPANS = 8,
    CUDA_GROUP_TOKENS = 8,
    CUDA_HEADER_BYTES = CUDA_TILE_ROWS * 4,
};

struct cuda_layout {
    enum dtype type;
    int rows, cols;
    int group; // types in groups: inputs per packed scale, 32 or (DT_I4) 128; else 0
    int tiles; // of 16 rows
    int units; // per tile
    int spans; // 1 .. CUDA_MOST_SPANS
    size_t header_bytes, block_bytes, unit_bytes, tile_bytes;
    size_t scales_bytes; // behind each run; else 0
};

// group: the group size of the source, for types in groups. DT_I4 packs a group of a multiple of 128 as several groups
// of 128. Other multiples of 32 are packed as several groups of 32. A group of all inputs fits any packed size. False:
// the group is no multiple of 32.
bool cuda_layout_plan(enum dtype type, int rows, int cols, int group, struct cuda_layout *out);
size_t cuda_layout_bytes(const struct cuda_layout *layout);

// The number of inputs in a row of x as the kernels read it: cols rounded up to whole units, filled with zeros.
static inline int cuda_padded_cols(int cols)
{
    return (cols + CUDA_UNIT_COLS - 1) / CUDA_UNIT_COLS * CUDA_UNIT_COLS;
}

// Bytes of one element of a plain type or of a one-byte code; 0 for DT_I4.
static CUDA_BOTH inline int cuda_element_bytes(enum dtype type)
{
    return type == DT_F32                                         ? 4
           : type == DT_I4                                        ? 0
           : type == DT_I8 || type == DT_I8G || type == DT_F8E4M3 ? 1
                                                                  : 2;
}

// Types in groups: the blocks of a run, and the bytes of a row's scale (and zero) of a group.
static CUDA_BOTH inline int cuda_run_blocks(enum dtype type)
{
    return type == DT_I8G ? 2 : CUDA_BLOCKS;
}
static CUDA_BOTH inline int cuda_scale_bytes(enum dtype type)
{
    return type == DT_I8G ? 2 : 4;
}

// Byte offset of element (row, col) within its tile; *shift: its bit offset within the byte. This function alone
// defines the order; kernels that read whole blocks rely on it.
static CUDA_BOTH inline size_t cuda_element_at(const struct cuda_layout *l, int row, int col,
                                               int *shift)
{
    int lane = row % 8 * 4 + col % 64 / 16, high = row / 8, e = col % 16;
    int of_unit = col % CUDA_UNIT_COLS / CUDA_BLOCK_COLS;
    size_t block = l->header_bytes + (size_t)(col / CUDA_UNIT_COLS) * l->unit_bytes +
                   (size_t)of_unit * l->block_bytes +
                   (size_t)(of_unit / cuda_run_blocks(l->type)) * l->scales_bytes;
    *shift = 0;
    switch (l->type) {
    case DT_F32:
        return ((size_t)row * (size_t)l->units * CUDA_UNIT_COLS + (size_t)col) * 4;
    case DT_I8: // a step takes 8 of a lane's inputs: 4 of each register
        return block + (size_t)(e / 8 * 512 + lane * 16 + (high + e % 8 / 4 * 2) * 4 + e % 4);
    case DT_F8E4M3: // rows g in one vector, rows g + 8 in the next; a step of f8e4m3 inputs takes two words of each
        return block + (size_t)(high * 512 + lane * 16 + e);
    case DT_I4: // inputs 0..3 of 8 in the low halves of a word's bytes, 4..7 in the high ones
        *shift = col % 8 / 4 * 4;
        lane = row % 8 * 4 + col % 32 / 8;
        return block + (size_t)(lane * 16 + (high + col % 64 / 32 * 2) * 4 + col % 4);
    case DT_I8G: // a vector is a half of the block; its words are inputs 0..3 and 4..7 of both rows
        lane = row % 8 * 4 + col % 32 / 8;
        return block +
               (size_t)(col % 64 / 32 * 512 + lane * 16 + (high + col % 8 / 4 * 2) * 4 + col % 4);
    default: // 16 bits: a step takes 4 of a lane's inputs, 2 of each register
        return block + (size_t)(e / 4 * 512 + lane * 16 + (high + e % 4 / 2 * 2) * 4 + e % 2 * 2);
    }
}

// Byte offset of the scale (and zero) of (row, col) in a tile of a type in groups.
static CUDA_BOTH inline size_t cuda_group_at(const struct cuda_layout *l, int row, int col)
{
    int cols = cuda_run_blocks(l->type) * CUDA_BLOCK_COLS, run = col / cols;
    size_t codes = (size_t)cuda_run_blocks(l->type) * l->block_bytes;
    return (size_t)run * (codes + l->scales_bytes) + codes +
           (size_t)((col % cols / l->group * CUDA_TILE_ROWS + row) * cuda_scale_bytes(l->type));
}

// First unit of a span. For span `spans` it is the end of the last span.
static CUDA_BOTH inline int cuda_span_begin(int units, int spans, int span)
{
    return (int)((long long)units * span / spans);
}

// ---- inputs --------------------------------------------------------------------------------------------

// The order of a product's inputs in memory. It depends on the types of the weights and of the inputs.
enum cuda_order {
    CUDA_ROWS,    // f32: rows of `ld` elements
    CUDA_HALVES,  // 16-bit inputs of bf16, f16 and f8e4m3 weights
    CUDA_NIBBLES, // 16-bit inputs of weights in groups
    CUDA_BYTES,   // int8 and f8e4m3 inputs
};

static inline enum cuda_order cuda_order_of(enum dtype weights, enum dtype inputs)
{
    return weights == DT_F32                        ? CUDA_ROWS
           : dtype_is_grouped(weights)              ? CUDA_NIBBLES
           : inputs == DT_I8 || inputs == DT_F8E4M3 ? CUDA_BYTES
                                                    : CUDA_HALVES;
}

// Inputs are cut into blocks of 64, and a token's part of a block into lines of 16 bytes: 8 lines of 16-bit inputs, 4
// of 8-bit ones. A block is (groups of 8 tokens, lines, 8 tokens, 16 bytes). A step of the product takes two lines.
static CUDA_BOTH inline int cuda_order_lines(enum cuda_order order)
{
    return order == CUDA_BYTES ? 4 : 8;
}
static CUDA_BOTH inline int cuda_order_bytes(enum cuda_order order)
{
    return order == CUDA_BYTES ? 1 : 2;
}
// The number, within the block's 64 inputs, of element i of a line.
static CUDA_BOTH inline int cuda_line_col(enum cuda_order order, int line, int i)
{
    switch (order) {
    case CUDA_BYTES:
        return i / 4 * 16 + line * 4 + i % 4;
    case CUDA_NIBBLES:
        return line / 4 * 32 + i / 2 * 8 + line % 4 / 2 * 4 + i % 2 * 2 + line % 2;
    default:
        return i / 2 * 16 + line * 2 + i % 2;
    }
}
// The inverse: the line that has input `col` of the block, as element *i.
static CUDA_BOTH inline int cuda_col_line(enum cuda_order order, int col, int *i)
{
    switch (order) {
    case CUDA_BYTES:
        *i = col / 16 * 4 + col % 4;
        return col % 16 / 4;
    case CUDA_NIBBLES:
        *i = col % 32 / 8 * 2 + col % 4 / 2;
        return col / 32 * 4 + col % 8 / 4 * 2 + col % 2;
    default:
        *i = col / 16 * 2 + col % 2;
        return col % 16 / 2;
    }
}
// Byte offset of a line of token `token` in a pass of `tokens`.
static CUDA_BOTH inline size_t cuda_line_at(enum cuda_order order, int tokens, int token, int block,
                                            int line)
{
    size_t groups = (size_t)(tokens + CUDA_GROUP_TOKENS - 1) / CUDA_GROUP_TOKENS;
    size_t group = (size_t)block * groups + (size_t)(token / CUDA_GROUP_TOKENS);
    return ((group * (size_t)cuda_order_lines(order) + (size_t)line) * CUDA_GROUP_TOKENS +
            (size_t)(token % CUDA_GROUP_TOKENS)) *
           16;
}
// Rows of inputs as stored: whole groups of tokens.
static inline int cuda_padded_tokens(int tokens)
{
    return (tokens + CUDA_GROUP_TOKENS - 1) / CUDA_GROUP_TOKENS * CUDA_GROUP_TOKENS;
}

// Copies rows of `cols` elements (a multiple of 64; row stride ld) into an order of inputs, and back. `to` has room for
// whole groups of tokens. CUDA_ROWS: they stay rows of cols elements.
void cuda_order_inputs(enum cuda_order order, const void *rows, int tokens, int cols, size_t ld,
                       void *to);
void cuda_plain_inputs(enum cuda_order order, const void *from, int tokens, int cols, size_t ld,
                       void *rows);

// Packs up to 16 rows into the tile at `tile`: plain types from f32 (row stride ld), others from codes with scales in
// groups of `group` inputs. unpack: the exact inverse, as f32, for row `row` of a whole matrix.
void cuda_pack_plain(const struct cuda_layout *layout, const float *rows, int count, size_t ld,
                     void *tile);
void cuda_pack_codes(const struct cuda_layout *layout, const struct quant_row *rows, int count,
                     int group, void *tile);
void cuda_unpack_row(const struct cuda_layout *layout, const void *packed, int row, float *out);

#ifdef __cplusplus
}
#endif

#endif
