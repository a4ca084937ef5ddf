// stored.c - the table of types in which files store tensors, and conversion of rows to f32 and back.
#include "engine/load/stored.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/fp.h"
#include "base/str.h"

static void expand_f32(float *out, const unsigned char *src)
{
    memcpy(out, src, sizeof *out);
}

static void expand_bf16(float *out, const unsigned char *src)
{
    *out = bf16_to_f32((uint16_t)(src[0] | src[1] << 8));
}

static void expand_f16(float *out, const unsigned char *src)
{
    *out = f16_to_f32((uint16_t)(src[0] | src[1] << 8));
}

static void expand_f8(float *out, const unsigned char *src)
{
    *out = f8e4m3_to_f32(*src);
}

static void shrink_f32(unsigned char *dst, const float *x)
{
    memcpy(dst, x, sizeof *x);
}

static void put_u16(unsigned char *dst, uint16_t bits)
{
    dst[0] = (unsigned char)bits;
    dst[1] = (unsigned char)(bits >> 8);
}

static void shrink_bf16(unsigned char *dst, const float *x)
{
    put_u16(dst, bf16_from_f32(*x));
}

static void shrink_f16(unsigned char *dst, const float *x)
{
    put_u16(dst, f16_from_f32(*x));
}

// ---- the table ------------------------------------------------------------------------------------

#define NO_GGML NULL, -1

static const struct stored_type types[] = {
    {"f32", "F32", "F32", 0, 1, 4, DT_F32, expand_f32, shrink_f32},
    {"f16", "F16", "F16", 1, 1, 2, DT_F16, expand_f16, shrink_f16},
    {"bf16", "BF16", "BF16", 30, 1, 2, DT_BF16, expand_bf16, shrink_bf16},
    {"f8e4m3", "F8_E4M3", NO_GGML, 1, 1, DT_F8E4M3, expand_f8, NULL},
    {"q8_0", NULL, "Q8_0", 8, 32, 34, DT_F32, stored_expand_q8_0, stored_shrink_q8_0},
    {"q4_0", NULL, "Q4_0", 2, 32, 18, DT_F32, stored_expand_q4_0, stored_shrink_q4_0},
    {"q4_1", NULL, "Q4_1", 3, 32, 20, DT_F32, stored_expand_q4_1, NULL},
    {"q5_0", NULL, "Q5_0", 6, 32, 22, DT_F32, stored_expand_q5_0, NULL},
    {"q5_1", NULL, "Q5_1", 7, 32, 24, DT_F32, stored_expand_q5_1, NULL},
    {"q4_k", NULL, "Q4_K", 12, 256, 144, DT_F32, stored_expand_q4_k, NULL},
    {"q5_k", NULL, "Q5_K", 13, 256, 176, DT_F32, stored_expand_q5_k, NULL},
    {"q6_k", NULL, "Q6_K", 14, 256, 210, DT_F32, stored_expand_q6_k, NULL},
    // Only the size is known: codes and scales of quantized checkpoints, and types that store no weights.
    {"i8", "I8", "I8", 24, 1, 1, DT_F32, NULL, NULL},
    {"i16", "I16", "I16", 25, 1, 2, DT_F32, NULL, NULL},
    {"i32", "I32", "I32", 26, 1, 4, DT_F32, NULL, NULL},
    {"i64", "I64", "I64", 27, 1, 8, DT_F32, NULL, NULL},
    {"f64", "F64", "F64", 28, 1, 8, DT_F32, NULL, NULL},
    {"u8", "U8", NO_GGML, 1, 1, DT_F32, NULL, NULL},
    {"u16", "U16", NO_GGML, 1, 2, DT_F32, NULL, NULL},
    {"u32", "U32", NO_GGML, 1, 4, DT_F32, NULL, NULL},
    {"u64", "U64", NO_GGML, 1, 8, DT_F32, NULL, NULL},
    {"bool", "BOOL", NO_GGML, 1, 1, DT_F32, NULL, NULL},
    {"f8e5m2", "F8_E5M2", NO_GGML, 1, 1, DT_F32, NULL, NULL},
    {"f8e8m0", "F8_E8M0", NO_GGML, 1, 1, DT_F32, NULL, NULL},
    {"c64", "C64", NO_GGML, 1, 8, DT_F32, NULL, NULL},
};
enum { TYPE_COUNT = sizeof types / sizeof *types };

