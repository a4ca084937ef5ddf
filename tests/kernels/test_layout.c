// test_layout.c - the packed layout: where an element lies, what is zero, what comes back.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/fp.h"
#include "base/rng.h"
#include "kernels/kernels.h"

static void sizes_follow_from_groups(void **state)
{
    (void)state;
    assert_int_equal(kernel_panel_count(0), 0);
    assert_int_equal(kernel_panel_count(16), 1);
    assert_int_equal(kernel_panel_count(17), 2);
    assert_int_equal(kernel_panel_count(INT32_MAX), 134217728);
    assert_int_equal(kernel_packed_cols(DT_F32, 5), 5);
    assert_int_equal(kernel_packed_cols(DT_BF16, 5), 6);
    assert_int_equal(kernel_packed_cols(DT_I8, 5), 8);
    assert_int_equal(kernel_packed_cols(DT_I4, 9), 16);
    assert_int_equal(kernel_packed_cols(DT_I8G, 9), 12);
    assert_int_equal(kernel_panel_bytes(DT_F32, 5), 5 * 64);
    assert_int_equal(kernel_panel_bytes(DT_BF16, 5), 3 * 64);
    assert_int_equal(kernel_packed_bytes(DT_BF16, 33, 5), 3 * 3 * 64);
    assert_true(kernel_packed_bytes(DT_F32, 1 << 20, 1 << 20) == (size_t)4 << 40);
    for (enum dtype t = 0; t < DT_COUNT; t++)
        assert_int_equal(64 % kernel_panel_group(t), 0);
}

static void every_type_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(dtype_name(DT_F32), "f32");
    assert_string_equal(dtype_name(DT_BF16), "bf16");
    assert_string_equal(dtype_name(DT_I4), "i4");
    assert_string_equal(dtype_name(DT_I8G), "i8g");
    assert_string_equal(dtype_name(DT_COUNT), "?");
}

// Row r's pair (2g, 2g + 1) lies in lane r of register g.
static void bf16_pairs_lie_in_lanes(void **state)
{
    (void)state;
    float rows[3][5];
    uint16_t panel[3 * 32];
    for (int r = 0; r < 3; r++)
        for (int c = 0; c < 5; c++)
            rows[r][c] = (float)(10 * r + c + 1);
    memset(panel, 0xff, sizeof panel);
    kernel_pack_panel(DT_BF16, &rows[0][0], 3, 5, 5, panel);
    for (int g = 0; g < 3; g++)
        for (int r = 0; r < 16; r++)
            for (int j = 0; j < 2; j++) {
                int c = 2 * g + j;
                float expected = r < 3 && c < 5 ? rows[r][c] : 0;
                assert_true(bf16_to_f32(panel[g * 32 + r * 2 + j]) == expected);
            }
}

static void a_packed_matrix_comes_back(enum dtype type, int rows, int cols, uint64_t seed)
{
    struct rng rng = {seed};
    size_t bytes = kernel_packed_bytes(type, rows, cols);
    float *matrix = malloc((size_t)rows * (size_t)cols * 4), *back = malloc((size_t)cols * 4);
    unsigned char *packed = malloc(bytes);
    for (int i = 0; i < rows * cols; i++)
        matrix[i] = rng_f32(&rng) - 0.5f;
    for (int p = 0; p < kernel_panel_count(rows); p++)
        kernel_pack_panel(type, matrix + p * 16 * cols, rows - p * 16 < 16 ? rows - p * 16 : 16,
                          cols, (size_t)cols, packed + (size_t)p * kernel_panel_bytes(type, cols));
    for (int r = 0; r < rows; r++) {
        kernel_unpack_row(type, packed, r, cols, back);
        for (int c = 0; c < cols; c++) {
            float value = matrix[r * cols + c];
            float expected = type == DT_F32    ? value
                             : type == DT_BF16 ? bf16_to_f32(bf16_from_f32(value))
                                               : f16_to_f32(f16_from_f32(value));
            assert_true(back[c] == expected);
        }
    }
    free(matrix);
    free(back);
    free(packed);
}

static void packing_and_unpacking_agree(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 1}, {16, 2}, {17, 3}, {40, 33}, {15, 64}};
    uint64_t seed = 20240;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        a_packed_matrix_comes_back(DT_F32, shapes[i][0], shapes[i][1], seed + i);
        a_packed_matrix_comes_back(DT_BF16, shapes[i][0], shapes[i][1], seed + i);
        a_packed_matrix_comes_back(DT_F16, shapes[i][0], shapes[i][1], seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_follow_from_groups),
        cmocka_unit_test(every_type_has_its_name),
        cmocka_unit_test(bf16_pairs_lie_in_lanes),
        cmocka_unit_test(packing_and_unpacking_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
