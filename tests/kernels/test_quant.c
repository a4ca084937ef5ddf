// test_quant.c - quantized rows: what a code means, how rows round, and that packing loses nothing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fp.h"
#include "base/rng.h"
#include "kernels/quant.h"

enum { COLS = 400, ROWS = 40 };

// Buffers of one row, large enough for any shape here.
struct buffers {
    uint8_t codes[COLS], zeros[COLS];
    float scales[COLS];
};

static struct quant_row row_of(struct buffers *b)
{
    return (struct quant_row){b->codes, b->scales, b->zeros};
}

static void int8_is_symmetric_and_ties_go_to_even(void **state)
{
    (void)state;
    const float w[6] = {-127, 0.5f, 1.5f, 2.5f, -63.5f, 126.4f};
    const int expected[6] = {-127, 0, 2, 2, -64, 126};
    struct buffers b;
    quant_row_rtn(DT_I8, w, 6, 0, row_of(&b));
    assert_true(b.scales[0] == 1);
    for (int i = 0; i < 6; i++)
        assert_int_equal((int8_t)b.codes[i], expected[i]);
}

static void fp8_reaches_448_of_its_scale(void **state)
{
    (void)state;
    const float w[4] = {-896, 2, 0.5f, 3.25f};
    struct buffers b;
    float back[4];
    quant_row_rtn(DT_F8E4M3, w, 4, 0, row_of(&b));
    assert_true(b.scales[0] == 2);
    quant_row_expand(DT_F8E4M3, row_of(&b), 4, 0, back);
    for (int i = 0; i < 4; i++)
        assert_true(back[i] == w[i]);
    assert_int_equal(b.codes[0], 0xfe);
}

static void int4_is_asymmetric_in_groups(void **state)
{
    (void)state;
    float w[20], back[20];
    struct buffers b;
    for (int i = 0; i < 16; i++)
        w[i] = (float)(i - 5) * 0.25f; // 16 even steps: exact
    for (int i = 16; i < 20; i++)
        w[i] = (float)(i - 15) * 3; // 3..12, and 0 is in the range of every group
    quant_row_rtn(DT_I4, w, 20, 16, row_of(&b));
    assert_int_equal(quant_groups(DT_I4, 20, 16), 2);
    assert_true(b.scales[0] == 0.25f && b.zeros[0] == 5);
    assert_true(b.zeros[1] == 0 && b.scales[1] == f16_to_f32(f16_from_f32(12.0f / 15)));
    quant_row_expand(DT_I4, row_of(&b), 20, 16, back);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(b.codes[i], i);
        assert_true(back[i] == w[i]);
    }
    assert_int_equal(b.codes[19], 15);
}

// The scale is an f16 value, and the codes are those of the rounded scale.
static void int8_is_symmetric_in_groups(void **state)
{
    (void)state;
    float w[20] = {0}, back[20];
    struct buffers b;
    w[0] = -31.75f; // 127 steps of 0.25: exact
    w[1] = 0.375f;  // a tie: to the even code
    w[2] = 0.625f;
    w[16] = 100;
    w[17] = -100;
    quant_row_rtn(DT_I8G, w, 20, 16, row_of(&b));
    assert_int_equal(quant_groups(DT_I8G, 20, 16), 2);
    assert_true(b.scales[0] == 0.25f);
    assert_int_equal((int8_t)b.codes[0], -127);
    assert_int_equal(b.codes[1], 2);
    assert_int_equal(b.codes[2], 2);
    assert_true(b.scales[1] == f16_to_f32(f16_from_f32(100.0f / 127)));
    assert_true(b.codes[16] == 127 && (int8_t)b.codes[17] == -127);
    quant_row_expand(DT_I8G, row_of(&b), 20, 16, back);
    assert_true(back[0] == w[0] && back[1] == 0.5f && back[17] == -127 * b.scales[1]);
    w[16] = 3e38f; // beyond f16: the largest scale, and the largest code
    quant_row_rtn(DT_I8G, w, 20, 16, row_of(&b));
    assert_true(b.scales[1] == 65504 && b.codes[16] == 127);
    w[16] = 0x1p-24f * 100; // a scale of one denormal step
    w[17] = 0;
    quant_row_rtn(DT_I8G, w, 20, 16, row_of(&b));
    assert_true(b.scales[1] == 0x1p-24f && b.codes[16] == 100);
}

