// test_cuda_pack.c - the order of weights for the tensor cores. Every element has a place of its own, packing and
// unpacking are inverse, and the layout's sizes and spans are what kernels rely on.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/fp.h"
#include "base/rng.h"
#include "kernels/cuda/cuda.h"

static const enum dtype types[] = {DT_F32, DT_F16, DT_BF16, DT_I8, DT_F8E4M3, DT_I4, DT_I8G};
enum { TYPES = sizeof types / sizeof *types };

static const struct {
    int rows, cols;
} shapes[] = {{1, 1}, {16, 256}, {17, 257}, {15, 255}, {40, 700}, {3, 4096}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

// No two elements of a tile share bits, and none lies outside it or in scales.
static void test_places_are_distinct(void **state)
{
    (void)state;
    for (int i = 0; i < TYPES; i++) {
        struct cuda_layout l;
        assert_true(cuda_layout_plan(types[i], 16, 512, 32, &l));
        unsigned char *used = calloc(1, l.tile_bytes);
        int bytes = cuda_element_bytes(types[i]), shift;
        for (int r = 0; r < 16; r++)
            for (int c = 0; c < 512; c++) {
                size_t at = cuda_element_at(&l, r, c, &shift);
                unsigned char mask = types[i] == DT_I4 ? (unsigned char)(15 << shift) : 255;
                for (int b = 0; b < (bytes ? bytes : 1); b++) {
                    assert_true(at + (size_t)b < l.tile_bytes);
                    assert_int_equal(used[at + (size_t)b] & mask, 0);
                    used[at + (size_t)b] |= mask;
                }
            }
        for (int r = 0; r < 16 && l.group; r++)
            for (int c = 0; c < 512; c += 32) {
                int each = types[i] == DT_I4 ? 4 : 2;
                size_t at = cuda_group_at(&l, r, c);
                assert_true(at + (size_t)each <= l.tile_bytes);
                for (int b = 0; b < each; b++) {
                    assert_int_equal(used[at + (size_t)b], 0);
                    used[at + (size_t)b] = 255;
                }
            }
        size_t filled = 0;
        for (size_t b = 0; b < l.tile_bytes; b++)
            filled += used[b] == 255;
        assert_int_equal(filled, l.tile_bytes - l.header_bytes);
        free(used);
    }
}

// What mma.m16n8k16 and m16n8k32 ask of a lane: its 16-byte vectors hold rows g and g + 8, and inputs that x has
// next to each other.
static void test_lanes_hold_their_rows(void **state)
{
    (void)state;
    struct cuda_layout l;
    int shift;
    assert_true(cuda_layout_plan(DT_BF16, 16, 256, 0, &l));
    for (int lane = 0; lane < 32; lane++)
        for (int m = 0; m < 4; m++) {
            size_t vector = (size_t)(m * 512 + lane * 16);
            int g = lane / 4, first = lane % 4 * 16 + 4 * m;
            assert_int_equal(cuda_element_at(&l, g, first, &shift), vector);         // a0
            assert_int_equal(cuda_element_at(&l, g + 8, first, &shift), vector + 4); // a1
            assert_int_equal(cuda_element_at(&l, g, first + 2, &shift), vector + 8); // a2
            assert_int_equal(cuda_element_at(&l, g + 8, first + 3, &shift),
                             vector + 14); // a3's second
        }
    assert_true(cuda_layout_plan(DT_I4, 16, 256, 32, &l));
    assert_int_equal(cuda_element_at(&l, 9, 32 + 8 * 3 + 6, &shift),
                     (size_t)((1 * 4 + 3) * 16 + 3 * 4 + 2));
    assert_int_equal(shift, 4);
    assert_true(cuda_layout_plan(DT_I8G, 16, 256, 32, &l)); // 8.5 bits per weight
    assert_int_equal(l.tile_bytes, 16 * 256 * 17 / 16);
    assert_int_equal(cuda_element_at(&l, 9, 128 + 32 + 8 * 3 + 6, &shift), // behind a run's scales
                     (size_t)(2048 + 128 + 512 + (1 * 4 + 3) * 16 + 3 * 4 + 2));
    assert_int_equal(cuda_group_at(&l, 9, 128 + 32), (size_t)(2 * 2048 + 128 + 32 + 9 * 2));
}

static float *random_rows(int rows, int cols, uint64_t seed)
{
    struct rng rng = {seed};
    float *x = malloc((size_t)(rows * cols) * sizeof *x);
    for (int i = 0; i < rows * cols; i++)
        x[i] = 2 * rng_f32(&rng) - 1;
    return x;
}

static float rounded(enum dtype type, float x)
{
    return type == DT_F32    ? x
           : type == DT_BF16 ? bf16_to_f32(bf16_from_f32(x))
                             : f16_to_f32(f16_from_f32(x));
}

static void check_plain(enum dtype type, int rows, int cols)
{
    struct cuda_layout l;
    assert_true(cuda_layout_plan(type, rows, cols, 0, &l));
    float *x = random_rows(rows, cols, (uint64_t)rows), *row = malloc((size_t)cols * sizeof *row);
    unsigned char *packed = malloc(cuda_layout_bytes(&l));
    memset(packed, 0xa5, cuda_layout_bytes(&l));
    for (int r = 0; r < rows; r += 16)
        cuda_pack_plain(&l, x + (size_t)r * (size_t)cols, rows - r < 16 ? rows - r : 16,
                        (size_t)cols, packed + (size_t)(r / 16) * l.tile_bytes);
    for (int r = 0; r < rows; r++) {
        cuda_unpack_row(&l, packed, r, row);
        for (int c = 0; c < cols; c++)
            assert_true(row[c] == rounded(type, x[r * cols + c]));
    }
    struct cuda_layout whole = l; // rows and inputs beyond are zeros
    whole.cols = l.units * CUDA_UNIT_COLS;
    row = realloc(row, (size_t)whole.cols * sizeof *row);
    for (int r = 0; r < l.tiles * 16; r++) {
        cuda_unpack_row(&whole, packed, r, row);
        for (int c = r < rows ? cols : 0; c < whole.cols; c++)
            assert_true(row[c] == 0);
    }
    free(x);
    free(row);
    free(packed);
}

static void check_codes(enum dtype type, int rows, int cols, int group)
{
    struct cuda_layout l;
    assert_true(cuda_layout_plan(type, rows, cols, group, &l));
    float *x = random_rows(rows, cols, 99), *row = malloc((size_t)cols * sizeof *row),
          *want = malloc((size_t)cols * sizeof *want);
    unsigned char *packed = malloc(cuda_layout_bytes(&l));
    uint8_t *codes = malloc((size_t)(2 * rows * cols));
    float *scales = malloc((size_t)(rows * cols) * sizeof *scales);
    struct quant_row *q = malloc((size_t)rows * sizeof *q);
    for (int r = 0; r < rows; r++) {
        q[r] = (struct quant_row){codes + r * cols, scales + r * cols, codes + (rows + r) * cols};
        quant_row_rtn(type, x + r * cols, cols, group, q[r]);
    }
    for (int r = 0; r < rows; r += 16)
        cuda_pack_codes(&l, q + r, rows - r < 16 ? rows - r : 16, group,
                        packed + (size_t)(r / 16) * l.tile_bytes);
    for (int r = 0; r < rows; r++) {
        cuda_unpack_row(&l, packed, r, row);
        quant_row_expand(type, q[r], cols, group, want);
        for (int c = 0; c < cols; c++)
            assert_true(row[c] == want[c]);
    }
    free(x);
    free(row);
    free(want);
    free(packed);
    free(codes);
    free(scales);
    free(q);
}

static void test_packing_and_its_inverse(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++) {
        int rows = shapes[s].rows, cols = shapes[s].cols;
        check_plain(DT_F32, rows, cols);
        check_plain(DT_F16, rows, cols);
        check_plain(DT_BF16, rows, cols);
        check_codes(DT_I8, rows, cols, 0);
        check_codes(DT_F8E4M3, rows, cols, 0);
        check_codes(DT_I4, rows, cols, 128);
        check_codes(DT_I4, rows, cols, 32);
        check_codes(DT_I4, rows, cols, 64);
        check_codes(DT_I4, rows, cols, cols); // one group per row
        check_codes(DT_I8G, rows, cols, 32);
        check_codes(DT_I8G, rows, cols, 64);
    }
}

