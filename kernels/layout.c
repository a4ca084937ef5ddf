// layout.c - element types, and the packed panel layout that every product kernel reads.
//
// Element (r, c) of a panel is at byte (c / group) * 64 + r * 4 + (c % group) * element bytes. A row's group is
// always 4 bytes, and the 16 rows of a group always 64. kernels.h gives the reason, quant.h the types with
// scales.
#include "kernels/kernels.h"

#include <assert.h>
#include <string.h>

#include "base/fp.h"
#include "kernels/quant.h"

enum { GROUP_BYTES = 64, ROW_GROUP_BYTES = 4 };

const char *dtype_name(enum dtype type)
{
    static const char *const names[DT_COUNT] = {
        [DT_F32] = "f32",       [DT_F16] = "f16", [DT_BF16] = "bf16", [DT_I8] = "i8",
        [DT_F8E4M3] = "f8e4m3", [DT_I4] = "i4",   [DT_I8G] = "i8g",
    };
    return type >= 0 && type < DT_COUNT ? names[type] : "?";
}

int kernel_panel_group(enum dtype type)
{
    switch (type) {
    case DT_F32:
        return 1;
    case DT_F16:
    case DT_BF16:
        return 2;
    case DT_I8:
    case DT_I8G:
    case DT_F8E4M3:
        return 4;
    case DT_I4:
        return 8;
    case DT_COUNT:
        break;
    }
    assert(!"a dtype");
    return 1;
}

int kernel_panel_count(int rows)
{
    return rows / PANEL_ROWS + (rows % PANEL_ROWS != 0);
}

int kernel_packed_cols(enum dtype type, int cols)
{
    int group = kernel_panel_group(type);
    return (cols + group - 1) / group * group;
}

size_t kernel_panel_bytes(enum dtype type, int cols)
{
    return quant_panel_bytes(type, cols, QUANT_GROUP);
}

size_t kernel_packed_bytes(enum dtype type, int rows, int cols)
{
    return (size_t)kernel_panel_count(rows) * kernel_panel_bytes(type, cols);
}

static unsigned char *panel_at(unsigned char *panel, enum dtype type, int row, int col)
{
    int group = kernel_panel_group(type);
    size_t element_bytes = (size_t)(ROW_GROUP_BYTES / group);
    return panel + (size_t)(col / group) * GROUP_BYTES + (size_t)row * ROW_GROUP_BYTES +
           (size_t)(col % group) * element_bytes;
}

static void store(enum dtype type, float value, unsigned char *out)
{
    if (type == DT_F32) {
        memcpy(out, &value, sizeof value);
    } else {
        uint16_t half = type == DT_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
        memcpy(out, &half, sizeof half);
    }
}

static float load(enum dtype type, const unsigned char *in)
{
    float value;
    uint16_t half;
    if (type == DT_F32) {
        memcpy(&value, in, sizeof value);
        return value;
    }
    memcpy(&half, in, sizeof half);
    return type == DT_BF16 ? bf16_to_f32(half) : f16_to_f32(half);
}

static bool plain(enum dtype type)
{
    return !dtype_is_quantized(type);
}

void kernel_pack_panel(enum dtype type, const float *rows_f32, int rows, int cols, size_t ld,
                       void *panel)
{
    assert(plain(type) && rows >= 0 && rows <= PANEL_ROWS);
    memset(panel, 0, kernel_panel_bytes(type, cols));
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            store(type, rows_f32[(size_t)r * ld + (size_t)c], panel_at(panel, type, r, c));
}

void kernel_unpack_row(enum dtype type, const void *packed, int row, int cols, float *out)
{
    if (!plain(type)) {
        quant_unpack_f32(type, packed, row, cols, QUANT_GROUP, out);
        return;
    }
    // panel_at only computes an address; nothing is written through it here.
    unsigned char *panel =
        (unsigned char *)packed + (size_t)(row / PANEL_ROWS) * kernel_panel_bytes(type, cols);
    for (int c = 0; c < cols; c++)
        out[c] = load(type, panel_at(panel, type, row % PANEL_ROWS, c));
}