static void rows_of_zeros_and_of_nothing_finite(void **state)
{
    (void)state;
    static const enum dtype types[] = {DT_I8, DT_I4, DT_F8E4M3, DT_I8G};
    float zeros[9] = {0}, tiny[9] = {0x1p-101f}, bad[9] = {1, NAN}, huge[9] = {INFINITY, -1};
    for (int i = 0; i < 4; i++) {
        struct buffers b;
        float back[9];
        quant_row_rtn(types[i], zeros, 9, 16, row_of(&b));
        assert_true(b.scales[0] == 0 && b.codes[0] == 0);
        quant_row_rtn(types[i], tiny, 9, 16, row_of(&b));
        quant_row_expand(types[i], row_of(&b), 9, 16, back);
        assert_true(back[0] == 0);
        quant_row_rtn(types[i], bad, 9, 16, row_of(&b));
        assert_true(isnan(b.scales[0]));
        quant_row_rtn(types[i], huge, 9, 16, row_of(&b));
        assert_true(isnan(b.scales[0]));
    }
}

// No code is farther from its weight than half a step, f16's rounding of int4's scale included.
static void rounding_is_to_the_nearest(void **state)
{
    (void)state;
    struct rng rng = {(uint64_t)time(NULL)};
    printf("seed %llu\n", (unsigned long long)rng.state);
    for (int round = 0; round < 200; round++) {
        int cols = 1 + (int)rng_below(&rng, COLS), group = 8 * (1 + (int)rng_below(&rng, 20));
        float w[COLS], back[COLS], size = ldexpf(1, (int)rng_below(&rng, 20) - 10);
        struct buffers b;
        for (int i = 0; i < cols; i++)
            w[i] = (2 * rng_f32(&rng) - 1) * size;
        quant_row_rtn(DT_I8, w, cols, group, row_of(&b));
        quant_row_expand(DT_I8, row_of(&b), cols, group, back);
        for (int i = 0; i < cols; i++)
            assert_true(fabsf(back[i] - w[i]) <= b.scales[0] * 0.50001f);
        quant_row_rtn(DT_I8G, w, cols, group, row_of(&b));
        quant_row_expand(DT_I8G, row_of(&b), cols, group, back);
        for (int i = 0; i < cols; i++) { // the largest loses 127 times f16's rounding of the scale
            float scale = b.scales[i / group], lost = fmaxf(scale * 0x1p-11f, 0x1p-25f);
            assert_true(fabsf(back[i] - w[i]) <= scale * 0.501f + 127 * lost);
        }
        quant_row_rtn(DT_F8E4M3, w, cols, group, row_of(&b));
        quant_row_expand(DT_F8E4M3, row_of(&b), cols, group, back);
        for (int i = 0; i < cols; i++) // 3 mantissa bits; steps of 2^-9 below 2^-6
            assert_true(fabsf(back[i] - w[i]) <=
                        fmaxf(fabsf(w[i]) * 0x1.00001p-4f, b.scales[0] * 0x1.00001p-10f));
        quant_row_rtn(DT_I4, w, cols, group, row_of(&b));
        quant_row_expand(DT_I4, row_of(&b), cols, group, back);
        for (int i = 0; i < cols;
             i++) // zero rounds as well: half a step more, at the ends of the range
            assert_true(fabsf(back[i] - w[i]) <= b.scales[i / group] * 1.02f);
    }
}