static void test_groups_that_fit_and_do_not(void **state)
{
    (void)state;
    static const struct {
        int cols, group, packed; // 0: refused
    } cases[] = {{4096, 128, 128}, {4096, 256, 128}, {4096, 64, 32}, {4096, 32, 32},
                 {4096, 96, 32},   {4096, 16, 0},    {4096, 48, 0},  {96, 96, 128},
                 {96, 128, 128},   {4096, 4096, 128}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cuda_layout l;
        assert_int_equal(cuda_layout_plan(DT_I4, 16, cases[i].cols, cases[i].group, &l),
                         cases[i].packed != 0);
        assert_int_equal(l.group, cases[i].packed);
        assert_int_equal(cuda_layout_plan(DT_I8G, 16, cases[i].cols, cases[i].group, &l),
                         cases[i].packed != 0);
        assert_int_equal(l.group, cases[i].packed ? 32 : 0);
    }
}

static void test_spans_cover_the_units(void **state)
{
    (void)state;
    for (int units = 1; units < 120; units++) {
        struct cuda_layout l;
        assert_true(cuda_layout_plan(DT_BF16, 16, units * CUDA_UNIT_COLS, 0, &l));
        assert_int_equal(l.units, units);
        assert_in_range(l.spans, 1, CUDA_MOST_SPANS);
        assert_int_equal(cuda_span_begin(units, l.spans, 0), 0);
        assert_int_equal(cuda_span_begin(units, l.spans, l.spans), units);
        for (int s = 0; s < l.spans; s++) { // nearly equal, none empty
            int n = cuda_span_begin(units, l.spans, s + 1) - cuda_span_begin(units, l.spans, s);
            assert_in_range(n, units / l.spans, (units + l.spans - 1) / l.spans);
        }
    }
}

