// attention_avx512.c - the inner loops of attention with 512-bit f32 multiply-adds.
//
// Both products hold 6 rows by 64 columns (24 sums) in registers. Queries and weights stay f32 whatever
// the cache holds; keys and values become f32 on the way into the scratch.
#include "kernels/attention.h"
#include "kernels/variants.h"

#include <immintrin.h>

#include "kernels/x86/exp_avx512.h"

enum { LANES = 16, TILE_ROWS = 6, TILE_REGISTERS = 4 };

#define INLINE static inline __attribute__((always_inline))

INLINE __mmask16 lanes_left(int left)
{
    return (__mmask16)(left >= LANES ? 0xffff : left <= 0 ? 0 : (1u << left) - 1);
}

// ---- keys and values into the scratch ------------------------------------------------------------------

// 16 E4M3 codes as f32: exponent and mantissa move to where f32 has them and the bias grows by 120;
// below 2^-6 a code is its mantissa times 2^-9.
INLINE __m512 widen_f8(__m128i codes)
{
    __m512i code = _mm512_cvtepu8_epi32(codes);
    __m512i magnitude = _mm512_and_si512(code, _mm512_set1_epi32(0x7f));
    __m512i bits = _mm512_add_epi32(_mm512_slli_epi32(magnitude, 20), _mm512_set1_epi32(120 << 23));
    __mmask16 small = _mm512_cmplt_epu32_mask(magnitude, _mm512_set1_epi32(8));
    __m512 value = _mm512_mask_mul_ps(_mm512_castsi512_ps(bits), small,
                                      _mm512_cvtepi32_ps(magnitude), _mm512_set1_ps(0x1p-9f));
    __m512i sign = _mm512_slli_epi32(_mm512_srli_epi32(code, 7), 31);
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(value), sign));
}

// 16 elements from `at` on as f32, those in `there`. type is a constant wherever this is used.
INLINE __m512 widen(enum dtype type, const void *from, size_t at, __mmask16 there)
{
    if (type == DT_F32)
        return _mm512_maskz_loadu_ps(there, (const float *)from + at);
    if (type == DT_I8 || type == DT_F8E4M3) {
        __m128i codes = _mm_maskz_loadu_epi8(there, (const uint8_t *)from + at);
        return type == DT_I8 ? _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)) : widen_f8(codes);
    }
    __m256i halves = _mm256_maskz_loadu_epi16(there, (const uint16_t *)from + at);
    if (type == DT_F16)
        return _mm512_cvtph_ps(halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// Pairs of registers, 4 x 4 blocks of lanes, then blocks of blocks: 64 shuffles for 256 elements.
INLINE void transpose(__m512 r[LANES])
{
    __m512 t[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i += 4) {
        __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(r[i], r[i + 1]));
        __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(r[i], r[i + 1]));
        __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(r[i + 2], r[i + 3]));
        __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(r[i + 2], r[i + 3]));
        t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
        __m512 b = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
        __m512 c = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
        __m512 d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
        r[i] = _mm512_shuffle_f32x4(a, b, 0x88);
        r[i + 4] = _mm512_shuffle_f32x4(c, d, 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(a, b, 0xdd);
        r[i + 12] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
}

INLINE void put_keys(enum dtype type, float *to, const void *from, int count, int head_dim)
{
    for (int p = 0; p < count; p += LANES)
        for (int i = 0; i < head_dim; i += LANES) {
            __m512 r[LANES];
            __mmask16 there = lanes_left(head_dim - i);
#pragma GCC unroll 16
            for (int j = 0; j < LANES; j++)
                r[j] = p + j < count ? widen(type, from,
                                             (size_t)(p + j) * (size_t)head_dim + (size_t)i, there)
                                     : _mm512_setzero_ps();
            transpose(r);
#pragma GCC unroll 16
            for (int j = 0; j < LANES; j++)
                _mm512_store_ps(to + (size_t)(i + j) * ATTENTION_KEYS + p, r[j]);
        }
}

INLINE void put_values(enum dtype type, float *to, const void *from, int count, int head_dim, int d)
{
    for (int p = 0; p < count; p++)
        for (int i = 0; i < d; i += LANES)
            _mm512_store_ps(to + (size_t)p * (size_t)d + i,
                            widen(type, from, (size_t)p * (size_t)head_dim + (size_t)i,
                                  lanes_left(head_dim - i)));
}

// ---- the products --------------------------------------------------------------------------------------

struct product {
    float *c;
    const float *a, *b;
    size_t ldc, lda, ldb;
    int depth;
    bool accumulate;
};