static struct buffers random_row(struct rng *rng, enum dtype type, int cols, int groups)
{
    struct buffers b = {{0}, {0}, {0}};
    for (int i = 0; i < cols; i++)
        b.codes[i] = (uint8_t)(type == DT_I4 ? rng_below(rng, 16) : rng_below(rng, 256));
    for (int g = 0; g < groups; g++) {
        b.scales[g] = dtype_is_grouped(type) ? f16_to_f32((uint16_t)rng_below(rng, 0x7c00))
                                             : rng_f32(rng) * 10;
        b.zeros[g] = (uint8_t)(type == DT_I4 ? rng_below(rng, 16) : 0);
    }
    return b;
}

static void a_matrix_comes_back(enum dtype type, int rows, int cols, int group, struct rng *rng)
{
    static struct buffers in[ROWS];
    struct quant_row views[ROWS];
    int groups = quant_groups(type, cols, group);
    size_t panel = quant_panel_bytes(type, cols, group);
    unsigned char *packed = malloc(quant_packed_bytes(type, rows, cols, group));
    for (int r = 0; r < rows; r++) {
        in[r] = random_row(rng, type, cols, groups);
        views[r] = row_of(&in[r]);
    }
    for (int p = 0; p < kernel_panel_count(rows); p++)
        quant_pack_panel(type, views + p * 16, rows - p * 16 < 16 ? rows - p * 16 : 16, cols, group,
                         packed + (size_t)p * panel);
    for (int r = 0; r < rows; r++) {
        struct buffers b = {{0}, {0}, {0}};
        float expanded[COLS], direct[COLS];
        quant_unpack_row(type, packed, r, cols, group, row_of(&b));
        assert_memory_equal(b.codes, in[r].codes, cols);
        assert_memory_equal(b.scales, in[r].scales, (size_t)groups * sizeof(float));
        assert_memory_equal(b.zeros, in[r].zeros, groups);
        quant_row_expand(type, views[r], cols, group, expanded);
        quant_unpack_f32(type, packed, r, cols, group, direct);
        assert_memory_equal(expanded, direct, (size_t)cols * sizeof(float));
    }
    free(packed);
}

static void packing_loses_nothing(void **state)
{
    (void)state;
    static const enum dtype types[] = {DT_I8, DT_I4, DT_F8E4M3, DT_I8G};
    struct rng rng = {(uint64_t)time(NULL)};
    printf("seed %llu\n", (unsigned long long)rng.state);
    for (int round = 0; round < 60; round++) {
        int rows = 1 + (int)rng_below(&rng, ROWS), cols = 1 + (int)rng_below(&rng, COLS);
        int group = round % 3 ? QUANT_GROUP : 8 * (1 + (int)rng_below(&rng, 10));
        a_matrix_comes_back(types[round % 4], rows, cols, group, &rng);
    }
    a_matrix_comes_back(DT_I4, 16, 129, QUANT_GROUP, &rng);
    a_matrix_comes_back(DT_I8G, 17, 65, 32, &rng);
    a_matrix_comes_back(DT_I8, 17, 5, QUANT_GROUP, &rng);
}

static void bytes_a_weight(void **state)
{
    (void)state;
    // int4: 0.5 + 2.5 / 128, wherever the scales fill whole lines
    assert_int_equal(kernel_packed_bytes(DT_I4, 2048, 2048), 2048 * 2048 / 128 * 133 / 2);
    assert_int_equal(kernel_panel_bytes(DT_I4, 2048), 16 * 2048 / 2 + 16 * 40);
    assert_int_equal(kernel_panel_bytes(DT_I4, 5632), 16 * 5632 / 2 + 44 * 40 + 32);
    assert_int_equal(quant_panel_bytes(DT_I4, 2048, 64), 16 * 2048 / 2 + 32 * 40);
    assert_int_equal(quant_panel_bytes(DT_I8G, 2048, 32), 16 * 2048 + 64 * 32);
    assert_int_equal(quant_panel_bytes(DT_I8G, 2080, 32), 16 * 2080 + 65 * 32 + 32);
    assert_int_equal(kernel_panel_bytes(DT_I8, 2048), 16 * 2048 + 64);
    assert_int_equal(kernel_panel_bytes(DT_F8E4M3, 5), 2 * 64 + 64);
    assert_int_equal(quant_packed_bytes(DT_BF16, 33, 5, 0), kernel_packed_bytes(DT_BF16, 33, 5));
}

