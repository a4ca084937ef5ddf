// pack.c - packs rows into tiles for the tensor cores, and unpacks them. pack.h defines the order.
#include "kernels/cuda/cuda.h"

#include <assert.h>
#include <string.h>

#include "base/fp.h"

// The packed group size for a source's group size; 0: none fits.
static int packed_group(enum dtype type, int cols, int group)
{
    if (type == DT_I8G)
        return group >= cols || group % 32 == 0 ? 32 : 0;
    if (group >= cols || group % 128 == 0)
        return 128;
    return group % 32 == 0 ? 32 : 0;
}

bool cuda_layout_plan(enum dtype type, int rows, int cols, int group, struct cuda_layout *out)
{
    static const size_t block_bytes[DT_COUNT] = {
        [DT_F32] = 4096,    [DT_F16] = 2048, [DT_BF16] = 2048, [DT_I8] = 1024,
        [DT_F8E4M3] = 1024, [DT_I4] = 512,   [DT_I8G] = 1024,
    };
    *out = (struct cuda_layout){
        .type = type,
        .rows = rows,
        .cols = cols,
        .group = dtype_is_grouped(type) ? packed_group(type, cols, group) : 0,
        .tiles = (rows + CUDA_TILE_ROWS - 1) / CUDA_TILE_ROWS,
        .units = cuda_padded_cols(cols) / CUDA_UNIT_COLS,
        .header_bytes = type == DT_I8 || type == DT_F8E4M3 ? CUDA_HEADER_BYTES : 0,
        .block_bytes = block_bytes[type],
    };
    if (dtype_is_grouped(type) && !out->group)
        return false;
    out->spans = out->units < CUDA_MOST_SPANS ? out->units : CUDA_MOST_SPANS;
    out->unit_bytes = CUDA_BLOCKS * out->block_bytes;
    if (out->group) {
        int runs = CUDA_BLOCKS / cuda_run_blocks(type);
        int values = CUDA_UNIT_COLS / runs / out->group * CUDA_TILE_ROWS;
        out->scales_bytes = (size_t)(values * cuda_scale_bytes(type));
        out->unit_bytes += (size_t)runs * out->scales_bytes;
    }
    out->tile_bytes = out->header_bytes + (size_t)out->units * out->unit_bytes;
    return true;
}

size_t cuda_layout_bytes(const struct cuda_layout *layout)
{
    return (size_t)layout->tiles * layout->tile_bytes;
}

void cuda_pack_plain(const struct cuda_layout *layout, const float *rows, int count, size_t ld,
                     void *tile)
{
    int shift;
    memset(tile, 0, layout->tile_bytes);
    for (int r = 0; r < count; r++)
        for (int c = 0; c < layout->cols; c++) {
            float value = rows[(size_t)r * ld + (size_t)c];
            unsigned char *at = (unsigned char *)tile + cuda_element_at(layout, r, c, &shift);
            uint16_t half = layout->type == DT_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
            if (layout->type == DT_F32)
                memcpy(at, &value, sizeof value);
            else
                memcpy(at, &half, sizeof half);
        }
}

void cuda_pack_codes(const struct cuda_layout *layout, const struct quant_row *rows, int count,
                     int group, void *tile)
{
    unsigned char *bytes = tile;
    int shift;
    memset(tile, 0, layout->tile_bytes);
    for (int r = 0; r < count; r++) {
        for (int c = 0; c < layout->cols; c++) {
            size_t at = cuda_element_at(layout, r, c, &shift);
            bytes[at] = (unsigned char)(bytes[at] | rows[r].codes[c] << shift);
        }
        if (layout->header_bytes)
            memcpy(bytes + (size_t)r * 4, &rows[r].scales[0], 4);
        for (int c = 0; layout->group && c < layout->cols; c += layout->group) {
            uint16_t pair[2] = {f16_from_f32(rows[r].scales[c / group])};
            if (layout->type == DT_I4)
                pair[1] = f16_from_f32((float)rows[r].zeros[c / group]);
            memcpy(bytes + cuda_group_at(layout, r, c), pair,
                   (size_t)cuda_scale_bytes(layout->type));
        }
    }
}

