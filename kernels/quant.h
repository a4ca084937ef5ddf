// quant.h - quantized weights: the meaning of codes, the rounding of rows, the layout of codes in a panel.
//
// Before packing, rows are separate and each code is a byte:
//   DT_I8      w = code * scale, code -127..127 in two's complement; one f32 scale per row
//   DT_F8E4M3  w = e4m3(code) * scale (E4M3FN: no infinities); one f32 scale per row
//   DT_I4      w = (code - zero) * scale, code and zero 0..15; a scale (an f16 value) and a zero for each
//              `group` inputs; the last group is shorter where cols is no multiple
//   DT_I8G     w = code * scale, code -128..127 in two's complement; an f16 scale for each `group` inputs, as in DT_I4
//
// A packed panel holds its scales, then its codes, in one stream:
//   DT_I8, DT_F8E4M3  16 f32 scales (64 bytes); groups of 4 inputs as kernels.h says
//   DT_I4      for each quantization group 16 f16 scales, then for each group 8 bytes of zeros (byte i: row
//              i low, row i + 8 high), filled up to 64 bytes; then groups of 8 inputs, where byte j of
//              a row's four has input j low and input j + 4 high: a mask and a shift give two quads.
//   DT_I8G     for each quantization group 16 f16 scales, filled up to 64 bytes; then groups of 4 inputs as in DT_I8.
// So, without padding, int4 takes 0.5 + 2.5 / group bytes per weight, and DT_I8G 1 + 2 / group.
#ifndef KERNELS_QUANT_H
#define KERNELS_QUANT_H

#include "kernels/kernels.h"

// Buffers of one row, owned by the caller: cols codes, quant_groups() scales, and for DT_I4 the same number of zeros.
struct quant_row {
    uint8_t *codes;
    float *scales;
    uint8_t *zeros;
};

// Types are those of dtype_is_quantized(). `group` is used for those of dtype_is_grouped() only.
int quant_groups(enum dtype type, int cols, int group); // scales of a row: 1 for i8 and f8

/* Rounds one row to the nearest codes, ties to even; all steps in f32:
 *   DT_I8      scale = max|w| / 127, code = round(w / scale)
 *   DT_F8E4M3  scale = max|w| / 448, code = e4m3(w / scale)
 *   DT_I4      min and max of a group include 0; scale = f16((max - min) / 15), at most 65504,
 *              zero = clamp(round(-min / scale)), code = clamp(round(w / scale) + zero), 0..15
 *   DT_I8G     scale = f16(max|w| / 127) of a group, at most 65504, code = clamp(round(w / scale)), -127..127.
 * A row or group with a scale of zero or a largest magnitude below 2^-100 gets codes, scale and zero of 0.
 * One with a NaN or an infinity gets a scale of NaN, so that every result shows it. */
void quant_row_rtn(enum dtype type, const float *w, int cols, int group, struct quant_row out);
// Whether all weights of the row are finite: a scale or an fp8 code that is NaN comes from a weight that is not.
bool quant_row_is_finite(enum dtype type, struct quant_row row, int cols, int group);
void quant_row_expand(enum dtype type, struct quant_row in, int cols, int group, float *w);

// Sizes of packed panels; for plain types those of kernel_panel_bytes and kernel_packed_bytes.
// Grouped types: group is a multiple of 8.
size_t quant_header_bytes(enum dtype type, int cols,
                          int group); // before the codes; 0 for plain types
size_t quant_panel_bytes(enum dtype type, int cols, int group);

// Packs up to 16 rows into one panel; missing rows and inputs are zeros.
void quant_pack_panel(enum dtype type, const struct quant_row *rows, int count, int cols, int group,
                      void *panel);
// Tests only: the exact inverse, for row `row` of a whole packed matrix.
void quant_unpack_row(enum dtype type, const void *packed, int row, int cols, int group,
                      struct quant_row out);
// The same row as f32, with no buffers of codes.
void quant_unpack_f32(enum dtype type, const void *packed, int row, int cols, int group,
                      float *out);

#endif
