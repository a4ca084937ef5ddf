// element.h - one element of an activation or cache type as f32, for portable kernels.
//
// For i8 and f8 it is the code without its scale. `type` is a constant at each call, so the branches fold away.
#ifndef KERNELS_REF_ELEMENT_H
#define KERNELS_REF_ELEMENT_H

#include "base/fp.h"
#include "kernels/kernels.h"

static inline size_t element_bytes(enum dtype type)
{
    return type == DT_F32 ? 4 : type == DT_I8 || type == DT_F8E4M3 ? 1 : 2;
}

static inline float element_get(enum dtype type, const void *array, size_t i)
{
    if (type == DT_F32)
        return ((const float *)array)[i];
    if (type == DT_I8)
        return ((const int8_t *)array)[i];
    if (type == DT_F8E4M3)
        return f8e4m3_to_f32(((const uint8_t *)array)[i]);
    uint16_t half = ((const uint16_t *)array)[i];
    return type == DT_BF16 ? bf16_to_f32(half) : f16_to_f32(half);
}

// Plain types only; quantized types are written row by row.
static inline void element_set(enum dtype type, void *array, size_t i, float value)
{
    if (type == DT_F32)
        ((float *)array)[i] = value;
    else
        ((uint16_t *)array)[i] = type == DT_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
}

#endif
