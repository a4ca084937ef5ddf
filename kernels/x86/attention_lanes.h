// attention_lanes.h - the inner loops of attention in f32, for any type of cache.
//
// A file defines row_tail and TILE_REGISTERS before it includes this, and provides the functions declared here. The
// dispatch in product_columns picks how many registers of columns a tile has. Each count is a copy of product_tile in
// which it is a constant.
#ifdef KERNELS_X86_LANES
#ifndef KERNELS_X86_ATTENTION_LANES_H
#define KERNELS_X86_ATTENTION_LANES_H

#include "kernels/attention.h"
#include "kernels/x86/exp_lanes.h"

enum { TILE_ROWS = 6 };

struct product {
    float *c;
    const float *a, *b;
    size_t ldc, lda, ldb;
    int depth;
    bool accumulate;
};

// LANES elements from `at` on as f32, zero outside the tail `there`. type is a constant at each call.
INLINE f32s widen(enum dtype type, const void *from, size_t at, row_tail there);
INLINE row_tail tail_of(int left);
INLINE void transpose(f32s r[LANES]);
// At most TILE_ROWS rows and TILE_REGISTERS registers.
static void product_columns(const struct product *p, int rows, int registers);

// ---- keys and values into the scratch ------------------------------------------------------------------

// LANES positions of `count` from p on, transposed.
INLINE void put_register(enum dtype type, float *to, const void *from, int p, int count,
                         int head_dim)
{
    for (int i = 0; i < head_dim; i += LANES) {
        f32s r[LANES];
        row_tail there = tail_of(head_dim - i);
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++) {
            size_t at = (size_t)(p + j) * (size_t)head_dim + (size_t)i;
            r[j] = p + j < count ? widen(type, from, at, there) : f32_zero();
        }
        transpose(r);
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++)
            f32_store_whole(to + (size_t)(i + j) * ATTENTION_KEYS + p, r[j]);
    }
}

// Sixteen positions per step for any LANES: the scratch is zero up to the next multiple of 16.
INLINE void put_keys(enum dtype type, float *to, const void *from, int count, int head_dim)
{
    for (int p = 0; p < count; p += 16)
        for (int part = 0; part < 16; part += LANES)
            put_register(type, to, from, p + part, count, head_dim);
}

INLINE void put_values(enum dtype type, float *to, const void *from, int count, int head_dim, int d)
{
    for (int p = 0; p < count; p++)
        for (int i = 0; i < d; i += LANES)
            f32_store_whole(
                to + (size_t)p * (size_t)d + i,
                widen(type, from, (size_t)p * (size_t)head_dim + (size_t)i, tail_of(head_dim - i)));
}

// ---- the products --------------------------------------------------------------------------------------

// R rows by C registers of columns; both are constants at each call, so the sums are registers.
INLINE void product_tile(const struct product *p, const int R, const int C)
{
    f32s sum[TILE_ROWS][TILE_REGISTERS];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++)
            sum[r][c] =
                p->accumulate ? f32_load_whole(p->c + (size_t)r * p->ldc + c * LANES) : f32_zero();
    const float *a = p->a, *b = p->b;
    for (int k = 0; k < p->depth; k++, a++, b += p->ldb) {
        f32s columns[TILE_REGISTERS];
#pragma GCC unroll 4
        for (int c = 0; c < C; c++)
            columns[c] = f32_load_whole(b + c * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            f32s row = f32_all(a[(size_t)r * p->lda]);
#pragma GCC unroll 4
            for (int c = 0; c < C; c++)
                sum[r][c] = f32_fma(row, columns[c], sum[r][c]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++)
            f32_store_whole(p->c + (size_t)r * p->ldc + c * LANES, sum[r][c]);
}

INLINE void product_rows(const struct product *p, int rows, const int C)
{
    switch (rows) {
    case 1:
        product_tile(p, 1, C);
        break;
    case 2:
        product_tile(p, 2, C);
        break;
    case 3:
        product_tile(p, 3, C);
        break;
    case 4:
        product_tile(p, 4, C);
        break;
    case 5:
        product_tile(p, 5, C);
        break;
    default:
        product_tile(p, 6, C);
        break;
    }
}

// Columns are cut evenly: with four registers per tile, 80 are 48 and 32, not 64 and 16.
static void product(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb,
                    int rows, int depth, int cols, bool accumulate)
{
    int registers = cols / LANES, cuts = (registers + TILE_REGISTERS - 1) / TILE_REGISTERS;
    for (int cut = 0; cut < cuts; cut++) {
        int from = registers * cut / cuts, to = registers * (cut + 1) / cuts;
        for (int r = 0; r < rows; r += TILE_ROWS) {
            struct product p = {
                .c = c + (size_t)r * ldc + from * LANES,
                .a = a + (size_t)r * lda,
                .b = b + from * LANES,
                .ldc = ldc,
                .lda = lda,
                .ldb = ldb,
                .depth = depth,
                .accumulate = accumulate,
            };
            product_columns(&p, rows - r < TILE_ROWS ? rows - r : TILE_ROWS, to - from);
        }
    }
}

// ---- softmax -------------------------------------------------------------------------------------------

// The lanes, from position i on, that the row sees.
INLINE lane_mask seen(const struct attention_row *row, int i)
{
    return lanes_between(row->begin - i, row->end - i);
}

static float softmax(struct attention_row *row)
{
    f32s max = f32_all(row->max), sum = f32_zero();
    for (int i = 0; i < row->count; i += LANES) {
        f32s score = f32_load_whole(row->scores + i);
        if (row->softcap != 0) {
            score = softcap_lanes(score, row->softcap);
            f32_store_whole(row->scores + i, score);
        }
        max = f32_max_where(seen(row, i), max, score);
    }
    row->max = f32_largest(max);
    max = f32_all(row->max);
    for (int i = 0; i < row->count; i += LANES) {
        f32s e = exp_lanes(f32_sub(f32_load_whole(row->scores + i), max));
        e = f32_keep(seen(row, i), e);
        f32_store_whole(row->scores + i, e);
        sum = f32_add(sum, e);
    }
    return f32_sum(sum);
}

static void scale(float *row, int n, float factor)
{
    for (int i = 0; i < n; i += LANES)
        f32_store_whole(row + i, f32_mul(f32_load_whole(row + i), f32_all(factor)));
}

// ---- the variants --------------------------------------------------------------------------------------

// The variant of one type of cache, whose elements take `bytes`. It has its own copies of put_keys and put_values, in
// which the type is a constant.
#define ATTENTION_VARIANT(function, type, bytes)                                                   \
    static void function##_keys(float *to, const void *from, int count, int head_dim)              \
    {                                                                                              \
        put_keys(type, to, from, count, head_dim);                                                 \
    }                                                                                              \
    static void function##_values(float *to, const void *from, int count, int head_dim, int d)     \
    {                                                                                              \
        put_values(type, to, from, count, head_dim, d);                                            \
    }                                                                                              \
    void function(const struct k_attention *job)                                                   \
    {                                                                                              \
        static const struct attention_ops ops = {                                                  \
            .element_bytes = (bytes),                                                              \
            .keys = function##_keys,                                                               \
            .values = function##_values,                                                           \
            .product = product,                                                                    \
            .softmax = softmax,                                                                    \
            .scale = scale,                                                                        \
        };                                                                                         \
        kernel_attention_run(&ops, job);                                                           \
    }

#endif
#endif
