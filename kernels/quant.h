// quant.h - quantized weights: what a code means, how rows are rounded, how codes lie in a panel.
//
// One row of a matrix at a time, before packing, with one code a byte:
//   DT_I8      w = code * scale, code -127..127 in two's complement; one f32 scale a row
//   DT_F8E4M3  w = e4m3(code) * scale (E4M3FN: no infinities); one f32 scale a row
//   DT_I4      w = (code - zero) * scale, code and zero 0..15; a scale (an f16 value) and a zero for each
//              `group` inputs, the last group shorter where cols asks for it
//
// A packed panel is its scales, then its codes, in one stream:
//   DT_I8, DT_F8E4M3  16 f32 scales (64 bytes); groups of 4 inputs as kernels.h says
//   DT_I4      for each quantization group 16 f16 scales, then for each group 8 bytes of zeros (byte i: row
//              i low, row i + 8 high), filled up to 64 bytes; then groups of 8 inputs, where byte j of
//              a row's four has input j low and input j + 4 high: a mask and a shift give two quads.
// So int4 takes 0.5 + 2.5 / group bytes a weight, the fill and the edges of the matrix aside.
#ifndef KERNELS_QUANT_H
#define KERNELS_QUANT_H

#include "kernels/kernels.h"

// Buffers of one row, the caller's: cols codes; quant_groups() scales, and as many zeros for DT_I4 alone.
struct quant_row {
    uint8_t *codes;
    float *scales;
    uint8_t *zeros;
};

// Types are those dtype_is_quantized() says; where `group` is an argument it matters to DT_I4 alone.
int quant_groups(enum dtype type, int cols, int group); // scales of a row: 1 for i8 and f8

/* Rounds one row to the nearest codes, ties to even; all steps in f32:
 *   DT_I8      scale = max|w| / 127, code = round(w / scale)
 *   DT_F8E4M3  scale = max|w| / 448, code = e4m3(w / scale)
 *   DT_I4      min and max of a group include 0; scale = f16((max - min) / 15), at most 65504,
 *              zero = clamp(round(-min / scale)), code = clamp(round(w / scale) + zero), 0..15
 * A row or group whose scale would be zero or its largest magnitude below 2^-100: all codes, scale and
 * zero are 0. One that holds a NaN or an infinity: scale NaN, so that it shows in whatever is computed. */
void quant_row_rtn(enum dtype type, const float *w, int cols, int group, struct quant_row out);
void quant_row_expand(enum dtype type, struct quant_row in, int cols, int group, float *w);

// Sizes of packed panels; for plain types what panel_bytes and packed_bytes say.
// DT_I4: group is a multiple of 8.
size_t quant_header_bytes(enum dtype type, int cols,
                          int group); // before the codes; 0 for plain types
size_t quant_panel_bytes(enum dtype type, int cols, int group);

// Up to 16 rows into one panel; rows and inputs beyond are zeros. unpack is the exact inverse, for row
// `row` of a whole packed matrix.
void pack_quant_panel(enum dtype type, const struct quant_row *rows, int count, int cols, int group,
                      void *panel);
void unpack_quant_row(enum dtype type, const void *packed, int row, int cols, int group,
                      struct quant_row out);
// The same row as f32, without buffers of codes.
void unpack_quant_f32(enum dtype type, const void *packed, int row, int cols, int group,
                      float *out);

#endif
