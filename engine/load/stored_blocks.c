// stored_blocks.c - converts GGUF's block types to f32, and two of them back.
//
// Small blocks (32 elements): an f16 scale d, an f16 minimum m in the _1 types, then codes. The fifth bits of five-bit
// codes are in a 32-bit word of their own. Four-bit codes: the low nibbles are the first half of the block, the high
// ones the second.
// K blocks (256 elements): eight or sixteen sub-blocks, each with a small integer scale (and minimum) that is
// multiplied by an f16 value of the whole block.
// The order of the roundings is the definition: (d * code) + m, (d * scale) * code - (dmin * min), each step
// rounded to f32. Sums of products must not be contracted (the Makefile sets -ffp-contract=off for this folder).
// Source: the block structures of ggml-common.h, as published.
#include "engine/load/stored.h"

#include <math.h>
#include <string.h>

#include "base/fp.h"

enum { SMALL = 32, LARGE = 256 };

static float half_at(const unsigned char *src)
{
    return f16_to_f32((uint16_t)(src[0] | src[1] << 8));
}

static void put_half(unsigned char *dst, float value)
{
    uint16_t half = f16_from_f32(value);
    dst[0] = (unsigned char)half;
    dst[1] = (unsigned char)(half >> 8);
}

static int nibble(const unsigned char *codes, int i)
{
    return i < SMALL / 2 ? codes[i] & 15 : codes[i - SMALL / 2] >> 4;
}

static int fifth_bit(const unsigned char *bits, int i)
{
    return (bits[i / 8] >> (i % 8) & 1) << 4;
}

// ---- blocks of 32 ---------------------------------------------------------------------------------

// f16 d, i8 codes[32]
void stored_expand_q8_0(float *out, const unsigned char *src)
{
    float d = half_at(src);
    for (int i = 0; i < SMALL; i++)
        out[i] = (float)(int8_t)src[2 + i] * d;
}

void stored_codes_q8_0(unsigned char codes[32], float *scale, const unsigned char *src)
{
    *scale = half_at(src);
    memcpy(codes, src + 2, SMALL);
}

// f16 d, 4-bit codes[32] around 8
void stored_expand_q4_0(float *out, const unsigned char *src)
{
    float d = half_at(src);
    for (int i = 0; i < SMALL; i++)
        out[i] = d * (float)(nibble(src + 2, i) - 8);
}

void stored_codes_q4_0(unsigned char codes[32], float *scale, const unsigned char *src)
{
    *scale = half_at(src);
    for (int i = 0; i < SMALL; i++)
        codes[i] = (unsigned char)nibble(src + 2, i);
}

// f16 d, f16 m, 4-bit codes[32]
void stored_expand_q4_1(float *out, const unsigned char *src)
{
    float d = half_at(src), m = half_at(src + 2);
    for (int i = 0; i < SMALL; i++)
        out[i] = d * (float)nibble(src + 4, i) + m;
}

// f16 d, u32 fifth bits, 4-bit codes[32] around 16
void stored_expand_q5_0(float *out, const unsigned char *src)
{
    float d = half_at(src);
    for (int i = 0; i < SMALL; i++)
        out[i] = d * (float)((nibble(src + 6, i) | fifth_bit(src + 2, i)) - 16);
}

// f16 d, f16 m, u32 fifth bits, 4-bit codes[32]
void stored_expand_q5_1(float *out, const unsigned char *src)
{
    float d = half_at(src), m = half_at(src + 2);
    for (int i = 0; i < SMALL; i++)
        out[i] = d * (float)(nibble(src + 8, i) | fifth_bit(src + 4, i)) + m;
}

// ---- blocks of 256 --------------------------------------------------------------------------------

// Reads scale and minimum of sub-block j (0..7), six bits each, from 12 bytes. The first four scales are in the low
// bits of bytes 0..3, the first four minima in those of bytes 4..7. The others have their low four bits in bytes 8..11,
// and the high two in the top bits of bytes 0..7.
static void scale_and_min(const unsigned char *packed, int j, int *scale, int *min)
{
    if (j < 4) {
        *scale = packed[j] & 63;
        *min = packed[4 + j] & 63;
    } else {
        *scale = (packed[4 + j] & 15) | packed[j - 4] >> 6 << 4;
        *min = packed[4 + j] >> 4 | packed[j] >> 6 << 4;
    }
}