const struct stored_type *const stored_f32 = &types[0];

const struct stored_type *stored_find(const char *name)
{
    for (int i = 0; i < TYPE_COUNT; i++)
        if (str_equal(types[i].name, name))
            return &types[i];
    return NULL;
}

const struct stored_type *stored_find_safetensors(const char *dtype)
{
    for (int i = 0; i < TYPE_COUNT; i++)
        if (dtype && str_equal(types[i].safetensors, dtype))
            return &types[i];
    return NULL;
}

const struct stored_type *stored_find_ggml(uint32_t number)
{
    for (int i = 0; i < TYPE_COUNT; i++)
        if (types[i].ggml && (uint32_t)types[i].ggml_number == number)
            return &types[i];
    return NULL;
}

char *stored_ggml_names(char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < TYPE_COUNT && used < out_bytes; i++)
        if (types[i].ggml && types[i].expand)
            used += (size_t)snprintf(out + used, out_bytes - used, "%s%s", used ? ", " : "",
                                     types[i].ggml);
    return out;
}

size_t stored_writable(const char **out, size_t max)
{
    size_t count = 0;
    for (int i = 0; i < TYPE_COUNT && count < max; i++)
        if (types[i].ggml && types[i].shrink)
            out[count++] = types[i].name;
    return count;
}

const char *stored_ggml_name(uint32_t number)
{
    static const char *const names[] = {
        "F32",     "F16",    "Q4_0",    "Q4_1",  "Q4_2",   "Q4_3",  "Q5_0",  "Q5_1",
        "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
        "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
        "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16"};
    return number < sizeof names / sizeof *names ? names[number] : "unknown";
}

// ---- rows -----------------------------------------------------------------------------------------

size_t stored_bytes(const struct stored_type *type, size_t n)
{
    assert(n % (size_t)type->block == 0);
    return n / (size_t)type->block * (size_t)type->bytes;
}

// Converts f16 bits to f32 without a branch, so that the compiler vectorizes the loop below. Exponents are shifted,
// infinities and NaNs moved to f32's, subnormals normalised by an exact subtraction without a subnormal operand.
static inline float f16_widen(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, bits = (uint32_t)(h & 0x7fff) << 13;
    uint32_t exponent = bits & 0x0f800000;
    uint32_t high = bits + (112u << 23) + (exponent == 0x0f800000 ? 112u << 23 : 0);
    float low = f32_from_bits(bits + (113u << 23)) - f32_from_bits(113u << 23);
    return f32_from_bits(sign | (exponent == 0 ? f32_bits(low) : high));
}

// The common plain types have loops of their own: loading spends its time here.
void stored_to_f32(float *dst, const unsigned char *src, const struct stored_type *type, size_t n)
{
    uint16_t half;
    assert(type->expand && n % (size_t)type->block == 0);
    if (type->expand == expand_f32) {
        memcpy(dst, src, n * sizeof *dst);
    } else if (type->expand == expand_bf16) {
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, src + 2 * i, 2);
            dst[i] = bf16_to_f32(half);
        }
    } else if (type->expand == expand_f16) {
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, src + 2 * i, 2);
            dst[i] = f16_widen(half);
        }
    } else {
        for (size_t i = 0; i < n; i += (size_t)type->block, src += type->bytes)
            type->expand(dst + i, src);
    }
}

void stored_from_f32(unsigned char *dst, const float *src, const struct stored_type *type, size_t n)
{
    assert(type->shrink && n % (size_t)type->block == 0);
    for (size_t i = 0; i < n; i += (size_t)type->block, dst += type->bytes)
        type->shrink(dst, src + i);
}