static void test_scratch_of_splits(void **state)
{
    (void)state;
    struct cuda_layout l;
    size_t counters = (size_t)CUDA_COUNTERS * 4;
    assert_true(cuda_layout_plan(DT_BF16, 4096, 4096, 0, &l));
    assert_int_equal(cuda_partial_bytes(&l, 1), counters + (size_t)8 * 8 * 4112 * 4);
    assert_int_equal(cuda_partial_bytes(&l, 9), counters + (size_t)8 * 16 * 4112 * 4);
    assert_int_equal(cuda_partial_bytes(&l, 17), counters + (size_t)160 * 128 * 256 * 4);
    assert_int_equal(cuda_partial_bytes(&l, 1000), cuda_partial_bytes(&l, 17));
    // counters, then 3 splits of 128; of long sequences as many as fill a chip, and one of f32 arithmetic every 256
    assert_int_equal(cuda_attention_bytes(2, 8, 2, 64, 257), 256 + (size_t)3 * 2 * 8 * 68 * 4);
    assert_int_equal(cuda_attention_bytes(1, 32, 32, 128, 2048), 256 + (size_t)8 * 32 * 132 * 4);
    assert_int_equal(cuda_attention_bytes(1, 32, 32, 128, 8192), 256 + (size_t)32 * 32 * 132 * 4);
}

// Splits of a token cover what it sees, and no length needs more than there is scratch for.
static void test_split_length(void **state)
{
    (void)state;
    for (int kv_heads = 1; kv_heads <= 64; kv_heads++)
        for (int seen = 1; seen < 300000; seen += seen / 7 + 1) {
            int length = cuda_split_length(kv_heads, seen), splits = (seen + length - 1) / length;
            assert_true(length >= CUDA_LEAST_SPLIT && length % CUDA_LEAST_SPLIT == 0);
            assert_true(splits <= (CUDA_DECODE_BLOCKS + kv_heads - 1) / kv_heads);
            assert_true(splits <= (seen + CUDA_LEAST_SPLIT - 1) / CUDA_LEAST_SPLIT);
        }
}

// In every order each input of each token has one place of its own, and all places are used.
static void test_orders_of_inputs(void **state)
{
    (void)state;
    enum { TOKENS = 19, COLS = 512 };
    for (enum cuda_order order = CUDA_HALVES; order <= CUDA_BYTES; order++) {
        int bytes = cuda_order_bytes(order), lines = cuda_order_lines(order), each = 16 / bytes;
        size_t size = (size_t)cuda_padded_tokens(TOKENS) * COLS;
        unsigned char *seen = calloc(size, 1);
        assert_int_equal(lines * each, CUDA_BLOCK_COLS);
        for (int t = 0; t < TOKENS; t++)
            for (int block = 0; block < COLS / CUDA_BLOCK_COLS; block++) {
                uint64_t cols = 0;
                for (int line = 0; line < lines; line++) {
                    size_t at = cuda_line_at(order, TOKENS, t, block, line);
                    assert_true(at % 16 == 0 && at + 16 <= size * (size_t)bytes);
                    assert_false(seen[at / 16]++);
                    for (int i = 0; i < each; i++) {
                        int col = cuda_line_col(order, line, i), back;
                        assert_int_equal(cuda_col_line(order, col, &back), line);
                        assert_int_equal(back, i);
                        cols |= (uint64_t)1 << col;
                    }
                }
                assert_true(cols == UINT64_MAX);
            }
        free(seen);
    }
}

