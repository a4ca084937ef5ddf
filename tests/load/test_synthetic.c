// test_synthetic.c - shapes: any thread gets the same elements in any order, with the right spread.
#include "tests/load/load_fixture.h"

#define SHAPE "models/shapes/smollm2-135m.json"

static struct checkpoint *shape(uint64_t seed)
{
    struct error err = {0};
    struct checkpoint *ck = NULL;
    expect_ok(checkpoint_synthetic(SHAPE, seed, &ck, &err), &err, SHAPE);
    return ck;
}

static void element_depends_on_place_alone(void **state)
{
    (void)state;
    struct checkpoint *ck = shape(42), *other = shape(43);
    size_t cols = 576, ld = 600;
    float *block = calloc(16 * ld, sizeof *block), *row = calloc(cols, sizeof *row);
    ck->ops->read_rows(ck->self, T_Q, 3, 100, 16, block, ld);
    for (int r = 15; r >= 0; r--) {
        ck->ops->read_rows(ck->self, T_Q, 3, 100 + r, 1, row, cols);
        assert_memory_equal(row, block + (size_t)r * ld, cols * sizeof *row);
        assert_float_equal(block[(size_t)r * ld + cols], 0, 0); // nothing beyond the row
    }
    float first = row[0];
    ck->ops->read_rows(ck->self, T_Q, 4, 100, 1, row, cols);
    assert_true(row[0] != first);
    ck->ops->read_rows(ck->self, T_O, 3, 100, 1, row, cols);
    assert_true(row[0] != first);
    other->ops->read_rows(other->self, T_Q, 3, 100, 1, row, cols);
    assert_true(row[0] != first);
    free(block);
    free(row);
    checkpoint_destroy(ck);
    checkpoint_destroy(other);
}

// The generator is part of what results mean: these bits may change only with its version.
static void known_elements(void **state)
{
    (void)state;
    struct checkpoint *ck = shape(42);
    float row[576];
    uint32_t bits[3];
    ck->ops->read_rows(ck->self, T_DOWN, 29, 575, 0, row, 576); // no rows: nothing is written
    ck->ops->read_rows(ck->self, T_Q, 0, 0, 1, row, 576);
    memcpy(bits, row, sizeof bits);
    assert_int_equal(bits[0], 0xbcb5a96d);
    assert_int_equal(bits[1], 0x3c8ef11b);
    assert_int_equal(bits[2], 0x3cfe96fe);
    checkpoint_destroy(ck);
}

static void spread(void **state)
{
    (void)state;
    struct checkpoint *ck = shape(7);
    enum { ROWS = 512, COLS = 576 };
    float *x = malloc(sizeof(float) * ROWS * COLS);
    double sum = 0, squares = 0, pairs = 0, n = (double)ROWS * COLS;
    ck->ops->read_rows(ck->self, T_GATE, 1, 0, ROWS, x, COLS);
    for (size_t i = 0; i < (size_t)ROWS * COLS; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
        pairs += i ? (double)x[i] * (double)x[i - 1] : 0;
    }
    // 295 k elements: the mean is within 5 standard errors, neighbours are uncorrelated
    assert_true(fabs(sum / n) < 5 * 0.02 / sqrt(n));
    assert_true(fabs(sqrt(squares / n) - 0.02) < 1e-4);
    assert_true(fabs(pairs / squares) < 5 / sqrt(n));
    ck->ops->read_rows(ck->self, T_ATTN_NORM, 1, 0, 1, x, COLS);
    for (int i = 0; i < COLS; i++)
        assert_float_equal(x[i], 1, 0);
    free(x);
    checkpoint_destroy(ck);
}

static void identity(void **state)
{
    (void)state;
    struct error err = {0};
    struct tokenizer *tok;
    struct tensor_class classes[8];
    char a[65], b[65], c[65];
    struct checkpoint *ck = shape(1), *same = shape(1), *other = shape(2);
    assert_true(checkpoint_is_synthetic(ck));
    assert_string_equal(checkpoint_format(ck), "synthetic");
    assert_string_equal(checkpoint_config(ck)->name, "smollm2-135m");
    expect_ok(checkpoint_content_hash(ck, a, &err), &err, "hash");
    expect_ok(checkpoint_content_hash(same, b, &err), &err, "hash");
    expect_ok(checkpoint_content_hash(other, c, &err), &err, "hash");
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    size_t n = checkpoint_tensor_classes(ck, classes, 8);
    uint64_t parameters = 0;
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(classes[i].type, "generated");
        assert_int_equal(classes[i].bytes, 0);
        parameters += classes[i].parameters;
    }
    assert_int_equal(parameters, 134515008);
    expect_error(checkpoint_tokenizer(ck, &tok, &err), &err, ERR_UNSUPPORTED, "no tokenizer",
                 SHAPE);
    checkpoint_destroy(ck);
    checkpoint_destroy(same);
    checkpoint_destroy(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(element_depends_on_place_alone),
        cmocka_unit_test(known_elements),
        cmocka_unit_test(spread),
        cmocka_unit_test(identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
