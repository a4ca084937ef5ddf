// test_str.c - growing text, patterns, nearest words, whole-string numbers, figures for people.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static void text_grows(void **state)
{
    (void)state;
    struct str s = {0};
    assert_string_equal(str_text(&s), "");
    for (int i = 0; i < 1000; i++)
        str_printf(&s, "%d,", i);
    str_append(&s, "end");
    str_append_bytes(&s, "!?", 1);
    assert_int_equal(s.length, 10 * 2 + 90 * 3 + 900 * 4 + 4);
    assert_int_equal(strlen(str_text(&s)), s.length);
    char *text = str_take(&s);
    assert_string_equal(text + strlen(text) - 8, "999,end!");
    assert_int_equal(s.length, 0);
    free(text);
    text = str_take(&s);
    assert_string_equal(text, "");
    free(text);
    str_fini(&s);
}

static void after_a_failure_nothing_is_appended(void **state)
{
    (void)state;
    struct str s = {0};
    str_append(&s, "kept");
    s.failed = true;
    str_append(&s, " lost");
    str_printf(&s, "%d", 1);
    assert_string_equal(str_text(&s), "kept");
    assert_null(str_take(&s));
}

static void equality_prefix_and_ending(void **state)
{
    (void)state;
    assert_true(str_equal("a", "a") && str_equal(NULL, NULL));
    assert_false(str_equal("a", "b") || str_equal("a", NULL) || str_equal(NULL, "a"));
    assert_true(str_starts("blk.0.attn", "blk.") && str_starts("x", ""));
    assert_false(str_starts("bl", "blk."));
    assert_true(str_ends("run.svg", ".svg") && str_ends("x", "") && str_ends(".svg", ".svg"));
    assert_false(str_ends("svg", ".svg") || str_ends("run.svg.tmp", ".svg"));
}

static void globs(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool matches;
    } rows[] = {
        {"*", "", true},          {"", "", true},         {"", "a", false},
        {"a*c", "abbc", true},    {"a*c", "abbd", false}, {"*.safetensors", "m.safetensors", true},
        {"?", "", false},         {"a?c", "abc", true},   {"*ab*ab", "abab", true},
        {"*ab*ab", "aba", false}, {"[ab]", "a", false},   {"tiny*/bf16", "tiny-2/bf16", true},
        {"**", "anything", true}, {"a*", "b", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_glob(rows[i].pattern, rows[i].text) != rows[i].matches)
            fail_msg("%s against %s", rows[i].pattern, rows[i].text);
}

static void a_hostile_glob_ends(void **state)
{
    (void)state;
    char text[2001];
    memset(text, 'a', 2000);
    text[2000] = '\0';
    assert_false(str_glob("*a*a*a*a*a*a*a*a*a*a*a*a*b", text)); // exponential when done naively
}

static void numbers_are_read_whole_or_not_at_all(void **state)
{
    (void)state;
    int64_t i = 5;
    double f = 5;
    assert_true(str_to_i64("-9223372036854775808", &i) && i == INT64_MIN);
    assert_true(str_to_f64("1e-3", &f) && f == 1e-3);
    static const char *const not_integers[] = {"",    " 1", "1 ", "1x", "9223372036854775808",
                                               "1.5", "x"};
    for (size_t k = 0; k < sizeof not_integers / sizeof *not_integers; k++)
        assert_false(str_to_i64(not_integers[k], &i));
    static const char *const not_numbers[] = {"", " 1", "1 ", "1,5", "nan", "inf", "1e999"};
    for (size_t k = 0; k < sizeof not_numbers / sizeof *not_numbers; k++)
        assert_false(str_to_f64(not_numbers[k], &f));
}

static void text_out_of_files_is_made_plain(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"", ""},
        {"plain, \xc3\xa9, \xe2\x96\x81, \xf0\x9f\x98\x80",
         "plain, \xc3\xa9, \xe2\x96\x81, \xf0\x9f\x98\x80"},
        {"two\nlines\t\x1b[31m\x7f", "two?lines??[31m?"},
        {"\xc2\x9b"
         "31m \xc2\xa0",
         "??31m \xc2\xa0"},           // a control character of two bytes; the next is none
        {"\xff\x80\xc0\xaf", "????"}, // no UTF-8, and overlong
        {"\xe0\x80\x80 \xed\xa0\x80", "??? ???"},           // overlong, a surrogate
        {"\xf4\x90\x80\x80 \xf5\x80\x80\x80", "???? ????"}, // beyond U+10FFFF
        {"cut \xe2\x96", "cut ??"},
        {"a\xe2\x80\xaetxt.exe\xe2\x80\xac", "a???txt.exe???"}, // right to left, and back
        {"\xe2\x81\xa6 \xe2\x80\x8f \xd8\x9c \xe2\x80\xa8", "??? ??? ?? ???"},
        {"\xe2\x80\x8d \xe2\x80\x93 \xd8\x9b", "\xe2\x80\x8d \xe2\x80\x93 \xd8\x9b"}, // neighbours
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct str s = {0};
        str_append(&s, "a\n");
        str_append_plain(&s, pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(str_text(&s) + 2, pairs[i][1]);
        assert_memory_equal(str_text(&s), "a\n", 2); // what was there before stays
        str_fini(&s);
    }
}

