// attention_avx2.c - the inner loops of attention with 256-bit f32 multiply-adds.
//
// As attention_avx512.c, with tiles of 6 rows by 16 columns: 12 sums, 2 columns and a broadcast take 15
// of the 16 registers.
#include "kernels/attention.h"
#include "kernels/variants.h"

#include <immintrin.h>

#include "kernels/x86/exp_avx2.h"

enum { LANES = 8, TILE_ROWS = 6 };

#define INLINE static inline __attribute__((always_inline))

// Lanes [0, left) all ones.
INLINE __m256i lanes_left(int left)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// ---- keys and values into the scratch ------------------------------------------------------------------

// Up to 8 elements as f32, zero beyond `left`. type is a constant wherever this is used.
INLINE __m256 widen(enum dtype type, const void *from, size_t at, int left)
{
    if (type == DT_F32) {
        const float *f = (const float *)from + at;
        return left >= LANES ? _mm256_loadu_ps(f) : _mm256_maskload_ps(f, lanes_left(left));
    }
    uint16_t lanes[LANES] = {0};
    const uint16_t *h = (const uint16_t *)from + at;
    for (int i = 0; left < LANES && i < left; i++)
        lanes[i] = h[i];
    __m128i halves = _mm_loadu_si128((const void *)(left >= LANES ? h : lanes));
    if (type == DT_F16)
        return _mm256_cvtph_ps(halves);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

INLINE void transpose(__m256 r[LANES])
{
    __m256 t[LANES];
#pragma GCC unroll 2
    for (int i = 0; i < LANES; i += 4) {
        __m256 a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
        __m256 c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]),
               d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

INLINE void put_keys(enum dtype type, float *to, const void *from, int count, int head_dim)
{
    int whole = (count + 15) / 16 * 16;
    for (int p = 0; p < whole; p += LANES)
        for (int i = 0; i < head_dim; i += LANES) {
            __m256 r[LANES];
            for (int j = 0; j < LANES; j++) {
                size_t at = (size_t)(p + j) * (size_t)head_dim + (size_t)i;
                r[j] = p + j < count ? widen(type, from, at, head_dim - i) : _mm256_setzero_ps();
            }
            transpose(r);
            for (int j = 0; j < LANES; j++)
                _mm256_store_ps(to + (size_t)(i + j) * ATTENTION_KEYS + p, r[j]);
        }
}

INLINE void put_values(enum dtype type, float *to, const void *from, int count, int head_dim, int d)
{
    for (int p = 0; p < count; p++)
        for (int i = 0; i < d; i += LANES)
            _mm256_store_ps(
                to + (size_t)p * (size_t)d + i,
                widen(type, from, (size_t)p * (size_t)head_dim + (size_t)i, head_dim - i));
}

// ---- the products --------------------------------------------------------------------------------------

struct product {
    float *c;
    const float *a, *b;
    size_t ldc, lda, ldb;
    int depth;
    bool accumulate;
};

// R rows by 16 columns; R is a constant wherever this is used.
INLINE void product_tile(const struct product *p, const int R)
{
    __m256 sum[TILE_ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int c = 0; c < 2; c++)
            sum[r][c] = p->accumulate ? _mm256_load_ps(p->c + (size_t)r * p->ldc + c * LANES)
                                      : _mm256_setzero_ps();
    const float *a = p->a, *b = p->b;
    for (int k = 0; k < p->depth; k++, a++, b += p->ldb) {
        __m256 left = _mm256_load_ps(b), right = _mm256_load_ps(b + LANES);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            __m256 row = _mm256_broadcast_ss(a + (size_t)r * p->lda);
            sum[r][0] = _mm256_fmadd_ps(row, left, sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(row, right, sum[r][1]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int c = 0; c < 2; c++)
            _mm256_store_ps(p->c + (size_t)r * p->ldc + c * LANES, sum[r][c]);
}

static void product_rows(const struct product *p, int rows)
{
    switch (rows) {
    case 1:
        product_tile(p, 1);
        break;
    case 2:
        product_tile(p, 2);
        break;
    case 3:
        product_tile(p, 3);
        break;
    case 4:
        product_tile(p, 4);
        break;
    case 5:
        product_tile(p, 5);
        break;
    default:
        product_tile(p, 6);
        break;
    }
}

static void product(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb,
                    int rows, int depth, int cols, bool accumulate)
{
    for (int from = 0; from < cols; from += 2 * LANES)
        for (int r = 0; r < rows; r += TILE_ROWS) {
            struct product p = {
                .c = c + (size_t)r * ldc + from,
                .a = a + (size_t)r * lda,
                .b = b + from,
                .ldc = ldc,
                .lda = lda,
                .ldb = ldb,
                .depth = depth,
                .accumulate = accumulate,
            };
            product_rows(&p, rows - r < TILE_ROWS ? rows - r : TILE_ROWS);
        }
}

// ---- softmax -------------------------------------------------------------------------------------------

// softcap * tanh(x / softcap), tanh(z) = 1 - 2 / (exp(2 z) + 1).
static __m256 capped(__m256 x, float softcap)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 e = exp_avx2(_mm256_mul_ps(x, _mm256_set1_ps(2 / softcap)));
    __m256 tanh = _mm256_sub_ps(one, _mm256_div_ps(_mm256_set1_ps(2.0f), _mm256_add_ps(e, one)));
    return _mm256_mul_ps(tanh, _mm256_set1_ps(softcap));
}

// All ones in the lanes of positions i.. that the row sees.
INLINE __m256 seen(const struct attention_row *row, int i)
{
    __m256i before = lanes_left(row->begin - i);
    return _mm256_castsi256_ps(_mm256_andnot_si256(before, lanes_left(row->end - i)));
}

static float softmax(struct attention_row *row)
{
    float lanes[LANES], total = 0;
    __m256 max = _mm256_set1_ps(row->max), sum = _mm256_setzero_ps();
    for (int i = 0; i < row->count; i += LANES) {
        __m256 score = _mm256_load_ps(row->scores + i);
        if (row->softcap != 0) {
            score = capped(score, row->softcap);
            _mm256_store_ps(row->scores + i, score);
        }
        max = _mm256_max_ps(max, _mm256_blendv_ps(max, score, seen(row, i)));
    }
    _mm256_storeu_ps(lanes, max);
    for (int i = 0; i < LANES; i++)
        row->max = lanes[i] > row->max ? lanes[i] : row->max;
    max = _mm256_set1_ps(row->max);
    for (int i = 0; i < row->count; i += LANES) {
        __m256 e = exp_avx2(_mm256_sub_ps(_mm256_load_ps(row->scores + i), max));
        e = _mm256_and_ps(e, seen(row, i));
        _mm256_store_ps(row->scores + i, e);
        sum = _mm256_add_ps(sum, e);
    }
    _mm256_storeu_ps(lanes, sum);
    for (int i = 0; i < LANES; i++)
        total += lanes[i];
    return total;
}

static void scale(float *row, int n, float factor)
{
    for (int i = 0; i < n; i += LANES)
        _mm256_store_ps(row + i, _mm256_mul_ps(_mm256_load_ps(row + i), _mm256_set1_ps(factor)));
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

void k_attention_f32_f32_avx2(const struct k_attention *job)
{
    static const struct attention_ops ops = {4, keys_f32, values_f32, product, softmax, scale};
    attention_run(&ops, job);
}

void k_attention_bf16_f32_avx2(const struct k_attention *job)
{
    static const struct attention_ops ops = {2, keys_bf16, values_bf16, product, softmax, scale};
    attention_run(&ops, job);
}

void k_attention_f16_f32_avx2(const struct k_attention *job)
{
    static const struct attention_ops ops = {2, keys_f16, values_f16, product, softmax, scale};
    attention_run(&ops, job);
}
