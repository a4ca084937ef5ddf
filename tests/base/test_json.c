// test_json.c - errors that name the place, typed fields, and one canonical text.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static json_t *parse(const char *text)
{
    struct error err = {0};
    json_t *value = NULL;
    assert_int_equal(json_parse("t.json", text, strlen(text), &value, &err), OK);
    return value;
}

static void expect_error(const char *text, size_t count, const char *start)
{
    struct error err = {0};
    json_t *value = NULL;
    assert_int_equal(json_parse("t.json", text, count, &value, &err), ERR_FORMAT);
    assert_null(value);
    if (strncmp(err.message, start, strlen(start)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", err.message, start);
}

static void errors_name_line_and_column(void **state)
{
    (void)state;
    expect_error("{\n  \"a\": 1,\n  \"b\" 2}", 19, "t.json:3:");
    expect_error("", 0, "t.json:1:1: ");
    expect_error("{\"a\": 1", 7, "t.json:1:");
    expect_error("{\"a\": 1, \"a\": 2}", 16, "t.json:1:"); // twice the same key
    expect_error("{} {}", 5, "t.json:1:");
    expect_error("{\"a\": 99999999999999999999}", 27, "t.json:1:");
    expect_error("{\"\xff\": 1}", 8, "t.json:1:"); // not UTF-8
    expect_error("3", 1, "t.json:1:");
}

static void deep_nesting_is_an_error_and_not_a_crash(void **state)
{
    (void)state;
    size_t depth = 1000000;
    char *text = malloc(depth);
    memset(text, '[', depth);
    expect_error(text, depth, "t.json:1:");
    free(text);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    struct error err = {0};
    json_t *value = NULL;
    assert_int_equal(json_read("no/such.json", 1000, &value, &err), ERR_IO);
    assert_non_null(strstr(err.message, "no/such.json"));
}

static void fields_have_types_and_ranges(void **state)
{
    (void)state;
    json_t *object = parse("{\"i\": 7, \"f\": 2.5, \"s\": \"x\", \"b\": true, \"n\": null}");
    struct error err = {0};
    int64_t i = 0;
    double f = 0;
    const char *s = NULL;
    bool b = false;
    assert_int_equal(json_get_i64(object, "t", "i", 7, 7, &i, &err), OK);
    assert_int_equal(i, 7);
    assert_int_equal(json_get_f64(object, "t", "f", &f, &err), OK);
    assert_true(f == 2.5);
    assert_int_equal(json_get_f64(object, "t", "i", &f, &err), OK); // an integer is a number
    assert_true(f == 7);
    assert_int_equal(json_get_string(object, "t", "s", &s, &err), OK);
    assert_string_equal(s, "x");
    assert_int_equal(json_opt_bool(object, "t", "b", false, &b, &err), OK);
    assert_true(b);
    assert_int_equal(json_opt_i64(object, "t", "n", 0, 9, 5, &i, &err), OK);
    assert_int_equal(i, 5);
    assert_int_equal(json_opt_f64(object, "t", "none", 1.5, &f, &err), OK);
    assert_true(f == 1.5);
    assert_int_equal(json_opt_string(object, "t", "none", "y", &s, &err), OK);
    assert_string_equal(s, "y");
    json_decref(object);
}

static void wrong_fields_say_what_was_expected(void **state)
{
    (void)state;
    json_t *object = parse("{\"i\": 7, \"s\": \"x\", \"n\": null}"), *array = parse("[]");
    int64_t i = 0;
    double f = 0;
    bool b = false;
    const char *s = NULL;
    struct error missing = {0}, null = {0}, range = {0}, type = {0}, opt = {0}, not = {0},
                 str = {0}, num = {0};
    assert_int_equal(json_get_i64(object, "c.json", "layers", 1, 9, &i, &missing), ERR_FORMAT);
    assert_string_equal(missing.message, "c.json: layers: missing");
    assert_int_equal(json_get_i64(object, "c.json", "n", 1, 9, &i, &null), ERR_FORMAT);
    assert_string_equal(null.message, "c.json: n: missing");
    assert_int_equal(json_get_i64(object, "c.json", "i", 8, 9, &i, &range), ERR_FORMAT);
    assert_string_equal(range.message, "c.json: i: 7 is outside 8..9");
    assert_int_equal(json_get_i64(object, "c.json", "s", 1, 9, &i, &type), ERR_FORMAT);
    assert_string_equal(type.message, "c.json: s: an integer expected, found a string");
    assert_int_equal(json_opt_bool(object, "c.json", "i", true, &b, &opt), ERR_FORMAT);
    assert_int_equal(json_get_string(object, "c.json", "i", &s, &str), ERR_FORMAT);
    assert_int_equal(json_opt_f64(object, "c.json", "s", 1, &f, &num), ERR_FORMAT);
    assert_int_equal(json_get_f64(array, "c.json", "x", &f, &not ), ERR_FORMAT);
    json_decref(object);
    json_decref(array);
}

static void canonical_text_is_one(void **state)
{
    (void)state;
    json_t *a = parse("{\"b\": [1, 1.0, 0.1, 1e100, -0.0], \"a\": {\"z\": null, \"y\": true},"
                      " \"\\u00e9\": \"\\\\ \\\" \\n \\u00e9\"}");
    json_t *b = parse("{\"\\u00e9\":\"\\\\ \\\" \\u000a \xc3\xa9\",\"a\":{\"y\":true,\"z\":null},"
                      "\"b\":[1,1.00,0.10,1.0e+100,-0.0]}");
    char *text_a = json_canonical(a), *text_b = json_canonical(b);
    assert_string_equal(text_a, "{\"a\":{\"y\":true,\"z\":null},\"b\":[1,1.0,0.1,1e+100,-0.0],"
                                "\"\xc3\xa9\":\"\\\\ \\\" \\u000a \xc3\xa9\"}");
    assert_string_equal(text_a, text_b);
    json_t *again = parse(text_a);
    assert_true(json_equal(a, again));
    free(text_a);
    free(text_b);
    json_decref(a);
    json_decref(b);
    json_decref(again);
}

static void canonical_reals_read_back_as_themselves(void **state)
{
    (void)state;
    static const double values[] = {1.0 / 3, 5e-324, 1.7976931348623157e308, 0.1 + 0.2,
                                    123456789.0};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        json_t *value = json_real(values[i]);
        char *text = json_canonical(value);
        assert_true(strtod(text, NULL) == values[i]);
        free(text);
        json_decref(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_name_line_and_column),
        cmocka_unit_test(deep_nesting_is_an_error_and_not_a_crash),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(fields_have_types_and_ranges),
        cmocka_unit_test(wrong_fields_say_what_was_expected),
        cmocka_unit_test(canonical_text_is_one),
        cmocka_unit_test(canonical_reals_read_back_as_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
