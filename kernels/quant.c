// quant.c - rounds rows to codes, and packs codes into panels. quant.h defines the bits.
#include "kernels/quant.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/fp.h"

enum { GROUP_BYTES = 64, ROW_GROUP_BYTES = 4, ZERO_BYTES = PANEL_ROWS / 2 };

static const float least_magnitude = 0x1p-100f; // below it max / 448 is close to the denormals

bool dtype_is_quantized(enum dtype type)
{
    return type == DT_I8 || type == DT_F8E4M3 || dtype_is_grouped(type);
}

bool dtype_is_grouped(enum dtype type)
{
    return type == DT_I4 || type == DT_I8G;
}

int quant_groups(enum dtype type, int cols, int group)
{
    return dtype_is_grouped(type) ? cols / group + (cols % group != 0) : 1;
}

// ---- rounding --------------------------------------------------------------------------------------------

// Rounds to nearest even for |x| < 2^22. It uses only f32, so that compilers can vectorize it.
static inline float round_even(float x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

static inline float clamp(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

// Compared as bits, so that a NaN is larger than any number.
static uint32_t largest_magnitude_bits(const float *w, int n)
{
    uint32_t largest = 0;
    for (int i = 0; i < n; i++) {
        uint32_t bits = f32_bits(w[i]) & 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

static void rtn_row(enum dtype type, const float *w, int n, uint8_t *codes, float *scale)
{
    uint32_t bits = largest_magnitude_bits(w, n);
    float largest = f32_from_bits(bits);
    if (bits >= 0x7f800000u || largest < least_magnitude) {
        *scale = bits >= 0x7f800000u ? NAN : 0;
        memset(codes, 0, (size_t)n);
        return;
    }
    float s = largest / (type == DT_I8 ? 127.0f : 448.0f);
    *scale = s;
    if (type == DT_I8)
        for (int i = 0; i < n; i++)
            codes[i] = (uint8_t)(int8_t)(int)clamp(round_even(w[i] / s), -127, 127);
    else
        for (int i = 0; i < n; i++)
            codes[i] = f8e4m3_from_f32(w[i] / s);
}

static void rtn_i4_group(const float *w, int n, uint8_t *codes, float *scale, uint8_t *zero)
{
    float min = 0, max = 0;
    for (int i = 0; i < n; i++) {
        min = w[i] < min ? w[i] : min;
        max = w[i] > max ? w[i] : max;
    }
    bool finite = largest_magnitude_bits(w, n) < 0x7f800000u;
    float s = f16_to_f32(f16_from_f32(fminf((max - min) / 15, 65504)));
    *scale = finite ? s : NAN;
    *zero = 0;
    memset(codes, 0, (size_t)n);
    if (!finite || s == 0)
        return;
    float z = clamp(round_even(clamp(-min / s, 0, 15)), 0, 15);
    *zero = (uint8_t)z;
    for (int i = 0; i < n;
         i++) // a tiny scale, rounded down in f16, makes large ratios: clamp them first
        codes[i] = (uint8_t)clamp(round_even(clamp(w[i] / s, -16, 16)) + z, 0, 15);
}

static void rtn_i8_group(const float *w, int n, uint8_t *codes, float *scale)
{
    uint32_t bits = largest_magnitude_bits(w, n);
    float s = f16_to_f32(f16_from_f32(fminf(f32_from_bits(bits) / 127, 65504)));
    *scale = bits >= 0x7f800000u ? NAN : s;
    memset(codes, 0, (size_t)n);
    if (bits >= 0x7f800000u || s == 0)
        return;
    for (int i = 0; i < n; i++) // as above
        codes[i] = (uint8_t)(int8_t)(int)clamp(round_even(clamp(w[i] / s, -128, 128)), -127, 127);
}

void quant_row_rtn(enum dtype type, const float *w, int cols, int group, struct quant_row out)
{
    assert(dtype_is_quantized(type));
    if (!dtype_is_grouped(type)) {
        rtn_row(type, w, cols, out.codes, out.scales);
        return;
    }
    for (int g = 0; g < quant_groups(type, cols, group); g++) {
        int from = g * group, n = cols - from < group ? cols - from : group;
        if (type == DT_I4)
            rtn_i4_group(w + from, n, out.codes + from, &out.scales[g], &out.zeros[g]);
        else
            rtn_i8_group(w + from, n, out.codes + from, &out.scales[g]);
    }
}

bool quant_row_is_finite(enum dtype type, struct quant_row row, int cols, int group)
{
    bool finite = true;
    for (int g = 0; g < quant_groups(type, cols, group); g++)
        finite &= isfinite(row.scales[g]) != 0;
    for (int c = 0; type == DT_F8E4M3 && c < cols; c++)
        finite &= (row.codes[c] & 0x7f) != 0x7f;
    return finite;
}

void quant_row_expand(enum dtype type, struct quant_row in, int cols, int group, float *w)
{
    assert(dtype_is_quantized(type));
    for (int i = 0; i < cols; i++) {
        if (type == DT_I8)
            w[i] = (float)(int8_t)in.codes[i] * in.scales[0];
        else if (type == DT_F8E4M3)
            w[i] = f8e4m3_to_f32(in.codes[i]) * in.scales[0];
        else if (type == DT_I8G)
            w[i] = (float)(int8_t)in.codes[i] * in.scales[i / group];
        else
            w[i] = (float)(in.codes[i] - in.zeros[i / group]) * in.scales[i / group];
    }
}

// ---- panels ----------------------------------------------------------------------------------------------

size_t quant_header_bytes(enum dtype type, int cols, int group)
{
    if (!dtype_is_quantized(type))
        return 0;
    if (!dtype_is_grouped(type))
        return PANEL_ROWS * sizeof(float);
    assert(group > 0 && group % 8 == 0);
    size_t of_group = PANEL_ROWS * sizeof(uint16_t) + (type == DT_I4 ? ZERO_BYTES : 0);
    size_t bytes = (size_t)quant_groups(type, cols, group) * of_group;
    return (bytes + PANEL_ALIGN - 1) / PANEL_ALIGN * PANEL_ALIGN;
}

size_t quant_panel_bytes(enum dtype type, int cols, int group)
{
    return quant_header_bytes(type, cols, group) +
           (size_t)(kernel_packed_cols(type, cols) / kernel_panel_group(type)) * GROUP_BYTES;
}

size_t quant_packed_bytes(enum dtype type, int rows, int cols, int group)
{
    return (size_t)kernel_panel_count(rows) * quant_panel_bytes(type, cols, group);
}

static void pack_group_scales(const struct quant_row *row, int r, int groups, unsigned char *header)
{
    for (int g = 0; g < groups; g++) {
        uint16_t scale = f16_from_f32(row->scales[g]);
        memcpy(header + ((size_t)g * PANEL_ROWS + (size_t)r) * sizeof scale, &scale, sizeof scale);
    }
}

static void pack_i4_zeros(const struct quant_row *row, int r, int groups, unsigned char *header)
{
    unsigned char *zeros = header + (size_t)groups * PANEL_ROWS * sizeof(uint16_t);
    for (int g = 0; g < groups; g++)
        zeros[(size_t)g * ZERO_BYTES + (size_t)(r % 8)] |=
            (unsigned char)(row->zeros[g] << r / 8 * 4);
}

static void pack_i4_codes(const uint8_t *codes, int r, int cols, unsigned char *out)
{
    for (int c = 0; c < cols; c++) {
        size_t at = (size_t)(c / 8) * GROUP_BYTES + (size_t)(r * ROW_GROUP_BYTES + c % 4);
        out[at] |= (unsigned char)(codes[c] << c % 8 / 4 * 4);
    }
}

static void pack_byte_codes(const uint8_t *codes, int r, int cols, unsigned char *out)
{
    out += (size_t)r * ROW_GROUP_BYTES;
    for (int c = 0; c < cols; c += ROW_GROUP_BYTES, out += GROUP_BYTES)
        memcpy(out, codes + c, (size_t)(cols - c < ROW_GROUP_BYTES ? cols - c : ROW_GROUP_BYTES));
}

void quant_pack_panel(enum dtype type, const struct quant_row *rows, int count, int cols, int group,
                      void *panel)
{
    assert(dtype_is_quantized(type) && count >= 0 && count <= PANEL_ROWS);
    size_t header = quant_header_bytes(type, cols, group);
    unsigned char *bytes = panel;
    memset(bytes, 0, quant_panel_bytes(type, cols, group));
    int groups = quant_groups(type, cols, group);
    for (int r = 0; r < count; r++) {
        if (dtype_is_grouped(type))
            pack_group_scales(&rows[r], r, groups, bytes);
        else
            memcpy(bytes + (size_t)r * sizeof(float), rows[r].scales, sizeof(float));
        if (type == DT_I4) {
            pack_i4_zeros(&rows[r], r, groups, bytes);
            pack_i4_codes(rows[r].codes, r, cols, bytes + header);
        } else {
            pack_byte_codes(rows[r].codes, r, cols, bytes + header);
        }
    }
}

// ---- unpacking -------------------------------------------------------------------------------------------

// One row of a panel, its scales and its codes.
struct packed_row {
    const unsigned char *header, *codes;
    int row, groups;
};

static struct packed_row packed_row(enum dtype type, const void *packed, int row, int cols,
                                    int group)
{
    const unsigned char *panel = (const unsigned char *)packed +
                                 (size_t)(row / PANEL_ROWS) * quant_panel_bytes(type, cols, group);
    return (struct packed_row){
        .header = panel,
        .codes = panel + quant_header_bytes(type, cols, group),
        .row = row % PANEL_ROWS,
        .groups = quant_groups(type, cols, group),
    };
}

static uint8_t code_at(enum dtype type, const struct packed_row *p, int c)
{
    size_t row = (size_t)p->row * ROW_GROUP_BYTES;
    if (type != DT_I4)
        return p->codes[(size_t)(c / 4) * GROUP_BYTES + row + (size_t)(c % 4)];
    return p->codes[(size_t)(c / 8) * GROUP_BYTES + row + (size_t)(c % 4)] >> c % 8 / 4 * 4 & 15;
}

static float scale_at(enum dtype type, const struct packed_row *p, int g)
{
    float scale;
    uint16_t half;
    if (!dtype_is_grouped(type)) {
        memcpy(&scale, p->header + (size_t)p->row * sizeof scale, sizeof scale);
        return scale;
    }
    memcpy(&half, p->header + ((size_t)g * PANEL_ROWS + (size_t)p->row) * sizeof half, sizeof half);
    return f16_to_f32(half);
}

static uint8_t zero_at(const struct packed_row *p, int g)
{
    const unsigned char *zeros = p->header + (size_t)p->groups * PANEL_ROWS * sizeof(uint16_t);
    return zeros[(size_t)g * ZERO_BYTES + (size_t)(p->row % 8)] >> p->row / 8 * 4 & 15;
}

void quant_unpack_row(enum dtype type, const void *packed, int row, int cols, int group,
                      struct quant_row out)
{
    struct packed_row p = packed_row(type, packed, row, cols, group);
    for (int g = 0; g < p.groups; g++) {
        out.scales[g] = scale_at(type, &p, g);
        if (type == DT_I4)
            out.zeros[g] = zero_at(&p, g);
    }
    for (int c = 0; c < cols; c++)
        out.codes[c] = code_at(type, &p, c);
}

void quant_unpack_f32(enum dtype type, const void *packed, int row, int cols, int group, float *out)
{
    struct packed_row p = packed_row(type, packed, row, cols, group);
    float scale = scale_at(type, &p, 0);
    int zero = type == DT_I4 ? zero_at(&p, 0) : 0;
    for (int c = 0; c < cols; c++) {
        uint8_t code = code_at(type, &p, c);
        if (dtype_is_grouped(type) && c % group == 0) {
            scale = scale_at(type, &p, c / group);
            zero = type == DT_I4 ? zero_at(&p, c / group) : 0;
        }
        out[c] = type == DT_F8E4M3 ? f8e4m3_to_f32(code) * scale
                 : type == DT_I4   ? (float)(code - zero) * scale
                                   : (float)(int8_t)code * scale;
    }
}