// A lane's weights of a step and its inputs are the same inputs: what pack.h says of either agrees.
static void test_inputs_meet_their_weights(void **state)
{
    (void)state;
    static const enum dtype kinds[] = {DT_BF16, DT_F16, DT_F8E4M3, DT_I8, DT_I4, DT_I8G, DT_F8E4M3};
    static const enum dtype inputs[] = {DT_BF16, DT_F16,  DT_BF16,  DT_I8,
                                        DT_BF16, DT_BF16, DT_F8E4M3};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct cuda_layout l;
        enum cuda_order order = cuda_order_of(kinds[k], inputs[k]);
        assert_true(cuda_layout_plan(kinds[k], 16, 256, 128, &l));
        int each = 16 / cuda_order_bytes(order) / 4; // inputs of a lane in a line
        for (int line = 0; line < cuda_order_lines(order); line++)
            for (int t = 0; t < 4; t++)
                for (int j = 0; j < each; j++) {
                    int shift, col = cuda_line_col(order, line, t * each + j);
                    size_t at = cuda_element_at(&l, 0, col, &shift) - l.header_bytes;
                    size_t vector = at / 512, word = at % 16 / 4, byte = at % 4;
                    assert_int_equal(at % 512 / 16, t); // lane t has row 0
                    size_t step = (size_t)line / 2, high = (size_t)line % 2;
                    if (kinds[k] == DT_I4) { // a word is two steps, a byte's parity the line
                        assert_int_equal(word / 2 * 2 + (size_t)shift / 4, step);
                        assert_true(byte % 2 == high && byte / 2 == (size_t)j);
                    } else if (kinds[k] == DT_I8G) { // so is a pair of words, one for each row
                        assert_int_equal(vector * 2 + word / 2, step);
                        assert_true(byte % 2 == high && byte / 2 == (size_t)j);
                    } else if (inputs[k] == DT_F8E4M3) { // two words are a step
                        assert_int_equal(word, step * 2 + high);
                        assert_int_equal(byte, j);
                    } else if (kinds[k] == DT_F8E4M3) { // a word is a step
                        assert_int_equal(word, step);
                        assert_true(byte / 2 == high && byte % 2 == (size_t)j);
                    } else { // a vector is a step
                        assert_int_equal(vector, step);
                        assert_true(word / 2 == high);
                        assert_int_equal(byte, (size_t)j * (size_t)(4 / each));
                    }
                }
    }
}

// Every type that weights are packed in has a product where kernels are built; without nvcc no row is a GPU's.
static void test_table(void **state)
{
    (void)state;
    const struct device_target gpu = {.where = DEVICE_CUDA, .isa = ISA_ALL};
    static const enum dtype inputs[DT_COUNT] = {
        [DT_F16] = DT_F16, [DT_BF16] = DT_BF16, [DT_I8] = DT_I8,  [DT_F8E4M3] = DT_BF16,
        [DT_I4] = DT_BF16, [DT_I8G] = DT_BF16,  [DT_F32] = DT_F32};
    for (enum dtype t = 0; t < DT_COUNT; t++)
        assert_int_equal(kernel_find(KOP_LINEAR, t, inputs[t], gpu) != NULL, HAVE_CUDA);
    assert_int_equal(kernel_find(KOP_LINEAR, DT_F8E4M3, DT_F8E4M3, gpu) != NULL, HAVE_CUDA);
    assert_null(kernel_find(KOP_LINEAR, DT_I4, DT_F32, gpu));
    if (!HAVE_CUDA)
        assert_non_null(cuda_launch_error(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places_are_distinct),
        cmocka_unit_test(test_lanes_hold_their_rows),
        cmocka_unit_test(test_packing_and_its_inverse),
        cmocka_unit_test(test_groups_that_fit_and_do_not),
        cmocka_unit_test(test_spans_cover_the_units),
        cmocka_unit_test(test_scratch_of_splits),
        cmocka_unit_test(test_orders_of_inputs),
        cmocka_unit_test(test_inputs_meet_their_weights),
        cmocka_unit_test(test_split_length),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