static void words_are_quoted_for_a_shell(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"runs/bench.db", "runs/bench.db"},
        {"", "''"},
        {"my runs/$HOME.db", "'my runs/$HOME.db'"},
        {"it's", "'it'\\''s'"},
        {"~x", "'~x'"},
        {"sweep core.batch=1,2", "'sweep core.batch=1,2'"},
        {"a\nb", "'a\nb'"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct str s = {0};
        str_append_shell(&s, pairs[i][0]);
        assert_string_equal(str_text(&s), pairs[i][1]);
        str_fini(&s);
    }
}

static void figures_have_three_digits_and_a_unit(void **state)
{
    (void)state;
    char text[32];
    assert_string_equal(format_bytes(0, text, sizeof text), "0.00 B");
    assert_string_equal(format_bytes(1536, text, sizeof text), "1.50 KiB");
    assert_string_equal(format_bytes(25.3 * (1 << 30), text, sizeof text), "25.3 GiB");
    assert_string_equal(format_time_ns(12.345e6, text, sizeof text), "12.3 ms");
    assert_string_equal(format_time_ns(250, text, sizeof text), "250 ns");
    assert_string_equal(format_time_ns(3.6e12, text, sizeof text), "3600 s");
    assert_string_equal(format_limit_ns(60e9, text, sizeof text), "60 s");
    assert_string_equal(format_limit_ns(1.5e9, text, sizeof text), "1.5 s");
    assert_string_equal(format_limit_ns(90e9, text, sizeof text), "90 s");
    assert_string_equal(format_limit_ns(100e9, text, sizeof text), "100 s");
    assert_string_equal(format_limit_ns(600e9, text, sizeof text), "10 min");
    assert_string_equal(format_limit_ns(3600e9, text, sizeof text), "1 h");
    assert_string_equal(format_limit_ns(5400e9, text, sizeof text), "90 min");
    assert_string_equal(format_limit_ns(4e8, text, sizeof text), "400 ms");
    assert_string_equal(format_limit_ns(12.5e3, text, sizeof text), "12.5 us");
    assert_string_equal(format_limit_ns(3, text, sizeof text), "3 ns");
    assert_string_equal(format_wait_ns(0, text, sizeof text), "not known");
    assert_string_equal(format_wait_ns(NAN, text, sizeof text), "not known");
    assert_string_equal(format_wait_ns(12.34e9, text, sizeof text), "12.3 s");
    assert_string_equal(format_wait_ns(3e6, text, sizeof text), "3.00 ms");
    assert_string_equal(format_wait_ns(59.97e9, text, sizeof text), "1 min 00 s");
    assert_string_equal(format_wait_ns(250e9, text, sizeof text), "4 min 10 s");
    assert_string_equal(format_wait_ns(3599.7e9, text, sizeof text), "1 h 00 min");
    assert_string_equal(format_wait_ns(3725e9, text, sizeof text), "1 h 02 min");
    assert_string_equal(format_rate(45.1e9, "B", text, sizeof text), "45.1 GB/s");
    assert_string_equal(format_rate(123, "tok", text, sizeof text), "123 tok/s");
    assert_string_equal(format_time_ns(-1500, text, sizeof text), "-1.50 us");
    assert_string_equal(format_bytes(1024, text, sizeof text), "1.00 KiB");
    assert_string_equal(format_time_ns(1000, text, sizeof text), "1.00 us");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_grows),
        cmocka_unit_test(after_a_failure_nothing_is_appended),
        cmocka_unit_test(equality_prefix_and_ending),
        cmocka_unit_test(globs),
        cmocka_unit_test(a_hostile_glob_ends),
        cmocka_unit_test(numbers_are_read_whole_or_not_at_all),
        cmocka_unit_test(text_out_of_files_is_made_plain),
        cmocka_unit_test(words_are_quoted_for_a_shell),
        cmocka_unit_test(figures_have_three_digits_and_a_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