static float decoded(const struct cuda_layout *l, const unsigned char *tile, int row, int col)
{
    int shift;
    const unsigned char *at = tile + cuda_element_at(l, row, col, &shift);
    float value, scale = 1;
    uint16_t half, pair[2];
    switch (l->type) {
    case DT_F32:
        memcpy(&value, at, sizeof value);
        return value;
    case DT_BF16:
    case DT_F16:
        memcpy(&half, at, sizeof half);
        return l->type == DT_BF16 ? bf16_to_f32(half) : f16_to_f32(half);
    case DT_I4:
        memcpy(pair, tile + cuda_group_at(l, row, col), sizeof pair);
        return ((float)(*at >> shift & 15) - f16_to_f32(pair[1])) * f16_to_f32(pair[0]);
    case DT_I8G:
        memcpy(&half, tile + cuda_group_at(l, row, col), sizeof half);
        return (float)(int8_t)*at * f16_to_f32(half);
    default:
        memcpy(&scale, tile + (size_t)row * 4, sizeof scale);
        return (l->type == DT_I8 ? (float)(int8_t)*at : f8e4m3_to_f32(*at)) * scale;
    }
}

void cuda_unpack_row(const struct cuda_layout *layout, const void *packed, int row, float *out)
{
    const unsigned char *tile =
        (const unsigned char *)packed + (size_t)(row / CUDA_TILE_ROWS) * layout->tile_bytes;
    for (int c = 0; c < layout->cols; c++)
        out[c] = decoded(layout, tile, row % CUDA_TILE_ROWS, c);
}

// Byte offset of element `col` of a token's row.
static size_t input_at(enum cuda_order order, int tokens, int token, int cols, int col)
{
    int bytes = order == CUDA_ROWS ? 4 : cuda_order_bytes(order), each = 16 / bytes;
    int block = col / CUDA_BLOCK_COLS, line = col % CUDA_BLOCK_COLS / each;
    if (order == CUDA_ROWS)
        return ((size_t)token * (size_t)cols + (size_t)col) * 4;
    return cuda_line_at(order, tokens, token, block, line) + (size_t)(col % each * bytes);
}

// The element of a row that is stored in the place that element `col` would have in a plain row.
static int input_col(enum cuda_order order, int col)
{
    int each = order == CUDA_ROWS ? 1 : 16 / cuda_order_bytes(order);
    if (order == CUDA_ROWS)
        return col;
    return col / CUDA_BLOCK_COLS * CUDA_BLOCK_COLS +
           cuda_line_col(order, col % CUDA_BLOCK_COLS / each, col % each);
}

void cuda_order_inputs(enum cuda_order order, const void *rows, int tokens, int cols, size_t ld,
                       void *to)
{
    size_t bytes = order == CUDA_ROWS ? 4 : (size_t)cuda_order_bytes(order);
    for (int t = 0; t < tokens; t++)
        for (int i = 0; i < cols; i++)
            memcpy((char *)to + input_at(order, tokens, t, cols, i),
                   (const char *)rows + ((size_t)t * ld + (size_t)input_col(order, i)) * bytes,
                   bytes);
}

void cuda_plain_inputs(enum cuda_order order, const void *from, int tokens, int cols, size_t ld,
                       void *rows)
{
    size_t bytes = order == CUDA_ROWS ? 4 : (size_t)cuda_order_bytes(order);
    for (int t = 0; t < tokens; t++)
        for (int i = 0; i < cols; i++)
            memcpy((char *)rows + ((size_t)t * ld + (size_t)input_col(order, i)) * bytes,
                   (const char *)from + input_at(order, tokens, t, cols, i), bytes);
}

size_t cuda_partial_bytes(const struct cuda_layout *layout, int tokens)
{
    size_t counters = CUDA_COUNTERS * sizeof(uint32_t);
    size_t wide = (size_t)CUDA_WIDE_BLOCKS * 128 * 256 * sizeof(float);
    size_t few = tokens <= 8 ? 8 : CUDA_FEW_TOKENS;
    few *= (size_t)layout->spans * ((size_t)layout->tiles + 1) * CUDA_TILE_ROWS * sizeof(float);
    return counters + (tokens > CUDA_FEW_TOKENS && wide > few ? wide : few);
}

size_t cuda_attention_bytes(int rows, int heads, int kv_heads, int head_dim, int positions)
{
    size_t splits = (size_t)(positions + CUDA_LEAST_SPLIT - 1) / CUDA_LEAST_SPLIT;
    size_t decode = (size_t)(CUDA_DECODE_BLOCKS + kv_heads - 1) / (size_t)kv_heads;
    size_t plain = (size_t)(positions + CUDA_SPLIT - 1) / CUDA_SPLIT;
    splits = splits < decode ? splits : decode;
    splits = splits > plain ? splits : plain;
    return cuda_attention_counters(rows, heads) +
           splits * (size_t)rows * (size_t)heads * (size_t)(head_dim + 4) * sizeof(float);
}