// The bits instruction sets rely on: four bytes a row, quads low and high.
static void codes_lie_in_quads(void **state)
{
    (void)state;
    struct buffers rows[16];
    struct quant_row views[16];
    unsigned char panel[64 + 2 * 64];
    for (int r = 0; r < 16; r++) {
        rows[r] = (struct buffers){{0}, {0}, {0}};
        views[r] = row_of(&rows[r]);
        for (int c = 0; c < 16; c++)
            rows[r].codes[c] = (uint8_t)((r + c) % 16);
        rows[r].scales[0] = (float)(r + 1);
        rows[r].zeros[0] = (uint8_t)r;
    }
    quant_pack_panel(DT_I4, views, 16, 16, QUANT_GROUP, panel);
    for (int r = 0; r < 16; r++) {
        uint16_t half;
        memcpy(&half, panel + 2 * r, 2);
        assert_true(f16_to_f32(half) == (float)(r + 1));
        assert_int_equal(panel[32 + r % 8] >> (r < 8 ? 0 : 4) & 15, r);
        for (int c = 0; c < 16; c++)
            assert_int_equal(panel[64 + c / 8 * 64 + r * 4 + c % 4] >> (c % 8 < 4 ? 0 : 4) & 15,
                             (r + c) % 16);
    }
    quant_pack_panel(DT_I8G, views, 16, 8, 32, panel);
    for (int r = 0; r < 16; r++) {
        uint16_t half;
        memcpy(&half, panel + 2 * r, 2);
        assert_true(f16_to_f32(half) == (float)(r + 1));
        for (int c = 0; c < 8; c++)
            assert_int_equal(panel[64 + c / 4 * 64 + r * 4 + c % 4], (r + c) % 16);
    }
    quant_pack_panel(DT_I8, views, 16, 8, 0, panel);
    for (int r = 0; r < 16; r++)
        for (int c = 0; c < 8; c++)
            assert_int_equal(panel[64 + c / 4 * 64 + r * 4 + c % 4], (r + c) % 16);
}

// The portable products against rows expanded and multiplied in double: ref itself has to be right.
static void a_product_is_what_the_rows_say(enum dtype w, enum dtype x, int cols, struct rng *rng)
{
    enum { TOKENS = 3, LDX = 512 };
    static struct buffers in[16];
    static unsigned char inputs[TOKENS * LDX * 2];
    struct quant_row views[16];
    float source[LDX], y[TOKENS][16], scales[TOKENS], expanded[COLS];
    size_t element = x == DT_BF16 ? 2 : 1;
    unsigned char *packed = malloc(kernel_panel_bytes(w, cols));
    k_cast_fn *cast = kernel_reference(KOP_CAST, DT_F32, x)->fn.cast;
    for (int r = 0; r < 16; r++) {
        for (int c = 0; c < cols; c++)
            source[c] = 2 * rng_f32(rng) - 1.3f;
        views[r] = row_of(&in[r]);
        quant_row_rtn(w, source, cols, QUANT_GROUP, views[r]);
    }
    quant_pack_panel(w, views, 16, cols, QUANT_GROUP, packed);
    for (int t = 0; t < TOKENS; t++) {
        for (int c = 0; c < cols; c++)
            source[c] = 4 * rng_f32(rng) - 2;
        scales[t] = cast(inputs + (size_t)t * LDX * element, source, cols, cols);
    }
    struct k_linear job = {.w = packed, .x = inputs, .y = &y[0][0], .tokens = TOKENS, .rows = 16};
    job.cols = cols;
    job.ldx = LDX;
    job.ldy = 16;
    job.x_scale = x == DT_BF16 ? NULL : scales;
    kernel_reference(KOP_GEMM, w, x)->fn.linear(&job, 0, 1);
    for (int r = 0; r < 16; r++) {
        quant_row_expand(w, views[r], cols, QUANT_GROUP, expanded);
        for (int t = 0; t < TOKENS; t++) {
            double sum = 0, size = 0;
            for (int c = 0; c < cols; c++) {
                const unsigned char *at = inputs + (size_t)(t * LDX + c) * element;
                uint16_t half;
                memcpy(&half, at, element);
                double input = x == DT_BF16 ? (double)bf16_to_f32(half)
                               : x == DT_I8 ? (double)(int8_t)*at * (double)scales[t]
                                            : (double)f8e4m3_to_f32(*at) * (double)scales[t];
                sum += input * (double)expanded[c];
                size += fabs(input * (double)expanded[c]);
            }
            assert_true(fabs(sum - (double)y[t][r]) <= 0x1p-22 * size);
        }
    }
    free(packed);
}

