// test_plain.c - text of others on a terminal: in a line, as data, and in pieces that cut characters.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/plain.h"
#include "base/str.h"

#define ESCAPE "\x1b[31m"

// A temporary file: no terminal.
static void check_file(FILE *file, const char *expected, size_t count)
{
    char got[256];
    rewind(file);
    assert_int_equal(fread(got, 1, sizeof got, file), count);
    assert_memory_equal(got, expected, count);
    fclose(file);
}

static void lines_are_plain_everywhere(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    plain_printf(file, "%s\t%d\n%s\r\n", ESCAPE "red", 7, "\xff\xe2\x80\xae");
    static const char expected[] = "?[31mred\t7\n????\r\n";
    check_file(file, expected, sizeof expected - 1);
}

static void data_is_untouched_in_a_file(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    struct plain_stream stream = {0};
    assert_non_null(file);
    assert_false(plain_is_terminal(file));
    plain_write(file, ESCAPE "\0x", 7);
    plain_stream_write(&stream, file, "\xe2\x96", 2);
    plain_stream_end(&stream, file);
    check_file(file, ESCAPE "\0x\xe2\x96", 9);
}

static void line_ends_stay(void **state)
{
    (void)state;
    char text[] = "a\n\tb\r\n\x1b\n\n\rc\xe2\x80\xa9\n";
    str_plain_lines(text);
    assert_string_equal(text, "a\n\tb\r\n?\n\n?c???\n");
}

// What a terminal gets of a text that comes byte by byte, or in any two pieces, is what it gets of the whole.
static void pieces_do_not_show(void **state)
{
    (void)state;
    static const char text[] = "\xc3\xa9 \xf0\x9f\x98\x80 " ESCAPE " \xff \xe2\x80\xae\n\xe2\x96";
    static const char expected[] = "\xc3\xa9 \xf0\x9f\x98\x80 ?[31m ? ???\n";
    size_t length = sizeof text - 1;
    for (size_t cut = 0; cut <= length; cut++) {
        struct plain_stream stream = {0};
        struct str out = {0};
        plain_stream_append(&stream, &out, text, cut);
        plain_stream_append(&stream, &out, text + cut, length - cut);
        assert_string_equal(str_text(&out), expected);
        assert_int_equal(stream.count, 2); // the unfinished one waits
        str_fini(&out);
    }
    struct plain_stream stream = {0};
    struct str out = {0};
    for (size_t i = 0; i < length; i++)
        plain_stream_append(&stream, &out, text + i, 1);
    assert_string_equal(str_text(&out), expected);
    str_fini(&out);
}

static void a_nul_does_not_end_the_text(void **state)
{
    (void)state;
    struct plain_stream stream = {0};
    struct str out = {0};
    plain_stream_append(&stream, &out, "a\0" ESCAPE "b", 8);
    assert_string_equal(str_text(&out), "a??[31mb");
    str_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_plain_everywhere),
        cmocka_unit_test(data_is_untouched_in_a_file),
        cmocka_unit_test(line_ends_stay),
        cmocka_unit_test(pieces_do_not_show),
        cmocka_unit_test(a_nul_does_not_end_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