// f16 d, f16 dmin, scales[12], 4-bit codes[256]: each 32 bytes hold sub-block 2c below and 2c + 1 above
void stored_expand_q4_k(float *out, const unsigned char *src)
{
    float d = half_at(src), dmin = half_at(src + 2);
    for (int j = 0; j < 8; j++, out += 32) {
        const unsigned char *codes = src + 16 + 32 * (j / 2);
        int scale, min;
        scale_and_min(src + 4, j, &scale, &min);
        float step = d * (float)scale, base = dmin * (float)min;
        for (int i = 0; i < 32; i++)
            out[i] = step * (float)(codes[i] >> 4 * (j % 2) & 15) - base;
    }
}

// f16 d, f16 dmin, scales[12], fifth bits[32] (bit j of byte i: element i of sub-block j), codes as in q4_k
void stored_expand_q5_k(float *out, const unsigned char *src)
{
    float d = half_at(src), dmin = half_at(src + 2);
    const unsigned char *fifth = src + 16;
    for (int j = 0; j < 8; j++, out += 32) {
        const unsigned char *codes = src + 48 + 32 * (j / 2);
        int scale, min;
        scale_and_min(src + 4, j, &scale, &min);
        float step = d * (float)scale, base = dmin * (float)min;
        for (int i = 0; i < 32; i++) {
            int code = (codes[i] >> 4 * (j % 2) & 15) | (fifth[i] >> j & 1) << 4;
            out[i] = step * (float)code - base;
        }
    }
}

// low nibbles[128], high pairs of bits[64], i8 scales[16], f16 d; codes of six bits around 32. Each half of the block
// has 128 elements. Its 64 bytes of nibbles hold elements 0..63 below and 64..127 above. Its 32 bytes of pairs hold
// element e in byte e % 32, pair e / 32.
void stored_expand_q6_k(float *out, const unsigned char *src)
{
    float d = half_at(src + 208);
    for (int i = 0; i < LARGE; i += 16) {
        const unsigned char *low = src + 64 * (i / 128), *high = src + 128 + 32 * (i / 128);
        float step = d * (float)(int8_t)src[192 + i / 16];
        for (int e = i % 128; e < i % 128 + 16; e++, out++) {
            int code = (low[e % 64] >> 4 * (e / 64) & 15) | (high[e % 32] >> 2 * (e / 32) & 3) << 4;
            *out = step * (float)(code - 32);
        }
    }
}

// ---- writing --------------------------------------------------------------------------------------

// Codes are computed with the scale before it is rounded to f16, as in the reference.
void stored_shrink_q8_0(unsigned char *dst, const float *x)
{
    float largest = 0;
    for (int i = 0; i < SMALL; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    float d = largest / 127, inverse = d > 0 ? 1 / d : 0;
    put_half(dst, d);
    for (int i = 0; i < SMALL; i++) {
        float magnitude = fminf(fabsf(x[i] * inverse), 127);
        int code = (int)magnitude;
        code += magnitude - (float)code >= 0.5f; // halves away from zero
        dst[2 + i] = (unsigned char)(x[i] < 0 ? -code : code);
    }
}

// The element of largest magnitude becomes code 0 (that is, -8), so that it is exact.
void stored_shrink_q4_0(unsigned char *dst, const float *x)
{
    float extreme = x[0];
    for (int i = 1; i < SMALL; i++)
        if (fabsf(x[i]) > fabsf(extreme))
            extreme = x[i];
    float d = extreme / -8, inverse = d != 0 ? 1 / d : 0;
    put_half(dst, d);
    memset(dst + 2, 0, SMALL / 2);
    for (int i = 0; i < SMALL; i++) {
        int code = (int)fminf(fmaxf(x[i] * inverse + 8.5f, 0), 15);
        dst[2 + i % (SMALL / 2)] |= (unsigned char)(i < SMALL / 2 ? code : code << 4);
    }
}