// R rows by C registers of columns; both are constants wherever this is used.
INLINE void product_tile(const struct product *p, const int R, const int C)
{
    __m512 sum[TILE_ROWS][TILE_REGISTERS];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++)
            sum[r][c] = p->accumulate ? _mm512_load_ps(p->c + (size_t)r * p->ldc + c * LANES)
                                      : _mm512_setzero_ps();
    const float *a = p->a, *b = p->b;
    for (int k = 0; k < p->depth; k++, a++, b += p->ldb) {
        __m512 columns[TILE_REGISTERS];
#pragma GCC unroll 4
        for (int c = 0; c < C; c++)
            columns[c] = _mm512_load_ps(b + c * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            __m512 row = _mm512_set1_ps(a[(size_t)r * p->lda]);
#pragma GCC unroll 4
            for (int c = 0; c < C; c++)
                sum[r][c] = _mm512_fmadd_ps(row, columns[c], sum[r][c]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++)
            _mm512_store_ps(p->c + (size_t)r * p->ldc + c * LANES, sum[r][c]);
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

static void product_any(const struct product *p, int rows, int registers)
{
    switch (registers) {
    case 1:
        product_rows(p, rows, 1);
        break;
    case 2:
        product_rows(p, rows, 2);
        break;
    case 3:
        product_rows(p, rows, 3);
        break;
    default:
        product_rows(p, rows, 4);
        break;
    }
}

// Columns are cut evenly: 80 are 48 and 32, not 64 and 16.
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
            product_any(&p, rows - r < TILE_ROWS ? rows - r : TILE_ROWS, to - from);
        }
    }
}

// ---- softmax -------------------------------------------------------------------------------------------

// softcap * tanh(x / softcap), tanh(z) = 1 - 2 / (exp(2 z) + 1).
static __m512 capped(__m512 x, float softcap)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 e = exp_avx512(_mm512_mul_ps(x, _mm512_set1_ps(2 / softcap)));
    __m512 tanh = _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0f), _mm512_add_ps(e, one)));
    return _mm512_mul_ps(tanh, _mm512_set1_ps(softcap));
}

INLINE __mmask16 seen(const struct attention_row *row, int i)
{
    return (__mmask16)(lanes_left(row->end - i) & ~lanes_left(row->begin - i));
}

static float softmax(struct attention_row *row)
{
    __m512 max = _mm512_set1_ps(row->max), sum = _mm512_setzero_ps();
    for (int i = 0; i < row->count; i += LANES) {
        __m512 score = _mm512_load_ps(row->scores + i);
        if (row->softcap != 0) {
            score = capped(score, row->softcap);
            _mm512_store_ps(row->scores + i, score);
        }
        max = _mm512_mask_max_ps(max, seen(row, i), max, score);
    }
    row->max = _mm512_reduce_max_ps(max);
    max = _mm512_set1_ps(row->max);
    for (int i = 0; i < row->count; i += LANES) {
        __m512 e = exp_avx512(_mm512_sub_ps(_mm512_load_ps(row->scores + i), max));
        e = _mm512_maskz_mov_ps(seen(row, i), e);
        _mm512_store_ps(row->scores + i, e);
        sum = _mm512_add_ps(sum, e);
    }
    return _mm512_reduce_add_ps(sum);
}

static void scale(float *row, int n, float factor)
{
    for (int i = 0; i < n; i += LANES)
        _mm512_store_ps(row + i, _mm512_mul_ps(_mm512_load_ps(row + i), _mm512_set1_ps(factor)));
}

// ---- one row of the registry for each type of cache ----------------------------------------------------

static void keys_f32(float *to, const void *from, int count, int head_dim)
{
    put_keys(DT_F32, to, from, count, head_dim);
}

static void keys_bf16(float *to, const void *from, int count, int head_dim)
{
    put_keys(DT_BF16, to, from, count, head_dim);
}

static void keys_f16(float *to, const void *from, int count, int head_dim)
{
    put_keys(DT_F16, to, from, count, head_dim);
}

static void keys_i8(float *to, const void *from, int count, int head_dim)
{
    put_keys(DT_I8, to, from, count, head_dim);
}

static void keys_f8(float *to, const void *from, int count, int head_dim)
{
    put_keys(DT_F8E4M3, to, from, count, head_dim);
}

static void values_f32(float *to, const void *from, int count, int head_dim, int d)
{
    put_values(DT_F32, to, from, count, head_dim, d);
}

static void values_bf16(float *to, const void *from, int count, int head_dim, int d)
{
    put_values(DT_BF16, to, from, count, head_dim, d);
}

static void values_f16(float *to, const void *from, int count, int head_dim, int d)
{
    put_values(DT_F16, to, from, count, head_dim, d);
}

static void values_i8(float *to, const void *from, int count, int head_dim, int d)
{
    put_values(DT_I8, to, from, count, head_dim, d);
}

static void values_f8(float *to, const void *from, int count, int head_dim, int d)
{
    put_values(DT_F8E4M3, to, from, count, head_dim, d);
}

void k_attention_f32_f32_avx512(const struct k_attention *job)
{
    static const struct attention_ops ops = {4, keys_f32, values_f32, product, softmax, scale};
    attention_run(&ops, job);
}

void k_attention_bf16_f32_avx512(const struct k_attention *job)
{
    static const struct attention_ops ops = {2, keys_bf16, values_bf16, product, softmax, scale};
    attention_run(&ops, job);
}

void k_attention_f16_f32_avx512(const struct k_attention *job)
{
    static const struct attention_ops ops = {2, keys_f16, values_f16, product, softmax, scale};
    attention_run(&ops, job);
}

void k_attention_i8_f32_avx512(const struct k_attention *job)
{
    static const struct attention_ops ops = {1, keys_i8, values_i8, product, softmax, scale};
    attention_run(&ops, job);
}

void k_attention_f8e4m3_f32_avx512(const struct k_attention *job)
{
    static const struct attention_ops ops = {1, keys_f8, values_f8, product, softmax, scale};
    attention_run(&ops, job);
}
