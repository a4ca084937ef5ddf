// fp.h - bf16, f16 and fp8 (E4M3) to f32 and back, in portable C: round to nearest even, NaN stays NaN.
#ifndef BASE_FP_H
#define BASE_FP_H

#include <stdint.h>
#include <string.h>

static inline uint32_t f32_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float f32_from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float bf16_to_f32(uint16_t h)
{
    return f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t bf16_from_f32(float f)
{
    uint32_t bits = f32_bits(f);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) |
                          0x40); // quiet the NaN: rounding could carry it to infinity
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
    if (exponent == 31)
        return f32_from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent)
        return f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * 0x1p-24f; // zero and subnormals, exact in f32
    return f32_from_bits(sign | f32_bits(magnitude));
}

static inline uint16_t f16_from_f32(float f)
{
    uint32_t bits = f32_bits(f), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000u) // 65520 and up round to infinity
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000u) { // below 2^-14: subnormal; adding 0.5 rounds at bit 2^-24
        float shifted = f32_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (f32_bits(shifted) - 0x3f000000u));
    }
    uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

// E4M3FN: 1 sign, 4 exponent (bias 7), 3 mantissa bits; largest 448, no infinities, 0x7f and 0xff NaN.
// Source: OCP 8-bit Floating Point Specification.
static inline float f8e4m3_to_f32(uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 0x80) << 24, magnitude = code & 0x7f;
    if (magnitude == 0x7f)
        return f32_from_bits(sign | 0x7fc00000u);
    if (magnitude >= 8)
        return f32_from_bits(sign | ((magnitude << 20) + (120u << 23)));
    float subnormal = (float)magnitude * 0x1p-9f; // exact
    return f32_from_bits(sign | f32_bits(subnormal));
}

// Saturates: values beyond 448, also infinity, become 448.
static inline uint8_t f8e4m3_from_f32(float f)
{
    uint32_t bits = f32_bits(f), sign = (bits >> 24) & 0x80, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint8_t)(sign | 0x7f);
    if (magnitude >= 0x43e00000u) // 448
        return (uint8_t)(sign | 0x7e);
    if (magnitude < 0x3c800000u) { // below 2^-6: subnormal; adding 2^14 rounds at bit 2^-9
        float shifted = f32_from_bits(magnitude) + 0x1p14f;
        return (uint8_t)(sign | (f32_bits(shifted) - 0x46800000u));
    }
    uint32_t rounded = magnitude + 0x7ffff + ((magnitude >> 20) & 1);
    return (uint8_t)(sign | ((rounded - (120u << 23)) >> 20));
}

#endif