static void portable_products_are_what_rows_say(void **state)
{
    (void)state;
    struct rng rng = {(uint64_t)time(NULL)};
    printf("seed %llu\n", (unsigned long long)rng.state);
    for (int cols = 1; cols < COLS; cols += 57) {
        a_product_is_what_the_rows_say(DT_I8, DT_I8, cols, &rng);
        a_product_is_what_the_rows_say(DT_I4, DT_I8, cols, &rng);
        a_product_is_what_the_rows_say(DT_I4, DT_BF16, cols, &rng);
        a_product_is_what_the_rows_say(DT_I8G, DT_I8, cols, &rng);
        a_product_is_what_the_rows_say(DT_I8G, DT_BF16, cols, &rng);
        a_product_is_what_the_rows_say(DT_F8E4M3, DT_BF16, cols, &rng);
        a_product_is_what_the_rows_say(DT_F8E4M3, DT_F8E4M3, cols, &rng);
    }
}

// One scale of several, and the codes 0x7f and 0xff of E4M3, which mean no number there and a weight elsewhere.
static void rows_of_numbers(void **state)
{
    (void)state;
    enum { INPUTS = 40, GROUP = 16 };
    static const enum dtype types[] = {DT_I8, DT_F8E4M3, DT_I4, DT_I8G};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        uint8_t codes[INPUTS] = {0}, zeros[3] = {0};
        float scales[3] = {1, 1, 1};
        struct quant_row row = {codes, scales, zeros};
        bool fp8 = types[i] == DT_F8E4M3;
        assert_true(quant_row_is_finite(types[i], row, INPUTS, GROUP));
        codes[INPUTS - 1] = 0x7f;
        assert_int_equal(quant_row_is_finite(types[i], row, INPUTS, GROUP), !fp8);
        codes[INPUTS - 1] = 0xff;
        assert_int_equal(quant_row_is_finite(types[i], row, INPUTS, GROUP), !fp8);
        codes[INPUTS - 1] = 0;
        scales[quant_groups(types[i], INPUTS, GROUP) - 1] = INFINITY;
        assert_false(quant_row_is_finite(types[i], row, INPUTS, GROUP));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(int8_is_symmetric_and_ties_go_to_even),
        cmocka_unit_test(fp8_reaches_448_of_its_scale),
        cmocka_unit_test(int4_is_asymmetric_in_groups),
        cmocka_unit_test(int8_is_symmetric_in_groups),
        cmocka_unit_test(rows_of_zeros_and_of_nothing_finite),
        cmocka_unit_test(rounding_is_to_the_nearest),
        cmocka_unit_test(packing_loses_nothing),
        cmocka_unit_test(bytes_a_weight),
        cmocka_unit_test(rows_of_numbers),
        cmocka_unit_test(codes_lie_in_quads),
        cmocka_unit_test(portable_products_are_what_rows_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
